//! The head of a response, written straight into the connection's output buffer.
//!
//! The encoder alone writes `Content-Length`, `Transfer-Encoding` and `Connection`, from the
//! request's [`Exchange`], the status and the size of the body. A writer that is dropped before
//! [`ResponseWriter::finish`] takes back all it has written: half a head never reaches the wire.

use super::body::{BodyEncoder, BodySize, Form};
use super::date::DateLine;
use super::encode_error::EncodeError;
use super::fields::FieldId;
use super::framing::{Exchange, MethodKind};
use super::head::Version;
use super::reject::Reject;
use super::scan;
use super::status::{self, push_status_line};

/// Writes one final response head. See the example of [`super`].
#[derive(Debug)]
pub struct ResponseWriter<'o> {
    out: &'o mut Vec<u8>,
    /// Where the head begins; what is behind it is taken back unless the head is finished.
    start: usize,
    status: u16,
    exchange: Exchange,
    /// The handler's own `Content-Length`.
    declared: Option<u64>,
    /// Set of [`FieldId::bit`]s that the handler has written or declared.
    seen: u16,
    finished: bool,
}

/// What the lines about the body say.
enum Said {
    Nothing,
    /// Nothing: what follows is not a body.
    Tunnel,
    Length(u64),
    Chunked,
}

impl<'o> ResponseWriter<'o> {
    /// Begins the response to the request that `exchange` describes.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Status`] unless the status is 101 or 200 to 599, [`EncodeError::Upgrade`] for
    /// a 101 that the peer has not offered.
    #[inline]
    pub fn start(
        out: &'o mut Vec<u8>,
        exchange: &Exchange,
        status: u16,
    ) -> Result<Self, EncodeError> {
        if !matches!(status, 101 | 200..=599) {
            return Err(EncodeError::Status(status));
        }
        if status == 101 && !exchange.upgrade {
            return Err(EncodeError::Upgrade);
        }
        let start = out.len();
        push_status_line(out, status);
        let exchange = *exchange;
        Ok(Self { out, start, status, exchange, declared: None, seen: 0, finished: false })
    }

    /// Adds a field line.
    ///
    /// Four names are understood: `Content-Length` declares the length of the body and must agree
    /// with it; `Connection: close` closes after this response (other options are the encoder's to
    /// send and are left out); `Upgrade` brings `Connection: upgrade` with it; a `Date` replaces
    /// the server's.
    ///
    /// # Errors
    ///
    /// [`EncodeError::FieldName`] and [`EncodeError::FieldValue`] for bytes that could break out of
    /// the line; [`EncodeError::FieldReserved`] for `Transfer-Encoding`, `Keep-Alive`, `TE` and
    /// `Proxy-Connection`; [`EncodeError::FieldRepeated`] and [`EncodeError::LengthSyntax`]. The
    /// response is then as it was before the call.
    #[inline]
    pub fn field(&mut self, name: &str, value: &[u8]) -> Result<&mut Self, EncodeError> {
        let id = FieldId::of(name.as_bytes());
        if id == FieldId::Other || self.takes(id, value)? {
            push_field(self.out, name, value)?;
        }
        self.seen |= id.bit();
        Ok(self)
    }

    /// Adds a whole field line that is known to be right, with its CRLF, of a field that
    /// [`field`](Self::field) has no interest in.
    #[inline]
    pub(in crate::http) fn known_line(&mut self, line: &'static [u8]) {
        debug_assert!(line.ends_with(b"\r\n"));
        self.out.extend_from_slice(line);
    }

    /// Closes the connection after this response.
    #[inline]
    pub fn close(&mut self) -> &mut Self {
        self.exchange.keep_alive = false;
        self
    }

    /// Notes a field that the encoder has an interest in; whether its line is to be written.
    fn takes(&mut self, id: FieldId, value: &[u8]) -> Result<bool, EncodeError> {
        let repeated = self.seen & id.bit() != 0;
        match id {
            FieldId::TransferEncoding | FieldId::HopByHop => Err(EncodeError::FieldReserved),
            FieldId::Date | FieldId::ContentLength if repeated => Err(EncodeError::FieldRepeated),
            FieldId::ContentLength => match scan::decimal(value) {
                Some(Some(length)) => {
                    self.declared = Some(length);
                    Ok(false)
                }
                _ => Err(EncodeError::LengthSyntax),
            },
            FieldId::Connection => {
                check_value(value)?;
                let mut options = value.split(|&byte| byte == b',').map(scan::trim);
                if options.any(|option| option.eq_ignore_ascii_case(b"close")) {
                    self.close();
                }
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    /// Ends the head: date, the lines about body and connection, and the empty line. The encoder
    /// returned takes the body.
    ///
    /// # Errors
    ///
    /// [`EncodeError::LengthMismatch`] when the handler's `Content-Length` is not the size of the
    /// body; [`EncodeError::Upgrade`] for a 101 without `Upgrade`. Nothing is written then.
    #[inline]
    pub fn finish(mut self, body: BodySize, date: &DateLine) -> Result<BodyEncoder, EncodeError> {
        let (said, form) = self.body_form(body)?;
        let switches = self.seen & FieldId::Upgrade.bit() != 0;
        if self.status == 101 && !switches {
            return Err(EncodeError::Upgrade);
        }
        if self.seen & FieldId::Date.bit() == 0 {
            self.out.extend_from_slice(date.as_bytes());
        }
        // A tunnel or another protocol goes on: there is nothing to close.
        let goes_on = matches!(said, Said::Tunnel);
        match said {
            Said::Nothing | Said::Tunnel => {}
            Said::Length(length) => push_length(self.out, length),
            Said::Chunked => self.out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        }
        let keep_alive = self.exchange.keep_alive && form != Form::Raw;
        self.connection_line(switches, keep_alive || goes_on);
        self.out.extend_from_slice(b"\r\n");
        self.finished = true;
        Ok(BodyEncoder::new(form, keep_alive))
    }

    /// What the head says about the body, and how the body goes out (RFC 9112 section 6.3).
    #[inline]
    fn body_form(&self, body: BodySize) -> Result<(Said, Form), EncodeError> {
        let length = match (body, self.declared) {
            (BodySize::Length(length), Some(declared)) if length != declared => {
                return Err(EncodeError::LengthMismatch);
            }
            (BodySize::Length(length), _) => Some(length),
            (_, declared) => declared,
        };
        Ok(match (self.status, self.exchange.method) {
            // No length and no coding in these (RFC 9110 section 8.6, RFC 9112 section 6.1).
            (101, _) | (200..=299, MethodKind::Connect) => (Said::Tunnel, Form::Raw),
            (204, _) => (Said::Nothing, Form::Suppressed),
            // The length, if any, is that of the 200 (RFC 9110 section 8.6): only the handler can
            // know it.
            (304, _) => (self.declared.map_or(Said::Nothing, Said::Length), Form::Suppressed),
            // No content, and said so (RFC 9110 section 15.3.6).
            (205, _) => (Said::Length(0), Form::Suppressed),
            (_, MethodKind::Head) => (length.map_or(Said::Nothing, Said::Length), Form::Suppressed),
            _ => match (length, body, self.exchange.version) {
                (Some(1..), BodySize::Empty, _) => return Err(EncodeError::LengthMismatch),
                (Some(length), ..) => (Said::Length(length), Form::Length(length)),
                (None, BodySize::Unknown, Version::Http11) => (Said::Chunked, Form::Chunked),
                // HTTP/1.0 knows no coding (RFC 9112 section 6.1): the end of the connection it is.
                (None, BodySize::Unknown, Version::Http10) => (Said::Nothing, Form::Raw),
                (None, ..) => (Said::Length(0), Form::Length(0)),
            },
        })
    }

    #[inline]
    fn connection_line(&mut self, switches: bool, keep_alive: bool) {
        let line: &[u8] = match (switches, keep_alive, self.exchange.version) {
            (false, true, Version::Http11) => return,
            (false, true, Version::Http10) => b"Connection: keep-alive\r\n",
            (false, false, _) => b"Connection: close\r\n",
            // RFC 9110 section 7.8 wants the option wherever the field is sent.
            (true, true, _) => b"Connection: upgrade\r\n",
            (true, false, _) => b"Connection: upgrade, close\r\n",
        };
        self.out.extend_from_slice(line);
    }
}

impl Drop for ResponseWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.out.truncate(self.start);
        }
    }
}

/// The head of the response that most requests get: 200, a type, a length, and nothing more to say.
/// Up to the length it is the same for a second, so it is put together once.
#[derive(Debug, Default)]
pub(in crate::http) struct UsualHead(Vec<u8>);

impl UsualHead {
    /// Puts the head together for a whole line that says the type, and a date.
    pub(in crate::http) fn set(&mut self, type_line: &[u8], date: &DateLine) {
        self.0.clear();
        push_status_line(&mut self.0, 200);
        self.0.extend_from_slice(type_line);
        self.0.extend_from_slice(date.as_bytes());
        self.0.extend_from_slice(LENGTH);
    }

    /// Whether nothing about the request asks for another head.
    #[inline]
    pub(in crate::http) fn fits(exchange: &Exchange) -> bool {
        exchange.keep_alive
            && exchange.version == Version::Http11
            && exchange.method == MethodKind::Other
    }

    /// Adds a whole response.
    #[inline]
    pub(in crate::http) fn push(&self, out: &mut Vec<u8>, body: &[u8]) {
        const EMPTY_LINE: &[u8] = b"\r\n\r\n";
        let (digits, start) = status::decimal(body.len() as u64);
        out.reserve(self.0.len() + digits.len() + EMPTY_LINE.len() + body.len());
        out.extend_from_slice(&self.0);
        out.extend_from_slice(digits.get(start..).unwrap_or_default());
        out.extend_from_slice(EMPTY_LINE);
        out.extend_from_slice(body);
    }
}

/// The start of the line that says how long a body is.
const LENGTH: &[u8] = b"Content-Length: ";

/// What a peer that expects it gets before it sends its body (RFC 9110 section 10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Adds a whole interim response, such as 103 Early Hints; a final one has to follow.
///
/// # Errors
///
/// [`EncodeError::Status`] unless the status is 100 or 102 to 199, [`EncodeError::InterimToHttp10`]
/// (RFC 9110 section 15.2), and what [`ResponseWriter::field`] finds, with fields about body and
/// connection reserved. Then `out` is as it was.
pub fn encode_interim<'f>(
    out: &mut Vec<u8>,
    version: Version,
    status: u16,
    fields: impl IntoIterator<Item = (&'f str, &'f [u8])>,
) -> Result<(), EncodeError> {
    if !matches!(status, 100 | 102..=199) {
        return Err(EncodeError::Status(status));
    }
    if version == Version::Http10 {
        return Err(EncodeError::InterimToHttp10);
    }
    let start = out.len();
    push_status_line(out, status);
    for (name, value) in fields {
        let result = match FieldId::of(name.as_bytes()) {
            FieldId::Other => push_field(out, name, value),
            _ => Err(EncodeError::FieldReserved),
        };
        if let Err(error) = result {
            out.truncate(start);
            return Err(error);
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Adds the whole response to a refused request: its status, no content, `Connection: close`.
///
/// The reason stays out of it; it is for the log.
pub fn encode_reject(out: &mut Vec<u8>, reject: Reject, date: &DateLine) {
    push_status_line(out, reject.status());
    out.extend_from_slice(date.as_bytes());
    out.extend_from_slice(b"Content-Length: 0\r\nConnection: close\r\n\r\n");
}

/// Adds a field line, if its bytes can do no harm. `out` is unchanged after an error.
#[inline]
pub(super) fn push_field(out: &mut Vec<u8>, name: &str, value: &[u8]) -> Result<(), EncodeError> {
    if !scan::is_token(name.as_bytes()) {
        return Err(EncodeError::FieldName);
    }
    check_value(value)?;
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// A line end in a value would begin a line, or a response, of the value's own.
#[inline]
fn check_value(value: &[u8]) -> Result<(), EncodeError> {
    match scan::field_stop(value, 0) < value.len() {
        true => Err(EncodeError::FieldValue),
        false => Ok(()),
    }
}

#[inline]
fn push_length(out: &mut Vec<u8>, length: u64) {
    let (digits, start) = status::decimal(length);
    out.extend_from_slice(LENGTH);
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
