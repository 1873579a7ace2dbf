//! `timers`: arm a timer and cancel it, as an I/O timeout lives, while many others are armed.
//!
//! Deadlines are spread like those that are armed already, so that a heap is not spared its walk.
//! At the end a short timer must still fire, and no cancelled one may have.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::meter::Meter;
use crate::peers;
use crate::sample::{Miss, Outcome, check};
use crate::scenario::{Better, Contestant, Job, Measure, Params, Program, Scenario};

pub const SCENARIO: Scenario = Scenario {
    name: "timers",
    about: "arm a timer and cancel it before it fires, with a million others armed",
    cores: 1,
    measures: &[Measure { name: "", unit: "ns per arm and cancel", better: Better::Lower }],
    cases: || vec![Params::new().with("armed", 1_000_000)],
    contestants: &[
        #[cfg(feature = "cede")]
        Contestant {
            who: "cede",
            settings: "the timers of a shard: deadline from the clock, insert, cancel",
            program: Program::Rust(cede),
        },
        #[cfg(feature = "cede")]
        Contestant {
            who: "cede (park_timeout)",
            settings: "the same beneath fibers: one in park_timeout, one that wakes it",
            program: Program::Rust(cede_park),
        },
        Contestant {
            who: "tokio",
            settings: "current_thread, sleep polled once and dropped",
            program: Program::Rust(tokio),
        },
        Contestant {
            who: "go",
            settings: "GOMAXPROCS=1, AfterFunc and Stop",
            program: Program::Go(go),
        },
    ],
};

/// No timer may come due while the scenario runs.
const DELAY_MIN: Duration = Duration::from_secs(600);
const DELAY_SPREAD_SECONDS: u64 = 3600;
/// The timer that must fire at the end, and how late it may be.
const SHORT: Duration = Duration::from_millis(5);
const LATE_MAX: Duration = Duration::from_millis(200);

struct Plan {
    armed: u64,
    warm: u64,
    counted: u64,
}

impl Plan {
    fn of(job: &Job) -> Result<Plan, Miss> {
        let counted = job.count(2_000_000, 500_000);
        Ok(Plan { armed: job.number("armed")?, warm: counted / 10, counted })
    }
}

/// Delays without a pattern that a data structure could use, the same for every contestant: the
/// high bits of a linear congruential generator.
struct Delays(u64);

impl Delays {
    fn new() -> Delays {
        Delays(1)
    }

    fn next(&mut self) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let millis = (self.0 >> 33) % (DELAY_SPREAD_SECONDS * 1000);
        DELAY_MIN + Duration::from_millis(millis)
    }
}

/// The proof that timers work while so many are armed.
fn check_short(waited: Duration) -> Result<(), Miss> {
    if (SHORT..SHORT + LATE_MAX).contains(&waited) {
        return Ok(());
    }
    Err(Miss::Failed(format!("check failed: a timer of {SHORT:?} fired after {waited:?}")))
}

#[cfg(feature = "cede")]
fn cede(job: &Job) -> Outcome {
    use ::cede::{Clock, Monotonic};
    let plan = Plan::of(job)?;
    let clock = Monotonic::new();
    let mut delays = Delays::new();
    let mut timers = cede_reactor::Timers::new();
    let arm = |timers: &mut cede_reactor::Timers<u64>, delay: Duration, payload| {
        timers.insert(clock.now() + delay.as_nanos() as u64, payload)
    };
    for i in 0..plan.armed {
        arm(&mut timers, delays.next(), i);
    }
    let mut arm_and_cancel = |times: u64| {
        let mut count = 0;
        for i in 0..times {
            let key = arm(&mut timers, delays.next(), i);
            count += u64::from(timers.cancel(key) == Some(i));
        }
        count
    };
    arm_and_cancel(plan.warm);
    let meter = Meter::start();
    let count = arm_and_cancel(plan.counted);
    let spent = meter.stop();
    check("the number of timers armed and cancelled", count, plan.counted)?;
    let start = Instant::now();
    arm(&mut timers, SHORT, u64::MAX);
    let mut fired = Vec::new();
    while fired.is_empty() && start.elapsed() < SHORT + LATE_MAX {
        timers.advance(clock.now(), |payload| fired.push(payload));
    }
    check_short(start.elapsed())?;
    check("the number of timers that fired", fired.len(), 1)?;
    check("the number of timers still armed", timers.len() as u64, plan.armed)?;
    Ok(spent.per_op(plan.counted))
}

#[cfg(feature = "cede")]
fn cede_park(job: &Job) -> Outcome {
    use std::cell::Cell;
    use std::io::ErrorKind;
    use std::rc::Rc;
    let plan = Plan::of(job)?;
    // Each of the other timers is a sleeping fiber with a stack of its own.
    job.needs_memory(plan.armed * 6 * 1024)?;
    ::cede::run(move || {
        let mut delays = Delays::new();
        let mut sleepers = Vec::with_capacity(plan.armed as usize);
        for _ in 0..plan.armed {
            let delay = delays.next();
            sleepers.push(::cede::Builder::new().spawn(move || ::cede::sleep(delay))?);
        }
        ::cede::yield_now();
        let woken = Rc::new(Cell::new(0_u64));
        let total = plan.warm + plan.counted;
        let waiter = {
            let woken = woken.clone();
            ::cede::spawn(move || {
                for _ in 0..total {
                    ::cede::park_timeout(delays.next())?;
                    woken.set(woken.get() + 1);
                }
                Ok::<(), std::io::Error>(())
            })
        };
        let other = waiter.fiber();
        ::cede::yield_now();
        let wake = |times: u64| {
            for _ in 0..times {
                other.wakeup();
                ::cede::yield_now();
            }
        };
        wake(plan.warm);
        let meter = Meter::start();
        wake(plan.counted);
        let spent = meter.stop();
        check("the number of waits that a wakeup ended", woken.get(), total)?;
        waiter.join().map_err(peers::failed)??;
        let start = Instant::now();
        let timed_out = ::cede::park_timeout(SHORT).err().map(|error| error.kind());
        check_short(start.elapsed())?;
        if timed_out != Some(ErrorKind::TimedOut) {
            return Err(Miss::Failed(format!("check failed: a time-out came as {timed_out:?}")));
        }
        let waiting = sleepers.iter().filter(|sleeper| !sleeper.is_finished()).count() as u64;
        check("the number of timers still armed", waiting, plan.armed)?;
        Ok(spent.per_op(plan.counted))
    })
    .map_err(peers::failed)?
}

fn tokio(job: &Job) -> Outcome {
    let plan = Plan::of(job)?;
    peers::tokio_current_thread()?.block_on(async {
        let mut delays = Delays::new();
        let mut context = Context::from_waker(Waker::noop());
        let mut armed = Vec::with_capacity(plan.armed as usize);
        for _ in 0..plan.armed {
            let mut sleep = Box::pin(tokio::time::sleep(delays.next()));
            // A sleep is armed by its first poll.
            if is_armed(sleep.as_mut(), &mut context) {
                armed.push(sleep);
            }
        }
        // The driver learns of the earliest deadline when it waits. Until then every timer would
        // look like the new earliest and cost a system call, which no running server sees.
        tokio::time::sleep(SHORT).await;
        let mut arm_and_cancel = |times: u64| {
            let mut count = 0;
            for _ in 0..times {
                let sleep = pin!(tokio::time::sleep(delays.next()));
                count += u64::from(is_armed(sleep, &mut context));
            }
            count
        };
        arm_and_cancel(plan.warm);
        let meter = Meter::start();
        let count = arm_and_cancel(plan.counted);
        let spent = meter.stop();
        check("the number of timers armed and cancelled", count, plan.counted)?;
        let start = Instant::now();
        tokio::time::sleep(SHORT).await;
        check_short(start.elapsed())?;
        let waiting = armed.iter().filter(|sleep| !sleep.is_elapsed()).count() as u64;
        check("the number of timers still armed", waiting, plan.armed)?;
        Ok(spent.per_op(plan.counted))
    })
}

fn is_armed(sleep: Pin<&mut tokio::time::Sleep>, context: &mut Context<'_>) -> bool {
    matches!(sleep.poll(context), Poll::Pending)
}

fn go(job: &Job) -> Result<Vec<String>, Miss> {
    let plan = Plan::of(job)?;
    let numbers = [
        ("armed", plan.armed),
        ("warm", plan.warm),
        ("counted", plan.counted),
        ("delay-min-ms", DELAY_MIN.as_millis() as u64),
        ("delay-spread-ms", DELAY_SPREAD_SECONDS * 1000),
        ("short-ms", SHORT.as_millis() as u64),
        ("late-max-ms", LATE_MAX.as_millis() as u64),
    ];
    Ok(peers::go_args("timers", &numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_spread_and_repeatable() {
        let (mut a, mut b) = (Delays::new(), Delays::new());
        let some: Vec<Duration> = (0..1000).map(|_| a.next()).collect();
        assert!(some.iter().all(|&delay| delay == b.next() && delay >= DELAY_MIN));
        let late = some.iter().filter(|delay| delay.as_secs() > 600 + 1800).count();
        assert!((400..600).contains(&late), "{late} of 1000 in the later half");
    }

    #[test]
    fn a_short_timer_must_be_neither_early_nor_late() {
        assert!(check_short(SHORT).is_ok());
        assert!(check_short(SHORT - Duration::from_micros(1)).is_err());
        assert!(check_short(SHORT + LATE_MAX).is_err());
    }
}
