//! The smallest server: "Hello, World!" for every request.
//!
//!     cargo run --release --example http_hello -- --addr 127.0.0.1:8080 --shards 1
//!     curl -i http://127.0.0.1:8080/

use anyhow::Context;
use cede::Runtime;
use cede::http::{Request, Server};

fn main() -> anyhow::Result<()> {
    let mut addr = String::from("127.0.0.1:8080");
    let mut shards = std::thread::available_parallelism()?.get();
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next();
        match (name.as_str(), value) {
            ("--addr", Some(value)) => addr = value,
            ("--shards", Some(value)) => shards = value.parse()?,
            _ => anyhow::bail!("usage: http_hello [--addr ADDR] [--shards N]"),
        }
    }

    Runtime::builder().shards(shards).run(|| -> anyhow::Result<()> {
        let server =
            Server::builder().bind(&*addr).with_context(|| format!("cannot listen at {addr}"))?;
        println!("listening on http://{}/", server.local_addr()?);
        Ok(server.run(|_: &mut Request| "Hello, World!")?)
    })?
}
