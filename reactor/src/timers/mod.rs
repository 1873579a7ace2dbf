//! A hierarchical timer wheel: arming and cancelling take constant time, however many are armed.
//!
//! Nearly every timer is an I/O time-out, and nearly every I/O time-out is cancelled, so cancelling
//! is the hot path.
//!
//! ```text
//!   level 8  |  64 slots of 2^48 ticks  |
//!     ...
//!   level 1  |  64 slots of 64 ticks    |---- when time enters a slot, its timers move to the levels below
//!   level 0  |  64 slots of 1 tick      |---- when time reaches a slot, its timers fire
//! ```
//!
//! A tick is 1,024 ns. A timer lives at the level of the highest base-64 digit in which its tick
//! differs from the current one. That makes its place a function of both, so two timers of one
//! deadline are always in one list, in the order in which they were armed. A deadline is rounded up
//! to a tick: a timer is late by up to a tick, and never early.

use slab::Slab;

use crate::clock::Nanos;

#[cfg(test)]
mod tests;

/// 2^10 ns per tick: a microsecond is finer than what a poller can sleep, and a shift is cheaper
/// than a division.
const TICK_BITS: u32 = 10;
/// 64 slots per level, so that one word says which are occupied.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// 9 levels of 6 bits hold any tick of 54 bits, which is any deadline of 64 bits.
const LEVELS: usize = 9;
/// The list after the wheel's own: timers whose deadline had passed when they were armed.
const DUE: usize = LEVELS * SLOTS;
const NIL: u32 = u32::MAX;
/// Timers of a slot that are looked at to find the earliest. With more of them a wait that ends at
/// the start of the slot is one for many.
const LOOKED_AT_MAX: usize = 16;

/// Names an armed timer. After it fired or was cancelled the key does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerKey {
    index: u32,
    /// The number of the arming, never used twice.
    serial: u64,
}

#[derive(Debug)]
struct Entry<T> {
    deadline: Nanos,
    serial: u64,
    payload: T,
    prev: u32,
    next: u32,
    /// Index of the list that holds it.
    list: u32,
}

#[derive(Debug, Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
}

/// Timers of one thread. `T` is what is handed back when one fires.
#[derive(Debug)]
pub struct Timers<T> {
    entries: Slab<Entry<T>>,
    lists: Box<[List; DUE + 1]>,
    /// One bit per slot of each level: the list is not empty.
    occupied: [u64; LEVELS],
    /// Every timer up to and including this tick has fired.
    elapsed: u64,
    next_serial: u64,
    /// Kept to spare an allocation per advance.
    firing: Vec<u32>,
}

impl<T> Timers<T> {
    /// No timers, at moment 0.
    #[must_use]
    pub fn new() -> Self {
        Self {
            entries: Slab::new(),
            lists: Box::new([List { head: NIL, tail: NIL }; DUE + 1]),
            occupied: [0; LEVELS],
            elapsed: 0,
            next_serial: 0,
            firing: Vec::new(),
        }
    }

    /// Makes room for so many timers more, also for all of them to fire at once.
    pub fn reserve(&mut self, timers: usize) {
        self.entries.reserve(timers);
        self.firing.reserve(timers);
    }

    /// How many are armed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is armed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Arms a timer. One whose deadline has passed fires at the next [`advance`](Self::advance).
    ///
    /// # Panics
    ///
    /// When 2^32 - 1 timers are armed.
    pub fn insert(&mut self, deadline: Nanos, payload: T) -> TimerKey {
        let serial = self.next_serial;
        self.next_serial += 1;
        let index =
            self.entries.insert(Entry { deadline, serial, payload, prev: NIL, next: NIL, list: 0 });
        assert!(index < NIL as usize, "more than 2^32 - 1 timers are armed");
        let index = index as u32;
        self.place(index, deadline);
        TimerKey { index, serial }
    }

    /// Disarms a timer and hands its payload back; `None` when it fired or was cancelled before.
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let entry = self.entries.get(key.index as usize)?;
        if entry.serial != key.serial {
            return None;
        }
        let (list, prev, next) = (entry.list as usize, entry.prev, entry.next);
        self.unlink(list, prev, next);
        Some(self.entries.remove(key.index as usize).payload)
    }

    /// A moment not after the next firing, at which [`advance`](Self::advance) has something to do;
    /// `None` without timers.
    ///
    /// It is exact (to the tick) for what fires within 64 ticks, and for what is further away
    /// unless more than 16 timers share its slot: then it is the start of the slot.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        if self.lists[DUE].head != NIL {
            return Some(self.elapsed << TICK_BITS);
        }
        let (level, slot, tick) = self.next_slot()?;
        let exact = if level == 0 { None } else { self.earliest(level * SLOTS + slot) };
        Some(exact.unwrap_or(tick) << TICK_BITS)
    }

    /// The first tick at which a timer of this list fires; `None` if there are too many to look at.
    fn earliest(&self, list: usize) -> Option<u64> {
        let mut index = self.lists[list].head;
        let mut earliest = u64::MAX;
        for _ in 0..LOOKED_AT_MAX {
            let entry = &self.entries[index as usize];
            earliest = earliest.min(tick_of(entry.deadline));
            index = entry.next;
            if index == NIL {
                return Some(earliest);
            }
        }
        None
    }

    /// Fires every timer whose deadline is at or before `now`: earlier deadlines first, equal ones
    /// in the order of arming.
    ///
    /// `fire` must not panic: timers due in the same call would be lost.
    pub fn advance(&mut self, now: Nanos, mut fire: impl FnMut(T)) {
        if self.lists[DUE].head != NIL {
            self.fire_list(DUE, &mut fire);
        }
        let target = now >> TICK_BITS;
        while let Some((level, slot, tick)) = self.next_slot() {
            if tick > target {
                break;
            }
            self.elapsed = tick;
            let list = level * SLOTS + slot;
            if level == 0 {
                self.fire_list(list, &mut fire);
            } else {
                self.cascade(list);
            }
        }
        self.elapsed = self.elapsed.max(target);
    }

    /// The occupied slot that time reaches first: its level, its index and its first tick.
    ///
    /// Everything at a level comes before everything at the next, because it shares more digits
    /// with the current tick.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|bits| *bits != 0)?;
        let slot = self.occupied[level].trailing_zeros() as usize;
        let shift = SLOT_BITS * level as u32;
        let above = self.elapsed >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
        Some((level, slot, above | (slot as u64) << shift))
    }

    fn place(&mut self, index: u32, deadline: Nanos) {
        let tick = tick_of(deadline);
        let list = if tick < self.elapsed {
            DUE
        } else {
            let differing = (self.elapsed ^ tick) | (SLOTS as u64 - 1);
            let level = ((u64::BITS - 1 - differing.leading_zeros()) / SLOT_BITS) as usize;
            let slot = (tick >> (SLOT_BITS * level as u32)) as usize % SLOTS;
            self.occupied[level] |= 1 << slot;
            level * SLOTS + slot
        };
        self.push_back(list, index);
    }

    fn push_back(&mut self, list: usize, index: u32) {
        let tail = self.lists[list].tail;
        let entry = &mut self.entries[index as usize];
        entry.list = list as u32;
        entry.prev = tail;
        entry.next = NIL;
        self.lists[list].tail = index;
        if tail == NIL {
            self.lists[list].head = index;
        } else {
            self.entries[tail as usize].next = index;
        }
    }

    fn unlink(&mut self, list: usize, prev: u32, next: u32) {
        if prev == NIL {
            self.lists[list].head = next;
        } else {
            self.entries[prev as usize].next = next;
        }
        if next == NIL {
            self.lists[list].tail = prev;
        } else {
            self.entries[next as usize].prev = prev;
        }
        if self.lists[list].head == NIL && list != DUE {
            self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        }
    }

    /// Empties a list and returns its first entry; the entries stay chained by `next`.
    fn take_list(&mut self, list: usize) -> u32 {
        let head = self.lists[list].head;
        self.lists[list] = List { head: NIL, tail: NIL };
        if list != DUE {
            self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        }
        head
    }

    /// Moves the timers of a slot that time has entered to the levels below.
    fn cascade(&mut self, list: usize) {
        let mut index = self.take_list(list);
        while index != NIL {
            let entry = &self.entries[index as usize];
            let (next, deadline) = (entry.next, entry.deadline);
            self.place(index, deadline);
            index = next;
        }
    }

    fn fire_list(&mut self, list: usize, fire: &mut impl FnMut(T)) {
        let mut firing = std::mem::take(&mut self.firing);
        let mut index = self.take_list(list);
        while index != NIL {
            firing.push(index);
            index = self.entries[index as usize].next;
        }
        // A list is in the order of arming; within one tick the deadlines may still differ. The
        // sort is stable.
        let deadline = |index: &u32| self.entries[*index as usize].deadline;
        if !firing.is_sorted_by_key(deadline) {
            firing.sort_by_key(deadline);
        }
        for index in firing.drain(..) {
            fire(self.entries.remove(index as usize).payload);
        }
        self.firing = firing;
    }
}

/// The tick at which a deadline fires, capped so that the last one, 584 years ahead, fits in the
/// wheel too.
fn tick_of(deadline: Nanos) -> u64 {
    deadline.div_ceil(1 << TICK_BITS).min(Nanos::MAX >> TICK_BITS)
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self::new()
    }
}
