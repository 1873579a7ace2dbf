//! The mail of one fiber: its link is in the inbox at most once, and no request is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use loom::thread;

use super::model_bounded;
use crate::inbox::{Inbox, Link, Message};
use crate::mail::{Gathered, Mail, Request};

#[repr(C)]
struct Fiber {
    link: Link,
    mail: Mail,
    /// The test's own knowledge of where the link is.
    in_inbox: AtomicBool,
}

struct Letter(Arc<Fiber>);

// SAFETY: the link is handed over by the protocol under test.
unsafe impl Send for Fiber {}
// SAFETY: as above.
unsafe impl Sync for Fiber {}

// SAFETY: an Arc with the link in front, made into a raw pointer and back. That two links in the
// inbox differ is what `post` asserts.
unsafe impl Message for Letter {
    fn into_link(self) -> *mut Link {
        Arc::into_raw(self.0).cast_mut().cast()
    }

    unsafe fn from_link(link: *mut Link) -> Self {
        // SAFETY: the link came from `into_link` (contract of the caller).
        Self(unsafe { Arc::from_raw(link.cast()) })
    }
}

struct Shard {
    inbox: Inbox<Letter>,
    fiber: Arc<Fiber>,
}

impl Shard {
    fn new() -> Arc<Self> {
        let (link, mail, in_inbox) = (Link::new(0), Mail::new(), AtomicBool::new(false));
        Arc::new(Self { inbox: Inbox::new(), fiber: Arc::new(Fiber { link, mail, in_inbox }) })
    }

    fn post(&self, request: Request) {
        if self.fiber.mail.add(request) {
            assert!(!self.fiber.in_inbox.swap(true, Ordering::Relaxed), "in the inbox twice");
            assert!(self.inbox.push(Letter(Arc::clone(&self.fiber))).is_ok());
        }
    }

    fn receive(&self, sum: &mut Gathered) {
        for letter in self.inbox.take() {
            letter.0.in_inbox.store(false, Ordering::Relaxed);
            let mail = letter.0.mail.take();
            sum.permit |= mail.permit;
            sum.cancel |= mail.cancel;
            sum.poll |= mail.poll;
            sum.generation = sum.generation.max(mail.generation);
        }
    }
}

const EMPTY: Gathered = Gathered { permit: false, cancel: false, poll: false, generation: 0 };

/// Each thread posts its requests in order while the shard looks twice; what the shard has gathered
/// in the end must be `expected`.
fn check(requests: &'static [&'static [Request]], expected: Gathered) {
    model_bounded(3, move || {
        let shard = Shard::new();
        let threads: Vec<_> = requests
            .iter()
            .map(|requests| {
                let shard = Arc::clone(&shard);
                thread::spawn(move || requests.iter().for_each(|r| shard.post(*r)))
            })
            .collect();
        let mut sum = EMPTY;
        shard.receive(&mut sum);
        shard.receive(&mut sum);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        shard.receive(&mut sum);
        assert_eq!(sum, expected);
        assert_eq!(shard.fiber.mail.take(), EMPTY, "mail without a letter");
        assert_eq!(Arc::strong_count(&shard.fiber), 1);
    });
}

#[test]
fn p01_two_wakeups_and_a_cancel_are_gathered() {
    let expected = Gathered { permit: true, cancel: true, poll: false, generation: 0 };
    check(&[&[Request::Wakeup, Request::Wakeup], &[Request::Cancel]], expected);
}

#[test]
fn p04_the_newest_generation_wins() {
    let expected = Gathered { permit: true, cancel: false, poll: false, generation: 9 };
    check(&[&[Request::EndWait(7), Request::Wakeup], &[Request::EndWait(9)]], expected);
}

#[test]
fn p06_three_threads_of_different_mind() {
    let expected = Gathered { permit: true, cancel: true, poll: false, generation: 5 };
    check(&[&[Request::Wakeup], &[Request::Cancel], &[Request::EndWait(5)]], expected);
}
