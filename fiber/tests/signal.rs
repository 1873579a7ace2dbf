//! Signals. They are the process's: each test has one of its own.

mod support;

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use cede_fiber::signal::{SignalKind, ctrl_c, hangup, restore_default, signal, terminate};
use cede_fiber::{Runtime, run, spawn, with_deadline, yield_now};

fn raise(kind: SignalKind) {
    // SAFETY: no pointers are passed.
    assert_eq!(unsafe { libc::kill(libc::getpid(), kind.as_raw()) }, 0);
}

#[test]
fn every_listener_gets_every_signal_on_every_shard() {
    Runtime::builder()
        .shards(2)
        .run(|| {
            let mut here = terminate().unwrap();
            let mut also_here = terminate().unwrap();
            let mut there = terminate().unwrap();
            let other = cede_fiber::shards().pop().unwrap();
            let other = other.spawn(move || (0..3).for_each(|_| there.recv().unwrap())).unwrap();
            let second = spawn(move || also_here.recv());
            for _ in 0..3 {
                yield_now();
                raise(SignalKind::TERMINATE);
                here.recv().unwrap();
                // Signals that come before a look are one; leave the others time to look.
                cede_fiber::sleep(Duration::from_millis(30)).unwrap();
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
        // The handler runs in some thread, soon.
        assert_eq!(reload.next(), Some(()));
        let late = with_deadline(Duration::from_millis(20), || {
            // The second one may have come after the look.
            reload.recv()?;
            reload.recv()
        });
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
