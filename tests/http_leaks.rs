//! Whatever ends a request too soon leaves nothing behind: no descriptor, no fiber, no memory.
//!
//! The rule of this file: it holds one test, because descriptors and memory are the process's.

mod common;
#[path = "../fiber/tests/support/counting.rs"]
mod counting;
mod http_common;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cede::http::{Request, Response};
use counting::LIVE_BYTES;
use http_common::{Lab, read_all, reset, router};

/// Connections of one kind at a time.
const AT_ONCE: usize = 40;
/// So often each kind between two looks at the heap.
const ROUNDS: usize = 10;
/// What the heap may grow by in that time: 10 bytes for each connection.
const NOISE_BYTES: usize = 40 << 10;
/// So many looks must find it level. It grows until the buffers that a shard keeps are those of the
/// most connections that were ever busy at once; a leak goes on for ever.
const LOOKS: usize = 60;
/// Time-outs of the server that are met.
const SHORT: Duration = Duration::from_millis(20);

/// What a peer sends, and what it does then.
struct Kind {
    name: &'static str,
    request: &'static str,
    end: End,
}

enum End {
    /// Resets the connection: before or after the server has begun to answer.
    Reset,
    ResetAfterFirstByte,
    /// Waits until the server gives up.
    Wait,
    /// Reads nothing until the server has given up.
    ReadNothing,
}

/// Bodies that have come to their end, be it an error.
static ENDED: AtomicUsize = AtomicUsize::new(0);

/// Responses that had begun before their connection was reset.
static FIRST_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Counts one when it goes.
struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        ENDED.fetch_add(1, Ordering::SeqCst);
    }
}

const ON_PURPOSE: &str = "a test's panic";

const KINDS: &[Kind] = &[
    Kind { name: "reset at once", request: "", end: End::Reset },
    Kind { name: "reset in a head", request: "GET / HTTP/1.1\r\nHost: a\r\nX", end: End::Reset },
    Kind {
        name: "reset in a body",
        request: "POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345",
        end: End::Reset,
    },
    Kind {
        name: "reset in a chunk",
        request: "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello",
        end: End::Reset,
    },
    Kind {
        name: "reset in trailers",
        request: "POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\nZ",
        end: End::Reset,
    },
    Kind {
        name: "reset in a handler",
        request: "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n",
        end: End::Reset,
    },
    Kind {
        name: "reset in a handler behind an answer",
        request: "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /slow HTTP/1.1\r\nHost: a\r\n\r\n",
        end: End::ResetAfterFirstByte,
    },
    Kind {
        name: "reset in a response",
        request: "GET /big HTTP/1.1\r\nHost: a\r\n\r\n",
        end: End::ResetAfterFirstByte,
    },
    Kind {
        name: "reset in an endless response",
        request: "GET /endless HTTP/1.1\r\nHost: a\r\n\r\n",
        end: End::ResetAfterFirstByte,
    },
    Kind { name: "panic", request: "GET /panic HTTP/1.1\r\nHost: a\r\n\r\n", end: End::Wait },
    Kind {
        name: "panic with a body unread",
        request: "POST /panic HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello",
        end: End::Wait,
    },
    Kind {
        name: "panic in a response",
        request: "GET /panic-in-body HTTP/1.1\r\nHost: a\r\n\r\n",
        end: End::Wait,
    },
    Kind { name: "silence", request: "", end: End::Wait },
    Kind { name: "stall in a head", request: "GET / HTTP/1.1\r\nHost", end: End::Wait },
    Kind { name: "stall between", request: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", end: End::Wait },
    Kind {
        name: "stall in a body",
        request: "POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello",
        end: End::Wait,
    },
    Kind {
        name: "stall in a body that nobody reads",
        request: "POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello",
        end: End::Wait,
    },
    Kind {
        name: "stall in a response",
        request: "GET /guarded HTTP/1.1\r\nHost: a\r\n\r\n",
        end: End::ReadNothing,
    },
    Kind { name: "malformed", request: "GET / HTTP/9\r\n\r\n", end: End::Wait },
];

#[test]
fn e15_nothing_is_left_of_thousands_of_broken_requests() {
    silence_panics_on_purpose();
    let lab = Lab::with(
        |b| {
            let b = b.head_timeout(SHORT).idle_timeout(SHORT).body_timeout(SHORT);
            b.send_timeout(SHORT).linger_timeout(SHORT).shards(1)
        },
        || {
            router()
                .get("/fibers", |_: &mut Request| cede::fibers().len().to_string())
                .post("/panic", |_: &mut Request| -> &str { panic!("{ON_PURPOSE}") })
                .get("/panic-in-body", |_: &mut Request| {
                    Response::stream("text/plain", |body| {
                        body.write_all(b"hello")?;
                        body.flush()?;
                        panic!("{ON_PURPOSE}")
                    })
                })
                .get("/guarded", |_: &mut Request| {
                    let guard = Guard;
                    Response::stream("text/plain", move |body| {
                        let _guard = &guard;
                        loop {
                            body.write_all(&[b'x'; 10_000])?;
                        }
                    })
                })
                .get("/endless", |_: &mut Request| Response::reader("text/plain", io::repeat(b'x')))
        },
    );
    let fibers = || {
        let answers = lab.answers_and_last([&b"GET /fibers HTTP/1.1\r\nHost: a\r\n\r\n"[..]]);
        String::from_utf8(answers[0].body.clone()).unwrap().parse::<usize>().unwrap()
    };
    let nothing_is_left = |before: (usize, usize), when: &str| {
        common::eventually(&format!("nothing is left: {when}"), || {
            fibers() <= before.0 && common::fds() <= before.1
        });
    };
    let before = (fibers(), common::fds());
    for kind in KINDS {
        run(&lab, kind);
        nothing_is_left(before, kind.name);
    }
    let mut live = usize::MAX;
    let is_level = (0..LOOKS).any(|look| {
        for round in 0..ROUNDS {
            for kind in KINDS {
                // The slow ones less often.
                let is_quick = matches!(kind.end, End::Reset | End::ResetAfterFirstByte);
                if is_quick || round % 5 == 0 {
                    run(&lab, kind);
                }
            }
        }
        nothing_is_left(before, "after a round");
        let earlier = std::mem::replace(&mut live, LIVE_BYTES.load(Ordering::SeqCst));
        println!("look {look}: {live} bytes on the heap");
        earlier != usize::MAX && live < earlier + NOISE_BYTES
    });
    assert!(is_level, "the heap grows for ever: {live} bytes");
    assert!(FIRST_BYTES.load(Ordering::SeqCst) > 0);
}

/// Some connections of a kind at the same time.
fn run(lab: &Lab, kind: &Kind) {
    let ended = ENDED.load(Ordering::SeqCst);
    let mut streams: Vec<TcpStream> = (0..AT_ONCE).map(|_| lab.connect()).collect();
    for stream in &mut streams {
        // On a machine that is busy the server's time-out may have come first.
        let _ = stream.write_all(kind.request.as_bytes());
    }
    if matches!(kind.end, End::ReadNothing) {
        let begun = streams.iter().filter(|stream| matches!(stream.peek(&mut [0]), Ok(1)));
        let all = ended + begun.count();
        common::eventually("the server gives up", || ENDED.load(Ordering::SeqCst) >= all);
    }
    for mut stream in streams {
        match kind.end {
            End::Reset => {}
            End::ResetAfterFirstByte => {
                let read = stream.read(&mut [0]).unwrap_or(0);
                FIRST_BYTES.fetch_add(read, Ordering::SeqCst);
            }
            End::ReadNothing => {}
            End::Wait => drop(read_all(&mut stream)),
        }
        reset(stream);
    }
}

/// Thousands of messages of panics, each with a backtrace, help nobody.
fn silence_panics_on_purpose() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload_as_str() != Some(ON_PURPOSE) {
            usual(info);
        }
    }));
}
