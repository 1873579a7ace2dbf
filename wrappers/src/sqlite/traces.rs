//! Spans say what was asked and how much came, and never a value.

use std::fmt;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::{Config, Database, Result};

/// Notes the fields of all spans, one after the other.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<String>>);

impl Visit for Notes {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut notes = self.0.lock().unwrap();
        *notes += &format!("{field}={value:?};");
    }
}

impl Subscriber for Notes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.name() == "sqlite"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {
        panic!("a span that is entered counts for all fibers of the thread");
    }
    fn exit(&self, _: &Id) {}
}

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
        let notes = Notes::default();
        tracing::subscriber::with_default(notes.clone(), || {
            let open = move || Config::new().in_place(in_place).open_in_memory();
            cede_fiber::run(move || calls(&open().unwrap()).unwrap()).unwrap();
        });
        let notes = notes.0.lock().unwrap();
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
