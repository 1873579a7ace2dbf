//! Properties 1 to 4: wakeups are remembered, none is lost, each ends one wait, and a stale one
//! ends none.

mod common;

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use cede_fiber::{
    Park, Runtime, Ticket, Virtual, Wait, WaitKind, current, park, park_timeout, run, sleep, spawn,
    yield_now,
};
use common::{Random, guarded, rounds};

const OTHER: Wait = Wait::new(WaitKind::Other, 7);

#[test]
fn p01_unpark_before_park_is_remembered() {
    guarded(|| {
        run(|| {
            current().wakeup();
            park().unwrap();
        })
        .unwrap();
    });
}

#[test]
fn p01_several_wakeups_count_as_one() {
    let clock = Virtual::new();
    Runtime::builder()
        .clock(clock)
        .run(|| {
            let me = current();
            for _ in 0..3 {
                me.wakeup();
            }
            park().unwrap();
            let second = park_timeout(Duration::from_secs(1)).unwrap_err();
            assert_eq!(second.kind(), ErrorKind::TimedOut);
        })
        .unwrap();
}

#[test]
fn p01_a_wakeup_from_another_thread_before_park_is_remembered() {
    guarded(|| {
        run(|| {
            let me = current();
            std::thread::spawn(move || me.wakeup()).join().unwrap();
            park().unwrap();
        })
        .unwrap();
    });
}

#[test]
fn p01_a_wakeup_does_not_end_another_wait_and_is_kept() {
    let clock = Virtual::new();
    let time = clock.clone();
    Runtime::builder()
        .clock(clock)
        .run(move || {
            let sleeper = spawn(|| {
                sleep(Duration::from_secs(10)).unwrap();
                park().unwrap();
            });
            let joined = spawn(|| sleep(Duration::from_secs(20)).unwrap());
            let joiner = spawn(move || {
                joined.join().unwrap();
                park().unwrap();
            });
            yield_now();
            sleeper.fiber().wakeup();
            joiner.fiber().wakeup();
            sleeper.join().unwrap();
            assert!(cede_fiber::Clock::now(&time) >= 10_000_000_000);
            joiner.join().unwrap();
            assert!(cede_fiber::Clock::now(&time) >= 20_000_000_000);
        })
        .unwrap();
}

/// The permit against its model, a bool.
#[test]
fn p01_random_wakeups_and_parks_follow_the_model_of_one_token() {
    let mut random = Random::new();
    let clock = Virtual::new();
    Runtime::builder()
        .clock(clock)
        .run(move || {
            let me = current();
            let mut token = false;
            for _ in 0..rounds(200_000) {
                if random.coin() {
                    me.wakeup();
                    token = true;
                } else {
                    let parked = park_timeout(Duration::from_millis(1));
                    assert_eq!(parked.is_ok(), token);
                    token = false;
                }
            }
        })
        .unwrap();
}

/// A foreign thread wakes at every moment between "decided to park" and "switched away".
#[test]
fn p02_no_wakeup_from_a_thread_is_lost() {
    guarded(|| {
        run(|| {
            let rounds = rounds(200_000);
            let turn = Arc::new(AtomicUsize::new(0));
            let (me, seen) = (current(), Arc::clone(&turn));
            let thread = std::thread::spawn(move || {
                for round in 0..rounds {
                    while seen.load(Ordering::Acquire) != round {
                        std::thread::yield_now();
                    }
                    me.wakeup();
                }
            });
            for round in 0..rounds {
                park().unwrap();
                turn.store(round + 1, Ordering::Release);
            }
            thread.join().unwrap();
        })
        .unwrap();
    });
}

#[test]
fn p02_a_ticket_used_before_the_wait_ends_it_at_once() {
    guarded(|| {
        run(|| {
            let park = Park::begin().unwrap();
            assert!(park.ticket().wake());
            park.wait(OTHER, None).unwrap();

            let park = Park::begin().unwrap();
            let ticket = park.remote_ticket();
            std::thread::spawn(move || ticket.wake()).join().unwrap();
            // The letter is in the inbox; the wait reads it.
            park.wait(OTHER, None).unwrap();
        })
        .unwrap();
    });
}

#[test]
fn p02_a_yield_inside_of_a_begun_wait_keeps_the_wakeup() {
    guarded(|| {
        run(|| {
            let park = Park::begin().unwrap();
            let ticket = park.ticket();
            let waker = spawn_with_ticket(ticket);
            yield_now();
            assert!(waker.is_finished());
            park.wait(OTHER, None).unwrap();
            assert!(waker.join().unwrap());
        })
        .unwrap();
    });
}

fn spawn_with_ticket(ticket: Ticket) -> cede_fiber::JoinHandle<bool> {
    spawn(move || ticket.wake())
}

/// Two wakers, one wait: exactly one is told that it ended the wait, and the fiber runs once.
#[test]
fn p03_of_two_wakers_one_ends_the_wait() {
    run(|| {
        for _ in 0..rounds(1_000_000) / 100 {
            let park = Park::begin().unwrap();
            let ticket = park.ticket();
            let (a, b) = (spawn_with_ticket(ticket), spawn_with_ticket(ticket));
            park.wait(OTHER, None).unwrap();
            assert_eq!([a.join().unwrap(), b.join().unwrap()], [true, false]);
        }
    })
    .unwrap();
}

/// A million rounds in which two wakers end each wait; a second resume of one suspend would let
/// the count of waits run ahead of that of the rounds.
#[test]
fn p03_one_suspend_one_resume_over_a_million_rounds() {
    run(|| {
        let ticket: Rc<Cell<Option<Ticket>>> = Rc::default();
        let (ended, stop) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        for _ in 0..2 {
            let (ticket, ended, stop) = (Rc::clone(&ticket), Rc::clone(&ended), Rc::clone(&stop));
            spawn(move || {
                while !stop.get() {
                    if ticket.get().is_some_and(Ticket::wake) {
                        ended.set(ended.get() + 1);
                    }
                    yield_now();
                }
            });
        }
        for round in 0..rounds(1_000_000) {
            let park = Park::begin().unwrap();
            ticket.set(Some(park.ticket()));
            park.wait(OTHER, None).unwrap();
            assert_eq!(ended.get(), round + 1);
        }
        stop.set(true);
    })
    .unwrap();
}

#[test]
fn p03_a_hundred_wakeups_of_a_ready_fiber_resume_it_once() {
    run(|| {
        let resumes = Rc::new(Cell::new(0));
        let counted = Rc::clone(&resumes);
        let fiber = spawn(move || {
            while park().is_ok() {
                counted.set(counted.get() + 1);
            }
        });
        yield_now();
        for round in 1..=10 {
            for _ in 0..100 {
                fiber.fiber().wakeup();
            }
            yield_now();
            yield_now();
            assert_eq!(resumes.get(), round);
        }
    })
    .unwrap();
}

#[test]
fn p04_a_stale_ticket_never_ends_a_later_wait() {
    let clock = Virtual::new();
    Runtime::builder()
        .clock(clock)
        .run(|| {
            let stale = Rc::new(RefCell::new(Vec::<Ticket>::new()));
            let seen = Rc::clone(&stale);
            let attacker = spawn(move || {
                loop {
                    for ticket in seen.borrow().iter() {
                        assert!(!ticket.wake(), "a stale ticket said that it ended a wait");
                    }
                    sleep(Duration::from_micros(500))?;
                }
                #[allow(unreachable_code, reason = "gives the closure its type")]
                Ok::<(), std::io::Error>(())
            });
            for round in 0..200 {
                let park = Park::begin().unwrap();
                let ticket = park.ticket();
                if round % 2 == 0 {
                    assert!(ticket.wake());
                    park.wait(OTHER, None).unwrap();
                } else {
                    let error = park.wait(OTHER, Some(0)).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::TimedOut);
                }
                assert!(!ticket.wake());
                stale.borrow_mut().push(ticket);
                // Every kind of wait that a stale ticket could hit.
                let parked = park_timeout(Duration::from_millis(1)).unwrap_err();
                assert_eq!(parked.kind(), ErrorKind::TimedOut);
            }
            attacker.cancel();
            assert!(cede_fiber::is_cancelled(&attacker.join().unwrap().unwrap_err()));
        })
        .unwrap();
}

#[test]
fn p04_a_stale_remote_ticket_never_ends_a_later_wait() {
    guarded(|| {
        run(|| {
            let (tickets, stale) = mpsc::channel::<cede_fiber::RemoteTicket>();
            let thread = std::thread::spawn(move || {
                let mut kept = Vec::new();
                while let Ok(ticket) = stale.recv() {
                    kept.push(ticket);
                    kept.iter().for_each(cede_fiber::RemoteTicket::wake);
                }
            });
            for _ in 0..300 {
                let park = Park::begin().unwrap();
                let ticket = park.remote_ticket();
                ticket.wake();
                park.wait(OTHER, None).unwrap();
                tickets.send(ticket).unwrap();
                let parked = park_timeout(Duration::from_micros(50)).unwrap_err();
                assert_eq!(parked.kind(), ErrorKind::TimedOut);
            }
            drop(tickets);
            thread.join().unwrap();
        })
        .unwrap();
    });
}

/// The ticket of a fiber that has ended, when its slot and stack belong to another one.
#[test]
fn p04_a_ticket_of_a_dead_fiber_does_not_wake_the_heir_of_its_slot() {
    let clock = Virtual::new();
    Runtime::builder()
        .clock(clock)
        .run(|| {
            let dead = spawn(|| {
                let park = Park::begin().unwrap();
                (park.ticket(), park.remote_ticket(), current())
            });
            let (ticket, remote, fiber) = dead.join().unwrap();
            let heir = spawn(|| park_timeout(Duration::from_secs(1)));
            yield_now();
            assert!(!ticket.wake());
            remote.wake();
            fiber.wakeup();
            fiber.cancel();
            assert!(fiber.is_finished());
            let error = heir.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        })
        .unwrap();
}

/// Bug: generations began anew with each runtime, so a ticket of a former runtime of the thread
/// could end a wait of the next one.
#[test]
fn p04_a_ticket_of_a_former_runtime_ends_nothing_in_the_next() {
    let make = || {
        let tickets = || {
            let begun = (0..64).map(|_| Park::begin().unwrap());
            begun.map(|park| (park.ticket(), park.remote_ticket())).collect::<Vec<_>>()
        };
        run(tickets).unwrap()
    };
    let former = make();
    let woken = run(move || {
        let mut woken = 0;
        for _ in 0..64 {
            let park = Park::begin().unwrap();
            woken += former.iter().filter(|(ticket, _)| ticket.wake()).count();
            former.iter().for_each(|(_, remote)| remote.wake());
            assert!(park.wait(OTHER, Some(0)).is_err());
        }
        woken
    });
    assert_eq!(woken.unwrap(), 0);
}

/// Bug: a remote ticket compared the numbers of shards, which are the same in every runtime.
#[test]
fn p04_a_remote_ticket_reaches_its_fiber_from_a_fiber_of_another_runtime() {
    guarded(|| {
        run(|| {
            let park = Park::begin().unwrap();
            let ticket = park.remote_ticket();
            let other = std::thread::spawn(move || run(move || ticket.wake()).unwrap());
            park.wait(OTHER, None).unwrap();
            other.join().unwrap();
        })
        .unwrap();
    });
}

#[test]
fn a_wait_begun_inside_of_another_one_is_a_panic_and_not_a_mix_up() {
    run(|| {
        let outer = Park::begin().unwrap();
        let inner = Park::begin().unwrap();
        let panic = std::panic::catch_unwind(|| outer.wait(OTHER, None)).unwrap_err();
        assert!(panic.downcast_ref::<&str>().unwrap().contains("inside of another"));
        assert!(inner.ticket().wake());
        inner.wait(OTHER, None).unwrap();
    })
    .unwrap();
}

#[test]
fn a_wait_belongs_to_the_fiber_that_began_it() {
    run(|| {
        let park = Park::begin().unwrap();
        let thief = spawn(move || park.wait(OTHER, None));
        assert!(thief.join().unwrap_err().is_panic());
    })
    .unwrap();
}

#[test]
fn waits_outside_of_a_fiber_are_errors() {
    assert!(park().is_err());
    assert!(park_timeout(Duration::ZERO).is_err());
    assert!(sleep(Duration::ZERO).is_err());
    assert!(Park::begin().is_err());
    assert!(cede_fiber::try_current().is_none());
    yield_now();
}
