//! `select!`: every kind of branch, fairness, and that nothing is lost.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use cede_fiber::sync::{self, broadcast, local, mpsc, oneshot, watch};
use cede_fiber::{is_cancelled, run, select, spawn, with_deadline, yield_now};

const SHORT: Duration = Duration::from_millis(2);
const LONG: Duration = Duration::from_secs(60);

fn settle() {
    for _ in 0..4 {
        yield_now();
    }
}

#[test]
fn every_kind_of_branch_can_win() {
    run(|| {
        let (tx, rx) = mpsc::sync_channel::<i32>(1);
        let (once, end) = oneshot::channel::<i32>();
        let (cast, mut casts) = broadcast::channel::<i32>(4);
        let (level, mut levels) = watch::channel(0);
        let (local_tx, local_rx) = local::mpsc::channel::<i32>();
        let (full, drain) = mpsc::sync_channel::<i32>(1);
        full.send(0).unwrap();
        let mut fiber = spawn(|| cede_fiber::park().map(|()| 6));
        let mut remote = cede_fiber::Shard::current().spawn(|| cede_fiber::park().is_ok()).unwrap();
        let mut future = Box::pin(std::future::pending::<i32>());
        let handle = fiber.fiber();
        let other = Rc::new(RefCell::new(None));
        let steps: Vec<Box<dyn FnOnce()>> = vec![
            Box::new(move || tx.send(1).unwrap()),
            Box::new(move || once.send(2).unwrap()),
            Box::new(move || assert_eq!(cast.send(3).unwrap(), 1)),
            Box::new(move || level.send(4).unwrap()),
            Box::new(move || local_tx.send(5).unwrap()),
            Box::new(move || handle.wakeup()),
            Box::new(move || {
                assert_eq!(drain.recv().unwrap(), 0);
                std::mem::forget(drain); // a disconnected channel would refuse
            }),
        ];
        // The ends stay where they are until all is over: a branch that is disconnected would win.
        let mut log = Vec::new();
        for (index, step) in steps.into_iter().enumerate() {
            let other = Rc::clone(&other);
            spawn(move || {
                settle();
                step();
                *other.borrow_mut() = Some(index);
            });
            let got = select! {
                got = recv(&rx), if index == 0 => got.unwrap(),
                got = recv(&end), if index <= 1 => got.unwrap(),
                got = recv(&mut casts), if index <= 2 => got.unwrap(),
                got = recv(&mut levels), if index <= 3 => {
                    got.unwrap();
                    4
                }
                got = recv(&local_rx), if index <= 4 => got.unwrap(),
                got = join(&mut fiber), if index <= 5 => got.unwrap().unwrap(),
                sent = send(&full, 7) => {
                    sent.unwrap();
                    7
                },
                got = future(&mut future) => got,
                _ = join(&mut remote) => -1,
                _ = sleep(LONG) => -2,
            };
            log.push(got.unwrap());
        }
        assert_eq!(log, [1, 2, 3, 4, 5, 6, 7]);
    })
    .unwrap();
}

/// A future that parks its fiber when it is polled does so while other branches are registered.
#[test]
fn a_branch_does_not_end_a_wait_inside_of_the_poll_of_another() {
    run(|| {
        let (tx, rx) = mpsc::sync_channel::<i32>(1);
        let (local_tx, local_rx) = local::mpsc::sync_channel::<i32>(1);
        let (inner_tx, inner_rx) = local::mpsc::sync_channel::<i32>(1);
        let inner = Rc::new(RefCell::new(None));
        let seen = Rc::clone(&inner);
        let fiber = spawn(move || {
            let mut polls = 0;
            let mut future = std::future::poll_fn(move |_| {
                polls += 1;
                // The first poll is a try, the second registers, last of the three.
                if polls != 2 {
                    return Poll::Pending;
                }
                *seen.borrow_mut() = Some(inner_rx.recv());
                Poll::Ready(3)
            });
            select! {
                got = recv(&rx) => got.unwrap(),
                got = recv(&local_rx) => got.unwrap(),
                got = future(&mut future) => got,
            }
        });
        settle();
        tx.send(1).unwrap();
        local_tx.send(2).unwrap();
        settle();
        assert!(inner.borrow().is_none(), "nothing was sent to it");
        inner_tx.send(5).unwrap();
        assert!((1..=3).contains(&fiber.join().unwrap().unwrap()));
        assert_eq!(inner.borrow_mut().take().unwrap().unwrap(), 5);
    })
    .unwrap();
}

#[test]
fn join_of_a_fiber_on_another_shard() {
    cede_fiber::Runtime::builder()
        .shards(2)
        .run(|| {
            let other = cede_fiber::shards().pop().unwrap();
            let (never, rx) = mpsc::channel::<()>();
            for value in 0..200 {
                let mut handle = other.spawn(move || value).unwrap();
                let got = select! {
                    got = join(&mut handle) => got.unwrap(),
                    _ = recv(&rx) => unreachable!(),
                };
                assert_eq!(got.unwrap(), value);
            }
            drop(never);
        })
        .unwrap();
}

#[test]
fn time_wins_when_nothing_else_does() {
    run(|| {
        let (_sender, receiver) = mpsc::channel::<i32>();
        let start = Instant::now();
        let got = select! {
            _ = recv(&receiver) => 0,
            _ = sleep(LONG) => 1,
            _ = timeout(SHORT) => 2,
            _ = sleep_until(start + LONG) => 3,
        };
        assert_eq!(got.unwrap(), 2);
        assert!(start.elapsed() >= SHORT);
        let past = select! {
            _ = recv(&receiver) => 0,
            _ = sleep_until(start) => 1,
        };
        assert_eq!(past.unwrap(), 1);
    })
    .unwrap();
}

#[test]
fn a_cut_short_select_runs_no_arm() {
    run(|| {
        let (_sender, receiver) = mpsc::channel::<i32>();
        let wait = |receiver: &mpsc::Receiver<i32>| {
            select! {
                _ = recv(receiver) => unreachable!(),
                _ = sleep(LONG) => unreachable!(),
            }
        };
        let late: std::io::Result<()> = with_deadline(SHORT, || wait(&receiver));
        assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
        let fiber = spawn(move || wait(&receiver));
        settle();
        fiber.cancel();
        assert!(is_cancelled(&fiber.join().unwrap().unwrap_err()));
    })
    .unwrap();
}

#[test]
fn default_does_not_wait() {
    run(|| {
        let (sender, receiver) = mpsc::sync_channel(1);
        let poll = || select! { got = recv(&receiver) => got.ok(), default => None };
        assert_eq!(poll().unwrap(), None);
        sender.send(1).unwrap();
        assert_eq!(poll().unwrap(), Some(1));
        drop(sender);
        let end = select! { got = recv(&receiver) => got.is_err(), default => false };
        assert!(end.unwrap());
    })
    .unwrap();
}

#[test]
fn arms_may_break_return_and_ask() {
    fn sum(receiver: &mpsc::Receiver<i32>) -> std::io::Result<i32> {
        let mut sum = 0;
        loop {
            select! {
                got = recv(receiver) => match got {
                    Ok(0) => continue,
                    Ok(7) => return Ok(-1),
                    Ok(value) => sum += value,
                    Err(_) => break,
                },
                _ = sleep(LONG) => return Err(ErrorKind::TimedOut.into()),
            }?;
        }
        Ok(sum)
    }
    run(|| {
        for (values, expected) in [(vec![1, 0, 2], 3), (vec![1, 7, 2], -1), (vec![], 0)] {
            let (sender, receiver) = mpsc::channel();
            values.into_iter().for_each(|value| sender.send(value).unwrap());
            drop(sender);
            assert_eq!(sum(&receiver).unwrap(), expected);
        }
    })
    .unwrap();
}

#[test]
fn branches_take_turns_and_biased_ones_do_not() {
    run(|| {
        let (a_tx, a) = mpsc::channel();
        let (b_tx, b) = mpsc::channel();
        let mut counts = [0; 2];
        for _ in 0..1000 {
            a_tx.send(()).unwrap();
            b_tx.send(()).unwrap();
            let which = select! { _ = recv(&a) => 0, _ = recv(&b) => 1 };
            counts[which.unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| *count > 300), "{counts:?}");
        for _ in 0..100 {
            let which = select! { biased; _ = recv(&a) => 0, _ = recv(&b) => 1 };
            assert_eq!(which.unwrap(), 0);
            a_tx.send(()).unwrap();
        }
    })
    .unwrap();
}

#[test]
fn a_value_of_send_is_evaluated_only_when_it_is_sent() {
    run(|| {
        let (sender, receiver) = mpsc::sync_channel(1);
        let (_stay, never) = mpsc::channel::<()>();
        let mut value = Some(Rc::new(1));
        sender.send(Rc::new(0)).unwrap();
        let timed_out = select! {
            sent = send(&sender, value.take().unwrap()) => sent.is_ok(),
            _ = sleep(SHORT) => false,
            _ = recv(&never) => unreachable!(),
        };
        assert!(!timed_out.unwrap());
        assert!(value.is_some());
        drop(receiver.recv().unwrap());
        let sent = select! {
            sent = send(&sender, value.take().unwrap()) => sent.is_ok(),
            _ = sleep(LONG) => false,
        };
        assert!(sent.unwrap());
        assert!(value.is_none());
        assert_eq!(*receiver.recv().unwrap(), 1);
        drop(receiver);
        let refused = select! { sent = send(&sender, Rc::new(2)) => sent.is_err() };
        assert!(refused.unwrap());
    })
    .unwrap();
}

#[test]
fn a_place_that_select_was_promised_and_did_not_use_goes_to_the_next() {
    run(|| {
        let (sender, receiver) = mpsc::sync_channel(1);
        let (other, others) = mpsc::channel();
        sender.send(0).unwrap();
        let theirs = sender.clone();
        let selects = spawn(move || {
            select! {
                biased;
                got = recv(&others) => got.unwrap(),
                sent = send(&theirs, 1) => { sent.unwrap(); "sent" }
            }
        });
        settle();
        let waits = spawn(move || sender.send(2));
        settle();
        // Both at once: the place is promised to the select, which takes the other branch.
        assert_eq!(receiver.recv().unwrap(), 0);
        other.send("received").unwrap();
        assert_eq!(selects.join().unwrap().unwrap(), "received");
        waits.join().unwrap().unwrap();
        assert_eq!(receiver.recv().unwrap(), 2);
    })
    .unwrap();
}

#[test]
fn a_rendezvous_of_two_selects() {
    run(|| {
        let (sender, receiver) = mpsc::sync_channel(0);
        let fiber = spawn(move || {
            let mut got = Vec::new();
            for _ in 0..50 {
                let value =
                    select! { got = recv(&receiver) => got.unwrap(), _ = sleep(LONG) => -1 };
                got.push(value.unwrap());
            }
            got
        });
        for value in 0..50 {
            let sent =
                select! { sent = send(&sender, value) => sent.is_ok(), _ = sleep(LONG) => false };
            assert!(sent.unwrap());
        }
        assert_eq!(fiber.join().unwrap(), (0..50).collect::<Vec<_>>());
    })
    .unwrap();
}

#[test]
fn select_in_a_plain_thread() {
    let (sender, receiver) = mpsc::channel::<i32>();
    let late = select! { _ = recv(&receiver) => 0, _ = sleep(SHORT) => 1 };
    assert_eq!(late.unwrap(), 1);
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let mut sum = 0;
        loop {
            select! {
                biased;
                got = recv(&receiver) => sum += got.unwrap(),
                _ = recv(&stopped) => break,
            }
            .unwrap();
        }
        sum
    });
    run(|| {
        for value in 0..100 {
            sender.send(value).unwrap();
            yield_now();
        }
        stop.send(()).unwrap();
    })
    .unwrap();
    assert_eq!(thread.join().unwrap(), 4950);
    // A local channel cannot be waited for where nobody could ever send.
    let (_sender, receiver) = local::mpsc::channel::<i32>();
    let nobody = select! { _ = recv(&receiver) => 0, _ = sleep(LONG) => 1 };
    assert!(nobody.is_err());
}

/// Many senders, selects that receive from several channels with random limits and get cancelled:
/// every value arrives once.
#[test]
fn nothing_is_lost_under_stress() {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
        std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into()
    });
    println!("SEED={seed}");
    let mut random: u64 = seed;
    let mut below = move |n: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % n
    };
    const VALUES: u64 = 20_000;
    cede_fiber::Runtime::builder()
        .shards(2)
        .run(move || {
            let (a_tx, a) = mpsc::sync_channel::<u64>(1);
            let (b_tx, b) = mpsc::sync_channel::<u64>(0);
            let (out_tx, out) = mpsc::sync_channel::<u64>(2);
            let (b, a) = (std::sync::Arc::new(b), std::sync::Arc::new(a));
            for (index, shard) in cede_fiber::shards().into_iter().enumerate() {
                let (a_tx, b_tx) = (a_tx.clone(), b_tx.clone());
                shard
                    .spawn(move || {
                        for value in 0..VALUES / 2 {
                            let value = value * 2 + index as u64;
                            select! {
                                sent = send(&a_tx, value) => sent.unwrap(),
                                sent = send(&b_tx, value) => sent.unwrap(),
                            }
                            .unwrap();
                        }
                    })
                    .unwrap();
            }
            drop((a_tx, b_tx));
            // Relays that live for a random number of values and are then cancelled.
            let relays = spawn(move || {
                loop {
                    let end = Rc::new(std::cell::Cell::new(0));
                    let fibers: Vec<_> = (0..3)
                        .map(|_| {
                            let (a, b, end) = (a.clone(), b.clone(), Rc::clone(&end));
                            let out = out_tx.clone();
                            let micros = 1 + below(30);
                            spawn(move || {
                                // Each value taken is passed on, also by one that is cancelled.
                                let pass = |value| cede_fiber::shield(|| out.send(value).unwrap());
                                loop {
                                    let got = select! {
                                        got = recv(&a) => got,
                                        got = recv(&b) => got,
                                        _ = sleep(Duration::from_micros(micros)) => continue,
                                    };
                                    match got {
                                        Ok(Ok(value)) => pass(value),
                                        Ok(Err(_)) => {
                                            // One is closed; what is left comes from the other.
                                            while let Ok(value) = a.recv() {
                                                pass(value);
                                            }
                                            while let Ok(value) = b.recv() {
                                                pass(value);
                                            }
                                            if a.try_recv().is_err_and(over)
                                                && b.try_recv().is_err_and(over)
                                            {
                                                end.set(end.get() + 1);
                                            }
                                            return;
                                        }
                                        Err(_) => return, // cancelled
                                    }
                                }
                            })
                        })
                        .collect();
                    for _ in 0..below(200) {
                        yield_now();
                    }
                    for fiber in fibers {
                        fiber.cancel();
                        fiber.join().unwrap();
                    }
                    if end.get() > 0 {
                        return;
                    }
                }
            });
            let mut seen = vec![0u8; VALUES as usize];
            for value in out {
                seen[value as usize] += 1;
            }
            relays.join().unwrap();
            assert!(seen.iter().all(|count| *count == 1), "lost or doubled values");
        })
        .unwrap();
}

fn over(error: sync::mpsc::TryRecvError) -> bool {
    error == sync::mpsc::TryRecvError::Disconnected
}

#[test]
fn a_socket_or_a_wakeup_whichever_comes_first() {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mine = cede_fiber::net::TcpStream::from_std(listener.accept().unwrap().0).unwrap();
        let log = Rc::new(RefCell::new(Vec::new()));
        let events = Rc::clone(&log);
        let fiber = spawn(move || {
            let heard = |what: &str| events.borrow_mut().push(what.to_string());
            while events.borrow().len() < 4 {
                select! {
                    _ = park() => heard("woken"),
                    there = readable(&mine) => {
                        there.unwrap();
                        let mut buf = [0; 8];
                        match mine.try_read(&mut buf) {
                            Ok(n) => heard(&String::from_utf8_lossy(&buf[..n])),
                            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                        }
                    }
                }
                .unwrap();
            }
        });
        let until = |count| {
            while log.borrow().len() < count {
                cede_fiber::sleep(SHORT).unwrap();
            }
        };
        let handle = fiber.fiber();
        settle();
        handle.wakeup();
        handle.wakeup();
        settle();
        theirs.write_all(b"hello").unwrap();
        until(2);
        // From another thread, through the inbox.
        std::thread::spawn(move || handle.wakeup()).join().unwrap();
        until(3);
        drop(theirs);
        fiber.join().unwrap();
        assert_eq!(*log.borrow(), ["woken", "hello", "woken", ""]);
    })
    .unwrap();
}

#[test]
fn a_wakeup_before_a_select_is_remembered_and_one_for_another_branch_is_kept() {
    run(|| {
        let (tx, rx) = mpsc::channel::<i32>();
        cede_fiber::current().wakeup();
        assert_eq!(select! { _ = park() => 1, _ = recv(&rx) => 2 }.unwrap(), 1);
        tx.send(7).unwrap();
        cede_fiber::current().wakeup();
        // Both are there: the wakeup that was not taken is there for the next wait.
        assert_eq!(select! { biased; _ = recv(&rx) => 2, _ = park() => 1 }.unwrap(), 2);
        cede_fiber::park().unwrap();
        // Outside of a select a wakeup does not disturb other waits.
        let fiber = spawn(move || rx.recv());
        let handle = fiber.fiber();
        settle();
        handle.wakeup();
        settle();
        assert!(!fiber.is_finished());
        tx.send(8).unwrap();
        assert_eq!(fiber.join().unwrap().unwrap(), 8);
    })
    .unwrap();
    let error = select! { _ = park() => () }.unwrap_err();
    assert!(error.to_string().contains("fiber"), "{error}");
}

#[test]
fn a_select_on_a_socket_that_is_cut_short_leaves_nobody_registered() {
    use std::io::Write;

    use cede_fiber::net::{TcpListener, TcpStream};

    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        for _ in 0..3 {
            let got = select! { _ = readable(&listener) => true, _ = sleep(SHORT) => false };
            assert!(!got.unwrap());
        }
        let mut stream = TcpStream::connect(addr).unwrap();
        select! { there = readable(&listener) => there.unwrap() }.unwrap();
        let (peer, _) = listener.accept().unwrap();
        let fiber = spawn(move || select! { _ = readable(&peer) => (), _ = sleep(LONG) => () });
        settle();
        fiber.cancel();
        assert!(is_cancelled(&fiber.join().unwrap().unwrap_err()));
        let _ = stream.write_all(b"to nobody");
    })
    .unwrap();
}

/// Waits when it is polled, as code that was written for threads does, and is ready in the end.
struct Waits {
    polls: u32,
    waits: fn(),
}

impl Future for Waits {
    type Output = &'static str;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<&'static str> {
        (self.waits)();
        self.polls -= 1;
        if self.polls == 0 {
            return Poll::Ready("waited");
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Bug: "a wait was begun inside of another one".
#[test]
fn a_future_that_waits_when_it_is_polled_panicked() {
    run(|| {
        let (sender, receiver) = mpsc::channel::<u32>();
        let sleeps = || cede_fiber::sleep(SHORT).unwrap();
        let blocks = || {
            let child = spawn(|| cede_fiber::sleep(SHORT));
            cede_fiber::block_on(child).unwrap().unwrap().unwrap();
        };
        for waits in [sleeps as fn(), blocks, yield_now] {
            let mut future = Waits { polls: 9, waits };
            let got = select! {
                biased;
                _ = recv(&receiver) => "received",
                got = future(&mut future) => got,
            };
            assert_eq!(got.unwrap(), "waited");
        }
        // What comes meanwhile is neither lost nor taken twice.
        for waits in [sleeps as fn(), blocks] {
            let sender = sender.clone();
            spawn(move || (0..10).for_each(|n| sender.send(n).unwrap()));
            let mut future = Waits { polls: 1_000, waits };
            for n in 0..10 {
                let got = select! {
                    got = recv(&receiver) => got.unwrap(),
                    _ = future(&mut future) => 99,
                };
                assert_eq!(got.unwrap(), n);
            }
        }
    })
    .unwrap();
}

/// Bug: a wakeup meant for `park()` in a `select!` ended a lock that a future of the same `select!`
/// waited for, and there were two guards of one mutex.
#[test]
fn a_wakeup_in_a_select_ended_the_wait_of_a_future_polled_there() {
    /// Locks when it is polled again, which is when it is registered.
    struct Locks(Rc<local::Mutex<()>>, u32);

    impl Future for Locks {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            self.1 += 1;
            if self.1 < 2 {
                return Poll::Pending;
            }
            drop(self.0.lock().unwrap());
            Poll::Ready(())
        }
    }

    run(|| {
        let mutex = Rc::new(local::Mutex::new(()));
        let held = mutex.lock().unwrap();
        let mut future = Locks(Rc::clone(&mutex), 0);
        let waits = spawn(move || {
            let got =
                select! { biased; _ = park() => "woken", () = future(&mut future) => "locked" };
            got.unwrap()
        });
        yield_now();
        for _ in 0..3 {
            waits.fiber().wakeup();
            settle();
            assert!(!waits.is_finished(), "it waits for the lock");
        }
        drop(held);
        assert_eq!(waits.join().unwrap(), "woken", "the wakeup was remembered");
    })
    .unwrap();
}
