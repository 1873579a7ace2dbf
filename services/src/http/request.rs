//! A request as a handler sees it: borrowed slices of what has come, and the body still to come.
//!
//! The surprising rule: nothing here is decoded or copied until it is asked for. The path is as the
//! peer sent it, with its percent signs; [`param`](Request::param) and the extractors decode.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};
use std::net::SocketAddr;

use super::body_writer::BodyWriter;
use super::connection::Context;
use super::extract::{ExtractError, FromRequest};
use super::params::Params;
use super::proto::authority::Authority;
use super::proto::body::BodySize;
use super::proto::fields::Fields;
use super::proto::framing::Exchange;
use super::proto::head::{Method, RequestHead, Version};
use super::proto::limits::QUERY_PAIRS_MAX;
use super::proto::target::Target;
use super::proto::uri::{Pairs, UriError, decode_segment};
use super::request_body::RequestBody;
use super::response::{Body, Response};
use super::wire::Wire;

/// A request.
pub struct Request<'a> {
    pub(super) head: &'a RequestHead<'a>,
    pub(super) exchange: Exchange,
    pub(super) body: RequestBody<'a>,
    pub(super) params: Params,
    pub(super) wire: &'a Wire<'a>,
    pub(super) context: &'a Context,
    pub(super) peer: SocketAddr,
    /// The connection is to be closed, whatever the peer would like.
    pub(super) closing: bool,
    pub(super) sent: Option<Sent>,
}

/// What became of a response that the handler has sent itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) status: u16,
    pub(super) keep_alive: bool,
    pub(super) bytes: u64,
    /// It broke off, and an orderly end of the connection would look like its end.
    pub(super) resets: bool,
}

impl<'a> Request<'a> {
    /// The method.
    #[inline]
    pub fn method(&self) -> Method<'a> {
        self.head.method
    }

    /// The path as sent: `/a%20b`, or `*` for OPTIONS about the server as a whole.
    #[inline]
    pub fn path(&self) -> &'a str {
        self.head.target.path()
    }

    /// What follows the first `?`, as sent.
    #[inline]
    pub fn query(&self) -> Option<&'a str> {
        self.head.target.query()
    }

    /// The pairs of the query, decoded; at most [`QUERY_PAIRS_MAX`] of them.
    pub fn query_pairs(&self) -> Pairs<'a> {
        Pairs::new(self.query().unwrap_or_default().as_bytes(), QUERY_PAIRS_MAX)
    }

    /// The first value of a name in the query.
    ///
    /// # Errors
    ///
    /// For a query that can not be decoded.
    pub fn query_value(&self, name: &str) -> Result<Option<Cow<'a, str>>, ExtractError> {
        for pair in self.query_pairs() {
            let (key, value) = pair?;
            if key == name {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// The target as a whole.
    pub fn target(&self) -> Target<'a> {
        self.head.target
    }

    /// The version of the request.
    pub fn version(&self) -> Version {
        self.head.version
    }

    /// Host and port that the request is for; an HTTP/1.0 request may not say.
    pub fn authority(&self) -> Option<Authority<'a>> {
        self.head.authority
    }

    /// All fields in the order they came.
    #[inline]
    pub fn fields(&self) -> Fields<'a> {
        self.head.fields
    }

    /// The first value of a field, in any case; `None` too for one that is not UTF-8.
    #[inline]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.head.fields.text(name)
    }

    /// The address of the other end of the connection.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// A parameter of the route's path, decoded.
    ///
    /// # Errors
    ///
    /// For one that can not be decoded, and for a name that the route does not have.
    pub fn param(&self, name: &str) -> Result<Cow<'a, str>, ExtractError> {
        let value = self.params.get(name, self.path()).ok_or(ExtractError::NoParam)?;
        Ok(decode_segment(value)?)
    }

    /// The parameters of the route's path in order: name, and value as sent.
    pub fn params(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.params.iter(self.head.target.path())
    }

    /// Makes a value of this request: [`Path`](super::Path), [`Query`](super::Query),
    /// [`Json`](super::Json).
    ///
    /// # Errors
    ///
    /// When it does not fit; returned by a handler, this is a status of 400, 413, 415 or 422.
    pub fn extract<T: FromRequest>(&mut self) -> Result<T, ExtractError> {
        T::from_request(self)
    }

    /// The body.
    #[inline]
    pub fn body(&mut self) -> &mut RequestBody<'a> {
        &mut self.body
    }

    /// The whole body, within the limit for bodies.
    ///
    /// # Errors
    ///
    /// As [`RequestBody`].
    pub fn body_bytes(&mut self) -> io::Result<Vec<u8>> {
        // What the peer declares is believed up to what a buffer costs anyway.
        const BELIEVED_BYTES_MAX: u64 = 64 * 1024;
        let expected = self.body.remaining().unwrap_or(0).min(BELIEVED_BYTES_MAX);
        let mut bytes = Vec::with_capacity(expected as usize);
        self.body.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The whole body as text.
    ///
    /// # Errors
    ///
    /// As [`RequestBody`], and for a body that is not UTF-8.
    pub fn body_text(&mut self) -> Result<String, ExtractError> {
        let bytes = self.body_bytes()?;
        String::from_utf8(bytes).map_err(|_| ExtractError::Uri(UriError::Utf8))
    }

    /// Whether the peer offers to switch to this protocol, in any case.
    pub fn offers_upgrade(&self, protocol: &str) -> bool {
        let offers = |value: &[u8]| {
            let mut names = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
            names.any(|name| name.eq_ignore_ascii_case(protocol.as_bytes()))
        };
        self.exchange.upgrade && self.head.fields.all("upgrade").any(offers)
    }

    /// Answers now, with a body that may depend on that of the request piece by piece: `write` has
    /// both at once. `head` gives status and fields. What it returns is to be returned by the
    /// handler.
    ///
    /// Until 64 KiB have come together, `flush` is called, or the peer makes `write` wait for its
    /// body for 200 ms, nothing is sent; an error before that can still be answered with a status.
    ///
    /// # Errors
    ///
    /// What `write` returns, when nothing of the response has been sent. Later an error ends the
    /// connection.
    ///
    /// # Examples
    ///
    /// ```
    /// # use cede_services as cede;
    /// use cede::http::{Request, Response};
    ///
    /// fn echo(request: &mut Request) -> std::io::Result<Response> {
    ///     request.stream(Response::new(200), |body, out| std::io::copy(body, out).map(drop))
    /// }
    /// ```
    pub fn stream(
        &mut self,
        head: Response,
        write: impl FnOnce(&mut RequestBody<'a>, &mut BodyWriter<'_>) -> io::Result<()>,
    ) -> io::Result<Response> {
        if self.sent.is_some() {
            return Err(io::Error::other("this request has been answered"));
        }
        // After the head of the final response it would be too late.
        self.body.send_continue();
        self.wire.hold();
        let closing = self.must_close();
        let encoder =
            self.context.encode(self.wire, &self.exchange, &head, BodySize::Unknown, closing);
        let encoder = encoder.map_err(io::Error::other)?;
        let (status, is_raw) = (head.status, encoder.is_raw());
        let torn = Sent { status, keep_alive: false, bytes: 0, resets: is_raw };
        self.sent = Some(torn);
        let mut writer = BodyWriter::new(self.wire, encoder);
        let result = write(&mut self.body, &mut writer);
        let result = result.and_then(|()| writer.finish());
        match result {
            Ok((keep_alive, bytes)) => {
                self.wire.release();
                self.sent = Some(Sent { keep_alive, bytes, resets: false, ..torn });
            }
            Err(error) if self.wire.take_back() => {
                self.sent = None;
                return Err(error);
            }
            Err(error) if self.wire.is_broken() => {
                tracing::debug!(%error, "the peer took no more of a streamed response");
            }
            Err(error) => {
                tracing::error!(path = self.path(), %error, "a streamed response broke off");
            }
        }
        Ok(Response { body: Body::Sent, ..Response::new(status) })
    }

    /// Whether the response has to say that the connection will be closed.
    #[inline]
    pub(super) fn must_close(&self) -> bool {
        self.closing
            || self.context.is_draining()
            || !self.body.may_drain(self.context.config().drain_bytes_max)
    }

    /// The method as `http`'s type.
    pub fn http_method(&self) -> ::http::Method {
        // A method that has come is a token.
        ::http::Method::from_bytes(self.method().as_str().as_bytes()).unwrap_or_default()
    }

    /// The fields as `http`'s map, copied.
    pub fn header_map(&self) -> ::http::HeaderMap {
        let mut map = ::http::HeaderMap::with_capacity(self.head.fields.len());
        for field in self.head.fields.iter() {
            let name = ::http::HeaderName::from_bytes(field.name.as_bytes());
            let value = ::http::HeaderValue::from_bytes(field.value);
            if let (Ok(name), Ok(value)) = (name, value) {
                map.append(name, value);
            }
        }
        map
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method().as_str())
            .field("path", &self.path())
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
