//! Properties 7, 16 and 23: a runtime that ends cancels, waits, then unwinds, children first; what
//! catches the unwinding ends too; who wakes meanwhile from outside does no harm.

mod common;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use cede_fiber::{
    Builder, Runtime, RuntimeBuilder, Shard, Virtual, is_cancelled, on_large_stack, park, run,
    shield, sleep, spawn, yield_now,
};
use common::{DropGuard, Drops, OnDrop, guarded, rounds};

fn short_grace() -> RuntimeBuilder {
    Runtime::builder().shutdown_grace(Duration::from_millis(20))
}

#[test]
fn p23_fibers_are_cancelled_and_get_time_to_finish() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&log);
    Runtime::builder()
        .clock(Virtual::new())
        .run(move || {
            spawn(move || {
                assert!(is_cancelled(&park().unwrap_err()));
                kept.borrow_mut().push("cancelled");
                shield(|| sleep(Duration::from_secs(1))).unwrap();
                kept.borrow_mut().push("finished");
            });
            yield_now();
        })
        .unwrap();
    assert_eq!(*log.borrow(), ["cancelled", "finished"]);
}

#[test]
fn p23_a_fiber_that_takes_too_long_is_unwound() {
    let drops = Drops::default();
    let guard = drops.guard();
    let reached = Rc::new(Cell::new(false));
    let flag = Rc::clone(&reached);
    short_grace()
        .run(move || {
            spawn(move || {
                let _guard = guard;
                let _ = shield(park);
                flag.set(true);
            });
            yield_now();
        })
        .unwrap();
    assert_eq!(drops.dropped(), 1);
    assert!(!reached.get(), "it was unwound and did not return from its wait");
}

#[test]
fn p23_new_work_is_refused() {
    let checked = Rc::new(Cell::new(false));
    let flag = Rc::clone(&checked);
    let shard = run(move || {
        spawn(move || {
            let _ = park();
            assert!(Builder::new().spawn(|| ()).is_err());
            let refused = spawn(|| ());
            assert!(refused.is_finished());
            refused.fiber().wakeup();
            refused.cancel();
            assert!(refused.join().unwrap_err().is_shutdown());
            let sent = Shard::current().spawn(|| ()).unwrap();
            let error = shield(|| sent.join()).unwrap_err();
            assert!(error.is_shutdown(), "{error}");
            flag.set(true);
        });
        yield_now();
        Shard::current()
    })
    .unwrap();
    assert!(checked.get());
    assert!(shard.spawn(|| ()).is_err(), "the shard is gone");
    assert!(shard.call(|| ()).is_err());
}

#[test]
fn p23_the_youngest_is_unwound_first() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&log);
    short_grace()
        .run(move || {
            fn nest(depth: u32, log: Rc<RefCell<Vec<u32>>>) {
                let kept = Rc::clone(&log);
                spawn(move || {
                    let _late = OnDrop::new(|| log.borrow_mut().push(depth));
                    if depth > 0 {
                        nest(depth - 1, Rc::clone(&log));
                    }
                    let _ = shield(park);
                });
                drop(kept);
            }
            nest(5, kept);
            for _ in 0..10 {
                yield_now();
            }
        })
        .unwrap();
    assert_eq!(*log.borrow(), [0, 1, 2, 3, 4, 5]);
}

/// Every state in which a shutdown may find a fiber; each holds a guard that must be dropped.
#[test]
fn p17_fibers_are_dropped_in_every_state() {
    let drops = Drops::default();
    short_grace()
        .run(|| {
            let keep = |f: fn(DropGuard)| {
                let guard = drops.guard();
                spawn(move || f(guard))
            };
            let done = keep(drop);
            keep(|_guard| drop(shield(park)));
            keep(|_guard| drop(shield(|| sleep(Duration::from_secs(3600)))));
            keep(|_guard| {
                loop {
                    yield_now();
                }
            });
            keep(|_guard| drop(on_large_stack(|| shield(park))));
            keep(|guard| {
                on_large_stack(move || {
                    on_large_stack(move || {
                        let _guard = guard;
                        let _ = shield(park);
                    });
                });
            });
            keep(|guard| {
                cede_fiber::scope(|s| {
                    s.spawn(|| {
                        let _inner = &guard;
                        drop(shield(park));
                    });
                });
            });
            keep(|_guard| drop(spawn(|| shield(park)).join()));
            keep(|_guard| {
                let listener = cede_fiber::net::TcpListener::bind("127.0.0.1:0").unwrap();
                drop(shield(|| listener.accept()));
            });
            keep(|_guard| drop(cede_fiber::with_deadline(Duration::from_secs(9), || shield(park))));
            keep(|_guard| drop(park()));
            keep(|_guard| panic!("done by a panic"));
            yield_now();
            assert!(done.is_finished());
            for _ in 0..2_000 {
                // The first batch of these runs before the shutdown is noticed.
                keep(|_guard| drop(shield(park)));
            }
        })
        .unwrap();
    assert_eq!(drops.made(), 2_012);
    assert_eq!(drops.dropped(), drops.made());
}

#[test]
fn p17_a_fiber_that_never_ran_drops_its_closure_and_says_so() {
    let drops = Drops::default();
    let handles = Runtime::builder()
        .shutdown_grace(Duration::ZERO)
        .run(|| {
            let spawn_one = |_| {
                let guard = drops.guard();
                spawn(move || drop(guard))
            };
            (0..500).map(spawn_one).collect::<Vec<_>>()
        })
        .unwrap();
    assert_eq!(drops.dropped(), 500);
    let never_ran = handles.into_iter().filter_map(|handle| handle.join().err());
    let never_ran: Vec<_> = never_ran.collect();
    assert!(!never_ran.is_empty(), "the shutdown left time for all");
    assert!(never_ran.iter().all(cede_fiber::JoinError::is_shutdown));
}

/// Corosensei's own unwinding could be swallowed by a loop; ours must end, and harm nobody else.
#[test]
fn p16_a_fiber_that_catches_every_unwinding_is_left_alone_in_the_end() {
    guarded(|| {
        let (caught, other) = (Arc::new(AtomicUsize::new(0)), Drops::default());
        let (count, guard) = (Arc::clone(&caught), other.guard());
        short_grace()
            .run(move || {
                spawn(move || {
                    let _guard = guard;
                    let _ = shield(park);
                });
                spawn(move || {
                    loop {
                        let waited = catch_unwind(AssertUnwindSafe(|| shield(park)));
                        count.fetch_add(usize::from(waited.is_err()), Ordering::SeqCst);
                    }
                });
                yield_now();
            })
            .unwrap();
        assert_eq!(other.dropped(), 1);
        assert!(caught.load(Ordering::SeqCst) >= 2, "it was tried more than once");
    });
}

/// Its place in a queue stays for ever: who takes it out later, here in another runtime of the same
/// thread, must not wake what is no fiber any more.
#[test]
fn p16_a_fiber_that_was_left_alone_is_not_woken_by_what_it_waited_for() {
    guarded(|| {
        let (shared, shared_end) = cede_fiber::sync::mpsc::sync_channel(1);
        let (local, local_end) = cede_fiber::sync::local::mpsc::sync_channel(1);
        short_grace()
            .run(move || {
                spawn(move || {
                    loop {
                        let _ = catch_unwind(AssertUnwindSafe(|| shield(|| shared_end.recv())));
                    }
                });
                spawn(move || {
                    loop {
                        let _ = catch_unwind(AssertUnwindSafe(|| shield(|| local_end.recv())));
                    }
                });
                yield_now();
            })
            .unwrap();
        let next = cede_fiber::run(move || {
            // The first of each goes to the one that is no more, the second into the buffer.
            for number in 0..2 {
                shared.send(number).unwrap();
                local.send(number).unwrap();
                yield_now();
            }
            assert!(shared.try_send(2).is_err() && local.try_send(2).is_err());
            spawn(|| 5).join().unwrap()
        });
        assert_eq!(next.unwrap(), 5);
    });
}

/// Bug: what such a fiber had borrowed went all the same. It never runs again, but threads may have
/// borrowed through it. The process ends instead.
#[test]
fn p16_a_fiber_that_borrows_and_catches_every_unwinding_aborts() {
    const CHILD: &str = "CEDE_TEST_STUBBORN";
    let stubborn = || {
        loop {
            let _ = catch_unwind(AssertUnwindSafe(|| shield(park)));
        }
    };
    match std::env::var(CHILD).as_deref() {
        Ok("scope") => {
            let run = short_grace().run(|| {
                spawn(move || cede_fiber::scope(|s| drop(s.spawn(stubborn))));
                yield_now();
                yield_now();
            });
            run.unwrap();
        }
        Ok("main") => {
            let run: Result<(), _> = short_grace().external_wakes(false).run(stubborn);
            run.unwrap();
        }
        _ => {
            for case in ["scope", "main"] {
                let name = "p16_a_fiber_that_borrows_and_catches_every_unwinding_aborts";
                let output = std::process::Command::new(std::env::current_exe().unwrap())
                    .args([name, "--exact", "--nocapture"])
                    .env(CHILD, case)
                    .output()
                    .unwrap();
                let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
                assert_eq!(signal, Some(6), "{case}: {output:?}");
                let text = String::from_utf8_lossy(&output.stderr);
                assert!(text.contains("catches every unwinding: aborting"), "{case}: {text}");
            }
        }
    }
}

#[test]
fn p16_loops_of_every_kind_do_not_hang_the_shutdown() {
    fn catch(f: impl FnOnce()) {
        let _ = catch_unwind(AssertUnwindSafe(f));
    }
    guarded(|| {
        short_grace()
            .run(|| {
                spawn(|| while park().is_err() {});
                spawn(|| while sleep(Duration::from_millis(1)).is_err() {});
                spawn(|| {
                    loop {
                        catch(|| drop(park()));
                    }
                });
                spawn(|| {
                    loop {
                        catch(yield_now);
                    }
                });
                spawn(|| {
                    loop {
                        on_large_stack(|| catch(|| drop(shield(park))));
                    }
                });
                spawn(|| {
                    loop {
                        catch(|| cede_fiber::scope(|s| drop(s.spawn(|| shield(park)))));
                        catch(yield_now);
                    }
                });
                let listener = cede_fiber::net::TcpListener::bind("127.0.0.1:0").unwrap();
                spawn(move || {
                    loop {
                        let _ = listener.accept();
                    }
                });
                for _ in 0..5 {
                    yield_now();
                }
            })
            .unwrap();
    });
}

/// Bug: time stands still while a fiber yields, so the grace never ended.
#[test]
fn p16_a_fiber_that_yields_for_ever_ends_with_a_virtual_clock_too() {
    guarded(|| {
        short_grace()
            .clock(Virtual::new())
            .run(|| {
                spawn(|| {
                    loop {
                        yield_now();
                    }
                });
                yield_now();
            })
            .unwrap();
    });
}

#[test]
fn p16_an_unwinding_caught_once_may_clean_up_and_return() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&log);
    let handle = short_grace()
        .run(move || {
            let handle = spawn(move || {
                let caught = catch_unwind(AssertUnwindSafe(|| shield(park))).is_err();
                kept.borrow_mut().push(caught);
                5
            });
            yield_now();
            handle
        })
        .unwrap();
    assert_eq!(*log.borrow(), [true]);
    assert_eq!(handle.join().unwrap(), 5);
}

#[test]
fn p16_a_rethrown_unwinding_is_a_shutdown_and_not_a_panic() {
    let handle = short_grace()
        .run(|| {
            let handle = spawn(|| {
                let caught = catch_unwind(AssertUnwindSafe(|| shield(park)));
                std::panic::resume_unwind(caught.unwrap_err());
            });
            yield_now();
            handle
        })
        .unwrap();
    let error: cede_fiber::JoinError = handle.join().unwrap_err();
    assert!(error.is_shutdown() && !error.is_panic());
}

/// Destructors that do everything while their fiber is unwound.
#[test]
fn p24_destructors_may_do_anything_while_the_shutdown_unwinds() {
    let drops = Drops::default();
    short_grace()
        .run(|| {
            let peer = spawn(|| shield(park));
            let (handle, remote) = (peer.fiber(), Shard::current());
            for way in 0..9 {
                let (guard, handle, remote) = (drops.guard(), handle.clone(), remote.clone());
                spawn(move || {
                    let _late = OnDrop::new(move || {
                        let _guard = guard;
                        assert!(std::thread::panicking());
                        match way {
                            0 => assert!(spawn(|| ()).join().unwrap_err().is_shutdown()),
                            1 => assert!(park().is_err()),
                            2 => assert!(sleep(Duration::from_millis(1)).is_err()),
                            3 => handle.wakeup(),
                            4 => handle.cancel(),
                            5 => yield_now(),
                            6 => drop(remote.spawn(|| ())),
                            7 => drop(catch_unwind(|| panic!("inside of the unwinding"))),
                            _ => assert!(cede_fiber::fibers().len() > 1),
                        }
                    });
                    let _ = shield(park);
                });
            }
            yield_now();
        })
        .unwrap();
    assert_eq!(drops.dropped(), 9);
}

#[test]
fn p24_a_destructor_that_panics_in_the_unwinding_ends_only_its_fiber() {
    let drops = Drops::default();
    let handle = short_grace()
        .run(|| {
            let guards = (drops.guard(), drops.guard());
            let handle = spawn(move || {
                let _first = guards.0;
                let caught = catch_unwind(AssertUnwindSafe(|| shield(park)));
                assert!(caught.is_err());
                panic!("instead of the unwinding");
            });
            spawn(move || {
                let _second = guards.1;
                let _ = shield(park);
            });
            yield_now();
            handle
        })
        .unwrap();
    assert_eq!(drops.dropped(), 2);
    assert!(handle.join().unwrap_err().is_panic());
}

/// Bug: what a closure captured was dropped by the scheduler outside of any catch when its shard
/// took no new work any more; a panic unwound the scheduler.
#[test]
fn p24_a_refused_task_whose_destructor_panics_harms_nobody() {
    let drops = Drops::default();
    let value = run(|| {
        let (guard, shard) = (drops.guard(), Shard::current());
        spawn(move || {
            let _guard = guard;
            let _ = park();
            // One that is received in the shutdown, and one that stays in the inbox.
            drop(shard.spawn(panics_when_dropped()));
            yield_now();
            let _last = OnDrop::new(move || drop(shard.spawn(panics_when_dropped())));
        });
        yield_now();
        5
    });
    assert_eq!(value.unwrap(), 5);
    assert_eq!(drops.dropped(), 1);
}

fn panics_when_dropped() -> impl FnOnce() + Send {
    let late = OnDrop::new(|| panic!("dropped unrun"));
    move || drop(late)
}

/// 8 foreign threads wake, cancel and send while runtimes end under them.
#[test]
fn p07_wakes_from_eight_threads_while_shutting_down() {
    guarded(|| {
        for _ in 0..rounds(400) {
            let (stop, woken) = (Arc::new(AtomicBool::new(false)), Drops::default());
            let (flag, guards) = (Arc::clone(&stop), woken.clone());
            let threads: Vec<_> = run(move || {
                let handles: Vec<_> = (0..4)
                    .map(|_| {
                        let guard = guards.guard();
                        let fiber = spawn(move || {
                            let _guard = guard;
                            while park().is_ok() {}
                        });
                        fiber.fiber()
                    })
                    .collect();
                let shard = Shard::current();
                let spawn_thread = |n: usize| {
                    let (handles, stop) = (handles.clone(), Arc::clone(&flag));
                    let shard = shard.clone();
                    std::thread::spawn(move || {
                        let mut turns = 0;
                        while !stop.load(Ordering::Relaxed) {
                            turns += 1;
                            match n {
                                0 if turns < 100 => drop(shard.spawn(|| ())),
                                1 if turns > 100 => {
                                    handles.iter().for_each(cede_fiber::Fiber::cancel);
                                }
                                _ => handles.iter().for_each(cede_fiber::Fiber::wakeup),
                            }
                            std::thread::yield_now();
                        }
                    })
                };
                let threads = (0..8).map(spawn_thread).collect();
                yield_now();
                threads
            })
            .unwrap();
            assert_eq!(woken.dropped(), 4);
            stop.store(true, Ordering::Relaxed);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
    });
}
