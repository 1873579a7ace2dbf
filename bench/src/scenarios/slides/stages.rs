//! Where the time of a cycle goes, stage by stage.
//!
//! The accounting is this file's own: a runtime that read the clock at every switch would double
//! the price of one. So the worker reads it between its stages, and a wait is what passed from the
//! call of `sleep` to its return, with the lateness of the timer and the turn of the scheduler.

use std::thread;
use std::time::{Duration, Instant};

use super::cycle::{self, CYCLE, Stage, Worker};
use crate::meter::Meter;
use crate::sample::{Miss, Outcome};
use crate::scenario::Job;

/// Time spent in each stage so far.
#[derive(Default)]
struct Ledger {
    spent: [Duration; CYCLE.len()],
}

impl Ledger {
    /// Goes through the cycle once; `Err` if a wait was shorter than it was to be.
    fn cycle(
        &mut self,
        worker: Worker,
        mut wait: impl FnMut(Duration) -> Result<(), Miss>,
    ) -> Result<(), Miss> {
        let mut since = Instant::now();
        for (stage, spent) in CYCLE.into_iter().zip(&mut self.spent) {
            match stage {
                Stage::Wait(us) => wait(Duration::from_micros(us))?,
                Stage::Run(us) => worker.run(us),
            }
            let now = Instant::now();
            let passed = now - since;
            if let Stage::Wait(us) = stage
                && passed < Duration::from_micros(us)
            {
                return Err(Miss::Failed(format!(
                    "check failed: a wait of {us} us was over after {passed:?}"
                )));
            }
            *spent += passed;
            since = now;
        }
        Ok(())
    }

    /// Microseconds of each stage, then the part of the cycle that ran, in percent.
    fn values(&self, cycles: u64) -> Vec<f64> {
        let micros = |time: &Duration| time.as_secs_f64() * 1e6 / cycles as f64;
        let mut values: Vec<f64> = self.spent.iter().map(micros).collect();
        let whole: f64 = values.iter().sum();
        let is_run = |stage: &Stage| matches!(stage, Stage::Run(_));
        let run: f64 = CYCLE.iter().zip(&values).filter(|(s, _)| is_run(s)).map(|(_, us)| us).sum();
        values.push(100.0 * run / whole);
        values
    }
}

fn split(job: &Job, mut wait: impl FnMut(Duration) -> Result<(), Miss>) -> Outcome {
    let worker = Worker::calibrated();
    let cycles = job.count(5_000, 1_000);
    for _ in 0..cycles / 10 {
        Ledger::default().cycle(worker, &mut wait)?;
    }
    let mut ledger = Ledger::default();
    let meter = Meter::start();
    for _ in 0..cycles {
        ledger.cycle(worker, &mut wait)?;
    }
    let mut sample = meter.stop().with_values(cycles, ledger.values(cycles));
    sample.note = worker.drift();
    Ok(sample)
}

/// Whether the core has other work in all the time that the worker waits.
fn is_busy(job: &Job) -> Result<bool, Miss> {
    match job.word("core")? {
        "busy" => Ok(true),
        "asleep" => Ok(false),
        other => Err(Miss::Failed(format!("a core cannot be {other}"))),
    }
}

#[cfg(feature = "cede")]
pub fn cede(job: &Job) -> Outcome {
    use std::cell::Cell;
    use std::rc::Rc;
    cycle::precise_timers()?;
    let busy = is_busy(job)?;
    ::cede::run(|| {
        let ended = Rc::new(Cell::new(!busy));
        let other = {
            let ended = ended.clone();
            ::cede::spawn(move || {
                while !ended.get() {
                    ::cede::yield_now();
                }
            })
        };
        let outcome = split(job, |time| Ok(::cede::sleep(time)?));
        ended.set(true);
        other.join().map_err(crate::peers::failed)?;
        outcome
    })
    .map_err(crate::peers::failed)?
}

pub fn threads(job: &Job) -> Outcome {
    if is_busy(job)? {
        let why = "a thread that never sleeps would take turns of milliseconds from the worker";
        return Err(Miss::Skipped(why.to_owned()));
    }
    cycle::precise_timers()?;
    split(job, |time| {
        thread::sleep(time);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_is_cut_short_fails_the_check() {
        let worker = Worker::calibrated();
        let honest = Ledger::default().cycle(worker, |time| {
            thread::sleep(time);
            Ok(())
        });
        assert_eq!(honest, Ok(()));
        assert!(Ledger::default().cycle(worker, |_| Ok(())).is_err());
    }

    #[test]
    fn the_part_that_ran_is_that_of_the_running_stages() {
        let micros = [70, 6, 1, 16, 10, 70].map(Duration::from_micros);
        let values = Ledger { spent: micros.map(|time| time * 10) }.values(10);
        assert!((values[0] - 70.0).abs() < 1e-9, "{values:?}");
        assert!((values[6] - 100.0 * 17.0 / 173.0).abs() < 1e-9, "{values:?}");
    }
}
