//! One registration: what is known of a descriptor's readiness, and who waits for it.
//!
//! ```text
//!   key (u64) = generation (32 bits) | index in the slab (32 bits)
//!                     |                        |
//!                     |            +-----------v------------------------------+
//!                     +--- must -->| generation | readiness | readers | writers |
//!                          match   +------------------------------------------+
//! ```
//!
//! The generation is new at each registration, so an event that the kernel reported for a
//! descriptor closed in the same batch, or for a duplicate of it that lives on in another process,
//! finds no registration and is dropped.

use crate::readiness::{Direction, Readiness};

/// Who waits in one direction. Nearly always nobody or one, so the first costs no allocation.
#[derive(Debug)]
pub(crate) struct Waiters<W> {
    first: Option<W>,
    more: Vec<W>,
}

impl<W: Copy + PartialEq> Waiters<W> {
    pub(crate) const fn new() -> Self {
        Self { first: None, more: Vec::new() }
    }

    pub(crate) fn push(&mut self, waiter: W) {
        if self.first.is_none() {
            self.first = Some(waiter);
        } else {
            self.more.push(waiter);
        }
    }

    /// Returns whether it was there.
    pub(crate) fn remove(&mut self, waiter: W) -> bool {
        if self.first == Some(waiter) {
            self.first = if self.more.is_empty() { None } else { Some(self.more.remove(0)) };
            return true;
        }
        match self.more.iter().position(|w| *w == waiter) {
            Some(at) => {
                self.more.remove(at);
                true
            }
            None => false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    /// Takes everyone out, in the order of their coming.
    pub(crate) fn drain(&mut self, mut wake: impl FnMut(W)) {
        if let Some(first) = self.first.take() {
            wake(first);
            for waiter in self.more.drain(..) {
                wake(waiter);
            }
        }
    }
}

/// A registration.
#[derive(Debug)]
pub(crate) struct Source<W> {
    /// Set at registration, never changed.
    pub(crate) generation: u32,
    /// What may be tried. Bits are set by events, cleared by "would block" and short reads.
    pub(crate) ready: Readiness,
    /// Whether the poller was asked about writing as well.
    pub(crate) writes: bool,
    readers: Waiters<W>,
    writers: Waiters<W>,
}

impl<W: Copy + PartialEq> Source<W> {
    pub(crate) fn new(generation: u32, ready: Readiness, writes: bool) -> Self {
        Self { generation, ready, writes, readers: Waiters::new(), writers: Waiters::new() }
    }

    pub(crate) fn waiters(&mut self, direction: Direction) -> &mut Waiters<W> {
        match direction {
            Direction::Read => &mut self.readers,
            Direction::Write => &mut self.writers,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Waiters;

    #[derive(Debug, Clone)]
    enum Step {
        Push(u8),
        Remove(u8),
        Drain,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Few names, so that a waiter is often in the list twice, once, or not at all.
        let step = prop_oneof![
            5 => (0..8u8).prop_map(Step::Push),
            4 => (0..8u8).prop_map(Step::Remove),
            1 => Just(Step::Drain),
        ];
        prop::collection::vec(step, 1..100)
    }

    /// Debug builds take a fifth.
    const CASES: u32 = match (cfg!(miri), cfg!(debug_assertions)) {
        (true, _) => 20,
        (false, true) => 200,
        (false, false) => 1_000,
    };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(CASES))]

        #[test]
        fn waiters_behave_like_a_list(steps in steps()) {
            let mut waiters = Waiters::new();
            let mut model = Vec::new();
            for step in steps {
                match step {
                    Step::Push(w) => {
                        waiters.push(w);
                        model.push(w);
                    }
                    Step::Remove(w) => {
                        let at = model.iter().position(|x| *x == w);
                        at.map(|at| model.remove(at));
                        prop_assert_eq!(waiters.remove(w), at.is_some());
                    }
                    Step::Drain => {
                        let mut woken = Vec::new();
                        waiters.drain(|w| woken.push(w));
                        prop_assert_eq!(woken, std::mem::take(&mut model));
                    }
                }
                prop_assert_eq!(waiters.len(), model.len());
            }
        }
    }

    #[test]
    fn waiters_keep_their_order_and_can_leave() {
        let mut waiters = Waiters::new();
        for w in 1..=4 {
            waiters.push(w);
        }
        assert!(waiters.remove(1));
        assert!(waiters.remove(3));
        assert!(!waiters.remove(3));
        assert_eq!(waiters.len(), 2);
        let mut woken = Vec::new();
        waiters.drain(|w| woken.push(w));
        assert_eq!(woken, [2, 4]);
        assert_eq!(waiters.len(), 0);
    }
}
