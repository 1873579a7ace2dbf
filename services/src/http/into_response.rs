//! What may be returned by a handler.
//!
//! The surprising rule: an error that says what the peer did wrong becomes the status for that, and
//! every other error is a 500 whose text goes to the log and never to the peer.

use std::borrow::Cow;
use std::error::Error;
use std::io;

use bytes::Bytes;
use serde::Serialize;

use super::extract::ExtractError;
use super::proto::reject::Reject;
use super::response::{Body, ContentType, Response};

/// Something that can be turned into a response.
///
/// | value | response |
/// |---|---|
/// | `&'static str`, `String`, `Cow<'static, str>` | 200, `text/plain` |
/// | `Vec<u8>`, `Bytes`, `&'static [u8]` | 200, `application/octet-stream` |
/// | [`Json`] | 200, `application/json` |
/// | [`Html`] | 200, `text/html` |
/// | `()` | 204 |
/// | `http::StatusCode` | that status, no body |
/// | `(http::StatusCode, T)` | `T` with that status |
/// | `Option<T>` | `T`, or 404 |
/// | `Result<T, E>` | either |
/// | `io::Error`, `anyhow::Error` | that of the [`Reject`] or [`StatusError`] inside, or 500 |
pub trait IntoResponse {
    /// The response.
    fn into_response(self) -> Response;
}

impl IntoResponse for Response {
    #[inline]
    fn into_response(self) -> Response {
        self
    }
}

impl IntoResponse for &'static str {
    #[inline]
    fn into_response(self) -> Response {
        Response::text(self)
    }
}

impl IntoResponse for String {
    fn into_response(self) -> Response {
        Response::text(self)
    }
}

impl IntoResponse for Cow<'static, str> {
    fn into_response(self) -> Response {
        Response::text(self)
    }
}

impl IntoResponse for &'static [u8] {
    fn into_response(self) -> Response {
        Response::with_body(ContentType::Octets, Body::Static(self))
    }
}

impl IntoResponse for Vec<u8> {
    fn into_response(self) -> Response {
        Response::with_body(ContentType::Octets, Body::Owned(self))
    }
}

impl IntoResponse for Bytes {
    fn into_response(self) -> Response {
        Response::with_body(ContentType::Octets, Body::Bytes(self))
    }
}

impl IntoResponse for () {
    fn into_response(self) -> Response {
        Response::new(204_u16)
    }
}

impl IntoResponse for ::http::StatusCode {
    fn into_response(self) -> Response {
        Response::new(self)
    }
}

impl<T: IntoResponse> IntoResponse for (::http::StatusCode, T) {
    fn into_response(self) -> Response {
        self.1.into_response().with_status(self.0)
    }
}

impl<T: IntoResponse> IntoResponse for Option<T> {
    fn into_response(self) -> Response {
        self.map_or_else(|| Response::new(404_u16), T::into_response)
    }
}

impl<T: IntoResponse, E: IntoResponse> IntoResponse for Result<T, E> {
    #[inline]
    fn into_response(self) -> Response {
        match self {
            Ok(value) => value.into_response(),
            Err(error) => error.into_response(),
        }
    }
}

impl<B: Into<Bytes>> IntoResponse for ::http::Response<B> {
    fn into_response(self) -> Response {
        let (head, body) = self.into_parts();
        let mut response = Response::new(head.status);
        for (name, value) in &head.headers {
            response.set_header(name.clone(), value.clone());
        }
        response.body = Body::Bytes(body.into());
        response
    }
}

/// A value that travels as JSON, in a response or as an [extractor](super::FromRequest).
///
/// # Examples
///
/// ```
/// # use cede_services as cede;
/// use cede::http::{IntoResponse, Json, Request};
///
/// fn double(request: &mut Request) -> anyhow::Result<Json<Vec<u32>>> {
///     let Json(numbers) = request.extract::<Json<Vec<u32>>>()?;
///     Ok(Json(numbers.iter().map(|n| n * 2).collect()))
/// }
///
/// assert_eq!(Json([1, 2]).into_response().status(), 200);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        Response::json(&self.0)
    }
}

/// Text that is a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Html<T>(pub T);

impl<T: Into<Cow<'static, str>>> IntoResponse for Html<T> {
    fn into_response(self) -> Response {
        Response::html(self.0)
    }
}

/// An error with a status and a text for the peer; it may go through `?` as an `anyhow::Error`.
///
/// # Examples
///
/// ```
/// # use cede_services as cede;
/// use cede::http::{IntoResponse, StatusError};
///
/// fn find(id: u32) -> anyhow::Result<&'static str> {
///     if id > 7 {
///         return Err(StatusError::new(404, "no such thing").into());
///     }
///     Ok("thing")
/// }
/// assert_eq!(find(8).into_response().status(), 404);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusError {
    status: u16,
    text: Cow<'static, str>,
}

impl StatusError {
    /// An error with this status; its text is sent to the peer.
    pub fn new(status: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, text: text.into() }
    }
}

impl std::fmt::Display for StatusError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.status, self.text)
    }
}

impl Error for StatusError {}

impl IntoResponse for StatusError {
    fn into_response(self) -> Response {
        match self.text.is_empty() {
            true => Response::new(self.status),
            false => Response::text(self.text).with_status(self.status),
        }
    }
}

impl IntoResponse for Reject {
    fn into_response(self) -> Response {
        Response::new(self.status())
    }
}

impl IntoResponse for io::Error {
    fn into_response(self) -> Response {
        of_error(&self)
    }
}

impl IntoResponse for anyhow::Error {
    fn into_response(self) -> Response {
        of_error(&*self)
    }
}

/// The response for an error, by what is inside of it.
fn of_error(error: &(dyn Error + 'static)) -> Response {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(reject) = error.downcast_ref::<Reject>() {
            return reject.into_response();
        }
        if let Some(error) = error.downcast_ref::<StatusError>() {
            return error.clone().into_response();
        }
        if let Some(error) = error.downcast_ref::<ExtractError>() {
            return error.clone().into_response();
        }
        // The source of an `io::Error` is that of the error inside, so this way passes all.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    Response::failed(text)
}
