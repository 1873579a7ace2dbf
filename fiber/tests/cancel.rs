//! Property 6: a cancel ends every wait with an error, once and for good, unless the event came as
//! well or a shield is up.

mod common;

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cede_fiber::{
    Park, Runtime, Ticket, Virtual, Wait, WaitKind, current, interval, is_cancelled,
    on_large_stack, park, park_timeout, run, scope, shield, sleep, sleep_until, spawn, yield_now,
};
use common::{Random, guarded, rounds};

const OTHER: Wait = Wait::new(WaitKind::Other, 0);

fn virtual_run<T>(f: impl FnOnce() -> T) -> T {
    Runtime::builder().clock(Virtual::new()).run(f).unwrap()
}

type Waits = fn() -> io::Result<()>;

/// Every wait there is, by name.
fn every_wait() -> [(&'static str, Waits); 11] {
    [
        ("park", park),
        ("park_timeout", || park_timeout(Duration::from_secs(1))),
        ("sleep", || sleep(Duration::from_secs(1))),
        ("sleep that is over", || sleep(Duration::ZERO)),
        ("sleep_until", || sleep_until(std::time::Instant::now() + Duration::from_secs(9))),
        ("interval", || interval(Duration::from_secs(1)).tick().map(drop)),
        ("join", || spawn(|| shield(|| sleep(Duration::from_secs(1)))).join()?),
        ("Park", || Park::begin()?.wait(OTHER, None)),
        ("large stack", || on_large_stack(park)),
        ("call", || {
            let shard = cede_fiber::Shard::current();
            shard.call(|| shield(|| sleep(Duration::from_secs(1))))?
        }),
        ("accept", || cede_fiber::net::TcpListener::bind("127.0.0.1:0")?.accept().map(drop)),
    ]
}

#[test]
fn p06_every_wait_honours_a_cancel_that_came_before() {
    virtual_run(|| {
        for (name, wait) in every_wait() {
            let fiber = spawn(wait);
            fiber.cancel();
            let error = fiber.join().unwrap().unwrap_err();
            assert!(is_cancelled(&error), "{name}: {error}");
        }
    });
}

#[test]
fn p06_every_wait_honours_a_cancel_that_comes_during() {
    virtual_run(|| {
        for (name, wait) in every_wait() {
            if name == "sleep that is over" || name == "interval" {
                continue;
            }
            let fiber = spawn(wait);
            yield_now();
            assert!(!fiber.is_finished(), "{name}");
            fiber.cancel();
            let error = fiber.join().unwrap().unwrap_err();
            assert!(is_cancelled(&error), "{name}: {error}");
        }
    });
}

#[test]
fn p06_a_cancel_stays() {
    run(|| {
        let fiber = spawn(|| (0..10).all(|_| is_cancelled(&park().unwrap_err())));
        yield_now();
        fiber.cancel();
        fiber.cancel();
        assert!(fiber.join().unwrap());
    })
    .unwrap();
}

#[test]
fn p06_the_event_wins_over_the_cancel_in_either_order() {
    run(|| {
        for cancel_first in [false, true] {
            let place = Rc::new(Cell::new(None));
            let ticket = Rc::clone(&place);
            let fiber = spawn(move || {
                let park = Park::begin().unwrap();
                ticket.set(Some(park.ticket()));
                let first = park.wait(OTHER, None);
                (first, park_error())
            });
            yield_now();
            let wake = || place.get().map(Ticket::wake);
            if cancel_first {
                fiber.cancel();
                assert_eq!(wake(), Some(true), "the fiber takes what is handed over");
            } else {
                assert_eq!(wake(), Some(true));
                fiber.cancel();
            }
            let (first, then) = fiber.join().unwrap();
            first.unwrap();
            assert!(is_cancelled(&then), "the cancel is not forgotten");
        }
    })
    .unwrap();
}

fn park_error() -> io::Error {
    park().unwrap_err()
}

/// A million waits whose cancel and wake meet in random order, or one of them alone.
#[test]
fn p06_cancel_against_wake_a_million_times() {
    guarded(|| {
        let mut random = Random::new();
        run(move || {
            for round in 0..rounds(1_000_000) {
                let place = Rc::new(Cell::new(None));
                let ticket = Rc::clone(&place);
                let fiber = spawn(move || {
                    let park = Park::begin()?;
                    ticket.set(Some(park.ticket()));
                    park.wait(OTHER, None)
                });
                let case = random.below(6);
                // Before the fiber has begun its wait, or in the middle of it.
                if case < 5 {
                    yield_now();
                }
                let wake = || place.get().is_some_and(Ticket::wake);
                let woken = match case {
                    0 => wake(),
                    1 => {
                        fiber.cancel();
                        wake()
                    }
                    2 => {
                        let woken = wake();
                        fiber.cancel();
                        woken
                    }
                    3 => {
                        fiber.cancel();
                        yield_now();
                        wake()
                    }
                    4 => {
                        let woken = wake();
                        yield_now();
                        fiber.cancel();
                        woken
                    }
                    _ => {
                        fiber.cancel();
                        wake()
                    }
                };
                match fiber.join().unwrap() {
                    Ok(()) => assert!(woken, "round {round}, case {case}: an event from nowhere"),
                    Err(error) => {
                        assert!(!woken, "round {round}, case {case}: the event is lost");
                        assert!(is_cancelled(&error));
                    }
                }
            }
        })
        .unwrap();
    });
}

/// As above, with both coming from other threads.
#[test]
fn p06_cancel_against_wake_from_two_threads() {
    guarded(|| {
        run(|| {
            let total = rounds(40_000);
            let (wakes, cancels) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
            let waker = std::thread::spawn(move || {
                wakes.1.into_iter().for_each(|ticket: cede_fiber::RemoteTicket| ticket.wake());
            });
            let canceller = std::thread::spawn(move || {
                cancels.1.into_iter().for_each(|fiber: cede_fiber::Fiber| fiber.cancel());
            });
            let (mut woken, mut cancelled) = (0, 0);
            for _ in 0..total {
                let wakes = wakes.0.clone();
                let fiber = spawn(move || {
                    let park = Park::begin()?;
                    wakes.send(park.remote_ticket()).unwrap();
                    park.wait(OTHER, None)
                });
                cancels.0.send(fiber.fiber()).unwrap();
                match fiber.join().unwrap() {
                    Ok(()) => woken += 1,
                    Err(error) => {
                        assert!(is_cancelled(&error));
                        cancelled += 1;
                    }
                }
            }
            assert_eq!(woken + cancelled, total);
            drop((wakes.0, cancels.0));
            waker.join().unwrap();
            canceller.join().unwrap();
        })
        .unwrap();
    });
}

#[test]
fn p06_a_cancel_from_a_thread_ends_a_wait() {
    guarded(|| {
        run(|| {
            let fiber = spawn(park);
            let handle = fiber.fiber();
            std::thread::spawn(move || handle.cancel());
            assert!(is_cancelled(&fiber.join().unwrap().unwrap_err()));
        })
        .unwrap();
    });
}

#[test]
fn a_shield_holds_a_cancel_back_and_lets_it_through_afterwards() {
    virtual_run(|| {
        let fiber = spawn(|| {
            shield(|| {
                sleep(Duration::from_secs(1)).unwrap();
                shield(|| sleep(Duration::from_secs(1))).unwrap();
                sleep(Duration::from_secs(1)).unwrap();
                scope(|s| {
                    s.spawn(|| sleep(Duration::from_secs(1)).unwrap());
                });
            });
            park_error()
        });
        yield_now();
        fiber.cancel();
        assert!(is_cancelled(&fiber.join().unwrap()));
    });
}

#[test]
fn a_shield_ends_with_a_panic_too() {
    run(|| {
        let fiber = spawn(|| {
            let panics = std::panic::catch_unwind(|| shield(|| panic!("in the shield")));
            assert!(panics.is_err());
            park_error()
        });
        fiber.cancel();
        assert!(is_cancelled(&fiber.join().unwrap()));
    })
    .unwrap();
}

#[test]
fn a_shield_outside_of_a_fiber_just_runs() {
    assert_eq!(shield(|| 3), 3);
}

/// Bug: a wait of a cancelled fiber failed without giving up control, so a loop that ignores
/// errors, as accept loops do, kept the shard for ever.
#[test]
fn a_fiber_that_ignores_its_cancel_gives_way_to_others() {
    guarded(|| {
        run(|| {
            let stop = Rc::new(Cell::new(false));
            let stopped = Rc::clone(&stop);
            let ignores = spawn(move || {
                while !stopped.get() {
                    let _ = park();
                }
            });
            yield_now();
            ignores.cancel();
            yield_now();
            stop.set(true);
            ignores.join().unwrap();
        })
        .unwrap();
    });
}

#[derive(Debug)]
struct Wrapped(io::Error);

impl fmt::Display for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("wrapped")
    }
}

impl Error for Wrapped {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

/// Bug: two ways led from each wrapped error to the next, and both were taken: 2^depth steps.
#[test]
fn a_cancel_is_recognised_below_other_errors_however_deep() {
    run(|| {
        let fiber = spawn(park_error);
        fiber.cancel();
        let mut error = fiber.join().unwrap();
        let mut other = io::Error::other("something else");
        for _ in 0..64 {
            error = io::Error::other(Wrapped(error));
            other = io::Error::other(Wrapped(other));
        }
        assert!(is_cancelled(&error));
        assert!(!is_cancelled(&other));
        assert!(!is_cancelled(&io::Error::from(io::ErrorKind::TimedOut)));
    })
    .unwrap();
}

#[test]
fn a_cancel_of_oneself_ends_the_next_wait() {
    run(|| {
        let fiber = spawn(|| {
            current().cancel();
            yield_now();
            park_error()
        });
        assert!(is_cancelled(&fiber.join().unwrap()));
    })
    .unwrap();
}

/// 8 threads cancel 8 fibers each, many times over.
#[test]
fn p07_cancels_from_many_threads_reach_everyone() {
    guarded(|| {
        run(|| {
            let ended = Arc::new(AtomicUsize::new(0));
            let fibers: Vec<_> = (0..64)
                .map(|_| {
                    let ended = Arc::clone(&ended);
                    spawn(move || {
                        assert!(is_cancelled(&park_error()));
                        ended.fetch_add(1, Ordering::Relaxed);
                    })
                })
                .collect();
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    let handles: Vec<_> = fibers.iter().map(|fiber| fiber.fiber()).collect();
                    std::thread::spawn(move || {
                        handles.iter().cycle().take(6_400).for_each(cede_fiber::Fiber::cancel);
                    })
                })
                .collect();
            fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(ended.load(Ordering::Relaxed), 64);
        })
        .unwrap();
    });
}
