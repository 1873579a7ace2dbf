//! Time for a shard's connections: who waits for a peer too long is cut off.
//!
//! Time comes in ticks, and a connection notes the tick after which its wait is over: one store for
//! each request, where a timer would be armed and cancelled. A ring of lists, one for each tick to
//! come, says when to look at which connection; one that has been given more time since then moves
//! on to a later list.
//!
//! ```text
//!   ring    [now] [+1] [+2] ... [+511]
//!             |           |
//!             a - b       c        looked at when their tick comes; the deadline is in the link
//! ```
//!
//! The surprising rule: a shard that is busy lets its ticks come late and counts each of them as
//! one, so a peer is never cut off for time that the server has lost.

use std::cell::{Cell, RefCell};
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

use cede_fiber::Fiber;
use cede_fiber::net::TcpStream;

use super::wire::Output;

/// Lists in the ring.
const RING: u64 = 512;
/// A tick is this part of the shortest time-out, within these bounds.
const TICKS_PER_TIMEOUT: u32 = 32;
const TICK_MIN: Duration = Duration::from_millis(5);
const TICK_MAX: Duration = Duration::from_millis(250);
/// The end of a list.
const NONE: u32 = u32::MAX;

/// What a connection is waiting for, as far as others need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A request is being served, or a time-out of the socket's own holds.
    Busy,
    /// For the first byte of another request.
    Idle,
    /// For the rest of a head.
    Head,
}

/// A connection, shared by its fiber and the watch.
pub(super) struct Link {
    pub(super) stream: TcpStream,
    pub(super) output: Output,
    pub(super) phase: Cell<Phase>,
    /// The last tick of the wait that is on.
    deadline: Cell<u64>,
    /// Set when the stream was ended for reading: by a deadline, or because the server drains.
    expired: Cell<bool>,
    slot: Cell<u32>,
}

impl Link {
    pub(super) fn new(stream: TcpStream) -> Rc<Self> {
        Rc::new(Self {
            stream,
            output: Output::default(),
            phase: Cell::new(Phase::Busy),
            deadline: Cell::new(u64::MAX),
            expired: Cell::new(false),
            slot: Cell::new(NONE),
        })
    }

    /// Whether the wait was cut short. The end of the stream is then not the peer's.
    pub(super) fn is_expired(&self) -> bool {
        self.expired.get()
    }

    /// Ends the wait for the peer: its fiber reads what has come and then the end of the stream.
    fn expire(&self) {
        self.expired.set(true);
        // A socket that is not connected any more needs no end.
        let _ = self.stream.shutdown(Shutdown::Read);
    }
}

struct Entry {
    /// `None` in a free entry.
    link: Option<Rc<Link>>,
    fiber: Option<Fiber>,
    /// Neighbours in the list of its bucket; `next` also in the list of free entries.
    prev: u32,
    next: u32,
    bucket: u32,
}

struct Table {
    entries: Vec<Entry>,
    free: u32,
    ring: Vec<u32>,
    len: usize,
}

/// All connections of a shard.
pub(super) struct Watch {
    table: RefCell<Table>,
    now: Cell<u64>,
    tick: Duration,
    head_ticks: u64,
    idle_ticks: u64,
}

impl Watch {
    pub(super) fn new(head_timeout: Duration, idle_timeout: Duration) -> Self {
        let tick = (head_timeout.min(idle_timeout) / TICKS_PER_TIMEOUT).clamp(TICK_MIN, TICK_MAX);
        let ticks = |timeout: Duration| {
            let ticks = timeout.as_nanos().div_ceil(tick.as_nanos());
            // The current tick has begun already.
            u64::try_from(ticks).map_or(u64::MAX / 2, |ticks| ticks.min(u64::MAX / 2)) + 1
        };
        Self {
            table: RefCell::new(Table {
                entries: Vec::new(),
                free: NONE,
                ring: vec![NONE; RING as usize],
                len: 0,
            }),
            now: Cell::new(0),
            tick,
            head_ticks: ticks(head_timeout),
            idle_ticks: ticks(idle_timeout),
        }
    }

    /// The length of a tick.
    pub(super) fn tick_length(&self) -> Duration {
        self.tick
    }

    /// Connections that are watched.
    pub(super) fn len(&self) -> usize {
        self.table.borrow().len
    }

    /// Begins to watch a connection, which waits for its first head.
    pub(super) fn add(&self, link: &Rc<Link>) {
        let deadline = self.now.get().saturating_add(self.head_ticks);
        link.deadline.set(deadline);
        let link_of_entry = Some(Rc::clone(link));
        let entry = Entry { link: link_of_entry, fiber: None, prev: NONE, next: NONE, bucket: 0 };
        let mut table = self.table.borrow_mut();
        let slot = table.insert(entry);
        link.slot.set(slot);
        table.push(slot, self.bucket(deadline.min(self.next_idle())));
    }

    /// Says which fiber serves a connection.
    pub(super) fn set_fiber(&self, link: &Link, fiber: Fiber) {
        if let Some(entry) = self.table.borrow_mut().entries.get_mut(link.slot.get() as usize) {
            entry.fiber = Some(fiber);
        }
    }

    /// Ends the watch.
    pub(super) fn remove(&self, link: &Link) {
        let entry = self.table.borrow_mut().remove(link.slot.replace(NONE));
        // Dropped outside of the borrow.
        drop(entry);
    }

    /// The deadline of a wait for another request that would begin now: no later may a connection
    /// be looked at again, whatever it waits for.
    fn next_idle(&self) -> u64 {
        self.now.get().saturating_add(self.idle_ticks)
    }

    /// A wait for another request begins. Its list was chosen when less time was left.
    #[inline(always)]
    pub(super) fn idle(&self, link: &Link) {
        link.deadline.set(self.next_idle());
        link.phase.set(Phase::Idle);
    }

    /// A wait for the rest of a head begins, which may be shorter than the one that its list was
    /// chosen for.
    #[cold]
    pub(super) fn head(&self, link: &Link) {
        let deadline = self.now.get().saturating_add(self.head_ticks);
        link.deadline.set(deadline);
        link.phase.set(Phase::Head);
        let mut table = self.table.borrow_mut();
        let slot = link.slot.get();
        table.unlink(slot);
        table.push(slot, self.bucket(deadline.min(self.next_idle())));
    }

    /// The list for a deadline, which is looked at again if it is beyond the ring.
    fn bucket(&self, deadline: u64) -> u32 {
        let now = self.now.get();
        (deadline.clamp(now + 1, now + RING - 1) % RING) as u32
    }

    /// One tick has passed.
    pub(super) fn tick(&self) {
        let now = self.now.get() + 1;
        self.now.set(now);
        let bucket = (now % RING) as u32;
        let mut table = self.table.borrow_mut();
        let mut slot = table.take_list(bucket);
        while let Some((next, link)) = table.look(slot) {
            let (phase, deadline) = (link.phase.get(), link.deadline.get());
            let waits = phase != Phase::Busy;
            if waits && deadline <= now && !link.is_expired() {
                link.expire();
            }
            // One that has expired is on its way out; it must be in some list until then.
            let due = if waits && deadline > now { deadline } else { u64::MAX };
            table.push(slot, self.bucket(due.min(self.next_idle())));
            slot = next;
        }
    }

    /// Ends the waits of all connections between two requests, for a server that drains.
    pub(super) fn expire_idle(&self) {
        for entry in &self.table.borrow().entries {
            if let Some(link) = &entry.link
                && link.phase.get() == Phase::Idle
            {
                link.expire();
            }
        }
    }

    /// The fibers of all connections.
    pub(super) fn fibers(&self) -> Vec<Fiber> {
        self.table.borrow().entries.iter().filter_map(|entry| entry.fiber.clone()).collect()
    }
}

impl Table {
    fn insert(&mut self, entry: Entry) -> u32 {
        self.len += 1;
        let slot = self.free;
        match self.entries.get_mut(slot as usize) {
            Some(place) => {
                self.free = place.next;
                *place = entry;
                slot
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        }
    }

    fn remove(&mut self, slot: u32) -> Option<(Option<Rc<Link>>, Option<Fiber>)> {
        self.unlink(slot);
        let free = self.free;
        let entry = self.entries.get_mut(slot as usize)?;
        entry.next = free;
        let taken = (entry.link.take(), entry.fiber.take());
        self.free = slot;
        self.len -= 1;
        Some(taken)
    }

    fn push(&mut self, slot: u32, bucket: u32) {
        let Some(head) = self.ring.get_mut(bucket as usize) else { return };
        let next = std::mem::replace(head, slot);
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            (entry.prev, entry.next, entry.bucket) = (NONE, next, bucket);
        }
        if let Some(entry) = self.entries.get_mut(next as usize) {
            entry.prev = slot;
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Some(entry) = self.entries.get(slot as usize) else { return };
        let (prev, next, bucket) = (entry.prev, entry.next, entry.bucket);
        match self.entries.get_mut(prev as usize) {
            Some(entry) => entry.next = next,
            None => {
                if let Some(head) = self.ring.get_mut(bucket as usize) {
                    *head = next;
                }
            }
        }
        if let Some(entry) = self.entries.get_mut(next as usize) {
            entry.prev = prev;
        }
    }

    fn take_list(&mut self, bucket: u32) -> u32 {
        self.ring.get_mut(bucket as usize).map_or(NONE, |head| std::mem::replace(head, NONE))
    }

    /// An entry of a list that was taken: the next one and its link.
    fn look(&self, slot: u32) -> Option<(u32, Rc<Link>)> {
        let entry = self.entries.get(slot as usize)?;
        Some((entry.next, Rc::clone(entry.link.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use cede_fiber::net::TcpListener;

    use super::*;

    /// Ticks until the link's wait is cut short.
    fn ticks_until_expired(watch: &Watch, link: &Link) -> u64 {
        (1..10_000)
            .find(|_| {
                watch.tick();
                link.is_expired()
            })
            .unwrap_or(u64::MAX)
    }

    #[test]
    fn deadlines_are_never_early_and_end_each_kind_of_wait() {
        cede_fiber::run(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let addr = listener.local_addr().unwrap();
            let connect = || Link::new(TcpStream::connect(addr).unwrap());
            let tick = TICK_MIN;
            for (head, idle) in [(20, 100), (100, 20), (2000, 30), (30, 2000), (700, 700)] {
                let watch = Watch::new(tick * head, tick * idle);
                assert_eq!(
                    watch.tick_length(),
                    tick.max(tick * head.min(idle) / TICKS_PER_TIMEOUT)
                );
                let (head, idle) = (watch.head_ticks, watch.idle_ticks);

                let link = connect();
                watch.add(&link);
                link.phase.set(Phase::Idle);
                assert_eq!(ticks_until_expired(&watch, &link), head, "from the accept");
                watch.remove(&link);

                let link = connect();
                watch.add(&link);
                (0..3 * idle).for_each(|_| watch.tick());
                assert!(!link.is_expired(), "one that is busy has no deadline");
                watch.idle(&link);
                assert_eq!(ticks_until_expired(&watch, &link), idle);
                watch.remove(&link);

                let link = connect();
                watch.add(&link);
                watch.idle(&link);
                (0..idle - 1).for_each(|_| watch.tick());
                watch.head(&link);
                assert_eq!(ticks_until_expired(&watch, &link), head);
                watch.remove(&link);
                assert_eq!(watch.len(), 0);
            }
        })
        .unwrap();
    }
}
