//! The inbox with real threads; small enough for Miri. Every interleaving is tried by
//! `loom_tests/inbox.rs`.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread;

use super::*;

const PRODUCERS: usize = 4;
const NOTES_EACH: usize = if cfg!(miri) { 50 } else { 20_000 };

#[repr(C)]
struct Body {
    link: Link,
    producer: usize,
    number: usize,
    dropped: Arc<AtomicUsize>,
}

impl Drop for Body {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

struct Note(Box<Body>);

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

// SAFETY: the link travels by the inbox's protocol, the rest is Send.
unsafe impl Send for Note {}

fn note(producer: usize, number: usize, dropped: &Arc<AtomicUsize>) -> Note {
    let (link, dropped) = (Link::new(0), Arc::clone(dropped));
    Note(Box::new(Body { link, producer, number, dropped }))
}

#[test]
fn p07_many_producers_one_consumer() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let inbox = Arc::new(Inbox::new());
    let threads: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let (inbox, dropped) = (Arc::clone(&inbox), Arc::clone(&dropped));
            thread::spawn(move || {
                for number in 0..NOTES_EACH {
                    assert!(inbox.push(note(producer, number, &dropped)).is_ok());
                }
            })
        })
        .collect();
    let mut next = [0; PRODUCERS];
    while next.iter().sum::<usize>() < PRODUCERS * NOTES_EACH {
        for note in inbox.take() {
            assert_eq!(next[note.0.producer], note.0.number);
            next[note.0.producer] += 1;
        }
        thread::yield_now();
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(dropped.load(Ordering::Relaxed), PRODUCERS * NOTES_EACH);
}

#[test]
fn p02_who_comes_to_a_sleeper_must_notify_it_and_nobody_else() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let inbox = Inbox::new();
    assert!(inbox.fall_asleep());
    assert!(matches!(inbox.push(note(0, 0, &dropped)), Ok(true)));
    assert!(matches!(inbox.push(note(0, 1, &dropped)), Ok(false)));
    assert!(!inbox.fall_asleep(), "messages wait");
    assert_eq!(inbox.take().map(|note| note.0.number).collect::<Vec<_>>(), [0, 1]);
    assert!(inbox.fall_asleep());
    assert_eq!(inbox.take().count(), 0, "a sleep that brought nothing");
    assert!(matches!(inbox.push(note(0, 2, &dropped)), Ok(false)), "it is awake again");
}

#[test]
fn p17_what_is_not_taken_is_dropped_once() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let inbox = Inbox::new();
    for number in 0..5 {
        assert!(inbox.push(note(0, number, &dropped)).is_ok());
    }
    let mut taken = inbox.close();
    drop(taken.next());
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
    drop(taken);
    assert_eq!(dropped.load(Ordering::Relaxed), 5);
    let refused = inbox.push(note(0, 9, &dropped));
    assert!(refused.is_err_and(|note| note.0.number == 9));
    assert_eq!(dropped.load(Ordering::Relaxed), 6);
}
