//! Property 20: sleeps are never early, equal ones end in their order, huge ones never; intervals
//! follow their policies. Most of it on a clock that stands still by itself.

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use cede_fiber::{
    Clock, Interval, MissedTicks, Nanos, Runtime, Virtual, interval, is_cancelled, park_timeout,
    run, sleep, sleep_until, spawn, yield_now,
};
use common::{Random, guarded, rounds};

const MILLI: Duration = Duration::from_millis(1);
const MILLI_NANOS: Nanos = 1_000_000;

fn virtual_run<T>(f: impl FnOnce(Virtual) -> T) -> T {
    let clock = Virtual::new();
    let own = clock.clone();
    Runtime::builder().clock(clock).run(move || f(own)).unwrap()
}

#[test]
fn p20_a_sleep_is_never_early_by_the_real_clock() {
    run(|| {
        let fibers: Vec<_> = (0..200_u64)
            .map(|n| {
                spawn(move || {
                    let (began, asked) = (Instant::now(), Duration::from_micros(n * 37 % 5_000));
                    sleep(asked).unwrap();
                    assert!(began.elapsed() >= asked, "{asked:?} took {:?}", began.elapsed());
                    let at = Instant::now() + asked;
                    sleep_until(at).unwrap();
                    assert!(Instant::now() >= at);
                    let began = Instant::now();
                    assert!(park_timeout(asked).is_err());
                    assert!(began.elapsed() >= asked);
                })
            })
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    })
    .unwrap();
}

/// Random sleeps against a sorted list: by deadline, equal ones by arming, each at its moment.
#[test]
fn p20_random_sleeps_end_in_the_order_of_a_sorted_list() {
    let mut random = Random::new();
    virtual_run(|clock| {
        let ended = Rc::new(RefCell::new(Vec::new()));
        let mut model = Vec::new();
        for n in 0..rounds(100_000) {
            // Every magnitude up to days, and often equal ones.
            let magnitude = 1 << random.below(38);
            let micros = if n % 4 == 0 { 5_000 } else { random.below(magnitude) };
            model.push((micros, n));
            let (ended, clock) = (Rc::clone(&ended), clock.clone());
            spawn(move || {
                let due = clock.now() + micros * 1_000;
                sleep(Duration::from_micros(micros)).unwrap();
                assert!(clock.now() >= due, "early by {} ns", due - clock.now());
                ended.borrow_mut().push((micros, n));
            });
        }
        model.sort_unstable();
        sleep(Duration::from_micros(1 << 39)).unwrap();
        assert_eq!(ended.borrow().len(), model.len());
        assert!(*ended.borrow() == model, "the order differs");
    });
}

#[test]
fn p20_equal_sleeps_end_in_the_order_in_which_they_began() {
    virtual_run(|clock| {
        let ended = Rc::new(RefCell::new(Vec::new()));
        let at = clock.instant(10 * MILLI_NANOS).unwrap();
        for n in 0..1_000 {
            let ended = Rc::clone(&ended);
            spawn(move || {
                sleep_until(at).unwrap();
                ended.borrow_mut().push(n);
            });
            if n % 100 == 0 {
                sleep(Duration::from_micros(100)).unwrap();
            }
        }
        sleep(MILLI * 20).unwrap();
        assert!(ended.borrow().iter().copied().eq(0..1_000));
    });
}

#[test]
fn p20_cancelled_sleeps_leave_the_others_on_time() {
    let mut random = Random::new();
    virtual_run(|clock| {
        let fibers: Vec<_> = (0..rounds(20_000))
            .map(|_| {
                let (micros, clock) = (random.below(1 << 20), clock.clone());
                spawn(move || {
                    let due = clock.now() + micros * 1_000;
                    sleep(Duration::from_micros(micros)).map(|()| clock.now() - due)
                })
            })
            .collect();
        yield_now();
        sleep(MILLI * 300).unwrap();
        let odd: Vec<bool> = fibers.iter().map(|_| random.coin()).collect();
        fibers.iter().zip(&odd).filter(|(_, odd)| **odd).for_each(|(fiber, _)| fiber.cancel());
        for (fiber, odd) in fibers.into_iter().zip(odd) {
            match fiber.join().unwrap() {
                Ok(late) => assert!(late <= 1_024, "{late} ns late, more than a tick"),
                Err(error) => assert!(odd && is_cancelled(&error)),
            }
        }
    });
}

#[test]
fn p20_an_hour_takes_no_time_on_a_virtual_clock() {
    let began = Instant::now();
    virtual_run(|clock| {
        sleep(Duration::from_secs(3_600)).unwrap();
        assert!(clock.now() >= 3_600_000 * MILLI_NANOS);
        // Moved by hand, too.
        let sleeper = spawn(|| sleep(Duration::from_secs(60)));
        yield_now();
        clock.advance(Duration::from_secs(60));
        let moved = clock.now();
        sleeper.join().unwrap().unwrap();
        assert_eq!(clock.now(), moved);
    });
    assert!(began.elapsed() < Duration::from_secs(600));
}

#[test]
fn p20_a_sleep_that_is_over_gives_way_once() {
    virtual_run(|clock| {
        let before = clock.now();
        for past in [
            || sleep(Duration::ZERO),
            || sleep_until(Instant::now().checked_sub(Duration::from_secs(5)).unwrap()),
        ] {
            let other = spawn(|| ());
            past().unwrap();
            assert!(other.is_finished());
        }
        assert_eq!(clock.now(), before);
    });
}

/// When the ticks come of an interval of 10 ms, whose user is busy for so many ms after each.
fn check_ticks(missed: MissedTicks, busy: &[u64], expected: &[(u64, u64)]) {
    virtual_run(|clock| {
        let mut ticks = interval(MILLI * 10).missed_ticks(missed);
        let mut seen = Vec::new();
        for busy in busy {
            let due = ticks.tick().unwrap().duration_since(clock.origin());
            seen.push((due.as_millis() as u64, clock.now() / MILLI_NANOS));
            clock.advance(MILLI * *busy as u32);
        }
        assert_eq!(seen, expected, "{missed:?}: (due at, came at)");
    });
}

#[test]
fn p20_missed_ticks_follow_the_policy() {
    let busy = [0, 35, 0, 0, 0, 0];
    let burst = [(0, 0), (10, 10), (20, 45), (30, 45), (40, 45), (50, 50)];
    check_ticks(MissedTicks::Burst, &busy, &burst);
    // A tick that is missed already when it is asked for still comes; those after it are skipped.
    let skip = [(0, 0), (10, 10), (20, 45), (50, 50), (60, 60), (70, 70)];
    check_ticks(MissedTicks::Skip, &busy, &skip);
    let delay = [(0, 0), (10, 10), (20, 45), (55, 55), (65, 65), (75, 75)];
    check_ticks(MissedTicks::Delay, &busy, &delay);
    let on_time = [(0, 0), (10, 10), (20, 20), (30, 30), (40, 40), (50, 50)];
    for missed in [MissedTicks::Burst, MissedTicks::Skip, MissedTicks::Delay] {
        check_ticks(missed, &[3, 0, 9, 10, 1, 0], &on_time);
    }
}

/// Bug: ticks that had been missed came without a look at the cancel, and without giving way.
#[test]
fn p21_missed_ticks_give_way_and_notice_a_cancel() {
    guarded(|| {
        virtual_run(|clock| {
            let busy = move |mut ticks: Interval| {
                let mut count = 0;
                while count < 10_000 && ticks.tick().is_ok() {
                    // Always late.
                    clock.advance(MILLI * 20);
                    count += 1;
                }
                count
            };
            let fiber = spawn(move || busy(interval(MILLI * 10)));
            for _ in 0..10 {
                // Longer than a yield: until the next look at the clock.
                sleep(Duration::ZERO).unwrap();
            }
            assert!(!fiber.is_finished(), "it kept the shard");
            fiber.cancel();
            assert!(fiber.join().unwrap() < 1_000);
        });
    });
}

#[test]
fn a_tick_that_was_cut_short_is_still_to_come() {
    virtual_run(|clock| {
        let mut ticks = interval(MILLI * 10);
        ticks.tick().unwrap();
        let error = cede_fiber::with_deadline(MILLI, || ticks.tick()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        let due = ticks.tick().unwrap().duration_since(clock.origin());
        assert_eq!(due, MILLI * 10);
    });
}

#[test]
#[should_panic(expected = "must not be zero")]
fn an_interval_of_zero_is_refused() {
    let _ = interval(Duration::ZERO);
}
