//! Very many commands that are given up.

use std::time::Duration;

use cede::redis::{Client, Commands, cmd, is_cancelled, is_timeout, may_have_run};

use crate::common::Random;
use crate::server::Redis;
use crate::{eventually, in_runtime, sockets_to};

/// A hundred thousand commands whose fibers give up, and as many that do not: each of these has its
/// own answer.
#[test]
fn p25_a_hundred_thousand_commands_that_are_given_up() {
    const FIBERS: usize = 200;
    const ROUNDS: usize = 500;
    let server = Redis::start();
    let (url, port) = (server.url(0), server.port());
    let mut random = Random::new();
    in_runtime(move || {
        let client = Client::connect(url).unwrap();
        assert_eq!(cmd("PING").query::<String>(&mut &client).unwrap(), "PONG");
        assert_eq!(sockets_to(port), 1);
        let storm: Vec<_> = (0..FIBERS)
            .map(|id| {
                let (mut client, mut random) = (client.clone(), random.fork());
                cede::spawn(move || {
                    let mut ended = 0;
                    for round in 0..ROUNDS {
                        let text = format!("{id}:{round}");
                        let limit = Duration::from_micros(random.next() % 300);
                        let result = cede::with_deadline(limit, || {
                            cmd("ECHO").arg(&text).query::<String>(&mut client)
                        });
                        match result {
                            Ok(echoed) => assert_eq!(echoed, text),
                            Err(error) => {
                                assert!(is_timeout(&error), "{error}");
                                ended += 1;
                            }
                        }
                    }
                    ended
                })
            })
            .collect();
        let calm: Vec<_> = (0..20)
            .map(|id| {
                let mut client = client.clone();
                cede::spawn(move || {
                    for round in 0..ROUNDS {
                        let text = format!("calm {id}:{round}");
                        let echoed: String = cmd("ECHO").arg(&text).query(&mut client).unwrap();
                        assert_eq!(echoed, text);
                    }
                })
            })
            .collect();
        let ended: usize = storm.into_iter().map(|fiber| fiber.join().unwrap()).sum();
        calm.into_iter().for_each(|fiber| fiber.join().unwrap());
        assert!(ended > 1_000, "only {ended} were given up");
        eventually("all answers have come", || client.metrics().in_flight == 0);
        assert_eq!(client.metrics().reconnects, 0);
        assert_eq!(sockets_to(port), 1);
    });
}

#[test]
fn fibers_that_are_cancelled_shift_no_answer() {
    let server = Redis::start();
    let url = server.url(0);
    in_runtime(move || {
        let client = Client::connect(url).unwrap();
        for round in 0..500 {
            let fibers: Vec<_> = (0..20)
                .map(|id| {
                    let mut client = client.clone();
                    cede::spawn(move || {
                        let text = format!("{round}:{id}");
                        cmd("ECHO").arg(&text).query::<String>(&mut client).map(|echoed| {
                            assert_eq!(echoed, text);
                        })
                    })
                })
                .collect();
            cede::yield_now();
            fibers.iter().step_by(2).for_each(|fiber| fiber.cancel());
            for (id, fiber) in fibers.into_iter().enumerate() {
                match fiber.join().unwrap() {
                    Ok(()) => {}
                    Err(error) => {
                        assert!(id % 2 == 0 && is_cancelled(&error), "{error}");
                        assert!(may_have_run(&error), "{error}");
                    }
                }
            }
        }
        assert_eq!(client.metrics().abandoned, 500 * 10);
        eventually("all answers have come", || client.metrics().in_flight == 0);
    });
}

/// What is given up counts until its answer has come, so nothing grows without bound.
#[test]
fn a_server_that_stands_still_holds_no_more_than_the_limit() {
    let server = Redis::start();
    let config = cede::redis::Config::parse(&server.url(0)).unwrap().in_flight_max(50);
    server.pause();
    let resume = std::sync::mpsc::channel();
    let thread = std::thread::spawn({
        let server = std::sync::Arc::new(server);
        move || {
            resume.1.recv_timeout(crate::common::HANG).unwrap();
            server.resume();
            server
        }
    });
    let resume = resume.0;
    in_runtime(move || {
        // It was paused before it was connected to, so the handshake is what waits.
        let connecting =
            cede::spawn(move || Client::connect(config.connect_timeout(crate::common::HANG)));
        cede::sleep(Duration::from_millis(5)).unwrap();
        resume.send(()).unwrap();
        let mut client = connecting.join().unwrap().unwrap();
        let mut refused = 0;
        for n in 0..1_000 {
            let result =
                cede::with_deadline(Duration::from_micros(1), || client.set::<_, _, ()>(n, n));
            refused += usize::from(result.is_err_and(|error| !may_have_run(&error)));
            assert!(client.metrics().in_flight <= 50);
        }
        println!("{refused} were not sent");
        eventually("all answers have come", || client.metrics().in_flight == 0);
        let _: () = client.set("k", 1).unwrap();
    });
    drop(thread.join().unwrap());
}

#[test]
fn behind_a_deadline_nothing_is_sent() {
    let server = Redis::start();
    let url = server.url(0);
    in_runtime(move || {
        let mut client = Client::connect(url).unwrap();
        let mut own = client.dedicated().unwrap();
        cede::with_deadline(Duration::ZERO, || {
            for n in 0..10 {
                for error in [
                    client.set::<_, _, ()>(n, n).unwrap_err(),
                    own.set::<_, _, ()>(n, n).unwrap_err(),
                    cede::redis::pipe().atomic().set(n, n).query::<()>(&mut client).unwrap_err(),
                ] {
                    assert!(is_timeout(&error) && !may_have_run(&error), "{error}");
                }
            }
        });
        assert_eq!(cmd("DBSIZE").query::<i32>(&mut client).unwrap(), 0);
        assert_eq!(own.set::<_, _, String>("k", 1).unwrap(), "OK");
    });
}
