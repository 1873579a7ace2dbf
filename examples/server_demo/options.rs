//! The command line.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

/// Threads of one kind at most.
pub(crate) const THREADS_MAX: usize = 512;
/// Connections of one accept thread at most.
pub(crate) const CAPACITY_MAX: usize = 1 << 30;
/// The longest task and the longest wait for a request: an hour.
const MILLISECONDS_MAX: u64 = 3_600_000;

pub(crate) const HELP: &str = "\
server_demo - an event loop and worker threads

usage: server_demo [OPTION]...

  -p, --port=N             TCP port, 0 for any that is free (default 9000)
  -a, --address=IP         address to listen at (default 0.0.0.0)
  -A, --accept-threads=N   threads that accept, each with an event loop and a listening socket of
                           its own (default: as many as there are cores)
  -C, --accept-capacity=N  connections that one accept thread holds at a time (default 100000)
  -w, --worker-threads=N   threads for slow requests; with 0 these are answered like fast ones
                           (default: as many as accept threads)
  -D, --slow-duration=MS   how long a slow request takes (default 30)
  -x, --delegate=WHAT      what a worker is given: task (the work alone), socket (the connection too,
                           which it serves synchronously) or loop (the connection, for the worker's
                           own event loop) (default task)
  -t, --request-timeout=MS how long a client may take to send its request, 0 for ever (default 30000)
  -v, --verbose            say what happens
  -d, --daemonize          go to the background, to /var/tmp
  -?, --help               show this

SIGUSR1 prints statistics, SIGINT and SIGTERM end the server when its connections have ended.
";

/// What a worker is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delegate {
    /// The task; the connection stays in the accept thread's event loop.
    Task,
    /// The connection, which leaves the event loop and is served synchronously.
    Socket,
    /// The connection, which moves to the event loop of the worker.
    Loop,
}

/// What the command line asks for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) accept_threads: usize,
    pub(crate) accept_capacity: usize,
    pub(crate) worker_threads: usize,
    pub(crate) slow_duration: Duration,
    pub(crate) delegate: Delegate,
    /// `None`: as long as the client likes.
    pub(crate) request_timeout: Option<Duration>,
    pub(crate) verbose: bool,
    pub(crate) daemonize: bool,
    pub(crate) help: bool,
}

impl Options {
    /// Reads the arguments that follow the program's name.
    ///
    /// # Errors
    ///
    /// What is wrong with them, for people.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let cores = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let mut workers = None;
        let mut options = Self {
            address: IpAddr::from([0, 0, 0, 0]),
            port: 9000,
            accept_threads: cores,
            accept_capacity: 100_000,
            worker_threads: 0,
            slow_duration: Duration::from_millis(30),
            delegate: Delegate::Task,
            request_timeout: Some(Duration::from_millis(30_000)),
            verbose: false,
            daemonize: false,
            help: false,
        };
        let mut args = Arguments { rest: args.into_iter(), flags: String::new(), value: None };
        while let Some(name) = args.next()? {
            match &*name {
                "-p" | "--port" => options.port = args.number(&name, 0..=u16::MAX)?,
                "-a" | "--address" => options.address = args.parsed(&name)?,
                "-A" | "--accept-threads" => {
                    options.accept_threads = args.number(&name, 1..=THREADS_MAX)?;
                }
                "-C" | "--accept-capacity" => {
                    options.accept_capacity = args.number(&name, 1..=CAPACITY_MAX)?;
                }
                "-w" | "--worker-threads" => {
                    workers = Some(args.number(&name, 0..=THREADS_MAX)?);
                }
                "-D" | "--slow-duration" => {
                    let ms = args.number(&name, 0..=MILLISECONDS_MAX)?;
                    options.slow_duration = Duration::from_millis(ms);
                }
                "-t" | "--request-timeout" => {
                    let ms = args.number(&name, 0..=MILLISECONDS_MAX)?;
                    options.request_timeout = (ms > 0).then(|| Duration::from_millis(ms));
                }
                "-x" | "--delegate" => options.delegate = args.parsed(&name)?,
                "-v" | "--verbose" => options.verbose = args.flag(&name)?,
                "-d" | "--daemonize" => options.daemonize = args.flag(&name)?,
                "-?" | "-h" | "--help" => options.help = args.flag(&name)?,
                _ => return Err(format!("unknown option {name}")),
            }
        }
        options.worker_threads = workers.unwrap_or(options.accept_threads);
        Ok(options)
    }
}

impl FromStr for Delegate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "task" => Ok(Self::Task),
            "socket" => Ok(Self::Socket),
            "loop" => Ok(Self::Loop),
            _ => Err("task, socket or loop can be delegated"),
        }
    }
}

/// Arguments as GNU's programs take them: `-p 1`, `-p1`, `--port 1`, `--port=1`, `-vd`.
struct Arguments<I> {
    rest: I,
    /// Letters of a group that were not looked at yet.
    flags: String,
    /// Given with `=`.
    value: Option<String>,
}

impl<I: Iterator<Item = String>> Arguments<I> {
    /// The name of the next option.
    fn next(&mut self) -> Result<Option<String>, String> {
        if let Some(value) = &self.value {
            return Err(format!("a value that nobody asked for: {value}"));
        }
        if !self.flags.is_empty() {
            return Ok(Some(format!("-{}", self.flags.remove(0))));
        }
        let Some(arg) = self.rest.next() else { return Ok(None) };
        if let Some((name, value)) = arg.split_once('=').filter(|_| arg.starts_with("--")) {
            self.value = Some(value.to_string());
            return Ok(Some(name.to_string()));
        }
        match arg.strip_prefix('-') {
            Some(letters) if !letters.starts_with('-') && !letters.is_empty() => {
                self.flags = letters.to_string();
                Ok(Some(format!("-{}", self.flags.remove(0))))
            }
            Some(_) => Ok(Some(arg)),
            None => Err(format!("{arg} is no option")),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, String> {
        if self.value.is_some() { Err(format!("{name} takes no value")) } else { Ok(true) }
    }

    /// The value of the option that was read last.
    fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<T, String> {
        let attached = Some(std::mem::take(&mut self.flags)).filter(|text| !text.is_empty());
        let text = self.value.take().or(attached).or_else(|| self.rest.next());
        let text = text.ok_or_else(|| format!("{name} needs a value"))?;
        text.parse().map_err(|error| format!("{name} {text}: {error}"))
    }

    fn number<T>(&mut self, name: &str, range: RangeInclusive<T>) -> Result<T, String>
    where
        T: FromStr<Err: Display> + PartialOrd + Display,
    {
        let number = self.parsed(name)?;
        if range.contains(&number) {
            return Ok(number);
        }
        Err(format!("{name} {number}: {} to {} are possible", range.start(), range.end()))
    }
}
