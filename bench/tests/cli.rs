//! The program as a user meets it: exit statuses, messages, and the files that a run leaves.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

fn bench(args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_cede-bench");
    Command::new(program).args(args).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A file of this test in cargo's own folder for such files.
fn scratch(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn without_a_command_it_explains_itself() {
    for args in [&[][..], &["help"], &["--help"], &["run", "--help"]] {
        let output = bench(args);
        assert!(output.status.success(), "{args:?}");
        assert!(stdout(&output).contains("--quick"), "{args:?}");
    }
}

#[test]
fn list_and_doctor_answer() {
    let list = bench(&["list"]);
    assert!(list.status.success());
    for name in [
        "yield",
        "spawn-join",
        "ping-pong",
        "channel",
        "mutex",
        "block-on",
        "echo",
        "churn",
        "http-hello",
        "http-pipelined",
        "http-churn",
        "http-json",
        "http-idle",
        "http-tail",
    ] {
        assert!(stdout(&list).contains(name), "{name}");
    }
    // Its exit status depends on the machine.
    assert!(stdout(&bench(&["doctor"])).contains("memory"));
}

#[test]
fn a_wrong_command_line_ends_with_2_and_says_what_to_do() {
    for (args, part) in [
        (&["run"][..], "--all"),
        (&["run", "yeild"], "did you mean \"yield\"?"),
        (&["run", "yield", "--rounds", "0"], "from 1 to"),
        (&["run", "yield", "--compare", "no/such.json"], "no/such.json"),
        (&["run", "yield", "--json", "no/such/folder.json"], "no such folder"),
        (&["wrong"], "no command \"wrong\""),
    ] {
        let output = bench(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(part), "{args:?}: {}", stderr(&output));
        assert!(stdout(&output).is_empty(), "{args:?}");
    }
}

#[test]
fn a_file_that_is_no_result_is_refused_before_measuring() {
    let path = scratch("not-a-result.json");
    fs::write(&path, "{\"hello\": 1}").expect("the scratch folder is writable");
    let output = bench(&["run", "yield", "--compare", &path.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("not what `run --json` writes"), "{}", stderr(&output));
}

#[test]
fn a_run_prints_a_table_and_writes_its_files() {
    let (json, svg) = (scratch("run.json"), scratch("run.svg"));
    let (json_arg, svg_arg) = (json.to_string_lossy(), svg.to_string_lossy());
    let run = ["run", "ping-pong", "--quick", "--rounds", "1"];
    let output = bench(&[&run[..], &["--json", &json_arg, "--plot", &svg_arg]].concat());
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("user us/op"), "{}", stdout(&output));
    assert!(stderr(&output).is_empty(), "no terminal, no progress: {}", stderr(&output));

    let text = fs::read_to_string(&json).expect("it was written");
    let mut reports: Vec<Value> = serde_json::from_str(&text).expect("an array");
    assert_eq!(reports.len(), 1);
    let rows = reports[0]["rows"].as_array().expect("rows").clone();
    let who: Vec<_> = rows.iter().filter_map(|row| row["who"].as_str()).collect();
    assert!(who.contains(&"tokio") && who.contains(&"may"), "{who:?}");
    for row in &rows {
        assert!(row["median"].as_f64().is_some_and(|median| median > 1.0), "{row}");
        assert!(row["cpu_us_per_op"].as_f64().is_some_and(|cpu| cpu > 0.0), "{row}");
    }
    let chart = fs::read_to_string(&svg).expect("it was written");
    let chart = roxmltree::Document::parse(&chart).expect("well-formed XML");
    assert!(chart.descendants().any(|node| node.text() == Some("ping-pong")));

    // Against a past in which everything was faster.
    for row in reports[0]["rows"].as_array_mut().expect("rows") {
        for name in ["median", "min", "max"] {
            row[name] = Value::from(0.001);
        }
    }
    let past = scratch("past.json");
    let text = serde_json::to_string(&reports).expect("it is plain data");
    fs::write(&past, text).expect("the scratch folder is writable");
    let output = bench(&[&run[..], &["--compare", &past.to_string_lossy()]].concat());
    assert!(stdout(&output).contains("Slower beyond the noise"), "{}", stdout(&output));
    let with_cede = who.contains(&"cede");
    assert_eq!(output.status.code(), Some(if with_cede { 1 } else { 0 }));
}
