//! Cancel requests.
//!
//! ```text
//!   a fiber gives up --> not sent yet: it is taken back
//!         |
//!     its request is drained --> still the head after CANCEL_AFTER?
//!                                                      |
//!     nothing more is sent <--- cancel request on a connection of its own
//!     until the server has closed that one
//! ```
//!
//! The surprising rule: a cancel request names a session, not a statement. It may meet the next
//! statement, which is then sent once more if it left nothing behind.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use cede_fiber::{sleep, with_deadline};

use super::connection::Connection;
use super::error::{Error, Phase};
use super::pending::Pending;
use super::socket::{CancelTarget, send_cancel};

/// A statement that was given up may finish by itself for so long: most are that short, and a cancel
/// request costs a connection.
const CANCEL_AFTER: Duration = Duration::from_millis(5);
/// The longest time for a cancel request to be taken by the server.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
/// A statement that goes on gets another cancel request after this time.
const CANCEL_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A statement that goes on for so long, in spite of cancel requests, takes the connection with it.
const CANCEL_IN_VAIN_MAX: Duration = Duration::from_secs(30);

/// What a connection needs to cancel its statements.
pub(super) struct Canceller {
    target: CancelTarget,
    process_id: i32,
    secret_key: i32,
    /// Whether a fiber sees to it.
    is_watched: Cell<bool>,
    /// Requests under way that nobody waits for.
    abandoned: Cell<usize>,
    /// The statement that a cancel request was sent for, and the last one that it may meet instead.
    meant: Cell<u64>,
    exposed: Cell<u64>,
}

impl Canceller {
    pub(super) fn new(target: CancelTarget, process_id: i32, secret_key: i32) -> Self {
        Self {
            target,
            process_id,
            secret_key,
            is_watched: Cell::new(false),
            abandoned: Cell::new(0),
            meant: Cell::new(0),
            exposed: Cell::new(0),
        }
    }

    /// Whether a fiber sees to abandoned requests.
    pub(super) fn is_watched(&self) -> bool {
        self.is_watched.get()
    }

    /// An abandoned request was answered.
    pub(super) fn one_less(&self) {
        self.abandoned.set(self.abandoned.get().saturating_sub(1));
    }

    /// A statement was cancelled: whether by a request of ours that meant another one.
    pub(super) fn has_hit(&self, head: &Pending) -> bool {
        // One request may cancel two statements: a postmaster signals the process, and then its
        // group.
        head.serial <= self.exposed.get() && head.serial != self.meant.get()
    }
}

impl Connection {
    /// Nobody waits for this answer any more.
    #[cold]
    pub(super) fn abandon(self: &Rc<Self>, pending: &Pending) {
        if self.is_closed() || pending.is_done() {
            return;
        }
        if self.take_back(pending) {
            return self.leave_in_time();
        }
        if !pending.abandon() {
            return;
        }
        self.taken(pending);
        let canceller = &self.canceller;
        canceller.abandoned.set(canceller.abandoned.get() + 1);
        if !canceller.is_watched.replace(true) {
            let this = Rc::clone(self);
            // Without it, the statement goes on until it ends by itself.
            if self.fiber("canceller", move || this.watch()).is_err() {
                canceller.is_watched.set(false);
            }
        }
        self.leave_in_time();
    }

    /// The number of the request that is being answered, if nobody waits for it.
    fn abandoned_head(&self) -> Option<u64> {
        let queue = self.queue.borrow();
        queue.front().filter(|head| head.is_abandoned()).map(|head| head.serial)
    }

    /// Sees to abandoned requests until there are none.
    fn watch(self: Rc<Self>) {
        struct End<'a>(&'a Connection);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.canceller.is_watched.set(false);
                self.0.release();
                // The last client is gone, and nothing is left to wait for, or no time.
                if self.0.outbox.is_closed() {
                    let _ = self.0.stream.shutdown();
                }
            }
        }
        let _end = End(&self);
        // Since when it is the head, and when it was last cancelled.
        let mut seen: Option<(u64, Instant, Option<Instant>)> = None;
        while self.canceller.abandoned.get() > 0 && !self.is_closed() {
            let head = self.abandoned_head();
            seen = match (head, seen) {
                (Some(serial), Some((same, since, cancelled))) if serial == same => {
                    if since.elapsed() > CANCEL_IN_VAIN_MAX {
                        let message = "a statement went on in spite of cancel requests";
                        let error = Error::closed(Phase::Receive);
                        self.fail(error.with_source(std::io::Error::other(message)));
                        return;
                    }
                    let is_time = cancelled.is_none_or(|at| at.elapsed() >= CANCEL_AGAIN_AFTER);
                    let now = is_time.then(|| self.cancel(serial)).map(|()| Instant::now());
                    Some((serial, since, now.or(cancelled)))
                }
                (Some(serial), _) => Some((serial, Instant::now(), None)),
                (None, _) => None,
            };
            if sleep(CANCEL_AFTER).is_err() {
                return;
            }
        }
    }

    /// Sends one cancel request. The server has seen to it when it closes that connection
    /// (PostgreSQL's documentation, 55.2.8); until then nothing is sent that it could meet.
    fn cancel(&self, serial: u64) {
        self.is_held.set(true);
        let canceller = &self.canceller;
        canceller.meant.set(serial);
        canceller.exposed.set(self.serial.get());
        self.cancel_once(CANCEL_TIMEOUT);
        self.release();
    }

    /// Sends a cancel request, whatever it may meet.
    pub(super) fn cancel_once(&self, timeout: Duration) {
        let canceller = &self.canceller;
        self.counters.cancels.add(1);
        let sent = with_deadline(timeout, || {
            send_cancel(&canceller.target, canceller.process_id, canceller.secret_key)
        });
        if let Err(error) = sent {
            tracing::debug!(host = &*self.host, %error, "a cancel request failed");
        }
    }

    fn release(&self) {
        if self.is_held.replace(false) {
            self.wake_waiting();
        }
    }
}
