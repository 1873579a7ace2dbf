//! `slides`, `slides-sleep` and `slides-stages`: the arithmetic of a web server that mostly waits.
//!
//! A request is a cycle of six stages, three of which wait (for the client, for the storage, for
//! the client again) and take no CPU. One worker that blocks is idle nine tenths of its time; the
//! same core could do ten times as much. Waits are real timers, work is a real loop, see
//! [`cycle`].
//!
//! ```text
//!   wait 70 | run 6 | run 1 | wait 16 | run 10 | wait 70      us: 156 waited, 17 run
//!   one blocking worker: 1 s / 173 us = 5,780 cycles    one core: 1 s / 17 us = 58,824
//! ```

mod curve;
mod cycle;
mod sleepers;
mod stages;

use crate::scenario::{Better, Contestant, Measure, Params, Program, Scenario};

pub const CURVE: Scenario = Scenario {
    name: "slides",
    about: "a cycle of waits 70/16/70 us and work 6/1/10 us: how many a core does in a second",
    cores: 1,
    measures: &[Measure { name: "", unit: "cycles per second", better: Better::Higher }],
    cases: || (0..=10).map(|power| Params::new().with("concurrency", 1 << power)).collect(),
    contestants: &[
        #[cfg(feature = "cede")]
        Contestant {
            who: "cede",
            settings: "one shard, a fiber for each cycle, sleep; timer slack 1 ns",
            program: Program::Rust(curve::cede),
        },
        Contestant {
            who: "floor (no waits)",
            settings: "the work of the cycles back to back: the ceiling of this core",
            program: Program::Rust(curve::no_waits),
        },
        Contestant {
            who: "floor (threads)",
            settings: "a thread for each cycle, nanosleep; timer slack 1 ns",
            program: Program::Rust(curve::threads),
        },
        Contestant {
            who: "tokio",
            settings: "current_thread, sleep (its timers count milliseconds); timer slack 1 ns",
            program: Program::Rust(curve::tokio),
        },
        Contestant {
            who: "go",
            settings: "GOMAXPROCS=1, Sleep; timer slack 1 ns",
            program: Program::Go(curve::go),
        },
    ],
};

pub const SLEEP: Scenario = Scenario {
    name: "slides-sleep",
    about: "tasks that only sleep, 70/7/16/10/70 us in turn (or `times` as long): their CPU time",
    cores: 1,
    measures: &[
        Measure { name: "cpu", unit: "% of a core", better: Better::Lower },
        Measure { name: "rate", unit: "sleeps per second", better: Better::Higher },
    ],
    cases: || {
        [(10, 1), (10_000, 1), (10_000, 1_000)]
            .map(|(sleepers, times)| Params::new().with("sleepers", sleepers).with("times", times))
            .into()
    },
    contestants: &[
        #[cfg(feature = "cede")]
        Contestant {
            who: "cede",
            settings: "one shard, a fiber for each sleeper; the system's timer slack",
            program: Program::Rust(sleepers::cede),
        },
        Contestant {
            who: "floor (threads)",
            settings: "a thread for each sleeper, nanosleep; the system's timer slack",
            program: Program::Rust(sleepers::threads),
        },
    ],
};

pub const STAGES: Scenario = Scenario {
    name: "slides-stages",
    about: "the cycle of one worker by stage, its core asleep or busy while it waits",
    cores: 1,
    measures: &[
        Measure { name: "1 receive, 70 waited", unit: "us", better: Better::Lower },
        Measure { name: "2 parse, 6 run", unit: "us", better: Better::Lower },
        Measure { name: "3 query, 1 run", unit: "us", better: Better::Lower },
        Measure { name: "4 storage, 16 waited", unit: "us", better: Better::Lower },
        Measure { name: "5 render, 10 run", unit: "us", better: Better::Lower },
        Measure { name: "6 send, 70 waited", unit: "us", better: Better::Lower },
        Measure { name: "run of all", unit: "% of the cycle", better: Better::Higher },
    ],
    cases: || ["asleep", "busy"].map(|core| Params::new().with("core", core)).into(),
    contestants: &[
        #[cfg(feature = "cede")]
        Contestant {
            who: "cede",
            settings: "one shard, one fiber, sleep; busy: one more that yields; timer slack 1 ns",
            program: Program::Rust(stages::cede),
        },
        Contestant {
            who: "floor (threads)",
            settings: "one thread, nanosleep; not with a busy core; timer slack 1 ns",
            program: Program::Rust(stages::threads),
        },
    ],
};
