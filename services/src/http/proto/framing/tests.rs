//! Section C, the decisions of section E, and more of their kinds.

use super::super::fuzz::parse_cut;
use super::super::limits::{BODY_BYTES_MAX, Limits};
use super::super::testing::{every_cut, shown};
use super::*;

/// The decision on a head of these lines, whole and cut anywhere.
#[track_caller]
fn decided_of(line: &str, fields: &[u8]) -> Result<Exchange, Reject> {
    let input = [line.as_bytes(), b"\r\nHost: a\r\n", fields, b"\r\n\r\n"].concat();
    let parse = |ends: &[usize]| parse_cut(&input, ends.iter().copied(), &Limits::DEFAULT);
    every_cut(&input, parse)?.unwrap_or_else(|| panic!("{}", shown(&input))).exchange
}

fn decided(fields: &[u8]) -> Result<Exchange, Reject> {
    decided_of("POST / HTTP/1.1", fields)
}

#[track_caller]
fn check(fields: &str, expected: Result<Framing, Reject>) {
    let found = decided(fields.as_bytes()).map(|exchange| exchange.framing);
    assert_eq!(found, expected, "{fields:?}");
}

#[test]
fn c1_c2_length_beside_coding() {
    for fields in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 6",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "TRANSFER-ENCODING: chunked\r\ncontent-length: 6",
        "Content-Length: x\r\nTransfer-Encoding: chunked",
        "Content-Length:\r\nTransfer-Encoding: gzip",
        "Transfer-Encoding: chunked\r\nX: y\r\nContent-Length: 6\r\nContent-Length: 7",
    ] {
        check(fields, Err(Reject::LengthAndCoding));
    }
}

#[test]
fn c4_c5_repeated_lengths() {
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 0\r\ncontent-length: 0",
        "Content-Length: 5\r\nX: y\r\nContent-Length: x",
        "Content-Length: 5\r\nContent-Length:",
    ] {
        check(fields, Err(Reject::LengthRepeated));
    }
    for fields in ["Content-Length: 5, 5", "Content-Length: 5,6", "Content-Length: 5,"] {
        check(fields, Err(Reject::LengthSyntax));
    }
}

#[test]
fn c7_lengths_that_are_no_numbers() {
    for value in [
        "-1",
        "-0",
        "+5",
        "0x5",
        "0o5",
        "0b1",
        "5_0",
        "1 0",
        "5a",
        "1Z",
        "1e3",
        "",
        " ",
        ",",
        ",5",
        "5;",
        "5.0",
        "5.",
        ".5",
        "\"5\"",
        "'5'",
        "0x",
        "x",
        "five",
        "5\u{a0}",
        "\u{661}",
        "\u{ff15}",
        "5\u{e9}",
        "#5",
        "%35",
        "5 5",
        "5\t5",
        "NaN",
        "inf",
        "(5)",
        "[5]",
        "=5",
        "5=",
        "1,000",
        "18446744073709551616x",
        "--5",
        "5-",
        "5+",
        "0-5",
    ] {
        check(&format!("Content-Length: {value}"), Err(Reject::LengthSyntax));
    }
    for byte in 0x80..=0xFF {
        let fields = [b"Content-Length: 5", &[byte][..]].concat();
        assert_eq!(decided(&fields), Err(Reject::LengthSyntax));
    }
}

#[test]
fn c8_lengths_beyond_all_bounds() {
    for value in [
        "18446744073709551616".into(),
        "18446744073709551621".into(),
        "36893488147419103237".into(),
        "9".repeat(40),
        "1".repeat(10_000),
    ] {
        check(&format!("Content-Length: {value}"), Err(Reject::BodyTooLarge));
    }
    for length in [1u64 << 63, (1 << 63) - 1, u64::MAX, 1 << 32, 10_737_418_240] {
        check(&format!("Content-Length: {length}"), Ok(Framing::Length(length)));
        assert_eq!(Framing::Length(length).within(BODY_BYTES_MAX), Err(Reject::BodyTooLarge));
    }
    assert_eq!(Reject::BodyTooLarge.status(), 413);
}

#[test]
fn g5_lengths_at_the_limit_of_the_body() {
    let length = Framing::Length;
    assert!(length(BODY_BYTES_MAX).within(BODY_BYTES_MAX).is_ok());
    assert_eq!(length(BODY_BYTES_MAX + 1).within(BODY_BYTES_MAX), Err(Reject::BodyTooLarge));
    assert_eq!(Framing::Chunked.within(0), Ok(Framing::Chunked));
    assert_eq!(Framing::None.within(0), Ok(Framing::None));
}

#[test]
fn valid_lengths() {
    for (value, framing) in [
        ("0", Framing::None),
        ("000", Framing::None),
        ("5", Framing::Length(5)),
        ("  5\t ", Framing::Length(5)),
        // Decimal, whatever it begins with (RFC 9110 section 8.6).
        ("010", Framing::Length(10)),
        ("00000000000000000000000000000000000000005", Framing::Length(5)),
        ("1048576", Framing::Length(1_048_576)),
    ] {
        check(&format!("Content-Length: {value}"), Ok(framing));
        check(&format!("content-length:{value}"), Ok(framing));
    }
}

#[test]
fn c10_unknown_codings() {
    for value in [
        "gzip",
        "identity",
        "xchunked",
        "blegh",
        "chunkedx",
        "chunke",
        "chunkeD-",
        "gzip, deflate",
        "gzip, chunked",
        "identity, chunked",
        "x-chunked",
        "br",
        "trailers",
        "Chunked2",
        "deflate",
    ] {
        check(&format!("Transfer-Encoding: {value}"), Err(Reject::CodingUnknown));
    }
    check("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", Err(Reject::CodingUnknown));
    assert_eq!(Reject::CodingUnknown.status(), 501);
}

#[test]
fn c11_chunked_not_last_or_not_once() {
    for fields in [
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked, gzip",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nX: y\r\ntransfer-encoding: x",
    ] {
        check(fields, Err(Reject::CodingOrder));
    }
}

#[test]
fn c13_malformed_codings() {
    for value in [
        ",chunked",
        "chunked,",
        "",
        " ",
        ",",
        ", ,",
        "chunked,,",
        ",,chunked",
        "chunked, ,chunked",
        "\"chunked\"",
        "chunked;a=b",
        "chunked;",
        "chunked ; a",
        "\u{a0}chunked",
        "chunked\u{a0}",
        "'chunked",
        "chun ked",
        "chunked chunked",
        "chunked\tgzip",
        "(chunked)",
        "[chunked]",
        "{chunked}",
        "chunked=1",
        "chunked/1",
        "chunked:1",
        "gzip;q=1, chunked",
        "chunk\u{e9}d",
    ] {
        // `'` is a byte of a token; it makes another coding.
        let expected =
            if value == "'chunked" { Reject::CodingUnknown } else { Reject::CodingSyntax };
        check(&format!("Transfer-Encoding: {value}"), Err(expected));
    }
    for byte in (0x80..=0xFF).chain([b'"', b'(', b')', b'/', b':', b';', b'<', b'=', b'>', b'?']) {
        for value in [[&[byte][..], b"chunked"].concat(), [b"chunked", &[byte][..]].concat()] {
            let fields = [b"Transfer-Encoding: ", &value[..]].concat();
            assert_eq!(decided(&fields), Err(Reject::CodingSyntax), "{}", shown(&fields));
        }
    }
    for control in ["\x0bchunked", "\x0cchunked", "chunked\0", "chun\x08ked", "chunked\x7f"] {
        check(&format!("Transfer-Encoding: {control}"), Err(Reject::ControlByte));
    }
    for empty in ["\r\nTransfer-Encoding: chunked", " ,\r\nTransfer-Encoding: chunked"] {
        check(&format!("Transfer-Encoding:{empty}"), Err(Reject::CodingSyntax));
    }
    let behind = "Transfer-Encoding: chunked\r\nTransfer-Encoding:";
    check(behind, Err(Reject::CodingSyntax));
}

#[test]
fn c14_chunked_in_any_case() {
    for value in ["chunked", "Chunked", "CHUNKED", "cHuNkEd", " \tchunked \t"] {
        check(&format!("Transfer-Encoding: {value}"), Ok(Framing::Chunked));
        check(&format!("tRANSFER-eNCODING:{value}"), Ok(Framing::Chunked));
    }
    let http10 = decided_of("POST / HTTP/1.0", b"Transfer-Encoding: chunked");
    assert_eq!(http10, Err(Reject::CodingInHttp10));
    let both = decided_of("POST / HTTP/1.0", b"Transfer-Encoding: chunked\r\nContent-Length: 5");
    assert_eq!(both, Err(Reject::CodingInHttp10));
}

#[test]
fn c16_c17_bodies_do_not_depend_on_the_method() {
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "POST", "PUT", "PATCH", "SLUDGE"] {
        let line = format!("{method} / HTTP/1.1");
        for (fields, framing) in [
            ("X: y", Framing::None),
            ("Content-Length: 7", Framing::Length(7)),
            ("Transfer-Encoding: chunked", Framing::Chunked),
        ] {
            let found = decided_of(&line, fields.as_bytes()).map(|exchange| exchange.framing);
            assert_eq!(found, Ok(framing), "{method} {fields}");
        }
    }
}

#[test]
fn methods_that_have_no_content() {
    for line in ["TRACE / HTTP/1.1", "CONNECT h:443 HTTP/1.1"] {
        for fields in ["Content-Length: 7", "Transfer-Encoding: chunked"] {
            let found = decided_of(line, fields.as_bytes());
            assert_eq!(found, Err(Reject::ContentForbidden), "{line} {fields}");
        }
        assert_eq!(decided_of(line, b"Content-Length: 0").map(|e| e.framing), Ok(Framing::None));
    }
}

#[test]
fn e1_e3_keep_alive() {
    for (line, fields, expected) in [
        ("GET / HTTP/1.1", "X: y", true),
        ("GET / HTTP/1.1", "Connection: close", false),
        ("GET / HTTP/1.1", "Connection: CLOSE", false),
        ("GET / HTTP/1.1", "connection:\t close \t", false),
        ("GET / HTTP/1.1", "Connection: Keep-Alive, Close", false),
        ("GET / HTTP/1.1", "Connection: close, keep-alive", false),
        ("GET / HTTP/1.1", "Connection: keep-alive\r\nConnection: close", false),
        ("GET / HTTP/1.1", "Connection: close\r\nConnection: keep-alive", false),
        ("GET / HTTP/1.1", "Connection: x,,close,", false),
        ("GET / HTTP/1.1", "Connection: ,\t,close", false),
        ("GET / HTTP/1.1", "Connection: keep-alive", true),
        ("GET / HTTP/1.1", "Connection: upgrade", true),
        ("GET / HTTP/1.1", "Connection: closed", true),
        ("GET / HTTP/1.1", "Connection: x-close", true),
        ("GET / HTTP/1.1", "Connection:", true),
        ("GET / HTTP/1.1", "Keep-Alive: timeout=5", true),
        ("GET / HTTP/1.1", "Proxy-Connection: close", true),
        ("GET / HTTP/1.0", "X: y", false),
        ("GET / HTTP/1.0", "Connection: keep-alive", true),
        ("GET / HTTP/1.0", "Connection: KEEP-ALIVE", true),
        ("GET / HTTP/1.0", "Connection: x, keep-alive", true),
        ("GET / HTTP/1.0", "Connection: keep-alive, close", false),
        ("GET / HTTP/1.0", "Keep-Alive: timeout=5", false),
        ("GET / HTTP/1.0", "Proxy-Connection: keep-alive", false),
        ("CONNECT h:1 HTTP/1.1", "X: y", false),
        ("CONNECT h:1 HTTP/1.1", "Connection: keep-alive", false),
        ("CONNECT h:1 HTTP/1.0", "Connection: keep-alive", false),
    ] {
        let found = decided_of(line, fields.as_bytes()).map(|exchange| exchange.keep_alive);
        assert_eq!(found, Ok(expected), "{line} {fields}");
    }
}

#[test]
fn e10_e13_expectations() {
    let with_body = |expect: &str| format!("Content-Length: 5\r\n{expect}");
    for (expect, expected) in [
        ("X: y", Ok(false)),
        ("Expect: 100-continue", Ok(true)),
        ("EXPECT: 100-Continue", Ok(true)),
        ("Expect:  100-CONTINUE \t", Ok(true)),
        ("Expect: 100-continue, 100-continue", Ok(true)),
        ("Expect: 100-continue\r\nExpect: 100-continue", Ok(true)),
        ("Expect:", Ok(false)),
        ("Expect: ,", Ok(false)),
        ("Expect: teapot", Err(Reject::Expectation)),
        ("Expect: 100", Err(Reject::Expectation)),
        ("Expect: 100-continue2", Err(Reject::Expectation)),
        ("Expect: 100-continue; x", Err(Reject::Expectation)),
        ("Expect: 100-continue=1", Err(Reject::Expectation)),
        ("Expect: 100-continue, x", Err(Reject::Expectation)),
        ("Expect: x, 100-continue", Err(Reject::Expectation)),
        ("Expect: \"100-continue\"", Err(Reject::Expectation)),
        ("Expect: 100-continue\r\nExpect: 200-ok", Err(Reject::Expectation)),
        ("Expect: 200-ok", Err(Reject::Expectation)),
    ] {
        let found = decided(with_body(expect).as_bytes()).map(|exchange| exchange.expects_continue);
        assert_eq!(found, expected, "{expect}");
        // HTTP/1.0 expects nothing.
        let old = decided_of("POST / HTTP/1.0", with_body(expect).as_bytes());
        assert_eq!(old.map(|exchange| exchange.expects_continue), Ok(false), "{expect}");
    }
    // There is nothing to continue with.
    assert!(decided(b"Expect: 100-continue").is_ok_and(|exchange| !exchange.expects_continue));
    let empty = decided(b"Expect: 100-continue\r\nContent-Length: 0");
    assert!(empty.is_ok_and(|exchange| !exchange.expects_continue));
    let chunked = decided(b"Expect: 100-continue\r\nTransfer-Encoding: chunked");
    assert!(chunked.is_ok_and(|exchange| exchange.expects_continue));
    assert_eq!(Reject::Expectation.status(), 417);
}

#[test]
fn upgrades_are_offered_in_both_fields_and_in_http_1_1() {
    for (line, fields, expected) in [
        ("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket", true),
        ("GET / HTTP/1.1", "Upgrade: websocket\r\nConnection: keep-alive, UPGRADE", true),
        ("GET / HTTP/1.1", "Upgrade: websocket", false),
        ("GET / HTTP/1.1", "Connection: Upgrade", false),
        ("GET / HTTP/1.0", "Connection: Upgrade\r\nUpgrade: websocket", false),
    ] {
        let found = decided_of(line, fields.as_bytes()).map(|exchange| exchange.upgrade);
        assert_eq!(found, Ok(expected), "{line} {fields}");
    }
}

#[test]
fn kinds_of_methods() {
    for (line, kind) in [
        ("HEAD / HTTP/1.1", MethodKind::Head),
        ("head / HTTP/1.1", MethodKind::Other),
        ("CONNECT h:1 HTTP/1.1", MethodKind::Connect),
        ("GET / HTTP/1.1", MethodKind::Other),
    ] {
        assert_eq!(decided_of(line, b"X: y").map(|exchange| exchange.method), Ok(kind));
    }
}
