//! The load generator: an epoll loop that keeps every connection busy and checks every byte.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use super::MESSAGE_BYTES;
use crate::epoll::{self, Epoll};
use crate::sample::Miss;
use crate::server::Clock;
use crate::socket;

/// One connection, with the message that is under way.
struct Talk {
    stream: TcpStream,
    message: [u8; MESSAGE_BYTES],
    /// How much of it has come back.
    got: usize,
}

impl Talk {
    fn open(address: SocketAddr) -> io::Result<Talk> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        socket::reset_on_close(&stream)?;
        Ok(Talk { stream, message: [0; MESSAGE_BYTES], got: 0 })
    }

    /// Sends the message with this number: no two neighbours are alike.
    fn ask(&mut self, number: u64) -> io::Result<()> {
        let seed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        for (i, byte) in self.message.iter_mut().enumerate() {
            *byte = seed[i % seed.len()].wrapping_add(i as u8);
        }
        self.got = 0;
        (&self.stream).write_all(&self.message)
    }

    /// Takes what has come. True when the message is complete; an error if it is another one.
    fn hear(&mut self) -> Result<bool, Miss> {
        let mut buffer = [0_u8; MESSAGE_BYTES + 1];
        let got = (&self.stream).read(&mut buffer)?;
        if got == 0 {
            return Err(wrong("the server closed the connection early"));
        }
        if self.message.get(self.got..self.got + got) != buffer.get(..got) {
            return Err(wrong("the answer is not what was sent"));
        }
        self.got += got;
        Ok(self.got == MESSAGE_BYTES)
    }

    /// Whether the server has closed; an error if it sent more instead.
    fn is_closed(&mut self) -> Result<bool, Miss> {
        match (&self.stream).read(&mut [0; 1])? {
            0 => Ok(true),
            _ => Err(wrong("the server sent more than it was sent")),
        }
    }
}

fn wrong(what: &str) -> Miss {
    Miss::Failed(format!("check failed: {what}"))
}

/// Round trips on connections that stay: `warm`, then `counted` between the clock's two marks.
pub fn echo(
    address: SocketAddr,
    connections: usize,
    warm: u64,
    counted: u64,
    clock: &mut Clock,
) -> Result<(), Miss> {
    let mut epoll = Epoll::new()?;
    let (mut number, mut done) = (0, 0);
    let mut talks = Vec::new();
    for i in 0..connections {
        let mut talk = Talk::open(address)?;
        epoll.add(talk.stream.as_raw_fd(), i as u64)?;
        number += 1;
        talk.ask(number)?;
        talks.push(talk);
    }
    let mut tokens = Vec::new();
    loop {
        epoll::ready(&mut epoll, &mut tokens)?;
        for &token in &tokens {
            let Some(talk) = talks.get_mut(token) else { continue };
            if !talk.hear()? {
                continue;
            }
            done += 1;
            if done == warm {
                clock.start()?;
            } else if done == warm + counted {
                return clock.stop();
            }
            number += 1;
            talk.ask(number)?;
        }
    }
}

/// Connections that live for one message each way; `at_a_time` of them are always under way.
pub fn churn(
    address: SocketAddr,
    at_a_time: usize,
    warm: u64,
    counted: u64,
    clock: &mut Clock,
) -> Result<(), Miss> {
    let mut epoll = Epoll::new()?;
    let (mut number, mut done) = (0, 0);
    let mut open = |epoll: &Epoll, slot: usize| -> io::Result<Talk> {
        let mut talk = Talk::open(address)?;
        number += 1;
        talk.ask(number)?;
        epoll.add(talk.stream.as_raw_fd(), slot as u64)?;
        Ok(talk)
    };
    let mut talks = Vec::new();
    for slot in 0..at_a_time {
        talks.push(open(&epoll, slot)?);
    }
    let mut tokens = Vec::new();
    loop {
        epoll::ready(&mut epoll, &mut tokens)?;
        for &token in &tokens {
            let Some(talk) = talks.get_mut(token) else { continue };
            if talk.got < MESSAGE_BYTES {
                talk.hear()?;
                continue; // Its end is an event of its own.
            }
            if !talk.is_closed()? {
                continue;
            }
            done += 1;
            if done == warm {
                clock.start()?;
            } else if done == warm + counted {
                return clock.stop();
            }
            *talk = open(&epoll, token)?;
        }
    }
}
