//! `channel`: a number goes to another task of the same core and comes back, by two bounded channels
//! with room for one.
//!
//! Where a runtime has no bounded channel the settings say so; at most one number is under way in
//! any case.

use crate::meter::Meter;
use crate::peers;
use crate::sample::{Miss, Outcome, check};
use crate::scenario::{Better, Contestant, Job, Measure, Params, Program, Scenario};

pub const SCENARIO: Scenario = Scenario {
    name: "channel",
    about: "round trip of a number between two tasks on one core, by channels with room for one",
    cores: 1,
    measures: &[Measure { name: "", unit: "ns per round trip", better: Better::Lower }],
    cases: || vec![Params::new()],
    contestants: &[
        #[cfg(feature = "cede")]
        Contestant {
            who: "cede",
            settings: "one shard, two sync::mpsc::sync_channel(1)",
            program: Program::Rust(cede_shared),
        },
        #[cfg(feature = "cede")]
        Contestant {
            who: "cede (local)",
            settings: "one shard, two sync::local::mpsc::sync_channel(1)",
            program: Program::Rust(cede_local),
        },
        Contestant {
            who: "may",
            settings: "1 worker, no work stealing, two spsc channels (unbounded: it has no bounded)",
            program: Program::Rust(may_spsc),
        },
        Contestant {
            who: "tokio",
            settings: "current_thread, two mpsc::channel(1)",
            program: Program::Rust(tokio_mpsc),
        },
        Contestant {
            who: "go",
            settings: "GOMAXPROCS=1, two channels with room for one",
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

/// The same source for both kinds of channel, which are types of their own.
#[cfg(feature = "cede")]
macro_rules! cede_channel {
    ($name:ident, $module:path) => {
        fn $name(job: &Job) -> Outcome {
            use $module as mpsc;
            let plan = Plan::of(job);
            ::cede::run(move || {
                let (there, inbox) = mpsc::sync_channel::<u64>(1);
                let (back, answers) = mpsc::sync_channel::<u64>(1);
                let pong = ::cede::spawn(move || {
                    while let Ok(number) = inbox.recv() {
                        back.send(number + 1).unwrap();
                    }
                });
                let (mut number, mut sum) = (0, 0);
                let mut meter = Meter::start();
                for count in [plan.warm, plan.counted] {
                    meter = Meter::start();
                    for _ in 0..count {
                        number += 1;
                        there.send(number).unwrap();
                        sum += answers.recv().unwrap();
                    }
                }
                let spent = meter.stop();
                drop(there);
                pong.join().map_err(peers::failed)?;
                plan.check(sum)?;
                Ok(spent.per_op(plan.counted))
            })
            .map_err(peers::failed)?
        }
    };
}

#[cfg(feature = "cede")]
cede_channel!(cede_shared, ::cede::sync::mpsc);
#[cfg(feature = "cede")]
cede_channel!(cede_local, ::cede::sync::local::mpsc);

fn may_spsc(job: &Job) -> Outcome {
    use may::sync::spsc;
    let plan = Plan::of(job);
    peers::may_run(1, move || {
        let (there, inbox) = spsc::channel::<u64>();
        let (back, answers) = spsc::channel::<u64>();
        let pong = may::go!(move || {
            while let Ok(number) = inbox.recv() {
                back.send(number + 1).unwrap();
            }
        });
        let (mut number, mut sum) = (0, 0);
        let mut meter = Meter::start();
        for count in [plan.warm, plan.counted] {
            meter = Meter::start();
            for _ in 0..count {
                number += 1;
                there.send(number).map_err(peers::failed)?;
                sum += answers.recv().map_err(peers::failed)?;
            }
        }
        let spent = meter.stop();
        drop(there);
        pong.join().map_err(|_| Miss::Failed("pong panicked".to_owned()))?;
        plan.check(sum)?;
        Ok(spent.per_op(plan.counted))
    })
}

fn tokio_mpsc(job: &Job) -> Outcome {
    use tokio::sync::mpsc;
    let plan = Plan::of(job);
    peers::tokio_current_thread()?.block_on(async {
        let (there, mut inbox) = mpsc::channel::<u64>(1);
        let (back, mut answers) = mpsc::channel::<u64>(1);
        let pong = tokio::spawn(async move {
            while let Some(number) = inbox.recv().await {
                back.send(number + 1).await.unwrap();
            }
        });
        // A task of its own: `block_on` is a slower place to wait.
        let ping = tokio::spawn(async move {
            let (mut number, mut sum) = (0, 0);
            let mut meter = Meter::start();
            for count in [plan.warm, plan.counted] {
                meter = Meter::start();
                for _ in 0..count {
                    number += 1;
                    there.send(number).await.map_err(peers::failed)?;
                    sum += answers.recv().await.unwrap_or(0);
                }
            }
            let spent = meter.stop();
            plan.check(sum)?;
            Ok(spent.per_op(plan.counted))
        });
        let sample = ping.await.map_err(peers::failed)?;
        pong.await.map_err(peers::failed)?;
        sample
    })
}

fn go(job: &Job) -> Result<Vec<String>, Miss> {
    let plan = Plan::of(job);
    Ok(peers::go_args("channel", &[("warm", plan.warm), ("counted", plan.counted)]))
}
