//! Values, of the parts that have come.
//!
//! The rule of this file: what is no UTF-8 where text should be is replaced, for a server may repeat
//! what others have told it.

use redis::{PushKind, ServerError, Value, VerbatimFormat};

use super::{Aggregate, Frame, ProtocolError, Text};

impl Frame {
    pub(super) fn finish(self) -> Result<Value, ProtocolError> {
        Ok(match self.kind {
            Aggregate::Array => Value::Array(self.items),
            Aggregate::Set => Value::Set(self.items),
            Aggregate::Map => Value::Map(pairs(self.items)),
            Aggregate::Attribute => {
                let mut items = self.items;
                let data = Box::new(items.pop().unwrap_or_default());
                Value::Attribute { data, attributes: pairs(items) }
            }
            Aggregate::Push => {
                let mut items = self.items.into_iter();
                let kind = match items.next() {
                    Some(Value::BulkString(kind)) => String::from_utf8(kind).ok(),
                    Some(Value::SimpleString(kind)) => Some(kind),
                    _ => None,
                };
                let kind = push_kind(kind.ok_or(ProtocolError::PushKind)?);
                Value::Push { kind, data: items.collect() }
            }
        })
    }
}

fn pairs(items: Vec<Value>) -> Vec<(Value, Value)> {
    let mut pairs = Vec::with_capacity(items.len() / 2);
    let mut items = items.into_iter();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        pairs.push((key, value));
    }
    pairs
}

impl Text {
    #[inline]
    pub(super) fn value(self, bytes: Vec<u8>) -> Result<Value, ProtocolError> {
        match self {
            Self::Plain => Ok(Value::BulkString(bytes)),
            Self::Error => server_error(&bytes),
            Self::Verbatim => {
                let text = String::from_utf8_lossy(&bytes);
                let (format, text) = text.split_once(':').ok_or(ProtocolError::Verbatim)?;
                let format = match format {
                    "txt" => VerbatimFormat::Text,
                    "mkd" => VerbatimFormat::Markdown,
                    other => VerbatimFormat::Unknown(other.to_string()),
                };
                Ok(Value::VerbatimString { format, text: text.to_string() })
            }
        }
    }
}

/// An error of the server's. Only the crate `redis` can make one that it recognises later, so it
/// reads the text once more.
pub(in crate::redis) fn server_error(text: &[u8]) -> Result<Value, ProtocolError> {
    let text = String::from_utf8_lossy(text);
    let encoded = format!("!{}\r\n{text}\r\n", text.len());
    match redis::parse_redis_value(encoded.as_bytes()) {
        Ok(value @ Value::ServerError(_)) => Ok(value),
        _ => {
            let error = redis::make_extension_error(text.into_owned(), None);
            let error = ServerError::try_from(error).map_err(|_| ProtocolError::Literal)?;
            Ok(Value::ServerError(error))
        }
    }
}

/// What a message is, by the name of its kind.
pub(in crate::redis) fn push_kind(kind: String) -> PushKind {
    match kind.as_str() {
        "invalidate" => PushKind::Invalidate,
        "message" => PushKind::Message,
        "pmessage" => PushKind::PMessage,
        "smessage" => PushKind::SMessage,
        "subscribe" => PushKind::Subscribe,
        "psubscribe" => PushKind::PSubscribe,
        "ssubscribe" => PushKind::SSubscribe,
        "unsubscribe" => PushKind::Unsubscribe,
        "punsubscribe" => PushKind::PUnsubscribe,
        "sunsubscribe" => PushKind::SUnsubscribe,
        _ => PushKind::Other(kind),
    }
}
