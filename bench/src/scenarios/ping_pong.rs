//! `ping-pong`: two tasks on one core wake each other in turn, a number going to and fro.
//!
//! Each side waits by the cheapest means that its runtime has for "sleep until that one task wakes
//! me"; where that carries no value, the number lies in memory that both share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::meter::Meter;
use crate::peers;
use crate::sample::{Miss, Outcome, check};
use crate::scenario::{Better, Contestant, Job, Measure, Params, Program, Scenario};

pub const SCENARIO: Scenario = Scenario {
    name: "ping-pong",
    about: "round trip between two tasks on one core: wake the other, wait to be woken",
    cores: 1,
    measures: &[Measure { name: "", unit: "ns per round trip", better: Better::Lower }],
    cases: || vec![Params::new()],
    contestants: &[
        #[cfg(feature = "cede")]
        Contestant {
            who: "cede",
            settings: "one shard, park and wakeup",
            program: Program::Rust(cede),
        },
        Contestant {
            who: "may",
            settings: "1 worker, no work stealing, park and unpark",
            program: Program::Rust(may_park),
        },
        Contestant {
            who: "tokio",
            settings: "current_thread, a Notify for each side",
            program: Program::Rust(tokio_notify),
        },
        Contestant {
            who: "go",
            settings: "GOMAXPROCS=1, two unbuffered channels",
            program: Program::Go(go),
        },
    ],
};

struct Plan {
    warm: u64,
    counted: u64,
}

impl Plan {
    fn of(job: &Job) -> Plan {
        let counted = job.count(3_000_000, 1_000_000);
        Plan { warm: counted / 10, counted }
    }

    fn total(&self) -> u64 {
        self.warm + self.counted
    }

    /// Each number from 1 on goes out and comes back one greater.
    fn check(&self, sum: u64) -> Result<(), Miss> {
        let n = self.total();
        check("the sum of the numbers that came back", sum, n * (n + 1) / 2 + n)
    }
}

/// Where the number lies: 0 while the other side has it. Relaxed is enough, because the wake
/// orders the two sides.
#[derive(Default)]
struct Cup(AtomicU64);

impl Cup {
    fn put(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    fn look(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn take(&self) -> Option<u64> {
        let number = self.look();
        if number == 0 {
            return None;
        }
        self.put(0);
        Some(number)
    }
}

/// The plain loop. The number arrives with the wakeup, so nothing is tested around `park`; a wake
/// that came too early or not at all would show in the sum.
#[cfg(feature = "cede")]
fn cede(job: &Job) -> Outcome {
    use std::rc::Rc;
    let plan = Plan::of(job);
    ::cede::run(move || {
        let total = plan.total();
        let cup = Rc::new(Cup::default());
        let ping = ::cede::current();
        let pong = {
            let cup = cup.clone();
            ::cede::spawn(move || {
                for _ in 0..total {
                    ::cede::park().unwrap();
                    cup.put(cup.look() + 1);
                    ping.wakeup();
                }
            })
        };
        let other = pong.fiber();
        let (mut number, mut sum) = (0, 0);
        let mut meter = Meter::start();
        for count in [plan.warm, plan.counted] {
            meter = Meter::start();
            for _ in 0..count {
                number += 1;
                cup.put(number);
                other.wakeup();
                ::cede::park().unwrap();
                sum += cup.look();
            }
        }
        let spent = meter.stop();
        pong.join().map_err(peers::failed)?;
        plan.check(sum)?;
        Ok(spent.per_op(plan.counted))
    })
    .map_err(peers::failed)?
}

fn may_park(job: &Job) -> Outcome {
    let plan = Plan::of(job);
    peers::may_run(1, move || {
        let total = plan.total();
        let (there, back) = (Arc::new(Cup::default()), Arc::new(Cup::default()));
        let ping = may::coroutine::current();
        let pong = {
            let (there, back) = (there.clone(), back.clone());
            may::go!(move || {
                for _ in 0..total {
                    back.put(may_wait(&there) + 1);
                    ping.unpark();
                }
            })
        };
        let other = pong.coroutine().clone();
        let mut sum = 0;
        let mut meter = Meter::start();
        for i in 1..=total {
            there.put(i);
            other.unpark();
            sum += may_wait(&back);
            if i == plan.warm {
                meter = Meter::start();
            }
        }
        let spent = meter.stop();
        pong.join().map_err(|_| Miss::Failed("pong panicked".to_owned()))?;
        plan.check(sum)?;
        Ok(spent.per_op(plan.counted))
    })
}

fn may_wait(cup: &Cup) -> u64 {
    loop {
        if let Some(number) = cup.take() {
            return number;
        }
        may::coroutine::park();
    }
}

fn tokio_notify(job: &Job) -> Outcome {
    use tokio::sync::Notify;
    let plan = Plan::of(job);
    let total = plan.total();
    let sides = Arc::new((Notify::new(), Notify::new(), Cup::default()));
    peers::tokio_current_thread()?.block_on(async {
        let there = sides.clone();
        let pong = tokio::spawn(async move {
            for _ in 0..total {
                there.0.notified().await;
                let number = there.2.take().unwrap_or(0);
                there.2.put(number + 1);
                there.1.notify_one();
            }
        });
        // A task of its own: `block_on` is a slower place to wait.
        let ping = tokio::spawn(async move {
            let mut sum = 0;
            let mut meter = Meter::start();
            for i in 1..=total {
                sides.2.put(i);
                sides.0.notify_one();
                sides.1.notified().await;
                sum += sides.2.take().unwrap_or(0);
                if i == plan.warm {
                    meter = Meter::start();
                }
            }
            let spent = meter.stop();
            plan.check(sum)?;
            Ok(spent.per_op(plan.counted))
        });
        pong.await.map_err(peers::failed)?;
        ping.await.map_err(peers::failed)?
    })
}

fn go(job: &Job) -> Result<Vec<String>, Miss> {
    let plan = Plan::of(job);
    Ok(peers::go_args("ping-pong", &[("warm", plan.warm), ("counted", plan.counted)]))
}
