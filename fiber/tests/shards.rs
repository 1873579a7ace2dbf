//! Property 7 and shards: work goes to other threads unstarted, answers, panics and cancels come
//! back, and every wakeup from outside arrives.

mod common;

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use cede_fiber::{
    RemoteJoinHandle, RunError, Runtime, SHARD_TASKS_MAX, SHARDS_MAX, Shard, Virtual, current,
    is_cancelled, park, run, shards, sleep, spawn, with_deadline, yield_now,
};
use common::{Drops, Random, guarded, rounds};

fn run_two<T>(f: impl FnOnce(Shard) -> T) -> T {
    Runtime::builder().shards(2).run(|| f(shards().pop().unwrap())).unwrap()
}

#[test]
fn work_runs_on_the_shard_it_was_sent_to() {
    guarded(|| {
        Runtime::builder()
            .shards(4)
            .run(|| {
                let all = shards();
                assert_eq!(all.len(), 4);
                let threads: Vec<_> = all
                    .iter()
                    .map(|shard| {
                        let place = || (Shard::current().id(), std::thread::current().id());
                        let (id, thread) = shard.call(place).unwrap();
                        assert_eq!(id, shard.id());
                        thread
                    })
                    .collect();
                assert_eq!(threads[0], std::thread::current().id());
                let distinct: std::collections::HashSet<_> = threads.iter().collect();
                assert_eq!(distinct.len(), 4);
                assert!((0..4).contains(&Shard::least_loaded().id()));
            })
            .unwrap();
    });
}

#[test]
fn calls_nest_between_shards() {
    fn bounce(depth: u32) -> u32 {
        let all = shards();
        let other = &all[1 - Shard::current().id() as usize];
        if depth == 0 { 0 } else { 1 + other.call(move || bounce(depth - 1)).unwrap() }
    }
    guarded(|| assert_eq!(run_two(|_| bounce(100)), 100));
}

#[test]
fn p14_a_panic_crosses_shards_and_harms_neither() {
    guarded(|| {
        run_two(|other| {
            for _ in 0..10 {
                let error = other.spawn(|| std::panic::panic_any(9_u8)).unwrap().join();
                let payload = error.unwrap_err().into_panic().unwrap();
                assert_eq!(*payload.downcast::<u8>().unwrap(), 9);
                let error = other.call(|| panic!("over there")).unwrap_err();
                assert!(error.to_string().contains("over there"), "{error}");
            }
            assert_eq!(other.call(|| 1).unwrap(), 1);
        });
    });
}

#[test]
fn p06_a_cancelled_call_cancels_the_fiber_over_there() {
    guarded(|| {
        run_two(|other| {
            let (seen, is_seen) = mpsc::channel();
            let caller = {
                let (other, seen) = (other.clone(), seen.clone());
                spawn(move || other.call(move || seen.send(is_cancelled(&park().unwrap_err()))))
            };
            yield_now();
            caller.cancel();
            assert!(is_cancelled(&caller.join().unwrap().unwrap_err()));
            assert!(is_seen.recv().unwrap());

            let limit = Duration::from_millis(1);
            let timed = with_deadline(limit, || {
                other.call(move || {
                    // The deadline goes along with the call.
                    let error = park().unwrap_err();
                    let both = error.kind() == ErrorKind::TimedOut || is_cancelled(&error);
                    seen.send(both).unwrap();
                })
            });
            // Its answer may be here before the caller's own deadline is noticed.
            if let Err(error) = timed {
                assert_eq!(error.kind(), ErrorKind::TimedOut);
            }
            assert!(is_seen.recv().unwrap());
        });
    });
}

#[test]
fn p06_a_cancel_reaches_work_that_has_not_started() {
    guarded(|| {
        run_two(|other| {
            let (hold, held) = mpsc::channel::<()>();
            let blocker = other.spawn(move || held.recv().is_err()).unwrap();
            let waits = other.spawn(|| is_cancelled(&park().unwrap_err())).unwrap();
            waits.cancel();
            drop(hold);
            assert!(blocker.join().unwrap());
            assert!(waits.join().unwrap());
        });
    });
}

#[test]
fn a_plain_thread_spawns_calls_joins_and_cancels() {
    guarded(|| {
        run(|| {
            let shard = Shard::current();
            let thread = std::thread::spawn(move || {
                assert!(shards().is_empty());
                let id = shard.id();
                assert!(shard.call(move || Shard::current().id() == id).unwrap());
                let slow = shard.spawn(|| sleep(Duration::from_millis(1))).unwrap();
                slow.wait().unwrap();
                assert!(slow.is_finished());
                slow.join().unwrap().unwrap();
                let stuck = shard.spawn(park).unwrap();
                stuck.cancel();
                assert!(is_cancelled(&stuck.join().unwrap().unwrap_err()));
                assert!(shard.spawn(|| panic!("for a thread")).unwrap().join().is_err());
            });
            // Not joined with a blocking call: the thread needs this shard.
            while !thread.is_finished() {
                sleep(Duration::from_micros(100)).unwrap();
            }
            thread.join().unwrap();
        })
        .unwrap();
    });
}

/// A handle to a shard of another runtime, used by a fiber of this one whose shard has the same
/// number.
#[test]
fn a_fiber_of_one_runtime_calls_a_shard_of_another() {
    guarded(|| {
        let (send, shard) = mpsc::channel();
        let other = std::thread::spawn(move || {
            run(move || {
                send.send((Shard::current(), current())).unwrap();
                park().unwrap();
            })
            .unwrap();
        });
        let (shard, main) = shard.recv().unwrap();
        run(|| {
            assert_eq!(shard.id(), Shard::current().id());
            let (here, there) = (std::thread::current().id(), other.thread().id());
            assert_ne!(here, there);
            assert_eq!(shard.call(|| std::thread::current().id()).unwrap(), there);
            main.wakeup();
        })
        .unwrap();
        other.join().unwrap();
    });
}

#[test]
fn p26_tasks_beyond_the_limit_are_refused_and_those_below_run() {
    guarded(|| {
        run_two(|other| {
            let (hold, held) = mpsc::channel::<()>();
            let (started, has_started) = mpsc::channel();
            let blocker = other
                .spawn(move || {
                    started.send(()).unwrap();
                    held.recv().is_err()
                })
                .unwrap();
            has_started.recv().unwrap();
            let (ran, drops) = (Arc::new(AtomicUsize::new(0)), Drops::default());
            let send = || {
                let (ran, guard) = (Arc::clone(&ran), drops.guard());
                other.spawn(move || {
                    drop(guard);
                    ran.fetch_add(1, Ordering::Relaxed);
                })
            };
            let handles: Vec<_> = (0..SHARD_TASKS_MAX).map(|_| send().unwrap()).collect();
            for _ in 0..3 {
                assert_eq!(send().unwrap_err().kind(), ErrorKind::WouldBlock);
            }
            drop(hold);
            assert!(blocker.join().unwrap());
            handles.into_iter().for_each(|handle| handle.join().unwrap());
            assert_eq!(ran.load(Ordering::Relaxed), SHARD_TASKS_MAX);
            assert_eq!(drops.dropped(), SHARD_TASKS_MAX + 3);
            assert_eq!(other.call(|| 1).unwrap(), 1, "there is room again");
        });
    });
}

/// Bug: the reason was put in place after the waiter had been woken by the lack of a result, and
/// some saw only that the runtime had shut down.
#[test]
fn p13_a_task_without_a_place_says_why() {
    guarded(|| {
        Runtime::builder()
            .shards(2)
            .fibers_max(1)
            .run(|| {
                let other = shards().pop().unwrap();
                let hold = other.spawn(park).unwrap();
                for round in 0..rounds(20_000) {
                    // Joined by a thread that spins, to be there as early as can be.
                    let handle = other.spawn(|| ()).unwrap();
                    while !handle.is_finished() {
                        std::hint::spin_loop();
                    }
                    let error = handle.join().unwrap_err();
                    assert!(!error.is_shutdown(), "round {round}: {error}");
                    let error = std::io::Error::from(error);
                    assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "round {round}");
                }
                hold.cancel();
                assert!(is_cancelled(&hold.join().unwrap().unwrap_err()));
                assert_eq!(other.call(|| 1).unwrap(), 1);
            })
            .unwrap();
    });
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for count in [0, SHARDS_MAX + 1, usize::MAX] {
        let error = Runtime::builder().shards(count).run(|| ()).unwrap_err();
        let RunError::Start(error) = error else { panic!("{error}") };
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{count} shards");
    }
    for bytes in [0, 1, usize::MAX] {
        let error = Runtime::builder().stack_size(bytes).run(|| ()).unwrap_err();
        assert_eq!(std::io::Error::from(error).kind(), ErrorKind::InvalidInput);
    }
    assert!(Runtime::builder().fibers_max(0).run(|| ()).is_err());
}

#[test]
fn a_nested_run_is_refused_and_the_outer_one_goes_on() {
    run(|| {
        for _ in 0..3 {
            assert!(matches!(run(|| ()), Err(RunError::Start(_))));
            assert!(Runtime::builder().shards(2).run(|| ()).is_err());
            sleep(Duration::from_micros(1)).unwrap();
        }
        // On a thread of its own it is another runtime.
        let thread = std::thread::spawn(|| run(|| spawn(|| 3).join().unwrap()).unwrap());
        assert_eq!(thread.join().unwrap(), 3);
    })
    .unwrap();
}

#[test]
fn values_that_are_not_send_live_on_each_shard() {
    guarded(|| {
        run_two(|other| {
            let sum = other.call(|| {
                let local = Rc::new(Cell::new(0));
                let fibers: Vec<_> = (0..10)
                    .map(|n| {
                        let local = Rc::clone(&local);
                        spawn(move || {
                            yield_now();
                            local.set(local.get() + n);
                        })
                    })
                    .collect();
                fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
                local.get()
            });
            assert_eq!(sum.unwrap(), 45);
        });
    });
}

/// 8 threads unpark into one shard: as many rounds are counted by the fibers as by the threads.
#[test]
fn p07_eight_threads_unpark_into_one_shard() {
    guarded(|| {
        run(|| {
            let total = rounds(8 * 20_000) / 8;
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    let turn = Arc::new(AtomicUsize::new(0));
                    let counted = Arc::clone(&turn);
                    let fiber = spawn(move || {
                        for round in 1..=total {
                            park().unwrap();
                            counted.store(round, Ordering::Release);
                        }
                        total
                    });
                    let handle = fiber.fiber();
                    let thread = std::thread::spawn(move || {
                        for round in 0..total {
                            handle.wakeup();
                            while turn.load(Ordering::Acquire) <= round {
                                std::thread::yield_now();
                            }
                        }
                        total
                    });
                    (fiber, thread)
                })
                .collect();
            let mut counts = (0, 0);
            for (fiber, thread) in threads {
                counts.0 += fiber.join().unwrap();
                counts.1 += thread.join().unwrap();
            }
            assert_eq!(counts, (8 * total, 8 * total));
        })
        .unwrap();
    });
}

/// The same from 8 threads that spawn and join, with counts of what began and what ended.
#[test]
fn p07_eight_threads_spawn_and_join_into_two_shards() {
    guarded(|| {
        run_two(|_| {
            let ran = Arc::new(AtomicUsize::new(0));
            let all = shards();
            let threads: Vec<_> = (0..8)
                .map(|n| {
                    let (ran, all) = (Arc::clone(&ran), all.clone());
                    std::thread::spawn(move || {
                        for round in 0..rounds(8_000) {
                            let ran = Arc::clone(&ran);
                            let task = move || {
                                yield_now();
                                ran.fetch_add(1, Ordering::Relaxed);
                                round
                            };
                            let handle: RemoteJoinHandle<usize> =
                                all[(n + round) % 2].spawn(task).unwrap();
                            assert_eq!(handle.join().unwrap(), round);
                        }
                    })
                })
                .collect();
            while !threads.iter().all(std::thread::JoinHandle::is_finished) {
                sleep(Duration::from_micros(200)).unwrap();
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(ran.load(Ordering::Relaxed), 8 * rounds(8_000));
        });
    });
}

/// Shards that are asleep and shards that are busy wake each other at random.
#[test]
fn p02_wakes_between_shards_asleep_and_busy() {
    guarded(|| {
        let mut random = Random::new();
        run_two(|other| {
            let (main, total) = (current(), rounds(20_000));
            let (send, handle) = mpsc::channel();
            let peer = other
                .spawn(move || {
                    send.send(current()).unwrap();
                    for _ in 0..total {
                        park().unwrap();
                        main.wakeup();
                    }
                })
                .unwrap();
            let peer_fiber = handle.recv().unwrap();
            for _ in 0..total {
                for _ in 0..random.below(4) {
                    yield_now();
                }
                peer_fiber.wakeup();
                park().unwrap();
            }
            peer.join().unwrap();
        });
    });
}

#[test]
fn a_virtual_clock_and_calls_go_together() {
    guarded(|| {
        Runtime::builder()
            .clock(Virtual::new())
            .run(|| {
                let shard = Shard::current();
                shard.call(|| sleep(Duration::from_secs(3_600))).unwrap().unwrap();
            })
            .unwrap();
    });
}
