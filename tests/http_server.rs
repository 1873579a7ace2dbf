//! The life of connections: pipelines, time-outs, resets, drains, and what is left of them.

mod common;
mod http_common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cede::http::{Event, Request, Response, Router, Sse};
use http_common::{LAST_REQUEST, Lab, answers, read_all, reset, router};

/// Descriptors are the process's, so tests that count them run alone.
static ALONE: Mutex<()> = Mutex::new(());

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Long enough for whatever is expected to happen before it.
const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(40);

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[test]
fn e4_ten_thousand_pipelined_requests_are_answered_in_order() {
    let _alone = alone();
    let lab = Lab::with(|b| b.requests_per_connection(100_000), router);
    let mut stream = lab.connect();
    let mut writer = stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        for n in 0..10_000 {
            let request = format!("GET /echo-path/{n} HTTP/1.1\r\nHost: a\r\n\r\n");
            writer.write_all(request.as_bytes()).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let answers = answers(&read_all(&mut stream));
    sending.join().unwrap();
    assert_eq!(answers.len(), 10_000);
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer.body, n.to_string().as_bytes());
    }
}

#[test]
fn e6_an_answer_does_not_wait_for_the_next_handler() {
    let _alone = alone();
    static GATE: AtomicUsize = AtomicUsize::new(0);
    let lab = Lab::with(
        |b| b,
        || {
            router().get("/gate", |_: &mut Request| {
                while GATE.load(Ordering::SeqCst) == 0 {
                    cede::sleep(Duration::from_millis(1))?;
                }
                std::io::Result::Ok("passed")
            })
        },
    );
    let gate = b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n";
    // Alone, behind others, and with one whose body is streamed while it is read.
    let echo = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok";
    for before in [GET.to_vec(), GET.repeat(50), [GET, echo].concat()] {
        GATE.store(0, Ordering::SeqCst);
        let mut stream = lab.connect();
        stream.write_all(&[&before[..], gate, GET].concat()).unwrap();
        let expected = before.windows(8).filter(|window| window == b"HTTP/1.1").count();
        let mut bytes = Vec::new();
        while bytes.windows(8).filter(|window| window == b"HTTP/1.1").count() < expected
            || !(bytes.ends_with(b"hello") || bytes.ends_with(b"0\r\n\r\n"))
        {
            let mut piece = [0; 1000];
            let n = stream.read(&mut piece).unwrap();
            bytes.extend_from_slice(&piece[..n]);
        }
        // The handler still waits.
        assert_eq!(answers(&bytes).len(), expected);
        GATE.store(1, Ordering::SeqCst);
        stream.write_all(LAST_REQUEST).unwrap();
        let rest = answers(&read_all(&mut stream));
        assert_eq!(rest.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 200, 299]);
        assert_eq!(rest[0].body, b"passed");
    }
}

#[test]
fn requests_per_connection_end_with_a_close() {
    let _alone = alone();
    let lab = Lab::with(|b| b.requests_per_connection(3), router);
    let answers = answers(&lab.talk([&GET.repeat(5)[..]]));
    let closes: Vec<_> = answers.iter().map(|answer| answer.header("connection")).collect();
    assert_eq!(closes, [None, None, Some("close")]);
}

#[test]
fn a_close_that_the_peer_does_not_expect_is_no_reset() {
    let _alone = alone();
    let lab = Lab::with(|b| b.requests_per_connection(2), router);
    let panic = &b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n"[..];
    for requests in [panic, &GET.repeat(2)] {
        let mut stream = lab.connect();
        stream.write_all(requests).unwrap();
        // The response is there, so the server has decided; requests that were on their way come.
        let mut bytes = vec![0; 4];
        stream.read_exact(&mut bytes).unwrap();
        for _ in 0..10 {
            stream.write_all(&GET.repeat(10)).unwrap();
        }
        stream.shutdown(Shutdown::Write).unwrap();
        stream.read_to_end(&mut bytes).expect("no reset");
        assert_eq!(answers(&bytes).last().unwrap().header("connection"), Some("close"));
    }
}

#[test]
fn e10_expect_100_continue() {
    let _alone = alone();
    let lab = Lab::new();
    let mut stream = lab.connect();
    let head =
        "POST /read HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").unwrap();
    stream.write_all(LAST_REQUEST).unwrap();
    let answers = answers(&read_all(&mut stream));
    assert_eq!((answers[0].status, &*answers[0].body), (200, &b"hello"[..]));
    assert_eq!(answers[1].status, 299);

    // E12: a handler that does not want the body says so at once, and the connection closes.
    let mut stream = lab.connect();
    stream.write_all(head.replace("/read", "/ignore").as_bytes()).unwrap();
    let answers = http_common::answers(&read_all(&mut stream));
    assert_eq!((answers.len(), answers[0].status), (1, 200));
    assert_eq!(answers[0].header("connection"), Some("close"));
}

#[test]
fn time_outs_close_what_waits_too_long() {
    let _alone = alone();
    let fds = common::fds();
    // G6, G7: the time for a head is absolute, from the accept on.
    let lab = Lab::with(|b| b.head_timeout(SHORT).idle_timeout(LONG), router);
    let mut silent = lab.connect();
    assert_eq!(read_all(&mut silent), b"");
    // On a busy machine the first byte may come too late, and then it is a silent one again.
    let start = Instant::now();
    let slow = loop {
        let mut slow = lab.connect();
        let mut fast = slow.try_clone().unwrap();
        let dripping = std::thread::spawn(move || {
            let drip = GET.iter().chain(b"X".iter().cycle());
            drip.take_while(|byte| {
                let sent = **byte != b'\r' && fast.write_all(&[**byte]).is_ok();
                std::thread::sleep(Duration::from_millis(5));
                sent
            })
            .count()
        });
        let answered = answers(&read_all(&mut slow));
        dripping.join().unwrap();
        if !answered.is_empty() {
            assert_eq!(answered.iter().map(|answer| answer.status).collect::<Vec<_>>(), [408]);
            break slow;
        }
        assert!(start.elapsed() < common::HANG, "nobody is told that a head took too long");
    };
    drop(lab);

    // E9: silently.
    let lab = Lab::with(|b| b.head_timeout(LONG).idle_timeout(SHORT), router);
    let mut idle = lab.connect();
    idle.write_all(GET).unwrap();
    assert_eq!(answers(&read_all(&mut idle)).len(), 1);
    drop(lab);

    // C19, G8: a body without progress.
    let lab = Lab::with(|b| b.body_timeout(SHORT), router);
    let mut stalled = lab.connect();
    stalled
        .write_all(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
        .unwrap();
    let answered = answers(&read_all(&mut stalled));
    assert_eq!(answered.iter().map(|answer| answer.status).collect::<Vec<_>>(), [408]);
    drop(lab);
    drop((silent, slow, idle, stalled));
    common::eventually("all descriptors are closed", || common::fds() <= fds);
}

#[test]
fn e15_resets_in_every_phase_leave_nothing() {
    let _alone = alone();
    static LIVE: AtomicUsize = AtomicUsize::new(0);
    struct Live;
    impl Drop for Live {
        fn drop(&mut self) {
            LIVE.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let lab = Lab::with(
        |b| b,
        || {
            router().any("/held", |request: &mut Request| {
                LIVE.fetch_add(1, Ordering::SeqCst);
                let live = Live;
                let _ = request.body_bytes();
                Response::stream("text/plain", move |body| {
                    let _live = &live;
                    loop {
                        body.write_all(&[b'x'; 10_000])?;
                    }
                })
            })
        },
    );
    let phases: [&[u8]; 7] = [
        b"",
        b"GET / HT",
        GET,
        b"POST /held HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12",
        b"POST /held HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
        b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    let fds = common::fds();
    for _ in 0..20 {
        for phase in phases {
            let mut stream = lab.connect();
            stream.write_all(phase).unwrap();
            reset(stream);
        }
    }
    assert_eq!(lab.statuses([GET]), [200, 299], "others are served");
    common::eventually("all descriptors are closed", || common::fds() <= fds);
    common::eventually("all handlers have ended", || LIVE.load(Ordering::SeqCst) == 0);
}

#[test]
fn e16_drain_closes_idle_ones_and_lets_active_ones_finish() {
    let _alone = alone();
    let lab = Lab::with(
        |b| b.drain_timeout(LONG),
        || {
            router().get("/gate", |_: &mut Request| {
                ENTERED.fetch_add(1, Ordering::SeqCst);
                while GATE.load(Ordering::SeqCst) == 0 {
                    cede::sleep(Duration::from_millis(1))?;
                }
                std::io::Result::Ok("passed")
            })
        },
    );
    static ENTERED: AtomicUsize = AtomicUsize::new(0);
    static GATE: AtomicUsize = AtomicUsize::new(0);
    // So many that each shard has one: those show that its drain has begun.
    let mut idle: Vec<_> = (0..16).map(|_| lab.connect()).collect();
    for stream in &mut idle {
        stream.write_all(GET).unwrap();
        stream.peek(&mut [0]).unwrap();
    }
    let mut silent = lab.connect();
    let mut active = lab.connect();
    active.write_all(b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    common::eventually("the handler runs", || ENTERED.load(Ordering::SeqCst) == 1);
    lab.drain();
    for stream in &mut idle {
        assert_eq!(answers(&read_all(stream)).len(), 1);
    }
    assert_eq!(read_all(&mut silent), b"");
    // The shard of the active one learns of it at a time of its own.
    common::eventually("nobody listens", || TcpStream::connect(lab.addr).is_err());
    GATE.store(1, Ordering::SeqCst);
    let answered = answers(&read_all(&mut active));
    assert_eq!(answered[0].body, b"passed");
    assert_eq!(answered[0].header("connection"), Some("close"));
    let addr = lab.addr;
    lab.stop();
    assert!(TcpStream::connect(addr).is_err());
}

#[test]
fn a_drain_gives_up_at_its_deadline() {
    let _alone = alone();
    let stuck = || Router::new().get("/", |_: &mut Request| cede::park());
    let lab = Lab::with(|b| b.drain_timeout(SHORT), stuck);
    let mut stream = lab.connect();
    stream.write_all(GET).unwrap();
    lab.stop();
    read_all(&mut stream);
}

#[test]
fn upgrades_hand_out_the_raw_stream() {
    let _alone = alone();
    let lab = Lab::with(
        |b| b,
        || {
            Router::new().get("/", |request: &mut Request| {
                if !request.offers_upgrade("shout") {
                    return Response::new(426).with_header("Upgrade", "shout");
                }
                Response::upgrade("shout", |mut raw| {
                    let mut text = String::new();
                    raw.read_to_string(&mut text).unwrap();
                    raw.write_all(text.to_uppercase().as_bytes()).unwrap();
                })
            })
        },
    );
    let offer = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n";
    let text = String::from_utf8(lab.talk([&offer[..], b"hel", b"lo"])).unwrap();
    let (head, raw) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("Connection: upgrade"), "{head}");
    assert_eq!(raw, "HELLO");
    assert_eq!(lab.statuses([GET])[0], 426);
}

#[test]
fn events_are_sent_at_once() {
    let _alone = alone();
    let lab = Lab::with(
        |b| b,
        || {
            Router::new().get("/", |_: &mut Request| {
                Sse::new(|events| {
                    events.send(&Event { id: Some("7"), data: "a\nb", ..Event::default() })?;
                    // Until the peer has gone.
                    loop {
                        cede::sleep(Duration::from_millis(1))?;
                        events.keep_alive()?;
                    }
                })
            })
        },
    );
    let mut stream = lab.connect();
    stream.write_all(GET).unwrap();
    let mut text = String::new();
    while !text.contains("id: 7\ndata: a\ndata: b\n\n") {
        let mut piece = [0; 1000];
        let n = stream.read(&mut piece).unwrap();
        assert!(n > 0, "{text}");
        text.push_str(std::str::from_utf8(&piece[..n]).unwrap());
    }
    assert!(text.contains("text/event-stream"));
    drop(stream);
    lab.stop();
}

#[test]
fn curl_is_served() {
    let _alone = alone();
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("curl is not installed");
        return;
    }
    let lab = Lab::new();
    let url = |path: &str| format!("http://{}{path}", lab.addr);
    let curl = |args: &[&str]| {
        let output = Command::new("curl").args(["-sS", "--max-time", "60"]).args(args).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert_eq!(curl(&[&url("/"), &url("/stream")]), "helloone two three");
    let body = "x".repeat(100_000);
    let file = std::env::temp_dir().join(format!("cede-http-{}", std::process::id()));
    std::fs::write(&file, &body).unwrap();
    let data = format!("@{}", file.display());
    let (length, chunked) = ("Expect: 100-continue", "Transfer-Encoding: chunked");
    for header in [length, chunked] {
        assert_eq!(curl(&["-H", header, "--data-binary", &data, &url("/echo")]), body, "{header}");
    }
    std::fs::remove_file(&file).unwrap();
    assert!(curl(&["-I", &url("/")]).contains("Content-Length: 5"));
}
