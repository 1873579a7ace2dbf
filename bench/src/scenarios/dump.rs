//! `dump`: what it costs to write down what every fiber does, with many of them waiting.
//!
//! A dump is asked for when a service is in trouble, so what it takes from the service counts: the
//! pause is the time in which nothing else runs on the shard. Tokio's `Handle::dump` needs unstable
//! flags of the compiler and is left out.

use crate::peers;
use crate::sample::Miss;
use crate::scenario::{Better, Contestant, Job, Measure, Params, Program, Scenario};

pub const SCENARIO: Scenario = Scenario {
    name: "dump",
    about: "write down as text what all fibers do, 10,000 of them parked",
    cores: 1,
    measures: &[
        Measure { name: "whole", unit: "ns per fiber", better: Better::Lower },
        Measure { name: "pause", unit: "us without another fiber", better: Better::Lower },
    ],
    cases: || vec![Params::new().with("fibers", 10_000)],
    contestants: &[
        #[cfg(feature = "cede")]
        Contestant {
            who: "cede",
            settings: "fibers(): state, reason, place and age of each wait, place of the spawn",
            program: Program::Rust(cede),
        },
        Contestant {
            who: "go",
            settings: "GOMAXPROCS=1, runtime.Stack of all: the world stands still meanwhile",
            program: Program::Go(|job| go(job, 0)),
        },
        Contestant {
            who: "go (profile)",
            settings: "GOMAXPROCS=1, pprof's goroutine profile: equal stacks are written once",
            program: Program::Go(|job| go(job, 1)),
        },
    ],
};

struct Plan {
    fibers: u64,
    warm: u64,
    dumps: u64,
}

impl Plan {
    fn of(job: &Job) -> Result<Plan, Miss> {
        Ok(Plan { fibers: job.number("fibers")?, warm: 2, dumps: job.count(50, 10) })
    }
}

#[cfg(feature = "cede")]
fn cede(job: &Job) -> crate::sample::Outcome {
    use std::fmt::Write;
    use std::time::{Duration, Instant};

    use crate::meter::Meter;
    use crate::sample::check;

    /// What was written, and how long the shard stood still for it.
    struct Dump {
        text: String,
        pause: Duration,
    }

    fn dump() -> Dump {
        let start = Instant::now();
        let fibers = movable(::cede::fibers());
        // From here on another thread could do the work.
        let pause = start.elapsed();
        let mut text = String::new();
        for fiber in fibers {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{fiber}");
        }
        Dump { text, pause }
    }

    fn movable<T: Send>(value: T) -> T {
        value
    }

    fn waiting(dump: &Dump) -> u64 {
        dump.text.lines().filter(|line| line.contains(" waits for a wakeup at ")).count() as u64
    }

    let plan = Plan::of(job)?;
    ::cede::run(|| {
        let parked: Vec<_> = (0..plan.fibers).map(|_| ::cede::spawn(::cede::park)).collect();
        ::cede::yield_now();
        for _ in 0..plan.warm {
            check("the number of fibers in a dump", waiting(&dump()), plan.fibers)?;
        }
        let mut pause = Duration::ZERO;
        let mut last = None;
        let meter = Meter::start();
        for _ in 0..plan.dumps {
            let dump = last.insert(dump());
            pause += dump.pause;
        }
        let spent = meter.stop();
        let bytes = last.map_or(0, |dump| dump.text.len());
        for fiber in parked {
            fiber.fiber().wakeup();
            fiber.join().map_err(peers::failed)??;
        }
        let ops = plan.dumps * plan.fibers;
        let pause_us = pause.as_secs_f64() * 1e6 / plan.dumps as f64;
        let sample = spent.with_values(ops, vec![spent.ns_per(ops), pause_us]);
        Ok(sample.note(format!("a dump has {bytes} bytes")))
    })
    .map_err(peers::failed)?
}

fn go(job: &Job, profile: u64) -> Result<Vec<String>, Miss> {
    let plan = Plan::of(job)?;
    let numbers =
        [("fibers", plan.fibers), ("dumps", plan.dumps), ("warm", plan.warm), ("profile", profile)];
    Ok(peers::go_args("dump", &numbers))
}
