//! A grant against a cancel or a deadline, from everywhere at once: nothing that is handed over is
//! lost, nothing is handed over twice.
//!
//! `ROUNDS` and `SEED` in the environment change how long and with which numbers.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cede_fiber::sync::{self, local};
use cede_fiber::{Fiber, Runtime, run, spawn, with_deadline, yield_now};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn rounds() -> u64 {
    // A debug build is some ten times slower.
    setting("ROUNDS", if cfg!(debug_assertions) { 20_000 } else { 200_000 })
}

/// Numbers that can be had again from the printed seed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
        let seed = setting("SEED", now.into());
        println!("SEED={seed}");
        Self(seed | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % n
    }
}

/// In one shard every order of grant, cancel and run of the waiter can be made on purpose.
macro_rules! orders {
    ($name:ident, $($path:ident)::+) => {
        #[test]
        fn $name() {
            use $($path)::+::{Mutex, RwLock, Semaphore, mpsc};
            run(|| {
                let mut random = Random::new();
                let mutex = Rc::new(Mutex::new(0u64));
                let lock = Rc::new(RwLock::new(0u64));
                let semaphore = Rc::new(Semaphore::new(0));
                let (sender, receiver) = mpsc::sync_channel::<u64>(1);
                let receiver = Rc::new(receiver);
                let (mut entered, mut wrote, mut took, mut added, mut got) = (0, 0, 0, 0, 0);
                let mut sent = 0;
                for _ in 0..rounds() / 4 {
                    let guard = mutex.lock().unwrap();
                    let reading = lock.read().unwrap();
                    let (m, l) = (Rc::clone(&mutex), Rc::clone(&lock));
                    let (s, r) = (Rc::clone(&semaphore), Rc::clone(&receiver));
                    let fibers = [
                        spawn(move || u64::from(m.lock().map(|mut v| *v += 1).is_ok())),
                        spawn(move || u64::from(l.write().map(|mut v| *v += 1).is_ok())),
                        spawn(move || u64::from(s.acquire().map(|p| p.forget()).is_ok())),
                        spawn(move || u64::from(r.recv().is_ok())),
                    ];
                    yield_now();
                    let mut guards = (Some(guard), Some(reading));
                    for _ in 0..8 {
                        match random.below(10) {
                            0 => guards.0 = None,
                            1 => guards.1 = None,
                            2 => {
                                added += 1;
                                semaphore.add_permits(1);
                            }
                            3 => sent += u64::from(sender.try_send(7).is_ok()),
                            4 => yield_now(),
                            _ => fibers[random.below(4) as usize].cancel(),
                        }
                    }
                    drop(guards);
                    for (index, fiber) in fibers.into_iter().enumerate() {
                        fiber.cancel();
                        let done = fiber.join().unwrap();
                        *[&mut entered, &mut wrote, &mut took, &mut got][index] += done;
                    }
                    // Everybody is gone: everything must be free again.
                    assert_eq!(*mutex.try_lock().unwrap(), entered);
                    assert_eq!(*lock.try_write().unwrap(), wrote);
                    assert_eq!(semaphore.available_permits() as u64, added - took);
                    assert_eq!(receiver.len() as u64, sent - got);
                    while receiver.try_recv().is_ok() {
                        got += 1;
                    }
                }
            })
            .unwrap();
        }
    };
}

orders!(every_order_in_one_shard, sync);
orders!(every_order_in_one_shard_without_atomics, local);

/// Fibers of two shards that are cancelled at random moments while they work with what two plain
/// threads use as well. Each starts again until all rounds are done. Then there may be nobody left
/// for whom a thread waits: `stand_in` is called until the threads have ended.
fn churn<S: Send + Sync + 'static>(
    state: Arc<S>,
    work: impl Fn(&S) -> std::io::Result<()> + Send + Sync + 'static,
    stand_in: impl Fn(&S),
) {
    let work = Arc::new(work);
    let left = Arc::new(AtomicU64::new(rounds() / 10));
    let over = Arc::new(AtomicBool::new(false));
    let run_one = {
        let (state, work, left) = (Arc::clone(&state), work, left);
        move || {
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                .is_ok()
            {
                if work(&state).is_err() {
                    return false;
                }
            }
            true
        }
    };
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let run_one = run_one.clone();
            std::thread::spawn(move || assert!(run_one(), "nothing ends the wait of a thread"))
        })
        .collect();
    let seed = Random::new().0;
    Runtime::builder()
        .shards(2)
        .run(move || {
            let handles: Vec<_> = cede_fiber::shards()
                .into_iter()
                .zip(0..)
                .map(|(shard, index)| {
                    let (run_one, over) = (run_one.clone(), Arc::clone(&over));
                    let mut random = Random(seed + index);
                    shard
                        .spawn(move || {
                            while !over.load(Ordering::Relaxed) {
                                let fibers: Vec<_> = (0..4)
                                    .map(|_| {
                                        let run_one = run_one.clone();
                                        let micros = 1 + random.below(300);
                                        let limit = Duration::from_micros(micros);
                                        spawn(move || with_deadline(limit, run_one))
                                    })
                                    .collect();
                                let handles: Vec<Fiber> =
                                    fibers.iter().map(|f| f.fiber()).collect();
                                for _ in 0..random.below(20) {
                                    yield_now();
                                }
                                // One is cancelled from here, one from a thread's point of view.
                                handles[random.below(4) as usize].cancel();
                                for fiber in fibers {
                                    if fiber.join().unwrap() {
                                        over.store(true, Ordering::Relaxed);
                                    }
                                }
                            }
                        })
                        .unwrap()
                })
                .collect();
            for handle in handles {
                handle.join().unwrap();
            }
        })
        .unwrap();
    for thread in threads {
        while !thread.is_finished() {
            stand_in(&state);
            std::thread::sleep(Duration::from_millis(1));
        }
        thread.join().unwrap();
    }
}

#[test]
fn a_mutex_under_churn() {
    let state = Arc::new((sync::Mutex::new((0u64, 0u64)), AtomicU64::new(0)));
    churn(
        Arc::clone(&state),
        |(mutex, count)| {
            let mut guard = mutex.lock()?;
            guard.0 += 1;
            if guard.0 % 8 == 0 {
                yield_now(); // hold it for a while
            }
            guard.1 += 1;
            assert_eq!(guard.0, guard.1, "two owners");
            count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        },
        |_| (),
    );
    let guard = state.0.try_lock().expect("it was handed to nobody");
    assert_eq!(guard.0, state.1.load(Ordering::Relaxed));
}

#[test]
fn a_rwlock_under_churn() {
    let state = Arc::new((sync::RwLock::new((0u64, 0u64)), AtomicU64::new(0)));
    churn(
        Arc::clone(&state),
        |(lock, count)| {
            if count.fetch_add(1, Ordering::Relaxed) % 3 == 0 {
                let mut guard = lock.write()?;
                guard.0 += 1;
                if guard.0 % 8 == 0 {
                    yield_now();
                }
                guard.1 += 1;
                let (written, guard) = (guard.0, sync::RwLockWriteGuard::downgrade(guard));
                if written % 5 == 0 {
                    yield_now();
                }
                assert_eq!(*guard, (written, written), "a writer beside a reader");
            } else {
                let guard = lock.read()?;
                assert_eq!(guard.0, guard.1, "a reader beside a writer");
            }
            Ok(())
        },
        |_| (),
    );
    drop(state.0.try_write().expect("it was handed to nobody"));
}

#[test]
fn a_semaphore_under_churn() {
    let state = Arc::new((sync::Semaphore::new(3), AtomicU64::new(0)));
    churn(
        Arc::clone(&state),
        |(semaphore, inside)| {
            let many = inside.load(Ordering::Relaxed) as usize % 3 + 1;
            let _permits = semaphore.acquire_many(many)?;
            let now = inside.fetch_add(many as u64, Ordering::Relaxed) + many as u64;
            assert!(now <= 3, "{now} permits of 3 are out");
            if now == 2 {
                yield_now();
            }
            inside.fetch_sub(many as u64, Ordering::Relaxed);
            Ok(())
        },
        |_| (),
    );
    assert_eq!(state.0.available_permits(), 3);
}

#[test]
fn a_channel_under_churn() {
    let (sender, receiver) = sync::mpsc::sync_channel::<u64>(2);
    let counts = || AtomicU64::new(0);
    let state = Arc::new((sender, receiver, counts(), counts(), counts()));
    churn(
        Arc::clone(&state),
        |(sender, receiver, sent, received, owed)| {
            // Whoever sends also receives, if not now then later, so the channel cannot stay full.
            let take = |value| received.fetch_add(value, Ordering::Relaxed);
            if owed.load(Ordering::Relaxed) > 0
                && let Ok(value) = receiver.try_recv()
            {
                owed.fetch_sub(1, Ordering::Relaxed);
                take(value);
            }
            sender.send(1)?;
            sent.fetch_add(1, Ordering::Relaxed);
            owed.fetch_add(1, Ordering::Relaxed);
            take(receiver.recv()?);
            owed.fetch_sub(1, Ordering::Relaxed);
            Ok(())
        },
        |(sender, receiver, sent, received, _)| {
            // The last ones: a value for one that receives, room for one that sends.
            sent.fetch_add(u64::from(sender.try_send(1).is_ok()), Ordering::Relaxed);
            received.fetch_add(receiver.try_recv().unwrap_or(0), Ordering::Relaxed);
        },
    );
    let (_, receiver, sent, received, _) = &*state;
    let rest: u64 = receiver.try_iter().sum();
    assert_eq!(sent.load(Ordering::Relaxed), received.load(Ordering::Relaxed) + rest);
}

#[test]
fn oneshots_across_shards_and_their_timeouts() {
    // Each value is either received or, when the receiver has given up, refused or left.
    let mut random = Random::new();
    Runtime::builder()
        .shards(2)
        .run(move || {
            let other = cede_fiber::shards().pop().unwrap();
            let (requests, inbox) = sync::mpsc::sync_channel::<sync::oneshot::Sender<Arc<()>>>(64);
            let value = Arc::new(());
            let theirs = Arc::clone(&value);
            let answers = other
                .spawn(move || {
                    let mut refused = 0u64;
                    for request in inbox {
                        refused += u64::from(request.send(Arc::clone(&theirs)).is_err());
                    }
                    refused
                })
                .unwrap();
            let (mut got, mut late) = (0, 0);
            for _ in 0..rounds() / 10 {
                let (sender, receiver) = sync::oneshot::channel();
                requests.send(sender).unwrap();
                let patience = Duration::from_micros(random.below(20));
                match receiver.recv_timeout(patience) {
                    Ok(_) => got += 1,
                    Err(_) => late += 1,
                }
            }
            drop(requests);
            let refused = answers.join().unwrap();
            println!("{got} received, {late} late, {refused} refused");
            assert!(refused <= late);
            assert_eq!(Arc::strong_count(&value), 1);
        })
        .unwrap();
}
