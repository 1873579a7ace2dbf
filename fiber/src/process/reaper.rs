//! Waiting for children that nobody waits for any more.
//!
//! A fiber does it as long as the runtime lives. What is left then is looked at whenever another
//! child is made: a child that has ended stays a zombie no longer than that.

use std::sync::{Mutex, PoisonError};

use super::child::wait_for_end;
use crate::builder::Builder;
use crate::net::Source;

/// Children that outlived their runtime. Their number is bounded by the system's limit on
/// processes.
static LEFT: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Takes charge of a child that was dropped.
pub(super) fn take(id: u32, pidfd: Option<Source>) {
    let orphan = Orphan { id };
    // Without a stack for the fiber the closure is dropped, and the child left for later.
    let _ = Builder::new().name("child reaper".into()).spawn(move || {
        while !orphan.has_ended() {
            if wait_for_end(orphan.id, pidfd.as_ref()).is_err() {
                break;
            }
        }
    });
}

/// Looks after the children that were left.
pub(super) fn sweep() {
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    left.retain(|&id| !reap(id));
}

/// A child whose end nobody has seen; left for later when this goes before its end.
struct Orphan {
    id: u32,
}

impl Orphan {
    fn has_ended(&self) -> bool {
        reap(self.id)
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        if !reap(self.id) {
            LEFT.lock().unwrap_or_else(PoisonError::into_inner).push(self.id);
        }
    }
}

/// Whether a child is no more: it had ended, or was seen to end before.
fn reap(id: u32) -> bool {
    let Ok(id) = libc::pid_t::try_from(id) else { return true };
    // SAFETY: the status may be null. Only children of this process are waited for, and this one's
    // number is not used again before its end was seen, which happens here only.
    unsafe { libc::waitpid(id, std::ptr::null_mut(), libc::WNOHANG) != 0 }
}
