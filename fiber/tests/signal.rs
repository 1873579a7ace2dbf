//! Signals. They are the process's: each test has one of its own.

mod support;

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cede_fiber::signal::{SignalKind, ctrl_c, hangup, restore_default, signal, terminate};
use cede_fiber::{Runtime, run, spawn, with_deadline, yield_now};

/// To this thread: the handler has run when this returns. What is sent to the process may be handled
/// by any thread, at any time later.
fn raise(kind: SignalKind) {
    // SAFETY: no pointers are passed.
    assert_eq!(unsafe { libc::raise(kind.as_raw()) }, 0);
}

#[test]
fn every_listener_gets_every_signal_on_every_shard() {
    Runtime::builder()
        .shards(2)
        .run(|| {
            let mut here = terminate().unwrap();
            let mut also_here = terminate().unwrap();
            let mut there = terminate().unwrap();
            let looks = Arc::new(AtomicUsize::new(0));
            let seen_there = Arc::clone(&looks);
            let other = cede_fiber::shards().pop().unwrap();
            let other = other.spawn(move || {
                for _ in 0..3 {
                    there.recv().unwrap();
                    seen_there.fetch_add(1, Ordering::SeqCst);
                }
            });
            let other = other.unwrap();
            let second = spawn(move || also_here.recv());
            for round in 1..=3 {
                yield_now();
                raise(SignalKind::TERMINATE);
                here.recv().unwrap();
                // Signals that come before a look are one.
                while looks.load(Ordering::SeqCst) < round {
                    cede_fiber::sleep(Duration::from_millis(1)).unwrap();
                }
            }
            second.join().unwrap().unwrap();
            other.join().unwrap();
            assert!(!here.try_recv());
        })
        .unwrap();
}

#[test]
fn signals_that_nobody_looks_for_are_remembered_once() {
    run(|| {
        let mut reload = hangup().unwrap();
        raise(SignalKind::HANGUP);
        raise(SignalKind::HANGUP);
        assert_eq!(reload.next(), Some(()));
        let late = with_deadline(Duration::from_millis(20), || reload.recv());
        assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
        // Made after the signals: gets none of them.
        assert!(!hangup().unwrap().try_recv());
    })
    .unwrap();
}

#[test]
fn what_cannot_be_handled_is_refused() {
    for raw in [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, 0, -1, 1000] {
        let error = signal(SignalKind::from_raw(raw)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{raw}");
    }
}

#[test]
fn a_wait_can_be_given_up_and_is_no_deadlock() {
    support::alone("a_wait_can_be_given_up_and_is_no_deadlock", || {
        run(|| {
            let listener = std::rc::Rc::new(std::cell::RefCell::new(ctrl_c().unwrap()));
            let l = std::rc::Rc::clone(&listener);
            support::cut_short("recv", move || l.borrow_mut().recv());
            let waiter = spawn(move || listener.borrow_mut().recv());
            let sender = std::thread::spawn(|| {
                std::thread::sleep(Duration::from_millis(150));
                raise(SignalKind::INTERRUPT);
            });
            waiter.join().unwrap().unwrap();
            sender.join().unwrap();
        })
        .unwrap();
    });
}

#[test]
fn the_default_action_comes_back_when_asked_for() {
    let test = "the_default_action_comes_back_when_asked_for";
    if !support::is_alone() {
        let status = support::rerun(test).status;
        assert_eq!(status.signal(), Some(libc::SIGUSR1), "{status}");
        return;
    }
    run(|| {
        {
            let mut listener = signal(SignalKind::USER1).unwrap();
            raise(SignalKind::USER1);
            listener.recv().unwrap();
        }
        // No listener, and still no default action.
        raise(SignalKind::USER1);
        restore_default(SignalKind::USER1).unwrap();
        raise(SignalKind::USER1);
        std::thread::sleep(Duration::from_secs(5));
    })
    .unwrap();
}
