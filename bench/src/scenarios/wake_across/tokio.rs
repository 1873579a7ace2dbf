//! tokio in three arrangements, two of which make every wake cross threads.
//!
//! Between two workers of one runtime a woken task goes to the waker's worker, so that the third
//! arrangement, the most usual one, has nothing to measure here and says so.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use ::tokio::runtime::{Builder, Runtime};
use ::tokio::sync::Notify;
use ::tokio::task::{LocalSet, spawn_local};

use super::{Plan, is_busy, two_cores};
use crate::affinity;
use crate::meter::Meter;
use crate::peers;
use crate::sample::{Miss, Outcome};
use crate::scenario::Job;

/// Two tasks of tokio, wherever they run.
struct Pair {
    plan: Plan,
    to_pong: Notify,
    to_ping: Notify,
    number: AtomicU64,
    /// The thread of the last waker: a wake that is met by another thread has crossed.
    waker_thread: AtomicU64,
    crossed: AtomicU64,
    stop: AtomicBool,
}

impl Pair {
    fn new(plan: Plan) -> Arc<Pair> {
        Arc::new(Pair {
            plan,
            to_pong: Notify::new(),
            to_ping: Notify::new(),
            number: AtomicU64::new(0),
            waker_thread: AtomicU64::new(0),
            crossed: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        })
    }

    fn wake(&self, notify: &Notify, number: u64) {
        self.number.store(number, Ordering::Relaxed);
        self.waker_thread.store(thread_number(), Ordering::Relaxed);
        notify.notify_one();
    }

    async fn wait(&self, notify: &Notify) -> u64 {
        notify.notified().await;
        if self.waker_thread.load(Ordering::Relaxed) != thread_number() {
            // One side runs at a time, so a load and a store are enough.
            let crossed = self.crossed.load(Ordering::Relaxed);
            self.crossed.store(crossed + 1, Ordering::Relaxed);
        }
        self.number.load(Ordering::Relaxed)
    }

    async fn pong(self: Arc<Pair>) {
        for _ in 0..self.plan.total() {
            let number = self.wait(&self.to_pong).await;
            self.wake(&self.to_ping, number + 1);
        }
    }

    async fn ping(self: Arc<Pair>) -> Outcome {
        let mut sum = 0;
        let mut meter = Meter::start();
        for i in 1..=self.plan.total() {
            self.wake(&self.to_pong, i);
            sum += self.wait(&self.to_ping).await;
            if i == self.plan.warm {
                self.crossed.store(0, Ordering::Relaxed);
                meter = Meter::start();
            }
        }
        let spent = meter.stop();
        self.stop.store(true, Ordering::Relaxed);
        self.plan.sample(spent, sum, self.crossed.load(Ordering::Relaxed))
    }

    async fn keep_busy(self: Arc<Pair>) {
        while self.plan.busy && !self.stop.load(Ordering::Relaxed) {
            ::tokio::task::yield_now().await;
        }
    }
}

/// A number for the calling thread, cheap to get.
fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

pub fn multi_thread(job: &Job) -> Outcome {
    let pair = Pair::new(Plan::of(job, is_busy(job)?)?);
    let (first, second) = two_cores(job)?;
    let runtime = pinned(&[second])?;
    affinity::pin(&[first])?;
    let here = LocalSet::new();
    here.block_on(&runtime, async {
        let far_helper = ::tokio::spawn(pair.clone().keep_busy());
        let pong = ::tokio::spawn(pair.clone().pong());
        let helper = spawn_local(pair.clone().keep_busy());
        let outcome = spawn_local(pair.clone().ping()).await;
        for ended in [pong.await, helper.await, far_helper.await] {
            ended.map_err(peers::failed)?;
        }
        outcome.map_err(peers::failed)?
    })
}

pub fn workers(job: &Job) -> Outcome {
    let pair = Pair::new(Plan::of(job, is_busy(job)?)?);
    let (first, second) = two_cores(job)?;
    let runtime = pinned(&[first, second])?;
    runtime.block_on(async {
        let helpers = [(); 2].map(|()| ::tokio::spawn(pair.clone().keep_busy()));
        let pong = ::tokio::spawn(pair.clone().pong());
        let outcome = ::tokio::spawn(pair.clone().ping()).await.map_err(peers::failed)?;
        pong.await.map_err(peers::failed)?;
        for helper in helpers {
            helper.await.map_err(peers::failed)?;
        }
        outcome
    })
}

/// A multi-thread runtime with one worker for each of these cores, pinned to it.
fn pinned(cores: &[usize]) -> std::io::Result<Runtime> {
    let left = Mutex::new(cores.to_vec());
    Builder::new_multi_thread()
        .worker_threads(cores.len())
        .enable_all()
        .on_thread_start(move || {
            let core = left.lock().ok().and_then(|mut left| left.pop());
            // A thread that cannot be pinned makes the figure noisier, not wrong.
            let _ = core.map(|core| affinity::pin(&[core]));
        })
        .build()
}

pub fn runtimes(job: &Job) -> Outcome {
    let pair = Pair::new(Plan::of(job, is_busy(job)?)?);
    let (first, second) = two_cores(job)?;
    let far = pair.clone();
    let there = thread::spawn(move || {
        affinity::pin(&[second])?;
        peers::tokio_current_thread()?.block_on(async {
            let helper = ::tokio::spawn(far.clone().keep_busy());
            ::tokio::spawn(far.pong()).await.map_err(peers::failed)?;
            helper.await.map_err(peers::failed)
        })
    });
    affinity::pin(&[first])?;
    let outcome = peers::tokio_current_thread()?.block_on(async {
        let helper = ::tokio::spawn(pair.clone().keep_busy());
        let outcome = ::tokio::spawn(pair.clone().ping()).await.map_err(peers::failed)?;
        helper.await.map_err(peers::failed)?;
        outcome
    });
    there.join().map_err(|_| Miss::Failed("the second thread panicked".to_owned()))??;
    outcome
}
