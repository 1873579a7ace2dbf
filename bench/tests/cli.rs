//! The program as a user meets it: exit statuses, messages, and the files that a run leaves.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

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
        "http-pg",
        "pg",
        "redis",
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
        (&["run", "yield", "--plot", "src"], "src cannot be written"),
        (&["run", "yield", "--plot", "a.svg", "--json", "a.svg"], "the same file"),
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

/// Of all scenarios the one that is over soonest in a debug build.
const QUICK_RUN: [&str; 5] = ["run", "dump", "--quick", "--rounds", "1"];
const WITH_CEDE: bool = cfg!(feature = "cede");

#[test]
fn a_run_prints_a_table_and_writes_its_files() {
    let (json, svg) = (scratch("run.json"), scratch("run.svg"));
    let (json_arg, svg_arg) = (json.to_string_lossy(), svg.to_string_lossy());
    let output = bench(&[&QUICK_RUN[..], &["--json", &json_arg, "--plot", &svg_arg]].concat());
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("user us/op") || !WITH_CEDE, "{}", stdout(&output));
    assert!(stderr(&output).is_empty(), "no terminal, no progress: {}", stderr(&output));

    let text = fs::read_to_string(&json).expect("it was written");
    let mut reports: Vec<Value> = serde_json::from_str(&text).expect("an array");
    assert_eq!(reports.len(), 2, "one for each measure");
    for report in &reports {
        let rows = report["rows"].as_array().expect("rows");
        assert_eq!(rows.iter().any(|row| row["who"] == "cede"), WITH_CEDE, "{rows:?}");
        for row in rows {
            assert!(row["median"].as_f64().is_some_and(|median| median > 1.0), "{row}");
            assert!(row["cpu_us_per_op"].as_f64().is_some_and(|cpu| cpu > 0.0), "{row}");
        }
    }
    let chart = fs::read_to_string(&svg).expect("it was written");
    let chart = roxmltree::Document::parse(&chart).expect("well-formed XML");
    assert_eq!(chart.descendants().any(|node| node.text() == Some("dump")), WITH_CEDE);

    // Against a past in which everything was faster.
    let rows = reports.iter_mut().filter_map(|report| report["rows"].as_array_mut()).flatten();
    for row in rows {
        for name in ["median", "min", "max"] {
            row[name] = Value::from(0.001);
        }
    }
    let past = scratch("past.json");
    let text = serde_json::to_string(&reports).expect("it is plain data");
    fs::write(&past, text).expect("the scratch folder is writable");
    let output = bench(&[&QUICK_RUN[..], &["--compare", &past.to_string_lossy()]].concat());
    let slower = stdout(&output).contains("Slower beyond the noise");
    assert!(slower || !WITH_CEDE, "{}", stdout(&output));
    assert_eq!(output.status.code(), Some(if WITH_CEDE { 1 } else { 0 }));
}

/// The process that this one has started to measure.
fn contestant_of(parent: u32) -> Option<libc::pid_t> {
    let entries = fs::read_dir("/proc").expect("Linux has it").flatten();
    let mut numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.find(|number| {
        let read = |file| fs::read_to_string(format!("/proc/{number}/{file}")).unwrap_or_default();
        let stat = read("stat");
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
        let of = fields.and_then(|fields| fields.split_whitespace().nth(1)?.parse().ok());
        of == Some(parent) && read("cmdline").contains("contestant")
    })
}

/// Bug: what measured went on, with its server, when only the program itself was told to end.
#[test]
fn a_run_that_is_ended_leaves_no_process() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cede-bench"));
    command.args(["run", "yield"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut run = command.spawn().expect("the program starts");
    let begin = Instant::now();
    let wait = || {
        assert!(begin.elapsed() < Duration::from_secs(120), "it hangs");
        thread::sleep(Duration::from_millis(1));
    };
    let contestant = loop {
        assert_eq!(run.try_wait().expect("it is a child"), None, "it ended before it measured");
        if let Some(contestant) = contestant_of(run.id()) {
            // It does not end by itself now.
            // SAFETY: a plain system call.
            if unsafe { libc::kill(contestant, libc::SIGSTOP) } == 0 {
                break contestant;
            }
        }
        wait();
    };
    run.kill().expect("it runs");
    run.wait().expect("it is a child");
    let state = || {
        let stat = fs::read_to_string(format!("/proc/{contestant}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, fields)| fields.chars().next())
    };
    // Whoever takes in orphans need not hurry to wait for them.
    while state().is_some_and(|state| !matches!(state, 'Z' | 'X')) {
        wait();
    }
}

#[test]
fn results_become_tables_of_a_document() {
    let (json, document) = (scratch("results.json"), scratch("document.md"));
    let text = r#"[{"scenario":"yield","unit":"ns","better":"lower","params":{"fibers":7},
        "rows":[{"who":"cede","median":8.5,"min":8,"max":9,"cpu_us_per_op":0.1,"user_us_per_op":0.1}],
        "ratio":{},"machine":"an abacus","commit":"c0ffee"}]"#;
    fs::write(&json, text).expect("the scratch folder is writable");
    let json = json.to_string_lossy();
    let tables = bench(&["markdown", &json]);
    assert!(tables.status.success(), "{}", stderr(&tables));
    assert!(stdout(&tables).contains("| cede | 8.50 | 8.00 | 9.00 |"), "{}", stdout(&tables));

    fs::write(&document, "Above\n<!-- results -->\nold\n<!-- end of results -->\nbelow\n")
        .expect("the scratch folder is writable");
    let into = bench(&["markdown", &json, "--into", &document.to_string_lossy()]);
    assert!(into.status.success() && stdout(&into).is_empty(), "{}", stderr(&into));
    let text = fs::read_to_string(&document).expect("it is there");
    assert!(text.starts_with("Above\n") && text.ends_with("below\n"), "{text}");
    assert!(text.contains(stdout(&tables).trim()) && !text.contains("old"), "{text}");

    let go =
        r#"{"who":"go","median":17,"min":16,"max":18,"cpu_us_per_op":0.1,"user_us_per_op":0.1}"#;
    let places =
        "<!-- summary -->\n<!-- end of summary -->\n<!-- results -->\n<!-- end of results -->\n";
    fs::write(&document, places).expect("the scratch folder is writable");
    let alone = fs::read_to_string(&*json).expect("it is there");
    fs::write(&*json, alone.replace("\"rows\":[", &format!("\"rows\":[{go},")))
        .expect("the scratch folder is writable");
    let into = bench(&["markdown", &json, "--into", &document.to_string_lossy()]);
    assert!(into.status.success(), "{}", stderr(&into));
    let text = fs::read_to_string(&document).expect("it is there");
    let (summary, _) = text.split_once("<!-- end of summary -->").expect("the markers stay");
    assert!(summary.contains("| 8.50 | 17.0 (go) | 2.00 times ahead |"), "{text}");

    fs::write(&document, "no markers").expect("the scratch folder is writable");
    let refused = bench(&["markdown", &json, "--into", &document.to_string_lossy()]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("<!-- results -->"), "{}", stderr(&refused));
}
