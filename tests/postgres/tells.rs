//! What spans tell: statements and counts, never a value.

use std::io::Write;

use cede::postgres::{Client, Error};

use crate::postgres::Postgres;
use crate::spans::noted;

fn calls(client: &Client) -> Result<(), Error> {
    client.batch_execute("create temp table spans (a text unique)")?;
    let insert = "insert into spans values ($1)";
    client.execute(insert, &[&"secret"])?;
    // The server's words name the key.
    let error = client.execute(insert, &[&"secret"]).unwrap_err();
    assert!(error.to_string().contains("secret"), "{error}");
    assert!(client.query_each(insert, &[&"secret"], |_| Ok::<_, Error>(())).is_err());
    client.query_each("table spans", &[], |_| Ok::<_, Error>(()))?;
    let mut copy = client.copy_in("copy spans from stdin")?;
    copy.write_all(b"more\nsecret\n")?;
    assert!(copy.finish().is_err());
    let mut copy = client.copy_in("copy spans from stdin")?;
    copy.write_all(b"more\n")?;
    assert_eq!(copy.finish()?, 1);
    let pieces = client.copy_out("copy spans to stdout")?.collect::<Result<Vec<_>, _>>()?;
    assert_eq!(pieces.concat(), b"secret\nmore\n");
    assert!(client.copy_in("copy none from stdin").is_err());
    client.execute("delete from spans where a = $1", &[&"more"])?;
    let row = client.simple_query("select * from spans")?;
    assert_eq!(row.len(), 3);
    let copied = "create temp table copied as table spans; insert into copied select a from spans";
    client.batch_execute(copied)?;
    assert!(client.batch_execute("select a::int from spans").is_err());
    Ok(())
}

#[test]
fn spans_have_statements_and_counts_and_no_values() {
    let url = Postgres::shared().url("postgres");
    let notes = noted("postgres", || {
        cede::run(|| calls(&Client::connect(url).unwrap()).unwrap()).unwrap();
    });
    let insert = r#"statement="insert into spans values ($1)";"#;
    assert!(notes.contains(&format!("{insert}rows=1;")), "{notes}");
    assert_eq!(notes.matches(&format!(r#"{insert}error="23505";"#)).count(), 2, "{notes}");
    assert!(notes.contains(r#"statement="table spans";rows=1;"#), "{notes}");
    assert!(notes.contains(r#"statement="select * from spans";rows=1;"#), "{notes}");
    let copy = r#"statement="copy spans from stdin";"#;
    assert!(notes.contains(&format!(r#"{copy}error="23505";{copy}rows=1;"#)), "{notes}");
    assert!(notes.contains(r#"statement="copy spans to stdout";rows=2;"#), "{notes}");
    assert!(notes.contains(r#"statement="copy none from stdin";error="42P01";"#), "{notes}");
    assert!(notes.contains(r#"statement="select a::int from spans";error="22P02";"#), "{notes}");
    assert!(!notes.contains("secret"), "{notes}");
}
