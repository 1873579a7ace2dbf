//! A cluster of three masters: keys on all of them, slots that move, a master that dies.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cede::redis::streams::StreamReadReply;
use cede::redis::{
    Address, ClusterClient, Commands, Config, REDIRECTIONS_MAX, RedisResult, Script, Value, cmd,
    is_cancelled, is_timeout, may_have_run, pipe,
};

use crate::common::{HANG, eventually};
use crate::in_runtime;
use crate::server::Redis;

/// Masters with a third of the slots each, and perhaps a replica of the first one.
struct Cluster {
    nodes: Vec<Redis>,
}

const RANGES: [(u16, u16); 3] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];

impl Cluster {
    fn start(has_replica: bool) -> Self {
        let settings = "cluster-enabled yes\ncluster-node-timeout 1000\n\
                        cluster-replica-validity-factor 0\nrepl-diskless-sync-delay 0";
        let nodes: Vec<_> = (0..3 + usize::from(has_replica))
            .map(|_| Redis::builder().settings(settings).start())
            .collect();
        for (n, (node, (first, last))) in nodes.iter().zip(RANGES).enumerate() {
            let (first, last) = (first.to_string(), last.to_string());
            node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
            node.cli(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
        }
        for node in &nodes[1..] {
            nodes[0].cli(&["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string()]);
        }
        let cluster = Self { nodes };
        let known = format!("cluster_known_nodes:{}", cluster.nodes.len());
        eventually("all nodes know each other", || cluster.all_say(&known));
        if has_replica {
            let replica = &cluster.nodes[3];
            eventually("the replica has its master", || {
                replica.cli(&["CLUSTER", "REPLICATE", &cluster.id(0)]) == "OK"
            });
            eventually("it is a copy", || {
                replica.cli(&["INFO", "replication"]).contains("master_link_status:up")
            });
            eventually("all know of it", || {
                let port = replica.port().to_string();
                cluster.nodes.iter().all(|node| node.cli(&["CLUSTER", "SLOTS"]).contains(&port))
            });
        }
        eventually("the cluster is well", || cluster.all_say("cluster_state:ok"));
        // All know all slots.
        eventually("all slots are known", || cluster.all_say("cluster_slots_ok:16384"));
        cluster
    }

    fn all_say(&self, line: &str) -> bool {
        self.nodes.iter().all(|node| node.cli(&["CLUSTER", "INFO"]).contains(line))
    }

    fn id(&self, node: usize) -> String {
        self.nodes[node].cli(&["CLUSTER", "MYID"])
    }

    fn configs(&self) -> Vec<Config> {
        let config = |node: &Redis| {
            let config = Config::new(Address::Tcp("127.0.0.1".into(), node.port()));
            config.reconnect_timeout(HANG)
        };
        self.nodes.iter().take(3).map(config).collect()
    }
}

#[test]
fn commands_go_where_their_keys_are() {
    let cluster = Cluster::start(false);
    for is_resp3 in [false, true] {
        let configs = cluster.configs();
        let configs: Vec<_> = configs
            .into_iter()
            .map(|config| if is_resp3 { config.resp3() } else { config })
            .collect();
        in_runtime(move || {
            let mut cluster = ClusterClient::connect(&configs).unwrap();
            cmd("FLUSHALL").exec(&mut cluster).unwrap();
            let fibers: Vec<_> = (0..300)
                .map(|n| {
                    let mut cluster = cluster.clone();
                    cede::spawn(move || {
                        let key = format!("key:{n}");
                        let _: () = cluster.set(&key, n).unwrap();
                        assert_eq!(cluster.get::<_, i32>(&key).unwrap(), n);
                    })
                })
                .collect();
            fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
            // Spread over all, and no redirection was needed.
            assert_eq!(cluster.clients().len(), 3);
            for client in cluster.clients() {
                assert!(cmd("DBSIZE").query::<i32>(&mut &client).unwrap() > 50);
                assert_eq!(client.metrics().errors, 0);
            }
            assert_eq!(cmd("DBSIZE").query::<i32>(&mut cluster).unwrap(), 300);
            assert_eq!(cluster.keys::<_, Vec<String>>("*").unwrap().len(), 300);
            // A pipeline over all nodes, in its order.
            let mut pipeline = pipe();
            (0..300).for_each(|n| {
                pipeline.get(format!("key:{n}"));
            });
            assert!(pipeline.query::<Vec<i32>>(&mut cluster).unwrap().into_iter().eq(0..300));
            let results: Vec<RedisResult<i32>> = pipe()
                .get("key:1")
                .lpush("key:2", 1)
                .cmd("DBSIZE")
                .ignore_errors()
                .query(&mut cluster)
                .unwrap();
            assert!(matches!(&results[..], [Ok(1), Err(_), Ok(300)]), "{results:?}");
            // Keys of one slot.
            let both: (i32, i32) =
                pipe().atomic().incr("{u}a", 1).incr("{u}b", 2).query(&mut cluster).unwrap();
            assert_eq!(both, (1, 2));
            assert_eq!(cluster.mget::<_, Vec<i32>>(&["{u}a", "{u}b"]).unwrap(), [1, 2]);
            for command in ["SINTER", "RENAME", "MSETNX"] {
                let mut command = cmd(command);
                let error = command.arg(&["a", "b", "c", "d"][..]).exec(&mut cluster).unwrap_err();
                let is_arity = error.to_string().contains("wrong number of arguments");
                assert!(error.code() == Some("CROSSSLOT") || is_arity, "{error}");
            }
            let before: u64 = cluster.clients().iter().map(|node| node.metrics().commands).sum();
            let error =
                pipe().atomic().incr("a", 1).incr("b", 1).query::<()>(&mut cluster).unwrap_err();
            assert_eq!(error.code(), Some("CROSSSLOT"), "{error}");
            let after: u64 = cluster.clients().iter().map(|node| node.metrics().commands).sum();
            assert_eq!(before, after, "nothing is sent of a transaction that cannot be");
        });
    }
}

#[test]
fn commands_of_many_keys_are_split_by_slots() {
    let cluster = Cluster::start(false);
    for is_resp3 in [false, true] {
        let configs: Vec<_> = cluster
            .configs()
            .into_iter()
            .map(|config| if is_resp3 { config.resp3() } else { config })
            .collect();
        in_runtime(move || {
            let mut cluster = ClusterClient::connect(&configs).unwrap();
            let keys: Vec<String> = (0..100).map(|n| format!("split:{n}")).collect();
            let pairs: Vec<(&String, i32)> = keys.iter().zip(0..).collect();
            let _: () = cluster.mset(&pairs).unwrap();
            assert!(cluster.mget::<_, Vec<i32>>(&keys).unwrap().into_iter().eq(0..100));
            // One that is not there, and one that is asked for twice.
            let some = ["split:7", "none", "split:3", "split:7"];
            let values: Vec<Option<i32>> = cluster.mget(&some).unwrap();
            assert_eq!(values, [Some(7), None, Some(3), Some(7)]);
            assert_eq!(cluster.exists::<_, i32>(&some).unwrap(), 3);
            assert_eq!(cmd("TOUCH").arg(&keys).query::<i32>(&mut cluster).unwrap(), 100);
            // In a pipeline, at its place.
            let (one, many, gone): (i32, Vec<i32>, i32) =
                pipe().get("split:1").mget(&keys).unlink(&keys[90..]).query(&mut cluster).unwrap();
            assert_eq!((one, many.len(), gone), (1, 100, 10));
            assert_eq!(cluster.del::<_, i32>(&keys).unwrap(), 90);
            let huge: Vec<String> = (0..20_000).map(|n| format!("huge:{n}")).collect();
            let none: Vec<Option<i32>> = cluster.mget(&huge).unwrap();
            assert!(none.len() == 20_000 && none.iter().all(Option::is_none));
        });
    }
    a_pipeline_of_which_a_part_has_run_says_that_it_may_have(cluster);
}

/// Which loses a node by this.
fn a_pipeline_of_which_a_part_has_run_says_that_it_may_have(cluster: Cluster) {
    let configs = cluster.configs();
    let cluster = Arc::new(cluster);
    in_runtime(move || {
        let mut client = ClusterClient::connect(&configs).unwrap();
        // "{06S}" is slot 0, of the first node; "foo" is of the third.
        let _: () = client.set("{06S}k", 1).unwrap();
        let there = Arc::clone(&cluster);
        cede::blocking(move || there.nodes[0].kill()).unwrap();
        let gone = cede::with_deadline(Duration::from_millis(300), || client.get("{06S}k"));
        assert!(RedisResult::<i32>::is_err(&gone));
        for split in [false, true] {
            let result: RedisResult<()> = cede::with_deadline(Duration::from_millis(300), || {
                if split {
                    client.mset(&[("{06S}k", 5), ("foo", 5)])
                } else {
                    pipe().set("{06S}k", 6).set("foo", 6).exec(&mut client)
                }
            });
            let error = result.unwrap_err();
            assert!(may_have_run(&error), "{error}");
            let there = Arc::clone(&cluster);
            let stored = cede::blocking(move || there.nodes[2].cli(&["GET", "foo"])).unwrap();
            assert_eq!(stored, if split { "5" } else { "6" });
        }
    });
}

#[test]
fn keys_are_found_in_all_kinds_of_commands() {
    let cluster = Cluster::start(false);
    let configs = cluster.configs();
    in_runtime(move || {
        let mut cluster = ClusterClient::connect(&configs).unwrap();
        let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
        for n in 0..20 {
            let key = format!("n:{n}");
            assert_eq!(script.key(&key).arg(n).invoke::<i32>(&mut cluster).unwrap(), n);
            let stream = format!("s:{n}");
            let _: String = cluster.xadd(&stream, "1-1", &[("f", n)]).unwrap();
            let _: () = cluster.xgroup_create(&stream, "g", "0").unwrap();
            let reply: StreamReadReply = cluster.xread(&[&stream], &["0"]).unwrap();
            assert_eq!(reply.keys[0].key, stream);
            let encoding: String =
                cmd("OBJECT").arg("ENCODING").arg(&key).query(&mut cluster).unwrap();
            assert_eq!(encoding, "int");
            let groups: Vec<Value> =
                cmd("XINFO").arg("GROUPS").arg(&stream).query(&mut cluster).unwrap();
            assert_eq!(groups.len(), 1);
            let set = format!("z:{n}");
            let _: () = cluster.zadd(&set, "m", 1).unwrap();
            let all: Vec<String> = cmd("ZUNION").arg(1).arg(&set).query(&mut cluster).unwrap();
            assert_eq!(all, ["m"]);
        }
        assert_eq!(script.invoke::<Option<i32>>(&mut cluster).unwrap_err().code(), Some("ERR"));
        for client in cluster.clients() {
            assert_eq!(client.metrics().reconnects, 0);
        }
        // What only one connection can do.
        let mut jobs = cluster.client_of("jobs").unwrap().dedicated().unwrap();
        let _: () = cluster.rpush("jobs", 7).unwrap();
        let job: (String, i32) = jobs.blpop("jobs", 60.0).unwrap();
        assert_eq!(job.1, 7);
        assert!(cluster.blpop::<_, ()>("jobs", 0.0).is_err());
    });
}

#[test]
fn a_slot_that_moves_is_followed() {
    let cluster = Cluster::start(false);
    let (from, to) = (cluster.id(0), cluster.id(1));
    // Of the first third: CRC of "{06S}" is slot 0.
    let slot = cluster.nodes[0].cli(&["CLUSTER", "KEYSLOT", "{06S}"]);
    assert_eq!(slot, "0");
    let configs = cluster.configs();
    let cluster = Arc::new(cluster);
    in_runtime(move || {
        let mut client = ClusterClient::connect(&configs).unwrap();
        let _: () = client.set("{06S}stays", 1).unwrap();
        let _: () = client.set("{06S}goes", 2).unwrap();
        let there = Arc::clone(&cluster);
        cede::blocking(move || {
            let to_port = there.nodes[1].port().to_string();
            there.nodes[1].cli(&["CLUSTER", "SETSLOT", "0", "IMPORTING", &from]);
            there.nodes[0].cli(&["CLUSTER", "SETSLOT", "0", "MIGRATING", &to]);
            let migrate = ["MIGRATE", "127.0.0.1", &to_port, "{06S}goes", "0", "5000"];
            assert_eq!(there.nodes[0].cli(&migrate), "OK");
            to
        })
        .map(|to| {
            // Half of it is there: one key is asked for elsewhere.
            for _ in 0..3 {
                assert_eq!(client.get::<_, i32>("{06S}stays").unwrap(), 1);
                assert_eq!(client.get::<_, i32>("{06S}goes").unwrap(), 2);
                let both: (i32, i32) =
                    pipe().get("{06S}goes").get("{06S}stays").query(&mut client).unwrap();
                assert_eq!(both, (2, 1));
            }
            let there = Arc::clone(&cluster);
            cede::blocking(move || {
                let to_port = there.nodes[1].port().to_string();
                let migrate = ["MIGRATE", "127.0.0.1", &to_port, "{06S}stays", "0", "5000"];
                assert_eq!(there.nodes[0].cli(&migrate), "OK");
                for node in [1, 0, 2] {
                    there.nodes[node].cli(&["CLUSTER", "SETSLOT", "0", "NODE", &to]);
                }
            })
            .unwrap();
        })
        .unwrap();
        // A transaction, a pipeline and single commands find the new place.
        let both: (i32, i32) =
            pipe().atomic().get("{06S}goes").get("{06S}stays").query(&mut client).unwrap();
        assert_eq!(both, (2, 1));
        let errors = || client.clients().iter().map(|client| client.metrics().errors).sum::<u64>();
        let before = errors();
        let mut other = client.clone();
        assert_eq!(other.get::<_, i32>("{06S}goes").unwrap(), 2);
        assert_eq!(errors(), before, "the new place is known");
    });
}

/// Of `{06S}k`, which the first node has, and its replica.
fn replicas_answer_reads_if_that_is_wanted(cluster: &Arc<Cluster>, masters: &mut ClusterClient) {
    let mut replicas = masters.read_from_replicas();
    let there = Arc::clone(cluster);
    let gets = move |node: usize| {
        let there = Arc::clone(&there);
        let stats = cede::blocking(move || there.nodes[node].cli(&["INFO", "commandstats"]));
        let stats = stats.unwrap();
        let line = stats.lines().find(|line| line.starts_with("cmdstat_get:calls="));
        line.map_or(0, |line| line[18..].split(',').next().unwrap().parse::<i32>().unwrap())
    };
    assert_eq!(masters.get::<_, i32>("{06S}k").unwrap(), 1);
    assert_eq!((gets(0), gets(3)), (1, 0));
    assert_eq!(replicas.get::<_, i32>("{06S}k").unwrap(), 1);
    let both: (i32, Option<i32>) = pipe().get("{06S}k").get("foo").query(&mut replicas).unwrap();
    assert_eq!(both, (1, None));
    assert_eq!((gets(0), gets(3)), (1, 2), "the replica has answered");
    // What writes goes to the master, and with it the rest of its pipeline.
    let mut pipeline = pipe();
    pipeline.set("{06S}other", 2).ignore().get("{06S}k").get("{06S}other");
    assert_eq!(pipeline.query::<(i32, i32)>(&mut replicas).unwrap(), (1, 2));
    assert_eq!((gets(0), gets(3)), (3, 2));
    // A master without a replica answers itself.
    let _: () = replicas.set("foo", 5).unwrap();
    assert_eq!(replicas.get::<_, i32>("foo").unwrap(), 5);
}

#[test]
fn a_master_that_dies_is_replaced() {
    let cluster = Arc::new(Cluster::start(true));
    let configs = cluster.configs();
    in_runtime(move || {
        let mut client = ClusterClient::connect(&configs).unwrap();
        // It waits for what the same connection has written.
        let mut own = client.client_of("{06S}k").unwrap().dedicated().unwrap();
        let _: () = own.set("{06S}k", 1).unwrap();
        let copies: i32 = cmd("WAIT").arg(1).arg(60_000).query(&mut own).unwrap();
        drop(own);
        assert_eq!(copies, 1);
        replicas_answer_reads_if_that_is_wanted(&cluster, &mut client);
        let there = Arc::clone(&cluster);
        cede::blocking(move || there.nodes[0].kill()).unwrap();
        let start = Instant::now();
        // The first may be lost; those behind it wait until there is a new master.
        loop {
            match client.incr::<_, _, i32>("{06S}k", 1) {
                Ok(n) => {
                    assert_eq!(n, 2);
                    break;
                }
                Err(error) => {
                    assert!(may_have_run(&error) || error.is_timeout(), "{error}");
                    assert!(start.elapsed() < HANG, "{error}");
                }
            }
            cede::sleep(Duration::from_millis(20)).unwrap();
        }
        let there = Arc::clone(&cluster);
        let value = cede::blocking(move || there.nodes[3].cli(&["GET", "{06S}k"])).unwrap();
        assert_eq!(value, "2");
        // Who reads from replicas gets it from where it is now.
        assert_eq!(client.read_from_replicas().get::<_, i32>("{06S}k").unwrap(), 2);
        // The others were there all the time.
        let _: () = client.set("foo", 1).unwrap();
    });
}

#[test]
fn a_server_that_is_no_cluster_says_so() {
    let server = Redis::start();
    let url = server.url(0);
    in_runtime(move || {
        let error = ClusterClient::connect([url]).unwrap_err();
        assert!(error.to_string().contains("cluster support disabled"), "{error}");
        assert!(ClusterClient::connect::<&str>([]).is_err());
    });
}

/// Two nodes that are sure that the other one has every key: how often they were asked for one.
fn nodes_that_name_each_other() -> ([u16; 2], Arc<AtomicUsize>) {
    let listeners = [0; 2].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
    let asked = Arc::new(AtomicUsize::new(0));
    for (listener, (own, other)) in
        listeners.into_iter().zip([(ports[0], ports[1]), (ports[1], ports[0])])
    {
        let asked = Arc::clone(&asked);
        let serve = move |stream: TcpStream| -> Option<()> {
            let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
            loop {
                let count: usize = lines.next()?.ok()?.strip_prefix('*')?.parse().ok()?;
                let args: Vec<String> =
                    (0..count).map(|_| lines.nth(1).and_then(Result::ok)).collect::<Option<_>>()?;
                let answer = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                    ["COMMAND"] => {
                        "*1\r\n*6\r\n$3\r\nget\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n"
                            .into()
                    }
                    ["CLUSTER", "SLOTS"] => {
                        format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{own}\r\n")
                    }
                    ["GET", _] => {
                        asked.fetch_add(1, Ordering::Relaxed);
                        format!("-MOVED 5 127.0.0.1:{other}\r\n")
                    }
                    _ => "+OK\r\n".into(),
                };
                (&stream).write_all(answer.as_bytes()).ok()?;
            }
        };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serve = serve.clone();
                thread::spawn(move || serve(stream));
            }
        });
    }
    (ports, asked)
}

#[test]
fn nodes_that_name_each_other_are_not_asked_for_ever() {
    let (ports, asked) = nodes_that_name_each_other();
    in_runtime(move || {
        let config = Config::new(Address::Tcp("127.0.0.1".into(), ports[0]));
        let config = config.reconnect_timeout(Duration::from_millis(300));
        let mut cluster = ClusterClient::connect([config]).unwrap();
        let error = cluster.get::<_, i32>("k").unwrap_err();
        assert_eq!(error.code(), Some("MOVED"), "{error}");
        let by_one = asked.swap(0, Ordering::Relaxed);
        assert!((5..=REDIRECTIONS_MAX).contains(&by_one), "{by_one}");
        // A deadline ends it, and says where it was; so does a cancel.
        let late = cede::with_deadline(Duration::from_millis(50), || cluster.get::<_, i32>("k"));
        let error = late.unwrap_err();
        assert!(is_timeout(&error) && !may_have_run(&error), "{error}");
        assert!(error.to_string().contains("redis 127.0.0.1:"), "{error}");
        assert!(error.to_string().contains("GET"), "{error}");
        let fiber = cede::spawn(move || cluster.get::<_, i32>("k"));
        cede::sleep(Duration::from_millis(30)).unwrap();
        fiber.cancel();
        assert!(is_cancelled(&fiber.join().unwrap().unwrap_err()));
    });
}
