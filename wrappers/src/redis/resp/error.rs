//! What is wrong with the bytes of a server.
//!
//! The rule of this file: no bytes of a reply are repeated, for they may be secrets.

use std::error::Error;
use std::fmt;
use std::io;

/// Why bytes are no reply. The connection that they came on cannot be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reply begins with a byte that is no type.
    Type(u8),
    /// What should be a number is none, or too large.
    Number,
    /// What should be a length is none.
    Length,
    /// A null or a boolean that is none.
    Literal,
    /// A line does not end with CR LF.
    LineEnd,
    /// A string is not followed by CR LF.
    BulkEnd,
    /// A verbatim string without its format.
    Verbatim,
    /// A push message without a kind.
    PushKind,
    /// A push message inside of a reply.
    NestedPush,
    /// A string or an aggregate of unknown length, which no version of Redis sends.
    Streamed,
    /// A line is longer than [`LINE_BYTES_MAX`](super::LINE_BYTES_MAX).
    LineTooLong,
    /// A string is longer than [`Limits::bulk_bytes_max`](super::Limits::bulk_bytes_max).
    BulkTooLarge {
        /// Its length.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// A reply takes more than [`Limits::reply_bytes_max`](super::Limits::reply_bytes_max).
    ReplyTooLarge {
        /// The limit.
        limit: usize,
    },
    /// A reply nests deeper than [`DEPTH_MAX`](super::DEPTH_MAX).
    TooDeep,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(byte) => {
                let byte = byte.escape_ascii();
                write!(f, "a reply begins with '{byte}', which is no type of RESP")?;
                f.write_str(" (is this a Redis server, and is TLS on at both ends or at none?)")
            }
            Self::Number => f.write_str("a number in a reply is none, or too large"),
            Self::Length => f.write_str("a length in a reply is none"),
            Self::Literal => f.write_str("a null or a boolean in a reply is none"),
            Self::LineEnd => f.write_str("a line of a reply does not end with CR LF"),
            Self::BulkEnd => f.write_str("a string in a reply is not followed by CR LF"),
            Self::Verbatim => f.write_str("a verbatim string in a reply has no format"),
            Self::PushKind => f.write_str("a push message has no kind"),
            Self::NestedPush => f.write_str("a push message is inside of a reply"),
            Self::Streamed => f.write_str("a reply is of unknown length, which is not supported"),
            Self::LineTooLong => {
                write!(f, "a line of a reply exceeds {} bytes", super::LINE_BYTES_MAX)
            }
            Self::BulkTooLarge { len, limit } => {
                write!(f, "a string of {len} bytes in a reply exceeds the limit of {limit}")
            }
            Self::ReplyTooLarge { limit } => {
                write!(f, "a reply exceeds the limit of {limit} bytes of memory")
            }
            Self::TooDeep => write!(f, "a reply nests deeper than {} levels", super::DEPTH_MAX),
        }
    }
}

impl Error for ProtocolError {}

impl From<ProtocolError> for io::Error {
    fn from(error: ProtocolError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}
