//! Methods and versions of a request, as values that borrow and never allocate.
//!
//! Methods are case-sensitive (RFC 9110 section 9.1): `get` is an unknown method, not GET.

use super::reject::Reject;

/// A request method: those of RFC 9110 section 9.3 and PATCH (RFC 5789), or another token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method<'a> {
    /// `GET`.
    Get,
    /// `HEAD`: its response has no body, whatever its fields say.
    Head,
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
    /// `DELETE`.
    Delete,
    /// `CONNECT`: asks a proxy for a tunnel; an origin server answers 405 or 501.
    Connect,
    /// `OPTIONS`.
    Options,
    /// `TRACE`: an echo of the request would leak cookies (RFC 9110 section 9.3.8); answer 405.
    Trace,
    /// `PATCH`.
    Patch,
    /// Any other token. A server that has no use for it answers 501.
    Other(&'a str),
}

impl<'a> Method<'a> {
    /// The method of a token.
    #[inline]
    pub(super) fn of(token: &'a [u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            // A token is ASCII.
            _ => Self::Other(str::from_utf8(token).unwrap_or_default()),
        }
    }

    /// The method as it stands in the request line.
    pub fn as_str(self) -> &'a str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Other(token) => token,
        }
    }

    /// The method itself, if the protocol core knows it: for servers without routes of their own
    /// for other methods.
    ///
    /// # Errors
    ///
    /// [`Reject::MethodUnknown`], status 501 (RFC 9110 section 9.1).
    pub fn known(self) -> Result<Self, Reject> {
        match self {
            Self::Other(_) => Err(Reject::MethodUnknown),
            _ => Ok(self),
        }
    }
}

/// The version of a request. Every HTTP/1 minor above 1 counts as 1 (RFC 9110 section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

impl Version {
    /// Reads the eight bytes that end a request line.
    #[inline]
    pub(super) fn parse(bytes: &[u8; 8]) -> Result<Self, Reject> {
        // Nearly all of them are this one, which is one comparison.
        if bytes == b"HTTP/1.1" { Ok(Self::Http11) } else { Self::parse_other(bytes) }
    }

    fn parse_other(bytes: &[u8; 8]) -> Result<Self, Reject> {
        match bytes {
            b"HTTP/1.0" => Ok(Self::Http10),
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => Ok(Self::Http11),
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                Err(Reject::VersionUnknown)
            }
            _ => Err(Reject::VersionSyntax),
        }
    }
}
