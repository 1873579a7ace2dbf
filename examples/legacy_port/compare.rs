//! Both variants in turn, each a process of its own, under the same load.
//!
//! The load comes from fibers of this process. What is measured is the shop's process alone: its
//! CPU time, its memory, its threads.

use std::cell::Cell;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use cede::net::TcpStream;

use crate::options::Options;

const QUESTIONS: [&str; 2] = ["/", "/books/1"];
/// Until a new process has come to rest.
const WARM_UP: Duration = Duration::from_millis(500);

struct Figures {
    requests: usize,
    seconds: f64,
    cpu_seconds: f64,
    resident_mib: f64,
    threads: String,
}

pub(crate) fn compare(options: &Options) -> anyhow::Result<()> {
    raise_descriptors()?;
    println!(
        "{} clients ask, {} connections are idle, {} s each",
        options.clients, options.idle, options.seconds
    );
    println!(
        "{:8} {:>10} {:>12} {:>12} {:>8}",
        "", "requests/s", "CPU us each", "memory MiB", "threads"
    );
    for variant in ["threads", "fibers"] {
        let figures =
            measure(variant, options).with_context(|| format!("the shop on {variant}"))?;
        println!(
            "{variant:8} {:>10.0} {:>12.1} {:>12.1} {:>8}",
            figures.requests as f64 / figures.seconds,
            figures.cpu_seconds * 1e6 / figures.requests as f64,
            figures.resident_mib,
            figures.threads
        );
    }
    Ok(())
}

/// A shop until it is dropped.
struct Shop {
    process: Child,
    /// Kept open, since the shop says more there.
    output: BufReader<ChildStdout>,
    addr: String,
}

impl Shop {
    fn start(variant: &str, options: &Options) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([&format!("--{variant}"), "--addr", "127.0.0.1:0", "--redis", &options.redis]);
        let mut process = command.arg("--log").arg(&options.log).stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(process.stdout.take().context("no output")?);
        let mut shop = Self { process, output, addr: String::new() };
        let mut line = String::new();
        shop.output.read_line(&mut line)?;
        let addr =
            line.trim().strip_prefix("listening on http://").context("it does not listen")?;
        addr.trim_end_matches('/').clone_into(&mut shop.addr);
        Ok(shop)
    }

    fn file(&self, name: &str) -> io::Result<String> {
        fs::read_to_string(format!("/proc/{}/{name}", self.process.id()))
    }

    /// A line of its status, such as `Threads`.
    fn status(&self, name: &str) -> io::Result<String> {
        let text = self.file("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(line.unwrap_or_default().trim().to_owned())
    }

    /// Of all its threads.
    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let text = self.file("stat")?;
        // The name in brackets may hold anything. Times are in ticks of 10 ms.
        let (_, fields) = text.rsplit_once(')').context("no name")?;
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks = ticks.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok(ticks as f64 / 100.0)
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn measure(variant: &str, options: &Options) -> anyhow::Result<Figures> {
    let shop = Shop::start(variant, options)?;
    cede::run(|| -> anyhow::Result<Figures> {
        // Each has asked once, so that its thread or its fiber is there.
        let mut idle = Vec::new();
        for _ in 0..options.idle {
            let mut client = Client::connect(&shop.addr)?;
            client.ask(QUESTIONS[0])?;
            idle.push(client);
        }
        let (requests, ended) = (Cell::new(0), Cell::new(false));
        cede::scope(|scope| -> anyhow::Result<Figures> {
            let clients: Vec<_> = (0..options.clients)
                .map(|_| {
                    scope.spawn(|| -> io::Result<()> {
                        let mut client = Client::connect(&shop.addr)?;
                        for question in QUESTIONS.iter().cycle().take_while(|_| !ended.get()) {
                            client.ask(question)?;
                            requests.set(requests.get() + 1);
                        }
                        Ok(())
                    })
                })
                .collect();
            cede::sleep(WARM_UP)?;
            let (start, before, cpu) = (Instant::now(), requests.get(), shop.cpu_seconds()?);
            cede::sleep(Duration::from_secs(options.seconds))?;
            let (seconds, requests) = (start.elapsed().as_secs_f64(), requests.get() - before);
            let cpu_seconds = shop.cpu_seconds()? - cpu;
            let kib: f64 = shop.status("VmRSS")?.trim_end_matches(" kB").parse()?;
            let threads = shop.status("Threads")?;
            ended.set(true);
            for client in clients {
                client.join().map_err(|_| io::Error::other("a client panicked"))??;
            }
            Ok(Figures { requests, seconds, cpu_seconds, resident_mib: kib / 1024.0, threads })
        })
    })?
}

struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(addr: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    fn ask(&mut self, path: &str) -> io::Result<()> {
        let question = format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n");
        self.stream.get_mut().write_all(question.as_bytes())?;
        let (mut line, mut length) = (String::new(), 0);
        self.stream.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(format!("the shop answers {line:?}")));
        }
        while line != "\r\n" {
            line.clear();
            self.stream.read_line(&mut line)?;
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        io::copy(&mut self.stream.by_ref().take(length), &mut io::sink())?;
        Ok(())
    }
}

/// Lets this process and the shops open as many sockets as they may. Each connection is one here
/// and one there.
fn raise_descriptors() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0 {
                return Ok(());
            }
        }
    }
    Err(io::Error::last_os_error())
}
