//! Destructors of user code that run where a panic has no place to go.
//!
//! The payload of a panic may itself panic when it is dropped, and its payload again; what is left
//! of the second one is leaked.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `f`, and reports its panic instead of passing it on. Never unwinds.
#[inline]
pub(crate) fn quietly(where_from: &'static str, f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        // The report goes to a subscriber, which is user code too.
        let report = move || {
            let _payload = payload;
            tracing::error!("a destructor panicked in {where_from}");
        };
        if let Err(second) = catch_unwind(AssertUnwindSafe(report)) {
            std::mem::forget(second);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::quietly;

    /// Panics with one like itself when it is dropped, so often.
    struct Nested(u32);

    impl Drop for Nested {
        fn drop(&mut self) {
            if self.0 > 0 && !std::thread::panicking() {
                std::panic::panic_any(Nested(self.0 - 1));
            }
        }
    }

    #[test]
    fn p14_a_payload_that_panics_when_dropped_is_caught_too() {
        for depth in 0..5 {
            quietly("a test", || drop(Nested(depth)));
        }
    }

    #[test]
    fn p14_a_detached_fiber_with_such_a_payload_harms_nobody() {
        crate::run(|| {
            for depth in 0..5 {
                crate::spawn(move || std::panic::panic_any(Nested(depth)));
                crate::spawn(move || Nested(depth));
            }
            crate::yield_now();
            assert_eq!(crate::spawn(|| 1).join().unwrap(), 1);
        })
        .unwrap();
    }
}
