//! A small bookshop after the port: a fiber per connection, and everything waits where it stands.
//!
//! Its cycle: read and parse (`http`), validate and choose (`action`), ask the storage (`shop`,
//! `store`), fill in the template (`template`), send (`server`).

mod action;
mod http;
mod log;
mod server;
mod shop;
mod store;
mod template;

pub(crate) use server::start;
