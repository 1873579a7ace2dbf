//! What to run and how.
//!
//! It is std's command with a setting more, [`Command::kill_on_drop`]; what is missing here is
//! reached through [`Command::as_std_mut`].

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process as std_process;

use super::{Child, CommandArgs, CommandEnvs, ExitStatus, Output, Stdio};

/// A process to be made; see [`std::process::Command`].
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use cede::process::Command;
///
/// let output = Command::new("echo").arg("hello").output()?;
/// assert!(output.status.success());
/// assert_eq!(output.stdout, b"hello\n");
/// # Ok(()) }).unwrap().unwrap();
/// ```
#[derive(Debug)]
pub struct Command {
    command: std_process::Command,
    kill_on_drop: bool,
    /// Which of stdin, stdout and stderr were set: `output` has other defaults for the rest.
    set: [bool; 3],
}

impl Command {
    /// A program, found as the shell finds it, without arguments, in this directory and
    /// environment.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self { command: std_process::Command::new(program), kill_on_drop: false, set: [false; 3] }
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<I, S>(&mut self, args: I) -> &mut Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.command.args(args);
        self
    }

    /// Sets a variable of the environment.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.command.env(key, value);
        self
    }

    /// Sets variables of the environment.
    pub fn envs<I, K, V>(&mut self, vars: I) -> &mut Self
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.command.envs(vars);
        self
    }

    /// Removes a variable of the environment.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Self {
        self.command.env_remove(key);
        self
    }

    /// Removes all variables of the environment.
    pub fn env_clear(&mut self) -> &mut Self {
        self.command.env_clear();
        self
    }

    /// Where the program runs.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Self {
        self.command.current_dir(dir);
        self
    }

    /// Its standard input. Default: this process's for [`spawn`](Self::spawn) and
    /// [`status`](Self::status), none for [`output`](Self::output).
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Self {
        self.command.stdin(stdin);
        self.set[0] = true;
        self
    }

    /// Its standard output. Default: this process's for [`spawn`](Self::spawn) and
    /// [`status`](Self::status), a pipe for [`output`](Self::output).
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Self {
        self.command.stdout(stdout);
        self.set[1] = true;
        self
    }

    /// Its standard error, as [`stdout`](Self::stdout).
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Self {
        self.command.stderr(stderr);
        self.set[2] = true;
        self
    }

    /// Whether the process is killed when its [`Child`] is dropped before its end was seen.
    /// Default: no, as with std.
    pub fn kill_on_drop(&mut self, on: bool) -> &mut Self {
        self.kill_on_drop = on;
        self
    }

    /// The group that it joins; 0 makes a group of its own, which a ctrl-c at the terminal does not
    /// reach.
    pub fn process_group(&mut self, group: i32) -> &mut Self {
        self.command.process_group(group);
        self
    }

    /// The user that it runs as.
    pub fn uid(&mut self, id: u32) -> &mut Self {
        self.command.uid(id);
        self
    }

    /// The group that it runs as.
    pub fn gid(&mut self, id: u32) -> &mut Self {
        self.command.gid(id);
        self
    }

    /// What the program sees as its own name.
    pub fn arg0(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.command.arg0(name);
        self
    }

    /// Runs a closure in the new process before the program begins.
    ///
    /// # Safety
    ///
    /// That of [`pre_exec`](CommandExt::pre_exec): it runs after a fork, where locks of other threads
    /// are never released; nothing of a runtime works there.
    pub unsafe fn pre_exec(
        &mut self,
        f: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> &mut Self {
        // SAFETY: handed on to the caller.
        unsafe { self.command.pre_exec(f) };
        self
    }

    /// Becomes the program, in place of this process, with all its fibers.
    ///
    /// # Errors
    ///
    /// It returns only when the program could not be started, and says why.
    #[must_use = "it returns only an error"]
    pub fn exec(&mut self) -> io::Error {
        self.command.exec()
    }

    /// The program.
    #[must_use]
    pub fn get_program(&self) -> &OsStr {
        self.command.get_program()
    }

    /// The arguments.
    pub fn get_args(&self) -> CommandArgs<'_> {
        self.command.get_args()
    }

    /// The variables that are set (`Some`) or removed (`None`).
    pub fn get_envs(&self) -> CommandEnvs<'_> {
        self.command.get_envs()
    }

    /// Where it runs, if not here.
    #[must_use]
    pub fn get_current_dir(&self) -> Option<&Path> {
        self.command.get_current_dir()
    }

    /// std's command, for what has no method here. Starting that one does not park, and streams set
    /// there are not seen by [`output`](Self::output).
    pub fn as_std(&self) -> &std_process::Command {
        &self.command
    }

    /// As [`as_std`](Self::as_std).
    pub fn as_std_mut(&mut self) -> &mut std_process::Command {
        &mut self.command
    }

    /// Starts the process.
    ///
    /// # Errors
    ///
    /// Those of [`std::process::Command::spawn`], and on a thread without a runtime.
    pub fn spawn(&mut self) -> io::Result<Child> {
        Child::new(self.command.spawn()?, self.kill_on_drop)
    }

    /// Runs the process to its end and collects what it writes.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn), a cancel or a deadline. The process goes on then, unless
    /// [`kill_on_drop`](Self::kill_on_drop) was asked for.
    #[track_caller]
    pub fn output(&mut self) -> io::Result<Output> {
        let [stdin, stdout, stderr] = self.set;
        if !stdin {
            self.command.stdin(Stdio::null());
        }
        if !stdout {
            self.command.stdout(Stdio::piped());
        }
        if !stderr {
            self.command.stderr(Stdio::piped());
        }
        let child = self.spawn();
        // The defaults of a later `spawn`.
        if !stdin {
            self.command.stdin(Stdio::inherit());
        }
        if !stdout {
            self.command.stdout(Stdio::inherit());
        }
        if !stderr {
            self.command.stderr(Stdio::inherit());
        }
        child?.wait_with_output()
    }

    /// Runs the process to its end.
    ///
    /// # Errors
    ///
    /// As [`output`](Self::output).
    #[track_caller]
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        self.spawn()?.wait()
    }
}
