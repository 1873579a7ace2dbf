//! Replies of a Redis server: the same however they are cut, and as the crate `redis` reads them.
#![no_main]

use cede_wrappers::redis::Value;
use cede_wrappers::redis::resp::{Limits, Parser, ProtocolError};
use libfuzzer_sys::fuzz_target;

/// The replies in `data`, taken in pieces as a connection takes them.
fn parse(data: &[u8], piece: usize) -> (Vec<Value>, Option<ProtocolError>) {
    let limits = Limits { bulk_bytes_max: 1_000, reply_bytes_max: 100_000 };
    let mut parser = Parser::new(limits);
    let (mut values, mut held) = (Vec::new(), Vec::new());
    for piece in data.chunks(piece) {
        held.extend_from_slice(piece);
        loop {
            match parser.parse(&held) {
                Ok((value, used)) => {
                    held.drain(..used);
                    match value {
                        Some(value) => values.push(value),
                        None => break,
                    }
                }
                Err(error) => return (values, Some(error)),
            }
        }
    }
    (values, None)
}

fuzz_target!(|data: &[u8]| {
    let (values, error) = parse(data, data.len().max(1));
    let piece = 1 + usize::from(data.first().copied().unwrap_or(0)) % 16;
    // By `Debug`, since no number equals itself when it is none.
    let (cut, cut_error) = parse(data, piece);
    assert_eq!(format!("{values:?} {error:?}"), format!("{cut:?} {cut_error:?}"));
    if let (1, None) = (values.len(), error)
        && let Ok(value) = redis::parse_redis_value(data)
        && std::str::from_utf8(data).is_ok()
    {
        assert_eq!(format!("{:?}", values[0]), format!("{value:?}"));
    }
});
