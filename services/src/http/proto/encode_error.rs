//! [`EncodeError`]: what a handler's response may not hold.
//!
//! These are mistakes of the program, not of the peer. Each is found before a byte of the part in
//! question has been added to the output, so that the server can still answer 500 instead of a
//! head, and closes the connection inside a body.

use std::fmt;

/// A response that can not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// A status that is not 200 to 599, or an interim one where a final one belongs (RFC 9110
    /// section 15).
    Status(u16),
    /// A field name that is not a token (RFC 9110 section 5.1).
    FieldName,
    /// A field value with CR, LF, NUL or another control byte: it could forge fields or a second
    /// response (RFC 9110 section 5.5).
    FieldValue,
    /// A field that belongs to the connection and so to the encoder, such as `Transfer-Encoding`
    /// (RFC 9110 section 7.6.1).
    FieldReserved,
    /// A field that may be there once only.
    FieldRepeated,
    /// A `Content-Length` that is not a number (RFC 9110 section 8.6).
    LengthSyntax,
    /// A `Content-Length` other than the length of the body (RFC 9110 section 8.6).
    LengthMismatch,
    /// 101 to a request that offers no upgrade, or without the field `Upgrade` (RFC 9110 section
    /// 7.8).
    Upgrade,
    /// An interim response to an HTTP/1.0 request (RFC 9110 section 15.2).
    InterimToHttp10,
    /// A field in the trailer section that may not be there (RFC 9110 section 6.5.1), or trailers
    /// after a body that is not chunked.
    Trailer,
    /// More bytes of body than declared. None of them has been written.
    BodyTooLong,
    /// Fewer bytes of body than declared: the connection has to be closed.
    BodyTooShort,
    /// The body has ended or failed before.
    BodyEnded,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self {
            Self::Status(status) => return write!(f, "status {status} is not allowed here"),
            Self::FieldName => "field name is not a token",
            Self::FieldValue => "control byte in a field value",
            Self::FieldReserved => "field belongs to the connection",
            Self::FieldRepeated => "field may be there once only",
            Self::LengthSyntax => "Content-Length is not a number",
            Self::LengthMismatch => "Content-Length is not the length of the body",
            Self::Upgrade => "upgrade that was not offered, or without the field Upgrade",
            Self::InterimToHttp10 => "interim response to HTTP/1.0",
            Self::Trailer => "field or body that allows no trailer",
            Self::BodyTooLong => "more body than declared",
            Self::BodyTooShort => "less body than declared",
            Self::BodyEnded => "body has ended",
        };
        f.write_str(reason)
    }
}

impl std::error::Error for EncodeError {}
