//! One contestant in a process of its own, with a limit on its time.
//!
//! The parent sleeps while the child measures: it reads the child's pipe to the end and polls
//! nothing, so that it takes no time from the cores under test.

use std::env;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::sample::{Answer, Miss, Outcome};

/// Settings from outside that would make two machines measure different things.
const ENVIRONMENT_REMOVED: &[&str] =
    &["GOGC", "GODEBUG", "GOMAXPROCS", "GOMEMLIMIT", "TOKIO_WORKER_THREADS", "RUST_MIN_STACK"];
/// As much of a failed contestant's last words as fits on a screen.
const STDERR_LINES_MAX: usize = 6;

/// Starts this program again with `args` and returns what it answers.
pub fn contest(args: &[String], limit: Duration) -> Outcome {
    let program = env::current_exe()?;
    let mut command = Command::new(program);
    command.args(args);
    run(command, limit)
}

fn run(mut command: Command, limit: Duration) -> Outcome {
    for name in ENVIRONMENT_REMOVED {
        command.env_remove(name);
    }
    // A peer that panics at a limit of its own must not spend seconds on symbols.
    command.env("RUST_BACKTRACE", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    end_with_this_process(&mut command);
    let mut child = command.spawn()?;
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    // The end of its output is the end of the process: nothing else holds the pipe.
    let printed = stdout.recv_timeout(limit);
    let status = end(&mut child, printed.is_err())?;
    let Ok(printed) = printed else {
        return Err(Miss::Failed(format!("no answer within {} s", limit.as_secs())));
    };
    match Answer::from_output(&printed) {
        Ok(answer) if status.success() => answer.into(),
        Ok(_) => Err(Miss::Failed(last_words(status, &stderr.recv().unwrap_or_default()))),
        Err(why) => {
            let words = last_words(status, &stderr.recv().unwrap_or_default());
            Err(Miss::Failed(format!("{words}; {why}")))
        }
    }
}

/// Whoever ends a run before its time, and be it by a signal to this process alone, ends what
/// measures too; and with that the server that it has forked.
fn end_with_this_process(command: &mut Command) {
    let parent = process::id();
    let set_up = move || {
        // SAFETY: plain system calls, which are allowed between fork and exec.
        let (failed, now) =
            unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) < 0, libc::getppid()) };
        match failed || now.cast_unsigned() != parent {
            true => Err(io::Error::from(io::ErrorKind::Interrupted)),
            false => Ok(()),
        }
    };
    // SAFETY: the closure makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(set_up) };
}

/// Waits for the child, which is killed first if it took too long.
fn end(child: &mut Child, overdue: bool) -> io::Result<ExitStatus> {
    if overdue {
        child.kill()?;
    }
    child.wait()
}

/// Reads a pipe to its end on a thread, so that a full pipe never stops the child.
fn drain(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // A pipe that breaks off gives what came before.
            let _ = pipe.read_to_end(&mut bytes);
        }
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

fn last_words(status: ExitStatus, stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = lines.len().saturating_sub(STDERR_LINES_MAX);
    let said = lines.get(tail..).unwrap_or_default().join(" | ");
    if said.is_empty() {
        format!("ended with {status}")
    } else {
        format!("ended with {status}: {said}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Outcome {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(command, limit)
    }

    fn failure(script: &str) -> String {
        match shell(script, Duration::from_secs(20)) {
            Err(Miss::Failed(why)) => why,
            other => panic!("{script}: {other:?}"),
        }
    }

    #[test]
    fn the_last_line_is_the_answer() {
        let script = r#"echo chatter; echo '{"skipped":"no luck"}'"#;
        let outcome = shell(script, Duration::from_secs(20));
        assert_eq!(outcome, Err(Miss::Skipped("no luck".to_owned())));
    }

    #[test]
    fn a_crash_tells_how_and_what_was_said() {
        let why = failure("echo 'out of stacks' >&2; kill -SEGV $$");
        assert!(why.contains("signal: 11") && why.contains("out of stacks"), "{why}");
        let why = failure(r#"echo '{"skipped":"x"}'; exit 3"#);
        assert!(why.contains("exit status: 3"), "{why}");
        assert!(failure("true").contains("printed nothing"));
    }

    #[test]
    fn a_child_that_hangs_is_ended() {
        match shell("exec sleep 60", Duration::from_millis(50)) {
            Err(Miss::Failed(why)) => assert!(why.contains("no answer within"), "{why}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn much_output_does_not_stop_the_child() {
        let script = r#"head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero; echo;
                        echo '{"skipped":"done"}'"#;
        let outcome = shell(script, Duration::from_secs(20));
        assert_eq!(outcome, Err(Miss::Skipped("done".to_owned())));
    }
}
