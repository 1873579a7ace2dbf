//! The run queue of a shard: first in, first out.
//!
//! What a `VecDeque` does, but the number of places is a power of two, so that a mask wraps around
//! where a `VecDeque` compares: 7 of the 90 instructions of a yield, and 13 of 276 of a ping-pong.

use crate::shard::RecordPtr;

/// Places at first.
const PLACES_MIN: usize = 64;

/// See the module.
pub(crate) struct Ready {
    /// A power of two of them.
    places: Box<[RecordPtr]>,
    /// The place of the first one; below the number of places.
    first: usize,
    len: usize,
}

impl Ready {
    /// A queue with room for so many.
    pub(crate) fn with_room(count: usize) -> Self {
        let places = count.max(PLACES_MIN).next_power_of_two();
        Self { places: vec![std::ptr::null(); places].into(), first: 0, len: 0 }
    }

    /// The place so far behind the first one. It is below the number of places, which is a power of
    /// two and so not 0.
    #[inline(always)]
    fn place(&self, behind: usize) -> usize {
        (self.first + behind) & (self.places.len() - 1)
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, record: RecordPtr) {
        if self.len == self.places.len() {
            self.grow();
        }
        let place = self.place(self.len);
        // SAFETY: `place` returns the index of a place.
        unsafe { *self.places.get_unchecked_mut(place) = record };
        self.len += 1;
    }

    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<RecordPtr> {
        if self.len == 0 {
            return None;
        }
        // SAFETY: `first` is 0 or what `place` returned.
        let record = unsafe { *self.places.get_unchecked(self.first) };
        self.first = self.place(1);
        self.len -= 1;
        Some(record)
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
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
        fn p21_it_is_a_queue_however_it_grows_and_wraps(steps in steps(), first in 0..PLACES_MIN) {
            let mut ready = Ready { first, ..Ready::with_room(1) };
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
