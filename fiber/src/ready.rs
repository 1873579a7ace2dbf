//! The run queue of a shard: first in, first out.
//!
//! A `VecDeque` of any capacity compares to wrap around. Here the number of places is a power of two
//! and both ends are counted without end, which takes a tenth of the instructions out of a yield.

use crate::shard::RecordPtr;

/// Places at first.
const PLACES_MIN: usize = 64;

/// See the module.
pub(crate) struct Ready {
    /// A power of two of them.
    places: Box<[RecordPtr]>,
    /// How many were ever taken out.
    taken: usize,
    /// How many were ever put in.
    put: usize,
}

impl Ready {
    /// A queue with room for so many.
    pub(crate) fn with_room(count: usize) -> Self {
        let places = count.max(PLACES_MIN).next_power_of_two();
        Self { places: vec![std::ptr::null(); places].into(), taken: 0, put: 0 }
    }

    /// The place with this number, counted around. It is below the number of places, which is a
    /// power of two and so not 0.
    #[inline(always)]
    fn place(&self, number: usize) -> usize {
        number & (self.places.len() - 1)
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, record: RecordPtr) {
        if self.len() == self.places.len() {
            self.grow();
        }
        let place = self.place(self.put);
        // SAFETY: `place` returns the index of a place.
        unsafe { *self.places.get_unchecked_mut(place) = record };
        self.put = self.put.wrapping_add(1);
    }

    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<RecordPtr> {
        if self.taken == self.put {
            return None;
        }
        // SAFETY: as in `push`.
        let record = unsafe { *self.places.get_unchecked(self.place(self.taken)) };
        self.taken = self.taken.wrapping_add(1);
        Some(record)
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.put.wrapping_sub(self.taken)
    }

    pub(crate) fn clear(&mut self) {
        self.taken = self.put;
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        let mut larger = Self::with_room(self.places.len() * 2);
        while let Some(record) = self.pop() {
            larger.push(record);
        }
        *self = larger;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Push(u8),
        Pop(u8),
        Clear,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            10 => any::<u8>().prop_map(Step::Push),
            9 => any::<u8>().prop_map(Step::Pop),
            1 => Just(Step::Clear),
        ];
        prop::collection::vec(step, 1..60)
    }

    /// No pointer is followed here.
    fn record(number: usize) -> RecordPtr {
        std::ptr::without_provenance(number)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 10 } else { 300 }))]

        #[test]
        fn p21_it_is_a_queue_however_it_grows_and_wraps(steps in steps(), start in any::<usize>()) {
            let mut ready = Ready { taken: start, put: start, ..Ready::with_room(1) };
            let (mut model, mut number) = (VecDeque::new(), 0);
            for step in steps {
                match step {
                    Step::Push(count) => for _ in 0..count {
                        number += 1;
                        ready.push(record(number));
                        model.push_back(record(number));
                    },
                    Step::Pop(count) => for _ in 0..count {
                        prop_assert_eq!(ready.pop(), model.pop_front());
                    },
                    Step::Clear => {
                        ready.clear();
                        model.clear();
                    }
                }
                prop_assert_eq!(ready.len(), model.len());
            }
        }
    }
}
