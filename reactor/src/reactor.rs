//! The poller of one thread, its registrations and who waits on each.
//!
//! A descriptor is registered once, edge-triggered, for both directions. The rule that follows: an
//! operation must be tried until it says "would block" (or a stream read came back short, see
//! [`Reactor::short_read_drains`]) before anyone waits, because the poller will not repeat itself.

use std::cell::Cell;
use std::io;
use std::num::NonZeroU32;
use std::time::Duration;

use slab::Slab;

use crate::readiness::{Direction, Readiness};
use crate::source::Source;
use crate::sys::{Backend, Notifier, RawSource};

thread_local! {
    /// One count for all reactors of a thread: a descriptor that outlives its reactor and meets the
    /// next one there must not carry a key that the new one gave to somebody else.
    static NEXT_GENERATION: Cell<NonZeroU32> = const { Cell::new(NonZeroU32::MIN) };
}

/// Names a registration. It stays valid until [`Reactor::deregister`]; after that every call with
/// it does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceKey {
    index: u32,
    generation: NonZeroU32,
}

impl SourceKey {
    fn to_token(self) -> u64 {
        u64::from(self.generation.get()) << 32 | u64::from(self.index)
    }

    fn from_token(token: u64) -> Option<Self> {
        let generation = NonZeroU32::new((token >> 32) as u32)?;
        Some(Self { index: token as u32, generation })
    }
}

/// A poller with its registrations. `W` stands for whoever waits; the reactor only stores it and
/// hands it back.
#[derive(Debug)]
pub struct Reactor<W> {
    backend: Backend,
    sources: Slab<Source<W>>,
    /// How many waiters are stored, over all registrations.
    waiting: usize,
}

impl<W: Copy + PartialEq> Reactor<W> {
    /// A reactor with the poller that suits this platform best.
    ///
    /// # Errors
    ///
    /// When the system has no descriptor left for the poller.
    pub fn new() -> io::Result<Self> {
        Ok(Self { backend: Backend::new()?, sources: Slab::new(), waiting: 0 })
    }

    /// Makes room for so many registrations more.
    pub fn reserve(&mut self, sources: usize) {
        self.sources.reserve(sources);
    }

    /// Wakes this reactor out of [`poll`](Self::poll), from any thread.
    #[must_use]
    pub fn notifier(&self) -> Notifier {
        self.backend.notifier()
    }

    /// Registers a descriptor (a socket on Windows) for both directions.
    ///
    /// Both directions count as ready until an operation says otherwise.
    ///
    /// # Errors
    ///
    /// What the system says: `EPERM` for a regular file, `ENOSPC` at the limit on watches, `EEXIST`
    /// when it is registered here already.
    ///
    /// # Safety
    ///
    /// The descriptor must stay open until [`deregister`](Self::deregister) is called with the key
    /// returned.
    pub unsafe fn register(&mut self, source: RawSource) -> io::Result<SourceKey> {
        self.insert(Readiness::READABLE | Readiness::WRITABLE, |backend, token| {
            // SAFETY: the caller keeps the descriptor open until `deregister`.
            unsafe { backend.add(source, token) }
        })
    }

    /// Like [`register`](Self::register), for a descriptor that only the caller closes: what the
    /// poller still knows under its number is the rest of one that was [forgotten](Self::forget)
    /// while a duplicate of it lived on, and is replaced.
    ///
    /// The poller is asked about writing only if `writes` is set, or later by
    /// [`ask_writes`](Self::ask_writes): a socket that can be written to is reported as soon as it
    /// is added, and that would end a sleep for nothing.
    ///
    /// # Errors
    ///
    /// As [`register`](Self::register), but never `EEXIST`.
    ///
    /// # Safety
    ///
    /// The descriptor must stay open until [`deregister`](Self::deregister) or
    /// [`forget`](Self::forget) is called with the key returned.
    pub unsafe fn adopt(&mut self, source: RawSource, writes: bool) -> io::Result<SourceKey> {
        let key = self.insert(Readiness::READABLE | Readiness::WRITABLE, |backend, token| {
            // SAFETY: the caller keeps the descriptor open until it says otherwise.
            unsafe { backend.add_or_replace(source, writes, token) }
        })?;
        if let Some(source) = self.get(key) {
            source.writes = writes;
        }
        Ok(key)
    }

    /// Asks the poller about writing as well, if it was not.
    ///
    /// # Errors
    ///
    /// What the system says.
    ///
    /// # Safety
    ///
    /// `source` must be the descriptor of this key, and as open as [`adopt`](Self::adopt) asks for.
    pub unsafe fn ask_writes(&mut self, key: SourceKey, source: RawSource) -> io::Result<()> {
        if self.get(key).is_none_or(|source| source.writes) {
            return Ok(());
        }
        // SAFETY: handed on to the caller.
        unsafe { self.backend.add_or_replace(source, true, key.to_token())? };
        if let Some(source) = self.get(key) {
            source.writes = true;
        }
        Ok(())
    }

    /// Registers a descriptor for one direction, in which it counts as not ready until the poller
    /// says so.
    ///
    /// # Errors
    ///
    /// As [`register`](Self::register).
    ///
    /// # Safety
    ///
    /// As [`register`](Self::register).
    pub unsafe fn register_for(
        &mut self,
        source: RawSource,
        direction: Direction,
    ) -> io::Result<SourceKey> {
        self.insert(Readiness::NONE, |backend, token| {
            // SAFETY: the caller keeps the descriptor open until `deregister`.
            unsafe { backend.add_for(source, direction, token) }
        })
    }

    fn insert(
        &mut self,
        ready: Readiness,
        add: impl FnOnce(&Backend, u64) -> io::Result<()>,
    ) -> io::Result<SourceKey> {
        let generation = NEXT_GENERATION.get();
        let entry = self.sources.vacant_entry();
        // A slab index beyond 2^32 would need more descriptors than any kernel hands out.
        let index =
            u32::try_from(entry.key()).map_err(|_| io::Error::other("too many registrations"))?;
        let key = SourceKey { index, generation };
        add(&self.backend, key.to_token())?;
        entry.insert(Source::new(generation.get(), ready, true));
        NEXT_GENERATION.set(generation.checked_add(1).unwrap_or(NonZeroU32::MIN));
        Ok(key)
    }

    /// Whether the key names a registration of this reactor.
    #[must_use]
    pub fn knows(&self, key: SourceKey) -> bool {
        self.sources.get(key.index as usize).is_some_and(|s| s.generation == key.generation.get())
    }

    /// Forgets a registration and hands back who still waited on it.
    ///
    /// # Errors
    ///
    /// What the system says when it does not know the descriptor. The registration is gone all the
    /// same.
    pub fn deregister(
        &mut self,
        key: SourceKey,
        source: RawSource,
        wake: impl FnMut(W),
    ) -> io::Result<()> {
        if self.remove(key, wake) { self.backend.delete(source) } else { Ok(()) }
    }

    /// Like [`deregister`](Self::deregister), for a descriptor that is closed next and of which no
    /// duplicate is known: where closing is enough (epoll), the poller is not asked, which saves a
    /// system call.
    ///
    /// Should a duplicate live on unknown (in a child between fork and exec, for example), its
    /// events carry a generation that no registration has any more, and are dropped.
    ///
    /// # Errors
    ///
    /// As [`deregister`](Self::deregister).
    pub fn forget(
        &mut self,
        key: SourceKey,
        source: RawSource,
        wake: impl FnMut(W),
    ) -> io::Result<()> {
        if self.remove(key, wake) && !Backend::CLOSE_DELETES {
            return self.backend.delete(source);
        }
        Ok(())
    }

    /// Whether the key was known.
    fn remove(&mut self, key: SourceKey, mut wake: impl FnMut(W)) -> bool {
        let Some(entry) = self.get(key) else { return false };
        let count = entry.waiters(Direction::Read).len() + entry.waiters(Direction::Write).len();
        let mut gone = self.sources.remove(key.index as usize);
        self.waiting -= count;
        gone.waiters(Direction::Read).drain(&mut wake);
        gone.waiters(Direction::Write).drain(&mut wake);
        true
    }

    /// Whether an operation in this direction is worth trying. False for an unknown key.
    #[must_use]
    pub fn is_ready(&self, key: SourceKey, direction: Direction) -> bool {
        self.sources
            .get(key.index as usize)
            .filter(|s| s.generation == key.generation.get())
            .is_some_and(|s| s.ready.intersects(Readiness::of(direction)))
    }

    /// Notes that an operation in this direction said "would block".
    pub fn clear_ready(&mut self, key: SourceKey, direction: Direction) {
        if let Some(source) = self.get(key) {
            source.ready = source.ready.without(Readiness::of(direction));
        }
    }

    /// Notes that a read of a byte stream returned less than was asked for: the receive buffer is
    /// empty.
    ///
    /// Does nothing where that conclusion is not safe: see
    /// [`short_read_drains`](Self::short_read_drains).
    pub fn short_read(&mut self, key: SourceKey) {
        if !Self::short_read_drains() {
            return;
        }
        if let Some(source) = self.get(key)
            && !source.ready.intersects(Readiness::PRIORITY)
        {
            source.ready = source.ready.without(Readiness::READABLE);
        }
    }

    /// Whether this platform's poller reports the end of a stream as an event of its own
    /// (`EPOLLRDHUP`).
    ///
    /// Only then may a short read stand for "would block": otherwise bytes and the end of the
    /// stream that came together would be reported once, and the reader would wait for an end that
    /// was already told.
    #[must_use]
    pub const fn short_read_drains() -> bool {
        Backend::REPORTS_READ_CLOSED
    }

    /// Stores who waits. It is handed to `wake` once, when the direction becomes ready or the
    /// registration goes.
    ///
    /// Returns false, and stores nothing, when the direction is ready already or the key is
    /// unknown.
    pub fn wait(&mut self, key: SourceKey, direction: Direction, waiter: W) -> bool {
        let Some(source) = self.get(key) else { return false };
        if source.ready.intersects(Readiness::of(direction)) {
            return false;
        }
        source.waiters(direction).push(waiter);
        self.waiting += 1;
        true
    }

    /// Takes back a waiter that gave up. Nothing happens when it was woken already.
    pub fn unwait(&mut self, key: SourceKey, direction: Direction, waiter: W) {
        if let Some(source) = self.get(key)
            && source.waiters(direction).remove(waiter)
        {
            self.waiting -= 1;
        }
    }

    /// How many wait for readiness.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many descriptors are registered.
    #[must_use]
    pub fn registered(&self) -> usize {
        self.sources.len()
    }

    /// Waits for events, for at most `timeout` (`None`: until one comes), and hands every waiter
    /// whose direction became ready to `wake`, in the order of the events. A notification or a
    /// signal ends the wait too.
    ///
    /// # Errors
    ///
    /// What the system says, but never "interrupted".
    pub fn poll(&mut self, timeout: Option<Duration>, mut wake: impl FnMut(W)) -> io::Result<()> {
        self.backend.wait(timeout)?;
        let Self { backend, sources, waiting, .. } = self;
        backend.for_each(|token, ready| {
            let Some(key) = SourceKey::from_token(token) else { return };
            let Some(source) = sources.get_mut(key.index as usize) else { return };
            if source.generation != key.generation.get() {
                return;
            }
            source.ready |= ready;
            for direction in [Direction::Read, Direction::Write] {
                if ready.intersects(Readiness::of(direction)) {
                    source.waiters(direction).drain(|waiter| {
                        *waiting -= 1;
                        wake(waiter);
                    });
                }
            }
        });
        Ok(())
    }

    fn get(&mut self, key: SourceKey) -> Option<&mut Source<W>> {
        self.sources.get_mut(key.index as usize).filter(|s| s.generation == key.generation.get())
    }
}
