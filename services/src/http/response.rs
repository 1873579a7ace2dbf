//! What a handler answers: a status, fields and a body.
//!
//! The surprising rule: nothing is checked here. What the fields may hold is decided when the head
//! is written, all or nothing, and a response that cannot be written becomes a 500.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};

use bytes::Bytes;

use super::body_writer::BodyWriter;
use super::upgrade::Upgraded;

/// A response. Made from many things by [`IntoResponse`](super::IntoResponse), or piece by piece.
///
/// # Examples
///
/// ```
/// # use cede_services as cede;
/// use cede::http::Response;
///
/// let response = Response::text("made").with_status(201).with_header("Location", "/things/7");
/// assert_eq!(response.status(), 201);
/// ```
#[derive(Debug)]
#[must_use = "a response that is not returned is never sent"]
pub struct Response {
    pub(super) status: u16,
    pub(super) content_type: Option<ContentType>,
    pub(super) fields: Vec<(Cow<'static, str>, Cow<'static, [u8]>)>,
    pub(super) body: Body,
}

type StreamFn = Box<dyn FnOnce(&mut BodyWriter<'_>) -> io::Result<()>>;

pub(super) enum Body {
    Empty,
    Static(&'static [u8]),
    Bytes(Bytes),
    Owned(Vec<u8>),
    /// With its length, where that is known.
    Reader(Box<dyn Read>, Option<u64>),
    Stream(StreamFn, Option<u64>),
    /// Another protocol.
    Upgrade(Box<dyn FnOnce(Upgraded)>),
    /// It has been written, and what became of the connection is known.
    Sent,
    /// None, because of what the log is to say and the peer is not.
    Failed(String),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Static(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Owned(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Reader(_, length) => write!(f, "Reader({length:?})"),
            Self::Stream(_, length) => write!(f, "Stream({length:?})"),
            Self::Upgrade(_) => f.write_str("Upgrade"),
            Self::Sent => f.write_str("Sent"),
            Self::Failed(error) => write!(f, "Failed({error:?})"),
        }
    }
}

impl Body {
    /// The bytes of a body that is there as a whole.
    #[inline]
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Empty => Some(&[]),
            Self::Static(bytes) => Some(bytes),
            Self::Bytes(bytes) => Some(bytes),
            Self::Owned(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// What a body is. The usual types are whole field lines already, which need no check.
#[derive(Clone, Copy, Debug)]
pub(super) enum ContentType {
    Text,
    Html,
    Json,
    Octets,
    Other(&'static str),
}

impl ContentType {
    /// Those with a line of their own; each one's [`place`](Self::place) is that in this list.
    pub(super) const USUAL: [Self; 4] = [Self::Text, Self::Html, Self::Json, Self::Octets];

    /// Its place among the usual ones.
    #[inline]
    pub(super) fn place(self) -> Option<usize> {
        match self {
            Self::Text => Some(0),
            Self::Html => Some(1),
            Self::Json => Some(2),
            Self::Octets => Some(3),
            Self::Other(_) => None,
        }
    }

    /// The field line, where there is one; the value otherwise.
    #[inline]
    pub(super) fn line(self) -> Result<&'static [u8], &'static str> {
        Ok(match self {
            Self::Text => b"Content-Type: text/plain; charset=utf-8\r\n",
            Self::Html => b"Content-Type: text/html; charset=utf-8\r\n",
            Self::Json => b"Content-Type: application/json\r\n",
            Self::Octets => b"Content-Type: application/octet-stream\r\n",
            Self::Other(value) => return Err(value),
        })
    }
}

impl Response {
    /// A response without a body.
    #[inline]
    pub fn new(status: impl Into<Status>) -> Self {
        Self { status: status.into().0, content_type: None, fields: Vec::new(), body: Body::Empty }
    }

    /// A 500 of which the log says why, together with the request that it answers.
    #[cold]
    pub(super) fn failed(error: String) -> Self {
        Self { body: Body::Failed(error), ..Self::new(500_u16) }
    }

    #[inline]
    pub(super) fn with_body(content_type: ContentType, body: Body) -> Self {
        Self { status: 200, content_type: Some(content_type), fields: Vec::new(), body }
    }

    /// 200 with text.
    #[inline]
    pub fn text(text: impl Into<Cow<'static, str>>) -> Self {
        let body = match text.into() {
            Cow::Borrowed(text) => Body::Static(text.as_bytes()),
            Cow::Owned(text) => Body::Owned(text.into_bytes()),
        };
        Self::with_body(ContentType::Text, body)
    }

    /// 200 with a page.
    pub fn html(page: impl Into<Cow<'static, str>>) -> Self {
        let mut response = Self::text(page);
        response.content_type = Some(ContentType::Html);
        response
    }

    /// 200 with bytes of a type such as `image/png`.
    pub fn bytes(content_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        Self::with_body(ContentType::Other(content_type), Body::Bytes(bytes.into()))
    }

    /// 200 with a value as JSON; 500 for one that has no JSON form, such as a map whose keys are
    /// not text.
    pub fn json(value: &(impl serde::Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(json) => Self::with_body(ContentType::Json, Body::Owned(json)),
            Err(error) => Self::failed(format!("a response has no JSON form: {error}")),
        }
    }

    /// 200 with all that a reader has; its reads may park the fiber. Without a length it is sent in
    /// chunks.
    pub fn reader(content_type: &'static str, reader: impl Read + 'static) -> Self {
        Self::with_body(ContentType::Other(content_type), Body::Reader(Box::new(reader), None))
    }

    /// 200 with a body that `write` writes piece by piece, after the handler has returned. Without
    /// a length it is sent in chunks. An error of `write` is a 500 while nothing of the response has
    /// been sent, and ends the connection later. To HEAD, `write` does not run.
    ///
    /// For a body that depends on that of the request see
    /// [`Request::stream`](super::Request::stream).
    ///
    /// # Examples
    ///
    /// ```
    /// # use cede_services as cede;
    /// use cede::http::Response;
    /// use std::io::Write;
    ///
    /// let counting = Response::stream("text/plain", |body| {
    ///     for n in 0..1000 {
    ///         writeln!(body, "{n}")?;
    ///     }
    ///     Ok(())
    /// });
    /// ```
    pub fn stream(
        content_type: &'static str,
        write: impl FnOnce(&mut BodyWriter<'_>) -> io::Result<()> + 'static,
    ) -> Self {
        Self::with_body(ContentType::Other(content_type), Body::Stream(Box::new(write), None))
    }

    /// A redirect: 303 to look elsewhere by GET, 307 and 308 to ask elsewhere the same way.
    pub fn redirect(status: impl Into<Status>, location: impl Into<String>) -> Self {
        Self::new(status).with_header("Location", location.into())
    }

    /// Another protocol on this connection: 101 with the field `Upgrade`, after which `run` has the
    /// raw stream. Only in answer to a request that [offers](super::Request::offers_upgrade) it; a
    /// 500 otherwise.
    pub fn upgrade(protocol: impl Into<String>, run: impl FnOnce(Upgraded) + 'static) -> Self {
        let mut response = Self::new(101_u16).with_header("Upgrade", protocol.into());
        response.body = Body::Upgrade(Box::new(run));
        response
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Sets the status.
    pub fn with_status(mut self, status: impl Into<Status>) -> Self {
        self.status = status.into().0;
        self
    }

    /// Adds a field. `Content-Type` replaces the one that is there; `Connection: close` closes the
    /// connection; `Content-Length` must be right; other fields about the connection are refused
    /// and become a 500.
    pub fn with_header(
        mut self,
        name: impl Into<HeaderName>,
        value: impl Into<HeaderValue>,
    ) -> Self {
        self.set_header(name, value);
        self
    }

    /// As [`with_header`](Self::with_header), in place.
    pub fn set_header(&mut self, name: impl Into<HeaderName>, value: impl Into<HeaderValue>) {
        let name = name.into().0;
        if name.eq_ignore_ascii_case("content-type") {
            self.content_type = None;
            self.fields.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        }
        self.fields.push((name, value.into().0));
    }

    /// The type of the body, if the head says nothing but that and its length.
    #[inline]
    pub(super) fn usual_type(&self) -> Option<ContentType> {
        self.content_type.filter(|_| self.status == 200 && self.fields.is_empty())
    }

    /// Whether a field says how long the body is.
    #[inline]
    pub(super) fn declares_length(&self) -> bool {
        self.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"))
    }

    /// Declares the length of a body from a reader or a stream, which is then not sent in chunks. A
    /// body that comes out longer or shorter is an error and closes the connection.
    pub fn with_length(mut self, bytes: u64) -> Self {
        match &mut self.body {
            Body::Reader(_, length) | Body::Stream(_, length) => *length = Some(bytes),
            _ => {}
        }
        self
    }
}

/// A status code, from a number or from `http`'s type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub(super) u16);

impl From<u16> for Status {
    #[inline]
    fn from(status: u16) -> Self {
        Self(status)
    }
}

impl From<::http::StatusCode> for Status {
    #[inline]
    fn from(status: ::http::StatusCode) -> Self {
        Self(status.as_u16())
    }
}

/// A field name, from text or from `http`'s type.
#[derive(Clone, Debug)]
pub struct HeaderName(Cow<'static, str>);

impl From<&'static str> for HeaderName {
    fn from(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }
}

impl From<String> for HeaderName {
    fn from(name: String) -> Self {
        Self(Cow::Owned(name))
    }
}

impl From<::http::HeaderName> for HeaderName {
    fn from(name: ::http::HeaderName) -> Self {
        Self(Cow::Owned(name.as_str().to_owned()))
    }
}

/// A field value, from text, bytes or `http`'s type.
#[derive(Clone, Debug)]
pub struct HeaderValue(Cow<'static, [u8]>);

impl From<&'static str> for HeaderValue {
    fn from(value: &'static str) -> Self {
        Self(Cow::Borrowed(value.as_bytes()))
    }
}

impl From<String> for HeaderValue {
    fn from(value: String) -> Self {
        Self(Cow::Owned(value.into_bytes()))
    }
}

impl From<Vec<u8>> for HeaderValue {
    fn from(value: Vec<u8>) -> Self {
        Self(Cow::Owned(value))
    }
}

impl From<::http::HeaderValue> for HeaderValue {
    fn from(value: ::http::HeaderValue) -> Self {
        Self(Cow::Owned(value.as_bytes().to_vec()))
    }
}
