//! Sends back whatever comes: one listener per shard, one fiber per connection.
//!
//!     cargo run --release --example echo_server -- --addr 127.0.0.1:7000 --shards 2

use std::io;

use cede::Runtime;
use cede::net::{TcpListener, TcpStream};

fn main() -> anyhow::Result<()> {
    let (mut addr, mut shards) = ("127.0.0.1:7000".to_string(), 1);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().unwrap_or_default();
        match arg.as_str() {
            "--addr" => addr = value,
            "--shards" => shards = value.parse()?,
            _ => anyhow::bail!("echo_server [--addr HOST:PORT] [--shards N]"),
        }
    }
    Runtime::builder().shards(shards).run(|| serve(&addr))?
}

fn serve(addr: &str) -> anyhow::Result<()> {
    let listener = TcpListener::bind_shared(addr)?;
    let addr = listener.local_addr()?;
    for shard in cede::shards().split_off(1) {
        // The kernel spreads the connections; each one stays on the shard that accepted it.
        shard.spawn(move || accept(&TcpListener::bind_shared(addr)?))?;
    }
    cede::spawn(move || accept(&listener));
    let mut ctrl_c = cede::signal::ctrl_c()?;
    println!("echo on {addr}; try: nc {} {}", addr.ip(), addr.port());
    Ok(ctrl_c.recv()?) // the end of this fiber cancels all others
}

fn accept(listener: &TcpListener) -> io::Result<()> {
    for stream in listener.incoming() {
        let stream = stream?;
        cede::spawn(move || {
            if let Err(error) = echo(&stream) {
                eprintln!("{stream:?}: {error}");
            }
        });
    }
    Ok(())
}

fn echo(mut stream: &TcpStream) -> io::Result<()> {
    io::copy(&mut &*stream, &mut stream).map(drop)
}
