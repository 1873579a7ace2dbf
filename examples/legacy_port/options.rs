//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};

const USAGE: &str = "\
usage: legacy_port --threads | --fibers | --compare [OPTION VALUE...]
  --threads   the shop as it was, with a thread per connection
  --fibers    the same after the port
  --compare   both in turn under one load
  --addr      where it listens (127.0.0.1:8080)
  --redis     HOST:PORT of a Redis (without it: a small storage of its own, in memory)
  --log       the file of the access log (legacy_port.log in the folder for temporary files)
of --compare:
  --clients   connections that ask one thing after another (64)
  --idle      connections that are open and say nothing (1000)
  --seconds   for each of both (5)";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Threads,
    Fibers,
    Compare,
}

pub(crate) struct Options {
    pub(crate) mode: Mode,
    pub(crate) addr: String,
    /// Empty without a Redis.
    pub(crate) redis: String,
    pub(crate) log: PathBuf,
    pub(crate) clients: usize,
    pub(crate) idle: usize,
    pub(crate) seconds: u64,
}

impl Options {
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut mode = None;
        let mut options = Self {
            mode: Mode::Compare,
            addr: "127.0.0.1:8080".to_owned(),
            redis: String::new(),
            log: std::env::temp_dir().join("legacy_port.log"),
            clients: 64,
            idle: 1000,
            seconds: 5,
        };
        while let Some(name) = args.next() {
            let mut value = || args.next().with_context(|| format!("{name} what?\n{USAGE}"));
            match name.as_str() {
                "--threads" => mode = Some(Mode::Threads),
                "--fibers" => mode = Some(Mode::Fibers),
                "--compare" => mode = Some(Mode::Compare),
                "--addr" => options.addr = value()?,
                "--redis" => options.redis = value()?,
                "--log" => options.log = value()?.into(),
                "--clients" => options.clients = value()?.parse().context("--clients")?,
                "--idle" => options.idle = value()?.parse().context("--idle")?,
                "--seconds" => options.seconds = value()?.parse().context("--seconds")?,
                _ => bail!("{USAGE}"),
            }
        }
        let Some(mode) = mode else { bail!("{USAGE}") };
        Ok(Self { mode, ..options })
    }

    pub(crate) fn print_what_to_try(&self, addr: SocketAddr) {
        println!("listening on http://{addr}/");
        println!("try: curl http://{addr}/");
        println!("     curl -i -d pieces=2 http://{addr}/books/1/orders");
        println!(
            "     curl -i -d 'title=Dune&author=Herbert&price=8.50&stock=3' http://{addr}/books"
        );
        println!("the access log is {}", self.log.display());
    }
}
