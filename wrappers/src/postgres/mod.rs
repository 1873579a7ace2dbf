//! PostgreSQL: many fibers of a shard on one connection.

mod config;
mod db_error;
mod error;
mod sqlstate;

pub use config::{
    CONNECT_TIMEOUT_DEFAULT, ChannelBinding, Config, Host, KEEPALIVES_IDLE_DEFAULT,
    LoadBalanceHosts, MESSAGE_BYTES_MAX_DEFAULT, PORT_DEFAULT, SslMode, SslRootCert,
    TargetSessionAttrs,
};
pub use db_error::{DbError, ErrorPosition, Severity};
pub use error::{Error, ErrorKind, Phase};
pub use sqlstate::SqlState;
