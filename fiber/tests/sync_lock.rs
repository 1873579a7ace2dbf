//! Mutex, RwLock, Condvar, Semaphore, Barrier and OnceCell: order, errors, and what is left behind.

mod common;

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cede_fiber::sync::{self, local};
use cede_fiber::{is_cancelled, run, spawn, with_deadline, yield_now};

const SHORT: Duration = Duration::from_millis(2);

/// Lets everybody who can run do so.
fn settle() {
    for _ in 0..4 {
        yield_now();
    }
}

type Log = Rc<RefCell<Vec<usize>>>;

/// Spawns fibers 0..5, each of which enters by `enter` and logs its number; they are let in by what
/// `open` drops, and must come in the order of their numbers.
fn check_order<G: 'static>(enter: impl Fn() -> G + Clone + 'static, open: impl FnOnce()) {
    let log = Log::default();
    let fibers: Vec<_> = (0..5)
        .map(|number| {
            let (log, enter) = (Rc::clone(&log), enter.clone());
            spawn(move || {
                let guard = enter();
                log.borrow_mut().push(number);
                yield_now();
                drop(guard);
            })
        })
        .collect();
    settle();
    assert!(log.borrow().is_empty(), "somebody entered a locked door");
    open();
    for fiber in fibers {
        fiber.join().unwrap();
    }
    assert_eq!(*log.borrow(), [0, 1, 2, 3, 4]);
}

macro_rules! lock_tests {
    ($name:ident, $ptr:ident, $($path:ident)::+) => {
        mod $name {
            use super::*;
            use $($path)::+::{Barrier, Condvar, Mutex, OnceCell, RwLock, Semaphore};

            fn leak<T>(value: T) -> &'static T {
                Box::leak(Box::new(value))
            }

            #[test]
            fn waiters_are_served_in_order() {
                run(|| {
                    let mutex = leak(Mutex::new(()));
                    let guard = mutex.lock().unwrap();
                    check_order(|| mutex.lock().unwrap(), || drop(guard));

                    let lock = leak(RwLock::new(()));
                    let guard = lock.read().unwrap();
                    check_order(|| lock.write().unwrap(), || drop(guard));

                    let semaphore = leak(Semaphore::new(0));
                    check_order(|| semaphore.acquire().unwrap(), || semaphore.add_permits(1));
                })
                .unwrap();
            }

            /// It kept the shard for ever: a loop that ignores the error never gave way.
            #[test]
            fn one_that_is_refused_gives_way_without_the_lock_of_the_queue() {
                run(|| {
                    let mutex = leak(Mutex::new(()));
                    let guard = mutex.lock().unwrap();
                    let condvar = leak(Condvar::new());
                    let free = leak(Mutex::new(()));
                    let stop = Rc::new(std::cell::Cell::new(false));
                    let refused = spawn({
                        let stop = Rc::clone(&stop);
                        move || {
                            let mut rounds = 0;
                            while !stop.get() {
                                assert!(mutex.lock().is_err());
                                // Its mutex is unlocked when the others run.
                                assert!(condvar.wait(free.try_lock().unwrap()).is_err());
                                rounds += 1;
                            }
                            rounds
                        }
                    });
                    refused.cancel();
                    for _ in 0..10 {
                        yield_now();
                        // The queue of the waiters is free while the refused one gives way.
                        assert!(mutex.try_lock().is_err());
                        drop(free.try_lock().unwrap());
                    }
                    stop.set(true);
                    drop(guard);
                    assert!(refused.join().unwrap() > 1);
                })
                .unwrap();
            }

            #[test]
            fn a_newcomer_does_not_overtake() {
                run(|| {
                    let mutex = leak(Mutex::new(()));
                    let guard = mutex.lock().unwrap();
                    let first = spawn(|| drop(mutex.lock().unwrap()));
                    settle();
                    drop(guard);
                    // Handed over: it is not free, although its new owner has not run yet.
                    assert_eq!(mutex.try_lock().unwrap_err().kind(), ErrorKind::WouldBlock);
                    first.join().unwrap();
                    assert!(mutex.try_lock().is_ok());
                })
                .unwrap();
            }

            #[test]
            fn cancel_and_deadline_end_every_wait() {
                run(|| {
                    let mutex = leak(Mutex::new(0));
                    let lock = leak(RwLock::new(0));
                    let semaphore = leak(Semaphore::new(0));
                    let barrier = leak(Barrier::new(2));
                    let condvar = leak(Condvar::new());
                    let free = leak(Mutex::new(0));
                    let cell = leak(OnceCell::<u8>::new());
                    let _one = mutex.lock().unwrap();
                    let _two = lock.write().unwrap();
                    let maker = spawn(|| cell.get_or_init(|| { settle_long(); 1 }).map(|v| *v));
                    yield_now();
                    type Op = fn(&Things) -> std::io::Result<()>;
                    #[derive(Clone, Copy)]
                    struct Things {
                        mutex: &'static Mutex<i32>,
                        lock: &'static RwLock<i32>,
                        semaphore: &'static Semaphore,
                        barrier: &'static Barrier,
                        condvar: &'static Condvar,
                        free: &'static Mutex<i32>,
                        cell: &'static OnceCell<u8>,
                    }
                    let things = Things { mutex, lock, semaphore, barrier, condvar, free, cell };
                    let ops: [Op; 7] = [
                        |t| t.mutex.lock().map(drop),
                        |t| t.lock.read().map(drop),
                        |t| t.lock.write().map(drop),
                        |t| Ok(drop(t.semaphore.acquire()?)),
                        |t| t.barrier.wait().map(|_| ()),
                        |t| t.condvar.wait(t.free.lock()?).map(drop),
                        |t| t.cell.get_or_init(|| unreachable!()).map(|_| ()),
                    ];
                    for (index, op) in ops.into_iter().enumerate() {
                        let late = with_deadline(Duration::ZERO, || op(&things));
                        assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut, "{index}");
                        let fiber = spawn(move || op(&things));
                        yield_now();
                        fiber.cancel();
                        let error = fiber.join().unwrap().unwrap_err();
                        assert!(is_cancelled(&error), "{index}: {error}");
                    }
                    maker.join().unwrap().unwrap();
                    // Whoever gave up has left nothing behind.
                    assert!(free.try_lock().is_ok());
                    semaphore.add_permits(1);
                    assert_eq!(semaphore.available_permits(), 1);
                })
                .unwrap();
            }

            fn settle_long() {
                // Longer than the waits of the others, which are ended one by one.
                for _ in 0..200 {
                    cede_fiber::sleep(Duration::from_micros(200)).unwrap();
                }
            }

            #[test]
            fn handed_over_and_cancelled_at_once_is_handed_over() {
                run(|| {
                    let mutex = leak(Mutex::new(0));
                    let guard = mutex.lock().unwrap();
                    let fiber = spawn(|| mutex.lock().map(|mut value| *value += 1));
                    settle();
                    drop(guard);
                    fiber.cancel();
                    fiber.join().unwrap().unwrap();
                    assert_eq!(*mutex.lock().unwrap(), 1);
                })
                .unwrap();
            }

            #[test]
            fn one_that_gives_up_does_not_hold_up_those_behind() {
                run(|| {
                    let lock = leak(RwLock::new(()));
                    let reading = lock.read().unwrap();
                    let writer = spawn(|| lock.write().map(drop));
                    yield_now();
                    let reader = spawn(|| lock.read().map(drop));
                    settle();
                    assert!(!reader.is_finished(), "a reader overtook a writer");
                    writer.cancel();
                    reader.join().unwrap().unwrap();
                    drop(reading);
                    assert!(lock.try_write().is_ok());

                    let semaphore = leak(Semaphore::new(1));
                    let greedy = spawn(|| Ok::<_, std::io::Error>(drop(semaphore.acquire_many(5)?)));
                    yield_now();
                    let modest = spawn(|| drop(semaphore.acquire().unwrap()));
                    settle();
                    assert!(!modest.is_finished(), "few permits overtook many");
                    greedy.cancel();
                    modest.join().unwrap();
                    assert_eq!(semaphore.available_permits(), 1);
                })
                .unwrap();
            }

            #[test]
            fn readers_enter_together_and_writers_alone() {
                run(|| {
                    let lock = leak(RwLock::new(0));
                    let inside = leak(RefCell::new((0, 0, 0)));
                    let fibers: Vec<_> = (0..30)
                        .map(|number| {
                            spawn(move || {
                                for _ in 0..20 {
                                    if number % 3 == 0 {
                                        let mut value = lock.write().unwrap();
                                        inside.borrow_mut().1 += 1;
                                        assert_eq!(inside.borrow().0, 0);
                                        assert_eq!(inside.borrow().1, 1);
                                        yield_now();
                                        *value += 1;
                                        inside.borrow_mut().1 -= 1;
                                    } else {
                                        let _value = lock.read().unwrap();
                                        inside.borrow_mut().0 += 1;
                                        assert_eq!(inside.borrow().1, 0);
                                        yield_now();
                                        let most = inside.borrow().2.max(inside.borrow().0);
                                        inside.borrow_mut().2 = most;
                                        inside.borrow_mut().0 -= 1;
                                    }
                                }
                            })
                        })
                        .collect();
                    for fiber in fibers {
                        fiber.join().unwrap();
                    }
                    assert_eq!(*lock.read().unwrap(), 200);
                    assert!(inside.borrow().2 > 1, "readers never met");
                })
                .unwrap();
            }

            #[test]
            fn a_panic_of_the_owner_unlocks() {
                run(|| {
                    let mutex = leak(Mutex::new(1));
                    let waiting = leak(Semaphore::new(0));
                    let owner = spawn(|| {
                        let mut guard = mutex.lock().unwrap();
                        *guard = 2;
                        waiting.add_permits(1);
                        yield_now();
                        panic!("the owner of the mutex panics");
                    });
                    drop(waiting.acquire().unwrap());
                    let value = *mutex.lock().unwrap();
                    assert_eq!(value, 2);
                    assert!(owner.join().unwrap_err().is_panic());
                })
                .unwrap();
            }

            #[test]
            fn a_wait_while_unwinding_is_an_error() {
                struct LocksInDrop(&'static Mutex<i32>, &'static Mutex<i32>, Log);
                impl Drop for LocksInDrop {
                    fn drop(&mut self) {
                        let contended = usize::from(self.0.lock().is_err());
                        let free = usize::from(self.1.lock().is_ok());
                        self.2.borrow_mut().extend([contended, free]);
                    }
                }
                run(|| {
                    let (contended, free) = (leak(Mutex::new(0)), leak(Mutex::new(0)));
                    let log = Log::default();
                    let _guard = contended.lock().unwrap();
                    let in_drop = LocksInDrop(contended, free, Rc::clone(&log));
                    let fiber = spawn(move || {
                        let _in_drop = in_drop;
                        panic!("unwinds through a destructor that locks");
                    });
                    assert!(fiber.join().unwrap_err().is_panic());
                    assert_eq!(*log.borrow(), [1, 1]);
                })
                .unwrap();
            }

            #[test]
            fn condvar_notifies_one_by_one_and_all() {
                run(|| {
                    let mutex = leak(Mutex::new(()));
                    let condvar = leak(Condvar::new());
                    let log = leak(RefCell::new(Vec::new()));
                    let wait = |number: usize| {
                        spawn(move || {
                            let guard = condvar.wait(mutex.lock().unwrap());
                            log.borrow_mut().push((number, guard.is_ok()));
                        })
                    };
                    let fibers: Vec<_> = (0..5).map(wait).collect();
                    settle();
                    condvar.notify_one();
                    settle();
                    assert_eq!(*log.borrow(), [(0, true)]);
                    // The one that was to be next is cancelled: its turn is not lost.
                    fibers[1].cancel();
                    settle();
                    condvar.notify_one();
                    settle();
                    assert_eq!(log.borrow()[1..], [(1, false), (2, true)][..]);
                    condvar.notify_all();
                    settle();
                    assert_eq!(log.borrow().len(), 5);
                    for fiber in fibers {
                        fiber.join().unwrap();
                    }
                })
                .unwrap();
            }

            #[test]
            fn a_notification_that_cannot_be_used_goes_to_the_next() {
                run(|| {
                    let mutex = leak(Mutex::new(()));
                    let condvar = leak(Condvar::new());
                    let wait = || spawn(|| condvar.wait(mutex.lock()?).map(drop));
                    let (first, second) = (wait(), wait());
                    settle();
                    let guard = mutex.lock().unwrap();
                    condvar.notify_one();
                    settle(); // the first waits for the mutex now
                    first.cancel();
                    settle();
                    drop(guard);
                    assert!(is_cancelled(&first.join().unwrap().unwrap_err()));
                    second.join().unwrap().unwrap();
                })
                .unwrap();
            }

            #[test]
            fn condvar_wait_timeout_says_so() {
                run(|| {
                    let mutex = Mutex::new(5);
                    let condvar = Condvar::new();
                    let (guard, result) = condvar.wait_timeout(mutex.lock().unwrap(), SHORT).unwrap();
                    assert!(result.timed_out());
                    let (guard, result) =
                        condvar.wait_timeout_while(guard, SHORT, |value| *value == 5).unwrap();
                    assert!(result.timed_out());
                    let (_, result) =
                        condvar.wait_timeout_while(guard, SHORT, |value| *value != 5).unwrap();
                    assert!(!result.timed_out());
                })
                .unwrap();
            }

            #[test]
            fn a_closed_semaphore_turns_everybody_away() {
                use sync::TryAcquireError;
                run(|| {
                    let semaphore = leak(Semaphore::new(0));
                    assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::NoPermits);
                    let waits = spawn(|| matches!(semaphore.acquire(), Err(sync::AcquireError::Closed)));
                    settle();
                    semaphore.close();
                    assert!(waits.join().unwrap());
                    assert!(semaphore.acquire().is_err());
                    assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::Closed);
                    semaphore.add_permits(3);
                    assert_eq!(semaphore.forget_permits(2), 2);
                    assert_eq!(semaphore.available_permits(), 1);
                })
                .unwrap();
            }

            #[test]
            fn a_barrier_has_one_leader_each_time_and_forgets_who_left() {
                run(|| {
                    let barrier = leak(Barrier::new(3));
                    let left = spawn(|| barrier.wait().is_err());
                    settle();
                    left.cancel();
                    assert!(left.join().unwrap());
                    for _ in 0..10 {
                        let wait = || spawn(|| usize::from(barrier.wait().unwrap().is_leader()));
                        let all = [wait(), wait(), wait()];
                        let leaders: usize = all.into_iter().map(|f| f.join().unwrap()).sum();
                        assert_eq!(leaders, 1);
                    }
                })
                .unwrap();
            }

            #[test]
            fn a_value_is_made_once_and_failures_are_tried_again() {
                run(|| {
                    let cell = leak(OnceCell::<usize>::new());
                    let calls = leak(RefCell::new(0));
                    let make = |number: usize| {
                        spawn(move || {
                            cell.get_or_try_init(|| {
                                *calls.borrow_mut() += 1;
                                yield_now();
                                match number {
                                    0 => Err(std::io::Error::other("the first one fails")),
                                    1 => panic!("the second one panics"),
                                    _ => Ok(number),
                                }
                            })
                            .map(|value| *value)
                        })
                    };
                    let fibers: Vec<_> = (0..5).map(make).collect();
                    let results: Vec<_> = fibers.into_iter().map(|f| f.join()).collect();
                    assert!(results[0].as_ref().unwrap().is_err());
                    assert!(results[1].as_ref().unwrap_err().is_panic());
                    for result in &results[2..] {
                        assert_eq!(*result.as_ref().unwrap().as_ref().unwrap(), 2);
                    }
                    assert_eq!(*calls.borrow(), 3);
                    assert_eq!(cell.set(9), Err(9));
                })
                .unwrap();
            }

            #[test]
            fn a_writer_that_becomes_a_reader_lets_readers_in_and_no_writer() {
                use $($path)::+::RwLockWriteGuard;
                run(|| {
                    let lock = leak(RwLock::new(0));
                    let mut writer = lock.write().unwrap();
                    let readers: Vec<_> = (0..2).map(|_| spawn(|| *lock.read().unwrap())).collect();
                    settle();
                    let second = spawn(|| *lock.write().unwrap() += 1);
                    let behind = spawn(|| *lock.read().unwrap());
                    settle();
                    *writer = 7;
                    let reader = RwLockWriteGuard::downgrade(writer);
                    for reader in readers {
                        assert_eq!(reader.join().unwrap(), 7);
                    }
                    assert!(!second.is_finished() && !behind.is_finished());
                    assert_eq!((*reader, reader.to_string().as_str()), (7, "7"));
                    drop(reader);
                    assert_eq!(behind.join().unwrap(), 8);
                    // With nobody waiting, too.
                    let reader = RwLockWriteGuard::downgrade(lock.write().unwrap());
                    assert!(lock.try_write().is_err());
                    drop((lock.try_read().unwrap(), reader));
                    assert!(lock.try_write().is_ok());
                })
                .unwrap();
            }

            #[test]
            fn owned_permits_go_into_fibers_and_come_back() {
                run(|| {
                    let semaphore = $ptr::new(Semaphore::new(3));
                    let two = $ptr::clone(&semaphore).acquire_many_owned(2).unwrap();
                    let holder = spawn(move || {
                        yield_now();
                        two.num_permits()
                    });
                    let one = $ptr::clone(&semaphore).try_acquire_owned().unwrap();
                    assert!($ptr::clone(&semaphore).try_acquire_owned().is_err());
                    // It waits until the fiber has ended.
                    let next = $ptr::clone(&semaphore).acquire_owned().unwrap();
                    assert_eq!(holder.join().unwrap(), 2);
                    one.forget();
                    drop(next);
                    assert_eq!(semaphore.available_permits(), 2);
                    let all = $ptr::clone(&semaphore).acquire_many_owned(2).unwrap();
                    let waits = spawn({
                        let semaphore = $ptr::clone(&semaphore);
                        move || semaphore.acquire_owned().map(drop)
                    });
                    settle();
                    waits.cancel();
                    assert!(is_cancelled(&waits.join().unwrap().unwrap_err()));
                    drop(all);
                    assert_eq!(semaphore.available_permits(), 2);
                })
                .unwrap();
            }

            /// A second fiber that looks at std's `LazyLock` while the first makes the value blocks
            /// their thread for good.
            #[test]
            fn a_lazy_value_whose_closure_waits_is_made_once() {
                use $($path)::+::LazyLock;
                run(|| {
                    let tries = leak(AtomicUsize::new(0));
                    let lazy: &'static LazyLock<usize, _> = leak(LazyLock::new(|| {
                        cede_fiber::sleep(SHORT).unwrap();
                        assert!(tries.fetch_add(1, Ordering::Relaxed) > 0, "the first one fails");
                        7
                    }));
                    let fails = spawn(|| **lazy);
                    settle();
                    let others: Vec<_> = (0..3).map(|_| spawn(|| **lazy)).collect();
                    // What is behind a `Deref` has no way to say that it was cancelled.
                    others[0].cancel();
                    assert!(fails.join().unwrap_err().is_panic());
                    for other in others {
                        assert_eq!(other.join().unwrap(), 7);
                    }
                    assert_eq!(tries.load(Ordering::Relaxed), 2);
                    assert_eq!(format!("{lazy:?}"), "LazyLock(7)");
                })
                .unwrap();
            }

            #[test]
            fn what_is_guarded_is_dropped_once() {
                let drops = Rc::new(());
                {
                    let mutex = $ptr::new(Mutex::new(Rc::clone(&drops)));
                    let lock = RwLock::new(Rc::clone(&drops));
                    let cell = OnceCell::new();
                    assert!(cell.set(Rc::clone(&drops)).is_ok());
                    assert_eq!(Rc::strong_count(&drops), 4);
                    drop(mutex);
                    drop(lock.into_inner().unwrap());
                    drop(cell.into_inner());
                }
                assert_eq!(Rc::strong_count(&drops), 1);
            }
        }
    };
}

lock_tests!(shared, Arc, crate::sync);
lock_tests!(for_one_shard, Rc, crate::local);

#[test]
fn statics_need_no_initialisation() {
    static MUTEX: sync::Mutex<Vec<u8>> = sync::Mutex::new(Vec::new());
    static LOCK: sync::RwLock<u8> = sync::RwLock::new(1);
    static SEMAPHORE: sync::Semaphore = sync::Semaphore::new(1);
    static CONDVAR: sync::Condvar = sync::Condvar::new();
    // Outside of any fiber, where nothing has to wait.
    MUTEX.lock().unwrap().push(*LOCK.read().unwrap());
    drop(SEMAPHORE.acquire().unwrap());
    CONDVAR.notify_all();
}

#[test]
fn threads_and_shards_share_a_mutex() {
    const EACH: usize = 2_000;
    let mutex = Arc::new(sync::Mutex::new(0usize));
    let work = |mutex: Arc<sync::Mutex<usize>>| {
        for _ in 0..EACH {
            let mut value = mutex.lock().unwrap();
            let read = *value;
            if read.is_multiple_of(64) {
                yield_now();
            }
            *value = read + 1;
        }
    };
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let mutex = Arc::clone(&mutex);
            std::thread::spawn(move || work(mutex))
        })
        .collect();
    cede_fiber::Runtime::builder()
        .shards(2)
        .run(|| {
            let mut handles = Vec::new();
            for shard in cede_fiber::shards() {
                for _ in 0..3 {
                    let mutex = Arc::clone(&mutex);
                    handles.push(shard.spawn(move || work(mutex)).unwrap());
                }
            }
            for handle in handles {
                handle.join().unwrap();
            }
        })
        .unwrap();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(*mutex.lock().unwrap(), 8 * EACH);
}

#[test]
fn threads_and_shards_meet_at_a_barrier() {
    const ROUNDS: usize = 200;
    let barrier = Arc::new(sync::Barrier::new(4));
    let leaders = Arc::new(AtomicUsize::new(0));
    let work = |barrier: Arc<sync::Barrier>, leaders: Arc<AtomicUsize>| {
        for _ in 0..ROUNDS {
            let leads = barrier.wait().unwrap().is_leader();
            leaders.fetch_add(usize::from(leads), Ordering::Relaxed);
        }
    };
    let (b, l) = (Arc::clone(&barrier), Arc::clone(&leaders));
    let thread = std::thread::spawn(move || work(b, l));
    cede_fiber::Runtime::builder()
        .shards(2)
        .run(|| {
            let other = cede_fiber::shards().pop().unwrap();
            let (b, l) = (Arc::clone(&barrier), Arc::clone(&leaders));
            let remote = other.spawn(move || work(b, l)).unwrap();
            let (b, l) = (Arc::clone(&barrier), Arc::clone(&leaders));
            let here = spawn(move || work(b, l));
            work(Arc::clone(&barrier), Arc::clone(&leaders));
            here.join().unwrap();
            remote.join().unwrap();
        })
        .unwrap();
    thread.join().unwrap();
    assert_eq!(leaders.load(Ordering::Relaxed), ROUNDS);
}

#[test]
fn a_deadlock_of_two_mutexes_is_reported() {
    // The test harness has threads of its own, so only local mutexes are certain to be stuck.
    let error = cede_fiber::Runtime::builder()
        .external_wakes(false)
        .run(|| {
            let mutex = local::Mutex::new(());
            let _first = mutex.lock().unwrap();
            let _second = mutex.lock().unwrap();
        })
        .unwrap_err()
        .to_string();
    assert!(error.contains("waits for a lock at 0x"), "{error}");
    assert!(error.contains("sync_lock.rs"), "{error}");
}

#[test]
fn a_thread_that_holds_the_other_end_is_no_deadlock() {
    let (sender, receiver) = sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        // Longer than the first looks for a deadlock (20 ms).
        std::thread::sleep(Duration::from_millis(120));
        sender.send(7).unwrap();
    });
    assert_eq!(run(|| receiver.recv().unwrap()).unwrap(), 7);
    thread.join().unwrap();
}

/// Bug: a notification went with the fiber that a shutdown unwound before it had locked again.
#[test]
fn a_notified_waiter_that_is_unwound_lost_its_notification() {
    let pair = Arc::new((sync::Mutex::new(()), sync::Condvar::new()));
    let theirs = Arc::clone(&pair);
    let other = cede_fiber::Runtime::builder().shutdown_grace(SHORT).run(move || {
        let pair = theirs;
        let (holds, waits) = (Arc::clone(&pair), Arc::clone(&pair));
        // Older than the waiter, so it still has the mutex when that is unwound.
        let holder = spawn(move || {
            cede_fiber::shield(|| {
                cede_fiber::park().unwrap();
                let _locked = holds.0.lock().unwrap();
                holds.1.notify_one();
                while cede_fiber::park().is_ok() {}
            });
        });
        spawn(move || {
            cede_fiber::shield(|| waits.1.wait(waits.0.lock().unwrap()).map(drop)).unwrap();
        });
        settle();
        let there = Arc::clone(&pair);
        let other = std::thread::spawn(move || {
            there.1.wait(there.0.lock().unwrap()).map(drop).unwrap();
        });
        while !format!("{:?}", pair.1).contains("waiting: 2") {
            cede_fiber::sleep(SHORT).unwrap();
        }
        holder.fiber().wakeup();
        settle();
        assert!(format!("{:?}", pair.1).contains("waiting: 1"));
        other
    });
    common::guarded(move || other.unwrap().join().unwrap());
}
