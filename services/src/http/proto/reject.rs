//! [`Reject`]: why a request is refused, and with which status.
//!
//! After any of these the position of the next request in the stream is unknown or not to be
//! trusted, so **the connection is always closed after the one response**, and nothing that follows
//! on it is read as a request (RFC 9112 sections 6.3 and 9.6).

use std::fmt;

/// A refused request: one variant for each rule, so that logs and tests can tell them apart.
///
/// The status goes to the peer, the reason only to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reject {
    /// More empty lines before the request line than the limit.
    EmptyLines,
    /// A CR that no LF follows (RFC 9112 section 2.2).
    BareCr,
    /// An LF that no CR precedes. Its acceptance is optional (RFC 9112 section 2.2) and a known
    /// means of smuggling, so it is refused.
    BareLf,
    /// A control byte in a line (RFC 9110 section 5.5).
    ControlByte,
    /// A byte above 0x7E in the request line (RFC 9112 section 3).
    RequestLineByte,
    /// A request line that is not three parts with one space between them (RFC 9112 section 3).
    RequestLineShape,
    /// A method that is not a token (RFC 9110 section 9.1).
    MethodSyntax,
    /// A version that is not `HTTP/` digit `.` digit (RFC 9112 section 2.3).
    VersionSyntax,
    /// A byte that a target may not hold, or a malformed authority in it (RFC 9112 section 3.2).
    TargetSyntax,
    /// A form of target that the method does not allow (RFC 9112 section 3.2).
    TargetForm,
    /// A field line without a colon (RFC 9112 section 5).
    FieldColon,
    /// A field name that is empty or not a token, such as one with a space before the colon
    /// (RFC 9112 section 5.1).
    FieldName,
    /// A field line that begins with white space: the obsolete folding (RFC 9112 section 5.2).
    FieldFold,
    /// No `Host` in an HTTP/1.1 request (RFC 9112 section 3.2).
    HostMissing,
    /// More than one `Host` (RFC 9112 section 3.2).
    HostRepeated,
    /// A `Host` that is not a host with an optional port (RFC 9112 section 3.2).
    HostSyntax,
    /// A `Content-Length` that is not digits only (RFC 9112 section 6.3).
    LengthSyntax,
    /// More than one `Content-Length`, be they equal (RFC 9110 section 8.6).
    LengthRepeated,
    /// `Content-Length` beside `Transfer-Encoding` (RFC 9112 section 6.3).
    LengthAndCoding,
    /// A malformed `Transfer-Encoding` (RFC 9112 section 6.1).
    CodingSyntax,
    /// `chunked` not last or not once (RFC 9112 sections 6.1 and 6.3).
    CodingOrder,
    /// `Transfer-Encoding` in an HTTP/1.0 request (RFC 9112 section 6.1).
    CodingInHttp10,
    /// Content with a method that has none: TRACE, CONNECT (RFC 9110 sections 9.3.6 and 9.3.8).
    ContentForbidden,
    /// A malformed or overlong chunk size (RFC 9112 section 7.1).
    ChunkSize,
    /// A malformed chunk extension (RFC 9112 section 7.1.1).
    ChunkExtension,
    /// More bytes of chunk extensions than the limit.
    ChunkExtensionsTooLarge,
    /// Chunk data that no CRLF follows (RFC 9112 section 7.1).
    ChunkEnd,
    /// The peer ended the stream inside a message (RFC 9112 section 8).
    Incomplete,
    /// The time for the head or for progress in the body is over (RFC 9110 section 15.5.9).
    Timeout,
    /// A body larger than the limit (RFC 9110 section 15.5.14).
    BodyTooLarge,
    /// A target longer than the limit (RFC 9112 section 3).
    TargetTooLong,
    /// An expectation other than `100-continue` (RFC 9110 section 10.1.1).
    Expectation,
    /// An `https` target on a connection that is not secured (RFC 9110 section 7.4).
    Misdirected,
    /// A head larger than the limit (RFC 6585 section 5).
    HeadTooLarge,
    /// More field lines than the limit (RFC 6585 section 5).
    HeadersTooMany,
    /// A trailer section larger than the limit (RFC 6585 section 5).
    TrailersTooLarge,
    /// More trailer lines than the limit (RFC 6585 section 5).
    TrailersTooMany,
    /// A method that the server does not know (RFC 9110 section 9.1).
    MethodUnknown,
    /// A method longer than any that the server knows (RFC 9112 section 3).
    MethodTooLong,
    /// A transfer coding other than `chunked` (RFC 9112 section 6.1).
    CodingUnknown,
    /// A version other than HTTP/1.x (RFC 9110 section 15.6.6).
    VersionUnknown,
}

impl Reject {
    /// The status code to answer with.
    pub const fn status(self) -> u16 {
        match self {
            Self::Timeout => 408,
            Self::BodyTooLarge => 413,
            Self::TargetTooLong => 414,
            Self::Expectation => 417,
            Self::Misdirected => 421,
            Self::HeadTooLarge
            | Self::HeadersTooMany
            | Self::TrailersTooLarge
            | Self::TrailersTooMany => 431,
            Self::MethodUnknown | Self::MethodTooLong | Self::CodingUnknown => 501,
            Self::VersionUnknown => 505,
            _ => 400,
        }
    }

    /// The reason for the log. It never holds bytes of the peer.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::EmptyLines => "too many empty lines before the request line",
            Self::BareCr => "CR without LF",
            Self::BareLf => "LF without CR",
            Self::ControlByte => "control byte in a line",
            Self::RequestLineByte => "byte above 0x7E in the request line",
            Self::RequestLineShape => "request line is not method SP target SP version",
            Self::MethodSyntax => "method is not a token",
            Self::VersionSyntax => "malformed version",
            Self::TargetSyntax => "malformed target",
            Self::TargetForm => "form of target not allowed for the method",
            Self::FieldColon => "field line without colon",
            Self::FieldName => "field name is not a token",
            Self::FieldFold => "field line begins with white space",
            Self::HostMissing => "no Host",
            Self::HostRepeated => "more than one Host",
            Self::HostSyntax => "malformed Host",
            Self::LengthSyntax => "malformed Content-Length",
            Self::LengthRepeated => "more than one Content-Length",
            Self::LengthAndCoding => "Content-Length beside Transfer-Encoding",
            Self::CodingSyntax => "malformed Transfer-Encoding",
            Self::CodingOrder => "chunked is not the last coding, or there twice",
            Self::CodingInHttp10 => "Transfer-Encoding in HTTP/1.0",
            Self::ContentForbidden => "content with a method that has none",
            Self::ChunkSize => "malformed chunk size",
            Self::ChunkExtension => "malformed chunk extension",
            Self::ChunkExtensionsTooLarge => "too many bytes of chunk extensions",
            Self::ChunkEnd => "no CRLF after chunk data",
            Self::Incomplete => "stream ended inside a message",
            Self::Timeout => "time is over",
            Self::BodyTooLarge => "body too large",
            Self::TargetTooLong => "target too long",
            Self::Expectation => "unknown expectation",
            Self::Misdirected => "https target on a connection that is not secured",
            Self::HeadTooLarge => "head too large",
            Self::HeadersTooMany => "too many field lines",
            Self::TrailersTooLarge => "trailers too large",
            Self::TrailersTooMany => "too many trailer lines",
            Self::MethodUnknown => "unknown method",
            Self::MethodTooLong => "method too long",
            Self::CodingUnknown => "unknown transfer coding",
            Self::VersionUnknown => "unknown major version",
        }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason(), self.status())
    }
}

impl std::error::Error for Reject {}
