//! A legacy application before and after its port from threads to fibers, and both under one load.
//!
//!     cargo run --release --example legacy_port -- --fibers
//!     cargo run --release --example legacy_port -- --compare
//!     diff -r examples/legacy_port/before examples/legacy_port/after
//!
//! `before/` and `after/` are the whole program twice; what is the same text is the same file, by
//! symbolic links. The guide to such a port is docs/porting.md.

#![allow(clippy::duplicate_mod, reason = "files without a change are links")]

mod after;
mod before;
mod compare;
mod options;
mod storage;

use options::{Mode, Options};

fn main() -> anyhow::Result<()> {
    let mut options = Options::parse(std::env::args().skip(1))?;
    if options.redis.is_empty() {
        options.redis = storage::start()?.to_string();
    }
    match options.mode {
        Mode::Threads => before::start(&options)?,
        Mode::Fibers => after::start(&options)?,
        Mode::Compare => compare::compare(&options)?,
    }
    Ok(())
}
