//! One test for each bug that was found by reading or by accident, named after it.

mod common;

use std::cell::Cell;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use cede::{Runtime, Shard};
use common::within_reason;

/// Panics when it is dropped, unless a panic is under way.
struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("a destructor panics on purpose");
        }
    }
}

/// A ticket compared shards by their number, and each runtime has a shard 0.
#[test]
fn wakeup_from_a_shard_of_the_same_number_in_another_runtime_was_lost() {
    within_reason(|| {
        let (sender, receiver) = mpsc::channel::<Shard>();
        let (done, is_done) = mpsc::channel();
        let other = thread::spawn(move || {
            let serve = || {
                sender.send(Shard::current()).unwrap();
                while is_done.try_recv().is_err() {
                    cede::sleep(Duration::from_millis(1)).unwrap();
                }
            };
            cede::run(serve).unwrap();
        });
        let answers = cede::run(|| {
            let shard = receiver.recv().unwrap();
            (0..100).map(|n| shard.call(move || n).unwrap()).sum::<i32>()
        });
        assert_eq!(answers.unwrap(), 4950);
        done.send(()).unwrap();
        other.join().unwrap();
    });
}

/// Work that comes too late is dropped by the scheduler; its panic unwound the scheduler.
#[test]
fn destructor_of_refused_work_panicked_into_the_scheduler() {
    within_reason(|| {
        let result = Runtime::builder().shutdown_grace(Duration::from_millis(200)).run(|| {
            let shard = Shard::current();
            let late = cede::spawn(move || {
                // The cancel of the shutdown ends this.
                assert!(cede::park().is_err());
                let late = PanicsInDrop;
                let refused = shard.spawn(move || drop(late)).unwrap();
                cede::shield(|| refused.join()).unwrap_err()
            });
            cede::yield_now();
            drop(late);
            42
        });
        assert_eq!(result.unwrap(), 42);
    });
}

/// So did the inherited locals of a fiber that never ran.
#[test]
fn destructor_of_an_inherited_value_panicked_into_the_shutdown() {
    struct Inherited(bool);
    impl Clone for Inherited {
        fn clone(&self) -> Self {
            Self(true)
        }
    }
    impl Drop for Inherited {
        fn drop(&mut self) {
            if self.0 && !thread::panicking() {
                panic!("a destructor panics on purpose");
            }
        }
    }
    cede::fiber_local! {
        inherit static INHERITED: Inherited = Inherited(false);
    }
    thread_local! {
        static UNWOUND: Cell<bool> = const { Cell::new(false) };
    }
    struct Unwound;
    impl Drop for Unwound {
        fn drop(&mut self) {
            UNWOUND.set(true);
        }
    }
    within_reason(|| {
        let result = Runtime::builder().shutdown_grace(Duration::ZERO).run(|| {
            cede::spawn(|| {
                let _unwound = Unwound;
                cede::shield(cede::park)
            });
            cede::yield_now();
            INHERITED.set(Inherited(false));
            // Never runs, and is younger, so it is the first to go.
            cede::spawn(|| ());
            42
        });
        assert_eq!(result.unwrap(), 42);
        assert!(UNWOUND.get(), "the others are unwound all the same");
    });
}
