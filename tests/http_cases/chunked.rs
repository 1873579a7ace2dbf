//! Section D: the chunked coding.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use super::*;

const HEAD: &str = " HTTP/1.1\r\n%Transfer-Encoding: chunked\r\n\r\n";

/// To handlers that stream the body, that read it as a whole, and that do not look at it.
#[track_caller]
fn check_bodies(name: &str, bodies: &[&[u8]], expected: &[u16]) {
    for path in ["/echo", "/read", "/ignore"] {
        check_each(name, &format!("POST {path}{HEAD}"), bodies, "", expected);
    }
}

#[test]
fn d1_d2_d11_fine_bodies() {
    let bodies: [&[u8]; 14] = [
        b"0\r\n\r\n",
        b"5\r\nhello\r\n006\r\n world\r\n0\r\n\r\n",
        b"aA\r\n0123456789012345678901234567890123456789012345678901234567890123456789\
          0123456789012345678901234567890123456789012345678901234567890123456789\
          012345678901234567890123456789\r\n0\r\n\r\n",
        b"0000000000000005\r\nhello\r\n0000\r\n\r\n",
        b"5;x\r\nhello\r\n0\r\n\r\n",
        b"5;x=y\r\nhello\r\n0;z\r\n\r\n",
        b"5 ; x=\"q\\\"r\"\r\nhello\r\n0\r\n\r\n",
        b"5\t;\tx\t=\ty\r\nhello\r\n0\r\n\r\n",
        b"5;a;b=c;d=\"\"\r\nhello\r\n0\r\n\r\n",
        b"5;x=\";\\\\\"\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX: y\r\n\r\n",
        b"0\r\nX: y\r\nZ:\r\n\r\n",
        // Too late for framing, and harmless: kept out of the trailers.
        b"5\r\nhello\r\n0\r\nContent-Length: 3\r\nTransfer-Encoding: gzip\r\nHost: b\r\n\r\n",
        b"5\r\n\r\n0\r\n\r\n0\r\n\r\n",
    ];
    check_bodies("D1, D2, D11", &bodies, &[200, LAST]);
}

#[test]
fn d4_to_d8_malformed_bodies() {
    let bodies: [&[u8]; 20] = [
        // D4
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5\t\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"0 \r\n\r\n",
        // D5
        b"f0000000000000003\r\n",
        b"00000000000000005\r\nhello\r\n0\r\n\r\n",
        b"7fffffffffffffff\r\nhello",
        b"ffffffffffffffff\r\nhello",
        b"8000000000000000\r\nhello",
        b"1111111111111111111111111111111111111111111111111111111111111111111111111111111111111\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"g\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"4\r\nhello\r\n0\r\n\r\n",
        b";x\r\nhello\r\n0\r\n\r\n",
    ];
    check_bodies("D4, D5", &bodies, &[400]);
    let bodies: [&[u8]; 20] = [
        // D7
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5;x\nhello\r\n0\r\n\r\n",
        b"0\n\r\n",
        b"0\r\n\n",
        b"0\r\nX: y\n\r\n",
        b"5\rhello\r\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        // D8
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"5;a\0b\r\nhello\r\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5;\r\nhello\r\n0\r\n\r\n",
        b"5;bad[=x\r\nhello\r\n0\r\n\r\n",
        b"5;x=\r\nhello\r\n0\r\n\r\n",
        b"5;x=\"y\r\nhello\r\n0\r\n\r\n",
        b"5;x=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
        b"5;x y\r\nhello\r\n0\r\n\r\n",
        // D13
        b"0\r\nX: bad\r\r\n\r\n",
        b"0\r\nbad\r\r\n\r\n",
        b"0\r\nX : y\r\n\r\n",
    ];
    check_bodies("D7, D8, D13", &bodies, &[400]);
    let bodies: [&[u8]; 4] =
        [b"0\r\nbad\r\n\r\n", b"0\r\n: y\r\n\r\n", b"0\r\nX: y\r\n z\r\n\r\n", b"0\r\n\r\r\n"];
    check_bodies("D13", &bodies, &[400]);
}

#[test]
fn d10_a_body_that_ends_too_soon_is_an_error() {
    let lab = Lab::new();
    for path in ["/read", "/echo", "/ignore"] {
        for body in ["", "5", "5\r\nhel", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n", "0\r\nX: y\r\n"]
        {
            let request = format!("POST {path}{HEAD}{body}");
            assert_eq!(answer(&lab, request).status, 400, "{path} {body:?}");
        }
    }
}

#[test]
fn d13_trailers_at_their_limits() {
    let lab = Lab::new();
    let answered = |trailers: &str| {
        let request = format!("POST /read HTTP/1.1\r\nHost: a\r\n{}", &HEAD[12..]);
        let body = format!("0\r\n{trailers}\r\n");
        statuses(&lab, &[request.as_bytes(), body.as_bytes()])
    };
    assert_eq!(answered(&"X: y\r\n".repeat(100)), [200, LAST]);
    assert_eq!(answered(&"X: y\r\n".repeat(101)), [431]);
    let line = |bytes: usize| format!("X: {}\r\n", "y".repeat(bytes - 5));
    assert_eq!(answered(&line(16 * 1024)), [200, LAST]);
    assert_eq!(answered(&line(16 * 1024 + 1)), [431]);
    assert_eq!(answered(&line(1024).repeat(16)), [200, LAST]);
    assert_eq!(answered(&line(1024).repeat(17)), [431]);
}

#[test]
fn d14_a_million_chunks_of_one_byte() {
    const CAP: usize = 900_000;
    let done = AtomicBool::new(false);
    let (half, wait_for_half) = mpsc::channel();
    let (go_on, wait_to_go_on) = mpsc::channel();
    let lab = Lab::with(|b| b.body_bytes_max(CAP as u64).shards(1), http_common::router);
    std::thread::scope(|scope| {
        let (lab, done) = (&lab, &done);
        let sender = scope.spawn(move || {
            let mut stream = lab.connect();
            stream.write_all(&with_host(format!("POST /read{HEAD}").as_bytes())).unwrap();
            let chunks = b"1\r\nx\r\n".repeat(1000);
            (0..500).for_each(|_| stream.write_all(&chunks).unwrap());
            half.send(()).unwrap();
            wait_to_go_on.recv().unwrap();
            // It closes before all of them have come.
            let sent = (0..500).take_while(|_| stream.write_all(&chunks).is_ok()).count();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            done.store(true, Ordering::SeqCst);
            (sent, answer)
        });
        // Others on the same shard are served in the middle of it, and all the while.
        wait_for_half.recv().unwrap();
        let serve = || {
            assert_eq!(statuses(lab, &[b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"]), [200, LAST]);
        };
        serve();
        go_on.send(()).unwrap();
        while !done.load(Ordering::SeqCst) && !sender.is_finished() {
            serve();
        }
        let (sent, answer) = sender.join().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 413", "after {sent} thousand chunks more");
    });
    // Exactly as many as allowed are fine.
    let lab = Lab::with(|b| b.body_bytes_max(10_000), http_common::router);
    for (chunks, expected) in [(10_000, &[200, LAST][..]), (10_001, &[413])] {
        let body =
            [with_host(format!("POST /read{HEAD}").as_bytes()), b"1\r\nx\r\n".repeat(chunks)];
        assert_eq!(statuses(&lab, &[&body.concat(), b"0\r\n\r\n"]), expected, "{chunks}");
    }
}

#[test]
fn d16_a_body_is_the_same_however_it_comes() {
    let lab = Lab::new();
    let input = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n7;x\r\n fibers\r\n0\r\n\r\n";
    let body = |parts: &mut dyn Iterator<Item = &[u8]>| answers(&lab.talk(parts)).remove(0).body;
    for size in [1, 2, 3, 7, 1000] {
        assert_eq!(body(&mut input.chunks(size)), b"hello fibers", "in pieces of {size}");
    }
    for at in 1..input.len() {
        let (a, b) = input.split_at(at);
        assert_eq!(body(&mut [a, b].into_iter()), b"hello fibers", "split at {at}");
    }
}
