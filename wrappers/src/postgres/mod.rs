//! PostgreSQL: many fibers of a shard on one connection.

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
