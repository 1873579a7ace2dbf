//! `spawn-join`: a task from birth to the value that it returns, with everything warm.
//!
//! `batch` tasks are spawned before the first is joined. With a batch of 1 a scheduler may keep
//! reusing one stack, its best case; with 1,000 it must hold that many.

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult};
use may::coroutine::Builder;

use crate::meter::Meter;
use crate::peers;
use crate::sample::{Miss, Outcome, check};
use crate::scenario::{Better, Contestant, Job, Measure, Params, Program, Scenario};

pub const SCENARIO: Scenario = Scenario {
    name: "spawn-join",
    about: "spawn a task that returns a value, and join it",
    cores: 1,
    measures: &[Measure { name: "", unit: "ns per task", better: Better::Lower }],
    cases: || [1, 1_000].map(|batch| Params::new().with("batch", batch)).into(),
    contestants: &[
        #[cfg(feature = "cede")]
        Contestant {
            who: "cede",
            settings: "one shard, spawn and join",
            program: Program::Rust(cede),
        },
        Contestant {
            who: "corosensei",
            settings: "bare coroutine on a stack that is kept, resumed to its end, no scheduler",
            program: Program::Rust(corosensei),
        },
        Contestant {
            who: "may",
            settings: "1 worker, no work stealing, go! and join, stacks from its pool",
            program: Program::Rust(may),
        },
        Contestant {
            who: "may (spawn_local)",
            settings: "the same with spawn_local, which runs the coroutine before it returns",
            program: Program::Rust(may_local),
        },
        Contestant {
            who: "tokio",
            settings: "current_thread, spawn and await of the handle",
            program: Program::Rust(tokio),
        },
        Contestant {
            who: "go",
            settings: "GOMAXPROCS=1; a batch of 1 joins by a channel, a larger one by a WaitGroup",
            program: Program::Go(go),
        },
    ],
};

struct Plan {
    batch: u64,
    warm: u64,
    /// Batches that count.
    counted: u64,
}

impl Plan {
    fn of(job: &Job) -> Result<Plan, Miss> {
        const TASKS: u64 = 2_000_000;
        const TASKS_QUICK: u64 = 500_000;
        let batch = job.number("batch")?;
        let counted = (job.count(TASKS, TASKS_QUICK) / batch).max(1);
        Ok(Plan { batch, warm: counted / 10 + 1, counted })
    }

    fn tasks(&self) -> u64 {
        self.counted * self.batch
    }

    /// Tasks return their numbers, from 0 within each batch.
    fn sum(&self) -> u64 {
        self.counted * (self.batch * (self.batch - 1) / 2 + self.batch)
    }

    /// Warms up, then measures `one_batch`, which returns the sum of what its tasks returned. One
    /// call of it in the source lets the compiler put it in place, for every contestant alike.
    fn measure(&self, mut one_batch: impl FnMut(u64) -> u64) -> Outcome {
        let mut meter = Meter::start();
        let mut sum = 0;
        for batches in [self.warm, self.counted] {
            meter = Meter::start();
            sum = 0;
            for _ in 0..batches {
                sum += one_batch(self.batch);
            }
        }
        let spent = meter.stop();
        check("the sum of the joined values", sum, self.sum())?;
        Ok(spent.per_op(self.tasks()))
    }
}

#[cfg(feature = "cede")]
fn cede(job: &Job) -> Outcome {
    let plan = Plan::of(job)?;
    ::cede::run(move || {
        let mut handles = Vec::new();
        plan.measure(move |batch| {
            if batch == 1 {
                return ::cede::spawn(|| std::hint::black_box(1)).join().unwrap_or(0);
            }
            handles.extend((1..=batch).map(|i| ::cede::spawn(move || i)));
            handles.drain(..).map(|handle| handle.join().unwrap_or(0)).sum()
        })
    })
    .map_err(peers::failed)?
}

fn corosensei(job: &Job) -> Outcome {
    const STACK_BYTES: usize = 16 << 10;
    let plan = Plan::of(job)?;
    let stacks = (0..plan.batch).map(|_| DefaultStack::new(STACK_BYTES));
    let mut stacks: Vec<_> = stacks.collect::<Result<_, _>>()?;
    let mut tasks = Vec::new();
    plan.measure(move |batch| {
        tasks.extend((1..=batch).zip(stacks.drain(..)).map(|(i, stack)| {
            Coroutine::<(), (), u64, DefaultStack>::with_stack(stack, move |_, ()| i)
        }));
        let mut sum = 0;
        for mut task in tasks.drain(..) {
            if let CoroutineResult::Return(value) = task.resume(()) {
                sum += value;
            }
            stacks.push(task.into_stack());
        }
        sum
    })
}

fn may(job: &Job) -> Outcome {
    let plan = Plan::of(job)?;
    peers::may_run(1, move || {
        let mut handles = Vec::new();
        plan.measure(move |batch| {
            handles.extend((1..=batch).map(|i| may::go!(move || i)));
            handles.drain(..).map(|handle| handle.join().unwrap_or(0)).sum()
        })
    })
}

fn may_local(job: &Job) -> Outcome {
    let plan = Plan::of(job)?;
    peers::may_run(1, move || {
        let mut handles = Vec::new();
        plan.measure(move |batch| {
            // SAFETY: the task uses no thread-local storage and nearly no stack.
            let spawned = (1..=batch).map(|i| unsafe { Builder::new().spawn_local(move || i) });
            handles.extend(spawned.flatten());
            handles.drain(..).map(|handle| handle.join().unwrap_or(0)).sum()
        })
    })
}

fn tokio(job: &Job) -> Outcome {
    let plan = Plan::of(job)?;
    // A task of its own: `block_on` is a slower place to wait.
    let joined = peers::tokio_current_thread()?
        .block_on(async { tokio::spawn(async move { tokio_batches(&plan).await }).await });
    joined.map_err(peers::failed)?
}

/// What [`Plan::measure`] does, which cannot await.
async fn tokio_batches(plan: &Plan) -> Outcome {
    let mut handles = Vec::new();
    let mut sum = 0;
    let mut meter = Meter::start();
    for i in 0..plan.warm + plan.counted {
        if i == plan.warm {
            sum = 0;
            meter = Meter::start();
        }
        handles.extend((1..=plan.batch).map(|i| tokio::spawn(async move { i })));
        for handle in handles.drain(..) {
            sum += handle.await.unwrap_or(0);
        }
    }
    let spent = meter.stop();
    check("the sum of the joined values", sum, plan.sum())?;
    Ok(spent.per_op(plan.tasks()))
}

fn go(job: &Job) -> Result<Vec<String>, Miss> {
    let plan = Plan::of(job)?;
    let numbers = [("batch", plan.batch), ("warm", plan.warm), ("counted", plan.counted)];
    Ok(peers::go_args("spawn-join", &numbers))
}
