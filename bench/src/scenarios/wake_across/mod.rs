//! `wake-across`: a task on one thread wakes a task on another thread, which wakes it back.
//!
//! A runtime that runs the woken task on the waker's thread has no wake across threads to
//! measure: a contestant whose wakes mostly do not cross is left out, with a word why.

#[cfg(feature = "cede")]
mod cede;
mod floor;
mod tokio;

use crate::meter::Spent;
use crate::peers;
use crate::sample::{Miss, Outcome, check};
use crate::scenario::{Better, Contestant, Job, Measure, Params, Program, Scenario};

pub const SCENARIO: Scenario = Scenario {
    name: "wake-across",
    about: "wake a task of another thread (half a round trip), the threads asleep or busy",
    cores: 2,
    measures: &[Measure { name: "", unit: "ns per wake", better: Better::Lower }],
    cases: || ["asleep", "busy"].map(|threads| Params::new().with("threads", threads)).into(),
    contestants: &[
        #[cfg(feature = "cede")]
        Contestant {
            who: "cede",
            settings: "2 shards, park and wakeup; busy: a fiber per shard that yields all the time",
            program: Program::Rust(cede::contest),
        },
        Contestant {
            who: "floor (futex)",
            settings: "2 threads, futex wait and wake, in both cases asleep between the wakes",
            program: Program::Rust(floor::futex),
        },
        Contestant {
            who: "floor (spin)",
            settings: "2 threads that spin on a shared word, in both cases never asleep",
            program: Program::Rust(floor::spin),
        },
        Contestant {
            who: "tokio (multi-thread)",
            settings: "1 worker, a LocalSet in block_on, Notify; busy: a task in each that yields",
            program: Program::Rust(tokio::multi_thread),
        },
        Contestant {
            who: "tokio (2 workers)",
            settings: "multi-thread with 2 workers, Notify; busy: 2 tasks that yield",
            program: Program::Rust(tokio::workers),
        },
        Contestant {
            who: "tokio (2 runtimes)",
            settings: "2 current_thread runtimes, Notify; busy: a task in each that yields",
            program: Program::Rust(tokio::runtimes),
        },
        Contestant {
            who: "go",
            settings: "GOMAXPROCS=2, unbuffered channels; busy: 2 goroutines in Gosched",
            program: Program::Go(go_free),
        },
        Contestant {
            who: "go (locked threads)",
            settings: "the same, both goroutines locked to a thread of their own",
            program: Program::Go(go_locked),
        },
    ],
};

/// Below this a row would be about something else than its scenario.
const CROSSED_PERCENT_MIN: f64 = 90.0;

struct Plan {
    busy: bool,
    warm: u64,
    /// Round trips that count.
    counted: u64,
}

impl Plan {
    /// Threads that sleep take some 10 us for a wake, those that never do a hundredth of it: the
    /// latter go round more often, or their figure would be over before it is steady.
    fn of(job: &Job, never_asleep: bool) -> Result<Plan, Miss> {
        let busy = is_busy(job)?;
        let counted = job.count(100_000, 20_000) * if never_asleep { 10 } else { 1 };
        Ok(Plan { busy, warm: counted / 10, counted })
    }

    fn total(&self) -> u64 {
        self.warm + self.counted
    }

    /// `sum` is that of the numbers that came back: 1, 2 and so on, each one greater.
    fn sample(&self, spent: Spent, sum: u64, crossed: u64) -> Outcome {
        let n = self.total();
        check("the sum of the numbers that came back", sum, n * (n + 1) / 2 + n)?;
        let wakes = 2 * self.counted;
        let percent = 100.0 * crossed as f64 / wakes as f64;
        if percent < CROSSED_PERCENT_MIN {
            return Err(Miss::Skipped(format!(
                "{percent:.0}% of its wakes crossed: the woken task runs on the waker's thread"
            )));
        }
        let sleeps = spent.sleeps as f64 / wakes as f64;
        Ok(spent.per_op(wakes).note(format!("{sleeps:.2} sleeps per wake")))
    }

    /// For contestants whose two sides cannot but be on two threads.
    fn all_crossed(&self) -> u64 {
        2 * self.counted
    }
}

fn is_busy(job: &Job) -> Result<bool, Miss> {
    match job.word("threads")? {
        "busy" => Ok(true),
        "asleep" => Ok(false),
        other => Err(Miss::Failed(format!("threads cannot be \"{other}\""))),
    }
}

/// The core of the first side, and that of the second.
fn two_cores(job: &Job) -> Result<(usize, usize), Miss> {
    match job.cores.as_slice() {
        &[first, second, ..] => Ok((first, second)),
        cores => Err(Miss::Skipped(format!("needs 2 cores, got {cores:?}"))),
    }
}

fn go_free(job: &Job) -> Result<Vec<String>, Miss> {
    go(job, false)
}

fn go_locked(job: &Job) -> Result<Vec<String>, Miss> {
    go(job, true)
}

fn go(job: &Job, locked: bool) -> Result<Vec<String>, Miss> {
    let plan = Plan::of(job, false)?;
    let numbers = [
        ("busy", u64::from(plan.busy)),
        ("locked", u64::from(locked)),
        ("warm", plan.warm),
        ("counted", plan.counted),
    ];
    Ok(peers::go_args("wake-across", &numbers))
}
