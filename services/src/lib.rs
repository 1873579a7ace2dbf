//! Servers on stackful fibers. Handlers are ordinary functions that may wait anywhere.
//!
//! | what | where |
//! |---|---|
//! | HTTP/1.1: server, router, extractors | [`http`] (feature `http`) |
//!
//! Nothing here touches the poller: a server is fibers, sockets of `cede-fiber`, and parsers that
//! know no I/O.
#![forbid(unsafe_code)]

#[cfg(feature = "http")]
pub mod http;
