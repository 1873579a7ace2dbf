//! Names the fiber that ran over the end of its stack, then aborts.
//!
//! The handler runs on an alternate stack, because the fault means that there is no room on the
//! fiber's own. It first writes what needs no memory, then tries a backtrace, which does: should
//! the overflow have happened inside the allocator, an alarm ends the attempt and the process all
//! the same.

use std::fmt::{self, Write};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Once;

/// Room for the handler and for symbolising a backtrace; touched only when it comes to that.
const ALTERNATE_STACK_BYTES: usize = 512 * 1024;
/// How long the backtrace may take.
const BACKTRACE_SECONDS: libc::c_uint = 10;

type InfoHandler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
type PlainHandler = extern "C" fn(libc::c_int);

static INSTALL: Once = Once::new();
static mut PREVIOUS_SEGV: MaybeUninit<libc::sigaction> = MaybeUninit::zeroed();
static mut PREVIOUS_BUS: MaybeUninit<libc::sigaction> = MaybeUninit::zeroed();

/// Installs the handler of this process, once. Faults that are not a fiber's overflow go to the
/// handler before it.
pub(crate) fn install_handler() {
    INSTALL.call_once(|| {
        // SAFETY: `sigaction` structs are plain data for which zeros are valid; the handler below
        // is async-signal-safe up to its last part (see the module). The statics are written here,
        // under `Once`, before the handler can run.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(libc::SIGSEGV, ptr::null(), (&raw mut PREVIOUS_SEGV).cast());
            libc::sigaction(libc::SIGBUS, ptr::null(), (&raw mut PREVIOUS_BUS).cast());
            libc::sigaction(libc::SIGSEGV, &raw const action, ptr::null_mut());
            libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut());
        }
    });
}

/// The alternate signal stack of one thread; the former one comes back when this is dropped.
#[derive(Debug)]
pub(crate) struct AlternateStack {
    mapping: *mut libc::c_void,
    previous: libc::stack_t,
}

impl AlternateStack {
    pub(crate) fn install() -> io::Result<Self> {
        // SAFETY: a new private mapping touches nothing that exists.
        let mapping = unsafe {
            libc::mmap(
                ptr::null_mut(),
                ALTERNATE_STACK_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if mapping == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let new = libc::stack_t { ss_sp: mapping, ss_flags: 0, ss_size: ALTERNATE_STACK_BYTES };
        let mut previous = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: 0, ss_size: 0 };
        // SAFETY: `new` describes the mapping made above, which lives until `drop` takes it out of
        // use.
        if unsafe { libc::sigaltstack(&raw const new, &raw mut previous) } != 0 {
            let error = io::Error::last_os_error();
            // SAFETY: nothing uses the mapping.
            unsafe { libc::munmap(mapping, ALTERNATE_STACK_BYTES) };
            return Err(error);
        }
        Ok(Self { mapping, previous })
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        // SAFETY: `previous` is what the kernel gave us; after the call nothing refers to the
        // mapping.
        unsafe {
            libc::sigaltstack(&raw const self.previous, ptr::null_mut());
            libc::munmap(self.mapping, ALTERNATE_STACK_BYTES);
        }
    }
}

extern "C" fn on_fault(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo; SIGSEGV and SIGBUS carry an
    // address.
    let address = unsafe { (*info).si_addr() } as usize;
    if crate::shard::with_overflowed(address, |fiber| report(fiber)).is_some() {
        std::process::abort();
    }
    // SAFETY: the arguments are the kernel's.
    unsafe { pass_on(signal, info, context) };
}

/// Gives a signal to the handler that was there before. It is called, not put back: one that
/// repairs the fault and goes on, as an emulator's does, must not cost this one its place.
///
/// # Safety
///
/// The arguments must be those of a signal handler that runs now.
unsafe fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the statics were filled before this handler was installed and are not written again.
    // What is called was installed by `sigaction` with the flag that says which arguments it takes;
    // all handlers are addresses of functions but the two constants.
    unsafe {
        let previous: *const libc::sigaction = if signal == libc::SIGBUS {
            (&raw const PREVIOUS_BUS).cast()
        } else {
            (&raw const PREVIOUS_SEGV).cast()
        };
        let handler = (*previous).sa_sigaction;
        if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
            // The instruction faults again, and then the kernel ends the process; a signal that
            // was sent (its code is not positive) has to be sent again.
            libc::sigaction(signal, previous, ptr::null_mut());
            if (*info).si_code <= 0 {
                libc::raise(signal);
            }
        } else if (*previous).sa_flags & libc::SA_SIGINFO != 0 {
            std::mem::transmute::<usize, InfoHandler>(handler)(signal, info, context);
        } else {
            std::mem::transmute::<usize, PlainHandler>(handler)(signal);
        }
    }
}

fn report(fiber: &dyn fmt::Display) {
    let mut out = Stderr;
    // Writing to standard error may fail; then there is nobody to tell.
    let _ = writeln!(out, "\ncede: {fiber}");
    let _ = writeln!(
        out,
        "cede: give it more with Builder::stack_size, or run the deep part in on_large_stack\nbacktrace:"
    );
    // SAFETY: plain system calls on a set that is emptied first; `give_up` only aborts.
    unsafe {
        libc::signal(libc::SIGALRM, give_up as *const () as usize);
        // A program that handles signals by a descriptor has blocked them in all threads.
        let mut alarm: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut alarm);
        libc::sigaddset(&raw mut alarm, libc::SIGALRM);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const alarm, ptr::null_mut());
        libc::alarm(BACKTRACE_SECONDS);
    }
    let _ = writeln!(out, "{}", std::backtrace::Backtrace::force_capture());
}

extern "C" fn give_up(_signal: libc::c_int) {
    std::process::abort();
}

/// Standard error without a lock or a buffer.
struct Stderr;

impl Write for Stderr {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: `text` is valid for its length. A short write to a terminal or pipe loses the
        // rest, which is harmless.
        unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
        Ok(())
    }
}
