//! Runs the examples that people start from, as they would type them.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The examples are built beside the tests by a `cargo test` that is not told what to build.
fn example(name: &str) -> Command {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let path = path.join("examples").join(name);
    assert!(path.exists(), "{name} is not built: cargo build --examples");
    Command::new(path)
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_port_scanner_finds_what_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (first, last) = (port.saturating_sub(20).max(1), port.saturating_add(20));
    let mut scanner = example("port_scanner");
    scanner.args(["localhost", &first.to_string(), &last.to_string()]);
    let found = text(&scanner.output().unwrap());
    assert!(found.contains(&format!("{port} is open\n")), "{found}");
}

#[test]
fn the_worker_pool_counts_words() {
    let path = std::env::temp_dir().join(format!("cede-words-{}", std::process::id()));
    std::fs::write(&path, "one two\nthree\n").unwrap();
    let counted = text(&example("worker_pool").args([&path, &path, &path]).output().unwrap());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(counted.matches(&format!("       3 {}\n", path.display())).count(), 3, "{counted}");
    assert!(counted.contains("       9 words\n"), "{counted}");
}

#[test]
fn the_pipeline_runs_its_stages() {
    let mut pipeline = example("pipeline");
    pipeline.args(["sort", "uniq -c", "sort -rn"]);
    let mut child = pipeline.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"b\na\nb\n").unwrap();
    let counted = text(&child.wait_with_output().unwrap());
    let lines: Vec<_> = counted.lines().map(str::trim).collect();
    assert_eq!(lines, ["2 b", "1 a"]);
}
