//! Clients that others wrote against the example programs: curl, wrk, ab, h2load, slowhttptest and
//! a browser.
//!
//! The surprising rule: a client that is not installed is a test that is skipped, which is said
//! past the capture of the test harness and counted by `./test`.

mod common;
#[path = "common/program.rs"]
mod program;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{HANG, Random, eventually};
use program::Program;

/// What `/` says.
const HELLO: &str = "Hello, World!";

/// A client that is ended when it hangs; `None` where it is not installed.
fn client(name: &str) -> Option<Command> {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        let mut folders = std::env::split_paths(&path);
        folders.any(|folder| folder.join(name).is_file())
    });
    if !found {
        let test = thread::current().name().unwrap_or_default().to_owned();
        let note = format!("\nskipped test: {test}: {name} is not installed\n");
        std::io::stderr().write_all(note.as_bytes()).unwrap();
        return None;
    }
    let mut command = Command::new("timeout");
    command.args(["-k", "5", &HANG.as_secs().to_string(), name]).stdin(Stdio::null());
    Some(command)
}

fn curl() -> Option<Command> {
    let mut curl = client("curl")?;
    // The settings of whoever runs the tests are not meant.
    curl.args(["--disable", "-sS", "--noproxy", "*"]);
    Some(curl)
}

/// Runs a client that has to succeed.
fn succeed(command: &mut Command) -> (String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}");
    (stdout.into_owned(), stderr.into_owned())
}

/// The first number behind a label in a client's report; 0 when the label is not there.
fn number(report: &str, label: &str) -> u64 {
    let Some((_, rest)) = report.split_once(label) else { return 0 };
    let digits = rest.trim_start().split(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{label}: {report}"))
}

fn lab(args: &[&str]) -> Program {
    Program::start("http_lab", &[&["--addr", "127.0.0.1:0", "--shards", "2"], args].concat())
}

/// A lab on one shard, and the descriptors that it has open while nobody is connected.
fn counted_lab(args: &[&str]) -> (Program, usize) {
    let lab = Program::start("http_lab", &[&["--addr", "127.0.0.1:0"], args].concat());
    // All that a server opens has been opened when it answers, and that connection is closed.
    assert_eq!(get(&lab.addr), Some(true));
    let descriptors = lab.descriptors();
    (lab, descriptors)
}

/// A file or folder of a test's own, gone with it.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        let name = format!("cede-{name}-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = if self.0.is_dir() {
            std::fs::remove_dir_all(&self.0)
        } else {
            std::fs::remove_file(&self.0)
        };
    }
}

/// A body in which each place looks different.
fn noise(len: usize) -> Vec<u8> {
    let mut random = Random::new();
    (0..len).map(|_| random.next() as u8).collect()
}

#[test]
fn curl_keeps_its_connection() {
    let Some(mut curl) = curl() else { return };
    let lab = lab(&[]);
    let url = lab.url("/");
    // Status, version, connections made for it.
    let report = "-w=%{http_code} %{http_version} %{num_connects};";
    let (out, _) = succeed(curl.args([report, &url, &url, &url]));
    let expected = ["1", "0", "0"].map(|connects| format!("{HELLO}=200 1.1 {connects};"));
    assert_eq!(out, expected.concat());
    lab.stop();
}

#[test]
fn curl_closes_when_it_says_so_and_with_http_1_0() {
    let Some(_) = curl() else { return };
    let lab = lab(&[]);
    let url = lab.url("/stream?chunks=5&size=100");
    for (option, version) in [("-HConnection: close", "1.1"), ("--http1.0", "1.0")] {
        let report = "-w=%{http_code} %{num_connects};";
        let (out, err) = succeed(curl().unwrap().args(["-v", option, report, &url, &url]));
        assert_eq!(out, format!("{}=200 1;", "x".repeat(500)).repeat(2), "{option}");
        assert_eq!(err.contains("< Transfer-Encoding: chunked"), version == "1.1", "{err}");
        assert!(err.to_lowercase().contains("< connection: close"), "{err}");
    }
    lab.stop();
}

#[test]
fn curl_posts_bodies_of_both_kinds() {
    let Some(_) = curl() else { return };
    let lab = lab(&["--body-bytes-max", "4000000"]);
    let (sent, echoed) = (Temporary::new("curl-sent"), Temporary::new("curl-echoed"));
    let data = format!("@{}", sent.path());
    for len in [0, 1, 1_000, 100_000, 4_000_000] {
        let body = noise(len);
        std::fs::write(&sent.0, &body).unwrap();
        for header in ["X: by length", "Transfer-Encoding: chunked", "Expect: 100-continue"] {
            let post = ["-v", "-H", header, "-H", "Content-Type: a/b", "--data-binary", &data];
            let mut curl = curl().unwrap();
            let report = ["-o", echoed.path(), "-w", "%{http_code} %{size_upload}"];
            let (out, err) = succeed(curl.args(post).args(report).arg(lab.url("/echo")));
            // Some versions count the bytes of the coding too.
            let (status, uploaded) = out.split_once(' ').unwrap();
            assert_eq!(status, "200", "{header}, {len}: {err}");
            assert!(uploaded.parse::<usize>().unwrap() >= len, "{header}, {len}: {out}");
            assert!(std::fs::read(&echoed.0).unwrap() == body, "{header}, {len}: {err}");
            if header.starts_with("Expect") && len > 0 {
                assert!(err.contains("< HTTP/1.1 100 Continue"), "{err}");
            }
        }
    }
    lab.stop();
}

#[test]
fn curl_does_not_send_what_is_refused() {
    let Some(_) = curl() else { return };
    let lab = lab(&["--body-bytes-max", "1000"]);
    let sent = Temporary::new("curl-refused");
    std::fs::write(&sent.0, noise(1_000_000)).unwrap();
    let data = format!("@{}", sent.path());
    let url = lab.url("/echo");
    for (expect, status) in [("Expect: 100-continue", "413"), ("Expect: a teapot", "417")] {
        let mut curl = curl().unwrap();
        let post = ["-v", "-H", expect, "--data-binary", &data, &url];
        let (out, err) = succeed(curl.args(["-w", "%{http_code} %{size_upload}"]).args(post));
        // Without the word to go on, curl sends the head alone.
        assert!(!err.contains("100 Continue"), "{err}");
        let (seen, uploaded) = out.split_once(' ').unwrap();
        assert_eq!(seen, status, "{err}");
        assert!(expect.contains("teapot") || uploaded == "0", "{out}");
    }
    // One that grows beyond the limit while it is sent.
    let mut curl = curl().unwrap();
    let chunked = ["-H", "Transfer-Encoding: chunked", "--data-binary", &data, &url];
    let (out, _) = succeed(curl.args(["-H", "Expect:", "-w", "%{http_code}"]).args(chunked));
    assert_eq!(out, "413");
    lab.stop();
}

#[test]
fn curl_asks_for_heads() {
    let Some(mut curl) = curl() else { return };
    let lab = lab(&[]);
    let urls = [lab.url("/"), lab.url("/bytes?n=5000000000"), lab.url("/status/204")];
    let report = "%{http_code} %{size_download} %{num_connects};";
    let heads = Temporary::new("curl-heads");
    let written = ["-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null", "-D", heads.path()];
    let (out, _) = succeed(curl.args(["--head", "-w", report]).args(written).args(urls));
    assert_eq!(out, "200 0 1;200 0 0;204 0 0;");
    let heads = std::fs::read_to_string(&heads.0).unwrap();
    let lengths: Vec<_> =
        heads.lines().filter(|line| line.starts_with("Content-Length: ")).collect();
    assert_eq!(lengths, ["Content-Length: 13", "Content-Length: 4294967296"]);
    lab.stop();
}

#[test]
fn curl_downloads_much() {
    let Some(_) = curl() else { return };
    let lab = lab(&[]);
    for (path, len) in
        [("/bytes?n=200000000", 200_000_000), ("/stream?chunks=500&size=100000", 50_000_000)]
    {
        let mut curl = curl().unwrap();
        let mut child = curl.arg(lab.url(path)).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let (mut buf, mut seen) = (vec![0; 1 << 16], 0);
        loop {
            let n = out.read(&mut buf).unwrap();
            if n == 0 {
                break;
            }
            assert!(buf[..n].iter().all(|byte| *byte == b'x'), "{path}");
            seen += n;
        }
        assert_eq!((child.wait().unwrap().success(), seen), (true, len), "{path}");
    }
    lab.stop();
}

#[test]
fn a_curl_that_goes_away_leaves_nothing() {
    let Some(_) = curl() else { return };
    let (lab, idle) = counted_lab(&[]);
    for path in ["/bytes?n=4000000000", "/stream?chunks=1000000&size=1000", "/slow?ms=1000"] {
        let mut curl = curl().unwrap();
        let slowly = ["--limit-rate", "1000", "-o", "/dev/null"];
        let mut child = curl.args(slowly).arg(lab.url(path)).spawn().unwrap();
        eventually("it is served", || lab.descriptors() > idle);
        stop(&mut child);
    }
    eventually("the connections are closed", || lab.descriptors() == idle);
    assert_eq!(get(&lab.addr), Some(true));
    lab.stop();
}

/// Ends a client and waits for it; `timeout` hands the signal on.
fn stop(child: &mut Child) {
    // SAFETY: no pointers are passed; the child has not been waited for, so the number is its.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    child.wait().unwrap();
}

/// Asks for `/` on a connection of its own: whether the answer was right, `None` for no answer.
fn get(addr: &str) -> Option<bool> {
    let mut stream = TcpStream::connect(addr).ok()?;
    stream.set_read_timeout(Some(HANG)).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(HELLO))
}

#[test]
fn wrk_sees_no_error() {
    let Some(mut one) = client("wrk") else { return };
    let hello = Program::start("http_hello", &["--addr", "127.0.0.1:0", "--shards", "2"]);
    let url = hello.url("/");
    let script = Temporary::new("wrk.lua");
    // 16 requests at a time, and a look at each body.
    let lua = format!(
        "setup = function(made) thread = made end\n\
         init = function() wrong = 0; all = string.rep(wrk.format('GET', '/'), 16) end\n\
         request = function() return all end\n\
         response = function(_, _, body) if body ~= '{HELLO}' then wrong = wrong + 1 end end\n\
         done = function() print('wrong bodies: ' .. thread:get('wrong')) end\n"
    );
    std::fs::write(&script.0, lua).unwrap();
    let load = ["-t1", "-c32", "-d1s"];
    let (single, _) = succeed(one.args(load).arg(&url));
    let mut many = client("wrk").unwrap();
    let (pipelined, _) = succeed(many.args(load).args(["-s", script.path()]).arg(&url));
    assert!(pipelined.contains("wrong bodies: 0"), "{pipelined}");
    for report in [single, pipelined] {
        // Each of the 32 connections is closed after 1,000 requests and made again.
        assert!(requests(&report) > 100, "{report}");
        assert!(!report.contains("Socket errors"), "{report}");
        assert!(!report.contains("Non-2xx"), "{report}");
    }
    hello.stop();
}

/// Requests in wrk's report: "  4711 requests in 1.00s, ..".
fn requests(report: &str) -> u64 {
    let line = report.lines().find(|line| line.contains(" requests in ")).unwrap();
    line.trim().split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn ab_sees_no_error_with_and_without_keep_alive() {
    let Some(_) = client("ab") else { return };
    let lab = lab(&[]);
    let run = |args: &[&str], path: &str| {
        let mut ab = client("ab").unwrap();
        let (report, err) = succeed(ab.args(["-q", "-c", "8"]).args(args).arg(lab.url(path)));
        assert_eq!(number(&report, "Failed requests:"), 0, "{report}{err}");
        assert!(report.contains("Failed requests:"), "{report}{err}");
        assert!(!report.contains("Non-2xx"), "{report}");
        let numbers = ["Complete requests:", "Keep-Alive requests:", "HTML transferred:"];
        numbers.map(|label| number(&report, label))
    };
    // ab speaks HTTP/1.0, where a connection stays only when both sides say so.
    assert_eq!(run(&["-n", "500"], "/"), [500, 0, 500 * 13]);
    // Fewer than one connection may have: however they are spread, none is its last.
    assert_eq!(run(&["-k", "-n", "900"], "/"), [900, 900, 900 * 13]);
    let posted = Temporary::new("ab-posted");
    std::fs::write(&posted.0, noise(20_000)).unwrap();
    let post = ["-n", "300", "-p", posted.path(), "-T", "application/octet-stream"];
    assert_eq!(run(&post, "/echo"), [300, 0, 300 * 20_000]);
    lab.stop();
}

#[test]
fn h2load_sees_no_error() {
    let Some(_) = client("h2load") else { return };
    let lab = lab(&[]);
    // In turn beyond the requests that one connection may have; pipelined within them, since those
    // that follow the last one have to be lost.
    for (requests, args) in [("9000", ["-c", "8", "-m", "1"]), ("3000", ["-c", "4", "-m", "16"])] {
        let mut h2load = client("h2load").unwrap();
        let args = ["--h1", "-n", requests].into_iter().chain(args);
        let (report, _) = succeed(h2load.args(args).arg(lab.url("/")));
        let all = format!("{requests} done, {requests} succeeded, 0 failed, 0 errored, 0 timeout");
        assert!(report.contains(&all), "{report}");
        assert_eq!(number(&report, "status codes:"), requests.parse().unwrap(), "{report}");
    }
    lab.stop();
}

/// Connections of an attack.
const SLOW: usize = 50;

/// Runs a slow attack against a server with short time-outs: others are served all the while, and
/// the server has closed all of its connections long before the attack wants to end.
fn slow_attack(args: &[&str], timeout: &str, path: &str) {
    let Some(mut attack) = client("slowhttptest") else { return };
    let (lab, idle) = counted_lab(&[timeout, "500"]);
    let attack = attack.args(args).args(["-c", &SLOW.to_string(), "-r", "1000"]);
    // It would go on for far longer than anything may take here.
    let attack = attack.args(["-l", "3600", "-p", "60", "-u", &lab.url(path)]);
    let mut attack = attack.stdout(Stdio::null()).spawn().unwrap();

    /// Ends the asking also when a test fails.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let over = AtomicBool::new(false);
    let addr = lab.addr.clone();
    let answers = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut answers = Vec::new();
            while answers.is_empty() || !over.load(Ordering::Relaxed) {
                answers.push(get(&addr));
                thread::sleep(Duration::from_millis(10));
            }
            answers
        });
        let asked_enough = Over(&over);
        // One of them may be a request of the others.
        eventually("the attack has begun", || lab.descriptors() > idle + SLOW / 2);
        eventually("the attackers are gone", || lab.descriptors() <= idle + 1);
        stop(&mut attack);
        drop(asked_enough);
        asking.join().unwrap()
    });
    let wrong = answers.iter().filter(|answer| **answer != Some(true)).count();
    assert_eq!(wrong, 0, "of {} answers to others", answers.len());
    lab.stop();
}

#[test]
fn slow_heads_are_cut_off() {
    slow_attack(&["-H", "-i", "1"], "--head-timeout-ms", "/");
}

#[test]
fn slow_bodies_are_cut_off() {
    slow_attack(&["-B", "-i", "3600", "-s", "8192"], "--body-timeout-ms", "/echo");
}

#[test]
fn slow_readers_are_cut_off() {
    let slowly = ["-X", "-n", "3600", "-z", "1", "-w", "1", "-y", "2", "-i", "3600"];
    slow_attack(&slowly, "--send-timeout-ms", "/bytes?n=1000000000");
}

#[test]
fn a_browser_shows_the_page() {
    let Some(_) = client("chromium") else { return };
    let (file, home) = (Temporary::new("browsed.db"), Temporary::new("browser"));
    let quickstart = Program::start("quickstart", &["127.0.0.1:0", "--database", file.path()]);
    let browse = |url: &str| {
        let mut chromium = client("chromium").unwrap();
        // Its sandbox does not work for root; it is shown nothing but this page.
        chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
        chromium.arg(format!("--user-data-dir={}", home.path()));
        succeed(chromium.args(["--no-first-run", "--dump-dom", url])).0
    };
    let page = browse(&quickstart.url("/"));
    assert!(page.contains("<h1>Short links</h1>"), "{page}");
    assert!(page.contains(r#"<p id="answer"></p>"#), "{page}");
    // A short link leads there as well.
    let json = format!(r#"{{"url":"{}"}}"#, quickstart.url("/?by=link"));
    let (len, json_type) = (json.len(), "Content-Type: application/json");
    let mut stream = TcpStream::connect(&quickstart.addr).unwrap();
    let head = format!("POST /links HTTP/1.1\r\nHost: a\r\n{json_type}\r\nContent-Length: {len}");
    stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n{json}").as_bytes()).unwrap();
    let mut made = String::new();
    stream.read_to_string(&mut made).unwrap();
    assert!(made.ends_with(r#"{"id":1,"path":"/1"}"#), "{made}");
    assert_eq!(browse(&quickstart.url("/1")), page);
    quickstart.stop();
}
