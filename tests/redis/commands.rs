//! Commands, types, pipelines, transactions, scripts and streams, in both versions of the protocol.

use std::collections::HashMap;

use cede::redis::streams::{StreamReadOptions, StreamReadReply};
use cede::redis::{
    Client, Commands, ErrorKind, RedisResult, Script, ServerErrorKind, Value, cmd, pipe,
};

use crate::server::Redis;
use crate::{in_runtime, info};

/// A body for both versions of the protocol.
fn in_both(server: &Redis, body: impl Fn(Client) + Send + Copy + 'static) {
    for protocol in ["resp2", "resp3"] {
        let url = format!("{}?protocol={protocol}", server.url(0));
        in_runtime(move || {
            let client = Client::connect(url).unwrap();
            let _: () = cmd("FLUSHALL").query(&mut &client).unwrap();
            body(client);
        });
    }
}

#[test]
fn types_go_there_and_back() {
    let server = Redis::start();
    in_both(&server, |mut con| {
        let bytes: Vec<u8> = (0..=255).collect();
        let _: () = con.set("bytes", &bytes).unwrap();
        assert_eq!(con.get::<_, Vec<u8>>("bytes").unwrap(), bytes);
        assert_eq!(con.get::<_, Option<String>>("nothing").unwrap(), None);
        assert_eq!(con.incr::<_, _, i64>("n", 41).unwrap(), 41);
        assert_eq!(con.incr::<_, _, f64>("n", 0.5).unwrap(), 41.5);
        let _: () = con.hset_multiple("h", &[("a", 1), ("b", 2)]).unwrap();
        let all: HashMap<String, i32> = con.hgetall("h").unwrap();
        assert_eq!(all, HashMap::from([("a".into(), 1), ("b".into(), 2)]));
        let _: () = con.zadd_multiple("z", &[(1.5, "x"), (2.5, "y")]).unwrap();
        let z: Vec<(String, f64)> = con.zrange_withscores("z", 0, -1).unwrap();
        assert_eq!(z, [("x".into(), 1.5), ("y".into(), 2.5)]);
        let _: () = con.sadd("s", &["p", "q"]).unwrap();
        let s: std::collections::BTreeSet<String> = con.smembers("s").unwrap();
        assert_eq!(s.into_iter().collect::<Vec<_>>(), ["p", "q"]);
        assert!(con.exists::<_, bool>("s").unwrap());
        // By reference as well, and with an argument of each kind.
        let mut by_reference = &con;
        let got: (String, Option<u8>) =
            cmd("MGET").arg("n").arg("nothing").query(&mut by_reference).unwrap();
        assert_eq!(got, ("41.5".into(), None));
    });
}

/// What the client reads is what `redis-cli` prints.
#[test]
fn answers_are_those_of_redis_cli() {
    let server = Redis::start();
    server.cli(&["SET", "text", "one two"]);
    server.cli(&["RPUSH", "list", "a", "b", "c"]);
    server.cli(&["HSET", "hash", "k", "v", "l", "w"]);
    server.cli(&["ZADD", "zset", "1", "x", "2.5", "y"]);
    server.cli(&["XADD", "stream", "1-1", "f", "v"]);
    let questions: &'static [&'static str] = &[
        "GET text",
        "STRLEN text",
        "LRANGE list 0 -1",
        "LLEN list",
        "HGETALL hash",
        "HKEYS hash",
        "ZRANGE zset 0 -1",
        "ZSCORE zset y",
        "TYPE stream",
        "XLEN stream",
        "XRANGE stream - +",
        "EXISTS text none",
        "GET none",
        "TTL text",
        "OBJECT ENCODING list",
        "DBSIZE",
        "PING",
        "ECHO hello",
        "LPOS list b",
        "HMGET hash k none",
        "GETRANGE text 0 2",
        "COMMAND COUNT",
    ];
    let printed: Vec<String> = questions
        .iter()
        .map(|question| server.cli(&question.split(' ').collect::<Vec<_>>()))
        .collect();
    for protocol in ["resp2", "resp3"] {
        let (url, printed) = (format!("{}?protocol={protocol}", server.url(0)), printed.clone());
        in_runtime(move || {
            let client = Client::connect(url).unwrap();
            for (question, printed) in questions.iter().zip(&printed) {
                let mut words = question.split(' ');
                let mut cmd = cmd(words.next().unwrap());
                words.for_each(|word| {
                    cmd.arg(word);
                });
                let value: Value = cmd.query(&mut &client).unwrap();
                let mut lines = Vec::new();
                print(&value, &mut lines);
                assert_eq!(lines.join("\n").trim_end(), printed, "{question} over {protocol}");
            }
        });
    }
}

/// As `redis-cli` prints for a pipe.
fn print(value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Nil => lines.push(String::new()),
        Value::Int(n) => lines.push(n.to_string()),
        Value::Double(d) => lines.push(d.to_string()),
        Value::Okay => lines.push("OK".into()),
        Value::SimpleString(text) => lines.push(text.clone()),
        Value::BulkString(bytes) => lines.push(String::from_utf8_lossy(bytes).into_owned()),
        Value::Array(items) | Value::Set(items) => {
            items.iter().for_each(|item| print(item, lines));
        }
        Value::Map(pairs) => pairs.iter().for_each(|(key, value)| {
            print(key, lines);
            print(value, lines);
        }),
        value => panic!("{value:?}"),
    }
}

#[test]
fn errors_of_the_server_are_those_of_the_crate() {
    let server = Redis::start();
    in_both(&server, |mut con| {
        let _: () = con.set("text", "x").unwrap();
        let error = con.lpush::<_, _, ()>("text", 1).unwrap_err();
        assert_eq!(error.code(), Some("WRONGTYPE"));
        assert!(!cede::redis::may_have_run(&error));
        let error = cmd("NOSUCH").query::<()>(&mut con).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Server(ServerErrorKind::ResponseError));
        // The connection is as it was.
        assert_eq!(con.get::<_, String>("text").unwrap(), "x");
        assert_eq!((con.metrics().errors, con.metrics().reconnects), (2, 0));
    });
}

#[test]
fn pipelines_and_transactions() {
    let server = Redis::start();
    in_both(&server, |mut con| {
        let (a, b): (i32, i32) = pipe()
            .set("a", 1)
            .ignore()
            .set("b", 2)
            .ignore()
            .get("a")
            .get("b")
            .query(&mut con)
            .unwrap();
        assert_eq!((a, b), (1, 2));
        let (sum, b): (i32, i32) = pipe().atomic().incr("a", 10).get("b").query(&mut con).unwrap();
        assert_eq!((sum, b), (11, 2));
        let nothing: () = pipe().query(&mut con).unwrap();
        assert_eq!(nothing, ());
        // One command that fails among others.
        let results: Vec<RedisResult<i32>> =
            pipe().get("a").lpush("a", 1).get("b").ignore_errors().query(&mut con).unwrap();
        assert!(matches!(&results[..], [Ok(11), Err(_), Ok(2)]), "{results:?}");
        let error = pipe().get("a").lpush("a", 1).query::<Vec<i32>>(&mut con).unwrap_err();
        assert!(error.to_string().contains("WRONGTYPE"), "{error}");
        // One that is refused before EXEC discards all, and the error says which.
        let error =
            pipe().atomic().set("a", 5).cmd("NOSUCH").query::<Vec<Value>>(&mut con).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Server(ServerErrorKind::ExecAbort));
        assert!(error.to_string().contains("NOSUCH"), "{error}");
        assert_eq!(con.get::<_, i32>("a").unwrap(), 11);
    });
}

#[test]
fn a_pipeline_of_ten_thousand() {
    let server = Redis::start();
    in_both(&server, |mut con| {
        let mut pipeline = pipe();
        for n in 0..10_000 {
            pipeline.set(format!("key:{n}"), n).ignore();
        }
        (0..10_000).for_each(|n| {
            pipeline.get(format!("key:{n}"));
        });
        let got: Vec<i32> = pipeline.query(&mut con).unwrap();
        assert!(got.into_iter().eq(0..10_000));
        assert_eq!(cmd("DBSIZE").query::<i32>(&mut con).unwrap(), 10_000);
    });
    assert_eq!(server.cli(&["GET", "key:9999"]), "9999");
}

#[test]
fn scripts_are_loaded_when_the_server_does_not_know_them() {
    let server = Redis::start();
    in_both(&server, |mut con| {
        let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
        assert_eq!(script.key("n").arg(3).invoke::<i32>(&mut con).unwrap(), 3);
        assert_eq!(script.key("n").arg(4).invoke::<i32>(&mut con).unwrap(), 7);
        let _: () = cmd("SCRIPT").arg("FLUSH").query(&mut con).unwrap();
        assert_eq!(script.key("n").arg(1).invoke::<i32>(&mut con).unwrap(), 8);
    });
}

#[test]
fn iterators_scan() {
    let server = Redis::start();
    in_both(&server, |mut con| {
        let mut pipeline = pipe();
        (0..500).for_each(|n| {
            pipeline.set(format!("k{n}"), n).ignore();
        });
        pipeline.exec(&mut con).unwrap();
        let keys: Vec<String> = con.scan().unwrap().collect::<RedisResult<_>>().unwrap();
        assert_eq!(keys.len(), 500);
    });
}

#[test]
fn streams_with_consumer_groups() {
    let server = Redis::start();
    in_both(&server, |mut con| {
        let _: () = con.xgroup_create_mkstream("s", "g", "$").unwrap();
        for n in 0..3 {
            let _: String = con.xadd("s", "*", &[("n", n)]).unwrap();
        }
        let options = StreamReadOptions::default().group("g", "c").count(2);
        let reply: Option<StreamReadReply> = con.xread_options(&["s"], &[">"], &options).unwrap();
        let ids: Vec<String> =
            reply.unwrap().keys[0].ids.iter().map(|entry| entry.id.clone()).collect();
        assert_eq!(ids.len(), 2);
        assert_eq!(con.xack::<_, _, _, i32>("s", "g", &ids).unwrap(), 2);
        // One that would hold up the others has a connection of its own.
        let blocking = options.block(10_000);
        let error = con
            .xread_options::<_, _, Option<StreamReadReply>>(&["s"], &[">"], &blocking)
            .unwrap_err();
        assert!(error.to_string().contains("client.dedicated()"), "{error}");
        let mut own = con.dedicated().unwrap();
        let reply: Option<StreamReadReply> = own.xread_options(&["s"], &[">"], &blocking).unwrap();
        assert_eq!(reply.unwrap().keys[0].ids.len(), 1);
    });
}

#[test]
fn fibers_share_one_connection_and_get_their_own_answers() {
    let server = Redis::start();
    in_both(&server, |con| {
        let fibers: Vec<_> = (0..300)
            .map(|id| {
                let mut con = con.clone();
                cede::spawn(move || {
                    for round in 0..20 {
                        let key = format!("{id}:{round}");
                        let _: () = con.set(&key, round).unwrap();
                        assert_eq!(con.get::<_, i32>(&key).unwrap(), round);
                        let echoed: String = cmd("ECHO").arg(&key).query(&mut con).unwrap();
                        assert_eq!(echoed, key);
                    }
                })
            })
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
        assert_eq!(info(&con, "connected_clients").unwrap(), "1");
        let metrics = con.metrics();
        assert_eq!((metrics.commands, metrics.in_flight), (300 * 20 * 3 + 2, 0));
        assert!(metrics.bytes_received > 0 && metrics.bytes_sent > 0);
    });
}

#[test]
fn large_values() {
    let server = Redis::start();
    in_both(&server, |mut con| {
        let large: Vec<u8> = (0..20_000_000_u32).map(|n| (n * 7) as u8).collect();
        let _: () = con.set("large", &large).unwrap();
        let other = con.clone();
        let ping = cede::spawn(move || cmd("PING").query::<String>(&mut &other).unwrap());
        assert!(con.get::<_, Vec<u8>>("large").unwrap() == large);
        assert_eq!(ping.join().unwrap(), "PONG");
    });
}

#[test]
fn a_command_without_an_answer() {
    let server = Redis::start();
    in_both(&server, |mut con| {
        let mut set = cmd("SET");
        set.arg("k").arg("v").set_no_response(true);
        assert_eq!(set.query::<Value>(&mut con).unwrap(), Value::Nil);
        assert_eq!(con.get::<_, String>("k").unwrap(), "v");
    });
}
