//! Servers that die, stand still, run out of memory or talk nonsense, and networks that do.
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use cede::redis::{
    Client, Commands, Config, ConnectionLike, Phase, cmd, failure, is_timeout, may_have_run, pipe,
};

use crate::common::{HANG, Random};
use crate::proxy::{Condition, Proxy};
use crate::server::Redis;
use crate::{eventually, in_runtime, sockets_to, with_client};

/// On a thread, so that the fibers go on.
fn on_thread(server: &Arc<Redis>, f: impl FnOnce(&Redis) + Send + 'static) {
    let server = Arc::clone(server);
    cede::blocking(move || f(&server)).unwrap();
}

#[test]
fn commands_in_flight_fail_once_when_the_server_is_killed() {
    let server = Arc::new(Redis::start());
    let there = Arc::clone(&server);
    with_client(&server, move |client| {
        on_thread(&there, Redis::pause);
        let endings = Rc::new(Cell::new(0));
        let fibers: Vec<_> = (0..100)
            .map(|n| {
                let (mut client, endings) = (client.clone(), Rc::clone(&endings));
                cede::spawn(move || {
                    let error = match n % 2 {
                        0 => client.incr::<_, _, i64>("n", 1).unwrap_err(),
                        _ => pipe().atomic().incr("n", 1).query::<()>(&mut client).unwrap_err(),
                    };
                    endings.set(endings.get() + 1);
                    error
                })
            })
            .collect();
        eventually("all are sent", || client.metrics().in_flight == 100);
        cede::sleep(Duration::from_millis(10)).unwrap();
        on_thread(&there, Redis::kill);
        for fiber in fibers {
            let error = fiber.join().unwrap();
            assert!(may_have_run(&error), "{error}");
            let failure = failure(&error).unwrap();
            assert_eq!(failure.phase(), Phase::Command);
            assert!(matches!(failure.command(), Some("INCRBY" | "MULTI .. EXEC")), "{error}");
        }
        assert_eq!(endings.get(), 100);
        assert_eq!(client.metrics().in_flight, 0);
        // It comes back while commands wait for it.
        let mut waiting = client.clone();
        let waiting = cede::spawn(move || waiting.incr::<_, _, i64>("n", 1));
        cede::sleep(Duration::from_millis(30)).unwrap();
        on_thread(&there, Redis::restart);
        assert_eq!(waiting.join().unwrap().unwrap(), 1);
        assert_eq!(client.metrics().reconnects, 1);
    });
}

#[test]
fn without_a_server_a_deadline_ends_the_wait_and_nothing_has_run() {
    let server = Arc::new(Redis::start());
    let there = Arc::clone(&server);
    with_client(&server, move |mut client| {
        on_thread(&there, Redis::kill);
        eventually("it is seen", || !client.is_open());
        eventually("it says what failed meanwhile", || {
            let error = cede::with_deadline(Duration::from_millis(100), || {
                client.set::<_, _, ()>("k", 1).unwrap_err()
            });
            assert!(is_timeout(&error) && !may_have_run(&error), "{error}");
            assert_eq!(failure(&error).unwrap().phase(), Phase::Reconnect);
            error.to_string().contains("refused")
        });
        assert!(client.metrics().connect_errors > 0);
    });
    let config = Config::parse(&server.url(0)).unwrap();
    in_runtime(move || {
        let config = config.reconnect_timeout(Duration::from_millis(50));
        let mut client = Client::lazy(config).unwrap();
        eventually("it is refused", || {
            let error = client.set::<_, _, ()>("k", 1).unwrap_err();
            // On a busy machine the time may be over before the first attempt is.
            assert!(error.is_connection_refusal() || is_timeout(&error), "{error}");
            assert!(!may_have_run(&error), "{error}");
            error.is_connection_refusal()
        });
    });
}

#[test]
fn commands_that_were_never_sent_are_sent_on_the_next_connection() {
    let server = Arc::new(Redis::start());
    let there = Arc::clone(&server);
    with_client(&server, move |mut client| {
        for _ in 0..20 {
            // The server ends all connections; the client does not know it yet.
            let kill = ["CLIENT", "KILL", "TYPE", "normal"];
            on_thread(&there, move |server| drop(server.cli(&kill)));
            eventually("it is seen", || !client.is_open());
            let _: i64 = client.incr("n", 1).unwrap();
        }
        assert_eq!(client.get::<_, i64>("n").unwrap(), 20);
    });
}

#[test]
fn a_server_without_memory_says_so() {
    let server = Redis::builder().args(&["--maxmemory", "2mb"]).start();
    with_client(&server, |mut client| {
        let value = vec![b'x'; 100_000];
        let error = (0..100).find_map(|n| client.set::<_, _, ()>(n, &value).err()).unwrap();
        assert_eq!(error.code(), Some("OOM"));
        assert!(!may_have_run(&error));
        let error = pipe().atomic().set("a", &value).query::<()>(&mut client).unwrap_err();
        assert!(error.to_string().contains("OOM"), "{error}");
        assert_eq!(cmd("PING").query::<String>(&mut client).unwrap(), "PONG");
        assert_eq!(client.metrics().reconnects, 0);
    });
}

#[test]
fn a_server_that_stands_still_fills_no_memory() {
    let server = Arc::new(Redis::start());
    let there = Arc::clone(&server);
    with_client(&server, move |client| {
        on_thread(&there, Redis::pause);
        let value: Rc<[u8]> = vec![b'x'; 100_000].into();
        let fibers: Vec<_> = (0..200)
            .map(|n| {
                let (mut client, value) = (client.clone(), Rc::clone(&value));
                cede::spawn(move || client.set::<_, _, ()>(n, &*value))
            })
            .collect();
        cede::sleep(Duration::from_millis(50)).unwrap();
        let sent = client.metrics().bytes_sent;
        assert!(sent < 10_000_000, "{sent} bytes of 20,000,000 are held");
        on_thread(&there, Redis::resume);
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap().unwrap());
    });
}

/// Replies that are slow to be taken do not hold up the fiber that takes them.
#[test]
fn fibers_that_are_slow_hold_up_nobody() {
    let server = Redis::start();
    with_client(&server, |mut client| {
        let _: () = client.set("k", vec![b'x'; 1_000_000]).unwrap();
        let slow: Vec<_> = (0..20)
            .map(|_| {
                let mut client = client.clone();
                cede::spawn(move || {
                    let value: Vec<u8> = client.get("k").unwrap();
                    cede::sleep(Duration::from_millis(50)).unwrap();
                    value.len()
                })
            })
            .collect();
        assert_eq!(cmd("PING").query::<String>(&mut client).unwrap(), "PONG");
        slow.into_iter().for_each(|fiber| assert_eq!(fiber.join().unwrap(), 1_000_000));
    });
}

/// A server that lets the client in, and then answers every command with these bytes.
fn liar(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buf = [0; 4096];
                // The handshake: a check, and two about the library.
                let n = stream.read(&mut buf).unwrap();
                assert!(buf[..n].starts_with(b"*1\r\n$4\r\nPING\r\n"));
                stream.write_all(b"+PONG\r\n+OK\r\n+OK\r\n").unwrap();
                while let Ok(1..) = stream.read(&mut buf) {
                    if stream.write_all(answer).is_err() {
                        break;
                    }
                }
            });
        }
    });
    url
}

#[test]
fn garbage_in_the_place_of_an_answer_ends_the_connection_and_no_more() {
    for (answer, expected) in [
        (&b"hello\r\n"[..], "no type of RESP"),
        (b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", "deeper"),
        (b"$1000000000000\r\n", "limit"),
        (b"*1000000000\r\n", "limit"),
        (b"+OK\r\n+OK\r\n", "nobody asked for"),
        (b"$-2\r\n", "length"),
    ] {
        let url = liar(answer);
        in_runtime(move || {
            let client = Client::connect(url).unwrap();
            for _ in 0..2 {
                let mut both: Vec<_> = (0..2)
                    .map(|_| {
                        let mut client = client.clone();
                        cede::spawn(move || client.get::<_, Option<String>>("k"))
                    })
                    .collect();
                let last = both.pop().unwrap().join().unwrap();
                let first = both.pop().unwrap().join().unwrap();
                let error = first.err().or(last.err());
                // "OK" twice is right for two commands in one packet.
                if let Some(error) = error {
                    assert!(error.to_string().contains(expected), "{error}");
                    assert!(may_have_run(&error), "{error}");
                }
            }
            let mut one = client.clone();
            let ended = one.get::<_, Option<String>>("k");
            if expected != "nobody asked for" {
                assert!(ended.unwrap_err().to_string().contains(expected));
            }
            eventually("it is closed", || !client.is_open());
        });
    }
}

/// Push messages that nobody asked for are counted and dropped, and shift no answer.
#[test]
fn push_messages_shift_no_answer() {
    let url = liar(b">2\r\n+invalidate\r\n*0\r\n$1\r\nx\r\n");
    in_runtime(move || {
        let mut client = Client::connect(url).unwrap();
        for _ in 0..3 {
            assert_eq!(client.get::<_, String>("k").unwrap(), "x");
        }
        assert_eq!(client.metrics().unasked, 3);
    });
}

#[test]
fn limits_of_requests_and_replies() {
    let server = Redis::start();
    let url = server.url(0);
    in_runtime(move || {
        let limits = cede::redis::resp::Limits { bulk_bytes_max: 1_000, reply_bytes_max: 10_000 };
        let config = Config::parse(&url).unwrap().request_bytes_max(2_000).limits(limits);
        let mut client = Client::connect(config).unwrap();
        let error = client.set::<_, _, ()>("k", vec![b'x'; 3_000]).unwrap_err();
        assert!(error.to_string().contains("limit of 2000") && !may_have_run(&error), "{error}");
        assert!(client.dedicated().unwrap().set::<_, _, ()>("k", vec![b'x'; 3_000]).is_err());
        // Nothing of it was sent.
        let _: () = client.set("k", vec![b'x'; 1_500]).unwrap();
        assert_eq!(client.metrics().reconnects, 0);
        let error = client.get::<_, Vec<u8>>("k").unwrap_err();
        assert!(error.to_string().contains("limit of 1000"), "{error}");
        assert_eq!(cmd("PING").query::<String>(&mut client).unwrap(), "PONG");
    });
}

/// Whatever the network does, an answer is that of its command, or an error.
#[test]
fn p32_no_condition_of_the_network_shifts_an_answer() {
    let server = Redis::start();
    let mut random = Random::new();
    for condition in Condition::ALL {
        let proxy = Proxy::start(([127, 0, 0, 1], server.port()).into(), condition, random.fork());
        let url = format!("redis://{}", proxy.addr());
        // Where everything comes in the end it is waited for.
        let patience = |millis| match condition.is_faithful() {
            true => HANG,
            false => Duration::from_millis(millis),
        };
        let (connect, reconnect, answer) = (patience(100), patience(200), patience(500));
        in_runtime(move || {
            let config =
                Config::parse(&url).unwrap().connect_timeout(connect).reconnect_timeout(reconnect);
            let client = Client::lazy(config).unwrap();
            let fibers: Vec<_> = (0..8)
                .map(|id| {
                    let mut client = client.clone();
                    cede::spawn(move || {
                        let mut answered = 0;
                        for round in 0..10 {
                            let text = format!("{id}-{round}-{}", "x".repeat(round * 30));
                            let echoed = cede::with_deadline(answer, || {
                                cmd("ECHO").arg(&text).query::<String>(&mut client)
                            });
                            match echoed {
                                Ok(echoed) if condition == Condition::Corrupt => {
                                    answered += usize::from(echoed == text);
                                }
                                Ok(echoed) => {
                                    assert_eq!(echoed, text, "{condition:?}");
                                    answered += 1;
                                }
                                Err(_) => {}
                            }
                        }
                        answered
                    })
                })
                .collect();
            let answered: usize = fibers.into_iter().map(|fiber| fiber.join().unwrap()).sum();
            if condition.is_faithful() {
                assert_eq!(answered, 80, "{condition:?}");
            }
        });
        drop(proxy);
    }
    // The server is as it was.
    assert_eq!(server.cli(&["PING"]), "PONG");
}

/// The last handle closes the connection, and its fibers end.
#[test]
fn a_dropped_client_leaves_nothing() {
    let server = Redis::start();
    let (url, port) = (server.url(0), server.port());
    in_runtime(move || {
        let fibers = cede::fibers().len();
        for _ in 0..50 {
            let mut client = Client::connect(url.as_str()).unwrap();
            let _: () = client.set("k", 1).unwrap();
            drop(client.dedicated().unwrap());
            assert!(cede::fibers().iter().any(|fiber| {
                fiber.name.as_ref().is_some_and(|name| name.starts_with("redis 127.0.0.1:"))
            }));
        }
        eventually("all fibers have ended", || cede::fibers().len() == fibers);
        eventually("all sockets are closed", || sockets_to(port) == 0);
    });
}

/// What was answered has run once, what "has not run" has not, and nothing has run twice.
#[test]
fn no_command_runs_twice_and_errors_tell_the_truth() {
    let server = Redis::start();
    let mut random = Random::new();
    let url = server.url(0);
    let mut hits = 0;
    for condition in
        [Condition::CloseAfter, Condition::Reset, Condition::HalfClose, Condition::CloseOnData]
    {
        let proxy = Proxy::start(([127, 0, 0, 1], server.port()).into(), condition, random.fork());
        let (url, through) = (url.clone(), format!("redis://{}", proxy.addr()));
        in_runtime(move || {
            let config = Config::parse(&through).unwrap();
            let config = config.reconnect_timeout(Duration::from_millis(150));
            let clients: Vec<_> = (0..6).map(|_| Client::lazy(&config).unwrap()).collect();
            let fibers: Vec<_> = (0..60)
                .map(|id| {
                    let mut client = clients[id % clients.len()].clone();
                    cede::spawn(move || {
                        let one = |round: usize| {
                            let key = format!("{condition:?}:{id}:{round}");
                            let result = cede::with_deadline(Duration::from_millis(200), || {
                                client.incr::<_, _, i64>(&key, 1)
                            });
                            (key, result)
                        };
                        (0..8).map(one).collect::<Vec<_>>()
                    })
                })
                .collect();
            let results: Vec<_> =
                fibers.into_iter().flat_map(|fiber| fiber.join().unwrap()).collect();
            drop(clients);
            // What is still on its way to the server arrives, or never will.
            cede::sleep(Duration::from_millis(50)).unwrap();
            let mut direct = Client::connect(url).unwrap();
            for (key, result) in results {
                let ran: Option<i64> = direct.get(&key).unwrap();
                let ran = ran.unwrap_or(0);
                match result {
                    Ok(answer) => assert_eq!((answer, ran), (1, 1), "{key}"),
                    Err(error) if may_have_run(&error) => assert!(ran <= 1, "{key}: {error}"),
                    Err(error) => assert_eq!(ran, 0, "{key}: {error}"),
                }
            }
        });
        hits += proxy.hits();
    }
    assert!(hits > 0);
}

/// A client that outlives its runtime is of no use outside, does no harm, and connects again in the
/// next one.
#[test]
fn a_client_may_outlive_its_runtime() {
    let server = Redis::start();
    let url = server.url(0);
    crate::common::within_reason(move || {
        let mut client = cede::run(|| {
            let mut client = Client::connect(url.as_str()).unwrap();
            let _: () = client.set("k", 1).unwrap();
            drop(client.dedicated().unwrap());
            client
        })
        .unwrap();
        let error = client.get::<_, i64>("k").unwrap_err();
        assert!(error.to_string().contains("only a fiber can wait"), "{error}");
        let (value, client) =
            cede::run(move || (client.get::<_, i64>("k").unwrap(), client)).unwrap();
        assert_eq!((value, client.metrics().reconnects), (1, 1));
        drop(client);
    });
}
