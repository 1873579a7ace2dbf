//! The inbox: nothing lost, nothing twice, in order, and one notification per sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::thread;

use super::{Bell, UNBOUNDED, model_bounded};
use crate::inbox::{Inbox, Link, Message};

#[repr(C)]
struct NoteBody {
    link: Link,
    producer: usize,
    number: usize,
    dropped: Arc<AtomicUsize>,
}

impl Drop for NoteBody {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

struct Note(Box<NoteBody>);

// SAFETY: the link travels by the protocol under test, the rest is Send.
unsafe impl Send for Note {}

// SAFETY: a box with the link in front, made into a raw pointer and back.
unsafe impl Message for Note {
    fn into_link(self) -> *mut Link {
        Box::into_raw(self.0).cast()
    }

    unsafe fn from_link(link: *mut Link) -> Self {
        // SAFETY: the link came from `into_link` (contract of the caller).
        Self(unsafe { Box::from_raw(link.cast()) })
    }
}

/// What the producers and the consumer of one model share. The counters are the test's own and not
/// part of what is checked, hence plain atomics.
struct Post {
    inbox: Inbox<Note>,
    bell: Bell,
    notifies: AtomicUsize,
    dropped: Arc<AtomicUsize>,
}

impl Post {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inbox: Inbox::new(),
            bell: Bell::new(),
            notifies: AtomicUsize::new(0),
            dropped: Arc::default(),
        })
    }

    fn note(&self, producer: usize, number: usize) -> Note {
        let (link, dropped) = (Link::new(0), Arc::clone(&self.dropped));
        Note(Box::new(NoteBody { link, producer, number, dropped }))
    }

    /// False when the inbox was closed.
    fn send(&self, producer: usize, number: usize) -> bool {
        match self.inbox.push(self.note(producer, number)) {
            Ok(true) => {
                self.notifies.fetch_add(1, Ordering::Relaxed);
                self.bell.ring();
                true
            }
            Ok(false) => true,
            Err(note) => {
                assert_eq!((note.0.producer, note.0.number), (producer, number));
                false
            }
        }
    }
}

/// Producers send `each` notes; the consumer sleeps as a shard does until it has them all.
fn check_delivery(producers: usize, each: usize, preemptions: usize) {
    model_bounded(preemptions, move || {
        let post = Post::new();
        let threads: Vec<_> = (0..producers)
            .map(|producer| {
                let post = Arc::clone(&post);
                thread::spawn(move || (0..each).for_each(|n| assert!(post.send(producer, n))))
            })
            .collect();
        let mut next = vec![0; producers];
        let (mut got, mut sleeps) = (0, 0);
        while got < producers * each {
            if post.inbox.fall_asleep() {
                sleeps += 1;
                post.bell.wait();
            }
            for note in post.inbox.take() {
                assert_eq!(next[note.0.producer], note.0.number, "lost, doubled or out of order");
                next[note.0.producer] += 1;
                got += 1;
            }
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(post.notifies.load(Ordering::Relaxed), sleeps, "one notification per sleep");
        assert!(!post.inbox.has_messages());
        assert_eq!(post.dropped.load(Ordering::Relaxed), got);
    });
}

#[test]
fn p07_two_producers_nothing_lost_and_one_notify_per_sleep() {
    check_delivery(2, 2, 2);
}

#[test]
fn p07_three_producers_nothing_lost_and_one_notify_per_sleep() {
    check_delivery(3, 1, 1);
}

/// Property 2: between the look into the inbox and the sleep no message is overlooked. Every
/// interleaving, without a bound.
#[test]
fn p02_no_sleep_with_a_message_in_the_inbox() {
    check_delivery(1, 2, UNBOUNDED);
}

/// Property 7: what is sent to a shard that ends is either delivered or handed back.
#[test]
fn p07_a_closed_inbox_hands_back_what_it_refuses() {
    model_bounded(3, || {
        let post = Post::new();
        let threads: Vec<_> = (0..2)
            .map(|producer| {
                let post = Arc::clone(&post);
                thread::spawn(move || {
                    let first = post.send(producer, 0);
                    let second = post.send(producer, 1);
                    assert!(first || !second, "a closed inbox has taken a message");
                    usize::from(first) + usize::from(second)
                })
            })
            .collect();
        let asleep = post.inbox.fall_asleep();
        if asleep && post.inbox.has_messages() {
            post.bell.wait();
        }
        let delivered = post.inbox.close().count();
        let sent: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(delivered, sent);
        assert!(!post.send(2, 0), "it stays closed");
        assert_eq!(post.dropped.load(Ordering::Relaxed), 5, "leaked or dropped twice");
    });
}

/// Messages that nobody took are dropped with the inbox.
#[test]
fn p17_an_inbox_drops_what_it_holds() {
    loom::model(|| {
        let post = Post::new();
        let other = Arc::clone(&post);
        let thread = thread::spawn(move || other.send(0, 0));
        post.send(1, 0);
        drop(post.inbox.take().next());
        assert!(thread.join().unwrap());
        let dropped = Arc::clone(&post.dropped);
        drop(post);
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    });
}
