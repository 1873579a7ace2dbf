//! What other threads may hold of a shard and of its fibers.
//!
//! A [`FiberShared`] is its own message: its link sits in its first field, so waking a fiber from
//! another thread allocates nothing.

use std::fmt;
use std::sync::{Arc, OnceLock};

use cede_reactor::Notifier;

use crate::inbox::{Inbox, Link, Message};
use crate::mail::{Mail, Request};
use crate::primitive::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::record::Record;
use crate::shard::RecordPtr;

/// Work that other threads have sent to one shard and that it has not started yet: more is refused.
pub const SHARD_TASKS_MAX: usize = 65_536;

const KIND_FIBER: u8 = 0;
const KIND_TASK: u8 = 1;

/// A shard as other threads see it.
#[derive(Debug)]
pub(crate) struct ShardShared {
    pub(crate) id: u32,
    pub(crate) inbox: Inbox<Letter>,
    /// Set when the shard's thread has its reactor.
    pub(crate) notifier: OnceLock<Notifier>,
    /// Tasks in the inbox.
    pub(crate) tasks: AtomicUsize,
    /// Live fibers, by the shard's own count at its last look around; for choosing the least loaded
    /// shard.
    pub(crate) fibers: AtomicUsize,
    /// `Shard` handles that users hold.
    pub(crate) handles: AtomicUsize,
    /// Odd while the shard sleeps with nothing of its own that could wake it. See `deadlock.rs`.
    pub(crate) hopeless: AtomicU64,
    /// Whether somebody might hold a handle to one of its fibers. Set before `hopeless` becomes odd,
    /// cleared while it is odd.
    pub(crate) has_handles: AtomicBool,
}

impl ShardShared {
    pub(crate) fn new(id: u32) -> Arc<Self> {
        Arc::new(Self {
            id,
            inbox: Inbox::new(),
            notifier: OnceLock::new(),
            tasks: AtomicUsize::new(0),
            fibers: AtomicUsize::new(0),
            handles: AtomicUsize::new(0),
            hopeless: AtomicU64::new(0),
            has_handles: AtomicBool::new(false),
        })
    }

    /// Sends a letter and wakes the shard if it sleeps.
    ///
    /// # Errors
    ///
    /// Hands the letter back when the shard is gone.
    pub(crate) fn send(&self, letter: Letter) -> Result<(), Letter> {
        if self.inbox.push(letter)? {
            self.notify();
        }
        Ok(())
    }

    fn notify(&self) {
        if let Some(notifier) = self.notifier.get() {
            notifier.notify();
        }
    }
}

/// A fiber as handles see it. It outlives the fiber and then answers nothing.
#[repr(C)]
pub(crate) struct FiberShared {
    link: Link,
    mail: Mail,
    pub(crate) shard: Arc<ShardShared>,
    pub(crate) slot: u32,
    pub(crate) serial: u64,
    pub(crate) name: Option<Arc<str>>,
    /// Written and followed only on the fiber's shard, and there only while `finished` is false.
    record: RecordPtr,
    pub(crate) finished: AtomicBool,
}

// SAFETY: the only field that is not Sync by itself is the link, which the inbox's protocol hands
// from thread to thread: only who found `mail` not queued pushes it, and the mail becomes "not
// queued" after the link has left the inbox.
unsafe impl Send for FiberShared {}
// SAFETY: as above.
unsafe impl Sync for FiberShared {}

impl FiberShared {
    /// The handle's part of a live fiber.
    pub(crate) fn new(shard: Arc<ShardShared>, record: &Record) -> Arc<Self> {
        Arc::new(Self {
            link: Link::new(KIND_FIBER),
            mail: Mail::new(),
            shard,
            slot: record.slot,
            serial: record.serial,
            name: record.name.get().cloned(),
            record,
            finished: AtomicBool::new(false),
        })
    }

    /// The handle's part of a fiber that has ended.
    pub(crate) fn gone(
        shard: Arc<ShardShared>,
        slot: u32,
        serial: u64,
        name: Option<Arc<str>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            link: Link::new(KIND_FIBER),
            mail: Mail::new(),
            shard,
            slot,
            serial,
            name,
            record: std::ptr::null(),
            finished: AtomicBool::new(true),
        })
    }

    /// Makes one that nobody else holds that of another fiber. Nothing can be under way to the old
    /// one: what is in the inbox holds it.
    pub(crate) fn renew(&mut self, record: &Record) {
        self.slot = record.slot;
        self.serial = record.serial;
        self.name = record.name.get().cloned();
        self.record = record;
        self.finished.store(false, Ordering::Relaxed);
    }

    /// The fiber's record while it lives.
    ///
    /// # Safety
    ///
    /// Only on the thread of the fiber's shard; the reference must not outlive the caller's own
    /// call.
    #[inline]
    pub(crate) unsafe fn record<'a>(&self) -> Option<&'a Record> {
        if self.finished.load(Ordering::Relaxed) {
            return None;
        }
        // SAFETY: a record lives until its shard sets `finished`, which happens on this thread.
        unsafe { self.record.as_ref() }
    }

    /// Asks the fiber's shard for something, from any thread.
    pub(crate) fn post(this: &Arc<Self>, request: Request) {
        if Self::file(this, request) {
            this.shard.notify();
        }
    }

    /// Leaves a request for the fiber's shard. True: the shard sleeps and must be notified.
    pub(crate) fn file(this: &Arc<Self>, request: Request) -> bool {
        // A shard that is gone has no fibers left to ask.
        !this.finished.load(Ordering::Relaxed)
            && this.mail.add(request)
            && this.shard.inbox.push(Letter::Fiber(Arc::clone(this))).unwrap_or(false)
    }

    /// What has been asked for; only for the fiber's shard, after the letter has come.
    pub(crate) fn open_mail(&self) -> crate::mail::Gathered {
        self.mail.take()
    }
}

impl fmt::Debug for FiberShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FiberShared")
            .field("shard", &self.shard.id)
            .field("serial", &self.serial)
            .finish()
    }
}

/// What a shard does with a task.
pub(crate) enum Task {
    /// Runs on the shard's thread, outside of any fiber; it spawns the fiber that does the work.
    Start(Box<dyn FnOnce() + Send>),
    /// The runtime ends.
    Stop,
}

#[repr(C)]
pub(crate) struct TaskLetter {
    link: Link,
    task: Task,
}

/// What comes through the inbox.
pub(crate) enum Letter {
    Fiber(Arc<FiberShared>),
    Task(Box<TaskLetter>),
}

// SAFETY: both kinds carry Send contents; the links travel by the inbox's protocol.
unsafe impl Send for Letter {}

impl Letter {
    pub(crate) fn task(task: Task) -> Self {
        Self::Task(Box::new(TaskLetter { link: Link::new(KIND_TASK), task }))
    }
}

impl Letter {
    /// Whether it counts in `ShardShared::tasks`.
    pub(crate) fn is_start(&self) -> bool {
        matches!(self, Self::Task(task) if matches!(task.task, Task::Start(_)))
    }
}

impl TaskLetter {
    pub(crate) fn open(self) -> Task {
        self.task
    }
}

// SAFETY: both structs are `repr(C)` with the link first, so a pointer to the whole is a pointer to
// the link; it is derived from the owning smart pointer and so valid for the whole struct. A
// fiber's link is pushed only by who changed its mail from empty to queued, so it is in the inbox
// at most once.
unsafe impl Message for Letter {
    fn into_link(self) -> *mut Link {
        match self {
            Self::Fiber(fiber) => Arc::into_raw(fiber).cast_mut().cast(),
            Self::Task(task) => Box::into_raw(task).cast(),
        }
    }

    unsafe fn from_link(link: *mut Link) -> Self {
        // SAFETY: the link is valid (contract of the caller), and its kind says what it is the
        // first field of.
        unsafe {
            match (*link).kind() {
                KIND_FIBER => Self::Fiber(Arc::from_raw(link.cast())),
                _ => Self::Task(Box::from_raw(link.cast())),
            }
        }
    }
}
