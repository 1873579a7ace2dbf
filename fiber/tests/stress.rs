//! Everything at once, at random: spawn, park, wakeup, cancel, deadlines, scopes, large stacks and
//! panics, on two shards. What is checked is what must hold whatever the order: every fiber ends,
//! every guard is dropped once, every result is one that could be.
//!
//! `CEDE_SEED` repeats a run's choices (the interleaving of the two shards is the system's).

mod common;

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use cede_fiber::{
    Fiber, JoinHandle, Runtime, Shard, current, is_cancelled, on_large_stack, park, park_timeout,
    scope, shards, shield, sleep, spawn, with_deadline, yield_now,
};
use common::{Drops, OnDrop, Random, guarded, rounds};

/// Nobody is deeper than this below the first fiber.
const DEPTH_MAX: u32 = 4;
/// Things that one fiber does at most.
const ACTS_MAX: u64 = 6;

/// Runtimes per test.
const ROUNDS: usize = 600;
/// Fibers that the first one of each makes.
const FIBERS: usize = 20;

struct Bomb;

/// What the fibers of one shard share.
struct World {
    random: RefCell<Random>,
    drops: Drops,
    /// Fibers that may be woken or cancelled by others; some have ended.
    known: RefCell<Vec<Fiber>>,
}

impl World {
    fn new(random: Random, drops: Drops) -> Rc<Self> {
        Rc::new(Self { random: RefCell::new(random), drops, known: RefCell::default() })
    }

    fn below(&self, end: u64) -> u64 {
        self.random.borrow_mut().below(end)
    }

    fn somebody(&self) -> Option<Fiber> {
        let known = self.known.borrow();
        if known.is_empty() {
            return None;
        }
        known.get(self.below(known.len() as u64) as usize).cloned()
    }
}

/// A wait may succeed, be cancelled or run out of time; nothing else.
fn allowed(result: std::io::Result<()>) {
    if let Err(error) = result {
        assert!(is_cancelled(&error) || error.kind() == ErrorKind::TimedOut, "{error}");
    }
}

fn micros(world: &World) -> Duration {
    Duration::from_micros(world.below(300))
}

/// One fiber: does a few things, holds a guard meanwhile, and panics now and then.
fn life(world: &Rc<World>, depth: u32) -> u32 {
    let _guard = world.drops.guard();
    world.known.borrow_mut().push(current());
    let acts = world.below(ACTS_MAX);
    for _ in 0..acts {
        act(world, depth);
    }
    if world.below(16) == 0 {
        let _in_unwinding = OnDrop::new(|| {
            yield_now();
            assert!(sleep(Duration::from_secs(60)).is_err(), "nobody waits while a panic unwinds");
        });
        std::panic::resume_unwind(Box::new(Bomb));
    }
    depth
}

fn act(world: &Rc<World>, depth: u32) {
    match world.below(13) {
        0 => yield_now(),
        1 => allowed(park_timeout(micros(world))),
        2 => allowed(sleep(micros(world))),
        3 | 4 => {
            if let Some(fiber) = world.somebody() {
                fiber.wakeup();
            }
        }
        5 => {
            if let Some(fiber) = world.somebody() {
                fiber.cancel();
            }
        }
        6 => allowed(with_deadline(micros(world), park)),
        7 => shield(|| allowed(park_timeout(micros(world)))),
        8 => on_large_stack(|| {
            let ballast = std::hint::black_box([depth; 16 * 1024]);
            if depth < DEPTH_MAX {
                act(world, depth + 1);
            }
            assert_eq!(std::hint::black_box(ballast)[7], depth);
        }),
        9 if depth < DEPTH_MAX => borrowing_children(world, depth),
        10 if depth < DEPTH_MAX => across_shards(world, depth),
        _ if depth < DEPTH_MAX => {
            let child = spawn_one(world, depth + 1);
            match world.below(3) {
                0 => {}
                1 => child.cancel(),
                _ => ended(child, depth + 1),
            }
        }
        _ => yield_now(),
    }
}

fn spawn_one(world: &Rc<World>, depth: u32) -> JoinHandle<u32> {
    let world = Rc::clone(world);
    spawn(move || life(&world, depth))
}

/// A join brings the value, the bomb, or the end of the joiner's own wait.
fn ended(child: JoinHandle<u32>, expected: u32) {
    match child.join() {
        Ok(depth) => assert_eq!(depth, expected),
        Err(error) if error.is_panic() => {
            assert!(error.into_panic().is_ok_and(|payload| payload.is::<Bomb>()));
        }
        Err(error) => allowed(Err(error.into())),
    }
}

/// Children that borrow a local of this frame; a panic of theirs comes out of the scope.
fn borrowing_children(world: &Rc<World>, depth: u32) {
    let sum = Cell::new(0);
    let count = world.below(4) as u32;
    let result = catch_unwind(AssertUnwindSafe(|| {
        scope(|s| {
            for _ in 0..count {
                s.spawn(|| {
                    let _counted = OnDrop::new(|| sum.set(sum.get() + 1));
                    life(world, depth + 1)
                });
            }
        });
    }));
    assert_eq!(sum.get(), count, "the scope has ended before its children");
    if let Err(payload) = result {
        let text = payload.downcast_ref::<&str>().copied().unwrap_or_default();
        assert!(payload.is::<Bomb>() || text == "a scoped fiber panicked", "{text}");
    }
}

/// Work on any shard, which wakes this fiber or ends, whichever comes first.
fn across_shards(world: &Rc<World>, depth: u32) {
    let all = shards();
    let shard: &Shard = &all[world.below(all.len() as u64) as usize];
    let (me, guard) = (current(), world.drops.guard());
    let seed = world.below(3);
    let there = shard.spawn(move || {
        let _guard = guard;
        if seed == 0 {
            yield_now();
        }
        me.wakeup();
        depth
    });
    let there = match there {
        Ok(there) => there,
        Err(_) => return, // the runtime shuts down
    };
    allowed(with_deadline(Duration::from_millis(1), park));
    match there.join() {
        Ok(answer) => assert_eq!(answer, depth),
        Err(error) if error.is_shutdown() => {}
        Err(error) => allowed(Err(error.into())),
    }
}

fn run(shards: usize, random: Random) {
    let drops = Drops::default();
    let counted = drops.clone();
    Runtime::builder()
        .shards(shards)
        .run(move || {
            let world = World::new(random, counted);
            let handles: Vec<_> = (0..FIBERS).map(|_| spawn_one(&world, 1)).collect();
            for handle in handles {
                // Detached ones go on, and are ended by the shutdown.
                if world.below(4) > 0 {
                    ended(handle, 1);
                }
            }
        })
        .unwrap();
    assert_eq!(drops.made(), drops.dropped(), "a guard was leaked or dropped twice");
}

#[test]
#[cfg_attr(miri, ignore = "switches stacks, which Miri cannot")]
fn everything_at_random_on_one_shard() {
    guarded(|| {
        let mut random = Random::new();
        for _ in 0..rounds(ROUNDS) {
            run(1, random.fork());
        }
    });
}

#[test]
#[cfg_attr(miri, ignore = "switches stacks, which Miri cannot")]
fn everything_at_random_on_two_shards() {
    guarded(|| {
        let mut random = Random::new();
        for _ in 0..rounds(ROUNDS) {
            run(2, random.fork());
        }
    });
}
