//! Extractors: values made of a request's path, query or body.
//!
//! The surprising rule: which status an error becomes depends on who is wrong. A path that does not
//! fit its route's type is a 404, a query or body that does not is the peer's mistake, 400 or 422.

use std::fmt;
use std::io;

use serde::de::DeserializeOwned;

use super::into_response::{IntoResponse, Json};
use super::proto::limits::QUERY_PAIRS_MAX;
use super::proto::reject::Reject;
use super::proto::uri::{Pairs, UriError, decode_segment};
use super::request::Request;
use super::response::Response;
use super::text_de;

/// A value that can be made of a request.
pub trait FromRequest: Sized {
    /// Makes it.
    ///
    /// # Errors
    ///
    /// When the request does not fit.
    fn from_request(request: &mut Request<'_>) -> Result<Self, ExtractError>;
}

/// Why a value could not be made of a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ExtractError {
    /// The route has no parameter of this name: a mistake of the program, 500.
    NoParam,
    /// Text that can not be decoded: 400.
    Uri(UriError),
    /// Path parameters that are not of the type: 404.
    Path(String),
    /// A query that is not of the type: 400.
    Query(String),
    /// A body of another type than the one that is asked for: 415.
    ContentType(&'static str),
    /// A form that is not of the type: 422.
    Form(String),
    /// A body that is no JSON: 400.
    Json(String),
    /// JSON that is not of the type: 422.
    JsonType(String),
    /// The body could not be read: the status of the reason.
    Body(io::ErrorKind, Option<Reject>),
}

impl ExtractError {
    /// The status that it becomes.
    pub fn status(&self) -> u16 {
        match self {
            Self::NoParam => 500,
            Self::Uri(_) | Self::Query(_) | Self::Json(_) => 400,
            Self::Path(_) => 404,
            Self::ContentType(_) => 415,
            Self::Form(_) | Self::JsonType(_) => 422,
            Self::Body(_, reject) => reject.map_or(400, Reject::status),
        }
    }
}

impl fmt::Display for ExtractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoParam => f.write_str("the route has no parameter of this name"),
            Self::Uri(error) => error.fmt(f),
            Self::Path(error) => write!(f, "path: {error}"),
            Self::Query(error) => write!(f, "query: {error}"),
            Self::ContentType(expected) => write!(f, "the body is not {expected}"),
            Self::Form(error) => write!(f, "form: {error}"),
            Self::Json(error) | Self::JsonType(error) => write!(f, "JSON: {error}"),
            Self::Body(kind, None) => write!(f, "body: {kind}"),
            Self::Body(_, Some(reject)) => write!(f, "body: {reject}"),
        }
    }
}

impl std::error::Error for ExtractError {}

impl From<UriError> for ExtractError {
    fn from(error: UriError) -> Self {
        Self::Uri(error)
    }
}

impl From<io::Error> for ExtractError {
    fn from(error: io::Error) -> Self {
        let reject = error.get_ref().and_then(|inner| inner.downcast_ref::<Reject>()).copied();
        Self::Body(error.kind(), reject)
    }
}

impl IntoResponse for ExtractError {
    fn into_response(self) -> Response {
        match self.status() {
            500 => Response::failed(self.to_string()),
            status => Response::text(self.to_string()).with_status(status),
        }
    }
}

/// The parameters of the route's path: a single value, a tuple in their order, or a struct by their
/// names.
///
/// # Examples
///
/// ```
/// # use cede_services as cede;
/// use cede::http::{Path, Request, Router};
///
/// fn show(request: &mut Request) -> anyhow::Result<String> {
///     let Path((user, post)) = request.extract::<Path<(String, u64)>>()?; // 404 for /ann/x
///     Ok(format!("post {post} of {user}\n"))
/// }
///
/// let router = Router::new().get("/{user}/{post}", show);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Path<T> {
    fn from_request(request: &mut Request<'_>) -> Result<Self, ExtractError> {
        let mut pairs = Vec::new();
        for (name, value) in request.params() {
            pairs.push((name.into(), decode_segment(value)?));
        }
        let value = text_de::from_pairs(pairs);
        value.map(Self).map_err(|error| ExtractError::Path(error.to_string()))
    }
}

/// The query as a struct or a map.
///
/// # Examples
///
/// ```
/// # use cede_services as cede;
/// use cede::http::{Query, Request};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Page {
///     #[serde(default)]
///     from: u64,
/// }
///
/// fn list(request: &mut Request) -> anyhow::Result<String> {
///     let Query(Page { from }) = request.extract()?; // 400 for ?from=x
///     Ok(format!("things from {from} on\n"))
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    fn from_request(request: &mut Request<'_>) -> Result<Self, ExtractError> {
        let pairs: Pairs<'_> = request.query_pairs();
        let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
        let value = text_de::from_pairs(pairs);
        value.map(Self).map_err(|error| ExtractError::Query(error.to_string()))
    }
}

/// The body that a browser sends for a form (`application/x-www-form-urlencoded`), as a struct or a
/// map; at most [`QUERY_PAIRS_MAX`] fields. Files need `multipart/form-data`, which this is not.
///
/// # Examples
///
/// ```
/// # use cede_services as cede;
/// use cede::http::{Form, Request};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Entry {
///     name: String,
/// }
///
/// fn sign(request: &mut Request) -> anyhow::Result<String> {
///     let Form(Entry { name }) = request.extract()?; // 415, 400 or 422 where it is none
///     Ok(format!("welcome, {name}\n"))
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Form<T> {
    fn from_request(request: &mut Request<'_>) -> Result<Self, ExtractError> {
        if !request.header("content-type").is_some_and(is_form) {
            return Err(ExtractError::ContentType(FORM));
        }
        let body = request.body_bytes()?;
        let pairs = Pairs::new(&body, QUERY_PAIRS_MAX).collect::<Result<Vec<_>, _>>()?;
        text_de::from_pairs(pairs).map(Self).map_err(|error| ExtractError::Form(error.to_string()))
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

fn is_form(content_type: &str) -> bool {
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(FORM)
}

impl<T: DeserializeOwned> FromRequest for Json<T> {
    fn from_request(request: &mut Request<'_>) -> Result<Self, ExtractError> {
        if !request.header("content-type").is_some_and(is_json) {
            return Err(ExtractError::ContentType("application/json"));
        }
        let body = request.body_bytes()?;
        // The peer chooses how many levels there are of a type that holds itself, up to the 127 of
        // `serde_json`, and each costs frames of that type's size: more than a fiber's stack has.
        let value = cede_fiber::on_large_stack(|| serde_json::from_slice(&body));
        value.map(Self).map_err(|error: serde_json::Error| match error.classify() {
            serde_json::error::Category::Data => ExtractError::JsonType(error.to_string()),
            _ => ExtractError::Json(error.to_string()),
        })
    }
}

/// `application/json` and `application/anything+json`, with or without parameters.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let Some((kind, name)) = essence.split_once('/') else { return false };
    let suffix = name.len().checked_sub("+json".len()).and_then(|at| name.get(at..));
    kind.eq_ignore_ascii_case("application")
        && (name.eq_ignore_ascii_case("json")
            || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_are_json() {
        for (text, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/problem+json", true),
            ("text/json", false),
            ("application/jsonp", false),
            ("json", false),
            ("", false),
        ] {
            assert_eq!(is_json(text), expected, "{text:?}");
        }
    }
}
