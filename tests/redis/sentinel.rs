//! A master that sentinels watch, and a failover.

use std::sync::Arc;
use std::time::Duration;

use cede::redis::{
    Address, Client, Commands, Config, ErrorKind, Event, RedisConnectionInfo, cmd, may_have_run,
};

use crate::server::Redis;
use crate::{eventually, in_runtime};

struct Group {
    master: Redis,
    replica: Redis,
    sentinel: Redis,
}

impl Group {
    fn start() -> Self {
        let master = Redis::start();
        let replica =
            Redis::builder().settings(&format!("replicaof 127.0.0.1 {}", master.port())).start();
        let monitor = format!(
            "sentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main 300\n\
             sentinel failover-timeout main 2000",
            master.port()
        );
        let sentinel = Redis::builder().args(&["--sentinel"]).settings(&monitor).start();
        Self { master, replica, sentinel }
    }

    fn config(&self) -> Config {
        // The first one is not there.
        let addresses =
            [1, self.sentinel.port()].map(|port| Address::Tcp("127.0.0.1".into(), port));
        Config::sentinel("main", addresses, RedisConnectionInfo::default())
    }
}

#[test]
fn a_failover_is_followed() {
    let group = Arc::new(Group::start());
    let config = group.config().reconnect_timeout(Duration::from_secs(60));
    in_runtime(move || {
        let there = Arc::clone(&group);
        let ready = move || {
            cede::blocking({
                let group = Arc::clone(&there);
                move || {
                    group.replica.cli(&["INFO", "replication"]).contains("master_link_status:up")
                        && group.sentinel.cli(&["SENTINEL", "REPLICAS", "main"]).contains("ip")
                }
            })
            .unwrap()
        };
        eventually("the replica is known", ready);
        let mut client = Client::connect(config).unwrap();
        // It waits for what the same connection has written.
        let mut own = client.dedicated().unwrap();
        let _: () = own.set("k", "before").unwrap();
        let copies: i32 = cmd("WAIT").arg(1).arg(60_000).query(&mut own).unwrap();
        drop(own);
        assert_eq!(copies, 1);
        let mut news = client.pubsub().unwrap();
        news.subscribe("news").unwrap();
        let there = Arc::clone(&group);
        cede::blocking(move || there.master.kill()).unwrap();
        // One that was in flight may fail; what is sent then waits for the new master.
        let mut set = || client.set::<_, _, ()>("k", "after");
        if let Err(error) = set() {
            assert!(may_have_run(&error), "{error}");
            set().unwrap();
        }
        let there = Arc::clone(&group);
        let on_replica = cede::blocking(move || there.replica.cli(&["GET", "k"])).unwrap();
        assert_eq!(on_replica, "after");
        assert!(client.metrics().reconnects >= 1);
        // Subscriptions and connections for single fibers follow as well.
        assert!(matches!(news.recv().unwrap(), Event::Lost));
        assert_eq!(client.publish::<_, _, i32>("news", 1).unwrap(), 1);
        assert!(matches!(news.recv().unwrap(), Event::Message(_)));
        assert_eq!(client.dedicated().unwrap().get::<_, String>("k").unwrap(), "after");
    });
}

#[test]
fn a_name_that_no_sentinel_knows() {
    let sentinel = Redis::builder().args(&["--sentinel"]).start();
    let address = Address::Tcp("127.0.0.1".into(), sentinel.port());
    let config = Config::sentinel("other", [address], RedisConnectionInfo::default());
    in_runtime(move || {
        let error = Client::connect(config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MasterNameNotFoundBySentinel);
        assert!(error.to_string().contains("other"), "{error}");
    });
}

/// A sentinel that is behind says where a replica is.
#[test]
fn who_is_no_master_is_not_taken_for_one() {
    let master = Redis::start();
    let replica =
        Redis::builder().settings(&format!("replicaof 127.0.0.1 {}", master.port())).start();
    let monitor = format!("sentinel monitor main 127.0.0.1 {} 1", replica.port());
    let sentinel = Redis::builder().args(&["--sentinel"]).settings(&monitor).start();
    let address = Address::Tcp("127.0.0.1".into(), sentinel.port());
    let config = Config::sentinel("main", [address], RedisConnectionInfo::default());
    in_runtime(move || {
        // Sentinels correct themselves sometime; until then nobody is written to.
        match Client::connect(config) {
            Err(error) => assert!(error.to_string().contains("not the master"), "{error}"),
            Ok(mut client) => {
                let role: Vec<cede::redis::Value> = cmd("ROLE").query(&mut client).unwrap();
                assert_eq!(role[0], cede::redis::Value::BulkString(b"master".to_vec()));
            }
        }
    });
}
