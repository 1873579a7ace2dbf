//! Models of everything that crosses threads, for the model checker.
//!
//! Each runs the real inbox, mail and record in every interleaving (of up to three preemptions
//! where a model has many threads). What is left out is the switch of stacks: the fiber's half of a
//! park is written out in `token.rs` on the thread of its shard.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p cede-fiber --release --lib loom
//! ```

mod deadlock;
mod inbox;
mod mail;
mod token;

use loom::sync::{Condvar, Mutex};

/// Stands for the shard's poller: a ring ends the wait that is on, or the next one.
pub(crate) struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self { rung: Mutex::new(false), changed: Condvar::new() }
    }

    pub(crate) fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }

    /// The checker reports a deadlock when nobody ever rings.
    pub(crate) fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// More preemptions than any of these models has steps.
pub(crate) const UNBOUNDED: usize = 100;

/// All interleavings with at most `preemptions` switches away from a thread that could go on.
pub(crate) fn model_bounded(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}
