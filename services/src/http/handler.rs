//! What answers requests: a function, a closure or a router.
//!
//! The surprising rule: a handler runs on the fiber of its connection. It may wait wherever it
//! likes, and the next request of that connection waits for it.

use super::into_response::IntoResponse;
use super::proto::head::RequestHead;
use super::request::Request;
use super::response::Response;

/// Answers requests. Implemented for every `Fn(&mut Request) -> impl IntoResponse`; a closure has
/// to name the type of its argument.
///
/// # Examples
///
/// ```
/// # use cede_services as cede;
/// use cede::http::{Handler, Request, Response};
///
/// fn takes(_: impl Handler) {}
///
/// takes(|request: &mut Request| format!("you asked for {}\n", request.path()));
/// takes(|_: &mut Request| Response::redirect(303, "/"));
/// ```
pub trait Handler {
    /// Answers one request.
    fn call(&self, request: &mut Request<'_>) -> Response;

    /// The limit for the body of a request with this head, where it differs from the server's.
    fn body_bytes_max(&self, head: &RequestHead<'_>) -> Option<u64> {
        let _ = head;
        None
    }
}

impl<F, R> Handler for F
where
    F: Fn(&mut Request<'_>) -> R,
    R: IntoResponse,
{
    #[inline]
    fn call(&self, request: &mut Request<'_>) -> Response {
        self(request).into_response()
    }
}
