//! A counted pointer for what every fiber has once: an `Rc` whose memory is kept for the next one.
//!
//! A thread keeps the blocks of values that fit into [`BLOCK_BYTES`] in a list, so that a spawn in a
//! warm program asks the allocator for nothing. Larger values go to the allocator and back.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::{self, NonNull};

/// What the join of a small value takes, and some room.
const BLOCK_BYTES: usize = 128;
/// What malloc gives on 64 bits.
const BLOCK_ALIGN: usize = 16;
/// Blocks that a thread keeps: half a mebibyte.
const BLOCKS_KEPT_MAX: usize = 4096;
/// AddressSanitizer would not see the use of a block that is kept.
const KEEPS: bool = !cfg!(feature = "sanitizer");

const BLOCK: Layout = match Layout::from_size_align(BLOCK_BYTES, BLOCK_ALIGN) {
    Ok(layout) => layout,
    Err(_) => unreachable!(),
};

/// A block that nobody uses.
struct Free {
    next: *mut Free,
}

/// The blocks that a thread keeps.
struct Kept {
    first: Cell<*mut Free>,
    count: Cell<usize>,
}

thread_local! {
    static KEPT: Kept = const { Kept { first: Cell::new(ptr::null_mut()), count: Cell::new(0) } };
}

impl Kept {
    #[inline(always)]
    fn pop(&self) -> Option<NonNull<u8>> {
        let first = NonNull::new(self.first.get())?;
        // SAFETY: what is in the list is a block of ours that nobody uses, and begins with a `Free`.
        self.first.set(unsafe { first.as_ref() }.next);
        self.count.set(self.count.get() - 1);
        Some(first.cast())
    }

    /// Keeps a block. False: there are enough.
    ///
    /// # Safety
    ///
    /// The block is of the layout `BLOCK`, from the allocator, and nobody uses it.
    #[inline(always)]
    unsafe fn push(&self, block: NonNull<u8>) -> bool {
        if !KEEPS || self.count.get() >= BLOCKS_KEPT_MAX {
            return false;
        }
        let free = block.cast::<Free>();
        // SAFETY: the block is ours (contract), and large and aligned enough for a pointer.
        unsafe { free.write(Free { next: self.first.get() }) };
        self.first.set(free.as_ptr());
        self.count.set(self.count.get() + 1);
        true
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        while let Some(block) = self.pop() {
            // SAFETY: what is in the list came from the allocator with this layout.
            unsafe { dealloc(block.as_ptr(), BLOCK) };
        }
    }
}

/// Memory for a value of this layout.
#[inline(always)]
fn acquire(layout: Layout) -> NonNull<u8> {
    if fits(layout) {
        // The list is gone while the thread ends.
        if let Ok(Some(block)) = KEPT.try_with(Kept::pop) {
            return block;
        }
        return allocate(BLOCK);
    }
    allocate(layout)
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: the layout is that of a counted value, whose size is not 0, or BLOCK.
    let memory = unsafe { alloc(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}

/// Gives back what `acquire` gave.
///
/// # Safety
///
/// `memory` is from `acquire` with the same layout, on any thread, and nobody uses it.
#[inline(always)]
unsafe fn release(memory: NonNull<u8>, layout: Layout) {
    let layout = if fits(layout) { BLOCK } else { layout };
    // SAFETY: a layout that fits was replaced by BLOCK in `acquire` as well (contract).
    if layout == BLOCK && KEPT.try_with(|kept| unsafe { kept.push(memory) }) == Ok(true) {
        return;
    }
    // SAFETY: it came from the allocator with this layout.
    unsafe { dealloc(memory.as_ptr(), layout) };
}

#[inline(always)]
const fn fits(layout: Layout) -> bool {
    layout.size() <= BLOCK_BYTES && layout.align() <= BLOCK_ALIGN
}

struct Inner<T> {
    count: Cell<usize>,
    value: T,
}

/// See the module. It stays on its thread.
pub(crate) struct Counted<T> {
    inner: NonNull<Inner<T>>,
    /// It owns one.
    marker: PhantomData<Inner<T>>,
}

/// Moving the pointer does not move the value.
impl<T> Unpin for Counted<T> {}

impl<T> Counted<T> {
    /// Makes the value in its place: one that is built elsewhere and copied at once costs a stall,
    /// because the copy reads in larger pieces than were written.
    #[inline(always)]
    pub(crate) fn new(value: impl FnOnce() -> T) -> Self {
        let inner = acquire(Layout::new::<Inner<T>>()).cast::<Inner<T>>();
        // SAFETY: the memory is of this layout, and ours. If `value` panicked, it would leak.
        unsafe { inner.write(Inner { count: Cell::new(1), value: value() }) };
        Self { inner, marker: PhantomData }
    }

    #[inline(always)]
    fn inner(&self) -> &Inner<T> {
        // SAFETY: it lives as long as there is one that counts.
        unsafe { self.inner.as_ref() }
    }

    /// Whether there is no other.
    #[inline]
    pub(crate) fn is_last(&self) -> bool {
        self.inner().count.get() == 1
    }
}

impl<T> Clone for Counted<T> {
    #[inline]
    fn clone(&self) -> Self {
        // It cannot overflow: there are two of each, the fiber's and the handle's, and only the
        // crate makes them.
        let count = &self.inner().count;
        count.set(count.get() + 1);
        Self { inner: self.inner, marker: PhantomData }
    }
}

impl<T> Deref for Counted<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T> Drop for Counted<T> {
    #[inline]
    fn drop(&mut self) {
        let count = &self.inner().count;
        count.set(count.get() - 1);
        if count.get() == 0 {
            /// Gives the memory back, also when the value's destructor panics.
            struct Memory<T>(NonNull<Inner<T>>);
            impl<T> Drop for Memory<T> {
                #[inline(always)]
                fn drop(&mut self) {
                    // SAFETY: it is from `acquire` with this layout, and its value is gone.
                    unsafe { release(self.0.cast(), Layout::new::<Inner<T>>()) };
                }
            }
            let memory = Memory(self.inner);
            // SAFETY: this was the last one, so nobody looks at the value any more.
            unsafe { ptr::drop_in_place(memory.0.as_ptr()) };
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;

    use super::*;

    fn kept() -> usize {
        KEPT.with(|kept| kept.count.get())
    }

    #[test]
    fn a_value_goes_with_the_last_one_and_its_memory_is_used_again() {
        let value = Rc::new(7);
        let one = Counted::new(|| Rc::clone(&value));
        let address = one.inner;
        let other = one.clone();
        assert!(!one.is_last());
        drop(one);
        assert!(other.is_last());
        assert_eq!((**other, Rc::strong_count(&value)), (7, 2));
        drop(other);
        assert_eq!((kept(), Rc::strong_count(&value)), (usize::from(KEEPS), 1));
        if KEEPS {
            assert_eq!(Counted::new(|| 0usize).inner.cast(), address.cast::<Inner<usize>>());
        }
    }

    #[test]
    fn large_values_are_not_kept() {
        let large = Counted::new(|| [1u8; BLOCK_BYTES]);
        assert_eq!(large[BLOCK_BYTES - 1], 1);
        drop(large);
        #[repr(align(64))]
        struct Aligned(u8);
        let aligned = Counted::new(|| Aligned(3));
        assert_eq!((std::ptr::from_ref(&*aligned).addr() % 64, aligned.0), (0, 3));
        drop(aligned);
        assert_eq!(kept(), 0);
    }

    #[test]
    fn no_more_than_the_limit_are_kept() {
        let many: Vec<_> = (0..BLOCKS_KEPT_MAX + 10).map(|n| Counted::new(|| n)).collect();
        drop(many);
        assert_eq!(kept(), if KEEPS { BLOCKS_KEPT_MAX } else { 0 });
    }

    #[test]
    fn memory_comes_back_when_a_destructor_panics() {
        struct Panics;
        impl Drop for Panics {
            fn drop(&mut self) {
                panic!("on purpose");
            }
        }
        let value = Counted::new(|| Panics);
        assert!(catch_unwind(AssertUnwindSafe(|| drop(value))).is_err());
        assert_eq!(kept(), usize::from(KEEPS));
    }

    #[test]
    fn one_may_outlive_the_list_of_its_thread() {
        thread_local! {
            static LATE: Cell<Option<Counted<u32>>> = const { Cell::new(None) };
        }
        std::thread::spawn(|| {
            // Made first, so dropped last: the list is gone by then.
            LATE.set(None);
            LATE.set(Some(Counted::new(|| 1)));
        })
        .join()
        .unwrap();
    }
}
