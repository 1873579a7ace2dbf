//! The stages of the cycle, and the loop that stands for work.
//!
//! Work is a number of iterations that was fitted to the clock once, not a wait for the clock: a
//! thread that was preempted while it looked at the clock would count the time of others as its
//! own work.

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use crate::sample::Miss;

/// One stage of the cycle, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage {
    Wait(u64),
    Run(u64),
}

pub const CYCLE: [Stage; 6] = [
    Stage::Wait(70),
    Stage::Run(6),
    Stage::Run(1),
    Stage::Wait(16),
    Stage::Run(10),
    Stage::Wait(70),
];

/// What the stages stand for.
pub const NAMES: [&str; CYCLE.len()] = ["receive", "parse", "query", "storage", "render", "send"];

pub fn waited_us() -> u64 {
    CYCLE.iter().map(|stage| if let Stage::Wait(us) = stage { *us } else { 0 }).sum()
}

pub fn run_us() -> u64 {
    CYCLE.iter().map(|stage| if let Stage::Run(us) = stage { *us } else { 0 }).sum()
}

/// Asks the system to end the sleeps of this thread, and of those that it starts from now on, at
/// the very moment. By default Linux may add 50 us, which is most of a stage here.
pub fn precise_timers() -> io::Result<()> {
    const SLACK_NANOS: libc::c_ulong = 1;
    // SAFETY: this call takes a number and no pointers.
    match unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, SLACK_NANOS, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The loop that stands for work.
#[derive(Clone, Copy, Debug)]
pub struct Worker {
    per_us: f64,
}

/// Iterations of one trial: some 100 us.
const TRIAL: u64 = 100_000;
const TRIALS: usize = 200;

impl Worker {
    /// Fits the loop to the clock. The fastest of many trials counts, since what disturbs one only
    /// makes it longer; a core that slows down later does less than it could, never more.
    pub fn calibrated() -> Worker {
        let trial = |_| {
            let start = Instant::now();
            spin(TRIAL);
            start.elapsed()
        };
        let fastest = (0..TRIALS).map(trial).min().unwrap_or_default();
        let micros = fastest.max(Duration::from_nanos(1)).as_secs_f64() * 1e6;
        Worker { per_us: TRIAL as f64 / micros }
    }

    #[inline]
    pub fn run(self, us: u64) {
        spin((self.per_us * us as f64) as u64);
    }

    /// A note if the core is not as fast any more as when `self` was fitted.
    pub fn drift(self) -> Option<String> {
        const WORTH_A_NOTE: f64 = 0.02;
        let change = Worker::calibrated().per_us / self.per_us - 1.0;
        let percent = change * 100.0;
        (change.abs() > WORTH_A_NOTE)
            .then(|| format!("the speed of the core changed by {percent:+.0}% meanwhile"))
    }
}

/// Each iteration needs the one before it, so the time is that of a multiplication and little else.
fn spin(iterations: u64) {
    let mut x = 1_u64;
    for _ in 0..iterations {
        x = (x ^ (x >> 7)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    black_box(x);
}

/// What one core can do at most, and one task at most, in cycles per second.
pub fn limits(concurrency: u64) -> (f64, f64) {
    let of_core = 1e6 / run_us() as f64;
    let of_tasks = 1e6 * concurrency as f64 / (run_us() + waited_us()) as f64;
    (of_core, of_tasks)
}

/// More cycles than the waits and the work allow mean that some were cut short.
pub fn check_rate(rate: f64, concurrency: u64) -> Result<(), Miss> {
    /// The fit of the loop to the clock is not better than this.
    const TOLERANCE: f64 = 1.03;
    let (of_core, of_tasks) = limits(concurrency);
    if rate <= of_core.min(of_tasks) * TOLERANCE {
        return Ok(());
    }
    Err(Miss::Failed(format!(
        "check failed: {rate:.0} cycles per second, where the core allows {of_core:.0} and \
         {concurrency} tasks can do {of_tasks:.0}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cycle_is_that_of_the_slides() {
        assert_eq!((waited_us(), run_us()), (156, 17));
        let (of_core, of_one) = limits(1);
        assert_eq!((of_core.round(), of_one.round()), (58_824.0, 5_780.0));
    }

    #[test]
    fn more_cycles_than_possible_fail_the_check() {
        assert!(check_rate(5_700.0, 1).is_ok());
        assert!(check_rate(6_000.0, 1).is_err());
        assert!(check_rate(58_000.0, 1024).is_ok());
        assert!(check_rate(61_000.0, 1024).is_err());
    }

    #[test]
    fn work_takes_at_least_about_its_time() {
        let worker = Worker::calibrated();
        let start = Instant::now();
        worker.run(5_000);
        // Longer is a matter of the machine; half is what a core that changes its speed may do.
        assert!(start.elapsed() > Duration::from_micros(2_500), "{:?}", start.elapsed());
    }

    #[test]
    fn the_slack_of_a_thread_can_be_set() {
        std::thread::spawn(|| {
            precise_timers().expect("any thread may");
            // SAFETY: this call takes no pointers.
            let slack = unsafe { libc::prctl(libc::PR_GET_TIMERSLACK, 0, 0, 0, 0) };
            assert_eq!(slack, 1);
        })
        .join()
        .expect("no panic");
    }
}
