//! The wheel against a sorted list, which is what it must behave like.

use proptest::prelude::*;

use super::*;

const TICK: Nanos = 1 << TICK_BITS;

fn fired(timers: &mut Timers<u32>, now: Nanos) -> Vec<u32> {
    let mut out = Vec::new();
    timers.advance(now, |payload| out.push(payload));
    out
}

/// Property 20 of the runtime: never early.
#[test]
fn p20_never_early_at_any_level() {
    for level in 0..LEVELS as u32 {
        let deadline = (TICK << (SLOT_BITS * level)).saturating_mul(3).saturating_add(1);
        let mut timers = Timers::new();
        timers.insert(deadline, 1);
        assert_eq!(fired(&mut timers, deadline - 1), [0u32; 0], "level {level}");
        assert_eq!(fired(&mut timers, deadline + TICK), [1], "level {level}");
    }
}

/// Property 20: equal deadlines fire in the order of arming, wherever time stood when each was
/// armed.
#[test]
fn p20_equal_deadlines_are_first_in_first_out() {
    let deadline = 100_000_000;
    let mut timers = Timers::new();
    let mut now = 0;
    for serial in 0..50 {
        timers.insert(deadline, serial);
        now += 1_999_999;
        assert_eq!(fired(&mut timers, now), [0u32; 0]);
    }
    assert_eq!(fired(&mut timers, deadline + TICK), (0..50).collect::<Vec<_>>());
}

#[test]
fn deadlines_within_one_tick_fire_in_their_order() {
    let mut timers = Timers::new();
    for (payload, deadline) in [(3, 900), (1, 100), (2, 500), (4, 900)] {
        timers.insert(deadline, payload);
    }
    assert_eq!(fired(&mut timers, TICK), [1, 2, 3, 4]);
}

#[test]
fn a_passed_deadline_fires_at_the_next_advance() {
    let mut timers = Timers::new();
    assert_eq!(fired(&mut timers, 1_000_000), [0u32; 0]);
    timers.insert(5, 1);
    timers.insert(1_000_000 >> TICK_BITS << TICK_BITS, 2);
    assert!(timers.next_deadline().unwrap() <= 1_000_000);
    assert_eq!(fired(&mut timers, 1_000_000), [1, 2]);
    assert!(timers.is_empty());
}

/// It named the start of the slot, so a sleep of 70 us woke the shard twice, and one of an hour five
/// times.
#[test]
fn one_sleep_needs_one_wait() {
    for level in 0..LEVELS as u32 {
        let deadline = (TICK << (SLOT_BITS * level)).saturating_mul(3).saturating_add(5 * TICK);
        let mut timers = Timers::new();
        timers.insert(deadline.saturating_add(TICK), 1);
        timers.insert(deadline, 2);
        assert_eq!(timers.next_deadline(), Some(deadline), "level {level}");
        assert_eq!(fired(&mut timers, deadline), [2], "level {level}");
    }
}

#[test]
fn the_largest_deadline_is_armed_and_can_be_cancelled() {
    let mut timers = Timers::new();
    let key = timers.insert(Nanos::MAX, 1);
    assert_eq!(fired(&mut timers, Nanos::MAX - 2 * TICK), [0u32; 0]);
    assert_eq!(timers.cancel(key), Some(1));
    assert_eq!(timers.next_deadline(), None);
}

#[test]
fn a_key_works_once_even_when_its_slot_is_used_again() {
    let mut timers = Timers::new();
    let old = timers.insert(TICK, 1);
    assert_eq!(timers.cancel(old), Some(1));
    assert_eq!(timers.cancel(old), None);
    let new = timers.insert(TICK, 2);
    assert_eq!(timers.cancel(old), None, "the slot is in use by another arming");
    assert_eq!(timers.cancel(new), Some(2));
    let fired_key = timers.insert(TICK, 3);
    assert_eq!(fired(&mut timers, TICK), [3]);
    assert_eq!(timers.cancel(fired_key), None);
}

#[derive(Debug, Clone)]
enum Step {
    Arm(Nanos),
    Cancel(prop::sample::Index),
    Advance(Nanos),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Deadlines of every magnitude, so that every level is used, and often equal ones.
    let delay = prop_oneof![
        4 => (0u32..44).prop_flat_map(|bits| 0..=(1u64 << bits)),
        1 => Just(50_000u64),
    ];
    let step = prop_oneof![
        5 => delay.clone().prop_map(Step::Arm),
        3 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        2 => delay.prop_map(Step::Advance),
    ];
    prop::collection::vec(step, 1..200)
}

/// Debug builds take a fifth: there a case costs twenty times as much.
const CASES: u32 = match (cfg!(miri), cfg!(debug_assertions)) {
    (true, _) => 20,
    (false, true) => 400,
    (false, false) => 2_000,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    /// Property 20: any sequence of arming, cancelling and advancing behaves like a list sorted by
    /// deadline.
    #[test]
    fn p20_behaves_like_a_sorted_list(steps in steps()) {
        let mut timers = Timers::new();
        // (deadline, payload, key), in the order of arming.
        let mut model: Vec<(Nanos, u32, TimerKey)> = Vec::new();
        let mut now: Nanos = 0;
        let mut payload = 0;
        for step in steps {
            match step {
                Step::Arm(delay) => {
                    let deadline = now + delay;
                    model.push((deadline, payload, timers.insert(deadline, payload)));
                    payload += 1;
                }
                Step::Cancel(index) => {
                    if !model.is_empty() {
                        let (_, payload, key) = model.remove(index.index(model.len()));
                        prop_assert_eq!(timers.cancel(key), Some(payload));
                        prop_assert_eq!(timers.cancel(key), None);
                    }
                }
                Step::Advance(by) => {
                    now += by;
                    let got = fired(&mut timers, now);
                    let mut due: Vec<_> = model.iter().filter(|t| t.0 <= now).copied().collect();
                    due.sort_by_key(|t| t.0);
                    // Early is an error; a deadline in the tick that is not over yet may come with
                    // the next advance.
                    let floor = now >> TICK_BITS << TICK_BITS;
                    let must: Vec<u32> = due.iter().filter(|t| t.0 <= floor).map(|t| t.1).collect();
                    prop_assert_eq!(&got, &must);
                    model.retain(|t| !got.contains(&t.1));
                }
            }
            prop_assert_eq!(timers.len(), model.len());
            match (timers.next_deadline(), model.iter().map(|t| t.0).min()) {
                (None, None) => {}
                (Some(next), Some(min)) => {
                    let exact = min.div_ceil(TICK).max(now >> TICK_BITS) * TICK;
                    if model.len() <= LOOKED_AT_MAX {
                        prop_assert_eq!(next, exact);
                    }
                    prop_assert!(next <= exact, "{next} is after {min}");
                }
                (next, min) => prop_assert!(false, "{next:?} but {min:?} is armed"),
            }
        }
    }
}
