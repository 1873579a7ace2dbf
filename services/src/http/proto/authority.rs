//! `host [":" port]`: the grammar of `Host` and of the authority in a target (RFC 3986 section 3.2).
//!
//! Stricter than the RFC's registered name in three ways: labels are not empty (but for the root's
//! full stop at the end), a comma is refused because it is how a proxy would join two `Host` lines,
//! and percent-encoding may not hide a delimiter. User information never passes (RFC 9110 section
//! 4.2.4).

use std::net::Ipv6Addr;

use super::limits::HOST_BYTES_MAX;
use super::scan::{self, NAME, UNRESERVED};

/// A host and an optional port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// ASCII, by the grammar.
    bytes: &'a [u8],
    shape: Shape,
}

/// What the grammar found in the bytes of an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Without the port; at most [`HOST_BYTES_MAX`].
    host_len: u16,
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads the whole of `bytes`; `None` when they are anything else.
    ///
    /// # Examples
    ///
    /// ```
    /// # use cede_services as cede;
    /// # use cede::http::proto::authority::Authority;
    /// let local = Authority::parse(b"[::1]:80").unwrap();
    /// assert_eq!((local.host(), local.port()), ("[::1]", Some(80)));
    /// assert_eq!(Authority::parse(b"user@host"), None);
    /// ```
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        scan::work(bytes.len());
        let host_len = match bytes.first()? {
            b'[' => ip_literal_len(bytes)?,
            _ => name_len(bytes)?,
        };
        let (host, rest) = bytes.split_at_checked(host_len)?;
        if host.len() > HOST_BYTES_MAX {
            return None;
        }
        let port = match rest {
            [] | [b':'] => None,
            [b':', digits @ ..] => Some(port(digits)?),
            _ => return None,
        };
        Some(Self { bytes, shape: Shape { host_len: host_len as u16, port } })
    }

    /// The same as was [parsed](Self::parse) from equal bytes.
    #[inline]
    pub(super) fn of_shape(bytes: &'a [u8], shape: Shape) -> Self {
        Self { bytes, shape }
    }

    /// What was found in its bytes.
    #[inline]
    pub(super) fn shape(self) -> Shape {
        self.shape
    }

    /// The whole as sent, such as `example.org:8080`.
    pub fn as_str(self) -> &'a str {
        str::from_utf8(self.bytes).unwrap_or_default()
    }

    /// The host as sent; an IPv6 address keeps its brackets. Compare it without case.
    pub fn host(self) -> &'a str {
        self.as_str().get(..usize::from(self.shape.host_len)).unwrap_or_default()
    }

    /// The port, when one is given.
    pub fn port(self) -> Option<u16> {
        self.shape.port
    }
}

/// At most 65535; leading zeros are digits like others (RFC 3986 section 3.2.3).
#[inline]
fn port(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0u16, |number, &digit| {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(u16::from(digit))
    })
}

fn ip_literal_len(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().position(|&byte| byte == b']')?;
    let address = str::from_utf8(bytes.get(1..end)?).ok()?;
    address.parse::<Ipv6Addr>().ok()?;
    Some(end + 1)
}

/// The length of a registered name or an IPv4 address, up to the colon of the port or the end.
#[inline]
fn name_len(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut label) = (0, 0);
    loop {
        while let Some(&byte) = bytes.get(at)
            && scan::is(byte, NAME)
        {
            at += 1;
        }
        match bytes.get(at) {
            Some(b'.') if at > label => {
                at += 1;
                label = at;
            }
            Some(b'%') => {
                let decoded = hex_pair(bytes.get(at + 1..)?)?;
                if !scan::is(decoded, UNRESERVED) && decoded < 0x80 {
                    return None;
                }
                at += 3;
            }
            None | Some(b':') => break,
            Some(_) => return None,
        }
    }
    (at > 0).then_some(at)
}

/// The byte that two hexadecimal digits at the start of `bytes` stand for.
pub(super) fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let [high, low, ..] = *bytes else { return None };
    Some(hex_digit(high)? << 4 | hex_digit(low)?)
}

/// The value of a hexadecimal digit of either case.
#[inline(always)]
pub(super) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
