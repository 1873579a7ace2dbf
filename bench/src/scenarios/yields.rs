//! `yield`: one turn of the scheduler, among many tasks that do nothing else.
//!
//! That every yield really switched is checked while warming up, by a trace of who ran last: the
//! trace would cost a twentieth of the figure inside of the measured part.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult};

use crate::meter::Window;
use crate::peers;
use crate::sample::{Miss, Outcome, Sample, check};
use crate::scenario::{Better, Contestant, Job, Measure, Params, Program, Scenario};

pub const SCENARIO: Scenario = Scenario {
    name: "yield",
    about: "one switch from task to task through the scheduler, all tasks always ready",
    cores: 1,
    measures: &[Measure { name: "", unit: "ns per yield", better: Better::Lower }],
    cases: || [1_000, 100_000].map(|fibers| Params::new().with("fibers", fibers)).into(),
    contestants: &[
        #[cfg(feature = "cede")]
        Contestant { who: "cede", settings: "one shard, yield_now", program: Program::Rust(cede) },
        Contestant {
            who: "corosensei",
            settings: "bare resume and suspend (two switches) in a loop, 16 KiB stacks",
            program: Program::Rust(corosensei),
        },
        Contestant {
            who: "may",
            settings: "1 worker, no work stealing, yield_now",
            program: Program::Rust(may),
        },
        Contestant {
            who: "tokio",
            settings: "current_thread, spawn, yield_now",
            program: Program::Rust(tokio),
        },
        Contestant { who: "go", settings: "GOMAXPROCS=1, Gosched", program: Program::Go(go) },
    ],
};

struct Plan {
    fibers: u64,
    /// Yields of each fiber before the clock starts.
    warm: u64,
    /// Yields of each fiber that count.
    counted: u64,
}

impl Plan {
    fn of(job: &Job) -> Result<Plan, Miss> {
        const YIELDS: u64 = 20_000_000;
        const YIELDS_QUICK: u64 = 5_000_000;
        let fibers = job.number("fibers")?;
        let counted = (job.count(YIELDS, YIELDS_QUICK) / fibers).max(1);
        Ok(Plan { fibers, warm: counted / 20 + 3, counted })
    }

    fn sample(&self, window: &Window, trace: &Trace, done: u64) -> Outcome {
        check("the number of yields", done, self.fibers * self.counted)?;
        trace.check(self.fibers * self.warm)?;
        let sample: Sample = window.spent()?.per_op(self.fibers * self.counted);
        Ok(sample)
    }
}

/// Counts how often another task ran than the one before.
struct Trace {
    last: AtomicU64,
    switches: AtomicU64,
}

impl Trace {
    fn new() -> Trace {
        Trace { last: AtomicU64::new(u64::MAX), switches: AtomicU64::new(0) }
    }

    /// One core, so a load and a store are enough.
    fn mark(&self, task: u64) {
        if self.last.load(Relaxed) != task {
            self.last.store(task, Relaxed);
            self.switches.store(self.switches.load(Relaxed) + 1, Relaxed);
        }
    }

    /// A scheduler may batch now and then; one that hardly switches is not measured as one.
    fn check(&self, yields: u64) -> Result<(), Miss> {
        let switches = self.switches.load(Relaxed);
        if switches * 100 >= yields * 95 {
            return Ok(());
        }
        Err(Miss::Failed(format!("check failed: {yields} yields made {switches} switches")))
    }
}

#[cfg(feature = "cede")]
fn cede(job: &Job) -> Outcome {
    let plan = Plan::of(job)?;
    let window = Rc::new(Window::new(plan.fibers as usize));
    let trace = Rc::new(Trace::new());
    let (shared_window, shared_trace) = (window.clone(), trace.clone());
    let Plan { fibers, warm, counted } = plan;
    let done = ::cede::run(move || {
        let handles: Vec<_> = (0..fibers)
            .map(|i| {
                let (window, trace) = (shared_window.clone(), shared_trace.clone());
                ::cede::spawn(move || {
                    for _ in 0..warm {
                        trace.mark(i);
                        ::cede::yield_now();
                    }
                    window.open();
                    let mut done = 0_u64;
                    for _ in 0..counted {
                        ::cede::yield_now();
                        done += 1;
                    }
                    window.close();
                    done
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().unwrap_or(0)).sum()
    });
    let done: u64 = done.map_err(peers::failed)?;
    plan.sample(&window, &trace, done)
}

fn corosensei(job: &Job) -> Outcome {
    const STACK_BYTES: usize = 16 << 10;
    let plan = Plan::of(job)?;
    let Plan { fibers, warm, counted } = plan;
    let window = Rc::new(Window::new(fibers as usize));
    let trace = Rc::new(Trace::new());
    let mut coroutines = Vec::new();
    for i in 0..fibers {
        let stack = DefaultStack::new(STACK_BYTES)
            .map_err(|e| Miss::Skipped(format!("reached {i} of {fibers} stacks: {e}")))?;
        let (window, trace) = (window.clone(), trace.clone());
        coroutines.push(Coroutine::with_stack(stack, move |yielder, ()| {
            for _ in 0..warm {
                trace.mark(i);
                yielder.suspend(());
            }
            window.open();
            let mut done = 0_u64;
            for _ in 0..counted {
                yielder.suspend(());
                done += 1;
            }
            window.close();
            done
        }));
    }
    let mut done = 0;
    let mut running = fibers;
    while running > 0 {
        for coroutine in coroutines.iter_mut().filter(|coroutine| !coroutine.done()) {
            if let CoroutineResult::Return(yields) = coroutine.resume(()) {
                done += yields;
                running -= 1;
            }
        }
    }
    plan.sample(&window, &trace, done)
}

fn may(job: &Job) -> Outcome {
    let plan = Plan::of(job)?;
    let window = Arc::new(Window::new(plan.fibers as usize));
    let trace = Arc::new(Trace::new());
    let (shared_window, shared_trace) = (window.clone(), trace.clone());
    let Plan { fibers, warm, counted } = plan;
    let done = peers::may_run(1, move || {
        let handles = peers::may_spawn_all(fibers, |i| {
            let (window, trace) = (shared_window.clone(), shared_trace.clone());
            move || {
                for _ in 0..warm {
                    trace.mark(i);
                    may::coroutine::yield_now();
                }
                window.open();
                let mut done = 0_u64;
                for _ in 0..counted {
                    may::coroutine::yield_now();
                    done += 1;
                }
                window.close();
                done
            }
        })?;
        Ok(handles.into_iter().map(|handle| handle.join().unwrap_or(0)).sum())
    })?;
    plan.sample(&window, &trace, done)
}

fn tokio(job: &Job) -> Outcome {
    let plan = Plan::of(job)?;
    let window = Arc::new(Window::new(plan.fibers as usize));
    let trace = Arc::new(Trace::new());
    let Plan { fibers, warm, counted } = plan;
    let done = peers::tokio_current_thread()?.block_on(async {
        let mut handles = Vec::new();
        for i in 0..fibers {
            let (window, trace) = (window.clone(), trace.clone());
            handles.push(tokio::spawn(async move {
                for _ in 0..warm {
                    trace.mark(i);
                    tokio::task::yield_now().await;
                }
                window.open();
                let mut done = 0_u64;
                for _ in 0..counted {
                    tokio::task::yield_now().await;
                    done += 1;
                }
                window.close();
                done
            }));
        }
        let mut done = 0;
        for handle in handles {
            done += handle.await.unwrap_or(0);
        }
        done
    });
    plan.sample(&window, &trace, done)
}

fn go(job: &Job) -> Result<Vec<String>, Miss> {
    let plan = Plan::of(job)?;
    let numbers = [("fibers", plan.fibers), ("warm", plan.warm), ("counted", plan.counted)];
    Ok(peers::go_args("yield", &numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yields_that_do_not_switch_fail_the_check() {
        let trace = Trace::new();
        for _ in 0..50 {
            trace.mark(1);
            trace.mark(2);
        }
        assert!(trace.check(100).is_ok());
        for _ in 0..100 {
            trace.mark(2);
        }
        assert!(trace.check(200).is_err());
    }
}
