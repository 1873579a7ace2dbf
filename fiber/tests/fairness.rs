//! Property 21: the run queue is first in, first out, and timers, other threads and sockets get
//! their turn while fibers wake each other without end.

mod common;

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::Duration;

use cede_fiber::net::{TcpListener, TcpStream};
use cede_fiber::sync::{broadcast, local, mpsc};
use cede_fiber::{current, park, run, select, sleep, spawn, yield_now};
use common::guarded;

/// Runs `f` while 100 fibers yield without end.
fn under_load<T>(f: impl FnOnce() -> T) -> T {
    let stop = Rc::new(Cell::new(false));
    let turns = Rc::new(Cell::new(0_u64));
    for _ in 0..100 {
        let (stop, turns) = (Rc::clone(&stop), Rc::clone(&turns));
        spawn(move || {
            while !stop.get() {
                turns.set(turns.get() + 1);
                yield_now();
            }
        });
    }
    yield_now();
    let result = f();
    stop.set(true);
    assert!(turns.get() >= 100);
    result
}

#[test]
fn p21_fibers_run_in_the_order_in_which_they_became_ready() {
    run(|| {
        let log = Rc::new(RefCell::new(Vec::new()));
        let fibers: Vec<_> = (0..100)
            .map(|n| {
                let log = Rc::clone(&log);
                spawn(move || {
                    for round in 0..3 {
                        log.borrow_mut().push((round, n));
                        yield_now();
                    }
                    park().unwrap();
                    log.borrow_mut().push((3, n));
                })
            })
            .collect();
        for _ in 0..4 {
            yield_now();
        }
        fibers.iter().rev().for_each(|fiber| fiber.fiber().wakeup());
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
        let expected = (0..3).flat_map(|round| (0..100).map(move |n| (round, n)));
        let expected = expected.chain((0..100).rev().map(|n| (3, n)));
        assert!(log.borrow().iter().copied().eq(expected));
    })
    .unwrap();
}

#[test]
fn p21_timers_fire_under_constant_load() {
    guarded(|| {
        run(|| under_load(|| (0..20).for_each(|_| sleep(Duration::from_micros(200)).unwrap())))
            .unwrap();
    });
}

#[test]
fn p21_wakes_from_threads_arrive_under_constant_load() {
    guarded(|| {
        run(|| {
            under_load(|| {
                for _ in 0..20 {
                    let me = current();
                    let thread = std::thread::spawn(move || me.wakeup());
                    park().unwrap();
                    thread.join().unwrap();
                }
            });
        })
        .unwrap();
    });
}

#[test]
fn p21_sockets_are_served_under_constant_load() {
    guarded(|| {
        run(|| {
            under_load(|| {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let addr = listener.local_addr().unwrap();
                let echo = spawn(move || {
                    let (mut stream, _) = listener.accept().unwrap();
                    let mut buf = [0; 16];
                    while let Ok(n @ 1..) = stream.read(&mut buf) {
                        stream.write_all(&buf[..n]).unwrap();
                    }
                });
                let mut stream = TcpStream::connect(addr).unwrap();
                for n in 0..100_u8 {
                    let mut back = [0];
                    stream.write_all(&[n]).unwrap();
                    stream.read_exact(&mut back).unwrap();
                    assert_eq!(back, [n]);
                }
                drop(stream);
                echo.join().unwrap();
            });
        })
        .unwrap();
    });
}

/// Two fibers that wake each other never wait, and a third one gets its turn all the same.
#[test]
fn p21_a_pair_that_wakes_each_other_does_not_starve_a_third() {
    guarded(|| {
        run(|| {
            let stop = Rc::new(Cell::new(false));
            let peer: Rc<RefCell<Option<cede_fiber::Fiber>>> = Rc::default();
            let (flag, place) = (Rc::clone(&stop), Rc::clone(&peer));
            let ping = spawn(move || {
                while !flag.get() {
                    place.borrow().iter().for_each(cede_fiber::Fiber::wakeup);
                    park()?;
                }
                Ok::<_, std::io::Error>(())
            });
            let (flag, other) = (Rc::clone(&stop), ping.fiber());
            let pong = spawn(move || {
                while !flag.get() {
                    other.wakeup();
                    park()?;
                }
                Ok::<_, std::io::Error>(())
            });
            *peer.borrow_mut() = Some(pong.fiber());
            (0..10).for_each(|_| sleep(Duration::from_micros(100)).unwrap());
            (0..1_000).for_each(|_| yield_now());
            stop.set(true);
            ping.fiber().wakeup();
            pong.fiber().wakeup();
            ping.join().unwrap().unwrap();
            pong.join().unwrap().unwrap();
        })
        .unwrap();
    });
}

/// A stream that never lets its reader wait still gives way after some operations.
#[test]
fn p21_a_socket_that_is_always_ready_gives_way() {
    guarded(|| {
        run(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let addr = listener.local_addr().unwrap();
            let mut sender = TcpStream::connect(addr).unwrap();
            let (mut receiver, _) = listener.accept().unwrap();
            sender.write_all(&[7; 10_000]).unwrap();
            let turns = Rc::new(Cell::new(0));
            let (count, stop) = (Rc::clone(&turns), Rc::new(Cell::new(false)));
            let flag = Rc::clone(&stop);
            spawn(move || {
                while !flag.get() {
                    count.set(count.get() + 1);
                    yield_now();
                }
            });
            let before = turns.get();
            let mut byte = [0];
            for _ in 0..10_000 {
                receiver.read_exact(&mut byte).unwrap();
            }
            assert!(turns.get() - before >= 10, "{} turns in 10,000 reads", turns.get() - before);
            stop.set(true);
        })
        .unwrap();
    });
}

/// Runs `operation` 10,000 times; other fibers must have had turns, though it never has to wait.
#[track_caller]
fn gives_way(what: &str, mut operation: impl FnMut()) {
    let turns = Rc::new(Cell::new(0));
    let (count, stop) = (Rc::clone(&turns), Rc::new(Cell::new(false)));
    let flag = Rc::clone(&stop);
    let other = spawn(move || {
        while !flag.get() {
            count.set(count.get() + 1);
            yield_now();
        }
    });
    (0..10_000).for_each(|_| operation());
    assert!(turns.get() >= 10, "{} turns in 10,000 times {what}", turns.get());
    stop.set(true);
    other.join().unwrap();
}

#[test]
fn p21_a_channel_that_is_always_ready_gives_way() {
    run(|| {
        let (sender, receiver) = mpsc::channel();
        let (here, there) = local::mpsc::channel();
        let (cast, mut listener) = broadcast::channel(4);
        gives_way("mpsc", || {
            sender.send(1).unwrap();
            receiver.recv().unwrap();
        });
        gives_way("mpsc with a time-out", || {
            sender.send(1).unwrap();
            receiver.recv_timeout(Duration::from_secs(1)).unwrap();
        });
        gives_way("local::mpsc", || {
            here.send(1).unwrap();
            there.recv().unwrap();
        });
        gives_way("broadcast", || {
            cast.send(1).unwrap();
            listener.recv().unwrap();
        });
        gives_way("select!", || {
            sender.send(1).unwrap();
            let got = select! {
                got = recv(&receiver) => got.unwrap(),
                got = recv(&there) => got.unwrap(),
            };
            assert_eq!(got.unwrap(), 1);
        });
    })
    .unwrap();
}

/// A plain thread has nobody to give way to, and is not disturbed.
#[test]
fn p21_a_channel_is_received_from_in_a_thread_as_ever() {
    let (sender, receiver) = mpsc::channel();
    for n in 0..10_000 {
        sender.send(n).unwrap();
        assert_eq!(receiver.recv().unwrap(), n);
    }
}

/// Bug: a fiber that gave way after 128 reads was resumed up to 64 times before the shard looked at
/// its timers and its other sockets.
#[test]
fn p21_a_flooded_reader_held_up_timers_for_thousands_of_reads() {
    const READS_PER_TURN: u64 = 128;
    guarded(|| {
        run(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let addr = listener.local_addr().unwrap();
            let flood = std::thread::spawn(move || {
                let mut stream = std::net::TcpStream::connect(addr).unwrap();
                while stream.write(&[5; 65536]).is_ok() {}
            });
            let (mut stream, _) = listener.accept().unwrap();
            let (reads, stop) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
            let (count, stopped) = (Rc::clone(&reads), Rc::clone(&stop));
            let reader = spawn(move || {
                while !stopped.get() {
                    assert_eq!(stream.read(&mut [0]).unwrap(), 1);
                    count.set(count.get() + 1);
                }
            });
            for _ in 0..50 {
                let before = reads.get();
                sleep(Duration::from_micros(1)).unwrap();
                let meanwhile = reads.get() - before;
                assert!(meanwhile <= 4 * READS_PER_TURN, "{meanwhile} reads");
            }
            stop.set(true);
            reader.join().unwrap();
            flood.join().unwrap();
        })
        .unwrap();
    });
}
