//! Transactions that were not executed.
//!
//! The rule of this file: who reads the error learns which command spoilt it, which EXEC does not say.

use redis::{ErrorKind, RedisError, ServerError, Value};

use super::resp::server_error;

/// EXEC was refused because of what a command before it was answered.
#[cold]
pub(super) fn aborted(cause: &ServerError) -> RedisError {
    let (code, detail) = (cause.code(), cause.details().unwrap_or_default());
    let text = if code == "EXECABORT" {
        format!("{code} {detail}")
    } else {
        format!("EXECABORT the transaction was discarded because of: {code} {detail}")
    };
    match server_error(text.as_bytes()) {
        Ok(Value::ServerError(error)) => error.into(),
        _ => (ErrorKind::Client, "the transaction was discarded", text).into(),
    }
}
