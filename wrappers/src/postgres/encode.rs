//! Requests as bytes.
//!
//! The surprising rule: a parameter is written by code of the user's (`ToSql`), which may wait, use
//! the client or panic. So a request is written into a buffer of its own and sent when it is whole.

use bytes::{BufMut, BytesMut};
use postgres_protocol::message::frontend;

use super::error::{Error, ErrorKind, Phase};
use super::statement::Statement;
use super::types::{Format, IsNull, ToSql, Type};

/// A server refuses larger messages and closes the connection (`PQ_LARGE_MESSAGE_LIMIT`, which is
/// `MaxAllocSize - 1`).
pub(super) const REQUEST_BYTES_MAX: usize = 0x3fff_fffe;

/// All results in the binary format, then Execute of the unnamed portal without a limit on rows.
const BINARY_AND_EXECUTE: [u8; 14] = [0, 1, 0, 1, b'E', 0, 0, 0, 9, 0, 0, 0, 0, 0];
const SYNC: [u8; 5] = [b'S', 0, 0, 0, 4];

/// Bind and Execute, and Sync.
#[inline]
pub(super) fn execute(
    statement: &Statement,
    params: &[&dyn ToSql],
    out: &mut BytesMut,
) -> Result<(), Error> {
    let types = statement.params();
    if params.len() != types.len() {
        return Err(wrong_count(statement, params.len()));
    }
    let base = out.len();
    out.put_slice(&[b'B', 0, 0, 0, 0, 0]);
    out.put_slice(statement.name().as_bytes());
    out.put_u8(0);
    let count = (params.len() as u16).to_be_bytes();
    let is_text =
        |(param, ty): (&&dyn ToSql, &Type)| matches!(param.encode_format(ty), Format::Text);
    if params.iter().zip(types).any(is_text) {
        out.put_slice(&count);
        for (param, ty) in params.iter().zip(types) {
            out.put_i16(param.encode_format(ty) as i16);
        }
    } else {
        // One format for all of them.
        out.put_slice(&[0, 1, 0, 1]);
    }
    out.put_slice(&count);
    for (number, (param, ty)) in params.iter().zip(types).enumerate() {
        value(number, *param, ty, out)?;
    }
    out.put_slice(&BINARY_AND_EXECUTE);
    // The tag does not count, nor does Execute.
    let len = out.len() - base - 1 - 10;
    if len > REQUEST_BYTES_MAX {
        return Err(too_large(len));
    }
    out[base + 1..base + 5].copy_from_slice(&(len as u32).to_be_bytes());
    out.put_slice(&SYNC);
    Ok(())
}

#[inline]
fn value(number: usize, param: &dyn ToSql, ty: &Type, out: &mut BytesMut) -> Result<(), Error> {
    let at = out.len();
    out.put_slice(&[0; 4]);
    let is_null = param.to_sql_checked(ty, out).map_err(|error| {
        let message = format!("parameter ${}: {error}", number + 1);
        Error::new(ErrorKind::ToSql, Phase::Send, message).with_source(error)
    })?;
    let len = match is_null {
        // What was written for a NULL is no value.
        IsNull::Yes => {
            out.truncate(at + 4);
            -1
        }
        IsNull::No => {
            let len = out.len().saturating_sub(at + 4);
            i32::try_from(len).map_err(|_| too_large(len))?
        }
    };
    match out.get_mut(at..at + 4) {
        Some(place) => place.copy_from_slice(&len.to_be_bytes()),
        None => {
            let message = format!("parameter ${}: its `ToSql` took bytes away", number + 1);
            return Err(Error::new(ErrorKind::ToSql, Phase::Send, message));
        }
    }
    Ok(())
}

#[cold]
fn wrong_count(statement: &Statement, given: usize) -> Error {
    let needed = statement.params().len();
    let message = format!("the statement has {needed} parameters, and {given} were given");
    Error::new(ErrorKind::Parameters, Phase::Send, message)
}

#[cold]
fn too_large(len: usize) -> Error {
    let message = format!("a request of {len} bytes; a server takes {REQUEST_BYTES_MAX}");
    Error::new(ErrorKind::Limit, Phase::Send, message)
}

/// Parse and Describe, and Sync; before that these statements are closed.
pub(super) fn prepare(
    name: &str,
    sql: &str,
    types: &[Type],
    closed: &[Box<str>],
    out: &mut BytesMut,
) -> Result<(), Error> {
    let invalid = |error| Error::new(ErrorKind::State, Phase::Prepare, "").with_source(error);
    check_len(sql)?;
    for name in closed {
        frontend::close(b'S', name, out).map_err(invalid)?;
    }
    frontend::parse(name, sql, types.iter().map(Type::oid), out).map_err(invalid)?;
    frontend::describe(b'S', name, out).map_err(invalid)?;
    out.put_slice(&SYNC);
    Ok(())
}

/// A Sync, behind what has none.
pub(super) fn sync(out: &mut BytesMut) {
    out.put_slice(&SYNC);
}

/// A statement of COPY, and Flush: its Sync comes when there are no more data.
pub(super) fn copy(sql: &str, out: &mut BytesMut) -> Result<(), Error> {
    check_len(sql)?;
    prefix(sql, out)?;
    out.put_slice(&[b'H', 0, 0, 0, 4]);
    Ok(())
}

/// A text of statements without parameters, in the simple protocol, which has its own Sync.
pub(super) fn simple(sql: &str, out: &mut BytesMut) -> Result<(), Error> {
    check_len(sql)?;
    frontend::query(sql, out)
        .map_err(|error| Error::new(ErrorKind::State, Phase::Send, "").with_source(error))
}

/// Parse, Bind and Execute of a command without parameters and without a name, and no Sync: if it
/// fails, the server skips what is behind it.
pub(super) fn prefix(sql: &str, out: &mut BytesMut) -> Result<(), Error> {
    let invalid = |error| Error::new(ErrorKind::State, Phase::Send, "").with_source(error);
    frontend::parse("", sql, [], out).map_err(invalid)?;
    out.put_slice(&[b'B', 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.put_slice(&BINARY_AND_EXECUTE[4..]);
    Ok(())
}

fn check_len(sql: &str) -> Result<(), Error> {
    if sql.len() < REQUEST_BYTES_MAX / 2 { Ok(()) } else { Err(too_large(sql.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What another hand writes for the same, which names each format.
    #[test]
    fn it_is_what_postgres_protocol_writes() {
        let mut ours = BytesMut::new();
        prefix("begin", &mut ours).unwrap();
        let mut theirs = BytesMut::new();
        frontend::parse("", "begin", [], &mut theirs).unwrap();
        let none = std::iter::empty::<i16>;
        let bound = frontend::bind(
            "",
            "",
            none(),
            std::iter::empty::<()>(),
            |(), _| Ok(postgres_protocol::IsNull::Yes),
            none(),
            &mut theirs,
        );
        assert!(bound.is_ok());
        frontend::execute("", 0, &mut theirs).unwrap();
        assert_eq!(ours, theirs);

        let params = vec![Type::INT4, Type::TEXT, Type::BYTEA];
        let statement = Statement::new("".into(), &[], params, Vec::new(), "s7".into(), 0);
        let mut ours = BytesMut::new();
        execute(&statement, &[&1i32, &"two", &None::<&[u8]>], &mut ours).unwrap();
        let mut theirs = BytesMut::new();
        let values = [Some(&[0, 0, 0, 1][..]), Some(b"two"), None];
        let bound = frontend::bind(
            "",
            "s7",
            [1],
            values,
            |value, out| {
                Ok(match value {
                    Some(value) => {
                        out.put_slice(value);
                        postgres_protocol::IsNull::No
                    }
                    None => postgres_protocol::IsNull::Yes,
                })
            },
            [1],
            &mut theirs,
        );
        assert!(bound.is_ok());
        frontend::execute("", 0, &mut theirs).unwrap();
        frontend::sync(&mut theirs);
        assert_eq!(ours, theirs);
    }

    #[test]
    fn a_wrong_number_or_type_of_parameters_is_refused() {
        let statement = Statement::new("".into(), &[], vec![Type::INT4], Vec::new(), "s".into(), 0);
        let encode = |params: &[&dyn ToSql]| execute(&statement, params, &mut BytesMut::new());
        assert_eq!(encode(&[]).unwrap_err().kind(), ErrorKind::Parameters);
        assert_eq!(encode(&[&1i32, &2i32]).unwrap_err().kind(), ErrorKind::Parameters);
        let error = encode(&[&"1"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ToSql);
        assert!(error.to_string().contains("parameter $1"), "{error}");
        assert_eq!(simple("a\0b", &mut BytesMut::new()).unwrap_err().kind(), ErrorKind::State);
    }
}
