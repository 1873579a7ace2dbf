//! Entry points for fuzzers and the replay of inputs cut into pieces.
//!
//! Each `fuzz_*` takes any bytes and panics only when a promise of this folder is broken: no panic
//! on bytes of the peer, the same verdict however the bytes are cut, and what is encoded is
//! decoded to the same.

use super::body::{BodyDecoder, BodySize, Piece};
use super::date::DateLine;
use super::fields::Fields;
use super::framing::{self, Exchange, Framing};
use super::head::{HeadParser, HeaderSlot, RequestHead, Version};
use super::known::KnownFields;
use super::limits::{HEADERS_MAX, Limits};
use super::reject::Reject;
use super::response::ResponseWriter;
use super::uri;

/// A head that owns its parts, for comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedHead {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: (String, Option<String>),
    /// The version.
    pub version: Version,
    /// The effective host and port.
    pub authority: Option<String>,
    /// The fields.
    pub fields: Vec<(String, Vec<u8>)>,
    /// What follows from them.
    pub exchange: Result<Exchange, Reject>,
    /// The length of the head.
    pub used: usize,
}

impl OwnedHead {
    fn new(head: &RequestHead<'_>, used: usize) -> Self {
        Self {
            method: head.method.as_str().into(),
            target: (head.target.path().into(), head.target.query().map(Into::into)),
            version: head.version,
            authority: head.authority.map(|authority| authority.as_str().into()),
            fields: owned(head.fields),
            exchange: framing::decide(head),
            used,
        }
    }
}

fn owned(fields: Fields<'_>) -> Vec<(String, Vec<u8>)> {
    fields.iter().map(|field| (field.name.into(), field.value.into())).collect()
}

/// Parses the head at the start of `data` as it grows to each of the lengths in `ends` in turn.
pub fn parse_cut(
    data: &[u8],
    ends: impl IntoIterator<Item = usize>,
    limits: &Limits,
) -> Result<Option<OwnedHead>, Reject> {
    let mut parser = HeadParser::new();
    let mut slots = [HeaderSlot::EMPTY; HEADERS_MAX];
    for end in ends {
        let seen = data.get(..end).unwrap_or(data);
        if let Some((head, used)) = parser.parse(seen, limits, &mut slots)? {
            return Ok(Some(OwnedHead::new(&head, used)));
        }
    }
    Ok(None)
}

/// Parses heads one behind the other until one is not whole or not accepted. So many bytes of each come
/// before the rest of it. What is known of a head is forgotten before the next one, or not.
pub fn parse_row(
    data: &[u8],
    limits: &Limits,
    forgets: bool,
    first: usize,
) -> Vec<Result<OwnedHead, Reject>> {
    let mut parser = HeadParser::new();
    let mut known = KnownFields::new(HEADERS_MAX);
    let (mut start, mut row) = (0, Vec::new());
    loop {
        if forgets {
            known = KnownFields::new(HEADERS_MAX);
        }
        let rest = data.get(start..).unwrap_or_default();
        // One that is whole or refused already is so again.
        let _ = parser.parse_known(rest.get(..first).unwrap_or(rest), limits, &mut known);
        match parser.parse_known(rest, limits, &mut known) {
            Ok(Some((head, used))) => {
                row.push(Ok(OwnedHead::new(&head, used)));
                start += used;
            }
            Ok(None) => return row,
            Err(reject) => {
                row.push(Err(reject));
                return row;
            }
        }
    }
}

/// A body as decoded: its bytes, its trailers, how many bytes it took, whether it is whole.
pub type OwnedBody = (Vec<u8>, Vec<(String, Vec<u8>)>, usize, bool);

/// Decodes the body at the start of `data`, given piece by piece up to each of the `ends`.
pub fn decode_cut(
    data: &[u8],
    framing: Framing,
    ends: impl IntoIterator<Item = usize>,
    limits: &Limits,
) -> Result<OwnedBody, Reject> {
    let mut decoder = BodyDecoder::new(framing, limits)?;
    let (mut body, mut used) = (Vec::new(), 0);
    for end in ends {
        loop {
            let input = data.get(used..end).unwrap_or_default();
            let (piece, taken) = decoder.decode(input)?;
            used += taken;
            match piece {
                Piece::Data(data) => body.extend_from_slice(data),
                Piece::More | Piece::End => break,
            }
        }
    }
    Ok((body, owned(decoder.trailers()), used, decoder.is_done()))
}

/// Heads: three ways to cut, rows of heads that repeat each other's fields, and the canonical form of
/// what was accepted parses to the same.
pub fn fuzz_head(data: &[u8]) {
    let limits = Limits::DEFAULT;
    let whole = parse_cut(data, [data.len()], &limits);
    assert_eq!(whole, parse_cut(data, 1..=data.len(), &limits), "byte by byte");
    let cut = data.iter().fold(0usize, |sum, &byte| sum + usize::from(byte)) % (data.len() + 1);
    assert_eq!(whole, parse_cut(data, [cut, data.len()], &limits), "cut at {cut}");
    let Ok(Some(head)) = whole else { return };
    let Some(target) = data.get(..head.used).and_then(target_of) else {
        panic!("accepted head without a target");
    };
    fuzz_row(data.get(..head.used).unwrap_or_default(), data, &limits);
    let mut canonical = [head.method.as_bytes(), b" ", target, b" HTTP/1."].concat();
    canonical.push(if head.version == Version::Http10 { b'0' } else { b'1' });
    for (name, value) in &head.fields {
        canonical.extend([b"\r\n", name.as_bytes(), b": ", value.as_slice()].concat());
    }
    canonical.extend(b"\r\n\r\n");
    let again =
        parse_cut(&canonical, [canonical.len()], &Limits { head_bytes_max: usize::MAX, ..limits });
    assert_eq!(again, Ok(Some(OwnedHead { used: canonical.len(), ..head })), "canonical form");
}

/// A head, then others with its fields: whole, cut off, with one byte changed, of the other version.
fn fuzz_row(head: &[u8], data: &[u8], limits: &Limits) {
    let line = head.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or_default();
    let line_len = head.iter().skip(line).position(|&byte| byte == b'\n').map_or(0, |len| len + 1);
    let block = head.get(line + line_len..).unwrap_or_default();
    let mut changed = block.to_vec();
    if let Some(byte) = changed.get_mut(data.len() % block.len().max(1)) {
        *byte ^= 1 << (data.len() % 7);
    }
    let cut = block.get(..block.len() / 2).unwrap_or_default();
    let (new, old) = (&b"PUT /row?x HTTP/1.1\r\n"[..], &b"\r\nGET / HTTP/1.0\r\n"[..]);
    let full = &b"GET http://row:5/ HTTP/1.1\r\n"[..];
    for ends in [[new, block], [old, block], [full, block], [new, &changed], [new, cut]] {
        let row = [head, &ends.concat(), new, block, data].concat();
        let alone = parse_row(&row, limits, true, 0);
        for first in [0, head.len() / 2, head.len().saturating_sub(1), head.len() + 1] {
            assert_eq!(parse_row(&row, limits, false, first), alone, "a row of heads, {first}");
        }
    }
}

fn target_of(head: &[u8]) -> Option<&[u8]> {
    let mut lines = head.split(|&byte| byte == b'\n');
    lines.find(|line| !line.starts_with(b"\r"))?.split(|&byte| byte == b' ').nth(1)
}

/// Chunked bodies: two ways to cut, with limits small enough to be met.
pub fn fuzz_chunked(data: &[u8]) {
    let limits = Limits {
        body_bytes_max: 1 << 16,
        chunk_extension_bytes_max: 64,
        trailer_bytes_max: 128,
        trailers_max: 4,
        ..Limits::DEFAULT
    };
    let whole = decode_cut(data, Framing::Chunked, [data.len()], &limits);
    let bytes = decode_cut(data, Framing::Chunked, 1..=data.len(), &limits);
    assert_eq!(whole, bytes, "byte by byte");
    if let Ok((body, ..)) = whole {
        assert!(body.len() <= data.len(), "a body larger than its coding");
    }
}

/// Paths, queries and forms: no panic, nothing longer than the input, no NUL.
pub fn fuzz_query(data: &[u8]) {
    for (name, value) in uri::Pairs::new(data, 100).flatten() {
        assert!(name.len() + value.len() <= data.len(), "decoding made it longer");
        assert!(!name.contains('\0') && !value.contains('\0'), "NUL");
    }
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    for segment in uri::segments(text).flatten() {
        assert!(!segment.contains(|c: char| c.is_ascii_control()), "control byte");
    }
    for name in uri::file_names(text).flatten() {
        assert!(!name.contains(['/', '\\', '\0']) && name != ".." && name != ".", "{name}");
    }
    let mut encoded = String::new();
    uri::push_encoded(&mut encoded, text);
    if let Ok(decoded) = uri::decode_segment(&encoded) {
        assert_eq!(decoded, text, "encoded and decoded");
    }
}

/// Response fields: whatever the handler passes, no line of the head is one that it forged.
pub fn fuzz_response(data: &[u8]) {
    let mut out = Vec::new();
    let Some((&[status, split], rest)) = data.split_first_chunk() else {
        return;
    };
    let (name, value) = rest.split_at(usize::from(split).min(rest.len()));
    let exchange = Exchange { keep_alive: true, ..Exchange::REJECTED };
    let status = 200 + u16::from(status);
    let Ok(mut writer) = ResponseWriter::start(&mut out, &exchange, status) else {
        return;
    };
    let written = str::from_utf8(name).is_ok_and(|name| writer.field(name, value).is_ok());
    if writer.finish(BodySize::Unknown, &DateLine::new(0)).is_err() {
        assert!(out.is_empty(), "a part of a head");
        return;
    }
    let lines = out.split(|&byte| byte == b'\n').count();
    assert!(lines <= 6 + usize::from(written), "{}", out.escape_ascii());
    assert!(out.ends_with(b"\r\n\r\n") && !out.contains(&0), "{}", out.escape_ascii());
}

#[cfg(test)]
mod tests;
