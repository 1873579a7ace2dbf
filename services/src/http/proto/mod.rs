//! HTTP/1.1 for servers without I/O: heads, framing, bodies, responses and targets.
//!
//! No function here blocks, allocates on the hot path, or reads a clock; limits and time are
//! parameters. The way of one request through these modules:
//!
//! ```text
//!  bytes ──> head::HeadParser ──> framing::decide ──> body::BodyDecoder ──> handler
//!                 │ Reject             │ Exchange            │ Reject
//!                 v                    v                     v
//!            response::encode_reject  response::ResponseWriter ──> body::BodyEncoder ──> bytes
//! ```
//!
//! **The verdict on a stream of bytes never depends on how it was cut into reads.** Every parser
//! decides by the position of a byte alone, and the tests feed each case whole, byte by byte and
//! split at every offset.
//!
//! # Examples
//!
//! ```
//! # use cede_services as cede;
//! # use cede::http::proto;
//! use proto::body::BodySize;
//! use proto::{date::DateCache, framing, head, limits::Limits, response::ResponseWriter};
//!
//! let limits = Limits::DEFAULT;
//! let mut slots = [head::HeaderSlot::EMPTY; proto::limits::HEADERS_MAX];
//! let bytes = b"GET /hello?name=you HTTP/1.1\r\nHost: localhost\r\n\r\n";
//!
//! let (request, used) = head::parse_head(bytes, &limits, &mut slots)?.expect("a whole head");
//! assert_eq!((request.target.path(), used), ("/hello", bytes.len()));
//! let exchange = framing::decide(&request)?;
//!
//! let mut out = Vec::new();
//! let mut dates = DateCache::new();
//! let mut response = ResponseWriter::start(&mut out, &exchange, 200)?;
//! response.field("Content-Type", b"text/plain")?;
//! let mut body = response.finish(BodySize::Length(5), dates.line(0))?;
//! body.write(&mut out, b"hello")?;
//! body.finish(&mut out)?;
//! assert!(out.starts_with(b"HTTP/1.1 200 OK\r\n") && out.ends_with(b"\r\n\r\nhello"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod authority;
pub mod body;
pub mod chunked;
pub mod date;
pub mod encode_error;
pub mod fields;
pub mod framing;
#[doc(hidden)]
pub mod fuzz;
pub mod head;
pub mod known;
pub mod limits;
pub mod method;
pub mod reject;
pub mod response;
pub mod status;
pub mod target;
pub mod uri;

mod scan;
#[cfg(test)]
mod testing;
