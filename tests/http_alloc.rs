//! A request that is answered with what is there already allocates nothing.
//!
//! The rule of this file: it holds one test, because the counter is the process's.

#[path = "../fiber/tests/support/counting.rs"]
mod counting;
mod http_common;

use std::io::{Read, Write};
use std::sync::atomic::Ordering;

use counting::ALLOCATIONS;
use http_common::{Lab, router};

#[test]
fn requests_allocate_nothing() {
    let lab = Lab::with(|b| b.requests_per_connection(10_000), router);
    let mut stream = lab.connect();
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n";
    let mut buf = [0; 4096];
    // All responses are as long as the first.
    stream.write_all(request).unwrap();
    let mut len = 0;
    while !buf[..len].ends_with(b"hello") {
        len += stream.read(&mut buf[len..]).unwrap();
    }
    // One by one, and in bursts that are answered together.
    let mut ask = |bursts: usize, requests: usize| {
        let requests = request.repeat(requests);
        let bytes = requests.len() / request.len() * len;
        for _ in 0..bursts {
            stream.write_all(&requests).unwrap();
            let mut left = bytes;
            while left > 0 {
                let max = left.min(buf.len());
                left -= stream.read(&mut buf[..max]).unwrap();
            }
        }
    };
    ask(100, 1);
    ask(10, 16);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    ask(1000, 1);
    ask(100, 16);
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    // What the harness of the tests does at the same time is not counted apart.
    assert!(allocations < 50, "{allocations} allocations in 2600 requests");
}
