//! The generators against real servers: the floor, and some that do it wrong.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use super::{Churn, Closed, Paced, churn, closed, open_all, paced};
use crate::affinity;
use crate::sample::Miss;
use crate::scenarios::http::exchange::{Checker, Exchange};
use crate::scenarios::http::servers::{Place, Serve, floor};
use crate::server::Clock;

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\
                      Date: Sat, 21 Nov 2026 09:00:00 GMT\r\n\r\nHello, World!";

/// Serves on a thread that ends with the test's process.
fn start(serve: Serve) -> SocketAddr {
    let place = Place::find().expect("a port is free");
    let address = place.address;
    thread::spawn(move || serve(&place));
    address
}

/// Answers one connection with these pieces, a moment between them, for each request that comes.
fn answer_with(pieces: Vec<Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("somebody connects");
            stream.set_nodelay(true).expect("it is a TCP stream");
            while stream.read(&mut [0; 4096]).is_ok_and(|got| got > 0) {
                for piece in &pieces {
                    if stream.write_all(piece).is_err() {
                        break;
                    }
                    thread::sleep(Duration::from_micros(200));
                }
            }
        }
    });
    address
}

fn clock() -> Clock {
    Clock::of(std::process::id() as libc::pid_t)
}

fn closed_load(connections: usize, depth: usize) -> Closed {
    Closed { connections, depth, warm: 100, counted: 400 }
}

#[test]
fn closed_load_counts_right_answers() {
    let address = start(floor::keep_alive);
    for (connections, depth) in [(1, 1), (8, 1), (3, 16)] {
        let mut clock = clock();
        let exchanges = [Exchange::hello(address)];
        let load = closed_load(connections, depth);
        assert_eq!(closed(address, &exchanges, load, &mut clock), Ok(()));
        assert!(clock.spent().is_ok_and(|spent| spent.wall > Duration::ZERO));
    }
}

#[test]
fn answers_that_come_in_pieces_are_put_together() {
    let bytes = ANSWER.as_bytes();
    for size in [1, 7, bytes.len() - 1, bytes.len()] {
        let address = answer_with(bytes.chunks(size).map(<[u8]>::to_vec).collect());
        let exchanges = [Exchange::hello(address)];
        let load = Closed { connections: 1, depth: 1, warm: 1, counted: 3 };
        assert_eq!(closed(address, &exchanges, load, &mut clock()), Ok(()), "{size}");
    }
}

#[test]
fn a_wrong_answer_ends_the_load() {
    let wrongs = [
        (ANSWER.replace("World", "world"), "the body is"),
        (ANSWER.replace("200 OK", "404 No"), "status 404"),
        (format!("{ANSWER}x"), "more than it was asked for"),
    ];
    for (answer, part) in wrongs {
        let address = answer_with(vec![answer.into_bytes()]);
        let exchanges = [Exchange::hello(address)];
        match closed(address, &exchanges, closed_load(1, 1), &mut clock()) {
            Err(Miss::Failed(why)) => assert!(why.contains(part), "{why}"),
            other => panic!("{part}: {other:?}"),
        }
    }
}

#[test]
fn churn_needs_the_server_to_close() {
    let core = affinity::allowed().expect("affinity can be read")[0];
    for cores in [&[core][..], &[core, core]] {
        let load = Churn { at_a_time: 4, warm: 20, counted: 100, cores };
        let address = start(floor::once);
        let mut clock = clock();
        assert_eq!(churn(address, &Exchange::last_hello(address), load, &mut clock), Ok(()));
        assert!(clock.spent().is_ok());
    }
}

#[test]
fn a_wrong_answer_ends_the_churn_on_all_threads() {
    let core = affinity::allowed().expect("affinity can be read")[0];
    let address = start(floor::once);
    let mut exchange = Exchange::last_hello(address);
    exchange.body = b"something else".to_vec();
    let load = Churn { at_a_time: 4, warm: 20, counted: 1_000_000, cores: &[core, core] };
    assert!(matches!(churn(address, &exchange, load, &mut clock()), Err(Miss::Failed(_))));
}

#[test]
fn paced_load_counts_what_was_due_while_the_server_slept() {
    const SLEEP: Duration = Duration::from_millis(50);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody connects");
        let mut request = [0; 4096];
        let mut count = 0;
        while stream.read(&mut request).is_ok_and(|got| got > 0) {
            count += 1;
            if count == 20 {
                thread::sleep(SLEEP);
            }
            if stream.write_all(ANSWER.as_bytes()).is_err() {
                break;
            }
        }
    });
    let exchanges = [Exchange::hello(address)];
    let mut checker = Checker::new(&exchanges);
    let mut connections = open_all(address, 1, &mut checker).expect("it answers");
    let load = Paced { rate: 1_000, warm: 5, counted: 95, alone: false };
    let mut counting = false;
    let on_count = || {
        counting = true;
        Ok(())
    };
    let all = paced(&mut connections, &mut checker, load, |_| 0, on_count).expect("right answers");
    assert!(counting);
    assert_eq!(all[0].count(), 95);
    // One request waited for the sleep itself, and 49 that were due in it for a part of that.
    assert!(all[0].micros(1.0) >= SLEEP.as_micros() as f64, "{}", all[0].summary());
    assert!(all[0].micros(0.75) >= 20_000.0, "{}", all[0].summary());
}
