//! Bodies that are read in small pieces, and bodies that are written longer or shorter than said.

use super::super::fuzz::decode_cut;
use super::super::limits::BODY_BYTES_MAX;
use super::super::testing::every_cut;
use super::*;

fn encoder(form: Form) -> BodyEncoder {
    BodyEncoder::new(form, true)
}

#[test]
fn a_body_by_its_length() {
    let input = b"hello, this is the next request";
    let parse = |ends: &[usize]| {
        decode_cut(input, Framing::Length(5), ends.iter().copied(), &Limits::DEFAULT)
    };
    assert_eq!(every_cut(input, parse), Ok((b"hello".to_vec(), vec![], 5, true)));
    let parse =
        |ends: &[usize]| decode_cut(input, Framing::None, ends.iter().copied(), &Limits::DEFAULT);
    assert_eq!(every_cut(input, parse), Ok((vec![], vec![], 0, true)));
}

#[test]
fn c19_d10_a_stream_that_ends_too_early() {
    let mut body = BodyDecoder::new(Framing::Length(10), &Limits::DEFAULT).unwrap();
    assert_eq!(body.decode(b"12345"), Ok((Piece::Data(b"12345"), 5)));
    assert_eq!(body.end_of_stream(), Err(Reject::Incomplete));
    assert_eq!(body.decode(b"67890"), Ok((Piece::Data(b"67890"), 5)));
    assert_eq!(body.end_of_stream(), Ok(()));
    for input in ["", "5", "5\r\n", "5\r\nhel", "5\r\nhello", "5\r\nhello\r\n", "0\r\n", "0\r\n\r"]
    {
        let mut body = BodyDecoder::new(Framing::Chunked, &Limits::DEFAULT).unwrap();
        let mut rest = input.as_bytes();
        while let (Piece::Data(_), used) = body.decode(rest).unwrap() {
            rest = &rest[used..];
        }
        assert_eq!(body.end_of_stream(), Err(Reject::Incomplete), "{input:?}");
    }
}

#[test]
fn g5_a_length_above_the_limit_is_refused_at_once() {
    for (length, refused) in [(BODY_BYTES_MAX, false), (BODY_BYTES_MAX + 1, true), (u64::MAX, true)]
    {
        let decoder = BodyDecoder::new(Framing::Length(length), &Limits::DEFAULT);
        assert_eq!(decoder.err(), refused.then_some(Reject::BodyTooLarge));
    }
}

#[test]
fn d16_reads_of_every_size() {
    let chunked = b"5\r\nhello\r\n1;x=y\r\n \r\n0005\r\nworld\r\n0\r\nA: b\r\n\r\nnext";
    let plain = b"hello worldnext";
    for (framing, input) in [(Framing::Chunked, &chunked[..]), (Framing::Length(11), plain)] {
        for input_step in 1..=input.len() {
            for room in 1..=12 {
                let mut body = BodyDecoder::new(framing, &Limits::DEFAULT).unwrap();
                let (mut content, mut used) = (Vec::new(), 0);
                let mut end = 0;
                while !body.is_done() {
                    let mut output = vec![0; room];
                    let (taken, written) = body.read(&input[used..end], &mut output).unwrap();
                    used += taken;
                    content.extend_from_slice(&output[..written]);
                    if written == 0 {
                        end = input.len().min(end + input_step);
                    }
                }
                assert_eq!(content, b"hello world");
                assert_eq!(&input[used..], b"next");
                let trailers = usize::from(framing == Framing::Chunked);
                assert_eq!(body.trailers().len(), trailers);
            }
        }
    }
}

#[test]
fn read_hands_out_what_was_before_the_fault() {
    let mut body = BodyDecoder::new(Framing::Chunked, &Limits::DEFAULT).unwrap();
    let mut output = [0; 10];
    assert_eq!(body.read(b"2\r\nab\r\nx", &mut output).map(|(_, written)| written), Ok(2));
    assert_eq!(&output[..2], b"ab");
    assert_eq!(body.read(b"", &mut output), Err(Reject::ChunkSize));
}

#[test]
fn f8_more_or_less_than_declared() {
    let mut out = b"head".to_vec();
    let mut body = encoder(Form::Length(5));
    assert_eq!(body.write(&mut out, b"hello!"), Err(EncodeError::BodyTooLong));
    assert_eq!(body.write(&mut out, b"hello"), Err(EncodeError::BodyEnded));
    assert_eq!(body.finish(&mut out), Err(EncodeError::BodyEnded));
    assert_eq!((&out[..], body.keep_alive()), (&b"head"[..], false));

    let mut body = encoder(Form::Length(5));
    body.write(&mut out, b"hell").unwrap();
    assert!(!body.keep_alive());
    assert_eq!(body.finish(&mut out), Err(EncodeError::BodyTooShort));
    assert_eq!((&out[..], body.keep_alive()), (&b"headhell"[..], false));
    assert_eq!(body.finish(&mut out), Err(EncodeError::BodyEnded));

    let mut body = encoder(Form::Length(5));
    out.clear();
    for piece in ["", "he", "l", "", "lo", ""] {
        body.write(&mut out, piece.as_bytes()).unwrap();
    }
    assert_eq!(body.finish(&mut out), Ok(()));
    assert_eq!((&out[..], body.keep_alive()), (&b"hello"[..], true));
    assert_eq!(body.finish(&mut out), Err(EncodeError::BodyEnded));
    assert!(body.frame(u64::MAX).is_err());
}

#[test]
fn chunks() {
    let (mut out, mut body) = (Vec::new(), encoder(Form::Chunked));
    for piece in ["hello", "", "0123456789"] {
        body.write(&mut out, piece.as_bytes()).unwrap();
    }
    assert!(!body.keep_alive() && !body.is_raw() && !body.is_suppressed());
    body.finish(&mut out).unwrap();
    assert_eq!(out, b"5\r\nhello\r\na\r\n0123456789\r\n0\r\n\r\n");
    assert!(body.keep_alive());
    let frame = encoder(Form::Chunked).frame(20).unwrap();
    assert_eq!((frame.before(), frame.after()), (&b"14\r\n"[..], &b"\r\n"[..]));
    let frame = encoder(Form::Raw).frame(20).unwrap();
    assert_eq!((frame.before(), frame.after(), frame.is_sent()), (&b""[..], &b""[..], true));
}

#[test]
fn trailers_that_may_be_sent() {
    let (mut out, mut body) = (Vec::new(), encoder(Form::Chunked));
    for (name, value) in [
        ("Content-Length", &b"5"[..]),
        ("transfer-encoding", b"chunked"),
        ("Host", b"a"),
        ("Connection", b"close"),
        ("Trailer", b"x"),
        ("Set-Cookie", b"a=b"),
        ("Content-Type", b"text/plain"),
        ("Na me", b"x"),
        ("", b"x"),
        ("X", b"a\r\nSet-Cookie: b"),
        ("X", b"a\n"),
        ("X", b"\0"),
    ] {
        let error = body.finish_with_trailers(&mut out, [("Ok", &b"1"[..]), (name, value)]);
        assert!(error.is_err(), "{name}");
        assert!(out.is_empty());
    }
    body.finish_with_trailers(&mut out, [("Server-Timing", &b"total;dur=1"[..])]).unwrap();
    assert_eq!(out, b"0\r\nServer-Timing: total;dur=1\r\n\r\n");
    for form in [Form::Length(0), Form::Ended] {
        let refused = encoder(form).finish_with_trailers(&mut out, []);
        assert_eq!(refused, Err(EncodeError::Trailer));
    }
    for (form, left) in [(Form::Suppressed, &b""[..]), (Form::Raw, b"body")] {
        let (mut out, mut body) = (Vec::new(), encoder(form));
        body.write(&mut out, b"body").unwrap();
        assert!(body.finish_with_trailers(&mut out, [("X", &b"\r"[..])]).is_err());
        body.finish_with_trailers(&mut out, [("X", &b"y"[..])]).unwrap();
        assert_eq!((&*out, body.keep_alive()), (left, true), "no place for trailers");
    }
}
