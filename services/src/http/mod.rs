//! An HTTP/1.1 server whose handlers are ordinary functions that may wait anywhere.
//!
//! Each connection has a fiber on the shard that accepted it. The handler runs there, borrows what
//! the peer has sent, reads the body as a [`Read`](std::io::Read) and returns what becomes the
//! response. Nothing needs to be `Send` or `async`.
//!
//! | what | where |
//! |---|---|
//! | serve | [`serve`], [`Server`], [`ServerBuilder`] for limits and time-outs |
//! | look at a request | [`Request`], [`RequestBody`] |
//! | answer | [`IntoResponse`], [`Response`], [`Json`], [`Sse`], [`BodyWriter`] |
//! | choose by path and method | [`Router`] |
//! | make values of a request | [`Path`], [`Query`], [`Form`], [`Json`] with [`Request::extract`] |
//! | another protocol | [`Response::upgrade`], [`Upgraded`] |
//! | the protocol without I/O | [`proto`] |
//!
//! # Example
//!
//! ```
//! # mod cede { pub use cede_fiber::*; pub use cede_services::*; }
//! use cede::http::{Request, Server};
//! use std::io::{Read, Write};
//!
//! cede::run(|| -> std::io::Result<()> {
//!     let server = Server::builder().bind("127.0.0.1:0")?;
//!     let (addr, handle) = (server.local_addr()?, server.handle());
//!     let serving = cede::spawn(move || {
//!         server.run(|request: &mut Request| format!("you asked for {}\n", request.path()))
//!     });
//!
//!     let mut client = cede::net::TcpStream::connect(addr)?;
//!     client.write_all(b"GET /here HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
//!     let mut answer = String::new();
//!     client.read_to_string(&mut answer)?;
//!     assert!(answer.ends_with("\r\n\r\nyou asked for /here\n"));
//!
//!     handle.drain();
//!     serving.join().unwrap()
//! })
//! .unwrap()
//! .unwrap();
//! ```

pub mod proto;

mod access;
mod body_writer;
mod buffers;
mod builder;
mod config;
mod connection;
mod extract;
mod handler;
mod into_response;
mod pace;
mod params;
mod request;
mod request_body;
mod respond;
mod response;
mod router;
mod server;
mod shard_server;
mod sse;
mod text_de;
mod upgrade;
mod watch;
mod wire;

pub use body_writer::BodyWriter;
pub use builder::ServerBuilder;
pub use config::{
    DESCRIPTORS_RESERVED, DRAIN_BYTES_MAX, DRAIN_TIMEOUT, LINGER_BYTES_MAX, LINGER_TIMEOUT,
};
pub use extract::{ExtractError, Form, FromRequest, Path, Query};
pub use handler::Handler;
pub use into_response::{Html, IntoResponse, Json, StatusError};
pub use params::PARAMS_MAX;
pub use proto::head::{Method, Version};
pub use proto::limits::Limits;
pub use proto::reject::Reject;
pub use request::Request;
pub use request_body::RequestBody;
pub use response::{HeaderName, HeaderValue, Response, Status};
pub use router::Router;
pub use server::{Server, ServerHandle, serve};
pub use sse::{Event, Events, Sse};
pub use upgrade::Upgraded;

/// The crate whose types for statuses, methods and fields may be used with these.
pub use ::http as types;
