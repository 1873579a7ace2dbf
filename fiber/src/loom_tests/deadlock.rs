//! The search for a deadlock: a runtime is never called dead while something is under way in it.

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::model_bounded;
use crate::deadlock::{Handles, all_hopeless};
use crate::shared::{Letter, ShardShared, Task};

fn shards() -> Arc<Vec<Arc<ShardShared>>> {
    Arc::new((0..2).map(ShardShared::new).collect())
}

fn send(to: &ShardShared) {
    assert!(to.inbox.push(Letter::task(Task::Stop)).is_ok());
}

/// One round of `deadlock::sleep` without the poller: sleeps, looks around, wakes up, and counts
/// what came. True: this shard says that the runtime is dead.
fn sleep(all: &[Arc<ShardShared>], me: usize, fruitless: bool, came: &AtomicUsize) -> bool {
    let shared = &all[me];
    if !fruitless {
        shared.has_handles.store(true, Ordering::SeqCst);
    }
    if shared.inbox.fall_asleep() {
        shared.hopeless.fetch_add(1, Ordering::SeqCst);
        if !shared.inbox.has_messages() {
            shared.has_handles.store(false, Ordering::SeqCst);
            if all_hopeless(all) == Some(Handles::None) {
                return true;
            }
        }
        shared.hopeless.fetch_add(1, Ordering::SeqCst);
    }
    came.fetch_add(shared.inbox.take().count(), Ordering::SeqCst);
    false
}

/// A thread that is not the runtime's sends work to shard 0 and lets go of its handle. Whoever
/// finds the runtime dead must not have overlooked that work.
#[test]
fn p29_not_dead_while_the_last_handle_sends() {
    model_bounded(3, || {
        let shards = shards();
        shards[0].handles.fetch_add(1, Ordering::SeqCst);
        let came = Arc::new(AtomicUsize::new(0));
        let all = Arc::clone(&shards);
        let foreign = thread::spawn(move || {
            send(&all[0]);
            all[0].handles.fetch_sub(1, Ordering::SeqCst);
        });
        let (all, counted) = (Arc::clone(&shards), Arc::clone(&came));
        let first = thread::spawn(move || {
            let _ = sleep(&all, 0, false, &counted) || sleep(&all, 0, true, &counted);
        });
        let nothing = AtomicUsize::new(0);
        let dead = sleep(&shards, 1, false, &nothing) || sleep(&shards, 1, true, &nothing);
        if dead {
            assert_eq!(came.load(Ordering::SeqCst), 1, "work under way was overlooked");
        }
        first.join().unwrap();
        foreign.join().unwrap();
    });
}

/// A fiber of shard 1 makes a handle to shard 0 when that has already looked for handles, and hands
/// it to another thread.
#[test]
fn p29_not_dead_while_a_handle_is_held_that_another_shard_made() {
    model_bounded(3, || {
        let shards = shards();
        let came = Arc::new(AtomicUsize::new(0));
        let (all, counted) = (Arc::clone(&shards), Arc::clone(&came));
        let first = thread::spawn(move || {
            let _ = sleep(&all, 0, false, &counted) || sleep(&all, 0, true, &counted);
        });
        shards[0].handles.fetch_add(1, Ordering::SeqCst);
        let all = Arc::clone(&shards);
        let foreign = thread::spawn(move || {
            send(&all[0]);
            all[0].handles.fetch_sub(1, Ordering::SeqCst);
        });
        if sleep(&shards, 1, false, &AtomicUsize::new(0)) {
            assert_eq!(came.load(Ordering::SeqCst), 1, "work to come was overlooked");
        }
        first.join().unwrap();
        foreign.join().unwrap();
    });
}

/// A fiber of shard 1 sends work to shard 0 and waits; shard 0 answers.
#[test]
fn p29_not_dead_while_shards_send_to_each_other() {
    model_bounded(3, || {
        let shards = shards();
        let (came, answered) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        let (all, counted) = (Arc::clone(&shards), Arc::clone(&came));
        let first = thread::spawn(move || {
            for round in 0..2 {
                if sleep(&all, 0, round > 0, &counted) {
                    return true;
                }
                if counted.load(Ordering::SeqCst) == 1 {
                    send(&all[1]);
                    return false;
                }
            }
            false
        });
        send(&shards[0]);
        let dead = sleep(&shards, 1, false, &answered) || sleep(&shards, 1, true, &answered);
        let first_says = first.join().unwrap();
        assert!(!first_says, "shard 0 had work in its inbox");
        if dead {
            assert_eq!(answered.load(Ordering::SeqCst), 1, "the answer was under way");
        }
    });
}
