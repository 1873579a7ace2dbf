//! Pools of connections that are numbers.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cede_fiber::{sleep, spawn, yield_now};

use super::*;

/// Makes numbers, and breaks them when told to.
#[derive(Default)]
struct Numbers {
    made: Cell<u32>,
    open: Rc<Cell<i32>>,
    most: Cell<i32>,
    fails: Cell<bool>,
    is_dead: Cell<bool>,
    delay: Cell<Duration>,
}

struct Number {
    number: u32,
    is_broken: Cell<bool>,
    open: Rc<Cell<i32>>,
}

impl Drop for Number {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

impl Manage for Rc<Numbers> {
    type Connection = Number;
    type Error = String;

    fn connect(&self) -> Result<Number, String> {
        self.open.set(self.open.get() + 1);
        self.most.set(self.most.get().max(self.open.get()));
        let number = Number {
            number: self.made.get(),
            is_broken: Cell::new(false),
            open: self.open.clone(),
        };
        self.made.set(number.number + 1);
        sleep(self.delay.get()).map_err(|error| error.to_string())?;
        if self.fails.get() { Err("refused".into()) } else { Ok(number) }
    }

    fn is_usable(&self, number: &Number) -> bool {
        !number.is_broken.get()
    }

    fn check(&self, _: &Number) -> Result<(), String> {
        sleep(self.delay.get()).map_err(|error| error.to_string())?;
        if self.is_dead.get() { Err("dead".into()) } else { Ok(()) }
    }

    fn refused(&self, refusal: Refusal) -> String {
        refusal.to_string()
    }
}

fn pool(settings: PoolSettings) -> (Pool<Rc<Numbers>>, Rc<Numbers>) {
    let numbers = Rc::new(Numbers::default());
    (Pool::new(Rc::clone(&numbers), settings), numbers)
}

fn settings(size_max: usize) -> PoolSettings {
    PoolSettings::new().size_max(size_max)
}

fn run(f: impl FnOnce() + Send + 'static) {
    cede_fiber::run(f).unwrap();
}

#[test]
fn what_comes_back_is_lent_again_the_last_one_first() {
    run(|| {
        let (pool, _) = pool(settings(3));
        let (a, b) = (pool.get().unwrap(), pool.get().unwrap());
        assert_eq!((a.number, b.number), (0, 1));
        let metrics = pool.metrics();
        assert_eq!((metrics.size, metrics.lent, metrics.idle), (2, 2, 0));
        drop(a);
        drop(b);
        assert_eq!(pool.get().unwrap().number, 1);
        let metrics = pool.metrics();
        assert_eq!((metrics.size, metrics.lent, metrics.idle, metrics.connects), (2, 0, 2, 2));
    });
}

#[test]
fn a_storm_opens_no_more_than_the_limit_and_is_served_in_order() {
    run(|| {
        let (pool, numbers) = pool(settings(3));
        numbers.delay.set(Duration::from_millis(1));
        let served = Rc::new(RefCell::new(Vec::new()));
        let fibers: Vec<_> = (0..200)
            .map(|i| {
                let (pool, served) = (pool.clone(), Rc::clone(&served));
                spawn(move || {
                    let lent = pool.get().unwrap();
                    served.borrow_mut().push(i);
                    yield_now();
                    drop(lent);
                })
            })
            .collect();
        yield_now();
        let metrics = pool.metrics();
        assert_eq!((metrics.connecting, metrics.waiting, metrics.size), (3, 197, 3));
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
        // The first three did not wait for one another.
        assert!(served.borrow().iter().filter(|i| **i >= 3).is_sorted());
        assert_eq!((numbers.made.get(), numbers.most.get()), (3, 3));
        let metrics = pool.metrics();
        assert_eq!((metrics.waits, metrics.waiting, metrics.idle), (197, 0, 3));
        assert!(metrics.wait_max >= Duration::from_millis(1));
        assert!(metrics.wait_total >= metrics.wait_max);
    });
}

#[test]
fn a_failure_to_connect_is_one_fibers_only() {
    run(|| {
        let (pool, numbers) = pool(settings(1));
        numbers.fails.set(true);
        numbers.delay.set(Duration::from_millis(1));
        let (first, second) = (pool.clone(), pool.clone());
        let there = Rc::clone(&numbers);
        let first = spawn(move || {
            let failed = first.get().map(|lent| lent.number);
            there.fails.set(false);
            failed
        });
        let second = spawn(move || second.get().map(|lent| lent.number));
        assert_eq!(first.join().unwrap(), Err("refused".into()));
        assert_eq!(second.join().unwrap(), Ok(1));
        let metrics = pool.metrics();
        assert_eq!((metrics.connect_failures, metrics.connects, metrics.size), (1, 1, 1));
        assert_eq!(numbers.open.get(), 1);
    });
}

#[test]
fn who_waits_too_long_or_is_one_too_many_gets_an_error() {
    run(|| {
        let time = Duration::from_millis(10);
        let (pool, _) = pool(settings(1).wait_timeout(Some(time)).waiters_max(1));
        let lent = pool.get().unwrap();
        let there = pool.clone();
        let waiter = spawn(move || there.get().map(|lent| lent.number));
        yield_now();
        assert!(pool.get().map(|_| ()).unwrap_err().contains("1 fibers wait"));
        assert!(waiter.join().unwrap().unwrap_err().contains("10ms"));
        let metrics = pool.metrics();
        assert_eq!((metrics.timeouts, metrics.refused, metrics.waiting), (1, 1, 0));
        // The fiber's own deadline is another error.
        let error = cede_fiber::with_deadline(Duration::from_millis(1), || pool.get().map(|_| ()));
        assert_eq!(error.unwrap_err(), io::Error::from(io::ErrorKind::TimedOut).to_string());
        let there = pool.clone();
        let waiter = spawn(move || there.get().map(|lent| lent.number));
        yield_now();
        waiter.cancel();
        assert!(waiter.join().unwrap().unwrap_err().contains("cancelled"));
        // Nobody who has left is waited for.
        drop(lent);
        assert_eq!(pool.get().unwrap().number, 0);
    });
}

#[test]
fn a_panic_gives_back_and_what_is_broken_is_closed() {
    run(|| {
        let (pool, numbers) = pool(settings(1));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _lent = pool.get().unwrap();
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
        let lent = pool.get().unwrap();
        assert_eq!(lent.number, 0);
        lent.is_broken.set(true);
        drop(lent);
        assert_eq!(numbers.open.get(), 0);
        assert_eq!(pool.get().unwrap().number, 1);
        assert_eq!(pool.metrics().closed_broken, 1);
        // One that broke while it was idle.
        pool.0.idle.borrow()[0].connection.is_broken.set(true);
        assert_eq!(pool.get().unwrap().number, 2);
        assert_eq!(pool.metrics().closed_for_health, 1);
        let detached = pool.get().unwrap().detach();
        assert_eq!(pool.metrics().size, 0);
        assert_eq!(pool.get().unwrap().number, 3);
        drop(detached);
    });
}

#[test]
fn one_that_was_idle_is_asked_whether_it_is_alive() {
    run(|| {
        let (pool, numbers) = pool(settings(2).check_after(Some(Duration::ZERO)));
        drop(pool.get().unwrap());
        assert_eq!(pool.get().unwrap().number, 0);
        numbers.is_dead.set(true);
        assert_eq!(pool.get().unwrap().number, 1);
        assert_eq!(pool.metrics().closed_for_health, 1);
    });
}

#[test]
fn old_and_idle_ones_are_closed_and_the_least_number_is_kept() {
    run(|| {
        let time = Some(Duration::from_millis(20));
        let (kept, numbers) = pool(settings(5).idle_min(2).idle_time_max(time));
        while kept.metrics().idle < 2 {
            sleep(Duration::from_millis(1)).unwrap();
        }
        let lent: Vec<_> = (0..5).map(|_| kept.get().unwrap()).collect();
        drop(lent);
        assert_eq!(kept.metrics().idle, 5);
        while numbers.open.get() > 2 {
            sleep(Duration::from_millis(1)).unwrap();
        }
        assert_eq!((kept.metrics().idle, kept.metrics().closed_for_idleness), (2, 3));
        drop(kept);
        assert_eq!(numbers.open.get(), 0);

        let (aging, numbers) = pool(settings(1).lifetime_max(time));
        let lent = aging.get().unwrap();
        sleep(Duration::from_millis(25)).unwrap();
        drop(lent);
        assert_eq!((numbers.open.get(), aging.metrics().closed_for_age), (0, 1));
        drop(aging.get().unwrap());
        while numbers.open.get() > 0 {
            sleep(Duration::from_millis(1)).unwrap();
        }
        assert_eq!(aging.metrics().closed_for_age, 2);
    });
}

#[test]
fn a_pool_that_is_closed_lends_nothing_and_keeps_nothing() {
    run(|| {
        let (pool, numbers) = pool(settings(2));
        let (a, b) = (pool.get().unwrap(), pool.get().unwrap());
        drop(a);
        let c = pool.get().unwrap();
        let there = pool.clone();
        let waiter = spawn(move || there.get().map(|lent| lent.number));
        yield_now();
        pool.close();
        assert!(waiter.join().unwrap().unwrap_err().contains("closed"));
        assert!(pool.get().map(|_| ()).unwrap_err().contains("closed"));
        drop((b, c));
        assert_eq!(numbers.open.get(), 0);
    });
}

#[test]
fn a_fiber_that_is_cancelled_while_it_connects_leaves_its_place() {
    run(|| {
        let (pool, numbers) = pool(settings(1));
        numbers.delay.set(Duration::from_secs(3600));
        let there = pool.clone();
        let fiber = spawn(move || there.get().map(|lent| lent.number));
        yield_now();
        fiber.cancel();
        assert!(fiber.join().unwrap().is_err());
        numbers.delay.set(Duration::ZERO);
        assert_eq!(pool.get().unwrap().number, 1);
    });
}

#[test]
fn a_fiber_that_is_given_up_while_it_asks_closes_nothing() {
    run(|| {
        let (pool, numbers) = pool(settings(3).check_after(Some(Duration::ZERO)));
        drop((pool.get().unwrap(), pool.get().unwrap(), pool.get().unwrap()));
        numbers.delay.set(Duration::from_secs(3600));
        let time = Duration::from_millis(5);
        let late = cede_fiber::with_deadline(time, || pool.get().map(|_| ()));
        assert_eq!(late.unwrap_err(), io::Error::from(io::ErrorKind::TimedOut).to_string());
        let there = pool.clone();
        let fiber = spawn(move || there.get().map(|_| ()));
        yield_now();
        fiber.cancel();
        assert!(fiber.join().unwrap().unwrap_err().contains("cancelled"));
        let metrics = pool.metrics();
        assert_eq!((metrics.idle, metrics.lent, metrics.closed_for_health), (3, 0, 0));
    });
}
