//! Section F: what a response says about its body and its connection, and what it never says.
//! Heads are read back with the crate `httparse`.

use super::super::date::DateLine;
use super::super::framing::Framing;
use super::*;

const EXCHANGE: Exchange =
    Exchange { keep_alive: true, version: Version::Http11, ..Exchange::REJECTED };
const HEAD: Exchange = Exchange { method: MethodKind::Head, ..EXCHANGE };
const CONNECT: Exchange = Exchange { method: MethodKind::Connect, ..EXCHANGE };
const CLOSING: Exchange = Exchange { keep_alive: false, ..EXCHANGE };
const HTTP10: Exchange = Exchange { version: Version::Http10, ..EXCHANGE };
const HTTP10_CLOSING: Exchange = Exchange { keep_alive: false, ..HTTP10 };
const UPGRADE: Exchange = Exchange { upgrade: true, ..EXCHANGE };

type Made = Result<(Vec<u8>, BodyEncoder), EncodeError>;

fn make(exchange: &Exchange, status: u16, fields: &[(&str, &str)], body: BodySize) -> Made {
    let mut out = b"before".to_vec();
    let result = (|| {
        let mut writer = ResponseWriter::start(&mut out, exchange, status)?;
        for (name, value) in fields {
            writer.field(name, value.as_bytes())?;
        }
        writer.finish(body, &DateLine::new(0))
    })();
    match result {
        Ok(encoder) => Ok((out.split_off("before".len()), encoder)),
        Err(error) => {
            assert_eq!(out, b"before", "a refused response leaves nothing behind");
            Err(error)
        }
    }
}

/// The fields of a head about body and connection, in lower case and in order, but for the date,
/// which has to be there once.
fn said(head: &[u8], status: u16) -> String {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    let used = response.parse(head).expect("a valid head");
    assert_eq!(used, httparse::Status::Complete(head.len()), "{}", head.escape_ascii());
    assert_eq!((response.version, response.code), (Some(1), Some(status)));
    let lines = response.headers.iter().map(|header| {
        let value = str::from_utf8(header.value).unwrap();
        format!("{}: {value}", header.name).to_lowercase()
    });
    let (dates, others): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with("date:"));
    assert_eq!(dates, ["date: thu, 01 jan 1970 00:00:00 gmt"]);
    others.join("; ")
}

/// What a response says, and how its body goes out.
#[track_caller]
fn check(exchange: &Exchange, status: u16, body: BodySize, expected: &str, sent: &str) {
    check_with(exchange, status, &[], body, expected, sent);
}

#[track_caller]
fn check_with(
    exchange: &Exchange,
    status: u16,
    fields: &[(&str, &str)],
    body: BodySize,
    expected: &str,
    sent: &str,
) {
    let (head, mut encoder) = make(exchange, status, fields, body).expect("a response");
    assert_eq!(said(&head, status), expected, "{exchange:?} {status} {body:?}");
    let mut out = Vec::new();
    encoder.write(&mut out, b"hello").expect("the body");
    encoder.finish(&mut out).expect("its end");
    assert_eq!(str::from_utf8(&out), Ok(sent), "{exchange:?} {status} {body:?}");
    // What says nothing of close has to be kept, and the other way round.
    let goes_on = encoder.keep_alive() || status == 101 || exchange == &CONNECT && status < 300;
    assert_eq!(expected.contains("close"), !goes_on, "{expected}");
}

const FIVE: BodySize = BodySize::Length(5);

#[test]
fn lengths_and_codings() {
    check(&EXCHANGE, 200, FIVE, "content-length: 5", "hello");
    check(&EXCHANGE, 404, FIVE, "content-length: 5", "hello");
    check(
        &EXCHANGE,
        200,
        BodySize::Unknown,
        "transfer-encoding: chunked",
        "5\r\nhello\r\n0\r\n\r\n",
    );
    check(&CLOSING, 200, FIVE, "content-length: 5; connection: close", "hello");
    let chunked = "transfer-encoding: chunked; connection: close";
    check(&CLOSING, 200, BodySize::Unknown, chunked, "5\r\nhello\r\n0\r\n\r\n");
    let (head, mut encoder) = make(&EXCHANGE, 200, &[], BodySize::Empty).unwrap();
    assert_eq!(said(&head, 200), "content-length: 0");
    assert_eq!(encoder.write(&mut Vec::new(), b"x"), Err(EncodeError::BodyTooLong));
}

#[test]
fn f2_f3_statuses_without_body() {
    for body in [BodySize::Empty, FIVE, BodySize::Unknown] {
        check(&EXCHANGE, 204, body, "", "");
        check(&EXCHANGE, 304, body, "", "");
        check(&CLOSING, 204, body, "connection: close", "");
        check(&HTTP10, 204, body, "connection: keep-alive", "");
        check(&EXCHANGE, 205, body, "content-length: 0", "");
        check(&HEAD, 204, body, "", "");
        check(&HEAD, 304, body, "", "");
    }
    // The length of the 200, which only the handler knows.
    let length = [("Content-Length", "5")];
    check_with(&EXCHANGE, 304, &length, BodySize::Empty, "content-length: 5", "");
    check_with(&EXCHANGE, 204, &length, BodySize::Empty, "", "");
}

#[test]
fn head_says_what_get_would() {
    check(&HEAD, 200, FIVE, "content-length: 5", "");
    check(&HEAD, 200, BodySize::Unknown, "", "");
    check(&HEAD, 200, BodySize::Empty, "", "");
    check(&HEAD, 404, FIVE, "content-length: 5", "");
    let length = [("Content-Length", "5")];
    check_with(&HEAD, 200, &length, BodySize::Empty, "content-length: 5", "");
    check_with(&HEAD, 200, &length, BodySize::Unknown, "content-length: 5", "");
    let old = Exchange { method: MethodKind::Head, ..HTTP10 };
    check(&old, 200, BodySize::Unknown, "connection: keep-alive", "");
    let (_, encoder) = make(&HEAD, 200, &[], FIVE).unwrap();
    assert!(encoder.is_suppressed());
}

#[test]
fn f5_tunnels() {
    for body in [BodySize::Empty, FIVE, BodySize::Unknown] {
        check(&CONNECT, 200, body, "", "hello");
        check(&CONNECT, 299, body, "", "hello");
    }
    check_with(&CONNECT, 200, &[("Content-Length", "5")], FIVE, "", "hello");
    check(&CONNECT, 405, FIVE, "content-length: 5", "hello");
    assert!(make(&CONNECT, 200, &[], FIVE).unwrap().1.is_raw());
}

#[test]
fn f9_http_1_0() {
    check(&HTTP10, 200, FIVE, "content-length: 5; connection: keep-alive", "hello");
    check(&HTTP10, 200, BodySize::Unknown, "connection: close", "hello");
    check(&HTTP10_CLOSING, 200, BodySize::Unknown, "connection: close", "hello");
    check(&HTTP10_CLOSING, 200, FIVE, "content-length: 5; connection: close", "hello");
    let (_, mut encoder) = make(&HTTP10, 200, &[], BodySize::Unknown).unwrap();
    assert!(encoder.is_raw());
    assert_eq!(encoder.finish(&mut Vec::new()), Ok(()));
    assert!(!encoder.keep_alive());
}

#[test]
fn switching_protocols() {
    let upgrade = [("Upgrade", "websocket")];
    let said = "upgrade: websocket; connection: upgrade";
    check_with(&UPGRADE, 101, &upgrade, BodySize::Empty, said, "hello");
    for (exchange, fields) in [(&EXCHANGE, &upgrade[..]), (&UPGRADE, &[]), (&HTTP10, &upgrade)] {
        let refused = make(exchange, 101, fields, BodySize::Empty).err();
        assert_eq!(refused, Some(EncodeError::Upgrade));
    }
    let said = "upgrade: h2c; content-length: 5; connection: upgrade";
    check_with(&EXCHANGE, 426, &[("Upgrade", "h2c")], FIVE, said, "hello");
    let said = "upgrade: h2c; content-length: 5; connection: upgrade, close";
    check_with(&CLOSING, 426, &[("Upgrade", "h2c")], FIVE, said, "hello");
}

#[test]
fn statuses() {
    for status in [0, 1, 99, 100, 102, 103, 199, 600, 999, 1000, u16::MAX] {
        let refused = make(&EXCHANGE, status, &[], BodySize::Empty).err();
        assert_eq!(refused, Some(EncodeError::Status(status)));
    }
    for status in 206..=599 {
        if status != 304 {
            check(&EXCHANGE, status, FIVE, "content-length: 5", "hello");
        }
    }
}

#[test]
fn injection_is_refused() {
    for (name, value, error) in [
        ("X", "a\r\nSet-Cookie: b=c", EncodeError::FieldValue),
        ("X", "a\r\n\r\n<html>", EncodeError::FieldValue),
        ("X", "a\nb", EncodeError::FieldValue),
        ("X", "a\rb", EncodeError::FieldValue),
        ("X", "\n", EncodeError::FieldValue),
        ("X", "a\0", EncodeError::FieldValue),
        ("X", "a\u{1b}[31m", EncodeError::FieldValue),
        ("X", "\u{7f}", EncodeError::FieldValue),
        ("Location", "/\r\nX: y", EncodeError::FieldValue),
        ("Upgrade", "a\r\n", EncodeError::FieldValue),
        ("Date", "x\r\n", EncodeError::FieldValue),
        ("Trailer", "x\r\n", EncodeError::FieldValue),
        ("Connection", "close\r\nSet-Cookie: a=b", EncodeError::FieldValue),
        ("X\r\nY", "a", EncodeError::FieldName),
        ("X: a\r\nY", "a", EncodeError::FieldName),
        ("", "a", EncodeError::FieldName),
        (" X", "a", EncodeError::FieldName),
        ("X ", "a", EncodeError::FieldName),
        ("X:", "a", EncodeError::FieldName),
        ("X\0", "a", EncodeError::FieldName),
        ("\u{e4}", "a", EncodeError::FieldName),
        ("Content-Length ", "5", EncodeError::FieldName),
        ("Content-Length", "5\r\nX: y", EncodeError::LengthSyntax),
    ] {
        let refused = make(&EXCHANGE, 200, &[("Ok", "1"), (name, value)], BodySize::Empty).err();
        assert_eq!(refused, Some(error), "{name:?} {value:?}");
    }
    let fine = [("X", "a\tb \u{e4} \"'<>"), ("Y", "")];
    let said = "x: a\tb \u{e4} \"'<>; y: ; content-length: 5";
    check_with(&EXCHANGE, 200, &fine, FIVE, said, "hello");
}

#[test]
fn fields_of_the_connection() {
    for name in ["Transfer-Encoding", "transfer-encoding", "Keep-Alive", "TE", "Proxy-Connection"] {
        let refused = make(&EXCHANGE, 200, &[(name, "x")], FIVE).err();
        assert_eq!(refused, Some(EncodeError::FieldReserved), "{name}");
    }
    let closing = "content-length: 5; connection: close";
    for value in ["close", "CLOSE", "keep-alive, close", "x,close"] {
        check_with(&EXCHANGE, 200, &[("Connection", value)], FIVE, closing, "hello");
    }
    check_with(&EXCHANGE, 200, &[("connection", "keep-alive")], FIVE, "content-length: 5", "hello");
    check_with(&CLOSING, 200, &[("Connection", "keep-alive")], FIVE, closing, "hello");
    let mut out = Vec::new();
    let mut writer = ResponseWriter::start(&mut out, &EXCHANGE, 200).unwrap();
    writer.close();
    assert!(writer.finish(FIVE, &DateLine::new(0)).is_ok());
    assert_eq!(said(&out, 200), closing);
}

#[test]
fn f8_declared_lengths() {
    let length = |value| [("Content-Length", value)];
    check_with(&EXCHANGE, 200, &length("5"), FIVE, "content-length: 5", "hello");
    check_with(&EXCHANGE, 200, &length("05"), FIVE, "content-length: 5", "hello");
    check_with(&EXCHANGE, 200, &length("5"), BodySize::Unknown, "content-length: 5", "hello");
    let old = "content-length: 5; connection: keep-alive";
    check_with(&HTTP10, 200, &length("5"), BodySize::Unknown, old, "hello");
    for (value, body) in [("6", FIVE), ("0", FIVE), ("5", BodySize::Empty)] {
        let refused = make(&EXCHANGE, 200, &length(value), body).err();
        assert_eq!(refused, Some(EncodeError::LengthMismatch), "{value} {body:?}");
    }
    for value in ["", "x", "-5", "+5", "5, 5", " 5", "5 ", "18446744073709551616"] {
        let refused = make(&EXCHANGE, 200, &length(value), FIVE).err();
        assert_eq!(refused, Some(EncodeError::LengthSyntax), "{value}");
    }
    let twice = [("Content-Length", "5"), ("content-length", "5")];
    assert_eq!(make(&EXCHANGE, 200, &twice, FIVE).err(), Some(EncodeError::FieldRepeated));
}

#[test]
fn f6_a_date_of_the_handler_replaces_the_servers() {
    let date = ("Date", "Thu, 01 Jan 1970 00:00:00 GMT");
    check_with(&EXCHANGE, 200, &[date], FIVE, "content-length: 5", "hello");
    assert_eq!(make(&EXCHANGE, 200, &[date, date], FIVE).err(), Some(EncodeError::FieldRepeated));
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let mut out = b"before".to_vec();
    let mut writer = ResponseWriter::start(&mut out, &EXCHANGE, 200).unwrap();
    writer.field("X", b"y").unwrap();
    drop(writer);
    assert_eq!(out, b"before");
    // A refused field may be left out: the response is as if it had not been tried.
    let mut writer = ResponseWriter::start(&mut out, &EXCHANGE, 200).unwrap();
    assert!(writer.field("X", b"\r\n").is_err());
    assert!(writer.field("Date", b"\r\n").is_err());
    assert!(writer.field("Upgrade", b"\r\n").is_err());
    writer.finish(FIVE, &DateLine::new(0)).unwrap();
    assert_eq!(said(&out["before".len()..], 200), "content-length: 5");
}

#[test]
fn e10_interim_responses() {
    let mut out = Vec::new();
    encode_interim(&mut out, Version::Http11, 100, []).unwrap();
    assert_eq!(out, CONTINUE);
    out.clear();
    encode_interim(&mut out, Version::Http11, 103, [("Link", &b"</a.css>"[..])]).unwrap();
    assert_eq!(out, b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
    let hints = out.clone();
    for (version, status, name, error) in [
        (Version::Http10, 103, "Link", EncodeError::InterimToHttp10),
        (Version::Http11, 101, "Link", EncodeError::Status(101)),
        (Version::Http11, 200, "Link", EncodeError::Status(200)),
        (Version::Http11, 99, "Link", EncodeError::Status(99)),
        (Version::Http11, 103, "Content-Length", EncodeError::FieldReserved),
        (Version::Http11, 103, "Transfer-Encoding", EncodeError::FieldReserved),
        (Version::Http11, 103, "Connection", EncodeError::FieldReserved),
        (Version::Http11, 103, "Li nk", EncodeError::FieldName),
    ] {
        let fields = [("Ok", &b"1"[..]), (name, b"5")];
        assert_eq!(encode_interim(&mut out, version, status, fields), Err(error));
        assert_eq!(out, hints);
    }
}

#[test]
fn f11_e12_refusals_close() {
    for reject in [
        Reject::BareLf,
        Reject::LengthSyntax,
        Reject::Timeout,
        Reject::BodyTooLarge,
        Reject::TargetTooLong,
        Reject::Expectation,
        Reject::Misdirected,
        Reject::HeadTooLarge,
        Reject::CodingUnknown,
        Reject::VersionUnknown,
    ] {
        let mut out = Vec::new();
        encode_reject(&mut out, reject, &DateLine::new(0));
        assert_eq!(said(&out, reject.status()), "content-length: 0; connection: close");
        assert_ne!(super::status::reason_phrase(reject.status()), "");
    }
    assert_eq!(Exchange::REJECTED.framing, Framing::None);
}

#[test]
fn the_usual_head_is_what_the_writer_writes() {
    let date = DateLine::new(784_111_777);
    let line = b"Content-Type: text/plain; charset=utf-8\r\n";
    let mut usual = UsualHead::default();
    // Put together anew, as each second.
    usual.set(b"Content-Type: x\r\n", &DateLine::new(0));
    usual.set(line, &date);
    let exchange = Exchange { keep_alive: true, ..Exchange::REJECTED };
    assert!(UsualHead::fits(&exchange));
    for len in [0, 1, 9, 10, 13, 999, 1000, 16_384] {
        let body = vec![b'x'; len];
        let (mut written, mut pushed) = (b"before".to_vec(), b"before".to_vec());
        let mut writer = ResponseWriter::start(&mut written, &exchange, 200).unwrap();
        writer.known_line(line);
        let mut encoder = writer.finish(BodySize::Length(len as u64), &date).unwrap();
        encoder.write(&mut written, &body).unwrap();
        encoder.finish(&mut written).unwrap();
        assert!(encoder.keep_alive());
        usual.push(&mut pushed, &body);
        assert_eq!(pushed, written, "{len}");
    }
    for other in [
        Exchange { keep_alive: false, ..exchange },
        Exchange { version: Version::Http10, ..exchange },
        Exchange { method: MethodKind::Head, ..exchange },
        Exchange { method: MethodKind::Connect, ..exchange },
    ] {
        assert!(!UsualHead::fits(&other), "{other:?}");
    }
}
