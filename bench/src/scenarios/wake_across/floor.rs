//! What two threads can reach with nothing between them and the kernel, or the cache.
//!
//! The futex floor sleeps in both cases of the scenario, the spinning one in neither.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::{Plan, two_cores};
use crate::affinity;
use crate::meter::Meter;
use crate::sample::{Miss, Outcome};
use crate::scenario::Job;

/// Two threads, one on each core: `wait(word, old)` returns when the word is no longer `old`, and
/// `wake(word)` ends such a wait. Both words only ever grow.
fn two_threads(job: &Job, plan: Plan, wait: fn(&AtomicU32, u32), wake: fn(&AtomicU32)) -> Outcome {
    let (first, second) = two_cores(job)?;
    let total = plan.total() as u32;
    // Apart from each other, so that a store into one does not take the line of the other.
    #[repr(align(128))]
    struct Word(AtomicU32);
    let words = Arc::new((Word(AtomicU32::new(0)), Word(AtomicU32::new(0))));
    let there = words.clone();
    let pong = thread::spawn(move || {
        affinity::pin(&[second])?;
        for i in 1..=total {
            wait(&there.0.0, i - 1);
            let number = there.0.0.load(Ordering::Acquire);
            there.1.0.store(number + 1, Ordering::Release);
            wake(&there.1.0);
        }
        std::io::Result::Ok(())
    });
    affinity::pin(&[first])?;
    let mut sum = 0;
    let mut meter = Meter::start();
    // What the other side last answered; it answers one more than it is given.
    let mut answer = 0;
    for i in 1..=total {
        words.0.0.store(i, Ordering::Release);
        wake(&words.0.0);
        wait(&words.1.0, answer);
        answer = words.1.0.load(Ordering::Acquire);
        sum += u64::from(answer);
        if u64::from(i) == plan.warm {
            meter = Meter::start();
        }
    }
    let spent = meter.stop();
    pong.join().map_err(|_| Miss::Failed("the second thread panicked".to_owned()))??;
    plan.sample(spent, sum, plan.all_crossed())
}

pub fn futex(job: &Job) -> Outcome {
    two_threads(
        job,
        Plan::of(job, false)?,
        |word, old| {
            while word.load(Ordering::Acquire) == old {
                futex_call(word, libc::FUTEX_WAIT, old);
            }
        },
        |word| futex_call(word, libc::FUTEX_WAKE, 1),
    )
}

/// `value` is the old value for a wait, and how many threads to wake for a wake.
fn futex_call(word: &AtomicU32, operation: libc::c_int, value: u32) {
    let operation = operation | libc::FUTEX_PRIVATE_FLAG;
    let forever = std::ptr::null::<libc::timespec>();
    // SAFETY: the word is a live, aligned u32 for the whole call, and there is no timeout. The
    // result is of no use: a wait that returned early is repeated by its loop.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, forever);
    }
}

pub fn spin(job: &Job) -> Outcome {
    two_threads(
        job,
        Plan::of(job, true)?,
        |word, old| {
            while word.load(Ordering::Acquire) == old {
                std::hint::spin_loop();
            }
        },
        |_| {},
    )
}
