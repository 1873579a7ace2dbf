//! Child processes: real ones, from the shell.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use cede_fiber::process::{Command, Stdio};
use cede_fiber::{
    FiberInfo, FiberState, WaitKind, fibers, is_cancelled, run, sleep, spawn, with_deadline,
};

const SPAWN_ROUNDS: usize = if cfg!(debug_assertions) { 20 } else { 200 };

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn output_and_status_are_collected() {
    run(|| {
        let output = shell("echo out; echo err >&2; exit 3").output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!((&*output.stdout, &*output.stderr), (&b"out\n"[..], &b"err\n"[..]));
        assert!(shell("exit 0").status().unwrap().success());
        let missing = Command::new("/no/such/program").spawn().unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        // The defaults of `output` do not stick.
        let mut command = shell("test -p /dev/stdout && exit 1; exit 0");
        assert!(!command.output().unwrap().status.success());
        let inherited = command.spawn().unwrap();
        assert!(inherited.stdout.is_none());
        let variable = shell("echo $A$B").env("A", "x").env_remove("B").current_dir("/").output();
        assert_eq!(variable.unwrap().stdout, b"x\n");
    })
    .unwrap();
}

/// Both pipes fill up, more than they hold; neither must wait for the other to be read.
#[test]
fn both_pipes_are_read_at_once() {
    run(|| {
        let script = "head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero; \
                      head -c 300000 /dev/zero >&2";
        let output = shell(script).output().unwrap();
        assert_eq!((output.stdout.len(), output.stderr.len()), (300_000, 600_000));
    })
    .unwrap();
}

#[test]
fn pipes_are_streams_and_can_be_chained() {
    run(|| {
        let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let cat = cat.as_mut().unwrap();
        let mut sort = Command::new("sort");
        // The end of one child's pipe is the input of the next.
        sort.stdin(cat.stdout.take().unwrap()).stdout(Stdio::piped());
        let mut sort = sort.spawn().unwrap();
        let mut input = cat.stdin.take().unwrap();
        let writer = spawn(move || input.write_all("b\na\n".repeat(50_000).as_bytes()));
        let mut text = String::new();
        sort.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(text.starts_with("a\na\n") && text.ends_with("b\nb\n"));
        assert_eq!(text.len(), 200_000);
        writer.join().unwrap().unwrap();
        assert!(cat.wait().unwrap().success() && sort.wait().unwrap().success());
        // Nobody reads: an error and no signal.
        let mut gone = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
        let mut input = gone.stdin.take().unwrap();
        assert!(gone.wait().unwrap().success());
        let error = input.write_all(&[0; 100_000]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    })
    .unwrap();
}

#[test]
fn waiting_parks_and_can_be_given_up() {
    run(|| {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(child.id() > 1 && child.try_wait().unwrap().is_none());
        for _ in 0..3 {
            let waited = with_deadline(Duration::from_millis(2), || child.wait());
            assert_eq!(waited.unwrap_err().kind(), ErrorKind::TimedOut);
        }
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        // The status stays, and there is nothing to kill any more.
        assert_eq!(child.try_wait().unwrap().unwrap().signal(), Some(libc::SIGKILL));
        assert!(child.wait().is_ok() && child.kill().is_ok());
        // Several at once.
        let children: Vec<_> = (0..10)
            .map(|i| spawn(move || shell(&format!("sleep 0.0{i}; exit {i}")).status()))
            .collect();
        for (i, child) in children.into_iter().enumerate() {
            assert_eq!(child.join().unwrap().unwrap().code(), Some(i as i32));
        }
    })
    .unwrap();
}

fn state(id: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

#[test]
fn a_dropped_child_leaves_no_zombie() {
    run(|| {
        let quick = shell("exit 0").spawn().unwrap().id();
        let killed = Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap().id();
        let kept = Command::new("sleep").arg("60").spawn().unwrap().id();
        assert!(state(kept).is_some_and(|s| s != 'Z'), "not killed");
        // SAFETY: no pointers are passed. It sleeps, so the number is its own.
        assert_eq!(unsafe { libc::kill(kept.cast_signed(), libc::SIGKILL) }, 0);
        for id in [quick, killed, kept] {
            while state(id).is_some() {
                sleep(Duration::from_millis(1)).unwrap();
            }
        }
        // A cancelled `output` gives its child up.
        let fiber = spawn(|| Command::new("sleep").arg("60").kill_on_drop(true).output());
        sleep(Duration::from_millis(20)).unwrap();
        fiber.cancel();
        assert!(cede_fiber::is_cancelled(&fiber.join().unwrap().unwrap_err()));
    })
    .unwrap();
}

/// A child that outlives the runtime is seen to by the next one.
#[test]
fn a_child_may_outlive_its_runtime() {
    let id = run(|| Command::new("sleep").arg("0.02").spawn().unwrap().id()).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    run(|| {
        while state(id).is_some() {
            shell("exit 0").status().unwrap();
        }
    })
    .unwrap();
}

#[test]
fn children_leave_no_descriptors() {
    support::alone("children_leave_no_descriptors", || {
        run(|| {
            let round = || {
                let mut command = shell("cat; echo done >&2");
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                let mut child = command.kill_on_drop(true).spawn().unwrap();
                let read = with_deadline(Duration::from_micros(200), || {
                    child.stdout.as_mut().unwrap().read(&mut [0; 8])
                });
                assert_eq!(read.unwrap_err().kind(), ErrorKind::TimedOut);
                child.stdin.as_mut().unwrap().write_all(b"text").unwrap();
                let output = child.wait_with_output().unwrap();
                assert_eq!((&*output.stdout, &*output.stderr), (&b"text"[..], &b"done\n"[..]));
            };
            round();
            let before = support::descriptors();
            (0..SPAWN_ROUNDS).for_each(|_| round());
            assert_eq!(support::descriptors(), before);
            let mut child = Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
            for i in 0..support::CUT_SHORT_ROUNDS as u64 {
                let after = Duration::from_micros(i % 5);
                assert!(with_deadline(after, || child.wait()).is_err());
            }
            drop(child);
        })
        .unwrap();
    });
}

/// The output had come to its end, the errors had not, when the fiber was cancelled.
#[test]
fn a_cancelled_wait_with_output_left_the_reader_of_the_errors_behind() {
    run(|| {
        let waits = spawn(|| shell("exec 1>&-; exec sleep 2").output());
        let joins = |fiber: &FiberInfo| matches!(fiber.state, FiberState::Parked { wait, .. } if wait.kind() == WaitKind::Join);
        while !fibers().iter().any(joins) {
            sleep(Duration::from_millis(1)).unwrap();
        }
        waits.cancel();
        assert!(is_cancelled(&waits.join().unwrap().unwrap_err()));
        cede_fiber::yield_now();
        let mut left = fibers();
        left.retain(|fiber| fiber.name.as_deref() != Some("child reaper"));
        assert_eq!(left.len(), 1, "this fiber, and who else: {left:?}");
    })
    .unwrap();
}
