//! A storage for those who have no Redis: the commands that the shop needs, in memory, on threads.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Words of a command, and the bytes of one.
const WORDS_MAX: usize = 100;
const WORD_BYTES_MAX: usize = 64 * 1024;

/// Hashes are lists of fields and values in turn; numbers are lists of one.
static ENTRIES: Mutex<Option<HashMap<String, Vec<String>>>> = Mutex::new(None);

pub(crate) fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A shop that leaves is no error.
            thread::spawn(move || drop(serve(&stream)));
        }
    });
    Ok(addr)
}

fn serve(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let words = (0..length(&mut reader, '*', WORDS_MAX)?).map(|_| word(&mut reader));
        let words = words.collect::<io::Result<Vec<_>>>()?;
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        stream.write_all(answer(&words).as_bytes())?;
    }
}

fn answer(words: &[&str]) -> String {
    let mut entries = ENTRIES.lock().unwrap_or_else(PoisonError::into_inner);
    let entries = entries.get_or_insert_default();
    match words {
        ["INCRBY", key, by] => {
            let value = entries.entry((*key).to_owned()).or_insert_with(|| vec!["0".to_owned()]);
            let sum = by.parse::<i64>().ok().zip(value[0].parse().ok());
            let Some(sum) = sum.and_then(|(by, value): (i64, i64)| value.checked_add(by)) else {
                return "-ERR value is not an integer or out of range\r\n".to_owned();
            };
            value[0] = sum.to_string();
            format!(":{sum}\r\n")
        }
        // The shop never sets a field twice.
        ["HSET" | "RPUSH", key, values @ ..] => {
            let list = entries.entry((*key).to_owned()).or_default();
            list.extend(values.iter().map(|value| (*value).to_owned()));
            format!(":{}\r\n", list.len())
        }
        ["HGETALL", key] => list(entries.get(*key).map_or(&[], Vec::as_slice)),
        ["LRANGE", key, "0", last] => {
            let all = entries.get(*key).map_or(&[][..], Vec::as_slice);
            let count = last.parse::<usize>().map_or(all.len(), |last| last.saturating_add(1));
            list(&all[..count.min(all.len())])
        }
        _ => "-ERR unknown command\r\n".to_owned(),
    }
}

fn list(items: &[String]) -> String {
    let mut text = format!("*{}\r\n", items.len());
    for item in items {
        text += &format!("${}\r\n{item}\r\n", item.len());
    }
    text
}

fn length(reader: &mut impl BufRead, kind: char, max: usize) -> io::Result<usize> {
    let mut line = String::new();
    reader.by_ref().take(32).read_line(&mut line)?;
    let length = line.strip_prefix(kind).and_then(|rest| rest.trim_end().parse().ok());
    length.filter(|length| *length <= max).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn word(reader: &mut impl BufRead) -> io::Result<String> {
    let length = length(reader, '$', WORD_BYTES_MAX)?;
    let mut word = vec![0; length + 2];
    reader.read_exact(&mut word)?;
    word.truncate(length);
    String::from_utf8(word).map_err(io::Error::other)
}
