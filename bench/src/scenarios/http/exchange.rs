//! What is asked and what must be answered, and the check of every answer.
//!
//! The first answer to each request is parsed in full. All later ones must be the same bytes but
//! for the date, which is what makes the check cheap enough for a generator that should cost less
//! than the server. An answer that differs is parsed in full again.

use std::net::SocketAddr;
use std::ops::Range;

use super::response::{Response, wrong};
use crate::sample::Miss;

/// A request, and the body that must come back with status 200.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub request: Vec<u8>,
    pub body: Vec<u8>,
    /// How the value of `Content-Type` begins.
    pub content_type: &'static str,
}

/// What the hello scenarios answer.
pub const HELLO: &str = "Hello, World!";

impl Exchange {
    /// The request that wrk sends by itself.
    pub fn hello(address: SocketAddr) -> Exchange {
        Exchange::get("/", address, "", HELLO)
    }

    /// The same, as the last one of its connection.
    pub fn last_hello(address: SocketAddr) -> Exchange {
        Exchange::get("/", address, "Connection: close\r\n", HELLO)
    }

    /// `fields` are lines with their ends.
    pub fn get(path: &str, address: SocketAddr, fields: &str, body: &str) -> Exchange {
        Exchange {
            request: format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{fields}\r\n").into_bytes(),
            body: body.as_bytes().to_vec(),
            content_type: "text/plain",
        }
    }
}

/// A right answer as it was first seen.
#[derive(Debug)]
struct Seen {
    bytes: Vec<u8>,
    date: Range<usize>,
}

impl Seen {
    /// Whether these bytes begin with the same answer, but for the date.
    fn is(&self, bytes: &[u8]) -> bool {
        let Some(bytes) = bytes.get(..self.bytes.len()) else { return false };
        bytes.get(..self.date.start) == self.bytes.get(..self.date.start)
            && bytes.get(self.date.end..) == self.bytes.get(self.date.end..)
    }
}

/// Checks answers, each against the exchange that it belongs to.
pub struct Checker<'a> {
    exchanges: &'a [Exchange],
    seen: Vec<Option<Seen>>,
}

impl<'a> Checker<'a> {
    pub fn new(exchanges: &'a [Exchange]) -> Checker<'a> {
        Checker { exchanges, seen: exchanges.iter().map(|_| None).collect() }
    }

    pub fn exchanges(&self) -> &'a [Exchange] {
        self.exchanges
    }

    /// The length of the right answer to the exchange `which` that these bytes begin with; none if
    /// it is not complete yet.
    pub fn check(&mut self, which: usize, bytes: &[u8]) -> Result<Option<usize>, Miss> {
        let (Some(exchange), Some(seen)) = (self.exchanges.get(which), self.seen.get_mut(which))
        else {
            return Err(wrong("an answer that nobody asked for"));
        };
        if let Some(seen) = seen.as_ref().filter(|seen| seen.is(bytes)) {
            return Ok(Some(seen.bytes.len()));
        }
        let Some(response) = Response::parse(bytes)? else { return Ok(None) };
        if response.status != 200 {
            return Err(wrong(&format!("status {}", response.status)));
        }
        if response.body != exchange.body.as_slice() {
            let body = String::from_utf8_lossy(response.body).into_owned();
            let want = String::from_utf8_lossy(&exchange.body);
            return Err(wrong(&format!("the body is {body:?}, must be {want:?}")));
        }
        if !response.content_type.is_some_and(|t| t.starts_with(exchange.content_type)) {
            return Err(wrong(&format!("the content type is not {}", exchange.content_type)));
        }
        let date = response.date.ok_or_else(|| wrong("there is no Date"))?;
        let length = response.length;
        *seen = bytes.get(..length).map(|bytes| Seen { bytes: bytes.to_vec(), date });
        Ok(Some(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\
                         Date: Sat, 21 Nov 2026 09:00:00 GMT\r\n\r\nHello, World!";

    fn exchanges() -> Vec<Exchange> {
        vec![Exchange::hello(([127, 0, 0, 1], 8080).into())]
    }

    #[test]
    fn an_answer_counts_when_it_is_whole() {
        let exchanges = exchanges();
        // Both before and after the first right answer was seen.
        let mut checker = Checker::new(&exchanges);
        for _ in 0..2 {
            for length in 0..RIGHT.len() {
                let part = &RIGHT.as_bytes()[..length];
                assert_eq!(checker.check(0, part), Ok(None), "{length}");
            }
            let more = format!("{RIGHT}HTTP/1.1 2");
            assert_eq!(checker.check(0, more.as_bytes()), Ok(Some(RIGHT.len())));
            let later = RIGHT.replace("09:00:00", "23:59:59");
            assert_eq!(checker.check(0, later.as_bytes()), Ok(Some(RIGHT.len())));
        }
    }

    #[test]
    fn a_wrong_answer_is_found_before_and_after_a_right_one() {
        let wrongs = [
            RIGHT.replace("200 OK", "500 No"),
            RIGHT.replace("World!", "world!"),
            RIGHT.replace("13", "12"),
            RIGHT.replace("Content-Length: 13\r\n", ""),
            RIGHT.replace("Date: ", "Bate: "),
            RIGHT.replace("text/plain", "text/html!"),
            RIGHT.replace("HTTP/1.1", "HTTP/3.1"),
        ];
        let exchanges = exchanges();
        for answer in &wrongs {
            let mut checker = Checker::new(&exchanges);
            assert!(checker.check(0, answer.as_bytes()).is_err(), "{answer}");
            assert!(checker.check(0, RIGHT.as_bytes()).is_ok());
            assert!(checker.check(0, answer.as_bytes()).is_err(), "{answer}");
        }
        assert!(Checker::new(&exchanges).check(1, RIGHT.as_bytes()).is_err());
    }
}
