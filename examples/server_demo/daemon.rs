//! Going to the background.
//!
//! The surprising rule: nothing forks. A process with threads must not go on after a fork, so the
//! program starts itself again, in a session of its own, and ends when that one serves or has
//! failed. The two talk through a socket pair that is the new one's standard input.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};

/// Says to a process that it is the one in the background.
const VARIABLE: &str = "CEDE_SERVER_DEMO_DAEMON";
/// Where it runs.
const DIRECTORY: &str = "/var/tmp";

/// The process that waits for this one to serve.
pub(crate) struct Starter(UnixStream);

impl Starter {
    /// The one that started this process, if it is the one in the background. It becomes the leader
    /// of a session without a terminal.
    ///
    /// # Errors
    ///
    /// When the standard input is not what [`start`] made it.
    pub(crate) fn of_this_process() -> io::Result<Option<Self>> {
        if env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        // SAFETY: no pointers are passed. It fails for the leader of a process group, which a child
        // is not; then a session is there already.
        unsafe { libc::setsid() };
        let socket: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Some(Self(socket.into())))
    }

    /// Tells it how things stand; it may have gone.
    pub(crate) fn tell(mut self, line: &str) {
        let _ = writeln!(self.0, "{line}");
    }
}

/// Starts this program again in the background and says what became of it. With `keep_output` it
/// keeps the standard output and error.
///
/// # Errors
///
/// When the process cannot be started.
pub(crate) fn start(keep_output: bool) -> io::Result<ExitCode> {
    let (mine, theirs) = UnixStream::pair()?;
    let output = || if keep_output { Stdio::inherit() } else { Stdio::null() };
    let mut command = Command::new(env::current_exe()?);
    command.args(env::args_os().skip(1)).env(VARIABLE, "1").current_dir(DIRECTORY);
    command.stdin(OwnedFd::from(theirs)).stdout(output()).stderr(output());
    let mut child = command.spawn()?;
    // It holds the other end, which must be the only one left.
    drop(command);
    let mut line = String::new();
    BufReader::new(mine).read_line(&mut line)?;
    if let Some(serves) = line.strip_prefix("listening ") {
        println!("listening {} as process {}", serves.trim_end(), child.id());
        return Ok(ExitCode::SUCCESS);
    }
    eprint!("{line}");
    let code = child.wait()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(crate::EXIT_OTHER)))
}
