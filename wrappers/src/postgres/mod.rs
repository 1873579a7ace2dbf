//! PostgreSQL: many fibers of a shard on one connection.
//!
//! | what | where |
//! |---|---|
//! | connect | [`Client::connect`], [`Config`]: URLs, libpq's settings, several hosts, TLS |
//! | ask | [`Client::query`], [`Client::query_each`], [`Client::execute`], [`Client::prepare`] |
//! | several statements as one | [`Client::transaction`] |
//! | long or many statements beside others | [`Pool`] |
//! | much data | [`Client::copy_in`], [`Client::copy_out`] |
//! | events | [`Client::listen`], [`Client::notify`] |
//! | values | [`types`], the crate `postgres-types` |
//! | what went wrong | [`Error`], [`SqlState`], [`Error::may_have_run`] |
//!
//! The rule of this module: a request ends at its place in the order of sending, whoever still
//! waits for it.
//!
//! # Example
//!
//! ```no_run
//! # mod cede { pub use cede_fiber::*; pub use cede_wrappers::*; }
//! use cede::postgres::{Client, Error};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     cede::run(|| -> Result<(), Error> {
//!         let client = Client::connect("postgres://joe:secret@localhost/shop")?;
//!         let find = "select name from people where id = $1";
//!         let fibers: Vec<_> = (1..=100_i64)
//!             .map(|id| {
//!                 let client = client.clone(); // the same connection
//!                 cede::spawn(move || client.query_opt(find, &[&id]))
//!             })
//!             .collect();
//!         for fiber in fibers {
//!             if let Some(row) = fiber.join().expect("no fiber panicked")? {
//!                 println!("{}", row.try_get::<_, String>("name")?);
//!             }
//!         }
//!         Ok(())
//!     })??;
//!     Ok(())
//! }
//! ```

mod auth;
mod cancel;
mod client;
mod config;
mod connect;
#[cfg(test)]
mod connect_tests;
mod connection;
mod copy;
mod core;
mod counts;
mod db_error;
mod encode;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gather;
mod input;
mod limits;
mod listen;
mod metrics;
mod pending;
mod pool;
mod prepare;
mod reader;
mod request;
mod row;
mod simple;
mod socket;
mod sqlstate;
mod startup;
mod statement;
mod statements;
mod transaction;
mod turn;
pub mod types;

pub use crate::pool::{PoolMetrics, PoolSettings};
pub use client::{Client, IntoConfig};
pub use config::{
    CONNECT_TIMEOUT_DEFAULT, ChannelBinding, Config, Host, KEEPALIVES_IDLE_DEFAULT,
    LoadBalanceHosts, MESSAGE_BYTES_MAX_DEFAULT, PORT_DEFAULT, SslMode, SslNegotiation,
    SslRootCert, TargetSessionAttrs,
};
pub use copy::{CopyIn, CopyOut};
pub use db_error::{DbError, ErrorPosition, Severity};
pub use error::{Error, ErrorKind, Phase};
pub use limits::{
    IN_FLIGHT_MAX_DEFAULT, RECONNECT_TIMEOUT_DEFAULT, RESULT_BYTES_MAX_DEFAULT,
    STATEMENTS_MAX_DEFAULT, STREAM_BYTES_MAX_DEFAULT,
};
pub use listen::{
    CHANNEL_BYTES_MAX, Event, NOTIFICATIONS_BYTES_MAX, NOTIFICATIONS_MAX, Notification,
    Notifications,
};
pub use metrics::Metrics;
pub use pool::{Pool, PooledClient};
pub use row::{Row, RowIndex};
pub use simple::{SimpleQueryMessage, SimpleQueryRow};
pub use sqlstate::SqlState;
pub use statement::{Column, Statement, ToStatement};
pub use transaction::{IsolationLevel, Transaction, TransactionBuilder};
