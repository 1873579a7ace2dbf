//! `million`: a million tasks that wait, and what they take from the machine.
//!
//! Page tables are counted apart: stacks that lie far from each other in the address space need
//! more of them, and the resident size does not show it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::memory::Memory;
use crate::meter::{Meter, Spent};
use crate::peers;
use crate::sample::{Miss, Outcome, check};
use crate::scenario::{Better, Contestant, Job, Measure, Params, Program, Scenario};

pub const SCENARIO: Scenario = Scenario {
    name: "million",
    about: "a million tasks that all wait: memory, mappings, time to spawn; then all are woken",
    cores: 1,
    measures: &[
        Measure { name: "resident", unit: "bytes per fiber", better: Better::Lower },
        Measure { name: "page-tables", unit: "bytes per fiber", better: Better::Lower },
        Measure { name: "mappings", unit: "mappings of the process", better: Better::Lower },
        Measure { name: "spawn", unit: "ns per fiber", better: Better::Lower },
    ],
    cases: || vec![Params::new().with("fibers", 1_000_000)],
    contestants: &[
        #[cfg(feature = "cede")]
        Contestant {
            who: "cede",
            settings: "one shard, default stacks with guards, each fiber in park",
            program: Program::Rust(cede),
        },
        Contestant {
            who: "may",
            settings: "1 worker, default stacks of 32 KiB, each coroutine in park",
            program: Program::Rust(may),
        },
        Contestant {
            who: "tokio",
            settings: "current_thread, all tasks wait for one Notify",
            program: Program::Rust(tokio),
        },
        Contestant {
            who: "go",
            settings: "GOMAXPROCS=1, all goroutines receive from one channel",
            program: Program::Go(go),
        },
    ],
};

const GIB: u64 = 1 << 30;

/// A measurement from before the first spawn until all tasks wait.
struct Before {
    memory: Memory,
    meter: Meter,
}

/// What holding the tasks costs.
struct Held {
    before: Memory,
    after: Memory,
    spent: Spent,
}

impl Before {
    fn now() -> Result<Before, Miss> {
        Ok(Before { memory: Memory::now()?, meter: Meter::start() })
    }

    fn held(self) -> Result<Held, Miss> {
        let spent = self.meter.stop();
        Ok(Held { before: self.memory, after: Memory::now()?, spent })
    }
}

impl Held {
    /// `sum` is that of the numbers, from 0, that the tasks returned after they were woken.
    fn sample(&self, fibers: u64, sum: u64) -> Outcome {
        check("the sum of the joined values", sum, fibers * (fibers - 1) / 2)?;
        let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / fibers as f64;
        let values = vec![
            each(self.after.resident_bytes, self.before.resident_bytes),
            each(self.after.table_bytes, self.before.table_bytes),
            self.after.mappings as f64,
            self.spent.ns_per(fibers),
        ];
        Ok(self.spent.with_values(fibers, values))
    }
}

#[cfg(feature = "cede")]
fn cede(job: &Job) -> Outcome {
    use std::cell::Cell;
    use std::rc::Rc;
    let fibers = job.number("fibers")?;
    job.needs_memory(6 * GIB)?;
    ::cede::run(move || {
        let waiting = Rc::new(Cell::new(0_u64));
        let released = Rc::new(Cell::new(false));
        let before = Before::now()?;
        let mut handles = Vec::with_capacity(fibers as usize);
        for i in 0..fibers {
            let (waiting, released) = (waiting.clone(), released.clone());
            let fiber = ::cede::Builder::new().spawn(move || {
                waiting.set(waiting.get() + 1);
                while !released.get() {
                    ::cede::park()?;
                }
                Ok::<u64, std::io::Error>(i)
            });
            handles.push(fiber?);
        }
        while waiting.get() < fibers {
            ::cede::yield_now();
        }
        let held = before.held()?;
        released.set(true);
        let mut sum = 0;
        for handle in &handles {
            handle.fiber().wakeup();
        }
        for handle in handles {
            sum += handle.join().map_err(peers::failed)??;
        }
        held.sample(fibers, sum)
    })
    .map_err(peers::failed)?
}

fn may(job: &Job) -> Outcome {
    let fibers = job.number("fibers")?;
    job.needs_memory(6 * GIB)?;
    peers::may_run(1, move || {
        let waiting = Arc::new(AtomicU64::new(0));
        let before = Before::now()?;
        let handles = peers::may_spawn_all(fibers, |i| {
            let waiting = waiting.clone();
            move || {
                waiting.fetch_add(1, Ordering::Relaxed);
                may::coroutine::park();
                i
            }
        })?;
        while waiting.load(Ordering::Relaxed) < fibers {
            may::coroutine::yield_now();
        }
        let held = before.held()?;
        handles.iter().for_each(|handle| handle.coroutine().unpark());
        let sum = handles.into_iter().map(|handle| handle.join().unwrap_or(0)).sum();
        held.sample(fibers, sum)
    })
}

fn tokio(job: &Job) -> Outcome {
    let fibers = job.number("fibers")?;
    job.needs_memory(2 * GIB)?;
    let shared = Arc::new((tokio::sync::Notify::new(), AtomicU64::new(0)));
    peers::tokio_current_thread()?.block_on(async {
        let before = Before::now()?;
        let mut handles = Vec::with_capacity(fibers as usize);
        for i in 0..fibers {
            let shared = shared.clone();
            handles.push(tokio::spawn(async move {
                shared.1.fetch_add(1, Ordering::Relaxed);
                shared.0.notified().await;
                i
            }));
        }
        while shared.1.load(Ordering::Relaxed) < fibers {
            tokio::task::yield_now().await;
        }
        let held = before.held()?;
        shared.0.notify_waiters();
        let mut sum = 0;
        for handle in handles {
            sum += handle.await.map_err(peers::failed)?;
        }
        held.sample(fibers, sum)
    })
}

fn go(job: &Job) -> Result<Vec<String>, Miss> {
    job.needs_memory(4 * GIB)?;
    Ok(peers::go_args("million", &[("fibers", job.number("fibers")?)]))
}
