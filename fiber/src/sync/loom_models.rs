//! What crosses threads, under the model checker: every order of the steps of two or three threads.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p cede-fiber --release --lib loom`. A wait with a limit
//! may end at any moment here (see `Spot::wait`), so each model of one is a model of a cancel that
//! meets a grant. The threads are plain ones; fibers differ in how they are woken, which has models
//! of its own.

use std::time::{Duration, Instant};

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use crate::sync::brief::Flag;
use crate::sync::error::TryRecvError;
use crate::sync::limit::Limit;
use crate::sync::{Condvar, Mutex, RwLock, RwLockWriteGuard, Semaphore, mpsc, oneshot};

/// Ends at any moment.
fn any_time() -> Limit {
    Limit::Thread(Instant::now())
}

/// Checks every order with at most three preemptions, which finds nearly all there is to find.
fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

/// A value that the checker watches for two accesses at once.
struct Watched(UnsafeCell<u32>);

impl Watched {
    fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    fn add(&self) {
        // SAFETY: what these models check: the caller is alone.
        self.0.with_mut(|value| unsafe { *value += 1 });
    }

    fn get(&self) -> u32 {
        // SAFETY: as above, beside other readers.
        self.0.with(|value| unsafe { *value })
    }
}

#[test]
fn the_flag_of_the_brief_lock_excludes() {
    model(|| {
        let state = Arc::new((Flag::new(), Watched::new()));
        let enter = |(flag, watched): &(Flag, Watched)| {
            let entered = flag.try_take();
            if entered {
                watched.add();
                flag.give_back();
            }
            u32::from(entered)
        };
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let state = Arc::clone(&state);
                thread::spawn(move || enter(&state))
            })
            .collect();
        let mut entered = enter(&state);
        for thread in threads {
            entered += thread.join().unwrap();
        }
        assert!(entered > 0 && state.0.try_take());
        assert_eq!(state.1.get(), entered);
    });
}

#[test]
fn a_mutex_excludes_and_hands_over() {
    model(|| {
        let mutex = Arc::new(Mutex::new(Watched::new()));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let mutex = Arc::clone(&mutex);
                thread::spawn(move || mutex.lock().unwrap().add())
            })
            .collect();
        mutex.lock().unwrap().add();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(mutex.try_lock().unwrap().get(), 3);
    });
}

#[test]
fn a_mutex_is_handed_to_nobody_who_gave_up() {
    model(|| {
        let mutex = Arc::new(Mutex::new(Watched::new()));
        let impatient = {
            let mutex = Arc::clone(&mutex);
            thread::spawn(move || match mutex.lock_within(any_time()) {
                Ok(guard) => {
                    guard.add();
                    1
                }
                Err(_) => 0,
            })
        };
        let patient = {
            let mutex = Arc::clone(&mutex);
            thread::spawn(move || mutex.lock().unwrap().add())
        };
        mutex.lock().unwrap().add();
        let entered = impatient.join().unwrap();
        patient.join().unwrap();
        assert_eq!(mutex.try_lock().unwrap().get(), 2 + entered);
    });
}

#[test]
fn a_rwlock_excludes_and_forgets_who_gave_up() {
    model(|| {
        let lock = Arc::new(RwLock::new(Watched::new()));
        let writer = {
            let lock = Arc::clone(&lock);
            thread::spawn(move || lock.write_within(any_time()).map(|guard| guard.add()).is_ok())
        };
        let reader = {
            let lock = Arc::clone(&lock);
            thread::spawn(move || lock.read().unwrap().get())
        };
        let seen = lock.read().unwrap().get();
        assert!(seen <= 1);
        let wrote = writer.join().unwrap();
        assert!(reader.join().unwrap() <= u32::from(wrote));
        assert_eq!(lock.try_write().unwrap().get(), u32::from(wrote));
    });
}

#[test]
fn a_writer_that_becomes_a_reader_lets_in_readers_and_no_writer() {
    for writes in [false, true] {
        model(move || {
            let lock = Arc::new(RwLock::new(Watched::new()));
            let other = {
                let lock = Arc::clone(&lock);
                thread::spawn(move || match writes {
                    true => lock.write_within(any_time()).map(|guard| guard.add()).is_ok(),
                    false => lock.read().unwrap().get() > 1,
                })
            };
            let guard = lock.write().unwrap();
            guard.add();
            let before = guard.get();
            let guard = RwLockWriteGuard::downgrade(guard);
            assert_eq!(guard.get(), before);
            drop(guard);
            let wrote = u32::from(other.join().unwrap());
            assert_eq!(lock.try_write().unwrap().get(), 1 + wrote);
        });
    }
}

#[test]
fn permits_of_one_who_gave_up_go_to_the_next() {
    model(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let greedy = {
            let semaphore = Arc::clone(&semaphore);
            thread::spawn(move || drop(semaphore.acquire_within(2, any_time())))
        };
        let modest = {
            let semaphore = Arc::clone(&semaphore);
            thread::spawn(move || drop(semaphore.acquire().unwrap()))
        };
        drop(semaphore.acquire().unwrap());
        greedy.join().unwrap();
        modest.join().unwrap();
        assert_eq!(semaphore.available_permits(), 1);
        drop(semaphore.try_acquire().unwrap());
    });
}

#[test]
fn a_notification_wakes_one_who_waits() {
    model(|| {
        let pair = Arc::new((Mutex::new(false), Condvar::new()));
        let theirs = Arc::clone(&pair);
        let thread = thread::spawn(move || {
            *theirs.0.lock().unwrap() = true;
            theirs.1.notify_one();
        });
        let ready = pair.1.wait_while(pair.0.lock().unwrap(), |ready| !*ready).unwrap();
        assert!(*ready);
        drop(ready);
        thread.join().unwrap();
    });
}

#[test]
fn a_channel_loses_nothing() {
    for bound in 0..2 {
        model(move || {
            let (sender, receiver) = mpsc::sync_channel(bound);
            let threads: Vec<_> = (1..3)
                .map(|value| {
                    let sender = sender.clone();
                    thread::spawn(move || sender.send(value).unwrap())
                })
                .collect();
            drop(sender);
            assert_eq!(receiver.iter().sum::<i32>(), 3);
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }
}

#[test]
fn a_receiver_that_gives_up_leaves_the_value() {
    for bound in 0..2 {
        model(move || {
            let (sender, receiver) = mpsc::sync_channel(bound);
            let thread = thread::spawn(move || sender.send(1).is_ok());
            let first = receiver.recv_timeout(Duration::ZERO).is_ok();
            let second = receiver.recv().is_ok();
            assert_ne!(first, second, "the value was lost or came twice");
            assert!(thread.join().unwrap());
        });
    }
}

#[test]
fn a_receiver_that_goes_gives_the_values_back() {
    model(|| {
        let (sender, receiver) = mpsc::sync_channel(0);
        let value = std::sync::Arc::new(());
        let theirs = std::sync::Arc::clone(&value);
        let thread = thread::spawn(move || sender.send(theirs).map_err(|e| e.into_inner()));
        let received = receiver.try_recv();
        drop(receiver);
        match thread.join().unwrap() {
            Ok(()) => drop(received.unwrap()),
            Err(back) => {
                assert!(received.is_err());
                drop(back);
            }
        }
        assert_eq!(std::sync::Arc::strong_count(&value), 1);
    });
}

#[test]
fn a_oneshot_arrives_or_comes_back() {
    model(|| {
        let (sender, receiver) = oneshot::channel();
        let thread = thread::spawn(move || sender.send(1).is_ok());
        let received = receiver.recv_timeout(Duration::ZERO).is_ok();
        let then = receiver.try_recv();
        drop(receiver);
        let sent = thread.join().unwrap();
        assert!(sent || (!received && then.is_err()), "a value that was refused was received");
        assert!(!(received && then.is_ok()), "a value came twice");
    });
}

#[test]
fn a_sender_that_goes_wakes_the_receiver() {
    model(|| {
        let (sender, receiver) = oneshot::channel::<i32>();
        let thread = thread::spawn(move || drop(sender));
        assert!(receiver.recv().is_err());
        thread.join().unwrap();
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    });
}

#[test]
fn a_select_takes_one_and_leaves_the_other() {
    model(|| {
        let (one, first) = mpsc::sync_channel(1);
        let (two, second) = oneshot::channel();
        let thread = thread::spawn(move || {
            one.send(1).unwrap();
            two.send(2).unwrap();
        });
        let got: std::io::Result<i32> = crate::select! {
            biased;
            got = recv(&second) => got.unwrap(),
            got = recv(&first) => got.unwrap(),
        };
        let got = got.unwrap();
        let other = if got == 1 { second.recv() } else { first.recv() };
        assert_eq!(got + other.unwrap(), 3);
        thread.join().unwrap();
    });
}
