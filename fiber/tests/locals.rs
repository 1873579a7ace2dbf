//! Properties 18 and 19: what belongs to a thread stays with the fiber across every wait, and what
//! belongs to a fiber is seen by no other.

mod common;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::thread::ThreadId;
use std::time::Duration;

use cede_fiber::{
    AccessError, Runtime, Virtual, fiber_local, on_large_stack, park, run, scope, sleep, spawn,
    yield_now,
};
use common::{Drops, OnDrop, Random, guarded};

thread_local! {
    static THREAD_CELL: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

fn this_thread() -> ThreadId {
    std::thread::current().id()
}

/// Every way to be resumed, at random, by fibers on two shards that wake each other.
#[test]
fn p18_a_fiber_resumes_on_its_own_thread() {
    guarded(|| {
        let mut random = Random::new();
        let seeds: Vec<u64> = (0..40).map(|_| random.next()).collect();
        let run = Runtime::builder().shards(2).run(move || {
            let shards = cede_fiber::shards();
            let wander = |seed: u64| {
                let (home, local) = (this_thread(), Rc::new(seed));
                for step in 0..50 {
                    match (seed >> (step % 60)) & 7 {
                        0 => yield_now(),
                        1 => sleep(Duration::from_micros(10)).unwrap(),
                        2 => {
                            let me = cede_fiber::current();
                            std::thread::spawn(move || me.wakeup());
                            park().unwrap();
                        }
                        3 => assert_eq!(spawn(this_thread).join().unwrap(), home),
                        4 => scope(|s| assert_eq!(s.spawn(this_thread).join().unwrap(), home)),
                        5 => on_large_stack(|| {
                            yield_now();
                            assert_eq!(this_thread(), home);
                        }),
                        _ => {
                            let all = cede_fiber::shards();
                            let other = &all[1 - cede_fiber::Shard::current().id() as usize];
                            assert_ne!(other.call(this_thread).unwrap(), home);
                        }
                    }
                    assert_eq!(this_thread(), home);
                }
                assert_eq!(Rc::strong_count(&local), 1);
            };
            let fibers: Vec<_> = seeds
                .into_iter()
                .enumerate()
                .map(|(n, seed)| shards[n % 2].spawn(move || wander(seed)).unwrap())
                .collect();
            fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
        });
        run.unwrap();
    });
}

/// A borrow of a thread local across a wait is a conflict that `RefCell` reports, as within one
/// function; it is not undefined, because the fiber comes back to the same thread.
#[test]
fn p19_a_borrow_of_a_thread_local_may_live_across_a_wait() {
    run(|| {
        let holder = spawn(|| {
            THREAD_CELL.with_borrow_mut(|cell| {
                cell.push(1);
                yield_now();
                cell.push(2);
            });
        });
        yield_now();
        assert!(THREAD_CELL.with(|cell| cell.try_borrow().is_err()), "the borrow is still there");
        holder.join().unwrap();
        assert_eq!(THREAD_CELL.take(), [1, 2]);
    })
    .unwrap();
}

#[test]
fn p19_a_refcell_guard_and_a_mutex_guard_live_across_a_park() {
    run(|| {
        let cell = Rc::new(RefCell::new(0));
        let mutex = Rc::new(std::sync::Mutex::new(0));
        let (c, m) = (Rc::clone(&cell), Rc::clone(&mutex));
        let holder = spawn(move || {
            let (mut c, mut m) = (c.borrow_mut(), m.lock().unwrap());
            park().unwrap();
            *c += 1;
            *m += 1;
        });
        yield_now();
        assert!(cell.try_borrow().is_err());
        assert!(mutex.try_lock().is_err());
        holder.fiber().wakeup();
        holder.join().unwrap();
        assert_eq!((*cell.borrow(), *mutex.lock().unwrap()), (1, 1));
    })
    .unwrap();
}

fiber_local! {
    static COUNT: Cell<u32> = Cell::new(0);
    inherit static REQUEST: RefCell<String> = RefCell::new("none".to_string());
}

#[test]
fn a_fiber_local_is_each_fibers_own() {
    run(|| {
        COUNT.with(|c| c.set(100));
        let fibers: Vec<_> = (0..10)
            .map(|n| {
                spawn(move || {
                    for _ in 0..n {
                        COUNT.with(|c| c.set(c.get() + 1));
                        yield_now();
                    }
                    COUNT.with(Cell::get)
                })
            })
            .collect();
        for (n, fiber) in fibers.into_iter().enumerate() {
            assert_eq!(fiber.join().unwrap(), n as u32);
        }
        assert_eq!(COUNT.with(Cell::get), 100);
        assert_eq!(on_large_stack(|| COUNT.with(Cell::get)), 100);
    })
    .unwrap();
}

#[test]
fn an_inherited_local_is_a_clone_and_not_shared() {
    run(|| {
        REQUEST.with(|r| *r.borrow_mut() = "GET /".to_string());
        let child = spawn(|| {
            let seen = REQUEST.with(|r| r.replace("changed by the child".to_string()));
            let grandchild = spawn(|| REQUEST.with(|r| r.borrow().clone())).join().unwrap();
            (seen, grandchild)
        });
        REQUEST.with(|r| *r.borrow_mut() = "changed after the spawn".to_string());
        let (seen, grandchild) = child.join().unwrap();
        assert_eq!(seen, "GET /");
        assert_eq!(grandchild, "changed by the child");
        assert_eq!(REQUEST.with(|r| r.borrow().clone()), "changed after the spawn");
        let on_shard = cede_fiber::Shard::current().spawn(|| REQUEST.with(|r| r.borrow().clone()));
        assert_eq!(on_shard.unwrap().join().unwrap(), "none", "it has no parent");
    })
    .unwrap();
}

#[test]
fn a_fiber_local_outside_of_a_fiber_is_an_error() {
    assert_eq!(COUNT.try_with(Cell::get), Err(AccessError));
    assert!(std::panic::catch_unwind(|| COUNT.set(Cell::new(1))).is_err());
}

#[test]
fn set_drops_the_former_value_and_a_value_in_use_lives_on() {
    fiber_local! { static GUARD: Option<common::DropGuard> = None; }
    let drops = Drops::default();
    run(|| {
        GUARD.set(Some(drops.guard()));
        GUARD.with(|in_use| {
            GUARD.set(Some(drops.guard()));
            assert!(in_use.is_some());
            assert_eq!(drops.dropped(), 0);
        });
        assert_eq!(drops.dropped(), 1);
    })
    .unwrap();
    assert_eq!(drops.dropped(), 2);
}

/// A destructor of a local that sets locals, waits and spawns: it runs in its fiber.
#[test]
fn p24_a_destructor_of_a_local_uses_locals_and_waits() {
    struct Uses(Rc<RefCell<Vec<&'static str>>>);
    impl Drop for Uses {
        fn drop(&mut self) {
            self.0.borrow_mut().push("began");
            COUNT.with(|c| c.set(c.get() + 1));
            assert_eq!(COUNT.with(Cell::get), 1, "the former value is gone already");
            sleep(Duration::from_micros(10)).unwrap();
            assert_eq!(spawn(|| 3).join().unwrap(), 3);
            self.0.borrow_mut().push("ended");
        }
    }
    fiber_local! { static USES: Option<Uses> = None; }
    run(|| {
        let log = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&log);
        spawn(move || {
            COUNT.with(|c| c.set(7));
            USES.set(Some(Uses(kept)));
        })
        .join()
        .unwrap();
        assert_eq!(*log.borrow(), ["began", "ended"]);
    })
    .unwrap();
}

/// A destructor that sets its own local again and again does not keep its fiber for ever.
#[test]
fn p24_destructors_of_locals_that_set_locals_come_to_an_end() {
    struct Again(Rc<Cell<u32>>);
    impl Drop for Again {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            // Outside of the fiber, when it is gone, there is nothing to set.
            if cede_fiber::try_current().is_some() {
                AGAIN.set(Some(Again(Rc::clone(&self.0))));
            }
        }
    }
    fiber_local! { static AGAIN: Option<Again> = None; }
    run(|| {
        let count = Rc::new(Cell::new(0));
        let kept = Rc::clone(&count);
        spawn(move || AGAIN.set(Some(Again(kept)))).join().unwrap();
        assert!((1..100).contains(&count.get()), "{}", count.get());
    })
    .unwrap();
}

/// Bug: a result that is dropped at the end of its fiber may set locals when they have been
/// dropped already; their panics reached the scheduler.
#[test]
fn p24_a_local_set_by_the_destructor_of_the_result_harms_nobody() {
    fiber_local! { static LATE: Option<OnDrop<fn()>> = None; }
    run(|| {
        drop(spawn(|| {
            OnDrop::new(|| LATE.set(Some(OnDrop::new(|| panic!("a late local panics")))))
        }));
        yield_now();
        assert_eq!(spawn(|| 1).join().unwrap(), 1);
    })
    .unwrap();
}

/// Bug: the inherited locals were cloned when the child was in the run queue already. A clone that
/// gave up control let the child run to its end, and its freed record was written to.
#[test]
fn p24_the_clone_of_an_inherited_local_may_wait() {
    struct Yields;
    impl Clone for Yields {
        fn clone(&self) -> Self {
            yield_now();
            sleep(Duration::from_secs(1)).unwrap();
            Self
        }
    }
    fiber_local! {
        inherit static YIELDS: Option<Yields> = None;
        inherit static NUMBER: u32 = 0;
    }
    Runtime::builder()
        .clock(Virtual::new())
        .run(|| {
            YIELDS.set(Some(Yields));
            NUMBER.set(5);
            for _ in 0..20 {
                // Others run while the clone waits, and use up the stacks.
                let others: Vec<_> = (0..8).map(|_| spawn_plain(yield_now)).collect();
                let child = spawn(|| (YIELDS.with(Option::is_some), NUMBER.with(|n| *n)));
                assert_eq!(child.join().unwrap(), (true, 5));
                others.into_iter().for_each(|other| other.join().unwrap());
            }
        })
        .unwrap();
}

/// A fiber whose parent has nothing to inherit.
fn spawn_plain(f: impl FnOnce() + Send + 'static) -> cede_fiber::RemoteJoinHandle<()> {
    cede_fiber::Shard::current().spawn(f).unwrap()
}

#[test]
fn p24_the_clone_of_an_inherited_local_may_panic() {
    struct Panics;
    impl Clone for Panics {
        fn clone(&self) -> Self {
            panic!("no clone today");
        }
    }
    fiber_local! { inherit static PANICS: Option<Panics> = None; }
    run(|| {
        PANICS.set(Some(Panics));
        let ran = Rc::new(Cell::new(false));
        let flag = Rc::clone(&ran);
        let spawned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            spawn(move || flag.set(true));
        }));
        assert!(spawned.is_err());
        yield_now();
        assert!(!ran.get(), "a spawn that panicked has made no fiber");
        assert_eq!(Rc::strong_count(&ran), 1);
        PANICS.set(None);
        assert_eq!(spawn(|| 1).join().unwrap(), 1);
    })
    .unwrap();
}

/// Bug: the locals of a fiber that never ran were dropped by the scheduler outside of any catch.
#[test]
fn p24_inherited_locals_of_a_fiber_that_never_ran_are_dropped_quietly() {
    #[derive(Clone)]
    struct Panics(Rc<Cell<u32>>);
    impl Drop for Panics {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            if cede_fiber::try_current().is_none() {
                panic!("a local of a fiber that never ran");
            }
        }
    }
    fiber_local! { inherit static PANICS: Option<Panics> = None; }
    let drops = Rc::new(Cell::new(0));
    let kept = Rc::clone(&drops);
    let value = Runtime::builder()
        .shutdown_grace(Duration::ZERO)
        .run(move || {
            // It keeps the shard busy until the grace is over, so the child's turn never comes.
            PANICS.set(Some(Panics(kept)));
            for _ in 0..1_000 {
                spawn(|| ());
            }
            1
        })
        .unwrap();
    assert_eq!(value, 1);
    assert_eq!(drops.get(), 1_001);
}

/// Bug: there were two entries of the key, and a `set` replaced the first one only.
#[test]
fn an_initialiser_that_sets_its_own_local_left_two_values() {
    struct Counted(u32, Rc<Cell<u32>>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.set(self.1.get() + 1);
        }
    }
    thread_local! {
        static DROPS: Rc<Cell<u32>> = Rc::default();
    }
    fn counted(number: u32) -> Counted {
        Counted(number, DROPS.with(Rc::clone))
    }
    fiber_local! {
        static ODD: Counted = {
            ODD.set(counted(1));
            counted(2)
        };
    }
    run(|| {
        let drops = DROPS.with(Rc::clone);
        // What the initialiser gives is the last word.
        assert_eq!(ODD.with(|value| value.0), 2);
        assert_eq!(drops.get(), 1);
        ODD.set(counted(3));
        assert_eq!(ODD.with(|value| value.0), 3);
        assert_eq!(drops.get(), 2);
    })
    .unwrap();
}

/// Fails to compile for a type that is `Send`: then two traits fit.
macro_rules! assert_not_send {
    ($($type:ty),* $(,)?) => {{
        trait OneFits<A> {
            fn fits() {}
        }
        struct Sends;
        impl<T: ?Sized> OneFits<()> for T {}
        impl<T: ?Sized + Send> OneFits<Sends> for T {}
        $(<$type as OneFits<_>>::fits();)*
    }};
}

#[test]
fn p18_what_belongs_to_a_shard_cannot_leave_its_thread() {
    use cede_fiber::sync::local;
    use cede_fiber::{JoinHandle, Park, ScopedJoinHandle, Ticket, net};
    assert_not_send!(
        JoinHandle<()>,
        ScopedJoinHandle<'static, ()>,
        Park,
        Ticket,
        net::TcpListener,
        net::TcpStream,
        net::UdpSocket,
        net::UnixDatagram,
        net::UnixListener,
        net::UnixStream,
        local::Mutex<()>,
        local::MutexGuard<'static, ()>,
        local::mpsc::Receiver<()>,
        local::mpsc::Sender<()>,
        local::oneshot::Receiver<()>,
    );
}

/// What std's `LocalKey` has for cells.
#[test]
fn cells_in_fiber_locals_are_used_as_in_thread_locals() {
    fiber_local! {
        static COUNT: Cell<u32> = const { Cell::new(1) };
        static WORDS: RefCell<Vec<&'static str>> = RefCell::new(vec!["first"]);
    }
    run(|| {
        COUNT.with(|count| count.set(2));
        assert_eq!((COUNT.get(), COUNT.replace(5), COUNT.take(), COUNT.get()), (2, 2, 5, 0));
        WORDS.with_borrow_mut(|words| words.push("second"));
        let others = spawn(|| WORDS.with_borrow(Vec::len));
        assert_eq!(others.join().unwrap(), 1, "a fiber of its own");
        assert_eq!(WORDS.replace(Vec::new()), ["first", "second"]);
        assert!(WORDS.take().is_empty());
    })
    .unwrap();
}
