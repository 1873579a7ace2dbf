//! The storage: a client of Redis, and a pool of connections to it.
//!
//! What comes from the storage is checked like what comes from anywhere: it has limits.

use cede as thread;
use cede::net::TcpStream;
use cede::sync::{Condvar, Mutex};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::Duration;

/// Connections at once.
const CONNECTIONS_MAX: usize = 32;
/// An answer that takes longer is none.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How often is tried to connect, and the pause between.
const ATTEMPTS_MAX: usize = 3;
const PAUSE: Duration = Duration::from_millis(50);
/// The longest line, text and list.
const LINE_BYTES_MAX: u64 = 1024;
const TEXT_BYTES_MAX: usize = 1024 * 1024;
const LIST_MAX: usize = 100_000;

/// What Redis answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Nothing,
    Number(i64),
    Text(String),
    List(Vec<Reply>),
}

impl Reply {
    pub(super) fn number(self) -> io::Result<i64> {
        match self {
            Self::Number(number) => Ok(number),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) fn texts(self) -> io::Result<Vec<String>> {
        let Self::List(items) = self else { return Err(unexpected(&self)) };
        let texts = items.into_iter().map(|item| match item {
            Self::Text(text) => Ok(text),
            other => Err(unexpected(&other)),
        });
        texts.collect()
    }
}

pub(super) struct Store {
    addr: String,
    /// Places for connections that nobody uses now; `None` is one that is not open.
    free: Mutex<Vec<Option<Connection>>>,
    returned: Condvar,
}

impl Store {
    pub(super) fn new(addr: &str) -> Self {
        let free = Mutex::new((0..CONNECTIONS_MAX).map(|_| None).collect());
        Self { addr: addr.to_owned(), free, returned: Condvar::new() }
    }

    /// Sends a command, waits for the answer.
    pub(super) fn query(&self, words: &[&str]) -> io::Result<Reply> {
        let mut free = self.free.lock().unwrap();
        let place = loop {
            match free.pop() {
                Some(place) => break place,
                None => free = self.returned.wait(free).unwrap(),
            }
        };
        drop(free);
        let mut connection = None;
        let reply = match place {
            Some(open) => Ok(open),
            None => Connection::open(&self.addr),
        }
        .and_then(|open| connection.insert(open).ask(words));
        if reply.is_err() {
            // Nobody knows what would be read from it next.
            connection = None;
        }
        self.free.lock().unwrap().push(connection);
        self.returned.notify_one();
        match reply? {
            Ok(reply) => Ok(reply),
            Err(complaint) => Err(io::Error::other(format!("the storage says: {complaint}"))),
        }
    }
}

struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    fn open(addr: &str) -> io::Result<Self> {
        let mut attempts = 1;
        let stream = loop {
            match TcpStream::connect(addr) {
                Ok(stream) => break stream,
                Err(error) if attempts == ATTEMPTS_MAX => {
                    let text = format!("the storage at {addr}: {error}");
                    return Err(io::Error::new(error.kind(), text));
                }
                Err(_) => attempts += 1,
            }
            thread::sleep(PAUSE)?;
        };
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_write_timeout(Some(ANSWER_MAX))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// The answer, or what Redis complains of.
    fn ask(&mut self, words: &[&str]) -> io::Result<Result<Reply, String>> {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.stream.get_mut().write_all(command.as_bytes())?;
        let line = self.line()?;
        match line.strip_prefix('-') {
            Some(complaint) => Ok(Err(complaint.to_owned())),
            None => self.reply(&line, true).map(Ok),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        let line = line.strip_suffix(b"\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        String::from_utf8(line.to_vec()).map_err(io::Error::other)
    }

    fn reply(&mut self, line: &str, may_be_list: bool) -> io::Result<Reply> {
        let nonsense = || io::Error::other(format!("the storage talks nonsense: {line:?}"));
        let (kind, rest) = line.split_at_checked(1).ok_or_else(nonsense)?;
        let number = || rest.parse::<i64>().map_err(|_| nonsense());
        match kind {
            "+" => Ok(Reply::Text(rest.to_owned())),
            ":" => Ok(Reply::Number(number()?)),
            "$" | "*" if number()? == -1 => Ok(Reply::Nothing),
            "$" => {
                let length = usize::try_from(number()?).map_err(|_| nonsense())?;
                if length > TEXT_BYTES_MAX {
                    return Err(nonsense());
                }
                let mut text = vec![0; length + 2];
                self.stream.read_exact(&mut text)?;
                text.truncate(length);
                String::from_utf8(text).map(Reply::Text).map_err(io::Error::other)
            }
            "*" if may_be_list => {
                let length = usize::try_from(number()?).map_err(|_| nonsense())?;
                if length > LIST_MAX {
                    return Err(nonsense());
                }
                let mut items = Vec::new();
                for _ in 0..length {
                    let line = self.line()?;
                    items.push(self.reply(&line, false)?);
                }
                Ok(Reply::List(items))
            }
            _ => Err(nonsense()),
        }
    }
}

fn unexpected(reply: &Reply) -> io::Error {
    io::Error::other(format!("the storage answers with something else: {reply:?}"))
}
