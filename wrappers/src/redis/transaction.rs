//! Transactions that were not executed.
//!
//! The rule of this file: who reads the error learns which command spoilt it, which EXEC does not say.

use redis::{ErrorKind, RedisError, RedisResult, ServerError, Value};

use super::resp::server_error;

/// EXEC was refused because of what a command before it was answered.
#[cold]
fn aborted(cause: &ServerError) -> RedisError {
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

/// What a pipeline comes to: the answers that are wanted. When others came before them, these were of
/// MULTI and what follows it, and the one that is wanted is of EXEC, which may be an error.
pub(super) fn result(before: Vec<Value>, wanted: Vec<Value>) -> RedisResult<Vec<Value>> {
    let [Value::ServerError(exec)] = &*wanted else { return Ok(wanted) };
    if before.is_empty() {
        return Ok(wanted);
    }
    let refused = before.iter().find_map(|value| match value {
        Value::ServerError(error) => Some(error),
        _ => None,
    });
    Err(aborted(refused.unwrap_or(exec)))
}
