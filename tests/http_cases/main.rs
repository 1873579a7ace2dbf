//! What comes in and what must come out: the cases of HTTP/1.1 on raw sockets, each input whole,
//! byte by byte, and split at every offset.
//!
//! The statuses expected are all that come; the last request, which is sent behind each case, is
//! answered with 299 if and only if the connection was kept.

#[path = "../common/mod.rs"]
mod common;
#[path = "../http_common/mod.rs"]
mod http_common;

mod chunked;
mod connections;
mod fields;
mod framing;
mod limits;
mod request_line;
mod responses;

use http_common::{LAST, Lab, answers};

/// Inputs longer than this are split at some offsets only.
const SPLIT_ALL_BYTES_MAX: usize = 160;
/// Inputs longer than this are not sent in pieces.
const SPLIT_BYTES_MAX: usize = 4096;

/// A name, an input, and the statuses that come in answer to it.
type Case<'a> = (&'a str, &'a [u8], &'a [u16]);

#[track_caller]
fn check(lab: &Lab, name: &str, input: &[u8], expected: &[u16]) {
    let shown = input[..input.len().min(200)].escape_ascii().to_string();
    assert_eq!(statuses(lab, &[input]), expected, "{name} whole: {shown}");
    if input.len() > SPLIT_BYTES_MAX {
        return;
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(statuses(lab, &bytes), expected, "{name} byte by byte: {shown}");
    let step = 1 + input.len() / SPLIT_ALL_BYTES_MAX * 16;
    for at in (1..input.len()).step_by(step) {
        let (a, b) = input.split_at(at);
        assert_eq!(statuses(lab, &[a, b]), expected, "{name} split at {at}: {shown}");
    }
}

/// The statuses of what is answered. A refusal has to say that it is the last.
#[track_caller]
fn statuses(lab: &Lab, parts: &[&[u8]]) -> Vec<u16> {
    let answers = lab.answers_and_last(parts.iter().copied());
    if let Some(last) = answers.last()
        && last.status >= 400
    {
        assert_eq!(last.header("connection"), Some("close"), "{}", last.head);
    }
    answers.iter().map(|answer| answer.status).collect()
}

/// `%` stands for the `Host` that every request has.
fn with_host(input: &[u8]) -> Vec<u8> {
    let host = b"Host: a\r\n";
    input
        .iter()
        .flat_map(|byte| if *byte == b'%' { &host[..] } else { std::slice::from_ref(byte) })
        .copied()
        .collect()
}

#[track_caller]
fn check_all(cases: &[Case<'_>]) {
    let lab = Lab::new();
    for (name, input, expected) in cases {
        check(&lab, name, &with_host(input), expected);
    }
}

/// All these values between the same bytes.
#[track_caller]
fn check_each(name: &str, before: &str, values: &[&[u8]], after: &str, expected: &[u16]) {
    let lab = Lab::new();
    for value in values {
        let input = [before.as_bytes(), value, after.as_bytes()].concat();
        check(&lab, name, &with_host(&input), expected);
    }
}

/// The one answer to a request.
#[track_caller]
fn answer(lab: &Lab, request: impl AsRef<[u8]>) -> http_common::Answer {
    let mut answers = answers(&lab.talk([&*with_host(request.as_ref())]));
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers.remove(0)
}
