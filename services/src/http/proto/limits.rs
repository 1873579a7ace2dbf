//! Every limit of the protocol core, with its unit and its reason, and [`Limits`] to change them.
//!
//! A limit is inclusive: a message that measures exactly the limit is accepted, one unit more is
//! refused. Limits are checked while bytes come in, so no buffer has to grow past them.

use std::time::Duration;

/// Bytes of a request line without its CRLF. RFC 9112 section 3 asks for at least 8,000.
pub const REQUEST_LINE_BYTES_MAX: usize = 8 * 1024;

/// Bytes of a request target. As long as the request line by default; lower it for an earlier 414.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// Bytes of a method. The longest registered one has 17 (`UPDATEREDIRECTREF`); RFC 9112 section 3
/// asks for 501 when a method is longer than any that the server implements.
pub const METHOD_BYTES_MAX: usize = 32;

/// Empty lines that are skipped before a request line. RFC 9112 section 2.2 asks for at least one;
/// old user agents sent one after a POST body, nobody sends many.
pub const EMPTY_LINES_MAX: usize = 4;

/// Bytes of a whole head: empty lines, request line, fields and the line that ends it. Enough for
/// 16 KiB of cookies; it bounds the buffer of a connection that has not been answered yet.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Field lines of a head. Browsers send 10 to 30; more cost time in every look-up.
pub const HEADERS_MAX: usize = 100;

/// Bytes of a host name in `Host` or a target, as DNS limits it (RFC 3986 section 3.2.2).
pub const HOST_BYTES_MAX: usize = 255;

/// Bytes of a request body, unless a route sets its own limit. Enough for JSON, not for uploads.
pub const BODY_BYTES_MAX: u64 = 1024 * 1024;

/// Hexadecimal digits of a chunk size: what a 64-bit number needs, leading zeros counted.
pub const CHUNK_SIZE_DIGITS_MAX: usize = 16;

/// Bytes that one chunk may declare: 1 EiB. A larger number is an attack on somebody's arithmetic
/// (2^63 - 1, 2^64 - 1), not a body; it is malformed (400) whatever the limit of the body is.
pub const CHUNK_BYTES_MAX: u64 = 1 << 60;

/// Bytes of chunk extensions in one body. They carry no content, so that without a limit a peer
/// could keep a connection busy for ever within any limit of the body.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a trailer section. They are kept in memory until the handler has seen them.
pub const TRAILER_BYTES_MAX: usize = 16 * 1024;

/// Field lines of a trailer section.
pub const TRAILERS_MAX: usize = 100;

/// Pairs of a query or of a form body; each costs the service a few allocations.
pub const QUERY_PAIRS_MAX: usize = 1000;

/// Requests served on one connection before it is closed, so that load can move between servers.
pub const REQUESTS_PER_CONNECTION_MAX: usize = 1000;

/// Time for a whole head, counted from the accept or from its first byte. Absolute: a peer that
/// sends a byte now and then does not extend it.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Time without progress in the reading of a body or in the writing of a response.
pub const PROGRESS_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes in a second that a peer has to send of a body, or take of a response, on average and
/// measured over the waits for it: else a byte just before each time-out would hold a connection for
/// as long as the limit of the body lasts. The slowest links that people still use carry more.
pub const RATE_MIN: u32 = 240;

/// Time that a connection may stay open between two requests.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// The limits that the parsers take, one field for each constant of this module.
///
/// # Examples
///
/// ```
/// # use cede_services as cede;
/// # use cede::http::proto;
/// use proto::limits::Limits;
///
/// let uploads = Limits { body_bytes_max: 1 << 30, ..Limits::DEFAULT };
/// assert_eq!(uploads.headers_max, 100);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// See [`REQUEST_LINE_BYTES_MAX`]; answered with 414, or 501 where the method fills it.
    pub request_line_bytes_max: usize,
    /// See [`TARGET_BYTES_MAX`]; answered with 414.
    pub target_bytes_max: usize,
    /// See [`METHOD_BYTES_MAX`]; answered with 501.
    pub method_bytes_max: usize,
    /// See [`EMPTY_LINES_MAX`]; answered with 400.
    pub empty_lines_max: usize,
    /// See [`HEAD_BYTES_MAX`]; answered with 431. What exceeds `u32::MAX` is cut down to it.
    pub head_bytes_max: usize,
    /// See [`HEADERS_MAX`]; answered with 431. The number of slots given is a limit too.
    pub headers_max: usize,
    /// See [`BODY_BYTES_MAX`]; answered with 413.
    pub body_bytes_max: u64,
    /// See [`CHUNK_SIZE_DIGITS_MAX`]; answered with 400. More than 16 never fit.
    pub chunk_size_digits_max: usize,
    /// See [`CHUNK_EXTENSION_BYTES_MAX`]; answered with 400.
    pub chunk_extension_bytes_max: usize,
    /// See [`TRAILER_BYTES_MAX`]; answered with 431.
    pub trailer_bytes_max: usize,
    /// See [`TRAILERS_MAX`]; answered with 431.
    pub trailers_max: usize,
    /// Accept `https://` in an absolute target. Only for connections secured by TLS, here or in a
    /// trusted gateway: elsewhere RFC 9110 section 7.4 wants such a request refused (421).
    pub https_targets: bool,
}

impl Limits {
    /// The limits of the constants in this module.
    pub const DEFAULT: Self = Self {
        request_line_bytes_max: REQUEST_LINE_BYTES_MAX,
        target_bytes_max: TARGET_BYTES_MAX,
        method_bytes_max: METHOD_BYTES_MAX,
        empty_lines_max: EMPTY_LINES_MAX,
        head_bytes_max: HEAD_BYTES_MAX,
        headers_max: HEADERS_MAX,
        body_bytes_max: BODY_BYTES_MAX,
        chunk_size_digits_max: CHUNK_SIZE_DIGITS_MAX,
        chunk_extension_bytes_max: CHUNK_EXTENSION_BYTES_MAX,
        trailer_bytes_max: TRAILER_BYTES_MAX,
        trailers_max: TRAILERS_MAX,
        https_targets: false,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
