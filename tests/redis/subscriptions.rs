//! Messages of channels and patterns, in both versions of the protocol.

use std::time::Duration;

use cede::redis::{
    Client, Commands, Event, Msg, PUBSUB_MESSAGES_MAX, PubSub, cmd, is_cancelled, is_timeout,
    may_have_run,
};

use crate::server::Redis;
use crate::{eventually, in_runtime, with_client};

fn in_both(server: &Redis, body: impl Fn(Client) + Send + Copy + 'static) {
    for protocol in ["resp2", "resp3"] {
        let url = format!("{}?protocol={protocol}", server.url(0));
        in_runtime(move || body(Client::connect(url).unwrap()));
    }
}

fn message(news: &mut PubSub) -> Msg {
    match news.recv().unwrap() {
        Event::Message(message) => message,
        event => panic!("{event:?}"),
    }
}

fn text(message: &Msg) -> (String, String) {
    (message.get_channel_name().to_string(), message.get_payload().unwrap())
}

#[test]
fn messages_come_in_order() {
    let server = Redis::start();
    in_both(&server, |mut client| {
        let mut news = client.pubsub().unwrap();
        news.subscribe("a").unwrap();
        news.psubscribe(&["b.*", "c.*"]).unwrap();
        news.ssubscribe("shard").unwrap();
        for n in 0..100 {
            assert_eq!(client.publish::<_, _, i32>("a", n).unwrap(), 1);
        }
        for n in 0..100 {
            assert_eq!(text(&message(&mut news)), ("a".into(), n.to_string()));
        }
        let _: () = client.publish("c.x", "hi").unwrap();
        let got = message(&mut news);
        assert_eq!(text(&got), ("c.x".into(), "hi".into()));
        assert_eq!(got.get_pattern::<String>().unwrap(), "c.*");
        let _: () = client.spublish("shard", "of shard").unwrap();
        assert_eq!(text(&message(&mut news)), ("shard".into(), "of shard".into()));
        news.unsubscribe("a").unwrap();
        news.punsubscribe(&["b.*", "c.*"]).unwrap();
        news.sunsubscribe("shard").unwrap();
        assert_eq!(client.publish::<_, _, i32>("a", 1).unwrap(), 0);
        assert!(news.try_recv().is_none());
        // An answer and messages do not get into each other's way.
        news.subscribe(&["x", "y", "z"]).unwrap();
        let publisher = {
            let mut client = client.clone();
            cede::spawn(move || {
                for n in 0..500 {
                    let _: i32 = client.publish("x", n).unwrap();
                }
            })
        };
        for n in 0..50 {
            let name = format!("more {n}");
            news.subscribe(&name).unwrap();
            news.unsubscribe(&name).unwrap();
        }
        publisher.join().unwrap();
        let got = news.events().take(500).map(|event| match event.unwrap() {
            Event::Message(message) => message.get_payload::<i32>().unwrap(),
            event => panic!("{event:?}"),
        });
        assert!(got.eq(0..500));
    });
}

#[test]
fn a_wait_may_be_given_up_and_nothing_is_lost() {
    let server = Redis::start();
    in_both(&server, |mut client| {
        let mut news = client.pubsub().unwrap();
        news.subscribe("a").unwrap();
        let error = cede::with_deadline(Duration::from_millis(5), || news.recv().unwrap_err());
        assert!(is_timeout(&error), "{error}");
        assert!(error.to_string().contains("subscription"), "{error}");
        let _: i32 = client.publish("a", "x").unwrap();
        assert_eq!(text(&message(&mut news)).1, "x");
        let fiber = cede::spawn(move || news.recv().map(drop));
        cede::yield_now();
        fiber.cancel();
        assert!(is_cancelled(&fiber.join().unwrap().unwrap_err()));
    });
}

#[test]
fn a_lost_connection_is_an_event_and_subscriptions_come_back() {
    let server = Redis::start();
    in_both(&server, |mut client| {
        let mut news = client.pubsub().unwrap();
        news.subscribe(&["a", "b"]).unwrap();
        news.psubscribe("p.*").unwrap();
        for round in 0..3 {
            let killed: i32 =
                cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").query(&mut client).unwrap();
            assert_eq!(killed, 1);
            // Also what is wanted while there is no connection.
            let late = format!("late {round}");
            news.subscribe(&late).unwrap();
            assert!(matches!(news.recv().unwrap(), Event::Lost));
            for channel in ["a", "b", "p.x", &late] {
                assert_eq!(client.publish::<_, _, i32>(channel, round).unwrap(), 1);
                assert_eq!(text(&message(&mut news)), (channel.into(), round.to_string()));
            }
        }
    });
}

#[test]
fn what_the_server_refuses_is_an_error() {
    let server = Redis::builder().settings("user reader on >word ~* &allowed +@all").start();
    for protocol in ["resp2", "resp3"] {
        let url = format!("redis://reader:word@127.0.0.1:{}?protocol={protocol}", server.port());
        in_runtime(move || {
            let client = Client::connect(url).unwrap();
            let mut news = client.pubsub().unwrap();
            let error = news.subscribe("forbidden").unwrap_err();
            assert_eq!(error.code(), Some("NOPERM"));
            news.subscribe("allowed").unwrap();
            let _: i32 = client.clone().publish("allowed", 1).unwrap();
            assert_eq!(text(&message(&mut news)).1, "1");
            assert!(news.subscribe(&[] as &[&str]).is_err());
        });
    }
}

/// A subscriber that takes nothing holds no more than the limit, and nobody else up.
#[test]
fn a_slow_subscriber_is_bounded() {
    let server = Redis::start();
    in_both(&server, |mut client| {
        let mut news = client.pubsub().unwrap();
        news.subscribe("a").unwrap();
        let many = PUBSUB_MESSAGES_MAX * 2;
        let mut pipeline = cede::redis::pipe();
        (0..many).for_each(|n| {
            pipeline.publish("a", n).ignore();
        });
        pipeline.exec(&mut client).unwrap();
        cede::sleep(Duration::from_millis(20)).unwrap();
        for n in 0..many {
            assert_eq!(message(&mut news).get_payload::<usize>().unwrap(), n);
        }
    });
}

#[test]
fn a_dropped_subscription_leaves_nothing() {
    let server = Redis::start();
    in_both(&server, |client| {
        let fibers = cede::fibers().len();
        for _ in 0..20 {
            let mut news = client.pubsub().unwrap();
            news.subscribe("a").unwrap();
        }
        eventually("all fibers have ended", || cede::fibers().len() == fibers);
        let mut con = client.clone();
        eventually("the server knows of none", || {
            let counts: (String, i32) =
                cmd("PUBSUB").arg("NUMSUB").arg("a").query(&mut con).unwrap();
            counts.1 == 0
        });
    });
}

#[test]
fn behind_a_deadline_nothing_is_subscribed_to() {
    with_client(Redis::shared(), |mut client| {
        let mut news = client.pubsub().unwrap();
        let late = cede::with_deadline(Duration::ZERO, || news.subscribe("too late"));
        let error = late.unwrap_err();
        assert!(is_timeout(&error) && !may_have_run(&error), "{error}");
        news.subscribe("in time").unwrap();
        assert_eq!(client.publish::<_, _, i32>("too late", 1).unwrap(), 0);
    });
}
