//! The stacks of one shard: handed out last in, first out, trimmed when the shard is idle.
//!
//! A first touch of a page costs some 6 us, a reuse nothing, so touched stacks are kept warm up to
//! a limit. What a deep call left behind below the watermark is given back when the shard next has
//! nothing to do.

use std::io;

use super::slab::{Slab, StackGuard, discard};
use super::{STACK_BYTES_MAX, STACK_BYTES_MIN, Stack};

/// Pages of an unused stack further down than this are given back to the system.
const WATERMARK_BYTES: usize = 16 * 1024;
/// Stacks in the first slab of a size. Each following slab is twice as large.
const SLAB_STACKS_FIRST: usize = 16;
/// Stacks in the largest slab: with the default size about 1 GiB of address space.
const SLAB_STACKS_MAX: usize = 4096;
/// Stacks that one call of `trim` looks at, which takes at most some 100 us.
const TRIM_BATCH_MAX: usize = 256;

#[derive(Debug)]
struct FreeStack {
    stack: Stack,
    /// Used since it was trimmed.
    dirty: bool,
}

/// Stacks of one size.
#[derive(Debug)]
struct Class {
    usable: usize,
    slabs: Vec<Slab>,
    /// The first of them that may hold stacks that were never used.
    carving: usize,
    /// Touched before; the last one was used most recently.
    warm: Vec<FreeStack>,
    /// Given back to the system: a first touch costs a page fault again.
    cold: Vec<Stack>,
    /// How many of `warm` are dirty.
    dirty: usize,
}

/// The stacks of one shard.
#[derive(Debug)]
pub(crate) struct StackPool {
    classes: Vec<Class>,
    guard: StackGuard,
    warm_max: usize,
}

/// The usable size that a request is rounded up to: a power of two, so that there are few classes.
///
/// # Errors
///
/// When no fiber could run on it.
pub(crate) fn class_bytes(requested: usize) -> io::Result<usize> {
    if (STACK_BYTES_MIN..=STACK_BYTES_MAX).contains(&requested) {
        return Ok(requested.next_power_of_two());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "a fiber stack of {requested} bytes cannot work: {STACK_BYTES_MIN} to {STACK_BYTES_MAX} can"
        ),
    ))
}

impl StackPool {
    /// A pool that keeps up to `warm_max` unused stacks of each size resident.
    pub(crate) fn new(guard: StackGuard, warm_max: usize) -> io::Result<Self> {
        Ok(Self { classes: Vec::new(), guard: guard.resolve()?, warm_max })
    }

    /// Hands out a stack of at least `requested` bytes.
    #[inline]
    pub(crate) fn acquire(&mut self, requested: usize) -> io::Result<Stack> {
        let class = match self.classes.first() {
            // The default size, asked for by nearly everyone, is first.
            Some(first) if first.usable == requested => 0,
            _ => self.class(requested)?,
        };
        let class = &mut self.classes[class];
        if let Some(free) = class.warm.pop() {
            class.dirty -= usize::from(free.dirty);
            return Ok(free.stack);
        }
        class.acquire_cold(self.guard)
    }

    #[cold]
    fn class(&mut self, requested: usize) -> io::Result<usize> {
        let usable = class_bytes(requested)?;
        if let Some(index) = self.classes.iter().position(|c| c.usable == usable) {
            return Ok(index);
        }
        let (slabs, warm, cold) = (Vec::new(), Vec::new(), Vec::new());
        self.classes.push(Class { usable, slabs, carving: 0, warm, cold, dirty: 0 });
        Ok(self.classes.len() - 1)
    }

    /// Maps so many stacks more of this size, and makes room to take them all back.
    pub(crate) fn reserve(&mut self, requested: usize, count: usize) -> io::Result<()> {
        let class = self.class(requested)?;
        let class = &mut self.classes[class];
        let (usable, guard) = (class.usable, self.guard);
        class.slabs.reserve(count.div_ceil(SLAB_STACKS_MAX));
        let mut mapped = 0;
        while mapped < count {
            let stacks = (count - mapped).min(SLAB_STACKS_MAX);
            class.slabs.push(Slab::map(usable, stacks, guard).map_err(|e| no_room(usable, &e))?);
            mapped += stacks;
        }
        let room = class.warm.try_reserve_exact(count.min(self.warm_max));
        room.and_then(|()| class.cold.try_reserve_exact(count))?;
        Ok(())
    }

    /// Takes a stack back.
    #[inline]
    pub(crate) fn release(&mut self, stack: Stack) {
        let Some(class) = self.classes.iter_mut().find(|c| c.usable == stack.usable) else {
            return;
        };
        if class.warm.len() < self.warm_max {
            class.warm.push(FreeStack { stack, dirty: true });
            class.dirty += 1;
            return;
        }
        // SAFETY: the stack is unused, and its usable range is page-aligned and in a slab.
        unsafe { discard(stack.bottom()..stack.top.get()) };
        class.cold.push(stack);
    }

    /// Whether `trim` has something to do.
    pub(crate) fn wants_trim(&self) -> bool {
        self.classes.iter().any(|c| c.dirty > 0)
    }

    /// Gives back what unused stacks hold below the watermark.
    pub(crate) fn trim(&mut self) {
        let mut budget = TRIM_BATCH_MAX;
        for class in &mut self.classes {
            // The dirty ones are at the end: that is where stacks come back.
            for free in class.warm.iter_mut().rev() {
                if class.dirty == 0 || budget == 0 {
                    break;
                }
                if !free.dirty {
                    continue;
                }
                free.dirty = false;
                class.dirty -= 1;
                budget -= 1;
                let keep = free.stack.top.get() - WATERMARK_BYTES.min(free.stack.usable);
                if keep > free.stack.bottom() {
                    // SAFETY: the stack is unused; bottom and watermark are page-aligned and in a
                    // slab.
                    unsafe { discard(free.stack.bottom()..keep) };
                }
            }
        }
    }

    /// Never unmaps what is mapped now: a fiber that would not unwind still has its frames there.
    pub(crate) fn leak(&mut self) {
        std::mem::take(&mut self.classes).into_iter().for_each(|mut class| {
            std::mem::take(&mut class.slabs).into_iter().for_each(std::mem::forget);
        });
    }
}

impl Class {
    #[cold]
    fn acquire_cold(&mut self, guard: StackGuard) -> io::Result<Stack> {
        if let Some(stack) = self.cold.pop() {
            return Ok(stack);
        }
        while let Some(slab) = self.slabs.get_mut(self.carving) {
            if let Some(stack) = slab.carve()? {
                return Ok(stack);
            }
            self.carving += 1;
        }
        let mut count = (SLAB_STACKS_FIRST << self.slabs.len().min(16)).min(SLAB_STACKS_MAX);
        loop {
            match Slab::map(self.usable, count, guard) {
                Ok(mut slab) => {
                    let stack = slab.carve()?;
                    self.slabs.push(slab);
                    return stack.ok_or_else(|| io::Error::other("a new slab holds no stack"));
                }
                // Little address space is left (RLIMIT_AS): a smaller slab may still fit.
                Err(_) if count > 1 => count /= 4,
                Err(e) => return Err(no_room(self.usable, &e)),
            }
            count = count.max(1);
        }
    }
}

fn no_room(usable: usize, error: &io::Error) -> io::Error {
    io::Error::new(
        io::ErrorKind::OutOfMemory,
        format!(
            "no address space for another fiber stack of {} KiB ({error}): fewer fibers, a smaller stack_size or a \
             higher limit (ulimit -v, vm.overcommit_memory) would help",
            usable / 1024
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::GUARD_BYTES;

    fn pool(guard: StackGuard) -> StackPool {
        StackPool::new(guard, 4).unwrap()
    }

    fn touch(stack: &Stack, depth: usize) {
        // SAFETY: `depth` is within the usable part, and nobody else uses the stack.
        unsafe { *((stack.top.get() - depth) as *mut u8) = 1 };
    }

    fn is_resident(address: usize) -> bool {
        let page = address & !4095;
        let mut vec = 0u8;
        // SAFETY: one page of a mapped range is asked about, and one byte is written.
        assert_eq!(unsafe { libc::mincore(page as *mut libc::c_void, 4096, &raw mut vec) }, 0);
        vec & 1 == 1
    }

    #[test]
    fn reuse_is_last_in_first_out() {
        let mut pool = pool(StackGuard::Auto);
        let (a, b) = (pool.acquire(65536).unwrap(), pool.acquire(65536).unwrap());
        let (at, bt) = (a.top, b.top);
        pool.release(a);
        pool.release(b);
        assert_eq!(pool.acquire(65536).unwrap().top, bt);
        assert_eq!(pool.acquire(65536).unwrap().top, at);
    }

    #[test]
    fn sizes_are_rounded_up_and_absurd_ones_refused() {
        let mut pool = pool(StackGuard::Auto);
        assert_eq!(pool.acquire(100_000).unwrap().usable, 131_072);
        for absurd in [0, 1, STACK_BYTES_MIN - 1, STACK_BYTES_MAX + 1, usize::MAX] {
            let error = pool.acquire(absurd).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{absurd}");
        }
    }

    #[test]
    fn trimming_gives_back_what_is_below_the_watermark_and_keeps_the_rest() {
        let mut pool = pool(StackGuard::Auto);
        let stack = pool.acquire(262_144).unwrap();
        touch(&stack, 8);
        touch(&stack, 200_000);
        let top = stack.top.get();
        pool.release(stack);
        assert!(pool.wants_trim());
        assert!(is_resident(top - 200_000));
        pool.trim();
        assert!(!pool.wants_trim());
        assert!(is_resident(top - 8));
        assert!(!is_resident(top - 200_000));
    }

    #[test]
    fn stacks_beyond_the_warm_ones_are_given_back_whole() {
        let mut pool = pool(StackGuard::Auto);
        let stacks: Vec<_> = (0..6).map(|_| pool.acquire(65536).unwrap()).collect();
        let tops: Vec<_> = stacks.iter().map(|s| s.top.get()).collect();
        for stack in stacks {
            touch(&stack, 8);
            pool.release(stack);
        }
        let resident = tops.iter().filter(|top| is_resident(*top - 8)).count();
        assert_eq!(resident, 4);
    }

    #[test]
    fn both_guards_lie_below_the_stack() {
        for guard in [StackGuard::Auto, StackGuard::Protect] {
            let stack = pool(guard).acquire(65536).unwrap();
            assert_eq!(stack.guard().end, stack.bottom());
            assert_eq!(stack.guard().len(), GUARD_BYTES);
            assert_eq!(stack.top.get() % 4096, 0);
        }
    }
}
