//! Beside async code: adapters between cede's streams and the traits of async crates, and a
//! background tokio for futures that insist on it.
//!
//! What needs neither runs with [`block_on`](crate::block_on) as it is.

#[cfg(feature = "compat-tokio")]
mod background;
mod stream;

#[cfg(feature = "compat-tokio")]
pub use background::tokio;
pub use stream::{Async, AsyncStream};
