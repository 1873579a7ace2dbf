//! `block-on`: what it costs a task to wait for a future: one that is ready, and one that another
//! task of the same thread wakes once.
//!
//! The waker of the second kind takes the waker out of a slot, wakes it and yields: one operation
//! holds both of the switches.

use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::meter::Meter;
use crate::peers;
use crate::sample::{Miss, Outcome, check};
use crate::scenario::{Better, Contestant, Job, Measure, Params, Program, Scenario};

pub const SCENARIO: Scenario = Scenario {
    name: "block-on",
    about: "run a future to its end: ready at once, or woken once by another task of the thread",
    cores: 1,
    measures: &[Measure { name: "", unit: "ns per future", better: Better::Lower }],
    cases: || ["ready", "woken"].map(|future| Params::new().with("future", future)).into(),
    contestants: &[
        #[cfg(feature = "cede")]
        Contestant {
            who: "cede",
            settings: "one shard, block_on in a fiber; woken: by a fiber that then yields",
            program: Program::Rust(cede),
        },
        Contestant {
            who: "tokio",
            settings: "current_thread; ready: its block_on; woken: await in a task, woken by a task",
            program: Program::Rust(tokio),
        },
    ],
};

struct Plan {
    woken: bool,
    warm: u64,
    counted: u64,
}

impl Plan {
    fn of(job: &Job) -> Result<Plan, Miss> {
        let woken = match job.word("future")? {
            "ready" => false,
            "woken" => true,
            other => return Err(Miss::Failed(format!("future cannot be \"{other}\""))),
        };
        let counted =
            if woken { job.count(5_000_000, 1_000_000) } else { job.count(50_000_000, 10_000_000) };
        Ok(Plan { woken, warm: counted / 10, counted })
    }

    fn total(&self) -> u64 {
        self.warm + self.counted
    }

    fn check(&self, sum: u64) -> Result<(), Miss> {
        let n = self.total();
        check("the sum of the futures' values", sum, n * (n + 1) / 2)
    }
}

/// Where a waiting future leaves its waker. A lock that nobody contends for, as futures that may
/// be sent have it; both contestants pay for it alike.
#[derive(Default)]
struct Slot(Mutex<Option<Waker>>);

impl Slot {
    fn put(&self, waker: Waker) {
        *self.0.lock().unwrap() = Some(waker);
    }

    fn take(&self) -> Option<Waker> {
        self.0.lock().unwrap().take()
    }
}

/// Pending at the first poll, ready with its value at the second.
struct Once<'a> {
    slot: &'a Slot,
    value: u64,
    polled: bool,
}

impl Future for Once<'_> {
    type Output = u64;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u64> {
        if self.polled {
            return Poll::Ready(self.value);
        }
        self.polled = true;
        self.slot.put(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(feature = "cede")]
fn cede(job: &Job) -> Outcome {
    use std::rc::Rc;
    let plan = Plan::of(job)?;
    ::cede::run(move || {
        let (mut number, mut sum) = (0, 0);
        let mut meter = Meter::start();
        if !plan.woken {
            for count in [plan.warm, plan.counted] {
                meter = Meter::start();
                for _ in 0..count {
                    number += 1;
                    sum += ::cede::block_on(std::future::ready(black_box(number))).unwrap();
                }
            }
            let spent = meter.stop();
            plan.check(sum)?;
            return Ok(spent.per_op(plan.counted));
        }
        let slot = Rc::new(Slot::default());
        let total = plan.total();
        let waker = {
            let slot = slot.clone();
            ::cede::spawn(move || {
                let mut woken = 0;
                while woken < total {
                    if let Some(waker) = slot.take() {
                        waker.wake();
                        woken += 1;
                    }
                    ::cede::yield_now();
                }
            })
        };
        for count in [plan.warm, plan.counted] {
            meter = Meter::start();
            for _ in 0..count {
                number += 1;
                let future = Once { slot: &slot, value: number, polled: false };
                sum += ::cede::block_on(future).unwrap();
            }
        }
        let spent = meter.stop();
        waker.join().map_err(peers::failed)?;
        plan.check(sum)?;
        Ok(spent.per_op(plan.counted))
    })
    .map_err(peers::failed)?
}

fn tokio(job: &Job) -> Outcome {
    let plan = Plan::of(job)?;
    let runtime = peers::tokio_current_thread()?;
    let (mut number, mut sum) = (0, 0);
    let mut meter = Meter::start();
    if !plan.woken {
        for count in [plan.warm, plan.counted] {
            meter = Meter::start();
            for _ in 0..count {
                number += 1;
                sum += runtime.block_on(std::future::ready(black_box(number)));
            }
        }
        let spent = meter.stop();
        plan.check(sum)?;
        return Ok(spent.per_op(plan.counted));
    }
    let slot = Arc::new(Slot::default());
    let total = plan.total();
    runtime.block_on(async {
        let waker = tokio::spawn({
            let slot = slot.clone();
            async move {
                let mut woken = 0;
                while woken < total {
                    if let Some(waker) = slot.take() {
                        waker.wake();
                        woken += 1;
                    }
                    tokio::task::yield_now().await;
                }
            }
        });
        // A task of its own: `block_on` is a slower place to wait.
        let waiter = tokio::spawn(async move {
            for count in [plan.warm, plan.counted] {
                meter = Meter::start();
                for _ in 0..count {
                    number += 1;
                    sum += Once { slot: &slot, value: number, polled: false }.await;
                }
            }
            let spent = meter.stop();
            plan.check(sum)?;
            Ok(spent.per_op(plan.counted))
        });
        let sample = waiter.await.map_err(peers::failed)?;
        waker.await.map_err(peers::failed)?;
        sample
    })
}
