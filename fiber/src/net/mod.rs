//! Sockets with std's names: a call that would block parks the fiber instead.
//!
//! Every type implements [`Read`](std::io::Read) and [`Write`](std::io::Write) for itself and for
//! `&` of itself, like std's, so what is generic over them works unchanged.

mod source;
mod tcp;

pub use tcp::{BACKLOG_DEFAULT, Incoming, TcpListener, TcpStream};
