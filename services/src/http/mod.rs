//! HTTP.
pub mod proto;
