//! Signals as events that fibers wait for, on any shard.
//!
//! ```text
//!   kernel --> handler: count it, write to an eventfd --> thread "cede-signal" --> fibers
//! ```
//!
//! A handler with an eventfd, and not a signalfd: that one needs the signal blocked in every thread
//! of the process, also in those that other code makes, and every child would inherit the block.
//! The surprising rule: from the first listener on the signal's default action is off for good, so
//! that a signal between two listeners does not end the process; [`restore_default`] turns it on
//! again.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};

use crate::blocking::OutsideWork;
use crate::deadlock::HelperThread;
use crate::wait::{Park, RemoteTicket, Wait, WaitKind};

/// Signals have numbers below this.
const SIGNALS_MAX: usize = 65;

/// How many of each signal have come. Written by the handler.
static COUNTS: [AtomicU64; SIGNALS_MAX] = [const { AtomicU64::new(0) }; SIGNALS_MAX];
/// Where the handler writes; -1 before the first listener, and never closed.
static EVENTFD: AtomicI32 = AtomicI32::new(-1);
/// Who waits. Held for a few instructions, and never by the handler.
static STATE: Mutex<State> =
    Mutex::new(State { installed: [false; SIGNALS_MAX], waiters: Vec::new(), next_id: 0 });

struct State {
    installed: [bool; SIGNALS_MAX],
    /// As many as there are fibers in [`Signal::recv`].
    waiters: Vec<Waiter>,
    next_id: u64,
}

struct Waiter {
    id: u64,
    index: usize,
    /// The count at which it began to wait.
    seen: u64,
    ticket: RemoteTicket,
}

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SignalKind(libc::c_int);

impl SignalKind {
    /// `SIGINT`: ctrl-c at the terminal.
    pub const INTERRUPT: Self = Self(libc::SIGINT);
    /// `SIGTERM`: the polite request to end.
    pub const TERMINATE: Self = Self(libc::SIGTERM);
    /// `SIGHUP`: the terminal has gone; for services, "read your configuration again".
    pub const HANGUP: Self = Self(libc::SIGHUP);
    /// `SIGQUIT`: ctrl-\ at the terminal.
    pub const QUIT: Self = Self(libc::SIGQUIT);
    /// `SIGUSR1`.
    pub const USER1: Self = Self(libc::SIGUSR1);
    /// `SIGUSR2`.
    pub const USER2: Self = Self(libc::SIGUSR2);
    /// `SIGCHLD`: a child has ended.
    pub const CHILD: Self = Self(libc::SIGCHLD);
    /// `SIGWINCH`: the terminal has another size.
    pub const WINDOW_CHANGE: Self = Self(libc::SIGWINCH);

    /// A signal by its number.
    #[must_use]
    pub const fn from_raw(number: i32) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn as_raw(self) -> i32 {
        self.0
    }

    /// Its place in the tables.
    ///
    /// # Errors
    ///
    /// For a number that is no signal, and for those that cannot be handled or must not be handled
    /// later: a fault would come again at once.
    fn index(self) -> io::Result<usize> {
        const REFUSED: [libc::c_int; 6] =
            [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];
        let index = usize::try_from(self.0).unwrap_or(0);
        if index == 0 || index >= SIGNALS_MAX || REFUSED.contains(&self.0) {
            let text = format!("signal {} cannot be waited for", self.0);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(index)
    }
}

/// A listener to one kind of signal: a stream of events. Each listener gets each signal that comes
/// after it was made; several that come before it looks are one event, as the kernel has it.
///
/// It may be sent to another shard.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use cede::signal::{SignalKind, signal};
///
/// let mut reload = signal(SignalKind::HANGUP)?;
/// let waiter = cede::spawn(move || reload.recv());
/// // SAFETY: no pointers are passed.
/// unsafe { libc::raise(libc::SIGHUP) };
/// # waiter.join().unwrap()
/// # }).unwrap().unwrap();
/// ```
pub struct Signal {
    kind: SignalKind,
    index: usize,
    /// The count up to which signals were handed over.
    seen: u64,
}

/// Listens to ctrl-c.
///
/// # Errors
///
/// As [`signal`].
///
/// # Examples
///
/// ```no_run
/// # use cede_fiber as cede;
/// # fn main() -> std::io::Result<()> { cede::run(|| {
/// let mut ctrl_c = cede::signal::ctrl_c()?;
/// ctrl_c.recv()?; // parks until somebody presses it
/// println!("good bye");
/// # Ok(()) })? }
/// ```
pub fn ctrl_c() -> io::Result<Signal> {
    signal(SignalKind::INTERRUPT)
}

/// Listens to the polite request to end.
///
/// # Errors
///
/// As [`signal`].
pub fn terminate() -> io::Result<Signal> {
    signal(SignalKind::TERMINATE)
}

/// Listens to hang-ups.
///
/// # Errors
///
/// As [`signal`].
pub fn hangup() -> io::Result<Signal> {
    signal(SignalKind::HANGUP)
}

/// Listens to a signal. From the first listener on, the signal's default action is off in the whole
/// process, also when all listeners have gone, and a handler that was there before is not called.
///
/// # Errors
///
/// For signals that cannot be handled, and when the system has no descriptor or thread.
pub fn signal(kind: SignalKind) -> io::Result<Signal> {
    let index = kind.index()?;
    let mut state = lock();
    if EVENTFD.load(Ordering::Acquire) < 0 {
        start_thread()?;
    }
    if !state.installed[index] {
        set_action(kind, on_signal as *const () as libc::sighandler_t)?;
        state.installed[index] = true;
    }
    Ok(Signal { kind, index, seen: COUNTS[index].load(Ordering::Acquire) })
}

/// Gives a signal its default action again. Listeners that are there get no more events, until
/// another one is made.
///
/// # Errors
///
/// For signals that cannot be handled.
pub fn restore_default(kind: SignalKind) -> io::Result<()> {
    let index = kind.index()?;
    let mut state = lock();
    set_action(kind, libc::SIG_DFL)?;
    state.installed[index] = false;
    Ok(())
}

impl Signal {
    /// Waits for the next signal.
    ///
    /// # Errors
    ///
    /// A cancel or a deadline, and outside of a fiber.
    #[track_caller]
    pub fn recv(&mut self) -> io::Result<()> {
        loop {
            if self.try_recv() {
                return Ok(());
            }
            let park = Park::begin()?;
            let waiting = {
                let mut state = lock();
                // The thread that wakes takes the lock after the count has changed.
                if COUNTS[self.index].load(Ordering::Acquire) != self.seen {
                    continue;
                }
                let (id, ticket) = (state.next_id, park.remote_ticket());
                state.next_id += 1;
                state.waiters.push(Waiter { id, index: self.index, seen: self.seen, ticket });
                Waiting(id)
            };
            let _outside = OutsideWork::begin();
            let waited = park.wait(Wait::new(WaitKind::Other, self.kind.0 as u64), None);
            drop(waiting);
            waited?;
        }
    }

    /// Whether a signal has come that was not handed over yet; it is then.
    pub fn try_recv(&mut self) -> bool {
        let count = COUNTS[self.index].load(Ordering::Acquire);
        std::mem::replace(&mut self.seen, count) != count
    }

    /// Which signal.
    #[must_use]
    pub fn kind(&self) -> SignalKind {
        self.kind
    }
}

/// Ends when a wait fails: by a cancel or a deadline.
impl Iterator for Signal {
    type Item = ();

    #[track_caller]
    fn next(&mut self) -> Option<()> {
        self.recv().ok()
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Leaves the list of those who wait.
struct Waiting(u64);

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = lock();
        if let Some(at) = state.waiters.iter().position(|waiter| waiter.id == self.0) {
            state.waiters.swap_remove(at);
        }
    }
}

fn set_action(kind: SignalKind, action: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: a sigaction of zeros is valid, and its mask empty. The handler is a function of the
    // right type that does only what a handler may, or the default. SA_ONSTACK: on a shard's thread
    // it runs on the alternate stack, because a fiber's own may be nearly full.
    let done = unsafe {
        let mut new: libc::sigaction = std::mem::zeroed();
        new.sa_sigaction = action;
        new.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        libc::sigaction(kind.0, &raw const new, std::ptr::null_mut())
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The handler: two atomics and a write, all of which a handler may use.
extern "C" fn on_signal(number: libc::c_int) {
    let count = usize::try_from(number).ok().and_then(|index| COUNTS.get(index));
    if let Some(count) = count {
        count.fetch_add(1, Ordering::Release);
    }
    let one = 1_u64;
    // SAFETY: eight bytes are read from `one`; the descriptor is never closed. `errno` belongs to
    // the code that was interrupted and is put back.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        libc::write(EVENTFD.load(Ordering::Acquire), (&raw const one).cast(), 8);
        *errno = before;
    }
}

fn start_thread() -> io::Result<()> {
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was made just now and belongs to nobody else.
    let eventfd = unsafe { OwnedFd::from_raw_fd(fd) };
    let (here, is_here) = mpsc::channel::<()>();
    std::thread::Builder::new().name("cede-signal".into()).spawn(move || {
        drop(here);
        run_thread(&eventfd);
    })?;
    // What a thread allocates when it begins is not to come later, in the midst of other work.
    let _ = is_here.recv();
    EVENTFD.store(fd, Ordering::Release);
    Ok(())
}

/// Wakes fibers, for as long as the process lives.
fn run_thread(eventfd: &OwnedFd) {
    let _helper = HelperThread::register();
    loop {
        let mut count = 0_u64;
        // SAFETY: eight bytes are written to `count`. The only error is an interruption, after
        // which a look does no harm.
        unsafe { libc::read(eventfd.as_raw_fd(), (&raw mut count).cast(), 8) };
        let mut state = lock();
        state.waiters.retain(|waiter| {
            let waits = COUNTS[waiter.index].load(Ordering::Acquire) == waiter.seen;
            if !waits {
                waiter.ticket.wake();
            }
            waits
        });
    }
}
