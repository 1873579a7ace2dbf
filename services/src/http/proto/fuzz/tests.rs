//! Properties on random inputs. A failing case is shrunk and printed with its seed.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::body::BodyEncoder;
use super::super::chunked::{CHUNK_END, ChunkHead, LAST_CHUNK};
use super::super::response::ResponseWriter;
use super::*;

/// Bytes among which those that mean something to HTTP are frequent.
fn noise(max: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => proptest::sample::select(&b"\r\n\t :;,=\"\\%+/?#\0\x7f"[..]),
        4 => proptest::sample::select(&b"GETHPOST/1.0:aef0159"[..]),
        1 => any::<u8>(),
    ];
    vec(byte, 0..max)
}

/// Pieces of requests in any order, so that deep rules are reached.
fn pieces(max: usize) -> impl Strategy<Value = Vec<u8>> {
    const PIECES: &[&str] = &[
        "\r\n",
        "\r\n",
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        ":",
        ": ",
        ",",
        ";",
        "0",
        "5",
        "5\r\n",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "POST /a?b HTTP/1.1\r\nHost: a\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "CONNECT a:1 HTTP/1.1\r\n",
        "GET http://a/ HTTP/1.0\r\n",
        "HTTP/1.1",
        "Host: a\r\n",
        "Host: ",
        "a",
        "[::1]:80",
        "Content-Length: 5\r\n",
        "Content-Length: ",
        "chunked",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: ",
        "Connection: close\r\n",
        "X: y\r\n",
        "Connection: ",
        "keep-alive",
        "Expect: 100-continue\r\n",
        "hello",
        "0\r\n\r\n",
        "x=\"y\"",
        "\u{e4}",
        "\0",
    ];
    vec(proptest::sample::select(PIECES), 0..max).prop_map(|pieces| pieces.concat().into_bytes())
}

/// A field that encodes to itself.
fn field() -> impl Strategy<Value = (String, Vec<u8>)> {
    let byte = prop_oneof![4 => b' '..=b'~', 1 => 0x80..=0xFFu8, 1 => Just(b'\t')];
    ("x[-!#$%&'*+.^_`|~0-9A-Za-z]{0,20}", vec(byte, 0..40))
        .prop_map(|(name, value)| (name, value.trim_ascii().to_vec()))
}

/// A request that ought to be accepted.
fn request() -> impl Strategy<Value = (String, String, bool, Vec<(String, Vec<u8>)>)> {
    let method = prop_oneof![Just("GET".to_owned()), "[A-Z]{1,12}", "[!#$%&'*+.^_`|~0-9a-z-]{1,8}"]
        .prop_filter("has targets of its own", |method| method != "CONNECT");
    let target = r"/[!$-;=@-\[\]^_a-~]{0,40}(\?[!$-;=?-~]{0,40})?";
    (method, target, any::<bool>(), vec(field(), 0..20))
}

/// More cases than usual where they are quick, and as many as `PROPTEST_CASES` asks for.
fn config() -> ProptestConfig {
    const CASES_MIN: u32 = if cfg!(debug_assertions) { 200 } else { 1_000 };
    let mut config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES_MIN;
    }
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_bytes_never_panic(data in noise(300)) {
        fuzz_head(&data);
        fuzz_chunked(&data);
        fuzz_query(&data);
        fuzz_response(&data);
    }

    #[test]
    fn random_pieces_never_panic(data in pieces(30)) {
        fuzz_head(&data);
        fuzz_head(&[b"GET / HTTP/1.1\r\nHost: a\r\n", &data[..]].concat());
        fuzz_chunked(&data);
        fuzz_chunked(&[b"5\r\nhello\r\n0\r\n", &data[..]].concat());
        fuzz_query(&data);
        fuzz_response(&data);
    }

    #[test]
    fn a_request_parses_to_what_was_written((method, target, new, fields) in request()) {
        let version = if new { "HTTP/1.1" } else { "HTTP/1.0" };
        let mut input = format!("{method} {target} {version}\r\nHost: h:1\r\n").into_bytes();
        for (name, value) in &fields {
            input.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        input.extend(b"\r\nrest");
        fuzz_head(&input);
        let head = parse_cut(&input, [input.len()], &Limits::DEFAULT).unwrap().unwrap();
        prop_assert_eq!(head.method, method);
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (&target[..], None),
        };
        prop_assert_eq!(head.target, (path.to_owned(), query));
        prop_assert_eq!(head.authority.as_deref(), Some("h:1"));
        prop_assert_eq!(&head.fields[1..], fields);
        prop_assert_eq!(head.used, input.len() - 4);
        prop_assert!(head.exchange.is_ok_and(|exchange| exchange.keep_alive == new));
    }

    #[test]
    fn one_changed_byte_never_panics(
        (method, target, _, fields) in request(),
        at: proptest::sample::Index,
        byte: u8,
    ) {
        let mut input = format!("{method} {target} HTTP/1.1\r\nHost: h:1\r\n").into_bytes();
        for (name, value) in &fields {
            input.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        input.extend(b"Content-Length: 5\r\n\r\n");
        let at = at.index(input.len());
        input[at] = byte;
        fuzz_head(&input);
    }

    #[test]
    fn chunks_decode_to_what_was_written(
        chunks in vec((vec(any::<u8>(), 1..50), r#"(;x[a-z]{0,3}(="([ -!#-\[\]-~]|\\["\\])*")?)?"#), 0..10),
        trailers in vec(field(), 0..5),
        rest in vec(any::<u8>(), 0..20),
    ) {
        let mut input = Vec::new();
        for (data, extension) in &chunks {
            let head = ChunkHead::new(data.len() as u64).unwrap();
            let line = head.as_bytes().strip_suffix(CHUNK_END).unwrap();
            input.extend([line, extension.as_bytes(), CHUNK_END, data, CHUNK_END].concat());
        }
        input.extend(LAST_CHUNK);
        for (name, value) in &trailers {
            input.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        input.extend(b"\r\n");
        let len = input.len();
        input.extend(rest);
        let body: Vec<u8> = chunks.iter().flat_map(|(data, _)| data.clone()).collect();
        let expected = Ok((body, trailers, len, true));
        for step in [1, 2, 3, 7, input.len()] {
            let ends = (0..=input.len()).step_by(step).chain([input.len()]);
            let found = decode_cut(&input, Framing::Chunked, ends, &Limits::DEFAULT);
            prop_assert_eq!(&found, &expected);
        }
    }

    #[test]
    fn a_chunked_response_decodes_to_what_was_written(pieces in vec(vec(any::<u8>(), 0..100), 0..10)) {
        let mut out = Vec::new();
        let mut body = encoder(&mut out, BodySize::Unknown);
        out.clear();
        for piece in &pieces {
            body.write(&mut out, piece).unwrap();
        }
        body.finish(&mut out).unwrap();
        let found = decode_cut(&out, Framing::Chunked, [out.len()], &Limits::DEFAULT);
        prop_assert_eq!(found, Ok((pieces.concat(), vec![], out.len(), true)));
    }

    #[test]
    fn a_response_head_reads_as_written(fields in vec(field(), 0..10), length: u64) {
        let mut out = Vec::new();
        let exchange = Exchange { keep_alive: true, ..Exchange::REJECTED };
        let mut writer = ResponseWriter::start(&mut out, &exchange, 200).unwrap();
        for (name, value) in &fields {
            writer.field(name, value).unwrap();
        }
        writer.finish(BodySize::Length(length), &DateLine::new(0)).unwrap();
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut headers);
        prop_assert_eq!(response.parse(&out), Ok(httparse::Status::Complete(out.len())));
        let read: Vec<_> =
            response.headers.iter().map(|header| (header.name.to_owned(), header.value.to_vec())).collect();
        prop_assert_eq!(&read[..fields.len()], &fields[..]);
        let expected = ("Content-Length".to_owned(), length.to_string().into_bytes());
        prop_assert!(read.contains(&expected));
    }

    #[test]
    fn what_is_encoded_is_decoded_to_the_same(pairs in vec((any::<String>(), any::<String>()), 0..8)) {
        let mut form = String::new();
        for (name, value) in &pairs {
            form.push('&');
            uri::push_encoded(&mut form, name);
            form.push('=');
            uri::push_encoded(&mut form, value);
        }
        let found: Result<Vec<_>, _> = uri::Pairs::new(form.as_bytes(), 100)
            .map(|pair| pair.map(|(name, value)| (name.into_owned(), value.into_owned())))
            .collect();
        if form.contains("%00") {
            prop_assert_eq!(found, Err(uri::UriError::Control));
        } else {
            prop_assert_eq!(found, Ok(pairs));
        }
    }
}

fn encoder(out: &mut Vec<u8>, size: BodySize) -> BodyEncoder {
    let writer = ResponseWriter::start(out, &Exchange::REJECTED, 200).unwrap();
    writer.finish(size, &DateLine::new(0)).unwrap()
}
