//! Noticing that nothing is ready and nothing can ever wake anything.
//!
//! A shard without timers, I/O and outside work is *hopeless*: only another thread could wake it.
//! The runtime is dead when all of its shards are hopeless at one moment with empty inboxes, and no
//! thread outside of it could hold a handle. The last point cannot be seen in general; it is
//! certain when nobody holds handles, or when the process has no thread that is not the runtime's
//! own. Otherwise the runtime goes on sleeping.
//!
//! The check runs only after a sleep that brought nothing, so it costs a busy shard nothing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::dump::{self, FiberInfo};
use crate::runtime::RuntimeShared;
use crate::shard::ShardState;
use crate::shared::{FiberShared, ShardShared};

/// How long a hopeless shard sleeps before the first check.
const FIRST_CHECK: Duration = Duration::from_millis(20);
/// How long between checks at most.
const LAST_CHECK: Duration = Duration::from_secs(5);

/// Counts this thread as one of the runtime's own while it lives. Those of another runtime are not:
/// they may wake this one's fibers.
pub(crate) struct OwnThread(Arc<RuntimeShared>);

impl OwnThread {
    pub(crate) fn register(runtime: &Arc<RuntimeShared>) -> Self {
        runtime.own_threads.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(runtime))
    }
}

impl Drop for OwnThread {
    fn drop(&mut self) {
        self.0.own_threads.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Threads that wake only fibers that wait for them, and wait themselves now.
static HELPER_THREADS: AtomicUsize = AtomicUsize::new(0);

/// Counts this thread, while it lives, as one that wakes nobody by itself: a helper of cede's that
/// serves any runtime. One that runs a user's code is not such a thread meanwhile.
pub(crate) struct HelperThread(());

impl HelperThread {
    pub(crate) fn register() -> Self {
        HELPER_THREADS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for HelperThread {
    fn drop(&mut self) {
        HELPER_THREADS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Says that no fiber could ever go on, and what each one waits for.
#[derive(Clone)]
pub struct Deadlock {
    fibers: Vec<FiberInfo>,
}

impl Deadlock {
    pub(crate) fn new(mut fibers: Vec<FiberInfo>) -> Self {
        fibers.sort_by_key(|info| info.id);
        Self { fibers }
    }

    /// Every fiber that was alive.
    #[must_use]
    pub fn fibers(&self) -> &[FiberInfo] {
        &self.fibers
    }
}

/// More fibers than this are only counted in the message.
const LISTED_MAX: usize = 50;

/// The list, as a person wants it who meets it by `unwrap`, or as the `Err` of a `main`.
impl fmt::Debug for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.fibers.len();
        match count {
            1 => write!(f, "deadlock: a fiber waits, and nothing can wake it")?,
            _ => write!(f, "deadlock: {count} fibers wait, and nothing can wake any of them")?,
        }
        for fiber in self.fibers.iter().take(LISTED_MAX) {
            write!(f, "\n  {fiber}")?;
        }
        if count > LISTED_MAX {
            write!(f, "\n  and {} more", count - LISTED_MAX)?;
        }
        Ok(())
    }
}

/// Sleeps as a hopeless shard does. True: the runtime is dead.
pub(crate) fn sleep(shard: &ShardState, fruitless: u32) -> bool {
    let shared = &shard.shared;
    if fruitless == 0 {
        // Handles that were made since the last check have not been looked for.
        shared.has_handles.store(true, Ordering::SeqCst);
    }
    if !shared.inbox.fall_asleep() {
        shard.receive();
        return false;
    }
    shared.hopeless.fetch_add(1, Ordering::SeqCst);
    let pause = FIRST_CHECK.saturating_mul(1 << fruitless.min(16)).min(LAST_CHECK);
    shard.poll(Some(pause));
    let woken = shared.inbox.has_messages() || shard.ready_len() > 0;
    if !woken {
        shared.has_handles.store(has_handles(shard), Ordering::SeqCst);
        if is_dead(&shard.runtime) {
            return true;
        }
    }
    // Before the first message is opened: from here on this shard may wake others.
    shared.hopeless.fetch_add(1, Ordering::SeqCst);
    shard.receive();
    false
}

fn has_handles(shard: &ShardState) -> bool {
    let fibers = shard.fibers.borrow();
    fibers.iter().any(|(_, record)| {
        // SAFETY: what is in the table is live.
        let record = unsafe { &**record };
        // Whoever could end this wait holds a lock or the end of a channel, and no handle.
        record.wait.get().has_outside_wakers()
            || record.shared.get().is_some_and(FiberShared::is_held)
    })
}

fn is_dead(runtime: &RuntimeShared) -> bool {
    match all_hopeless(&runtime.shards) {
        None => false,
        Some(Handles::None) => true,
        Some(Handles::Held) => !runtime.config.external_wakes || !has_foreign_threads(runtime),
    }
}

/// Whether somebody holds what could wake a fiber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handles {
    None,
    Held,
}

/// Whether all shards were hopeless at one moment with nothing under way to any of them; `None` if
/// not, or if that cannot be told.
pub(crate) fn all_hopeless(shards: &[Arc<ShardShared>]) -> Option<Handles> {
    // They only grow, so their sum tells whether one of them has. `None`: one is even.
    let states = || {
        shards.iter().try_fold(0_u64, |sum, shard| {
            let state = shard.hopeless.load(Ordering::SeqCst);
            (state % 2 == 1).then(|| sum.wrapping_add(state))
        })
    };
    let before = states()?;
    // Handles before inboxes: who lets go of its handle has sent before. Handles to shards are made
    // anywhere and so counted now; those to fibers are made on the fiber's own shard, which has
    // looked for them since it last ran one.
    let held = |s: &Arc<ShardShared>| {
        s.handles.load(Ordering::SeqCst) > 0 || s.has_handles.load(Ordering::SeqCst)
    };
    let held = shards.iter().any(held);
    if shards.iter().any(|s| s.inbox.has_messages()) {
        return None;
    }
    // Unchanged counters: every shard was hopeless all the time between the two looks, so at one
    // moment all were, and what could have been under way from one to another would have been seen
    // in an inbox.
    (Some(before) == states()).then_some(if held { Handles::Held } else { Handles::None })
}

/// Whether the process has threads that are not this runtime's own. Where that cannot be told the
/// answer is yes.
fn has_foreign_threads(runtime: &RuntimeShared) -> bool {
    match std::fs::read_dir("/proc/self/task") {
        Ok(tasks) => {
            let own = runtime.own_threads.load(Ordering::Relaxed);
            tasks.count() > own + HELPER_THREADS.load(Ordering::Relaxed)
        }
        Err(_) => true,
    }
}

/// Adds what this shard's fibers wait for to the report, if the runtime is dead.
pub(crate) fn contribute(shard: &ShardState) {
    if shard.runtime.is_dead() {
        // The last look was before the sleep that brought nothing.
        shard.coarse_now.set(shard.clock.now());
        shard.runtime.add_to_report(dump::all(shard));
    }
}
