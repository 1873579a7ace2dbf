//! What the parser makes of replies: well-formed, malformed, too large, cut anywhere.
//!
//! The rule of this file: a verdict never depends on the cuts, so inputs are fed whole and in pieces.

use proptest::prelude::*;
use redis::{PushKind, Value, VerbatimFormat};

use super::*;

const SMALL: Limits = Limits { bulk_bytes_max: 1_000, reply_bytes_max: 100_000 };

fn all(input: &[u8]) -> Result<Vec<Value>, ProtocolError> {
    parse_with(Parser::new(SMALL), input, input.len().max(1))
}

/// Parses pieces of `piece` bytes as a connection does: what is used goes, the rest stays.
fn parse_with(mut parser: Parser, input: &[u8], piece: usize) -> Result<Vec<Value>, ProtocolError> {
    let mut values = Vec::new();
    let mut held = Vec::new();
    for piece in input.chunks(piece) {
        held.extend_from_slice(piece);
        loop {
            let (value, used) = parser.parse(&held)?;
            held.drain(..used);
            match value {
                Some(value) => values.push(value),
                None => break,
            }
        }
        assert!(held.len() <= LINE_BYTES_MAX + 1, "no more than a line is left to the caller");
    }
    Ok(values)
}

fn one(input: &[u8]) -> Value {
    let mut values = all(input).unwrap();
    assert_eq!(values.len(), 1, "{:?}", input.escape_ascii().to_string());
    values.remove(0)
}

fn error(input: &[u8]) -> ProtocolError {
    match all(input) {
        Err(error) => error,
        Ok(values) => panic!("{} is {values:?}", input.escape_ascii()),
    }
}

fn bulk(text: &str) -> Value {
    Value::BulkString(text.into())
}

#[test]
fn types_of_both_versions() {
    let cases: &[(&[u8], Value)] = &[
        (b"+OK\r\n", Value::Okay),
        (b"+PONG\r\n", Value::SimpleString("PONG".into())),
        (b":-7\r\n", Value::Int(-7)),
        (b":-9223372036854775808\r\n", Value::Int(i64::MIN)),
        (b"$5\r\nhello\r\n", bulk("hello")),
        (b"$0\r\n\r\n", bulk("")),
        (b"$4\r\n\r\n\r\n\r\n", bulk("\r\n\r\n")),
        (b"*-1\r\n", Value::Nil),
        (b"*0\r\n", Value::Array(vec![])),
        (
            b"*2\r\n:1\r\n*1\r\n$-1\r\n",
            Value::Array(vec![Value::Int(1), Value::Array(vec![Value::Nil])]),
        ),
        (b"_\r\n", Value::Nil),
        (b"#t\r\n", Value::Boolean(true)),
        (b"#f\r\n", Value::Boolean(false)),
        (b",1.25\r\n", Value::Double(1.25)),
        (b",-inf\r\n", Value::Double(f64::NEG_INFINITY)),
        (b"~1\r\n+a\r\n", Value::Set(vec![Value::SimpleString("a".into())])),
        (b"%1\r\n+a\r\n:1\r\n", Value::Map(vec![(Value::SimpleString("a".into()), Value::Int(1))])),
        (b"%0\r\n", Value::Map(vec![])),
        (
            b"=7\r\ntxt:abc\r\n",
            Value::VerbatimString { format: VerbatimFormat::Text, text: "abc".into() },
        ),
        (
            b"|1\r\n+ttl\r\n:5\r\n$1\r\nx\r\n",
            Value::Attribute {
                data: Box::new(bulk("x")),
                attributes: vec![(Value::SimpleString("ttl".into()), Value::Int(5))],
            },
        ),
        (
            b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n",
            Value::Push { kind: PushKind::Message, data: vec![bulk("c"), bulk("m")] },
        ),
    ];
    for (input, expected) in cases {
        assert_eq!(&one(input), expected, "{}", input.escape_ascii());
    }
    assert!(matches!(one(b",nan\r\n"), Value::Double(nan) if nan.is_nan()));
    assert!(matches!(
        one(b"(3492890328409238509324850943850943825024385\r\n"),
        Value::BigNumber(_)
    ));
}

#[test]
fn errors_of_the_server_keep_their_codes() {
    let code = |input: &[u8]| match one(input) {
        Value::ServerError(error) => {
            (error.code().to_string(), error.details().unwrap_or_default().to_string())
        }
        value => panic!("{value:?}"),
    };
    assert_eq!(code(b"-ERR no\r\n"), ("ERR".into(), "no".into()));
    assert_eq!(code(b"-NOSCRIPT No\r\n"), ("NOSCRIPT".into(), "No".into()));
    assert_eq!(code(b"-WRONGTYPE a b\r\n"), ("WRONGTYPE".into(), "a b".into()));
    assert_eq!(code(b"!11\r\nSYNTAX a\r\nb\r\n"), ("SYNTAX".into(), "a\r\nb".into()));
    assert_eq!(code(b"-\r\n"), (String::new(), String::new()));
    // Bytes that are no UTF-8 harm nobody.
    assert_eq!(code(b"-ERR \xff\r\n").0, "ERR");
    let nested = one(b"*1\r\n-MOVED 1 a:2\r\n");
    assert!(nested.extract_error().unwrap_err().redirect_node().is_some());
}

#[test]
fn j1_lengths_below_null() {
    assert_eq!(error(b"$-2\r\n"), ProtocolError::Length);
    assert_eq!(one(b"$-1\r\n"), Value::Nil);
}

#[test]
fn j2_an_array_of_minus_five() {
    assert_eq!(error(b"*-5\r\n"), ProtocolError::Length);
    for kind in ["~", "%", "|", ">", "!", "="] {
        assert_eq!(error(format!("{kind}-1\r\n").as_bytes()), ProtocolError::Length);
    }
}

#[test]
fn j3_huge_arrays_are_refused_and_nothing_is_reserved() {
    for kind in ["*", "~", "%", "|", ">"] {
        for len in [2_147_483_647_u64, 4_294_967_296, u64::MAX / 2, u64::MAX] {
            let input = format!("{kind}{len}\r\n");
            let error =
                parse_with(Parser::new(Limits::default()), input.as_bytes(), 100).unwrap_err();
            let is_refused =
                matches!(error, ProtocolError::ReplyTooLarge { .. } | ProtocolError::Length);
            assert!(is_refused, "{input}: {error:?}");
        }
    }
    // Below the limit, and a claim all the same.
    let mut parser = Parser::new(Limits::default());
    assert_eq!(parser.parse(b"*10000000\r\n:1\r\n").unwrap().0, None);
    assert!(parser.frames[0].items.capacity() < 10);
}

#[test]
fn j4_a_length_that_overflows() {
    assert_eq!(error(b"$99999999999999999999\r\n"), ProtocolError::Length);
    assert_eq!(error(b"*99999999999999999999\r\n"), ProtocolError::Length);
    assert!(matches!(error(b"$1001\r\n"), ProtocolError::BulkTooLarge { len: 1001, limit: 1000 }));
    assert_eq!(
        one(format!("$1000\r\n{}\r\n", "x".repeat(1000)).as_bytes()),
        bulk(&"x".repeat(1000))
    );
}

#[test]
fn j5_a_bomb_of_depth() {
    for header in ["*1\r\n", "~1\r\n", "%1\r\n+k\r\n", "|1\r\n+k\r\n"] {
        assert_eq!(error(header.repeat(12_000).as_bytes()), ProtocolError::TooDeep, "{header}");
    }
    assert_eq!(error(format!(">1\r\n{}", "*1\r\n".repeat(40)).as_bytes()), ProtocolError::TooDeep);
    let deepest = format!("{}:1\r\n", "*1\r\n".repeat(DEPTH_MAX));
    assert_eq!(all(deepest.as_bytes()).unwrap().len(), 1);
}

/// The deepest reply is converted and dropped on half of a fiber's stack.
#[test]
fn j5_the_deepest_reply_fits_on_a_small_stack() {
    let deepest = format!("{}:1\r\n", "*1\r\n".repeat(DEPTH_MAX));
    let value = one(deepest.as_bytes());
    let thread = std::thread::Builder::new().stack_size(128 * 1024);
    let thread = thread.spawn(move || {
        let value = value.extract_error().unwrap();
        let copy = value.clone();
        assert!(copy == value);
        redis::from_redis_value::<Value>(value).map(drop).unwrap();
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn j6_more_bytes_than_announced() {
    assert_eq!(error(b"$5\r\nhello!!"), ProtocolError::BulkEnd);
    assert_eq!(error(b"$5\r\nhello\n\r"), ProtocolError::BulkEnd);
    assert_eq!(error(b"$0\r\nx\r\n"), ProtocolError::BulkEnd);
}

#[test]
fn j7_a_line_without_an_end() {
    let mut long = vec![b'+'];
    long.resize(LINE_BYTES_MAX + 1, b'a');
    assert_eq!(error(&long), ProtocolError::LineTooLong);
    long.truncate(LINE_BYTES_MAX - 1);
    assert_eq!(parse_with(Parser::new(Limits::default()), &long, 1_000).unwrap(), []);
    long.extend(b"\r\n");
    assert_eq!(all(&long).unwrap().len(), 1);
    long.insert(1, b'a');
    assert_eq!(error(&long), ProtocolError::LineTooLong);
    assert_eq!(error(b"+a\n"), ProtocolError::LineEnd);
    assert_eq!(error(b"\n"), ProtocolError::Type(b'\n'));
}

#[test]
fn j8_numbers() {
    // A sign is part of RESP3's grammar.
    assert_eq!(one(b":+1\r\n"), Value::Int(1));
    for input in [
        ":1e3\r\n",
        ":\r\n",
        ":+\r\n",
        ":-\r\n",
        ": 1\r\n",
        ":1 \r\n",
        ":9223372036854775808\r\n",
        ":--1\r\n",
        ",\r\n",
        ",1,5\r\n",
        "(\r\n",
        "(1.5\r\n",
        "(-\r\n",
    ] {
        assert_eq!(error(input.as_bytes()), ProtocolError::Number, "{input}");
    }
    for input in ["$\r\n", "$+1\r\n", "$1x\r\n", "*\r\n", "$ 1\r\n", "$0x1\r\n"] {
        assert_eq!(error(input.as_bytes()), ProtocolError::Length, "{input}");
    }
    assert_eq!(error(b"#x\r\n"), ProtocolError::Literal);
    assert_eq!(error(b"_x\r\n"), ProtocolError::Literal);
}

#[test]
fn j9_ten_thousand_replies_in_one_read() {
    let values = all(&b"$3\r\nabc\r\n".repeat(10_000)).unwrap();
    assert_eq!(values.len(), 10_000);
    assert!(values.iter().all(|value| *value == bulk("abc")));
}

/// Before authentication the same parser reads as after it, so its limits are the same.
#[test]
fn j10_limits_hold_for_the_first_reply() {
    assert!(matches!(error(b"$100000\r\n"), ProtocolError::BulkTooLarge { .. }));
    assert!(matches!(error(b"*100000\r\n"), ProtocolError::ReplyTooLarge { .. }));
}

#[test]
fn j11_byte_by_byte() {
    let input = b"*3\r\n$5\r\nhello\r\n%1\r\n+a\r\n_\r\n-ERR x y\r\n:12\r\n=7\r\ntxt:a\r\n\r\n";
    let whole = all(input).unwrap();
    assert_eq!(whole.len(), 3);
    for piece in 1..input.len() {
        assert_eq!(parse_with(Parser::new(SMALL), input, piece).unwrap(), whole, "{piece}");
    }
}

#[test]
fn what_redis_never_sends_is_told_apart() {
    for input in ["$?\r\n", "*?\r\n", "%?\r\n"] {
        assert_eq!(error(input.as_bytes()), ProtocolError::Streamed);
    }
    assert_eq!(error(b">0\r\n"), ProtocolError::PushKind);
    assert_eq!(error(b">1\r\n:1\r\n"), ProtocolError::PushKind);
    assert_eq!(error(b"*1\r\n>1\r\n+a\r\n"), ProtocolError::NestedPush);
    assert_eq!(error(b"=3\r\nabc\r\n"), ProtocolError::Verbatim);
    // Before the line has ended.
    assert_eq!(error(b"H"), ProtocolError::Type(b'H'));
    assert_eq!(error(b"\x15\x03\x01"), ProtocolError::Type(0x15));
}

#[test]
fn a_reply_has_a_limit_in_memory() {
    // Each part is allowed, all together are not.
    let input = format!("*200\r\n{}", format!("$999\r\n{}\r\n", "x".repeat(999)).repeat(200));
    assert_eq!(error(input.as_bytes()), ProtocolError::ReplyTooLarge { limit: 100_000 });
    let mut many = b"*100\r\n".to_vec();
    many.extend(format!("*30\r\n{}", ":1\r\n".repeat(30)).repeat(100).bytes());
    assert!(matches!(error(&many), ProtocolError::ReplyTooLarge { .. }));
    // The next reply begins from nothing.
    let input = format!("$999\r\n{}\r\n", "x".repeat(999)).repeat(200);
    assert_eq!(all(input.as_bytes()).unwrap().len(), 200);
}

#[test]
fn a_long_string_takes_no_more_memory_than_it_has() {
    let mut parser = Parser::new(Limits::default());
    assert_eq!(parser.parse(b"$400000000\r\nabc").unwrap(), (None, 15));
    assert!(parser.partial.as_ref().unwrap().bytes.capacity() <= PARTIAL_BYTES);
    let (len, piece) = (1_000_000, vec![b'x'; 10_000]);
    let mut parser = Parser::new(Limits::default());
    parser.parse(format!("${len}\r\n").as_bytes()).unwrap();
    for _ in 0..len / piece.len() {
        assert_eq!(parser.parse(&piece).unwrap(), (None, piece.len()));
        assert!(parser.partial.as_ref().unwrap().bytes.capacity() <= len);
    }
    let (value, used) = parser.parse(b"\r\n").unwrap();
    assert_eq!((value, used), (Some(Value::BulkString(vec![b'x'; len])), 2));
}

/// The work for a reply that comes byte by byte grows with its length, not with its square.
#[test]
fn no_element_is_made_twice() {
    let mut parser = Parser::new(Limits::default());
    let elements = 20_000;
    parser.parse(format!("*{elements}\r\n").as_bytes()).unwrap();
    for n in 1..elements {
        assert_eq!(parser.parse(b":1\r\n").unwrap(), (None, 4));
        assert_eq!(parser.frames[0].items.len(), n);
    }
    assert!(parser.parse(b":1\r\n").unwrap().0.is_some());
}

fn arbitrary() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        Just(Value::Okay),
        any::<i64>().prop_map(Value::Int),
        any::<bool>().prop_map(Value::Boolean),
        prop::num::f64::NORMAL.prop_map(Value::Double),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::BulkString),
        "[a-zA-Z ]{0,20}".prop_filter("read as Okay", |s| s != "OK").prop_map(Value::SimpleString),
        "[a-z]{0,20}".prop_map(|text| Value::VerbatimString { format: VerbatimFormat::Text, text }),
    ];
    leaf.prop_recursive(6, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Set),
            prop::collection::vec((inner.clone(), inner), 0..8).prop_map(Value::Map),
        ]
    })
}

fn encode(value: &Value, out: &mut Vec<u8>) {
    let header =
        |out: &mut Vec<u8>, kind: char, len| out.extend(format!("{kind}{len}\r\n").bytes());
    match value {
        Value::Nil => out.extend(b"_\r\n"),
        Value::Okay => out.extend(b"+OK\r\n"),
        Value::Int(n) => out.extend(format!(":{n}\r\n").bytes()),
        Value::Boolean(b) => out.extend(if *b { b"#t\r\n" } else { b"#f\r\n" }),
        Value::Double(d) => out.extend(format!(",{d:e}\r\n").bytes()),
        Value::SimpleString(s) => out.extend(format!("+{s}\r\n").bytes()),
        Value::VerbatimString { text, .. } => {
            out.extend(format!("={}\r\ntxt:{text}\r\n", text.len() + 4).bytes());
        }
        Value::BulkString(bytes) => {
            header(out, '$', bytes.len());
            out.extend(bytes);
            out.extend(b"\r\n");
        }
        Value::Array(items) | Value::Set(items) => {
            header(out, if matches!(value, Value::Set(_)) { '~' } else { '*' }, items.len());
            items.iter().for_each(|item| encode(item, out));
        }
        Value::Map(pairs) => {
            header(out, '%', pairs.len());
            for (key, value) in pairs {
                encode(key, out);
                encode(value, out);
            }
        }
        value => unreachable!("{value:?} is not generated"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 300 } else { 2_000 }))]

    #[test]
    fn values_come_back_however_they_are_cut_and_as_the_crate_reads_them(
        values in prop::collection::vec(arbitrary(), 1..4),
        piece in 1_usize..64,
    ) {
        let mut input = Vec::new();
        values.iter().for_each(|value| encode(value, &mut input));
        let parsed = parse_with(Parser::new(Limits::default()), &input, piece).unwrap();
        prop_assert_eq!(&parsed, &values);
        let mut first = Vec::new();
        encode(&values[0], &mut first);
        prop_assert_eq!(&redis::parse_redis_value(&first).unwrap(), &values[0]);
    }

    #[test]
    fn random_bytes_never_panic_and_are_judged_alike_however_they_are_cut(
        input in prop::collection::vec(prop_oneof![
            Just(b'\r'), Just(b'\n'), prop::sample::select(TYPES), b'0'..=b'9', any::<u8>(),
        ], 0..200),
        piece in 1_usize..20,
    ) {
        let whole = parse_with(Parser::new(SMALL), &input, input.len().max(1));
        let cut = parse_with(Parser::new(SMALL), &input, piece);
        prop_assert_eq!(format!("{whole:?}"), format!("{cut:?}"));
    }

    #[test]
    fn pieces_of_replies_never_panic(
        pieces in prop::collection::vec(prop::sample::select(&[
            "*2\r\n", "$3\r\n", "abc", "\r\n", ":1\r\n", "%1\r\n", "|1\r\n", ">2\r\n", "+message\r\n",
            "-ERR\r\n", "~1\r\n", "_\r\n", "=5\r\ntxt:a\r\n", "!3\r\nERR\r\n", "(12\r\n", ",1\r\n", "$-1\r\n",
        ][..]), 0..40),
        piece in 1_usize..20,
    ) {
        let input = pieces.concat().into_bytes();
        let whole = parse_with(Parser::new(SMALL), &input, input.len().max(1));
        let cut = parse_with(Parser::new(SMALL), &input, piece);
        prop_assert_eq!(format!("{whole:?}"), format!("{cut:?}"));
    }
}
