//! Section D, and more of its kinds; each input whole, byte by byte and cut anywhere.

use super::super::framing::Framing;
use super::super::fuzz::{OwnedBody, decode_cut};
use super::super::limits::*;
use super::super::testing::{every_cut, shown, work_of};
use super::*;

fn decoded_by(input: &[u8], limits: &Limits) -> Result<OwnedBody, Reject> {
    every_cut(input, |ends| decode_cut(input, Framing::Chunked, ends.iter().copied(), limits))
}

fn decoded(input: &[u8]) -> Result<OwnedBody, Reject> {
    decoded_by(input, &Limits::DEFAULT)
}

/// The whole input is one body with this content.
#[track_caller]
fn accepts(input: &str, content: &str) {
    let expected = Ok((content.into(), vec![], input.len(), true));
    assert_eq!(decoded(input.as_bytes()), expected, "{}", shown(input.as_bytes()));
    // What follows is left alone.
    let longer = format!("{input}GET / HTTP/1.1\r\n");
    assert_eq!(decoded(longer.as_bytes()), expected);
}

#[track_caller]
fn refuses(input: &[u8], reject: Reject) {
    assert_eq!(decoded(input), Err(reject), "{}", shown(input));
    let longer = [input, b"\r\n0\r\n\r\n"].concat();
    assert_eq!(decoded(&longer), Err(reject), "{}", shown(&longer));
}

#[test]
fn d1_bodies() {
    accepts("0\r\n\r\n", "");
    accepts("0000000000000000\r\n\r\n", "");
    accepts("5\r\nhello\r\n0\r\n\r\n", "hello");
    accepts("5\r\nhello\r\n1\r\n!\r\n00\r\n\r\n", "hello!");
    accepts("a\r\n0123456789\r\n0\r\n\r\n", "0123456789");
    accepts("A\r\n0123456789\r\n0\r\n\r\n", "0123456789");
    accepts("0000000000000005\r\nhello\r\n0\r\n\r\n", "hello");
    accepts("4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n");
    accepts(&format!("aA\r\n{}\r\n0\r\n\r\n", "x".repeat(0xAA)), &"x".repeat(0xAA));
    accepts(&format!("fFf\r\n{}\r\n0\r\n\r\n", "x".repeat(0xFFF)), &"x".repeat(0xFFF));
}

#[test]
fn d2_extensions_are_left_out() {
    for extension in [
        ";x",
        ";x=y",
        " ; x=\"q\\\"r\"",
        ";x=\"\"",
        ";x;y;z",
        ";x=y;z",
        "\t;\tx\t=\ty",
        ";x=\"a;b=c\"",
        ";x=\"\t \u{e4}\"",
        ";x=\"\\\\\"",
        ";x=\"a\" ; y",
        ";x =y",
        "; x",
        ";x ;y",
        ";x=y ;z",
        ";!#$%&'*+-.^_`|~=1",
        ";x=\"\\\u{e4}\"",
        ";5",
        ";x=5;chunk-signature=0af",
    ] {
        accepts(&format!("5{extension}\r\nhello\r\n0{extension}\r\n\r\n"), "hello");
    }
}

#[test]
fn d4_d5_sizes() {
    for size in [
        "",
        " ",
        " 5",
        "\t5",
        "-5",
        "+5",
        "0x5",
        "0X5",
        "5x",
        "g",
        "5h",
        "5_0",
        "5.0",
        "5,",
        "#5",
        "f0000000000000003",
        "00000000000000005",
        "7fffffffffffffff",
        "ffffffffffffffff",
        "8000000000000000",
        "1000000000000001",
        "\u{661}",
        "\"5\"",
        "5\u{a0}",
        "5\"",
        "5:",
        "5=x",
        "\u{b}5",
        "5\u{b}",
        "5\0",
        "\0",
        "5\u{7f}",
        "10000000000000000",
        "5-",
        "(5)",
    ] {
        refuses(format!("{size}\r\nhello").as_bytes(), Reject::ChunkSize);
        refuses(format!("1\r\nx\r\n{size}\r\nhello").as_bytes(), Reject::ChunkSize);
    }
    refuses("0".repeat(100).as_bytes(), Reject::ChunkSize);
    refuses("5".repeat(100).as_bytes(), Reject::ChunkSize);
    refuses(b"5 \r\nhello", Reject::ChunkExtension);
    refuses(b"5\t\r\nhello", Reject::ChunkExtension);
    refuses(b"5 5\r\nhello", Reject::ChunkExtension);
    refuses(b"0 \r\n\r\n", Reject::ChunkExtension);
    // What is a number but no body is refused by its limit.
    refuses(b"1000000000000000\r\n", Reject::BodyTooLarge);
    refuses(b"fffffffffffffff\r\n", Reject::BodyTooLarge);
}

#[test]
fn d5_no_sum_of_sizes_overflows() {
    let limits = Limits { body_bytes_max: u64::MAX, ..Limits::DEFAULT };
    let mut decoder = ChunkedDecoder::new(&limits);
    assert_eq!(decoder.decode(b"fffffffffffffff\r\nabc").unwrap(), (Piece::Data(b"abc"), 20));
    assert_eq!(decoder.size, 0xFFF_FFFF_FFFF_FFFC);
    assert!(!decoder.is_done());
}

#[test]
fn d7_line_ends() {
    for (input, reject) in [
        ("5\nhello\r\n0\r\n\r\n", Reject::ChunkSize),
        ("5;x\nhello\r\n0\r\n\r\n", Reject::ChunkExtension),
        ("5;x=y\nhello", Reject::ChunkExtension),
        ("5\r\nhello\n0\r\n\r\n", Reject::ChunkEnd),
        ("5\r\nhello\r0\r\n\r\n", Reject::ChunkEnd),
        ("5\r\nhello0\r\n\r\n", Reject::ChunkEnd),
        ("5\r\nhelloXX0\r\n\r\n", Reject::ChunkEnd),
        ("5\r\nhello\r\r\n0\r\n\r\n", Reject::ChunkEnd),
        ("5\r\nhello!\r\n0\r\n\r\n", Reject::ChunkEnd),
        ("5\r\nhello\r\n\r\n0\r\n\r\n", Reject::ChunkSize),
        ("4\r\nhello\r\n0\r\n\r\n", Reject::ChunkEnd),
        ("5\rhello", Reject::BareCr),
        ("5\r\r\nhello", Reject::BareCr),
        ("5;x\rhello", Reject::BareCr),
        ("0\r\n\n", Reject::BareLf),
        ("0\r\n\rX", Reject::BareCr),
        ("0\r\n\r\r\n", Reject::BareCr),
        ("0\n\r\n", Reject::ChunkSize),
        ("0\n\n", Reject::ChunkSize),
        ("0\r\nX: y\n\r\n", Reject::BareLf),
        ("0\r\nX: y\r\n\n", Reject::BareLf),
        ("0\r\nX: y\rz\r\n\r\n", Reject::BareCr),
        ("\r\n5\r\nhello", Reject::ChunkSize),
        ("\n5\r\nhello", Reject::ChunkSize),
    ] {
        refuses(input.as_bytes(), reject);
    }
}

#[test]
fn d8_malformed_extensions() {
    for extension in [
        ";",
        "; ",
        ";;",
        ";x;",
        ";=",
        ";=y",
        ";x=",
        ";x= ",
        ";x=y=",
        ";x y",
        ";x=y z",
        ";bad[=x",
        ";x=[",
        ";x=\"a",
        ";x=\"a\"b",
        ";x=a\"b\"",
        ";x=\"a\"\"b\"",
        ";x=\"\\",
        ";x ",
        ";x=y ",
        ";x=\"a\" ",
        ";\u{e4}",
        ";x=\u{e4}",
        " x",
        ";x,y",
        ";x=(y)",
        ";\"x\"",
        ";x/y",
        ";x@y",
    ] {
        refuses(format!("5{extension}\r\nhello").as_bytes(), Reject::ChunkExtension);
    }
    for byte in (0..=0x1F).chain([0x7F]).filter(|byte| !matches!(byte, b'\t' | b'\r')) {
        for place in [&b"5;"[..], b"5;x", b"5;x=", b"5;x=y", b"5;x=\"y", b"5;x=\"\\", b"5;x=\"y\""]
        {
            refuses(&[place, &[byte]].concat(), Reject::ChunkExtension);
        }
    }
    refuses(b"5;x=\"y\rz\"\r\nhello", Reject::ChunkExtension);
    refuses(b"5;x\r\0", Reject::BareCr);
}

#[test]
fn d10_an_incomplete_body_is_not_done() {
    let input = b"5;x=\"y\"\r\nhello\r\n0\r\nX: y\r\n\r\n";
    for len in 0..input.len() {
        let (.., used, done) = decoded(&input[..len]).unwrap();
        assert_eq!((used, done), (len, false));
    }
    assert!(decoded(input).unwrap().3);
}

#[test]
fn d11_trailers_are_kept_apart() {
    let input = b"3\r\nabc\r\n0\r\nX: y\r\nA:  b \r\nEmpty:\r\nX: \xe4\r\n\r\nGET";
    let (body, trailers, used, done) = decoded(input).unwrap();
    assert_eq!((&body[..], used, done), (&b"abc"[..], input.len() - 3, true));
    let expected: [(&str, &[u8]); 4] = [("X", b"y"), ("A", b"b"), ("Empty", b""), ("X", b"\xe4")];
    assert_eq!(trailers, expected.map(|(name, value)| (name.into(), value.into())));
}

#[test]
fn d11_trailers_that_come_too_late_are_left_out() {
    let input = b"0\r\nContent-Length: 5\r\nHost: b\r\ntransfer-encoding: chunked\r\nX: y\r\n\
        Connection: close\r\n\r\n";
    let (body, trailers, used, done) = decoded(input).unwrap();
    assert_eq!((body.len(), used, done), (0, input.len(), true));
    assert_eq!(trailers, [("X".into(), b"y".to_vec())]);
    let many = format!("0\r\n{}\r\n", "Host: a\r\n".repeat(TRAILERS_MAX + 1));
    assert_eq!(decoded(many.as_bytes()), Err(Reject::TrailersTooMany));
}

#[test]
fn d13_malformed_trailers() {
    for (trailer, reject) in [
        ("bad\r\r\n", Reject::BareCr),
        ("bad\r\n", Reject::FieldColon),
        ("bad : x\r\n", Reject::FieldName),
        (": x\r\n", Reject::FieldName),
        (" x: y\r\n", Reject::FieldFold),
        ("a: b\r\n c\r\n", Reject::FieldFold),
        ("a: b\0\r\n", Reject::ControlByte),
        ("\0", Reject::ControlByte),
        ("a: b\x7f", Reject::ControlByte),
        ("\u{e4}: b\r\n", Reject::FieldName),
        ("GET / HTTP/1.1\r\n", Reject::FieldColon),
        ("GET http://h HTTP/1.1\r\n", Reject::FieldName),
    ] {
        refuses(format!("0\r\n{trailer}").as_bytes(), reject);
        refuses(format!("0\r\nX: y\r\n{trailer}").as_bytes(), reject);
    }
}

#[test]
fn d13_trailers_at_their_limits() {
    let trailers = |count: usize| format!("0\r\n{}\r\n", "x: y\r\n".repeat(count));
    assert_eq!(decoded(trailers(TRAILERS_MAX).as_bytes()).unwrap().1.len(), TRAILERS_MAX);
    refuses(trailers(TRAILERS_MAX + 1).as_bytes(), Reject::TrailersTooMany);
    let long = |len: usize| format!("0\r\nx: {}\r\n\r\n", "y".repeat(len - "x: \r\n".len()));
    assert!(decoded(long(TRAILER_BYTES_MAX).as_bytes()).unwrap().3);
    refuses(long(TRAILER_BYTES_MAX + 1).as_bytes(), Reject::TrailersTooLarge);
    refuses(long(17 * 1024).as_bytes(), Reject::TrailersTooLarge);
    refuses(&[b"0\r\n", &[b'x'; 17 * 1024][..]].concat(), Reject::TrailersTooLarge);
    let lines = "x: 0123456789012345678901234567890123456789\r\n".repeat(90);
    let limits = Limits { trailer_bytes_max: lines.len(), ..Limits::DEFAULT };
    let input = format!("0\r\n{lines}\r\n");
    assert!(decoded_by(input.as_bytes(), &limits).unwrap().3);
    let limits = Limits { trailer_bytes_max: lines.len() - 1, ..limits };
    assert_eq!(decoded_by(input.as_bytes(), &limits), Err(Reject::TrailersTooLarge));
    assert_eq!((Reject::TrailersTooLarge.status(), Reject::TrailersTooMany.status()), (431, 431));
}

#[test]
fn extensions_at_their_limit() {
    let input = |len: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(len - 1));
    let max = CHUNK_EXTENSION_BYTES_MAX;
    accepts(&input(max), "x");
    refuses(input(max + 1).as_bytes(), Reject::ChunkExtensionsTooLarge);
    refuses(&[b"1;", &vec![b'x'; max][..]].concat(), Reject::ChunkExtensionsTooLarge);
    refuses(&[b"1", &vec![b' '; max + 1][..]].concat(), Reject::ChunkExtensionsTooLarge);
    // The limit is on their sum over all chunks.
    let limits = Limits { chunk_extension_bytes_max: 20, ..Limits::DEFAULT };
    let chunks = |count: usize| format!("{}0\r\n\r\n", "1;x\r\ny\r\n".repeat(count));
    assert!(decoded_by(chunks(10).as_bytes(), &limits).is_ok());
    let refused = decoded_by(chunks(11).as_bytes(), &limits);
    assert_eq!(refused, Err(Reject::ChunkExtensionsTooLarge));
}

#[test]
fn d14_body_at_its_limit() {
    let limits = Limits { body_bytes_max: 10, ..Limits::DEFAULT };
    let chunks = |count: usize| format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(count));
    assert_eq!(decoded_by(chunks(10).as_bytes(), &limits).unwrap().0.len(), 10);
    assert_eq!(decoded_by(chunks(11).as_bytes(), &limits), Err(Reject::BodyTooLarge));
    assert!(decoded_by(b"a\r\n0123456789\r\n0\r\n\r\n", &limits).unwrap().3);
    // Refused at the size, before any data.
    assert_eq!(decoded_by(b"b\r\n", &limits), Err(Reject::BodyTooLarge));
    assert_eq!(decoded_by(b"9\r\n012345678\r\n2\r\n", &limits), Err(Reject::BodyTooLarge));
}

#[test]
fn d14_a_million_chunks_of_one_byte_cost_linear_work() {
    let input = "1\r\nx\r\n".repeat(1_000_000);
    let work = work_of(|| {
        let all = decode_cut(input.as_bytes(), Framing::Chunked, [input.len()], &Limits::DEFAULT);
        assert_eq!(all.unwrap().0.len(), 1_000_000);
    });
    assert!(work <= 2 * input.len(), "{work}");
    let limits = Limits { body_bytes_max: 999_999, ..Limits::DEFAULT };
    let refused = decode_cut(input.as_bytes(), Framing::Chunked, [input.len()], &limits);
    assert_eq!(refused, Err(Reject::BodyTooLarge));
}

#[test]
fn trailers_byte_by_byte_cost_linear_work() {
    for trailer in ["x".repeat(16_000), format!("x: {}", "\t".repeat(16_000)), "x:\r\n".repeat(99)]
    {
        let input = format!("0\r\n{trailer}");
        let ends = 0..=input.len();
        let work = work_of(|| {
            drop(decode_cut(input.as_bytes(), Framing::Chunked, ends, &Limits::DEFAULT));
        });
        assert!(work <= 12 * input.len(), "{work} for {}", input.len());
    }
}

#[test]
fn a_refused_body_stays_refused() {
    let mut decoder = ChunkedDecoder::new(&Limits::DEFAULT);
    assert_eq!(decoder.decode(b"x"), Err(Reject::ChunkSize));
    assert_eq!(decoder.decode(b"0\r\n\r\n"), Err(Reject::ChunkSize));
    assert_eq!(decoder.decode(b""), Err(Reject::ChunkSize));
    assert!(!decoder.is_done());
}

#[test]
fn nothing_is_used_after_the_end() {
    let mut decoder = ChunkedDecoder::new(&Limits::DEFAULT);
    assert_eq!(decoder.decode(b"0\r\n\r\nGET"), Ok((Piece::End, 5)));
    assert_eq!(decoder.decode(b"GET"), Ok((Piece::End, 0)));
    assert_eq!(decoder.decode(b""), Ok((Piece::End, 0)));
}

#[test]
fn heads_of_chunks() {
    for (len, line) in [
        (1, "1\r\n"),
        (9, "9\r\n"),
        (10, "a\r\n"),
        (16, "10\r\n"),
        (255, "ff\r\n"),
        (4096, "1000\r\n"),
        (u64::MAX, "ffffffffffffffff\r\n"),
    ] {
        assert_eq!(ChunkHead::new(len).unwrap().as_bytes(), line.as_bytes());
    }
    assert!(ChunkHead::new(0).is_none());
}
