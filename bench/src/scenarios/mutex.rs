//! `mutex`: a lock that nobody else wants, and one that a thousand tasks want at once.
//!
//! Under contention each owner yields while it holds the lock, so that every other task finds it
//! taken and waits.

use std::hint::black_box;
use std::sync::Arc;

use crate::meter::{Meter, Window};
use crate::peers;
use crate::sample::{Miss, Outcome, check};
use crate::scenario::{Better, Contestant, Job, Measure, Params, Program, Scenario};

pub const SCENARIO: Scenario = Scenario {
    name: "mutex",
    about: "lock, add one, unlock: alone, or among tasks that each yield as the owner",
    cores: 1,
    measures: &[Measure { name: "", unit: "ns per lock and unlock", better: Better::Lower }],
    cases: || [1, 1_000].map(|tasks| Params::new().with("contenders", tasks)).into(),
    contestants: &[
        #[cfg(feature = "cede")]
        Contestant {
            who: "cede",
            settings: "one shard, sync::Mutex",
            program: Program::Rust(cede_shared),
        },
        #[cfg(feature = "cede")]
        Contestant {
            who: "cede (local)",
            settings: "one shard, sync::local::Mutex",
            program: Program::Rust(cede_local),
        },
        Contestant {
            who: "floor (std)",
            settings: "std::sync::Mutex in a plain thread",
            program: Program::Rust(std_mutex),
        },
        Contestant {
            who: "may",
            settings: "1 worker, no work stealing, may::sync::Mutex",
            program: Program::Rust(may_mutex),
        },
        Contestant {
            who: "tokio",
            settings: "current_thread, tokio::sync::Mutex, lock().await",
            program: Program::Rust(tokio_mutex),
        },
        Contestant {
            who: "go",
            settings: "GOMAXPROCS=1, sync.Mutex (not fair: an owner may lock again at once)",
            program: Program::Go(go),
        },
    ],
};

struct Plan {
    contenders: u64,
    /// Locks of each task before the clock starts.
    warm: u64,
    /// Locks of each task that count.
    counted: u64,
}

impl Plan {
    fn of(job: &Job) -> Result<Plan, Miss> {
        let contenders = job.number("contenders")?;
        let locks = match contenders {
            1 => job.count(100_000_000, 20_000_000),
            _ => job.count(3_000_000, 1_000_000),
        };
        let counted = locks / contenders;
        Ok(Plan { contenders, warm: counted / 20, counted })
    }

    fn check(&self, sum: u64) -> Result<(), Miss> {
        check("the counter", sum, self.contenders * (self.warm + self.counted))
    }

    fn locks(&self) -> u64 {
        self.contenders * self.counted
    }
}

/// Lock, add, unlock, with nobody else there. The lock is hidden from the optimiser, which could
/// otherwise take one that nobody shares for what it is.
macro_rules! alone {
    ($plan:expr, $mutex:expr, |$m:ident| $lock:expr) => {{
        let mut meter = Meter::start();
        for count in [$plan.warm, $plan.counted] {
            meter = Meter::start();
            for _ in 0..count {
                let $m = black_box(&$mutex);
                *$lock += 1;
            }
        }
        meter.stop()
    }};
}

/// What each of the contenders does.
macro_rules! contend {
    ($plan:expr, $window:expr, $lock:expr, $yields:expr) => {{
        for _ in 0..$plan.0 {
            let mut guard = $lock;
            *guard += 1;
            $yields;
        }
        $window.open();
        for _ in 0..$plan.1 {
            let mut guard = $lock;
            *guard += 1;
            $yields;
        }
        $window.close();
    }};
}

/// The same source for both kinds of lock, which are types of their own.
#[cfg(feature = "cede")]
macro_rules! cede_mutex {
    ($name:ident, $mutex:ty) => {
        fn $name(job: &Job) -> Outcome {
            use std::rc::Rc;
            let plan = Plan::of(job)?;
            ::cede::run(move || {
                let mutex: Rc<$mutex> = Rc::new(<$mutex>::new(0));
                if plan.contenders == 1 {
                    let spent = alone!(plan, *mutex, |m| m.lock().unwrap());
                    plan.check(*mutex.lock()?)?;
                    return Ok(spent.per_op(plan.locks()));
                }
                let window = Rc::new(Window::new(plan.contenders as usize));
                let fibers: Vec<_> = (0..plan.contenders)
                    .map(|_| {
                        let (mutex, window) = (mutex.clone(), window.clone());
                        let counts = (plan.warm, plan.counted);
                        ::cede::spawn(move || {
                            contend!(counts, window, mutex.lock().unwrap(), ::cede::yield_now());
                        })
                    })
                    .collect();
                for fiber in fibers {
                    fiber.join().map_err(peers::failed)?;
                }
                plan.check(*mutex.lock()?)?;
                Ok(window.spent()?.per_op(plan.locks()))
            })
            .map_err(peers::failed)?
        }
    };
}

#[cfg(feature = "cede")]
cede_mutex!(cede_shared, ::cede::sync::Mutex<u64>);
#[cfg(feature = "cede")]
cede_mutex!(cede_local, ::cede::sync::local::Mutex<u64>);

fn std_mutex(job: &Job) -> Outcome {
    let plan = Plan::of(job)?;
    if plan.contenders > 1 {
        return Err(Miss::Skipped("blocks its thread, so tasks cannot contend for it".to_owned()));
    }
    let mutex = std::sync::Mutex::new(0_u64);
    let spent = alone!(plan, mutex, |m| m.lock().unwrap());
    plan.check(*mutex.lock().map_err(peers::failed)?)?;
    Ok(spent.per_op(plan.locks()))
}

fn may_mutex(job: &Job) -> Outcome {
    let plan = Plan::of(job)?;
    peers::may_run(1, move || {
        let mutex = Arc::new(may::sync::Mutex::new(0_u64));
        if plan.contenders == 1 {
            let spent = alone!(plan, *mutex, |m| m.lock().unwrap());
            plan.check(*mutex.lock().map_err(peers::failed)?)?;
            return Ok(spent.per_op(plan.locks()));
        }
        let window = Arc::new(Window::new(plan.contenders as usize));
        let handles = peers::may_spawn_all(plan.contenders, |_| {
            let (mutex, window) = (mutex.clone(), window.clone());
            let counts = (plan.warm, plan.counted);
            move || contend!(counts, window, mutex.lock().unwrap(), may::coroutine::yield_now())
        })?;
        for handle in handles {
            handle.join().map_err(|_| Miss::Failed("a contender panicked".to_owned()))?;
        }
        plan.check(*mutex.lock().map_err(peers::failed)?)?;
        Ok(window.spent()?.per_op(plan.locks()))
    })
}

fn tokio_mutex(job: &Job) -> Outcome {
    let plan = Plan::of(job)?;
    let mutex = Arc::new(tokio::sync::Mutex::new(0_u64));
    peers::tokio_current_thread()?.block_on(async {
        if plan.contenders == 1 {
            let shared = mutex.clone();
            let Plan { warm, counted, .. } = plan;
            let task = tokio::spawn(async move {
                let plan = Plan { contenders: 1, warm, counted };
                alone!(plan, *shared, |m| m.lock().await)
            });
            let spent = task.await.map_err(peers::failed)?;
            plan.check(*mutex.lock().await)?;
            return Ok(spent.per_op(plan.locks()));
        }
        let window = Arc::new(Window::new(plan.contenders as usize));
        let mut tasks = Vec::new();
        for _ in 0..plan.contenders {
            let (mutex, window) = (mutex.clone(), window.clone());
            let counts = (plan.warm, plan.counted);
            tasks.push(tokio::spawn(async move {
                contend!(counts, window, mutex.lock().await, tokio::task::yield_now().await);
            }));
        }
        for task in tasks {
            task.await.map_err(peers::failed)?;
        }
        plan.check(*mutex.lock().await)?;
        Ok(window.spent()?.per_op(plan.locks()))
    })
}

fn go(job: &Job) -> Result<Vec<String>, Miss> {
    let plan = Plan::of(job)?;
    let numbers = [("contenders", plan.contenders), ("warm", plan.warm), ("counted", plan.counted)];
    Ok(peers::go_args("mutex", &numbers))
}
