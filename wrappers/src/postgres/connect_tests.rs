//! Servers that are none, and servers that lie.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use cede_fiber::net::{TcpListener, TcpStream};

use super::config::Config;
use super::connect::{Opened, open};
use super::error::{Error, ErrorKind, Phase};
use super::startup::STARTUP_MESSAGES_MAX;

/// What `open` says of a server that treats each connection like this. TLS is off unless the
/// parameters say otherwise.
fn open_at(
    parameters: &str,
    serve: impl Fn(TcpStream) -> io::Result<()> + 'static,
) -> Result<Opened, Error> {
    open_with(parameters, |_| {}, serve)
}

fn open_with(
    parameters: &str,
    change: fn(&mut Config),
    serve: impl Fn(TcpStream) -> io::Result<()> + 'static,
) -> Result<Opened, Error> {
    let parameters = parameters.to_owned();
    cede_fiber::run(move || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = cede_fiber::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                // A client that leaves is none of its business.
                let _ = serve(stream);
            }
        });
        let text =
            format!("postgres://joe:secret@127.0.0.1:{port}/shop?connect_timeout=20&{parameters}");
        let mut config: Config = text.parse().unwrap();
        config.ssl_mode.get_or_insert(super::SslMode::Disable);
        change(&mut config);
        let result = open(&config);
        server.cancel();
        result
    })
    .unwrap()
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Reads a startup message, or another one whose tag was read.
fn read_request(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let mut body = vec![0; u32::from_be_bytes(len) as usize - 4];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// Answers the startup message like this and keeps the connection until the client leaves.
fn answer(bytes: Vec<u8>) -> impl Fn(TcpStream) -> io::Result<()> {
    move |mut stream| {
        read_request(&mut stream)?;
        stream.write_all(&bytes)?;
        io::copy(&mut stream, &mut io::sink()).map(drop)
    }
}

const AUTH_OK: &[u8] = &[0, 0, 0, 0];
const READY: &[u8] = b"I";

fn session() -> Vec<u8> {
    [
        message(b'R', AUTH_OK),
        message(b'S', b"server_version\x0015.0\0"),
        message(b'S', b"in_hot_standby\0off\0"),
        message(b'S', b"default_transaction_read_only\0off\0"),
        message(b'K', &[0, 0, 0, 7, 0, 0, 0, 9]),
        message(b'Z', READY),
    ]
    .concat()
}

fn check(parameters: &str, bytes: impl Into<Vec<u8>>, kind: ErrorKind, phase: Phase, words: &str) {
    let start = Instant::now();
    let error = open_at(parameters, answer(bytes.into())).unwrap_err();
    let text = error.to_string();
    assert_eq!((error.kind(), error.phase()), (kind, phase), "{text}");
    assert!(text.contains(words), "{text}");
    assert!(error.host().unwrap().starts_with("127.0.0.1:"), "{text}");
    assert!(!text.contains("secret") && !format!("{error:?}").contains("secret"), "{text}");
    // It did not need the time-out.
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_session_begins_and_what_is_behind_it_is_kept() {
    let mut bytes = session();
    bytes.extend_from_slice(b"rest");
    let opened = open_at("", answer(bytes)).unwrap();
    assert_eq!((opened.process_id, opened.secret_key), (7, 9));
    assert_eq!(opened.parameters["server_version"], "15.0");
    assert_eq!(&opened.rest[..], b"rest");
}

#[test]
fn a_session_that_comes_byte_by_byte_begins() {
    let opened = open_at("target_session_attrs=primary", |mut stream| {
        stream.set_nodelay(true)?;
        read_request(&mut stream)?;
        for byte in session() {
            stream.write_all(&[byte])?;
            cede_fiber::yield_now();
        }
        io::copy(&mut stream, &mut io::sink()).map(drop)
    });
    assert_eq!(opened.unwrap().process_id, 7);
}

#[test]
fn other_servers_are_told_from_postgresql() {
    let protocol = |bytes: &[u8], words| {
        check("", bytes, ErrorKind::Protocol, Phase::Authenticate, words);
    };
    protocol(b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 400");
    protocol(b"-ERR unknown command\r\n", "-ERR unknown");
    protocol(b"SSH-2.0-OpenSSH_9.2\r\n", "SSH-2.0");
    protocol(b"J\0\0\0\x0a8.0.36\0", "no PostgreSQL");
    protocol(b"ERROR\r\n", "ERROR\\r\\n");
    protocol(b"\x15\x03\x03\0\x02\x02\x50", "no PostgreSQL");
    protocol(b"R\xff\xff\xff\xff", "no PostgreSQL");
    protocol(b"R\0\0\0\x03", "no PostgreSQL");
    protocol(b"R\x7f\xff\xff\xff", "no PostgreSQL");
    protocol(&message(b'v', &[0; 8]), "3.0");
    protocol(&message(b'R', &99_u32.to_be_bytes()), "99");
}

#[test]
fn lengths_are_limited_before_there_is_memory_for_them() {
    let mut bytes = message(b'R', AUTH_OK);
    bytes.extend_from_slice(b"S\x40\0\0\0");
    check("", bytes, ErrorKind::Limit, Phase::Startup, "1073741824 bytes");
    let mut bytes = message(b'R', AUTH_OK);
    for _ in 0..=STARTUP_MESSAGES_MAX {
        bytes.extend_from_slice(&message(b'S', b"a\0b\0"));
    }
    check("", bytes, ErrorKind::Limit, Phase::Startup, "messages");
}

#[test]
fn what_is_out_of_order_is_an_error() {
    let startup = |bytes: Vec<u8>, words| {
        let all = [message(b'R', AUTH_OK), bytes].concat();
        check("", all, ErrorKind::Protocol, Phase::Startup, words);
    };
    startup(message(b'T', &[0, 0]), "begins with");
    startup(message(b'R', AUTH_OK), "begins with");
    startup(message(b'K', &[0, 0, 0]), "");
    startup(message(b'S', b"no end"), "");
    startup(b"\xff\0\0\0\x04".to_vec(), "");
    startup(message(b'E', b"SERROR\0"), "");
    let auth = |bytes: Vec<u8>, words| {
        check("", bytes, ErrorKind::Protocol, Phase::Authenticate, words);
    };
    auth(message(b'R', b"\0\0\0\x0bx"), "out of order");
    auth(message(b'R', b"\0\0\0\x0cx"), "out of order");
    // A second question, after the password was sent.
    let password = message(b'R', &3_u32.to_be_bytes());
    auth([password.clone(), password].concat(), "out of order");
}

#[test]
fn methods_that_are_not_there_or_not_allowed_are_named() {
    let auth = |parameters: &str, bytes: Vec<u8>, words| {
        check(parameters, bytes, ErrorKind::Authentication, Phase::Authenticate, words);
    };
    auth("", message(b'R', &7_u32.to_be_bytes()), "GSSAPI");
    auth("", message(b'R', b"\0\0\0\x0aSCRAM-SHA-1\0\0"), "SCRAM-SHA-1");
    auth("require_auth=scram-sha-256", message(b'R', &3_u32.to_be_bytes()), "password");
    auth("require_auth=scram-sha-256", session(), "none");
    auth("require_auth=!md5", message(b'R', b"\0\0\0\x05salt"), "md5");
    auth("channel_binding=require", session(), "channel_binding");
    auth("channel_binding=require", message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"), "no TLS");
    auth(
        "password=&passfile=/nonexistent/pgpass",
        message(b'R', &3_u32.to_be_bytes()),
        "/nonexistent",
    );
}

#[test]
fn a_server_that_does_not_know_the_password_is_refused() {
    // It sends a challenge for whatever it gets, and lets everybody in.
    let scram = |then: fn() -> Vec<u8>| {
        open_at("", move |mut stream: TcpStream| {
            read_request(&mut stream)?;
            stream.write_all(&message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"))?;
            stream.read_exact(&mut [0])?;
            let first = read_request(&mut stream)?;
            let text = String::from_utf8_lossy(&first).into_owned();
            let nonce = text.split_once(",r=").unwrap().1;
            let challenge = format!("\0\0\0\x0br={nonce}more,s=c2FsdA==,i=4096");
            stream.write_all(&message(b'R', challenge.as_bytes()))?;
            stream.read_exact(&mut [0])?;
            read_request(&mut stream)?;
            stream.write_all(&then())?;
            io::copy(&mut stream, &mut io::sink()).map(drop)
        })
        .unwrap_err()
    };
    for then in [
        // Without the proof, and with one that is wrong.
        session as fn() -> Vec<u8>,
        || {
            let proof = b"\0\0\0\x0cv=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
            [message(b'R', proof), session()].concat()
        },
    ] {
        let error = scram(then);
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
        assert!(error.to_string().contains("proven"), "{error}");
    }
}

#[test]
fn the_work_that_a_server_may_ask_for_is_limited() {
    let error = open_at("", |mut stream: TcpStream| {
        read_request(&mut stream)?;
        stream.write_all(&message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"))?;
        stream.read_exact(&mut [0])?;
        let first = read_request(&mut stream)?;
        let text = String::from_utf8_lossy(&first).into_owned();
        let nonce = text.split_once(",r=").unwrap().1;
        let challenge = format!("\0\0\0\x0br={nonce}more,s=c2FsdA==,i=4000000000");
        stream.write_all(&message(b'R', challenge.as_bytes()))?;
        io::copy(&mut stream, &mut io::sink()).map(drop)
    })
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
}

#[test]
fn a_server_that_is_silent_or_stops_is_given_up_in_time() {
    for bytes in [&b""[..], b"R", b"R\0\0\0\x08", &message(b'R', AUTH_OK)] {
        let start = Instant::now();
        let soon = |config: &mut Config| {
            config.connect_timeout(Duration::from_millis(100));
        };
        let error = open_with("", soon, answer(bytes.to_vec())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
        assert!(error.to_string().contains("connect_timeout"), "{error}");
        assert!(start.elapsed() >= Duration::from_millis(100), "{error}");
    }
}

#[test]
fn a_deadline_and_a_cancel_of_the_fiber_end_it_and_no_other_host_is_tried() {
    cede_fiber::run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let text = format!("host=127.0.0.1,127.0.0.1 port={port} user=joe sslmode=disable");
        let config: Config = text.parse().unwrap();
        let error = cede_fiber::with_deadline(Duration::from_millis(20), || open(&config));
        let error = error.unwrap_err();
        assert!(error.is_timeout() && !error.to_string().contains("attempts"), "{error}");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::TimedOut);
        let fiber = cede_fiber::spawn(move || open(&config).unwrap_err());
        listener.accept().unwrap();
        let second = listener.accept().unwrap();
        fiber.cancel();
        let error = fiber.join().unwrap();
        assert!(error.is_cancelled() && cede_fiber::is_cancelled(&error), "{error}");
        drop(second);
    })
    .unwrap();
}

#[test]
fn a_server_that_leaves_is_said_to_have_left() {
    let error = open_at("", |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    let error = open_at("", |mut stream| {
        read_request(&mut stream)?;
        stream.write_all(&message(b'R', AUTH_OK))
    });
    let error = error.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Closed, Phase::Startup), "{error}");
}

#[cfg(feature = "tls")]
#[test]
fn a_server_without_tls_is_used_only_if_that_is_allowed() {
    let serve = |mut stream: TcpStream| {
        let request = read_request(&mut stream)?;
        if request == [4, 210, 22, 47] {
            stream.write_all(b"N")?;
            read_request(&mut stream)?;
        }
        stream.write_all(&session())?;
        io::copy(&mut stream, &mut io::sink()).map(drop)
    };
    for mode in ["disable", "allow", "prefer"] {
        assert!(open_at(&format!("sslmode={mode}"), serve).is_ok(), "{mode}");
    }
    for mode in ["require", "verify-full"] {
        let error = open_at(&format!("sslmode={mode}"), serve).unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Tls, Phase::Tls), "{error}");
    }
}

#[cfg(feature = "tls")]
#[test]
fn what_is_no_answer_to_the_question_for_tls_is_shown() {
    for (bytes, words) in [(&b"HTTP/1.1 400"[..], "HTTP/1.1"), (b"ESFATAL\0", "ESFATAL")] {
        let error = open_at("sslmode=require", move |mut stream: TcpStream| {
            read_request(&mut stream)?;
            stream.write_all(bytes)?;
            io::copy(&mut stream, &mut io::sink()).map(drop)
        })
        .unwrap_err();
        assert_eq!(error.phase(), Phase::Tls, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    // Plain text behind the S is no handshake; it must not become the session's.
    let error = open_at("sslmode=require", |mut stream: TcpStream| {
        read_request(&mut stream)?;
        stream.write_all(&[b"S".to_vec(), session()].concat())?;
        io::copy(&mut stream, &mut io::sink()).map(drop)
    })
    .unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Tls, Phase::Tls), "{error}");
}

#[test]
fn a_host_that_does_not_serve_is_left_for_the_next_and_all_are_told_of() {
    cede_fiber::run(|| {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let dead = closed.local_addr().unwrap().port();
        drop(closed);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let live = listener.local_addr().unwrap().port();
        let server = cede_fiber::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let _ = answer(session())(stream);
            }
        });
        let open_hosts = |ports: String, more: &str| {
            let count = ports.split(',').count();
            let hosts = vec!["127.0.0.1"; count].join(",");
            let text = format!("host={hosts} port={ports} user=joe sslmode=disable {more}");
            open(&text.parse::<Config>().unwrap())
        };
        let opened = open_hosts(format!("{dead},{live}"), "").unwrap();
        assert_eq!(&*opened.host, format!("127.0.0.1:{live}"));
        drop(opened);
        for more in ["load_balance_hosts=random", "target_session_attrs=prefer-standby"] {
            assert!(open_hosts(format!("{dead},{live}"), more).is_ok());
        }
        let error = open_hosts(format!("{dead},{live}"), "target_session_attrs=standby");
        let text = error.unwrap_err().to_string();
        assert!(text.contains(&dead.to_string()) && text.contains(&live.to_string()), "{text}");
        let error = open_hosts(format!("{dead},{dead}"), "").unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Connect, Phase::Connect), "{error}");
        assert!(error.to_string().contains("2 attempts"), "{error}");
        let error = open_hosts(format!("{dead},{live},{dead}"), "hostaddr=127.0.0.1").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        server.cancel();
    })
    .unwrap();
}

/// A session whose bytes were changed, cut, doubled or left out begins or is an error, in time.
#[test]
fn sessions_that_were_tampered_with_never_hang_or_panic() {
    let seed = match std::env::var("CEDE_SEED") {
        Ok(seed) => seed.parse().expect("CEDE_SEED is a number above 0"),
        Err(_) => RandomState::new().build_hasher().finish() | 1,
    };
    println!("CEDE_SEED={seed}");
    cede_fiber::run(move || {
        let mut random: u64 = seed;
        let mut below = move |limit: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % limit as u64) as usize
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let text = format!("postgres://joe:secret@127.0.0.1:{port}/?sslmode=disable");
        let config: Config = text.parse().unwrap();
        let mut begun = 0;
        for _ in 0..2000 {
            let question = [0_u32, 3, 5, 10][below(4)];
            let mut bytes = message(b'R', &[&question.to_be_bytes()[..], b"salt"].concat());
            if question == 0 {
                bytes.clear();
            }
            bytes.extend(session());
            for _ in 0..below(4) {
                let at = below(bytes.len().max(1));
                match below(4) {
                    0 if at < bytes.len() => bytes[at] = below(256) as u8,
                    1 if at < bytes.len() => drop(bytes.remove(at)),
                    2 => bytes.truncate(at),
                    _ => bytes.insert(at, below(256) as u8),
                }
            }
            let there = config.clone();
            let client = cede_fiber::spawn(move || open(&there).is_ok());
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&bytes).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let drained = cede_fiber::spawn(move || io::copy(&mut stream, &mut io::sink()));
            begun += u32::from(client.join().unwrap());
            let _ = drained.join();
        }
        assert!(begun > 0 && begun < 2000, "{begun}");
    })
    .unwrap();
}
