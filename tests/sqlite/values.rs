//! Values of all kinds go in and come out, as another program sees them.

use std::io::Write;
use std::process::{Command, Stdio};

use cede::sqlite::{Config, Database, ErrorKind, Row, Value};

use crate::common::{Random, within_reason};
use crate::folder::Folder;

fn value(random: &mut Random) -> Value {
    let edges = [0, 1, -1, i64::MAX, i64::MIN, 1 << 53, i64::from(i32::MIN) - 1];
    match random.below(8) {
        0 => Value::Null,
        1 => Value::Integer(edges[random.below(edges.len())]),
        2 => Value::Integer(random.next().cast_signed()),
        3 => Value::Real(random.below(1_000_000) as f64 / 64.0 - 1000.0),
        4 => Value::Real([0.0, 1e308, -1e-308, f64::INFINITY, 0.1][random.below(5)]),
        5 => {
            let letters = ["", "a", "\u{e9}", "\u{1f600}", "'", "\"", "\n", "e\u{301}", "\u{4e2d}"];
            let len = random.below(30);
            Value::Text((0..len).map(|_| letters[random.below(letters.len())]).collect())
        }
        6 => {
            let len = [0, 1, 7, 4096, 70_000][random.below(5)];
            Value::Blob((0..len).map(|_| random.next() as u8).collect())
        }
        _ => Value::Text("x".repeat([1000, 100_000][random.below(2)])),
    }
}

/// One line for each row, as the script below writes them.
fn lines(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .values()
            .iter()
            .map(|value| match value {
                Value::Null => "n".to_owned(),
                Value::Integer(n) => format!("i{n}"),
                Value::Real(x) => format!("r{:016x}", x.to_bits()),
                Value::Text(text) => format!("t{}", hex(text.as_bytes())),
                Value::Blob(bytes) => format!("b{}", hex(bytes)),
            })
            .collect();
        text += &cells.join(" ");
        text.push('\n');
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Another reader and writer of the same file format.
const SCRIPT: &str = r#"
import sqlite3, struct, sys
def cell(v):
    if v is None: return "n"
    if isinstance(v, int): return "i%d" % v
    if isinstance(v, float): return "r" + struct.pack(">d", v).hex()
    if isinstance(v, str): return "t" + v.encode().hex()
    return "b" + bytes(v).hex()
path, *statements = sys.argv[1:]
db = sqlite3.connect(path)
for statement in statements:
    for row in db.execute(statement):
        print(" ".join(map(cell, row)))
db.commit()
db.close()
"#;

fn python(path: &std::path::Path, statements: &[&str]) -> String {
    let mut command = Command::new("python3");
    command.arg("-").arg(path).args(statements);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(SCRIPT.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn values_are_those_that_python_sees() {
    const QUERIES: [&str; 4] = [
        "SELECT * FROM v ORDER BY id",
        "SELECT typeof(a), length(a), typeof(b), a IS b FROM v ORDER BY id",
        "SELECT typeof(a), count(*), max(length(b)) FROM v GROUP BY 1 ORDER BY 1",
        "SELECT id, upper(a) FROM v WHERE typeof(a) = 'text' ORDER BY a, id",
    ];
    within_reason(|| {
        let folder = Folder::new();
        let path = folder.file("a.db");
        let mut random = Random::new();
        let rows: Vec<(Value, Value)> =
            (0..300).map(|_| (value(&mut random), value(&mut random))).collect();
        for in_place in [true, false] {
            let (path, rows) = (path.clone(), rows.clone());
            cede::run(move || {
                let _ = std::fs::remove_file(&path);
                let db = Config::new().in_place(in_place).open(&path).unwrap();
                db.execute_batch("CREATE TABLE v (id INTEGER PRIMARY KEY, a, b)").unwrap();
                for (a, b) in &rows {
                    db.insert("INSERT INTO v (a, b) VALUES (?1, ?2)", (a, b)).unwrap();
                }
                let back: Vec<(Value, Value)> = db.query("SELECT a, b FROM v", ()).unwrap();
                assert!(back == rows);
                let mut each = Vec::new();
                db.query_each("SELECT a, b FROM v", (), |row: (Value, Value)| {
                    each.push(row);
                    Ok(())
                })
                .unwrap();
                assert!(each == rows);
                for sql in QUERIES {
                    let ours: Vec<Row> = db.query(sql, ()).unwrap();
                    assert!(lines(&ours) == python(&path, &[sql]), "{sql}");
                }
                // What the other one writes is seen at once.
                python(
                    &path,
                    &["DELETE FROM v WHERE id > 1", "UPDATE v SET a = 'by another', b = 7"],
                );
                let row: (String, i64) = db.query_one("SELECT a, b FROM v", ()).unwrap();
                assert_eq!(row, ("by another".to_owned(), 7));
                db.close().unwrap();
            })
            .unwrap();
        }
    });
}

#[test]
fn types_that_do_not_fit_are_errors() {
    within_reason(|| {
        cede::run(|| {
            let db = Database::open_in_memory().unwrap();
            let kind = |result: cede::sqlite::Result<()>| result.unwrap_err().kind();
            assert_eq!(kind(db.query_one::<u8>("SELECT 256", ()).map(drop)), ErrorKind::FromSql);
            assert_eq!(kind(db.query_one::<i64>("SELECT NULL", ()).map(drop)), ErrorKind::FromSql);
            assert_eq!(kind(db.query_one::<i64>("SELECT 1.5", ()).map(drop)), ErrorKind::FromSql);
            let not_utf8 = db.query_one::<String>("SELECT CAST(x'ff' AS TEXT)", ());
            assert_eq!(kind(not_utf8.map(drop)), ErrorKind::FromSql);
            assert_eq!(
                kind(db.query_one::<(i64, i64)>("SELECT 1", ()).map(drop)),
                ErrorKind::Column
            );
            let row: Row = db.query_one("SELECT 300 AS n", ()).unwrap();
            assert_eq!(row.get::<_, u8>("n").unwrap_err().kind(), ErrorKind::FromSql);
            assert_eq!(row.get::<_, String>("n").unwrap_err().kind(), ErrorKind::FromSql);
            assert_eq!(row.get::<_, i64>("m").unwrap_err().kind(), ErrorKind::Column);
            assert_eq!(row.get::<_, i64>(1).unwrap_err().kind(), ErrorKind::Column);
            assert_eq!(row.get::<_, i64>("N").unwrap(), 300);
        })
        .unwrap();
    });
}

#[test]
fn big_values_pass_in_both_directions() {
    within_reason(|| {
        cede::run(|| {
            let db = Database::open_in_memory().unwrap();
            let blob: Vec<u8> = (0..20_000_000_u32).map(|i| (i % 251) as u8).collect();
            let back: Vec<u8> = db.query_one("SELECT ?1", [&blob]).unwrap();
            assert!(back == blob);
            db.execute_batch("CREATE TABLE big (b BLOB)").unwrap();
            db.execute("INSERT INTO big VALUES (?1)", [&blob]).unwrap();
            let back: (Vec<u8>, i64) = db.query_one("SELECT b, length(b) FROM big", ()).unwrap();
            assert!(back.0 == blob && back.1 == 20_000_000);
            // More than SQLite can keep in one value.
            let error = db.query_one::<Vec<u8>>("SELECT zeroblob(2000000000)", ()).unwrap_err();
            assert_eq!(error.code(), Some(18), "{error}");
        })
        .unwrap();
    });
}
