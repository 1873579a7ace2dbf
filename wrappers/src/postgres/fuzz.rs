//! What a connection makes of any bytes, for fuzzers and for tests.
//!
//! The surprising rule: nothing is sent and no fiber waits. Requests of all kinds are in the queue as
//! if they had been sent, and the bytes are all that their server ever says.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use cede_fiber::net::UnixStream;

use super::config::Config;
use super::connect::Opened;
use super::connection::Connection;
use super::error::{Error, Phase};
use super::input::{INPUT_BYTES, Input};
use super::limits::PARAMETERS_MAX;
use super::listen::Hooks;
use super::pending::{Item, Pending, Want};
use super::socket::{Address, CancelTarget, Place};
use super::statement::{Column, Statement};
use super::types::Type;
use crate::stream::Stream;

/// Small, so that inputs of a few kilobytes are beyond them.
const MESSAGE_BYTES_MAX: usize = 1000;
const RESULT_BYTES_MAX: usize = 1500;

/// Feeds a connection with the bytes, so many at once, and tells what came of it. Bytes are judged
/// alike however they are cut.
///
/// # Panics
///
/// When a limit is not kept.
#[must_use]
pub fn answers(bytes: &[u8], piece: usize) -> String {
    let bytes = bytes.to_vec();
    let run = cede_fiber::run(move || told(&bytes, piece));
    run.expect("a runtime can be started")
}

fn told(bytes: &[u8], piece: usize) -> String {
    let connection = connection();
    // The first byte says which requests are given up, the second one which come first.
    let (choice, bytes) = bytes.split_at(bytes.len().min(2));
    let (given_up, first) =
        (choice.first().copied().unwrap_or(0), choice.get(1).copied().unwrap_or(0));
    let column = |name: &str| Column::new(name.into(), Type::BYTEA, 0, 0, -1);
    let columns = vec![column("a"), column("b")];
    let statement = Statement::new("select".into(), &[], Vec::new(), columns, "c1".into(), 1);
    let wants = [Want::Rows, Want::Count, Want::Description, Want::Texts, Want::Stream, Want::Copy];
    let requests: Vec<Rc<Pending>> = (0..12u8)
        .map(|number| {
            let want = wants[usize::from(number.wrapping_add(first)) % wants.len()];
            let statement = matches!(want, Want::Rows | Want::Stream).then(|| statement.clone());
            let own = (number % 5 == 4).then(|| Rc::new(Cell::new(b'T')));
            let pending = Pending::new(want, statement, own, u64::from(number) + 1, 0, 0);
            if given_up >> (number % 8) & 1 == 1 && number > 5 {
                pending.abandon();
            }
            Rc::new(pending)
        })
        .collect();
    connection.queue.borrow_mut().extend(requests.iter().map(Rc::clone));
    let mut input = Input::new(&[], MESSAGE_BYTES_MAX);
    let error = feed(&connection, &mut input, bytes, piece);
    assert!(input.space().len() <= INPUT_BYTES, "a length alone has made the buffer grow");
    assert!(connection.parameters.borrow().len() <= PARAMETERS_MAX);
    let left = connection.queue.borrow().len();
    connection.fail(error.clone().unwrap_or_else(|| Error::closed(Phase::Idle)));
    let mut told = format!("{error:?}, {left} left\n");
    requests.iter().for_each(|request| tell(request, &mut told));
    told
}

fn connection() -> Rc<Connection> {
    let (stream, _) = UnixStream::pair().expect("there are descriptors");
    let label = "fuzzed".into();
    let place = Place::Unix(PathBuf::new());
    let address = Address { place, host: String::new(), port: 0, label };
    let opened = Opened {
        stream: Stream::Unix(stream),
        process_id: 0,
        secret_key: 0,
        parameters: HashMap::new(),
        host: "fuzzed".into(),
        cancel: CancelTarget {
            address,
            tls: None,
            #[cfg(feature = "tls")]
            is_direct: false,
            timeout: Duration::ZERO,
        },
        rest: BytesMut::new(),
    };
    let mut config = Config::new();
    // Nobody takes what is streamed.
    config.message_bytes_max(MESSAGE_BYTES_MAX).stream_bytes_max(usize::MAX);
    config.result_bytes_max(RESULT_BYTES_MAX);
    Connection::new(opened, &config, Rc::default(), Rc::<Hooks>::default())
}

fn feed(connection: &Connection, input: &mut Input, bytes: &[u8], piece: usize) -> Option<Error> {
    for mut piece in bytes.chunks(piece) {
        while !piece.is_empty() {
            let space = input.space();
            let n = piece.len().min(space.len());
            space[..n].copy_from_slice(&piece[..n]);
            input.filled(n);
            piece = &piece[n..];
            if let Err(error) = connection.take_messages(input) {
                return Some(error);
            }
        }
    }
    None
}

/// All that is known of a request.
fn tell(request: &Pending, told: &mut String) {
    assert!(request.is_done(), "a request is forgotten");
    let rows = request.rows.take();
    let bytes: usize = rows.iter().map(|row| row.bytes()).sum();
    assert!(bytes <= RESULT_BYTES_MAX + MESSAGE_BYTES_MAX);
    let values = |row: &super::Row| {
        let value = |column| row.get::<usize, Option<&[u8]>>(column).map(<[u8]>::to_vec);
        (value(0), value(1))
    };
    let rows: Vec<_> = rows.iter().map(values).collect();
    let _ = write!(told, "{:?} {rows:?}", request.want);
    while let Some(item) = request.pop() {
        let _ = match item {
            Item::Row(row) => write!(told, " {:?}", values(&row)),
            Item::Data(bytes) => write!(told, " {bytes:?}"),
            Item::Message(_) => write!(told, " message"),
            Item::Complete(affected) => write!(told, " {affected}"),
        };
    }
    let error = request.error.take();
    let (affected, status) = (request.affected.get(), request.status.get());
    let _ = writeln!(told, " {affected} {status} {:?} {error:?}", request.again.get());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::input::tests::frame;
    use super::*;

    /// Messages that are nearly right, in any order.
    fn message() -> impl Strategy<Value = Vec<u8>> {
        let row = b"\0\x02\0\0\0\x01x\xff\xff\xff\xff";
        let column = b"\0\x01a\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";
        prop_oneof![
            4 => Just(frame(b'Z', b"I")),
            1 => Just(frame(b'Z', b"T")),
            3 => Just(frame(b'D', row)),
            1 => Just(frame(b'D', &[b"\0\x02\0\0\x03\0", &[7; 768][..], b"\xff\xff\xff\xff"].concat())),
            2 => Just(frame(b'C', b"SELECT 1\0")),
            1 => Just(frame(b'C', b"DISCARD ALL\0")),
            1 => Just(frame(b'T', column)),
            1 => Just(frame(b't', b"\0\x01\0\0\0\x17")),
            1 => Just(frame(b'E', b"SERROR\0C57014\0Mcancelled\0\0")),
            1 => Just(frame(b'E', b"SFATAL\0VFATAL\0C57P01\0Mend\0\0")),
            1 => Just(frame(b'N', b"SNOTICE\0C00000\0Mhear\0\0")),
            1 => Just(frame(b'S', b"TimeZone\0UTC\0")),
            1 => Just(frame(b'A', b"\0\0\0\x01jobs\0seven\0")),
            1 => Just(frame(b'd', b"data")),
            1 => Just(frame(b'G', b"\0\0\0")),
            1 => Just(frame(b'H', b"\0\0\0")),
            1 => Just(b"D\x7f\xff\xff\xff".to_vec()),
            1 => (any::<u8>(), prop::collection::vec(any::<u8>(), 0..40))
                .prop_map(|(tag, body)| frame(tag, &body)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn any_answer_is_judged_alike_however_it_is_cut(
            choice in any::<[u8; 2]>(),
            messages in prop::collection::vec(message(), 0..40),
            piece in 1..50usize,
        ) {
            let bytes = [choice.to_vec(), messages.concat()].concat();
            prop_assert_eq!(answers(&bytes, bytes.len()), answers(&bytes, piece));
        }
    }
}
