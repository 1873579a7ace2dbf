//! PostgreSQL: many fibers of a shard on one connection.

mod db_error;
mod error;
mod sqlstate;

pub use db_error::{DbError, ErrorPosition, Severity};
pub use error::{Error, ErrorKind, Phase};
pub use sqlstate::SqlState;
