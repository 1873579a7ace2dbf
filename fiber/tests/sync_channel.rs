//! mpsc, oneshot, broadcast and watch: order, ends in every state, cut-short waits, leaks.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use cede_fiber::sync::{self, local};
use cede_fiber::{is_cancelled, run, spawn, with_deadline, yield_now};

const SHORT: Duration = Duration::from_millis(2);

fn settle() {
    for _ in 0..4 {
        yield_now();
    }
}

macro_rules! channel_tests {
    ($name:ident, $ptr:ident, $($path:ident)::+) => {
        mod $name {
            use super::*;
            use $($path)::+::mpsc::{
                RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError,
            };
            use $($path)::+::{broadcast, mpsc, oneshot, watch};

            #[test]
            fn values_come_in_order_through_channels_of_every_size() {
                for bound in [0, 1, 2, 7, 1000] {
                    let values: Vec<_> = run(|| {
                        let (sender, receiver) = mpsc::sync_channel(bound);
                        spawn(move || {
                            for value in 0..500 {
                                sender.send(value).unwrap();
                                if value % 17 == 0 {
                                    yield_now();
                                }
                            }
                        });
                        receiver.into_iter().collect()
                    })
                    .unwrap();
                    assert!(values.iter().copied().eq(0..500), "bound {bound}");
                }
            }

            #[test]
            fn senders_that_wait_are_served_in_order_and_the_limit_holds() {
                run(|| {
                    let (sender, receiver) = mpsc::sync_channel(2);
                    for value in 0..10 {
                        let sender = sender.clone();
                        spawn(move || sender.send(value).unwrap());
                    }
                    settle();
                    assert_eq!(receiver.len(), 2);
                    assert_eq!(sender.capacity(), 2);
                    assert!(matches!(sender.try_send(99), Err(TrySendError::Full(99))));
                    drop(sender);
                    assert_eq!(receiver.iter().collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
                })
                .unwrap();
            }

            #[test]
            fn receivers_that_wait_are_served_in_order() {
                run(|| {
                    let (sender, receiver) = mpsc::channel();
                    let receiver = Rc::new(receiver);
                    let fibers: Vec<_> = (0..5)
                        .map(|_| {
                            let receiver = Rc::clone(&receiver);
                            spawn(move || receiver.recv().unwrap())
                        })
                        .collect();
                    settle();
                    for value in 0..5 {
                        sender.send(value).unwrap();
                    }
                    let got: Vec<i32> = fibers.into_iter().map(|f| f.join().unwrap()).collect();
                    assert_eq!(got, [0, 1, 2, 3, 4]);
                })
                .unwrap();
            }

            #[test]
            fn a_rendezvous_needs_both() {
                run(|| {
                    let (sender, receiver) = mpsc::sync_channel(0);
                    assert!(matches!(sender.try_send(1), Err(TrySendError::Full(1))));
                    let sending = spawn(move || {
                        sender.send(2).unwrap();
                        sender
                    });
                    settle();
                    assert!(!sending.is_finished());
                    assert_eq!(receiver.try_recv().unwrap(), 2);
                    let sender = sending.join().unwrap();
                    let receiving = spawn(move || receiver.recv().unwrap());
                    settle();
                    sender.try_send(3).unwrap();
                    assert_eq!(receiving.join().unwrap(), 3);
                })
                .unwrap();
            }

            #[test]
            fn cut_short_nothing_is_received_and_nothing_is_sent() {
                run(|| {
                    let (sender, receiver) = mpsc::sync_channel(1);
                    let (sender, receiver) = ($ptr::new(sender), $ptr::new(receiver));
                    let late = with_deadline(SHORT, || receiver.recv());
                    let Err(RecvError::Wait(error)) = late else { panic!("{late:?}") };
                    assert_eq!(error.kind(), ErrorKind::TimedOut);
                    let late = receiver.recv_timeout(SHORT);
                    assert!(matches!(late, Err(RecvTimeoutError::Timeout)), "{late:?}");
                    let late =
                        with_deadline(SHORT, || receiver.recv_timeout(Duration::from_secs(60)));
                    assert!(matches!(late, Err(RecvTimeoutError::Wait(_))), "{late:?}");

                    let theirs = $ptr::clone(&receiver);
                    let fiber = spawn(move || theirs.recv());
                    settle();
                    fiber.cancel();
                    let error = fiber.join().unwrap().unwrap_err();
                    assert!(is_cancelled(&error), "{error}");
                    assert!(is_cancelled(&std::io::Error::from(error)));

                    sender.send(1).unwrap();
                    let late = with_deadline(SHORT, || sender.send(2));
                    assert!(matches!(late, Err(SendError::Wait(2, _))), "{late:?}");
                    let theirs = $ptr::clone(&sender);
                    let fiber = spawn(move || theirs.send(3));
                    settle();
                    fiber.cancel();
                    let error = fiber.join().unwrap().unwrap_err();
                    assert!(is_cancelled(&error));
                    assert_eq!(error.into_inner(), 3);
                    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1]);
                })
                .unwrap();
            }

            #[test]
            fn a_value_that_was_handed_over_is_received_in_spite_of_a_cancel() {
                run(|| {
                    let (sender, receiver) = mpsc::sync_channel(1);
                    let fiber = spawn(move || receiver.recv());
                    settle();
                    sender.send(5).unwrap();
                    fiber.cancel();
                    assert_eq!(fiber.join().unwrap().unwrap(), 5);

                    let (sender, receiver) = mpsc::sync_channel(1);
                    sender.send(1).unwrap();
                    let fiber = spawn(move || sender.send(2));
                    settle();
                    assert_eq!(receiver.recv().unwrap(), 1); // makes room: 2 is in
                    fiber.cancel();
                    fiber.join().unwrap().unwrap();
                    assert_eq!(receiver.recv().unwrap(), 2);
                })
                .unwrap();
            }

            #[test]
            fn the_ends_may_go_in_every_state() {
                run(|| {
                    // The last sender goes while somebody receives.
                    let (sender, receiver) = mpsc::channel::<i32>();
                    let fiber = spawn(move || receiver.recv());
                    settle();
                    drop(sender.clone());
                    settle();
                    assert!(!fiber.is_finished());
                    drop(sender);
                    assert!(matches!(fiber.join().unwrap(), Err(RecvError::Disconnected)));

                    // What was sent is still received.
                    let (sender, receiver) = mpsc::channel();
                    sender.send(1).unwrap();
                    drop(sender);
                    assert_eq!(receiver.recv().unwrap(), 1);
                    assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));

                    // The receiver goes while somebody sends.
                    let (sender, receiver) = mpsc::sync_channel(0);
                    let fibers: Vec<_> = (0..3)
                        .map(|value| {
                            let sender = sender.clone();
                            spawn(move || sender.send(value))
                        })
                        .collect();
                    settle();
                    drop(receiver);
                    for (value, fiber) in fibers.into_iter().enumerate() {
                        let error = fiber.join().unwrap().unwrap_err();
                        assert!(error.is_disconnected());
                        assert_eq!(error.into_inner(), value);
                    }
                    assert!(sender.is_disconnected());
                    let refused = sender.try_send(9);
                    assert!(matches!(refused, Err(TrySendError::Disconnected(9))));
                    assert!(sender.reserve().is_err());
                })
                .unwrap();
            }

            #[test]
            fn a_reserved_place_is_kept_and_given_back() {
                run(|| {
                    let (sender, receiver) = mpsc::sync_channel(1);
                    let permit = sender.reserve().unwrap();
                    assert!(matches!(sender.try_send(1), Err(TrySendError::Full(_))));
                    let theirs = sender.clone();
                    let waits = spawn(move || theirs.send(2));
                    settle();
                    assert!(!waits.is_finished());
                    drop(permit);
                    waits.join().unwrap().unwrap();
                    assert_eq!(receiver.recv().unwrap(), 2);
                    let permit = sender.reserve().unwrap();
                    permit.send(3).unwrap();
                    assert_eq!(receiver.recv().unwrap(), 3);
                    let permit = sender.reserve().unwrap();
                    drop(receiver);
                    assert!(permit.send(4).is_err());
                })
                .unwrap();
            }

            #[test]
            fn oneshot_in_every_state() {
                run(|| {
                    let (sender, receiver) = oneshot::channel();
                    let fiber = spawn(move || receiver.recv());
                    settle();
                    sender.send(1).unwrap();
                    assert_eq!(fiber.join().unwrap().unwrap(), 1);

                    let (sender, receiver) = oneshot::channel::<i32>();
                    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
                    let late = receiver.recv_timeout(SHORT);
                    assert!(matches!(late, Err(RecvTimeoutError::Timeout)));
                    let fiber = spawn(move || receiver.recv());
                    settle();
                    drop(sender);
                    assert!(matches!(fiber.join().unwrap(), Err(RecvError::Disconnected)));

                    let (sender, receiver) = oneshot::channel();
                    drop(receiver);
                    assert!(sender.is_closed());
                    assert_eq!(sender.send(2), Err(2));

                    let (sender, receiver) = oneshot::channel();
                    sender.send(3).unwrap();
                    receiver.close();
                    assert_eq!(receiver.recv().unwrap(), 3);
                    assert!(receiver.recv().is_err());

                    let (sender, receiver) = oneshot::channel::<i32>();
                    let closed = spawn(move || sender.closed());
                    settle();
                    assert!(!closed.is_finished());
                    receiver.close();
                    closed.join().unwrap().unwrap();
                    assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));

                    let (sender, receiver) = oneshot::channel::<i32>();
                    let fiber = spawn(move || receiver.recv());
                    settle();
                    fiber.cancel();
                    assert!(is_cancelled(&fiber.join().unwrap().unwrap_err()));
                    assert!(sender.is_closed());
                })
                .unwrap();
            }

            #[test]
            fn broadcast_reaches_all_and_tells_what_was_missed() {
                run(|| {
                    let (sender, mut first) = broadcast::channel(3);
                    let mut second = sender.subscribe();
                    let fiber = spawn(move || {
                        let got: Vec<_> = std::iter::from_fn(|| second.recv().ok()).collect();
                        got
                    });
                    settle();
                    for value in 0..10 {
                        assert_eq!(sender.send(value).unwrap(), 2);
                        yield_now();
                    }
                    assert!(matches!(first.recv(), Err(broadcast::RecvError::Lagged(7))));
                    assert_eq!(sender.len(), 3);
                    drop(sender);
                    let rest: Vec<_> = std::iter::from_fn(|| first.recv().ok()).collect();
                    assert_eq!(rest, [7, 8, 9]);
                    assert_eq!(fiber.join().unwrap(), (0..10).collect::<Vec<_>>());
                    assert!(matches!(first.recv(), Err(broadcast::RecvError::Closed)));
                })
                .unwrap();
            }

            #[test]
            fn broadcast_keeps_nothing_that_all_have_seen() {
                run(|| {
                    let value = Rc::new(());
                    let (sender, mut first) = broadcast::channel(8);
                    let mut second = sender.subscribe();
                    for _ in 0..5 {
                        sender.send(Rc::clone(&value)).unwrap();
                    }
                    assert_eq!(Rc::strong_count(&value), 6);
                    for _ in 0..3 {
                        first.recv().unwrap();
                    }
                    second.recv().unwrap();
                    assert_eq!(Rc::strong_count(&value), 5);
                    drop(second);
                    assert_eq!(Rc::strong_count(&value), 3);
                    drop(first);
                    assert_eq!(Rc::strong_count(&value), 1);
                    assert!(sender.send(value).is_err());
                })
                .unwrap();
            }

            #[test]
            fn a_broadcast_wait_can_be_cut_short() {
                run(|| {
                    let (sender, mut receiver) = broadcast::channel::<i32>(1);
                    let fiber = spawn(move || {
                        let error = receiver.recv().unwrap_err();
                        assert!(is_cancelled(&error));
                        receiver
                    });
                    settle();
                    fiber.cancel();
                    let mut receiver = fiber.join().unwrap();
                    sender.send(1).unwrap();
                    assert_eq!(receiver.try_recv().unwrap(), 1);
                })
                .unwrap();
            }

            #[test]
            fn watch_shows_the_newest() {
                run(|| {
                    let (sender, mut receiver) = watch::channel(0);
                    assert!(!receiver.has_changed().unwrap());
                    let mut other = receiver.clone();
                    let fiber = spawn(move || {
                        let mut seen = Vec::new();
                        while other.changed().is_ok() {
                            seen.push(*other.borrow());
                        }
                        seen
                    });
                    settle();
                    sender.send(1).unwrap();
                    sender.send(2).unwrap();
                    settle();
                    sender.send_modify(|value| *value += 1);
                    let snapshot = receiver.borrow_and_update();
                    settle();
                    assert!(!sender.send_if_modified(|_| false));
                    assert_eq!(*sender.send_replace(4), 3);
                    assert_eq!(*snapshot, 3);
                    assert!(snapshot.has_changed());
                    settle();
                    assert!(receiver.has_changed().unwrap());
                    drop(sender);
                    receiver.changed().unwrap();
                    assert_eq!(*receiver.borrow(), 4);
                    assert!(receiver.changed().is_err());
                    assert_eq!(fiber.join().unwrap(), [2, 3, 4]);
                })
                .unwrap();
            }

            #[test]
            fn watch_closes_and_is_cut_short() {
                run(|| {
                    let (sender, mut receiver) = watch::channel(0);
                    let late = with_deadline(SHORT, || receiver.changed());
                    assert!(late.is_err());
                    let late = with_deadline(SHORT, || receiver.wait_for(|v| *v > 0).map(|_| ()));
                    assert!(late.is_err());
                    let closed = spawn(move || {
                        sender.closed().unwrap();
                        assert_eq!(sender.send(1).unwrap_err().into_inner(), 1);
                        sender.subscribe()
                    });
                    settle();
                    drop(receiver);
                    let receiver = closed.join().unwrap();
                    assert_eq!(*receiver.borrow(), 0);
                    assert!(receiver.has_changed().is_err());
                })
                .unwrap();
            }

            #[test]
            fn destructors_of_values_may_use_the_channel() {
                struct SendsAgain(mpsc::Sender<Option<SendsAgain>>, Rc<RefCell<usize>>);
                impl Drop for SendsAgain {
                    fn drop(&mut self) {
                        // The receiver is going: refused, and not a deadlock.
                        assert!(self.0.send(None).is_err());
                        *self.1.borrow_mut() += 1;
                    }
                }
                run(|| {
                    let drops = Rc::new(RefCell::new(0));
                    let (sender, receiver) = mpsc::channel();
                    for _ in 0..3 {
                        let value = SendsAgain(sender.clone(), Rc::clone(&drops));
                        sender.send(Some(value)).unwrap();
                    }
                    drop(receiver);
                    assert_eq!(*drops.borrow(), 3);
                })
                .unwrap();
            }

            #[test]
            fn ends_that_go_while_a_panic_unwinds_wake_the_others() {
                run(|| {
                    let (sender, receiver) = mpsc::sync_channel::<i32>(0);
                    let (done, end) = oneshot::channel::<i32>();
                    let receives = spawn(move || receiver.recv());
                    let waits = spawn(move || end.recv());
                    settle();
                    let panics = spawn(move || {
                        let (_sender, _done) = (sender, done);
                        panic!("the owner of the sending ends panics");
                    });
                    assert!(panics.join().unwrap_err().is_panic());
                    assert!(matches!(receives.join().unwrap(), Err(RecvError::Disconnected)));
                    assert!(matches!(waits.join().unwrap(), Err(RecvError::Disconnected)));
                })
                .unwrap();
            }

            #[test]
            fn a_shutdown_while_everything_waits_drops_everything() {
                let value = Rc::new(());
                let theirs = Rc::clone(&value);
                cede_fiber::Runtime::builder()
                    .shutdown_grace(SHORT)
                    .run(move || {
                        let (full, receiver) = mpsc::sync_channel(1);
                        full.send(Rc::clone(&theirs)).unwrap();
                        let (sender, empty) = mpsc::channel::<Rc<()>>();
                        // They wait in spite of the cancel until they are unwound.
                        spawn(move || cede_fiber::shield(|| full.send(theirs).is_ok()));
                        spawn(move || cede_fiber::shield(|| empty.recv().is_ok()));
                        settle();
                        std::mem::forget((sender, receiver));
                    })
                    .unwrap();
                // One is in the buffer of the channel whose receiver was forgotten.
                assert_eq!(Rc::strong_count(&value), 2);
            }
        }
    };
}

channel_tests!(shared, Arc, crate::sync);
channel_tests!(for_one_shard, Rc, crate::local);

#[test]
fn threads_and_shards_send_to_one_receiver() {
    const EACH: u64 = 3_000;
    let (sender, receiver) = sync::mpsc::sync_channel::<u64>(8);
    let work = |sender: sync::mpsc::SyncSender<u64>| {
        for value in 1..=EACH {
            sender.send(value).unwrap();
        }
    };
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let sender = sender.clone();
            std::thread::spawn(move || work(sender))
        })
        .collect();
    let sum: u64 = cede_fiber::Runtime::builder()
        .shards(2)
        .run(|| {
            for shard in cede_fiber::shards() {
                for _ in 0..2 {
                    let sender = sender.clone();
                    shard.spawn(move || work(sender)).unwrap();
                }
            }
            drop(sender);
            receiver.iter().sum()
        })
        .unwrap();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(sum, 6 * EACH * (EACH + 1) / 2);
}

#[test]
fn a_thread_receives_from_fibers_and_times_out() {
    let (sender, receiver) = sync::mpsc::channel();
    assert!(receiver.recv_timeout(SHORT).is_err());
    let thread = std::thread::spawn(move || receiver.into_iter().collect::<Vec<u32>>());
    run(|| {
        for value in 0..100 {
            sender.send(value).unwrap();
            yield_now();
        }
        drop(sender);
    })
    .unwrap();
    assert_eq!(thread.join().unwrap(), (0..100).collect::<Vec<_>>());
}

/// Others send faster than a fiber receives, so it never waits; it is cancelled all the same, and
/// its deadline ends it.
#[test]
fn a_receiver_that_never_had_to_wait_could_not_be_cancelled() {
    /// What a receiver gets before it is given up as one that never ends.
    const MANY: usize = 100_000;

    fn check(mut receive: impl FnMut() -> std::io::Result<()> + 'static) {
        let mut endless = move || (0..MANY).try_for_each(|_| receive()).expect_err("never ended");
        let late = with_deadline(SHORT / 20, &mut endless);
        assert_eq!(late.kind(), ErrorKind::TimedOut);
        let fiber = spawn(endless);
        settle();
        fiber.cancel();
        let error = fiber.join().unwrap();
        assert!(is_cancelled(&error), "{error}");
    }

    run(|| {
        let (sender, receiver) = sync::mpsc::sync_channel(1_000);
        let (other, selected) = local::mpsc::sync_channel(1_000);
        let (caster, mut heard) = sync::broadcast::channel(1_000);
        let fill = move || {
            while sender.try_send(1).is_ok() {}
            while other.try_send(1).is_ok() {}
            // Not so many that the receiver would miss some.
            (0..200).for_each(|_| drop(caster.send(1)));
        };
        fill();
        let full = Rc::new(std::cell::Cell::new(true));
        let keep_full = Rc::clone(&full);
        let filler = spawn(move || {
            while keep_full.get() {
                fill();
                yield_now();
            }
        });
        check(move || receiver.recv().map(|_| ()).map_err(Into::into));
        check(move || cede_fiber::select! { _ = recv(&selected) => () });
        check(move || match heard.recv() {
            Err(sync::broadcast::RecvError::Lagged(_)) => Ok(()),
            other => other.map(|_| ()).map_err(Into::into),
        });
        full.set(false);
        filler.join().unwrap();
    })
    .unwrap();
}
