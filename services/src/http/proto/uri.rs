//! Percent-decoding of path segments, and the pairs of a query or form body.
//!
//! A path is split at its `/` first and decoded afterwards, so `%2F` never makes a segment of its
//! own. Everything is decoded once only: `%252e` is the text `%2e`, not a full stop.

use std::borrow::Cow;
use std::fmt;

use super::authority::hex_pair;
use super::scan::{self, UNRESERVED};

/// Text in a target or a form that can not be used. The status for all of them is 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UriError {
    /// A `%` in a path that two hexadecimal digits do not follow (RFC 3986 section 2.1).
    Percent,
    /// Bytes that are not UTF-8 when decoded.
    Utf8,
    /// A control byte: any in a path, NUL in a query or form.
    Control,
    /// A segment that means something to a file system: `.`, `..`, or one with `/` or `\` in it.
    NotAName,
    /// More pairs than the limit.
    TooManyPairs,
}

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Percent => "malformed percent-encoding",
            Self::Utf8 => "not UTF-8",
            Self::Control => "control byte",
            Self::NotAName => "segment is not a plain name",
            Self::TooManyPairs => "too many pairs",
        })
    }
}

impl std::error::Error for UriError {}

/// Decodes one segment of a path, or a part of one that a route has captured.
///
/// The text may hold `/` where the peer sent `%2F`; for file names use [`file_names`].
///
/// # Errors
///
/// [`UriError::Percent`], [`UriError::Utf8`], [`UriError::Control`]: CR, LF and NUL never come out.
///
/// # Examples
///
/// ```
/// # use cede_services as cede;
/// # use cede::http::proto::uri::{decode_segment, UriError};
/// assert_eq!(decode_segment("a%20b+c").as_deref(), Ok("a b+c"));
/// assert_eq!(decode_segment("a%0d%0aX: y"), Err(UriError::Control));
/// ```
pub fn decode_segment(segment: &str) -> Result<Cow<'_, str>, UriError> {
    let decoded = decode(segment.as_bytes(), Rules::Path)?;
    if decoded.iter().any(u8::is_ascii_control) {
        return Err(UriError::Control);
    }
    text(decoded)
}

/// The decoded segments of a path: `/a/b%20c` has `a` and `b c`, `/` has one empty segment.
///
/// # Examples
///
/// ```
/// # use cede_services as cede;
/// # use cede::http::proto::uri::{segments, UriError};
/// let names: Result<Vec<_>, UriError> = segments("/users/J%C3%BCrgen").collect();
/// assert_eq!(names.unwrap(), ["users", "Jürgen"]);
/// ```
pub fn segments(path: &str) -> impl Iterator<Item = Result<Cow<'_, str>, UriError>> {
    path.strip_prefix('/').unwrap_or(path).split('/').map(decode_segment)
}

/// The segments of a path as names below a root directory. Empty segments are left out.
///
/// Every name is safe to append to a path of the file system: it is not `.` or `..` and has no
/// separator of any platform in it. What links in the file system do is not looked at.
///
/// # Errors
///
/// For each segment those of [`decode_segment`], and [`UriError::NotAName`].
///
/// # Examples
///
/// ```
/// # use cede_services as cede;
/// # use cede::http::proto::uri::{file_names, UriError};
/// let names: Result<Vec<_>, UriError> = file_names("/..%2f..%2fetc/passwd").collect();
/// assert_eq!(names, Err(UriError::NotAName));
/// ```
pub fn file_names(path: &str) -> impl Iterator<Item = Result<Cow<'_, str>, UriError>> {
    path.split('/').filter(|segment| !segment.is_empty()).map(|segment| {
        let name = decode_segment(segment)?;
        match &*name {
            "." | ".." => Err(UriError::NotAName),
            _ if name.contains(['/', '\\']) => Err(UriError::NotAName),
            _ => Ok(name),
        }
    })
}

/// A name and its value, decoded.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The pairs of a query or of an `application/x-www-form-urlencoded` body, decoded as the WHATWG
/// URL standard does: `+` is a space, a `%` without two digits stands for itself, a pair without
/// `=` has an empty value, empty pairs are left out. CR and LF may come out, as text areas send them.
///
/// Stricter than that standard, it ends with an error at bytes that are not UTF-8, at NUL, and at
/// the pair beyond the limit.
///
/// # Examples
///
/// ```
/// # use cede_services as cede;
/// # use cede::http::proto::uri::{Pairs, UriError};
/// let pairs: Result<Vec<_>, UriError> = Pairs::new(b"q=a+b%21&lang", 1000).collect();
/// assert_eq!(pairs.unwrap(), [("q".into(), "a b!".into()), ("lang".into(), "".into())]);
/// ```
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: Option<&'a [u8]>,
    pairs_left: usize,
}

impl<'a> Pairs<'a> {
    /// Reads the pairs of `form`, at most `pairs_max` of them; see
    /// [`QUERY_PAIRS_MAX`](super::limits::QUERY_PAIRS_MAX).
    pub fn new(form: &'a [u8], pairs_max: usize) -> Self {
        Self { rest: Some(form), pairs_left: pairs_max }
    }

    fn pair(&mut self, pair: &'a [u8]) -> Result<Pair<'a>, UriError> {
        self.pairs_left = self.pairs_left.checked_sub(1).ok_or(UriError::TooManyPairs)?;
        let (name, value) = split_at_byte(pair, b'=');
        Ok((form_text(name)?, form_text(value.unwrap_or_default())?))
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<Pair<'a>, UriError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (pair, rest) = split_at_byte(self.rest?, b'&');
            self.rest = rest;
            if pair.is_empty() {
                continue;
            }
            let result = self.pair(pair);
            if result.is_err() {
                self.rest = None;
            }
            return Some(result);
        }
    }
}

/// What is before the first such byte, and what is behind it.
fn split_at_byte(bytes: &[u8], byte: u8) -> (&[u8], Option<&[u8]>) {
    let mut parts = bytes.splitn(2, |&other| other == byte);
    let before = parts.next().unwrap_or_default();
    scan::work(before.len() + 1);
    (before, parts.next())
}

fn form_text(encoded: &[u8]) -> Result<Cow<'_, str>, UriError> {
    let decoded = decode(encoded, Rules::Form)?;
    if decoded.contains(&0) {
        return Err(UriError::Control);
    }
    text(decoded)
}

fn text(bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, UriError> {
    match bytes {
        Cow::Borrowed(bytes) => str::from_utf8(bytes).map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|e| e.utf8_error()),
    }
    .map_err(|_| UriError::Utf8)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rules {
    /// `+` is a plus sign, and every `%` has its two digits.
    Path,
    /// `+` is a space, and a `%` may stand for itself.
    Form,
}

fn decode(encoded: &[u8], rules: Rules) -> Result<Cow<'_, [u8]>, UriError> {
    let is_special = |&byte: &u8| byte == b'%' || byte == b'+' && rules == Rules::Form;
    scan::work(encoded.len());
    let Some(plain_len) = encoded.iter().position(is_special) else {
        return Ok(Cow::Borrowed(encoded));
    };
    let (plain, mut rest) = encoded.split_at(plain_len);
    let mut decoded = Vec::with_capacity(encoded.len());
    decoded.extend_from_slice(plain);
    while let [byte, behind @ ..] = rest {
        scan::work(1);
        rest = behind;
        decoded.push(match (byte, rules) {
            (b'+', Rules::Form) => b' ',
            (b'%', _) => match hex_pair(behind) {
                Some(byte) => {
                    rest = behind.get(2..).unwrap_or_default();
                    byte
                }
                None if rules == Rules::Form => b'%',
                None => return Err(UriError::Percent),
            },
            _ => *byte,
        });
    }
    Ok(Cow::Owned(decoded))
}

/// Adds a text percent-encoded so that it is one segment of a path, or one name or value of a
/// query: everything but unreserved characters is encoded (RFC 3986 section 2.3).
///
/// # Examples
///
/// ```
/// # use cede_services as cede;
/// # use cede::http::proto::uri::push_encoded;
/// let mut location = String::from("/users/");
/// push_encoded(&mut location, "a/b c");
/// assert_eq!(location, "/users/a%2Fb%20c");
/// ```
pub fn push_encoded(out: &mut String, text: &str) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in text.bytes() {
        if scan::is(byte, UNRESERVED) {
            out.push(char::from(byte));
        } else {
            let digits = [byte >> 4, byte & 0xF].map(|digit| DIGITS.get(usize::from(digit)));
            out.push('%');
            out.extend(digits.into_iter().flatten());
        }
    }
}

#[cfg(test)]
mod tests;
