//! A list of those who wait for one thing on one shard. Nearly always one, who then costs no
//! allocation.

use std::cell::Cell;
use std::collections::VecDeque;

use crate::wait::Ticket;

#[derive(Default)]
pub(crate) struct Tickets {
    first: Cell<Option<Ticket>>,
    /// Boxed and absent, because making and dropping an empty queue costs too.
    #[allow(clippy::box_collection, reason = "one word when there are none")]
    more: Cell<Option<Box<VecDeque<Ticket>>>>,
}

impl Tickets {
    #[inline]
    pub(crate) fn push(&self, ticket: Ticket) {
        if self.first.get().is_none() {
            self.first.set(Some(ticket));
        } else {
            self.push_more(ticket);
        }
    }

    #[cold]
    fn push_more(&self, ticket: Ticket) {
        let mut more = self.more.take().unwrap_or_default();
        more.push_back(ticket);
        self.more.set(Some(more));
    }

    /// Takes out one that gave up.
    pub(crate) fn remove(&self, ticket: Ticket) {
        let mut more = self.more.take();
        if self.first.get() == Some(ticket) {
            self.first.set(more.as_mut().and_then(|more| more.pop_front()));
        } else if let Some(more) = &mut more {
            more.retain(|t| *t != ticket);
        }
        self.more.set(more);
    }

    #[inline]
    pub(crate) fn wake_all(&self) {
        if let Some(first) = self.first.take() {
            first.wake();
            if let Some(more) = self.more.take() {
                wake_each(*more);
            }
        }
    }
}

#[cold]
fn wake_each(tickets: VecDeque<Ticket>) {
    for ticket in tickets {
        ticket.wake();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::wait::{Park, Wait, WaitKind};
    use crate::{JoinHandle, is_cancelled, run, spawn, yield_now};

    #[derive(Debug, Clone)]
    enum Step {
        Come,
        GiveUp(Index),
        WakeAll,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => Just(Step::Come),
            3 => any::<Index>().prop_map(Step::GiveUp),
            1 => Just(Step::WakeAll),
        ];
        prop::collection::vec(step, 1..50)
    }

    /// A fiber that waits on the list and writes its number down when it was woken.
    fn waiter(number: u32, list: &Rc<Tickets>, log: &Rc<RefCell<Vec<u32>>>) -> JoinHandle<()> {
        let (list, log) = (Rc::clone(list), Rc::clone(log));
        let handle = spawn(move || {
            let park = Park::begin().unwrap();
            let ticket = park.ticket();
            list.push(ticket);
            match park.wait(Wait::new(WaitKind::Other, 0), None) {
                Ok(()) => log.borrow_mut().push(number),
                Err(error) => {
                    assert!(is_cancelled(&error));
                    list.remove(ticket);
                }
            }
        });
        yield_now();
        handle
    }

    fn check(steps: Vec<Step>) {
        let (list, log) = (Rc::new(Tickets::default()), Rc::default());
        // Who waits, in the order of coming.
        let mut waiting: Vec<(u32, JoinHandle<()>)> = Vec::new();
        for (number, step) in (0..).zip(steps) {
            match step {
                Step::Come => waiting.push((number, waiter(number, &list, &log))),
                Step::GiveUp(index) if !waiting.is_empty() => {
                    let (_, fiber) = waiting.remove(index.index(waiting.len()));
                    fiber.cancel();
                    fiber.join().unwrap();
                }
                Step::GiveUp(_) => {}
                Step::WakeAll => {
                    list.wake_all();
                    yield_now();
                    let expected: Vec<u32> = waiting.drain(..).map(|(number, _)| number).collect();
                    assert_eq!(log.take(), expected, "each once, in the order of coming");
                }
            }
            assert!(log.borrow().is_empty(), "woken by nobody");
            let more = list.more.take();
            let count = more.as_ref().map_or(0, |more| more.len());
            list.more.set(more);
            let held = usize::from(list.first.get().is_some()) + count;
            assert_eq!(held, waiting.len(), "who gave up is out of the list");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        #[cfg_attr(miri, ignore = "switches stacks, which Miri cannot")]
        fn p03_waiters_are_woken_once_in_the_order_of_coming(steps in steps()) {
            run(move || check(steps)).unwrap();
        }
    }
}
