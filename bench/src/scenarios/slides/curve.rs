//! Cycles per second against the number of tasks that do them at once.
//!
//! The tasks go round until they are told to stop, and what they finished between two readings of
//! the clock counts: with timers of milliseconds nobody knows before how many that will be.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use super::cycle::{self, CYCLE, Stage, Worker};
use crate::meter::{Meter, Spent, Window};
use crate::peers;
use crate::sample::{Miss, Outcome, Sample};
use crate::scenario::Job;

struct Plan {
    concurrency: u64,
    warm: Duration,
    window: Duration,
}

impl Plan {
    fn of(job: &Job) -> Result<Plan, Miss> {
        let window = Duration::from_millis(job.count(500, 200));
        Ok(Plan { concurrency: job.number("concurrency")?, warm: window / 4, window })
    }

    fn outcome(&self, worker: Worker, spent: &Spent, cycles: u64) -> Outcome {
        if cycles == 0 {
            return Err(Miss::Failed("check failed: no cycle came to its end".to_owned()));
        }
        let rate = cycles as f64 / spent.wall.as_secs_f64();
        cycle::check_rate(rate, self.concurrency)?;
        let mut sample = spent.with_values(cycles, vec![rate]);
        sample.note = worker.drift();
        Ok(sample)
    }
}

/// What the tasks and the one who counts them share. One core: nothing here is contended.
#[derive(Default)]
struct Shared {
    cycles: AtomicU64,
    stop: AtomicBool,
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Relaxed)
    }

    fn count(&self) {
        self.cycles.fetch_add(1, Relaxed);
    }

    fn so_far(&self) -> u64 {
        self.cycles.load(Relaxed)
    }
}

#[cfg(feature = "cede")]
pub fn cede(job: &Job) -> Outcome {
    let plan = Plan::of(job)?;
    cycle::precise_timers()?;
    let worker = Worker::calibrated();
    ::cede::run(move || {
        let shared = Arc::new(Shared::default());
        let spawn = |_| {
            let shared = shared.clone();
            ::cede::spawn(move || {
                while shared.goes_on() {
                    for stage in CYCLE {
                        match stage {
                            Stage::Wait(us) => ::cede::sleep(Duration::from_micros(us))?,
                            Stage::Run(us) => worker.run(us),
                        }
                    }
                    shared.count();
                }
                Ok::<(), std::io::Error>(())
            })
        };
        let tasks: Vec<_> = (0..plan.concurrency).map(spawn).collect();
        ::cede::sleep(plan.warm)?;
        let (meter, first) = (Meter::start(), shared.so_far());
        ::cede::sleep(plan.window)?;
        let (cycles, spent) = (shared.so_far() - first, meter.stop());
        shared.stop.store(true, Relaxed);
        for task in tasks {
            task.join().map_err(peers::failed)??;
        }
        plan.outcome(worker, &spent, cycles)
    })
    .map_err(peers::failed)?
}

/// The ceiling: the same loop for the same time, with nothing to wait for.
pub fn no_waits(job: &Job) -> Outcome {
    let plan = Plan { concurrency: u64::MAX, ..Plan::of(job)? };
    let worker = Worker::calibrated();
    let meter = Meter::start();
    let mut cycles = 0;
    let start = std::time::Instant::now();
    while start.elapsed() < plan.window {
        // The clock is read once in sixteen cycles: it is not part of the work.
        for _ in 0..16 {
            for stage in CYCLE {
                if let Stage::Run(us) = stage {
                    worker.run(us);
                }
            }
            cycles += 1;
        }
    }
    let spent = meter.stop();
    plan.outcome(worker, &spent, cycles)
}

/// Many threads on one core leave the one that would read the clock waiting for its turn, so here
/// the threads themselves count to a fixed number, and the last one reads.
pub fn threads(job: &Job) -> Outcome {
    /// More than this one core does not do with threads: the number of cycles is to be about what
    /// fits into the window.
    const RATE_MAX: f64 = 18_000.0;
    let plan = Plan::of(job)?;
    cycle::precise_timers()?;
    let worker = Worker::calibrated();
    let (_, of_tasks) = cycle::limits(plan.concurrency);
    let cycles = (of_tasks.min(RATE_MAX) * plan.window.as_secs_f64()) as u64;
    let left = Arc::new(AtomicU64::new(cycles));
    let window = Arc::new(Window::new(plan.concurrency as usize));
    let all_here = Arc::new(Barrier::new(plan.concurrency as usize));
    let spawn = |_| {
        let (left, window, all_here) = (left.clone(), window.clone(), all_here.clone());
        small_thread(move || {
            all_here.wait();
            window.open();
            while left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
                for stage in CYCLE {
                    match stage {
                        Stage::Wait(us) => thread::sleep(Duration::from_micros(us)),
                        Stage::Run(us) => worker.run(us),
                    }
                }
            }
            window.close();
        })
    };
    let tasks = (0..plan.concurrency).map(spawn).collect::<std::io::Result<Vec<_>>>()?;
    for task in tasks {
        task.join().map_err(|_| Miss::Failed("a thread panicked".to_owned()))?;
    }
    // What threads wait for here is each other.
    plan.outcome(worker, &window.spent()?, cycles).map(|sample| Sample { waited: 0.0, ..sample })
}

/// A thread whose stack holds what these loops need.
pub fn small_thread(
    body: impl FnOnce() + Send + 'static,
) -> std::io::Result<thread::JoinHandle<()>> {
    const STACK_BYTES: usize = 32 << 10;
    thread::Builder::new().stack_size(STACK_BYTES).spawn(body)
}

pub fn tokio(job: &Job) -> Outcome {
    let plan = Plan::of(job)?;
    cycle::precise_timers()?;
    let worker = Worker::calibrated();
    peers::tokio_current_thread()?.block_on(async {
        let shared = Arc::new(Shared::default());
        let mut tasks = Vec::new();
        for _ in 0..plan.concurrency {
            let shared = shared.clone();
            tasks.push(tokio::spawn(async move {
                while shared.goes_on() {
                    for stage in CYCLE {
                        match stage {
                            Stage::Wait(us) => tokio::time::sleep(Duration::from_micros(us)).await,
                            Stage::Run(us) => worker.run(us),
                        }
                    }
                    shared.count();
                }
            }));
        }
        tokio::time::sleep(plan.warm).await;
        let (meter, first) = (Meter::start(), shared.so_far());
        tokio::time::sleep(plan.window).await;
        let (cycles, spent) = (shared.so_far() - first, meter.stop());
        shared.stop.store(true, Relaxed);
        for task in tasks {
            task.await.map_err(peers::failed)?;
        }
        plan.outcome(worker, &spent, cycles)
    })
}

pub fn go(job: &Job) -> Result<Vec<String>, Miss> {
    let plan = Plan::of(job)?;
    // The slack survives exec and is inherited by the threads of the runtime.
    cycle::precise_timers()?;
    let (of_core, of_tasks) = cycle::limits(plan.concurrency);
    let numbers = [
        ("concurrency", plan.concurrency),
        ("warm-ms", plan.warm.as_millis() as u64),
        ("window-ms", plan.window.as_millis() as u64),
        ("rate-max", of_core.min(of_tasks) as u64),
    ];
    let stages = cycle::NAMES.into_iter().zip(CYCLE.map(|stage| match stage {
        Stage::Wait(us) | Stage::Run(us) => us,
    }));
    Ok(peers::go_args("slides", &numbers.into_iter().chain(stages).collect::<Vec<_>>()))
}
