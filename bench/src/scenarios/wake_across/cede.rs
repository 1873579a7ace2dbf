//! cede: a fiber on each of two shards.
//!
//! The busy case measures how soon a shard with other work looks at what other threads sent.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::{Plan, is_busy, two_cores};
use crate::affinity;
use crate::meter::Meter;
use crate::peers;
use crate::sample::{Miss, Outcome};
use crate::scenario::Job;

pub fn contest(job: &Job) -> Outcome {
    let plan = Plan::of(job, is_busy(job)?)?;
    let (first, second) = two_cores(job)?;
    ::cede::Runtime::builder()
        .shards(2)
        .run(move || ping(&plan, first, second))
        .map_err(peers::failed)?
}

/// The fiber on the first shard, which starts the one on the second.
fn ping(plan: &Plan, first: usize, second: usize) -> Outcome {
    let here = ::cede::Shard::current();
    let there = ::cede::shards().into_iter().find(|shard| shard.id() != here.id());
    let there = there.ok_or_else(|| Miss::Failed("there is no second shard".to_owned()))?;
    affinity::pin(&[first])?;
    there.call(move || affinity::pin(&[second]))??;

    let table = Arc::new(Table::default());
    let pong = {
        let (table, me) = (table.clone(), ::cede::current());
        let (busy, rounds) = (plan.busy, plan.total());
        there.spawn(move || pong(&table, &me, busy, rounds))?
    };
    let other = loop {
        match table.pong.get() {
            Some(fiber) => break fiber,
            None => ::cede::park()?,
        }
    };
    if plan.busy {
        keep_busy(&table);
    }
    let mut sum = 0;
    let mut meter = Meter::start();
    for i in 1..=plan.total() {
        table.there.store(i, Ordering::Release);
        other.wakeup();
        sum += wait(&table.back)?;
        if i == plan.warm {
            meter = Meter::start();
        }
    }
    let spent = meter.stop();
    table.stop.store(true, Ordering::Relaxed);
    pong.join().map_err(peers::failed)??;
    plan.sample(spent, sum, plan.all_crossed())
}

/// The fiber on the second shard.
fn pong(table: &Arc<Table>, ping: &::cede::Fiber, busy: bool, rounds: u64) -> Result<(), Miss> {
    if busy {
        keep_busy(table);
    }
    // It is empty: there is one pong.
    let _ = table.pong.set(::cede::current());
    ping.wakeup();
    for _ in 0..rounds {
        let number = wait(&table.there)?;
        table.back.store(number + 1, Ordering::Release);
        ping.wakeup();
    }
    Ok(())
}

/// What the two sides share.
#[derive(Default)]
struct Table {
    /// The number on its way, 0 for none.
    there: AtomicU64,
    back: AtomicU64,
    pong: OnceLock<::cede::Fiber>,
    /// Ends the fibers that keep the shards busy.
    stop: AtomicBool,
}

fn wait(place: &AtomicU64) -> Result<u64, Miss> {
    loop {
        let number = place.load(Ordering::Acquire);
        if number != 0 {
            place.store(0, Ordering::Relaxed);
            return Ok(number);
        }
        ::cede::park()?;
    }
}

/// Another fiber on this shard, always ready.
fn keep_busy(table: &Arc<Table>) {
    let table = table.clone();
    drop(::cede::spawn(move || {
        while !table.stop.load(Ordering::Relaxed) {
            ::cede::yield_now();
        }
    }));
}
