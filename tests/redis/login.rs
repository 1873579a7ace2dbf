//! Passwords, users, databases, names, TLS, UNIX sockets, and what is no server.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use cede::redis::{Address, Client, Commands, Config, ErrorKind, Event, Phase, cmd, failure};

use crate::common::HANG;
use crate::server::Redis;
use crate::{eventually, in_runtime, info, with_client};

fn error_of(config: Config) -> cede::redis::RedisError {
    in_runtime(move || Client::connect(config).unwrap_err())
}

#[test]
fn passwords_and_users() {
    let server = Redis::builder()
        .settings("requirepass secret\nuser reader on >word ~public:* +get +ping +client +hello")
        .start();
    let host = format!("127.0.0.1:{}", server.port());
    for protocol in ["resp2", "resp3"] {
        for login in [":wrong@", "reader:wrong@", "nobody:secret@", ""] {
            let url = format!("redis://{login}{host}/?protocol={protocol}");
            let error = error_of(Config::parse(&url).unwrap());
            assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{login}: {error}");
            let text = error.to_string();
            assert!(text.contains(&host) && text.contains("handshake"), "{text}");
            assert!(!text.contains("secret") && !text.contains("wrong@"), "{text}");
        }
        let good = format!("redis://:secret@{host}/?protocol={protocol}");
        let reader = format!("redis://reader:word@{host}/?protocol={protocol}");
        in_runtime(move || {
            let _: () = Client::connect(good).unwrap().set("private", 1).unwrap();
            let mut client = Client::connect(reader).unwrap();
            let error = client.get::<_, String>("private").unwrap_err();
            assert_eq!(error.code(), Some("NOPERM"));
            assert_eq!(client.get::<_, Option<String>>("public:x").unwrap(), None);
        });
    }
}

#[test]
fn database_name_and_library_are_set_again_after_a_reconnect() {
    let server = Redis::start();
    for protocol in ["resp2", "resp3"] {
        let url = format!("{}?protocol={protocol}", server.url(5));
        in_runtime(move || {
            let mut client = Client::connect(Config::parse(&url).unwrap().name("tester")).unwrap();
            for round in 0..2 {
                let text: String = cmd("CLIENT").arg("INFO").query(&mut client).unwrap();
                assert!(text.contains(" name=tester ") && text.contains(" db=5 "), "{text}");
                assert!(text.contains(&format!(" resp={}", &protocol[4..])), "{text}");
                assert_eq!(client.metrics().reconnects, round);
                if round == 0 {
                    // Its own connection: the answer may or may not come before the end.
                    let mut kill = cmd("CLIENT");
                    let _ = kill
                        .arg("KILL")
                        .arg("TYPE")
                        .arg("normal")
                        .arg("SKIPME")
                        .arg("no")
                        .exec(&mut client);
                    crate::eventually("it is closed", || {
                        !cede::redis::ConnectionLike::is_open(&client)
                    });
                }
            }
        });
    }
}

#[test]
fn a_unix_socket() {
    let server = Redis::start();
    let (socket, url) = (server.socket(), server.url(0));
    in_runtime(move || {
        let mut client = Client::connect(Address::Unix(socket.clone())).unwrap();
        let _: () = client.set("k", "v").unwrap();
        let url_of_socket = format!("redis+unix://{}?db=0", socket.display());
        assert_eq!(Client::connect(url_of_socket).unwrap().get::<_, String>("k").unwrap(), "v");
        assert_eq!(Client::connect(url).unwrap().get::<_, String>("k").unwrap(), "v");
        assert_eq!(client.host(), socket.display().to_string());
        let mut own = client.dedicated().unwrap();
        assert_eq!(own.get::<_, String>("k").unwrap(), "v");
        drop(own);
        assert_eq!(client.dedicated().unwrap().get::<_, String>("k").unwrap(), "v");
        assert_eq!(client.metrics().connects, 2);
    });
    let error = error_of(Config::new(Address::Unix("/nonexistent/redis.sock".into())));
    assert!(error.to_string().contains("/nonexistent/redis.sock, connect"), "{error}");
}

#[test]
fn nobody_is_there() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = error_of(Config::new(Address::Tcp("127.0.0.1".into(), port)));
    assert_eq!(failure(&error).unwrap().phase(), Phase::Connect);
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}, connect")), "{error}");
    assert!(error.is_connection_refusal());
}

/// A server of one's own making, which answers whatever comes with these bytes.
fn impostor(answer: Vec<u8>) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buf = [0; 4096];
        while let Ok(1..) = stream.read(&mut buf) {
            if stream.write_all(&answer).is_err() {
                break;
            }
        }
    });
    Address::Tcp("127.0.0.1".into(), port)
}

#[test]
fn what_is_no_server_of_redis() {
    let bomb = b"*1\r\n".repeat(12_000);
    let cases: [(&[u8], &str); 8] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no type of RESP"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "TLS"),
        (&bomb, "deeper"),
        (b"$99999999999999999999\r\n", "length"),
        (b"*2147483647\r\n", "limit"),
        (b"$536870913\r\n", "limit"),
        (b"$5\r\nhello!!", "CR LF"),
        (b"-ERR max number of clients reached\r\n", "max number of clients"),
    ];
    for (answer, expected) in cases {
        for is_resp3 in [false, true] {
            let mut config = Config::new(impostor(answer.to_vec()));
            if is_resp3 {
                config = config.resp3();
            }
            let error = error_of(config);
            let text = error.to_string();
            assert!(text.contains(expected) && text.contains("handshake"), "{text}");
        }
    }
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Config::new(Address::Tcp("127.0.0.1".into(), port))
        .connect_timeout(Duration::from_millis(50));
    let start = Instant::now();
    let error = error_of(config);
    assert!(error.is_timeout() && start.elapsed() >= Duration::from_millis(50), "{error}");
    assert_eq!(failure(&error).unwrap().phase(), Phase::Handshake);
}

mod tls {
    use super::*;

    /// A certificate for this name, signed by itself: the paths of it and of its key.
    fn certificate(
        folder: &std::path::Path,
        name: &str,
    ) -> (std::path::PathBuf, std::path::PathBuf) {
        let made = rcgen::generate_simple_self_signed([name.to_string()]).unwrap();
        let (certificate, key) =
            (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (certificate, key)
    }

    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("cede-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_server_may_want_a_certificate_of_its_clients() {
        let folder = Folder::new("redis-tls-clients");
        let (good, key) = certificate(&folder.0, "localhost");
        let args = ["--tls-auth-clients", "yes"];
        let server = Redis::builder().tls(&good, &key).args(&args).start();
        let url = format!("rediss://localhost:{}", server.tls_port());
        let anonymous = Config::parse(&url).unwrap().danger_accept_any_certificate();
        let known = anonymous.clone().tls_certificate(&good, &key);
        in_runtime(move || {
            let mut client = Client::connect(known).unwrap();
            assert_eq!(cmd("PING").query::<String>(&mut client).unwrap(), "PONG");
        });
        let error = error_of(anonymous.connect_timeout(Duration::from_secs(2)));
        assert!(error.to_string().contains("localhost"), "{error}");
    }

    #[test]
    fn who_is_trusted_is_spoken_to() {
        let folder = Folder::new("redis-tls");
        let (good, key) = certificate(&folder.0, "localhost");
        let (other, _) = certificate(&folder.0, "other");
        let server = Redis::builder().tls(&good, &key).start();
        let (port, plain_port) = (server.tls_port(), server.port());
        let url = format!("rediss://localhost:{port}");
        let trusting = Config::parse(&url).unwrap().tls_roots(&good);
        in_runtime(move || {
            let mut client = Client::connect(trusting).unwrap();
            let fibers: Vec<_> = (0..50)
                .map(|n| {
                    let mut client = client.clone();
                    cede::spawn(move || {
                        let value = "x".repeat(n * 1_000);
                        let _: () = client.set(n, &value).unwrap();
                        assert_eq!(client.get::<_, String>(n).unwrap(), value);
                    })
                })
                .collect();
            fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
            let mut own = client.dedicated().unwrap();
            assert_eq!(own.get::<_, String>(1).unwrap().len(), 1_000);
            drop(own);
            let _: () = client.set("k", 1).unwrap();
            drop(client.dedicated().unwrap());
            assert_eq!(client.metrics().connects, 2);
        });
        // Another's certificate, another name, no certificate at all.
        let wrong_name = format!("rediss://127.0.0.1:{port}");
        let no_tls = format!("rediss://localhost:{plain_port}");
        for config in [
            Config::parse(&url).unwrap().tls_roots(&other),
            Config::parse(&wrong_name).unwrap().tls_roots(&good),
            Config::parse(&no_tls)
                .unwrap()
                .tls_roots(&good)
                .connect_timeout(Duration::from_secs(2)),
        ] {
            let error = error_of(config);
            assert_eq!(failure(&error).unwrap().phase(), Phase::Tls, "{error}");
        }
        // No TLS where there should be.
        let plain = Config::parse(&format!("redis://localhost:{port}")).unwrap();
        let error = error_of(plain.connect_timeout(Duration::from_secs(2)));
        assert!(error.to_string().contains(&format!("localhost:{port}")), "{error}");
        let insecure = format!("{url}#insecure");
        in_runtime(move || {
            let mut client = Client::connect(insecure).unwrap();
            assert_eq!(cmd("PING").query::<String>(&mut client).unwrap(), "PONG");
        });
    }
}

#[test]
fn a_server_with_too_many_clients_is_waited_for() {
    let server = Redis::start();
    with_client(&server, |admin| {
        let config = Config::new(Address::Tcp("127.0.0.1".into(), admin_port(&admin)));
        let mut client = Client::connect(config.reconnect_timeout(HANG)).unwrap();
        let id: i64 = cmd("CLIENT").arg("ID").query(&mut client).unwrap();
        let mut news = client.pubsub().unwrap();
        news.subscribe("news").unwrap();
        let maxclients = |count: i32| {
            let mut set = cmd("CONFIG");
            set.arg("SET").arg("maxclients").arg(count).exec(&mut &admin).unwrap();
        };
        maxclients(1);
        let kill = |what: &str, of: &str| {
            let mut kill = cmd("CLIENT");
            assert_eq!(kill.arg("KILL").arg(what).arg(of).query::<i32>(&mut &admin).unwrap(), 1);
        };
        kill("TYPE", "pubsub");
        kill("ID", &id.to_string());
        let waiting = cede::spawn(move || client.set::<_, _, String>("k", 1));
        let refused = || info(&admin, "rejected_connections").unwrap().parse::<u32>().unwrap();
        eventually("both were refused", || refused() >= 4);
        maxclients(100);
        assert_eq!(waiting.join().unwrap().unwrap(), "OK");
        assert!(matches!(news.recv().unwrap(), Event::Lost));
    });
}

fn admin_port(admin: &Client) -> u16 {
    admin.host().rsplit_once(':').unwrap().1.parse().unwrap()
}
