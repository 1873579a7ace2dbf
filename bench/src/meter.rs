//! Wall and CPU time between two points of this process.
//!
//! A [`Window`] is conservative: it opens with the first task that is warm and closes with the
//! last one that is through, so it holds all of the counted work and a little more.

use std::fs;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::sample::{Miss, Sample};

/// What the system has charged to this process, all threads together.
#[derive(Clone, Copy, Debug)]
struct Usage {
    user: Duration,
    system: Duration,
    /// Times that a thread gave up its core by itself, that is, went to sleep.
    sleeps: u64,
}

impl Usage {
    fn now() -> Usage {
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the pointer is valid for writes of a rusage. Zeroes are a valid rusage, so it
        // may be read whatever the call returned; with these arguments it cannot fail.
        let usage = unsafe {
            libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
            usage.assume_init()
        };
        Usage {
            user: duration(usage.ru_utime),
            system: duration(usage.ru_stime),
            sleeps: usage.ru_nvcsw.try_into().unwrap_or(0),
        }
    }
}

/// The second number of `schedstat`, of all threads that live now; zero where the kernel has none.
fn waited() -> Duration {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanos = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = time.tv_sec.try_into().unwrap_or(0);
    let micros = time.tv_usec.try_into().unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

/// A running measurement.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    /// Time that ready threads had to wait for a core.
    waited: Duration,
    usage: Usage,
    wall: Instant,
}

impl Meter {
    pub fn start() -> Meter {
        // The wall clock last: reading the usage is a system call. Reading what was waited is
        // several for each thread, and is charged to nobody.
        let (waited, usage) = (waited(), Usage::now());
        Meter { waited, usage, wall: Instant::now() }
    }

    pub fn stop(self) -> Spent {
        let wall = self.wall.elapsed();
        let usage = Usage::now();
        Spent {
            wall,
            user: usage.user.saturating_sub(self.usage.user),
            system: usage.system.saturating_sub(self.usage.system),
            sleeps: usage.sleeps.saturating_sub(self.usage.sleeps),
            waited: waited().saturating_sub(self.waited),
        }
    }
}

/// What a measured stretch of work cost.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub wall: Duration,
    pub user: Duration,
    pub system: Duration,
    pub sleeps: u64,
    pub waited: Duration,
}

impl Spent {
    pub fn ns_per(&self, ops: u64) -> f64 {
        self.wall.as_secs_f64() * 1e9 / ops as f64
    }

    /// A sample whose one value is the wall time of an operation in nanoseconds.
    pub fn per_op(&self, ops: u64) -> Sample {
        self.with_values(ops, vec![self.ns_per(ops)])
    }

    /// A sample with these values, and the CPU time of each of `ops` operations.
    pub fn with_values(&self, ops: u64, values: Vec<f64>) -> Sample {
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / ops as f64;
        Sample {
            values,
            cpu_us_per_op: micros(self.user + self.system),
            user_us_per_op: micros(self.user),
            waited: self.waited.as_secs_f64() / self.wall.as_secs_f64().max(1e-9),
            note: None,
        }
    }
}

/// A measurement that many tasks open and close together, on any threads.
pub struct Window {
    start: OnceLock<Meter>,
    spent: OnceLock<Spent>,
    /// Tasks that have not closed yet.
    open: AtomicUsize,
}

impl Window {
    pub fn new(tasks: usize) -> Window {
        Window { start: OnceLock::new(), spent: OnceLock::new(), open: AtomicUsize::new(tasks) }
    }

    /// Each task calls this once it is warm; the first call starts the clock.
    pub fn open(&self) {
        self.start.get_or_init(Meter::start);
    }

    /// Each task calls this after its counted work; the last call stops the clock.
    pub fn close(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(start) = self.start.get()
        {
            self.spent.get_or_init(|| start.stop());
        }
    }

    pub fn spent(&self) -> Result<Spent, Miss> {
        let spent = self.spent.get().copied();
        spent.ok_or_else(|| Miss::Failed("check failed: not every task came to its end".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_per_operation() {
        let spent = Spent {
            wall: Duration::from_millis(2),
            user: Duration::from_millis(1),
            system: Duration::from_millis(1),
            sleeps: 0,
            waited: Duration::from_micros(500),
        };
        let sample = spent.per_op(1_000);
        assert_eq!(sample.values, [2_000.0]);
        assert!((sample.cpu_us_per_op - 2.0).abs() < 1e-9);
        assert!((sample.user_us_per_op - 1.0).abs() < 1e-9);
        assert!((sample.waited - 0.25).abs() < 1e-9);
    }

    #[test]
    fn a_window_needs_all_of_its_tasks() {
        let window = Window::new(2);
        window.open();
        window.open();
        window.close();
        assert!(window.spent().is_err());
        std::thread::sleep(Duration::from_millis(2));
        window.close();
        let spent = window.spent().expect("both tasks closed");
        assert!(spent.wall >= Duration::from_millis(2));
    }

    #[test]
    fn cpu_time_grows_with_work() {
        let meter = Meter::start();
        while meter.wall.elapsed() < Duration::from_millis(30) {
            std::hint::black_box(Usage::now());
        }
        let spent = meter.stop();
        assert!(spent.user + spent.system > Duration::ZERO, "{spent:?}");
    }
}
