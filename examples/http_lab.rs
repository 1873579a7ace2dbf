//! A server to try things on: bodies, streams, time-outs, panics, drains.
//!
//!     cargo run --release --example http_lab -- --addr 127.0.0.1:8080 --shards 1
//!     curl -i http://127.0.0.1:8080/stream?chunks=3\&size=10
//!     curl -i --data-binary @Cargo.toml http://127.0.0.1:8080/echo

use std::io::{self, Read, Write};
use std::time::Duration;

use anyhow::Context;
use cede::Runtime;
use cede::http::{Path, Query, Request, Response, Router, Server};
use serde::Deserialize;

const USAGE: &str = "usage: http_lab [--addr ADDR] [--shards N] [--head-timeout-ms N] \
    [--idle-timeout-ms N] [--body-timeout-ms N] [--send-timeout-ms N] [--body-bytes-max N] \
    [--connections-max N]";

/// Bytes that one request may make this server send.
const SEND_BYTES_MAX: u64 = 1 << 32;

fn router() -> Router {
    Router::new()
        .get("/", |_: &mut Request| "Hello, World!")
        .post("/echo", echo)
        .post("/ignore", |_: &mut Request| "ignored\n")
        .get("/slow", slow)
        .get("/panic", |_: &mut Request| -> &str { panic!("a handler's own mistake") })
        .get("/stream", stream)
        .get("/bytes", bytes)
        .get("/status/{code}", status)
        .get("/inject", |_: &mut Request| {
            Response::text("never sent").with_header("X-Injected", "a\r\nSet-Cookie: b=c")
        })
}

/// Bodies up to this are echoed when they are whole, so that what is wrong with one is the answer;
/// longer ones while they come. More than the usual limit of a body.
const WHOLE_BYTES_MAX: u64 = 2 << 20;

fn echo(request: &mut Request) -> io::Result<Response> {
    let mut start = Vec::new();
    request.body().take(WHOLE_BYTES_MAX).read_to_end(&mut start)?;
    if request.body().is_done() {
        return Ok(Response::bytes("application/octet-stream", start));
    }
    request.stream(Response::new(200), |body, out| {
        out.write_all(&start)?;
        io::copy(body, out).map(drop)
    })
}

#[derive(Deserialize)]
struct Slow {
    #[serde(default)]
    ms: u64,
}

fn slow(request: &mut Request) -> anyhow::Result<&'static str> {
    let Query(Slow { ms }) = request.extract()?;
    cede::sleep(Duration::from_millis(ms))?;
    Ok("slow\n")
}

#[derive(Deserialize)]
struct Stream {
    chunks: u32,
    size: usize,
}

fn stream(request: &mut Request) -> anyhow::Result<Response> {
    let Query(Stream { chunks, size }) = request.extract()?;
    let chunk = vec![b'x'; size.min(1 << 20)];
    Ok(Response::stream("text/plain", move |body| {
        for _ in 0..chunks {
            body.write_all(&chunk)?;
            body.flush()?;
        }
        Ok(())
    }))
}

#[derive(Deserialize)]
struct Bytes {
    n: u64,
}

fn bytes(request: &mut Request) -> anyhow::Result<Response> {
    let Query(Bytes { n }) = request.extract()?;
    let n = n.min(SEND_BYTES_MAX);
    let bytes = io::repeat(b'x').take(n);
    Ok(Response::reader("application/octet-stream", bytes).with_length(n))
}

fn status(request: &mut Request) -> anyhow::Result<Response> {
    let Path(code) = request.extract::<Path<u16>>()?;
    Ok(Response::new(code))
}

fn main() -> anyhow::Result<()> {
    let mut addr = String::from("127.0.0.1:8080");
    let mut shards = 1;
    let mut server = Server::builder();
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| anyhow::anyhow!(USAGE))?;
        let ms = || value.parse().map(Duration::from_millis);
        match name.as_str() {
            "--addr" => addr = value,
            "--shards" => shards = value.parse()?,
            "--head-timeout-ms" => server = server.head_timeout(ms()?),
            "--idle-timeout-ms" => server = server.idle_timeout(ms()?),
            "--body-timeout-ms" => server = server.body_timeout(ms()?),
            "--send-timeout-ms" => server = server.send_timeout(ms()?),
            "--connections-max" => server = server.connections_max(value.parse()?),
            "--body-bytes-max" => server = server.body_bytes_max(value.parse()?),
            _ => anyhow::bail!(USAGE),
        }
    }

    Runtime::builder().shards(shards).run(|| -> anyhow::Result<()> {
        let server = server.bind(&*addr).with_context(|| format!("cannot listen at {addr}"))?;
        println!("listening on http://{}/", server.local_addr()?);
        Ok(server.run(router())?)
    })?
}
