//! What it costs only to sleep: a program that calls `usleep` in a loop, many times over.
//!
//! The timer slack stays as the system has it, since that is what such a program meets. With
//! `times` the sleeps are longer by that factor: a thousand times as many sleepers then wake as
//! often, all together, as before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use super::curve::small_thread;
use crate::meter::{Meter, Spent};
use crate::sample::{Miss, Outcome, Sample};
use crate::scenario::Job;

/// The sleeps of the loop, in microseconds.
const SLEEPS_US: [u64; 5] = [70, 7, 16, 10, 70];

struct Plan {
    sleepers: u64,
    times: u64,
    warm: Duration,
    window: Duration,
}

impl Plan {
    fn of(job: &Job) -> Result<Plan, Miss> {
        Ok(Plan {
            sleepers: job.number("sleepers")?,
            times: job.number("times")?,
            warm: Duration::from_millis(200),
            window: Duration::from_millis(job.count(1_000, 400)),
        })
    }

    fn outcome(&self, spent: &Spent, sleeps: u64) -> Outcome {
        let rate = sleeps as f64 / spent.wall.as_secs_f64();
        let us: u64 = SLEEPS_US.iter().sum();
        let most = 1e6 * (self.sleepers * SLEEPS_US.len() as u64) as f64 / (us * self.times) as f64;
        /// The window may begin in the middle of many sleeps.
        const TOLERANCE: f64 = 1.05;
        if sleeps == 0 || rate > most * TOLERANCE {
            return Err(Miss::Failed(format!(
                "check failed: {rate:.0} sleeps per second, where {most:.0} are possible"
            )));
        }
        let cpu = (spent.user + spent.system).as_secs_f64() / spent.wall.as_secs_f64();
        Ok(spent.with_values(sleeps, vec![cpu * 100.0, rate]))
    }
}

#[derive(Default)]
struct Shared {
    sleeps: AtomicU64,
    stop: AtomicBool,
}

impl Shared {
    /// Sleeps until told to stop. Sleeper `i` begins in the loop where the others do not, so that
    /// long sleeps do not all end at once.
    fn sleep_on<E>(
        &self,
        i: u64,
        times: u64,
        mut sleep: impl FnMut(Duration) -> Result<(), E>,
    ) -> Result<(), E> {
        let steps = SLEEPS_US.iter().cycle().skip(i as usize % SLEEPS_US.len());
        let first = (i * 7_919) % (173 * times);
        sleep(Duration::from_micros(first))?;
        for us in steps {
            if self.stop.load(Relaxed) {
                break;
            }
            sleep(Duration::from_micros(us * times))?;
            self.sleeps.fetch_add(1, Relaxed);
        }
        Ok(())
    }
}

#[cfg(feature = "cede")]
pub fn cede(job: &Job) -> Outcome {
    let plan = Plan::of(job)?;
    ::cede::run(move || {
        let shared = Arc::new(Shared::default());
        let spawn = |i| {
            let (shared, times) = (shared.clone(), plan.times);
            ::cede::spawn(move || shared.sleep_on(i, times, ::cede::sleep))
        };
        let tasks: Vec<_> = (0..plan.sleepers).map(spawn).collect();
        ::cede::sleep(plan.warm)?;
        let (meter, first) = (Meter::start(), shared.sleeps.load(Relaxed));
        ::cede::sleep(plan.window)?;
        let (sleeps, spent) = (shared.sleeps.load(Relaxed) - first, meter.stop());
        shared.stop.store(true, Relaxed);
        for task in tasks {
            task.join().map_err(crate::peers::failed)??;
        }
        plan.outcome(&spent, sleeps)
    })
    .map_err(crate::peers::failed)?
}

pub fn threads(job: &Job) -> Outcome {
    /// With more threads that always wake, the one that starts and stops them has no turn for
    /// minutes.
    const THREADS_MAX: u64 = 1_000;
    let plan = Plan::of(job)?;
    if plan.sleepers > THREADS_MAX {
        let sleepers = plan.sleepers;
        return Err(Miss::Skipped(format!("{sleepers} threads take minutes to start and stop")));
    }
    let shared = Arc::new(Shared::default());
    let mut tasks = Vec::new();
    for i in 0..plan.sleepers {
        let (shared_task, times) = (shared.clone(), plan.times);
        let sleep = |time| {
            thread::sleep(time);
            Ok::<(), std::convert::Infallible>(())
        };
        tasks.push(small_thread(move || {
            let Ok(()) = shared_task.sleep_on(i, times, sleep);
        })?);
    }
    thread::sleep(plan.warm);
    let (meter, first) = (Meter::start(), shared.sleeps.load(Relaxed));
    thread::sleep(plan.window);
    let (sleeps, spent) = (shared.sleeps.load(Relaxed) - first, meter.stop());
    shared.stop.store(true, Relaxed);
    for task in tasks {
        task.join().map_err(|_| Miss::Failed("a thread panicked".to_owned()))?;
    }
    // What threads wait for here is each other.
    plan.outcome(&spent, sleeps).map(|sample| Sample { waited: 0.0, ..sample })
}
