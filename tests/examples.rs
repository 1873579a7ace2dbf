//! Runs the echo server and the chat as processes, and talks to them with plain sockets.

mod common;
#[path = "common/server.rs"]
mod server;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use common::{HANG, within_reason};
use server::{Server, example};

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    stream.set_write_timeout(Some(HANG)).unwrap();
    stream
}

#[test]
fn echo_server_echoes_on_any_number_of_shards() {
    within_reason(|| {
        for shards in [1, 3] {
            let server = Server::start("echo_server", shards);
            let mut streams: Vec<_> = (0..20).map(|_| connect(server.addr)).collect();
            for (n, stream) in streams.iter_mut().enumerate() {
                let text = format!("number {n}\n").repeat(n * 100 + 1);
                stream.write_all(text.as_bytes()).unwrap();
                let mut echo = vec![0; text.len()];
                stream.read_exact(&mut echo).unwrap();
                assert_eq!(echo, text.as_bytes());
            }
            // Half of them say that they are done; the others are open when it ends.
            for stream in streams.iter_mut().take(10) {
                stream.shutdown(Shutdown::Write).unwrap();
                assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
            }
            let (status, _) = server.stop();
            assert!(status.success(), "{status}");
            assert_eq!(streams[15].read(&mut [0; 1]).unwrap(), 0);
        }
    });
}

#[test]
fn servers_say_what_they_take() {
    for name in ["echo_server", "chat"] {
        let output = example(name).args(["--port", "1"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("[--addr HOST:PORT]"), "{text}");
    }
}

/// Somebody in a room.
struct Client {
    lines: BufReader<TcpStream>,
}

impl Client {
    fn join(addr: SocketAddr, name: &str, room: &str) -> Self {
        let mut client = Self { lines: BufReader::new(connect(addr)) };
        client.say(&format!("{name} {room}"));
        assert_eq!(client.hear(), format!("* welcome to {room}, {name}"));
        client
    }

    fn say(&mut self, line: &str) {
        self.lines.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_string()
    }

    /// The end of the connection, whatever comes before.
    fn hears_the_end(mut self) {
        // A reset is an end too.
        let _ = std::io::copy(&mut self.lines, &mut std::io::sink());
    }
}

#[test]
fn chat_reaches_everybody_in_the_room_and_nobody_else() {
    within_reason(|| {
        for shards in [1, 3] {
            let server = Server::start("chat", shards);
            let join =
                |n: usize| Client::join(server.addr, &format!("c{n}"), ["red", "blue"][n % 2]);
            let mut clients: Vec<_> = (0..12).map(join).collect();
            for (n, client) in clients.iter_mut().enumerate() {
                client.say(&format!("I am {n}"));
                client.say("äöü, and the end of a line");
            }
            for (n, client) in clients.iter_mut().enumerate() {
                let mut heard: Vec<_> = (0..12).map(|_| client.hear()).collect();
                heard.sort();
                let of_room = (0..12).filter(|other| other % 2 == n % 2);
                let mut said: Vec<_> = of_room
                    .flat_map(|other| {
                        let first = format!("c{other}: I am {other}");
                        [first, format!("c{other}: äöü, and the end of a line")]
                    })
                    .collect();
                said.sort();
                assert_eq!(heard, said);
            }
            // Those who leave are not missed.
            let left = clients.split_off(6);
            drop(left);
            clients[0].say("still there?");
            for n in [0, 2, 4] {
                assert_eq!(clients[n].hear(), "c0: still there?");
            }
            let (status, _) = server.stop();
            assert!(status.success(), "{status}");
        }
    });
}

#[test]
fn chat_puts_out_who_does_not_read_and_the_others_go_on() {
    /// More than the queue and the sockets' buffers hold.
    const LINES: usize = 8_000;
    within_reason(|| {
        for shards in [1, 2] {
            let server = Server::start("chat", shards);
            let deaf: Vec<_> =
                (0..3).map(|n| Client::join(server.addr, &format!("deaf{n}"), "hall")).collect();
            let mut good: Vec<_> =
                (0..3).map(|n| Client::join(server.addr, &format!("good{n}"), "hall")).collect();
            let text = "x".repeat(3_000);
            for n in 0..LINES {
                good[0].say(&format!("{n} {text}"));
                // Everybody who listens hears every line, in order.
                for listener in &mut good {
                    assert_eq!(listener.hear(), format!("good0: {n} {text}"));
                }
            }
            deaf.into_iter().for_each(Client::hears_the_end);
            let (status, complaints) = server.stop();
            assert!(status.success(), "{status} {complaints}");
        }
    });
}

#[test]
fn chat_ends_what_makes_no_sense() {
    within_reason(|| {
        let server = Server::start("chat", 1);
        let mut nameless = Client { lines: BufReader::new(connect(server.addr)) };
        nameless.say("hello");
        assert_eq!(nameless.hear(), "* the first line is: NAME ROOM");
        assert_eq!(nameless.hear(), "");
        // Says nothing, and leaves in the middle of a line.
        drop(connect(server.addr));
        connect(server.addr).write_all(b"half a na").unwrap();
        let mut endless = Client::join(server.addr, "endless", "hall");
        let mut other = Client::join(server.addr, "other", "hall");
        // The server may be gone before all was sent.
        let _ = endless.lines.get_mut().write_all(&[b'x'; 10_000]);
        endless.hears_the_end();
        let mut bytes = Client::join(server.addr, "bytes", "hall");
        bytes.lines.get_mut().write_all(b"\xff\xfe\n").unwrap();
        bytes.hears_the_end();
        other.say("all well");
        assert_eq!(other.hear(), "other: all well");
        let (status, _) = server.stop();
        assert!(status.success(), "{status}");
    });
}
