//! Blocking commands and watched keys.

use std::sync::Arc;
use std::time::Duration;

use cede::redis::{
    Commands, Pool, PoolSettings, cmd, is_cancelled, is_timeout, may_have_run, pipe,
};

use crate::server::Redis;
use crate::{eventually, info, with_client};

#[test]
fn a_blocking_command_holds_up_nobody_else() {
    let server = Redis::start();
    with_client(&server, |mut client| {
        let there = client.clone();
        let pop = cede::spawn(move || {
            let mut own = there.dedicated().unwrap();
            own.blpop::<_, (String, String)>("jobs", 60.0).unwrap()
        });
        eventually("it blocks", || info(&client, "blocked_clients").unwrap() == "1");
        assert_eq!(cmd("PING").query::<String>(&mut client).unwrap(), "PONG");
        let _: () = client.rpush("jobs", "work").unwrap();
        assert_eq!(pop.join().unwrap(), ("jobs".into(), "work".into()));
    });
}

#[test]
fn a_deadline_closes_it_and_the_next_command_connects_again() {
    let server = Redis::start();
    with_client(&server, |client| {
        let mut own = client.dedicated().unwrap();
        let error = cede::with_deadline(Duration::from_millis(20), || {
            own.blpop::<_, Option<(String, String)>>("jobs", 0.0).unwrap_err()
        });
        assert!(is_timeout(&error) && may_have_run(&error), "{error}");
        eventually("it is closed", || info(&client, "blocked_clients").unwrap() == "0");
        // What was waited for does not turn up here.
        assert_eq!(cmd("ECHO").arg("x").query::<String>(&mut own).unwrap(), "x");
    });
}

#[test]
fn a_cancel_ends_a_blocking_command() {
    let server = Redis::start();
    with_client(&server, |client| {
        let there = client.clone();
        let fiber = cede::spawn(move || {
            there.dedicated()?.blpop::<_, Option<(String, String)>>("jobs", 0.0)
        });
        eventually("it blocks", || info(&client, "blocked_clients").unwrap() == "1");
        fiber.cancel();
        let error = fiber.join().unwrap().unwrap_err();
        assert!(is_cancelled(&error) && cede::is_cancelled(&error), "{error}");
        eventually("it is closed", || info(&client, "connected_clients").unwrap() == "1");
    });
}

#[test]
fn connections_are_used_again_and_no_more_than_allowed() {
    let server = Redis::start();
    let url = server.url(0);
    crate::in_runtime(move || {
        let config =
            cede::redis::Config::parse(&url).unwrap().pool(PoolSettings::new().size_max(3));
        let client = cede::redis::Client::connect(config).unwrap();
        let fibers: Vec<_> = (0..30)
            .map(|n| {
                let client = client.clone();
                cede::spawn(move || {
                    let mut own = client.dedicated().unwrap();
                    cmd("ECHO").arg(n).query::<i32>(&mut own).unwrap()
                })
            })
            .collect();
        for (n, fiber) in fibers.into_iter().enumerate() {
            assert_eq!(fiber.join().unwrap(), n as i32);
        }
        assert_eq!(client.metrics().connects, 4);
        assert_eq!(info(&client, "connected_clients").unwrap(), "4");
        // Who waits for one may give up.
        let all: Vec<_> = (0..3).map(|_| client.dedicated().unwrap()).collect();
        let error =
            cede::with_deadline(Duration::from_millis(5), || client.dedicated().unwrap_err());
        assert!(is_timeout(&error) && !may_have_run(&error), "{error}");
        drop(all);
        client.dedicated().unwrap();
    });
}

#[test]
fn one_whose_state_is_changed_does_not_go_back() {
    let server = Redis::start();
    with_client(&server, |client| {
        for line in [&["SELECT", "3"][..], &["WATCH", "k"], &["MULTI"], &["CLIENT", "SETNAME", "x"]]
        {
            let mut own = client.dedicated().unwrap();
            let mut cmd = cmd(line[0]);
            line[1..].iter().for_each(|arg| {
                cmd.arg(arg);
            });
            cmd.exec(&mut own).unwrap();
            drop(own);
            let mut next = client.dedicated().unwrap();
            let text: String = cede::redis::cmd("CLIENT").arg("INFO").query(&mut next).unwrap();
            assert!(text.contains(" db=0 ") && text.contains(" multi=-1 "), "{line:?}: {text}");
            assert!(text.contains(" name= ") && !text.contains(" flags=x"), "{line:?}: {text}");
        }
    });
}

#[test]
fn transactions_by_optimistic_locking() {
    let server = Redis::start();
    with_client(&server, |mut client| {
        let _: () = client.set("n", 0).unwrap();
        let fibers: Vec<_> = (0..8)
            .map(|_| {
                let client = client.clone();
                cede::spawn(move || {
                    let mut tries = 0;
                    for _ in 0..10 {
                        client
                            .transaction(&["n"], |con, pipe| {
                                tries += 1;
                                let n: i32 = con.get("n")?;
                                pipe.set("n", n + 1).ignore().get("n").query::<Option<(i32,)>>(con)
                            })
                            .unwrap();
                    }
                    tries
                })
            })
            .collect();
        let tries: i32 = fibers.into_iter().map(|fiber| fiber.join().unwrap()).sum();
        assert_eq!(client.get::<_, i32>("n").unwrap(), 80);
        assert!(tries > 80, "nobody came in between: {tries}");
        // One that fails leaves nothing watched.
        let failed = client.transaction(&["n"], |con, _| {
            con.get("n")
                .map(|_: i32| ())
                .and(Err::<Option<()>, _>((cede::redis::ErrorKind::Client, "no").into()))
        });
        assert!(failed.is_err());
        let mut own = client.dedicated().unwrap();
        let _: () = client.set("n", 1).unwrap();
        let done: Option<(i32,)> = pipe().atomic().get("n").query(&mut own).unwrap();
        assert_eq!(done, Some((1,)));
    });
}

#[test]
fn state_that_was_lost_is_an_error() {
    let server = Redis::start();
    with_client(&server, |client| {
        let mut own = client.dedicated().unwrap();
        cmd("WATCH").arg("k").exec(&mut own).unwrap();
        server_kill(&client);
        assert!(cmd("GET").arg("k").exec(&mut own).is_err());
        let error = cmd("MULTI").exec(&mut own).unwrap_err();
        assert!(error.to_string().contains("watched keys"), "{error}");
        assert!(client.dedicated().unwrap().get::<_, Option<String>>("k").unwrap().is_none());
    });
}

/// Ends all connections but that of the client.
fn server_kill(client: &cede::redis::Client) {
    let killed: i32 =
        cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").query(&mut &*client).unwrap();
    assert!(killed > 0);
}

#[test]
fn a_pool_waits_counts_and_looks_after_its_connections() {
    let server = Redis::start();
    let url = server.url(0);
    with_client(&server, move |client| {
        let settings =
            PoolSettings::new().size_max(2).wait_timeout(Some(Duration::from_millis(20)));
        let pool = Pool::new(&url, settings).unwrap();
        let (first, second) = (pool.get().unwrap(), pool.get().unwrap());
        let error = pool.get().unwrap_err();
        assert!(is_timeout(&error) && !may_have_run(&error), "{error}");
        assert!(error.to_string().contains("queue"), "{error}");
        let there = pool.clone();
        let waiting = cede::spawn(move || cmd("PING").query::<String>(&mut there.get().unwrap()));
        cede::yield_now();
        assert_eq!((pool.metrics().waiting, pool.metrics().lent), (1, 2));
        drop(first);
        assert_eq!(waiting.join().unwrap().unwrap(), "PONG");
        drop(second);
        // The server closes those that are idle; nobody notices.
        server_kill(&client);
        for _ in 0..3 {
            assert_eq!(cmd("ECHO").arg(7).query::<i32>(&mut pool.get().unwrap()).unwrap(), 7);
        }
        let metrics = pool.metrics();
        assert_eq!((metrics.connects, metrics.timeouts, metrics.waits), (3, 1, 2));
        assert_eq!(metrics.closed_for_health, 2);
        assert!(metrics.wait_max >= Duration::from_millis(20));
        assert_eq!(pool.command_metrics().commands, 4);
        // One that fails in the middle is not lent again.
        let mut own = pool.get().unwrap();
        let failed = cede::with_deadline(Duration::from_millis(5), || {
            own.blpop::<_, Option<(String, String)>>("none", 0.0)
        });
        assert!(failed.is_err());
        drop(own);
        assert_eq!(cmd("ECHO").arg(8).query::<i32>(&mut pool.get().unwrap()).unwrap(), 8);
        pool.close();
        assert!(pool.get().is_err());
    });
}

/// A fiber that is unwound in the middle of a command leaves no answer behind for the next one.
#[test]
fn a_panic_in_the_middle_closes_it() {
    let server = Arc::new(Redis::start());
    let held = Arc::clone(&server);
    with_client(&server, move |client| {
        struct Ask(cede::redis::Dedicated);
        impl Drop for Ask {
            fn drop(&mut self) {
                // No wait works while a panic unwinds: this sends and does not get its answer, which
                // does not come before it is looked for.
                assert!(cmd("BLPOP").arg("nothing").arg(0.05).exec(&mut self.0).is_err());
            }
        }
        let (there, paused) = (client.clone(), Arc::clone(&held));
        let fiber = cede::spawn(move || {
            let _ask = Ask(there.dedicated().unwrap());
            // An answer that were there at once would need no wait.
            paused.pause();
            panic!("on purpose");
        });
        assert!(fiber.join().is_err());
        held.resume();
        for n in 0..3 {
            let mut own = client.dedicated().unwrap();
            assert_eq!(cmd("ECHO").arg(n).query::<i32>(&mut own).unwrap(), n);
        }
    });
}
