//! Spans say what was asked and how much came, and never a value.

use cede::sqlite::{Config, Database, Result};

use crate::spans::noted;

fn calls(db: &Database) -> Result<()> {
    db.execute_batch("CREATE TABLE t (a UNIQUE)")?;
    db.execute("INSERT INTO t VALUES (?1)", ["secret"])?;
    let found: Vec<String> = db.query("SELECT a FROM t WHERE a = ?1", ["secret"])?;
    assert_eq!(found, ["secret"]);
    assert!(db.execute("INSERT INTO t VALUES (?1)", ["secret"]).is_err());
    db.query_each("SELECT a FROM t", (), |_: String| Ok(()))?;
    // Cut where a character begins.
    db.query::<String>(&format!("SELECT  '{}'", "ä".repeat(1000)), ())?;
    db.transaction(|_| Ok(()))
}

#[test]
fn spans_have_statements_and_counts_and_no_values() {
    for (in_place, place) in [(true, "shard"), (false, "pool")] {
        let notes = noted("sqlite", || {
            let open = move || Config::new().in_place(in_place).open_in_memory();
            cede::run(move || calls(&open().unwrap()).unwrap()).unwrap();
        });
        let select = r#"db=":memory:";statement="SELECT a FROM t WHERE a = ?1";rows=1;"#;
        assert!(notes.contains(&format!("{select}place={place:?};")), "{notes}");
        let insert = r#"statement="INSERT INTO t VALUES (?1)";"#;
        assert!(notes.contains(&format!("{insert}rows=1;")), "{notes}");
        assert!(notes.contains(&format!("{insert}error=Constraint;")), "{notes}");
        assert!(notes.contains(r#"statement="SELECT a FROM t";rows=1;"#), "{notes}");
        assert!(notes.contains(r#"statement="a transaction";"#), "{notes}");
        assert!(notes.contains(&format!(r#"statement="SELECT  '{}";rows=1;"#, "ä".repeat(251))));
        assert!(!notes.contains("secret"), "{notes}");
    }
}
