//! Where the body of a request ends, and what becomes of the connection (RFC 9112 sections 6, 9).
//!
//! Whatever leaves a doubt about the end of the body is refused, even where the RFC would allow a
//! repair (equal `Content-Length` lines, empty list members in `Transfer-Encoding`): two parties
//! that repair differently are what request smuggling lives on.

use super::fields::{FieldId, Fields};
use super::head::{Method, RequestHead, Version};
use super::reject::Reject;
use super::scan;

/// How the end of a request body is found (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body; `Content-Length: 0` is this too.
    None,
    /// The body has this many bytes, at least one.
    Length(u64),
    /// The body is in the chunked coding.
    Chunked,
}

impl Framing {
    /// Refuses a body whose declared length is above a limit, before any of it is read. For the
    /// chunked coding, [`super::chunked::ChunkedDecoder`] keeps the limit.
    ///
    /// # Errors
    ///
    /// [`Reject::BodyTooLarge`], status 413.
    #[inline]
    pub fn within(self, body_bytes_max: u64) -> Result<Self, Reject> {
        match self {
            Self::Length(length) if length > body_bytes_max => Err(Reject::BodyTooLarge),
            _ => Ok(self),
        }
    }
}

/// The methods on which the form of a response depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// The response never has a body (RFC 9110 section 9.3.2).
    Head,
    /// A 2xx response turns the connection into a tunnel (RFC 9110 section 9.3.6).
    Connect,
    /// All others.
    Other,
}

/// What the body of the request, its response and the connection after it depend on. It borrows
/// nothing, so it outlives the bytes of the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Where the body ends.
    pub framing: Framing,
    /// Whether another request may follow, as far as the peer is concerned.
    pub keep_alive: bool,
    /// Whether the peer waits for a `100 Continue` before it sends the body (RFC 9110 section
    /// 10.1.1). It need not be sent once some of the body has come.
    pub expects_continue: bool,
    /// Whether the peer offers another protocol (RFC 9110 section 7.8): which ones, the field
    /// `Upgrade` says. The request's own body is to be read before the protocol is switched.
    pub upgrade: bool,
    /// The kind of method.
    pub method: MethodKind,
    /// The version of the request.
    pub version: Version,
}

impl Exchange {
    /// What holds after a [`Reject`], or before a head has been read: close after the response.
    pub const REJECTED: Self = Self {
        framing: Framing::None,
        keep_alive: false,
        expects_continue: false,
        upgrade: false,
        method: MethodKind::Other,
        version: Version::Http11,
    };
}

/// Any of these in a head means that the fields have to be looked at.
const INTERESTING: u16 = FieldId::ContentLength.bit()
    | FieldId::TransferEncoding.bit()
    | FieldId::Connection.bit()
    | FieldId::Expect.bit()
    | FieldId::Upgrade.bit();

/// Decides framing, persistence, expectation and upgrade of a request.
///
/// # Errors
///
/// A [`Reject`] for every doubt about the length of the body (RFC 9112 sections 6.1 and 6.3), for
/// content with TRACE and CONNECT, and for an expectation that can not be met.
///
/// # Examples
///
/// ```
/// # use cede_services as cede;
/// # use cede::http::proto;
/// use proto::{framing::{decide, Framing}, head, limits::Limits, reject::Reject};
///
/// let mut slots = [head::HeaderSlot::EMPTY; 8];
/// let mut framing = |bytes: &[u8]| {
///     let (head, _) = head::parse_head(bytes, &Limits::DEFAULT, &mut slots)?.unwrap();
///     Ok(decide(&head)?.framing)
/// };
/// let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
/// assert_eq!(framing(post), Ok(Framing::Length(5)));
/// let both = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
/// assert_eq!(framing(both), Err(Reject::LengthAndCoding));
/// ```
#[inline]
pub fn decide(head: &RequestHead<'_>) -> Result<Exchange, Reject> {
    let mut exchange = Exchange {
        framing: Framing::None,
        // After a CONNECT that is refused, bytes meant for the tunnel may follow.
        keep_alive: head.version == Version::Http11 && head.method != Method::Connect,
        expects_continue: false,
        upgrade: false,
        method: match head.method {
            Method::Head => MethodKind::Head,
            Method::Connect => MethodKind::Connect,
            _ => MethodKind::Other,
        },
        version: head.version,
    };
    if head.fields.any_of(INTERESTING) {
        decide_by_fields(head, &mut exchange)?;
    }
    Ok(exchange)
}

fn decide_by_fields(head: &RequestHead<'_>, exchange: &mut Exchange) -> Result<(), Reject> {
    let fields = head.fields;
    exchange.framing = body_framing(fields, head.version)?;
    if matches!(head.method, Method::Connect | Method::Trace) && exchange.framing != Framing::None {
        return Err(Reject::ContentForbidden);
    }
    let options = ConnectionOptions::of(fields);
    // `close` wins wherever it stands; HTTP/1.0 has to ask to stay (RFC 9112 section 9.3).
    let stays = head.version == Version::Http11 || options.keep_alive;
    exchange.keep_alive = stays && !options.close && head.method != Method::Connect;
    // An HTTP/1.0 request neither expects nor upgrades (RFC 9110 sections 10.1.1 and 7.8).
    if head.version == Version::Http11 {
        exchange.upgrade = options.upgrade && fields.any_of(FieldId::Upgrade.bit());
        let expects_continue = expects_continue(fields)?;
        exchange.expects_continue = expects_continue && exchange.framing != Framing::None;
    }
    Ok(())
}

fn body_framing(fields: Fields<'_>, version: Version) -> Result<Framing, Reject> {
    if !fields.any_of(FieldId::TransferEncoding.bit()) {
        return content_length(fields);
    }
    if version == Version::Http10 {
        return Err(Reject::CodingInHttp10);
    }
    if fields.any_of(FieldId::ContentLength.bit()) {
        return Err(Reject::LengthAndCoding);
    }
    let (mut chunked, mut others) = (false, false);
    for coding in fields.members(FieldId::TransferEncoding) {
        if !scan::is_token(coding) {
            return Err(Reject::CodingSyntax);
        }
        if chunked {
            return Err(Reject::CodingOrder);
        }
        chunked = coding.eq_ignore_ascii_case(b"chunked");
        others |= !chunked;
    }
    if others || !chunked {
        return Err(Reject::CodingUnknown);
    }
    Ok(Framing::Chunked)
}

fn content_length(fields: Fields<'_>) -> Result<Framing, Reject> {
    let mut lines = fields.known(FieldId::ContentLength);
    let Some(value) = lines.next() else {
        return Ok(Framing::None);
    };
    let length = scan::decimal(value).ok_or(Reject::LengthSyntax)?;
    if lines.next().is_some() {
        return Err(Reject::LengthRepeated);
    }
    match length {
        Some(0) => Ok(Framing::None),
        Some(length) => Ok(Framing::Length(length)),
        None => Err(Reject::BodyTooLarge),
    }
}

/// Whether `100-continue` is expected; anything else that is expected can not be met.
fn expects_continue(fields: Fields<'_>) -> Result<bool, Reject> {
    let mut expected = false;
    for member in fields.members(FieldId::Expect).filter(|member| !member.is_empty()) {
        if !member.eq_ignore_ascii_case(b"100-continue") {
            return Err(Reject::Expectation);
        }
        expected = true;
    }
    Ok(expected)
}

/// The options of `Connection` that mean something to a server (RFC 9110 section 7.6.1).
#[derive(Default)]
struct ConnectionOptions {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
}

impl ConnectionOptions {
    /// Reads all lines; options that are not known are no errors.
    fn of(fields: Fields<'_>) -> Self {
        let mut options = Self::default();
        for member in fields.members(FieldId::Connection) {
            match member.len() {
                5 => options.close |= member.eq_ignore_ascii_case(b"close"),
                7 => options.upgrade |= member.eq_ignore_ascii_case(b"upgrade"),
                10 => options.keep_alive |= member.eq_ignore_ascii_case(b"keep-alive"),
                _ => {}
            }
        }
        options
    }
}

#[cfg(test)]
mod tests;
