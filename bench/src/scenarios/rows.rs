//! What the database scenarios store, ask for and check: rows under the keys 1 to [`ROWS`].
//!
//! The check of an answer costs some ten nanoseconds: it is charged to the client under test.

use std::fmt::Display;

use crate::meter::{Spent, Window};
use crate::sample::{Miss, Sample};
use crate::scenario::{Better, Job, Measure, Params};

/// Many enough that no cache near the core holds all answers, few enough to be stored in a second.
pub const ROWS: u32 = 100_000;

/// The text before the digits of every value.
pub const PREFIX: &str = "item-";

/// A row of PostgreSQL by its primary key, an `int4`.
pub const SELECT: &str = "select id, name from item where id = $1";

/// The value that is stored under a key.
pub fn value(key: u32) -> String {
    format!("{PREFIX}{key:08}")
}

/// An error unless this is the value of the key.
pub fn check_value(key: u32, value: &str) -> Result<(), Miss> {
    let digits = value.strip_prefix(PREFIX).filter(|digits| digits.len() == 8);
    if digits.and_then(|digits| digits.parse().ok()) == Some(key) {
        return Ok(());
    }
    Err(wrong(&format!("the value of {key} is {value:?}")))
}

pub fn wrong(what: &str) -> Miss {
    Miss::Failed(format!("check failed: {what}"))
}

/// A client's own error, as the contestant's failure.
pub fn failed(what: &str, error: impl Display) -> Miss {
    Miss::Failed(format!("{what}: {error}"))
}

/// Keys in an order that is random, and the same in each run.
#[derive(Clone, Debug)]
pub struct Keys(u64);

impl Keys {
    /// The keys that the task of this number asks for.
    pub fn of_task(task: usize) -> Keys {
        // Any odd factor keeps the seeds apart; zero would be followed by zeroes.
        Keys((task as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

impl Iterator for Keys {
    type Item = u32;

    /// One step of xorshift64, whose high half is random enough to choose a row.
    fn next(&mut self) -> Option<u32> {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Some(((self.0 >> 32) % u64::from(ROWS)) as u32 + 1)
    }
}

/// How many tasks ask at a time, and how often each.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    pub tasks: usize,
    /// Answers of each task before the clock starts, and until it stops.
    pub warm: u64,
    pub counted: u64,
}

impl Asking {
    /// `counted` are the operations of all tasks together.
    pub fn of(job: &Job, counted: u64) -> Result<Asking, Miss> {
        let tasks = job.number(FIBERS)?.max(1);
        let counted = (counted / tasks).max(1);
        Ok(Asking { tasks: tasks as usize, warm: counted.div_ceil(5), counted })
    }

    pub fn window(&self) -> Window {
        Window::new(self.tasks)
    }

    /// Rate, CPU time and CPU time in user space, in the order of [`CLIENT_MEASURES`].
    pub fn sample(&self, window: &Window) -> Result<Sample, Miss> {
        let spent: Spent = window.spent()?;
        let ops = self.counted * self.tasks as u64;
        let mut sample = spent.with_values(ops, vec![ops as f64 / spent.wall.as_secs_f64()]);
        sample.values.extend([sample.cpu_us_per_op, sample.user_us_per_op]);
        let busy = 100.0 * (spent.user + spent.system).as_secs_f64() / spent.wall.as_secs_f64();
        let sleeps = spent.sleeps as f64 / ops as f64;
        Ok(sample.note(format!("client {busy:.0}% busy, {sleeps:.3} sleeps for each answer")))
    }
}

/// The parameter that says how many tasks ask at a time.
const FIBERS: &str = "fibers";

/// A single one, a few, and as many as a busy service has.
pub fn cases() -> Vec<Params> {
    [1, 16, 256].map(|count| Params::new().with(FIBERS, count)).into()
}

/// Of the client's process: the database is the same for all.
pub const CLIENT_MEASURES: &[Measure] = &[
    Measure { name: "", unit: "answers per second", better: Better::Higher },
    Measure { name: "cpu", unit: "us of client CPU per answer", better: Better::Lower },
    Measure {
        name: "user",
        unit: "us of client CPU in user space per answer",
        better: Better::Lower,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;

    #[test]
    fn keys_are_in_range_and_differ_from_task_to_task() {
        let first: Vec<u32> = Keys::of_task(0).take(10_000).collect();
        assert!(first.iter().all(|key| (1..=ROWS).contains(key)));
        // Of 10,000 out of 100,000 some 9,516 are expected to differ.
        assert!(first.iter().collect::<HashSet<_>>().len() > 9_000);
        assert!(first.iter().zip(Keys::of_task(1)).filter(|(a, b)| *a == b).count() < 10);
        assert!(Keys::of_task(0).take(10_000).eq(first));
    }

    #[test]
    fn only_the_right_value_passes() {
        assert_eq!(value(42), "item-00000042");
        assert_eq!(check_value(42, &value(42)), Ok(()));
        for wrong in ["", "item-", "item-42", "item-00000043", "item-000000042", "00000042"] {
            assert!(check_value(42, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_task_asks_its_part() {
        let job = |fibers: u64| Job {
            scenario: String::new(),
            params: Params::new().with(FIBERS, fibers),
            quick: true,
            cores: vec![0],
            spare_cores: vec![],
            database: None,
        };
        let asking = Asking::of(&job(16), 1_600).expect("a number");
        assert_eq!((asking.tasks, asking.warm, asking.counted), (16, 20, 100));
        assert_eq!(Asking::of(&job(256), 1).expect("a number").counted, 1);
        let window = asking.window();
        window.open();
        std::thread::sleep(Duration::from_millis(1));
        (0..asking.tasks).for_each(|_| window.close());
        let sample = asking.sample(&window).expect("all have closed");
        assert_eq!(sample.values.len(), CLIENT_MEASURES.len());
        assert!(sample.values[0] > 0.0 && sample.values[0] <= 1_600_000.0, "{sample:?}");
    }
}
