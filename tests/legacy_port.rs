//! The legacy application of `examples/legacy_port` before and after its port: how many lines it
//! took, and that both do the same with a real Redis under the same load.

mod common;
#[path = "common/program.rs"]
mod program;
#[path = "common/redis.rs"]
mod redis;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use common::{HANG, eventually, raise_descriptors, within_reason};
use program::Program;
use redis::Redis;

const VARIANTS: [&str; 2] = ["--threads", "--fibers"];
/// The most lines that may differ, in percent of those that are neither empty nor a comment. A
/// line that became another one counts twice: as one that went and one that came.
const CHANGED_PERCENT_MAX: usize = 5;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/legacy_port")
}

/// The files of a variant, by name.
fn files(variant: &str) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder().join(variant)).unwrap().map(Result::unwrap);
    let files = entries.map(|entry| {
        let text = fs::read_to_string(entry.path()).unwrap();
        (entry.file_name().into_string().unwrap(), text)
    });
    files.collect()
}

/// How many lines have to go and to come to make one text of the other: all but those of the
/// longest common subsequence.
fn changed(before: &str, after: &str) -> (usize, usize) {
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let mut row = vec![0_usize; after.len() + 1];
    for old in &before {
        let mut diagonal = 0;
        for (at, new) in after.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = if old == new { diagonal + 1 } else { above.max(row[at]) };
            diagonal = above;
        }
    }
    let common = row[after.len()];
    (before.len() - common, after.len() - common)
}

#[test]
fn changed_lines_are_counted_as_diff_does() {
    assert_eq!(changed("a\nb\nc", "a\nb\nc"), (0, 0));
    assert_eq!(changed("a\nb\nc", "a\nx\nc"), (1, 1));
    assert_eq!(changed("a\nb\nc", "c\na\nb"), (1, 1));
    assert_eq!(changed("", "a\nb"), (0, 2));
    assert_eq!(changed("a\nb", ""), (2, 0));
}

#[test]
fn the_port_changes_at_most_five_percent_of_the_lines() {
    let (before, after) = (files("before"), files("after"));
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    let (mut gone, mut come, mut code) = (0, 0, 0);
    for (name, text) in &before {
        let lines = text.lines().map(str::trim);
        code += lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count();
        let (went, came) = changed(text, &after[name]);
        println!("{name}: {went} lines went, {came} came");
        (gone, come) = (gone + went, come + came);
        // The cycle itself is what nobody wants to rewrite.
        if ["action.rs", "http.rs", "shop.rs", "template.rs"].contains(&name.as_str()) {
            assert_eq!((went, came), (0, 0), "{name}");
        }
    }
    let percent = (gone + come) as f64 * 100.0 / code as f64;
    println!("{gone} lines went and {come} came, of {code}: {percent:.1}%");
    assert!((gone + come) * 100 <= code * CHANGED_PERCENT_MAX, "{percent:.1}%");
    assert!(gone > 0, "it is the same program");
    // What is ported waits for nothing by std's means. `Arc` and atomics may stay.
    let waiting = ["std::net", "std::thread", "std::fs", "Condvar", "mpsc", "Mutex"];
    for (name, text) in &after {
        for line in text.lines().filter(|line| line.starts_with("use std::")) {
            let found = waiting.iter().find(|what| line.contains(**what));
            assert_eq!(found, None, "{name}: {line}");
        }
    }
}

/// Starts the shop in front of a Redis. The file is that of its access log.
fn shop(variant: &str, redis: &Redis, log: &Path) -> Program {
    let addr = format!("127.0.0.1:{}", redis.port());
    let options = ["--addr", "127.0.0.1:0", "--redis", &addr, "--log", log.to_str().unwrap()];
    Program::start("legacy_port", &[&[variant], options.as_slice()].concat())
}

struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(shop: &Program) -> Self {
        let stream = TcpStream::connect(&shop.addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(HANG)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    fn send(&self, bytes: &[u8]) {
        // A server that has refused may be gone already.
        let _ = self.stream.get_ref().write_all(bytes);
    }

    /// Head and body of the next answer.
    fn answer(&mut self) -> io::Result<(String, String)> {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap();
            }
            head += &line;
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((head, String::from_utf8(body).unwrap()))
    }

    fn get(&mut self, path: &str) -> (String, String) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        self.answer().unwrap()
    }

    fn post(&mut self, path: &str, form: &str) -> (String, String) {
        let length = form.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        self.send((head + form).as_bytes());
        self.answer().unwrap()
    }
}

/// All that a client gets for these bytes, after which it says no more.
fn conversation(shop: &Program, bytes: &[u8]) -> String {
    let mut client = Client::connect(shop);
    client.send(bytes);
    let _ = client.stream.get_ref().shutdown(Shutdown::Write);
    let mut all = Vec::new();
    // A server that leaves what it has refused unread resets; what it said before counts.
    let _ = client.stream.read_to_end(&mut all);
    String::from_utf8(all).unwrap()
}

#[test]
fn both_variants_answer_each_request_alike() {
    within_reason(|| {
        let redis = Redis::start();
        let answers = VARIANTS.map(|variant| {
            redis.cli(&["FLUSHALL"]);
            let shop = shop(variant, &redis, Path::new("/dev/null"));
            let mut client = Client::connect(&shop);
            let mut answers = vec![
                client.get("/"),
                client.get("/books/1"),
                client.get("/books/1?any=thing"),
                client.post("/books/1/orders", "pieces=98"),
                client.post("/books/1/orders", "pieces=3"),
                client.get("/books/1"),
                client.post("/books", "title=%3Cb%3E+%26+%22&author=O%27Neill&price=8.50&stock=7"),
                client.get("/books/4"),
                client.get("/"),
            ];
            let invalid = [
                ("/books", "title=a&author=b&price=1.5&stock=1"),
                ("/books", "title=a&author=b&price=-1.50&stock=1"),
                ("/books", "title=a&author=b&price=99999999.99&stock=1"),
                ("/books", "title=++&author=b&price=1.50&stock=1"),
                ("/books", "title=a%0D%0Ab&author=b&price=1.50&stock=1"),
                ("/books", "title=%zz"),
                ("/books", "title=%ff"),
                ("/books/1/orders", ""),
                ("/books/1/orders", "pieces=0"),
                ("/books/1/orders", "pieces=1001"),
                ("/books/1/orders", "pieces=many"),
                ("/books/77/orders", "pieces=1"),
                ("/books/1", "pieces=1"),
                ("/", ""),
            ];
            // A form that is none ends its connection.
            answers.extend(invalid.map(|(path, form)| Client::connect(&shop).post(path, form)));
            let missing =
                ["/books/77", "/books/0", "/books/01", "/books/-1", "/books/1/", "/nothing"];
            answers.extend(missing.map(|path| client.get(path)));
            answers
        });
        let [before, after] = answers;
        assert_eq!(before, after);
        let status = |at: usize| before[at].0.split(' ').nth(1).unwrap();
        let all: Vec<_> = (0..before.len()).map(status).collect();
        assert_eq!(
            all,
            [
                "200", "200", "200", "303", "409", "200", "303", "200", "200", "422", "422", "422",
                "422", "422", "400", "400", "422", "422", "422", "422", "404", "405", "405", "404",
                "404", "404", "404", "404", "404"
            ]
        );
        assert!(before[0].1.contains("Pride &amp; Prejudice</a> by Jane Austen, 9.90\n"));
        assert!(before[5].1.contains("2 left") && before[5].1.contains("seen 3 times"));
        assert!(
            before[7].1.contains("<h1>&lt;b&gt; &amp; &quot;</h1>\n<p>by O&#39;Neill, 8.50, 7")
        );
        assert!(before[6].0.contains("Location: /books/4\r\n"));
    });
}

#[test]
fn both_variants_refuse_bad_bytes_alike() {
    within_reason(|| {
        let redis = Redis::start();
        let shops = VARIANTS.map(|variant| shop(variant, &redis, Path::new("/dev/null")));
        let long = [b"GET / HTTP/1.1\r\nHost: a\r\nX: ".as_slice(), &[b'x'; 9_000]].concat();
        let requests: &[(&[u8], &str)] = &[
            (b"", ""),
            (b"\r\n\r\n", "400"),
            (b"GET /\r\n\r\n", "400"),
            (b"GET / HTTP/2\r\n\r\n", "505"),
            (b"GET / x HTTP/1.1\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost", "400"),
            (b"GET / HTTP/1.1\r\nHost a\r\n\r\n", "400"),
            (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", "400"),
            (
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
                "400",
            ),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n", "413"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "501"),
            // Its body never comes.
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab", ""),
            (&long, "431"),
        ];
        for (bytes, status) in requests {
            let [before, after] = shops.each_ref().map(|shop| conversation(shop, bytes));
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(100)]);
            assert_eq!(before, after, "{shown:?}");
            assert_eq!(before.split(' ').nth(1).unwrap_or(""), *status, "{shown:?}");
        }
        // Several at once, and one that is the last.
        let pipelined =
            b"GET /books/9 HTTP/1.1\r\nHost: a\r\n\r\nGET /x HTTP/1.0\r\n\r\nGET / HTTP/1.1";
        let [before, after] = shops.each_ref().map(|shop| conversation(shop, pipelined));
        assert_eq!(before, after);
        assert_eq!(before.matches("HTTP/1.1 404 Not Found\r\n").count(), 2);
    });
}

/// 1,000 clients that say nothing more, and some that order: each gets what it asked for, and what
/// is left of the stock is what was not sold.
#[test]
fn both_variants_serve_one_load() {
    const IDLE_MAX: usize = 1_000;
    const CLIENTS: usize = 40;
    const ORDERS: usize = 25;
    // The shop holds some descriptors beside those of its clients, and so does this process.
    let most_idle = IDLE_MAX.min(raise_descriptors() - CLIENTS - 200);
    within_reason(move || {
        let redis = Redis::start();
        for variant in VARIANTS {
            redis.cli(&["FLUSHALL"]);
            let log = std::env::temp_dir();
            let log = log.join(format!("cede-legacy-{}{variant}.log", std::process::id()));
            let shop = shop(variant, &redis, &log);
            let idle: Vec<_> = (0..most_idle)
                .map(|_| {
                    let mut client = Client::connect(&shop);
                    assert!(client.get("/").0.starts_with("HTTP/1.1 200 OK\r\n"));
                    client
                })
                .collect();
            let own = format!("title=own&author=own&price=1.00&stock={}", CLIENTS * ORDERS / 2);
            assert!(Client::connect(&shop).post("/books", &own).0.contains("/books/4\r\n"));
            let sold: usize = thread::scope(|scope| {
                let clients: Vec<_> = (0..CLIENTS)
                    .map(|_| {
                        scope.spawn(|| {
                            let (mut client, mut sold) = (Client::connect(&shop), 0);
                            for _ in 0..ORDERS {
                                let (head, _) = client.post("/books/4/orders", "pieces=1");
                                match head.split(' ').nth(1).unwrap() {
                                    "303" => sold += 1,
                                    status => assert_eq!(status, "409"),
                                }
                                let (head, page) = client.get("/books/4");
                                assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
                                assert!(page.contains("<h1>own</h1>"), "{page}");
                            }
                            sold
                        })
                    })
                    .collect();
                clients.into_iter().map(|client| client.join().unwrap()).sum()
            });
            // Who takes too many gives them back, so for a moment there may seem to be none left.
            assert!(sold <= CLIENTS * ORDERS / 2);
            let left = CLIENTS * ORDERS / 2 - sold;
            assert_eq!(redis.cli(&["GET", "stock:4"]), left.to_string());
            assert_eq!(redis.cli(&["GET", "seen:4"]), (CLIENTS * ORDERS).to_string());
            let threads = shop.threads();
            println!("{variant}: {threads} threads with {most_idle} idle connections, {sold} sold");
            match variant {
                "--threads" => assert!(threads > most_idle),
                _ => assert!(threads < 10),
            }
            // Those who were silent are served, too.
            for mut client in idle.into_iter().take(10) {
                assert!(client.get("/books/1").1.contains("Dostoevsky"));
            }
            let requests = most_idle + 1 + 2 * CLIENTS * ORDERS + 10;
            eventually("the access log is written", || {
                let text = fs::read_to_string(&log).unwrap();
                text.lines().count() == requests && text.ends_with(" us\n")
            });
            drop(shop);
            fs::remove_file(&log).unwrap();
        }
    });
}

/// Clients whose requests come in halves, and a storage that stands still when they are there: all
/// wait, and all are answered.
#[test]
fn both_variants_wait_for_slow_clients_and_a_slow_storage() {
    const CLIENTS: usize = 200;
    within_reason(|| {
        let redis = Redis::start();
        for variant in VARIANTS {
            redis.cli(&["FLUSHALL"]);
            let shop = shop(variant, &redis, Path::new("/dev/null"));
            let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(&shop)).collect();
            let request = b"GET /books/2 HTTP/1.1\r\nHost: a\r\n\r\n";
            clients.iter().for_each(|client| client.send(&request[..20]));
            // Others are served meanwhile.
            assert!(Client::connect(&shop).get("/books/2").1.contains("seen 1 times"));
            redis.pause();
            clients.iter().for_each(|client| client.send(&request[20..]));
            thread::sleep(Duration::from_millis(100));
            redis.resume();
            let mut seen: Vec<usize> = Vec::new();
            for client in &mut clients {
                let (head, page) = client.answer().unwrap();
                assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
                let number = page.split("seen ").nth(1).unwrap().split(' ').next().unwrap();
                seen.push(number.parse().unwrap());
            }
            // Each question was asked once.
            seen.sort_unstable();
            assert_eq!(seen, (2..CLIENTS + 2).collect::<Vec<_>>());
        }
    });
}

#[test]
fn both_variants_outlive_their_storage() {
    within_reason(|| {
        let redis = Redis::start();
        for variant in VARIANTS {
            let shop = shop(variant, &redis, Path::new("/dev/null"));
            let mut client = Client::connect(&shop);
            assert!(client.get("/").0.starts_with("HTTP/1.1 200 "));
            redis.kill();
            let (head, page) = client.get("/");
            assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
            assert!(page.contains("come back later"), "{page}");
            redis.restart();
            // A connection of the pool that was not used meanwhile is found out when it is.
            eventually("it has recovered", || {
                thread::sleep(Duration::from_millis(5));
                client.get("/").0.starts_with("HTTP/1.1 200 ")
            });
        }
    });
}

#[test]
fn the_comparison_runs_without_a_redis_and_says_what_it_measured() {
    within_reason(|| {
        let mut compare = Command::new(program::path("legacy_port"));
        compare.args(["--compare", "--clients", "4", "--idle", "20", "--seconds", "1"]);
        let output = compare.args(["--log", "/dev/null"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        println!("{text}");
        for variant in ["threads", "fibers"] {
            let line = text.lines().find(|line| line.starts_with(&format!("{variant} ")));
            let figures = line.unwrap().split_whitespace().skip(1);
            let figures: Vec<f64> = figures.map(|figure| figure.parse().unwrap()).collect();
            assert!(figures.len() == 4 && figures.iter().all(|figure| *figure > 0.0), "{text}");
            // 24 connections: a thread each, or all in one.
            assert_eq!(figures[3] >= 24.0, variant == "threads", "{text}");
        }
    });
}
