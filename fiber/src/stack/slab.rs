//! A slab: one mapping that holds many stacks, each with its guard.
//!
//! With guard markers (`MADV_GUARD_INSTALL`, Linux 6.13) the mapping stays one however many stacks
//! it holds. With `mprotect` each guard splits it, and the kernel's limit on mappings becomes a
//! limit on stacks.

use std::io;
use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use corosensei::stack::valgrind::ValgrindStackRegistration;

use super::{GUARD_BYTES, Stack};

/// Linux 6.13, `include/uapi/asm-generic/mman-common.h`.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MADV_GUARD_INSTALL: libc::c_int = 102;

/// What `vm.max_map_count` is when it cannot be read.
const MAP_COUNT_DEFAULT: usize = 65_530;

/// Address space that must be left when a slab is mapped. Where it is limited (RLIMIT_AS), stacks
/// would take the last of it, and the next allocation of the program would abort it.
const HEADROOM_BYTES: usize = 16 << 20;

/// Stacks of this process whose guard is a mapping of its own.
static PROTECTED: AtomicUsize = AtomicUsize::new(0);

/// How the end of a stack is made to fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StackGuard {
    /// Markers where the kernel has them, else protection.
    #[default]
    Auto,
    /// `MADV_GUARD_INSTALL`: a million stacks fit in one mapping. An error on kernels before 6.13.
    Marker,
    /// `mprotect`: works everywhere, two mappings per stack, so at most half of `vm.max_map_count`
    /// stacks, less some that are left to the rest of the program.
    Protect,
}

impl StackGuard {
    /// Replaces `Auto` by what this kernel can do.
    pub(crate) fn resolve(self) -> io::Result<Self> {
        match self {
            Self::Auto if markers_work() => Ok(Self::Marker),
            Self::Auto => Ok(Self::Protect),
            Self::Marker if !markers_work() => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this kernel has no guard markers (MADV_GUARD_INSTALL, Linux 6.13); use StackGuard::Auto",
            )),
            other => Ok(other),
        }
    }
}

/// One mapping and how much of it has been handed out.
#[derive(Debug)]
pub(crate) struct Slab {
    start: NonZeroUsize,
    bytes: usize,
    /// Usable bytes per stack.
    usable: usize,
    handed_out: usize,
    guard: StackGuard,
    /// Tells valgrind, where it watches, what is a stack: it would take a switch to one nearby for a
    /// huge frame. Eight bytes per stack, and a few instructions when one is first handed out.
    registered: Vec<ValgrindStackRegistration>,
}

impl Slab {
    /// Maps room for `count` stacks. Address space only: no memory is used until a stack is
    /// touched.
    pub(crate) fn map(usable: usize, count: usize, guard: StackGuard) -> io::Result<Self> {
        let bytes = (usable + GUARD_BYTES)
            .checked_mul(count)
            .filter(|bytes| bytes.checked_add(HEADROOM_BYTES).is_some())
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        // SAFETY: a new private anonymous mapping at an address of the kernel's choice touches
        // nothing that exists.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes + HEADROOM_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the range is the end of the mapping made above, which nothing uses.
        unsafe { libc::munmap(start.byte_add(bytes), HEADROOM_BYTES) };
        #[cfg(any(target_os = "linux", target_os = "android"))]
        // SAFETY: the range is the mapping made above. A huge page under a stack would make 2 MiB
        // resident for the one page that most fibers touch; if the advice is refused (no such
        // kernel option), nothing is lost.
        unsafe {
            libc::madvise(start, bytes, libc::MADV_NOHUGEPAGE);
        }
        let start = NonZeroUsize::new(start as usize)
            .ok_or_else(|| io::Error::other("mmap returned address 0"))?;
        let registered = Vec::with_capacity(count);
        Ok(Self { start, bytes, usable, handed_out: 0, guard, registered })
    }

    /// The next stack that was never used; `None` when the slab is used up.
    pub(crate) fn carve(&mut self) -> io::Result<Option<Stack>> {
        let stride = self.usable + GUARD_BYTES;
        if (self.handed_out + 1) * stride > self.bytes {
            return Ok(None);
        }
        let guard_start = self.start.get() + self.handed_out * stride;
        let Some(top) = self.start.checked_add((self.handed_out + 1) * stride) else {
            return Ok(None);
        };
        self.install_guard(guard_start)?;
        self.handed_out += 1;
        let bottom = (top.get() - self.usable) as *mut u8;
        self.registered.push(ValgrindStackRegistration::new(bottom, self.usable));
        Ok(Some(Stack { top, usable: self.usable }))
    }

    fn install_guard(&self, at: usize) -> io::Result<()> {
        if self.guard == StackGuard::Protect {
            let limit = protected_max();
            if PROTECTED.fetch_add(1, Ordering::Relaxed) >= limit {
                PROTECTED.fetch_sub(1, Ordering::Relaxed);
                return Err(io::Error::new(
                    io::ErrorKind::OutOfMemory,
                    format!(
                        "{limit} fiber stacks are guarded by mprotect, which is nearly half of vm.max_map_count; \
                         raise that limit, or run on Linux 6.13 or later, where guards need no mapping of their own"
                    ),
                ));
            }
            // SAFETY: the range is page-aligned and lies in this slab's mapping, in a stack not
            // handed out yet.
            let done =
                unsafe { libc::mprotect(at as *mut libc::c_void, GUARD_BYTES, libc::PROT_NONE) };
            if done != 0 {
                PROTECTED.fetch_sub(1, Ordering::Relaxed);
                return Err(io::Error::last_os_error());
            }
            return Ok(());
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        // SAFETY: the range is page-aligned and lies in this slab's mapping, in a stack not handed
        // out yet.
        if unsafe { libc::madvise(at as *mut libc::c_void, GUARD_BYTES, MADV_GUARD_INSTALL) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        if self.guard == StackGuard::Protect {
            PROTECTED.fetch_sub(self.handed_out, Ordering::Relaxed);
        }
        // SAFETY: the mapping is this slab's own, and the pool drops slabs only when no stack of
        // theirs is in use.
        unsafe { libc::munmap(self.start.get() as *mut libc::c_void, self.bytes) };
    }
}

/// Gives the pages of a range back to the system; reading them afterwards gives zeros. Guards stay.
///
/// # Safety
///
/// The range must be page-aligned and lie in a slab, and nobody may need what is stored there.
pub(crate) unsafe fn discard(range: std::ops::Range<usize>) {
    // SAFETY: handed on to the caller. A refusal leaves the pages resident, which is safe.
    unsafe { libc::madvise(range.start as *mut libc::c_void, range.len(), libc::MADV_DONTNEED) };
}

/// How many stacks may take two mappings each. A sixteenth of the mappings is left to the rest of
/// the program: without any, the next large allocation would abort it.
fn protected_max() -> usize {
    static MAX: OnceLock<usize> = OnceLock::new();
    *MAX.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
        let mappings = text.trim().parse().unwrap_or(MAP_COUNT_DEFAULT);
        (mappings - mappings / 16) / 2
    })
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn markers_work() -> bool {
    static WORK: OnceLock<bool> = OnceLock::new();
    *WORK.get_or_init(|| {
        let Ok(mut slab) = Slab::map(super::STACK_BYTES_MIN, 1, StackGuard::Marker) else {
            return false;
        };
        slab.carve().is_ok()
    })
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn markers_work() -> bool {
    false
}
