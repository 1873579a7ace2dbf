//! Texts of several statements, and their rows as text.

use cede::postgres::{Client, Error, ErrorKind, SimpleQueryMessage, SqlState};

use crate::with_client;

/// One line for each part of what a simple query returns.
fn simple(client: &Client, sql: &str) -> Result<Vec<String>, Error> {
    let line = |message| match message {
        SimpleQueryMessage::RowDescription(names) => format!("columns {names:?}"),
        SimpleQueryMessage::Row(row) => {
            let values: Vec<_> = (0..row.len()).map(|column| row.get(column)).collect();
            format!("row {values:?}")
        }
        SimpleQueryMessage::CommandComplete(rows) => format!("complete {rows}"),
        other => panic!("{other:?}"),
    };
    Ok(client.simple_query(sql)?.into_iter().map(line).collect())
}

#[test]
fn a_simple_query_gives_rows_as_text() {
    with_client(|client| {
        let got = simple(
            &client,
            "create temp table simple (id int, name text);
             insert into simple values (1, 'Ann'), (2, null);
             select id, name from simple order by id; ; select from simple;
             select 1.50::numeric as n, array[1,2] as \"N\", '\\xff'::bytea where true;
             update simple set id = 3 where id > 2",
        );
        let expected = [
            "complete 0",
            "complete 2",
            r#"columns ["id", "name"]"#,
            r#"row [Some("1"), Some("Ann")]"#,
            r#"row [Some("2"), None]"#,
            "complete 2",
            "columns []",
            "row []",
            "row []",
            "complete 2",
            r#"columns ["n", "N", "bytea"]"#,
            r#"row [Some("1.50"), Some("{1,2}"), Some("\\xff")]"#,
            "complete 1",
            "complete 0",
        ];
        assert_eq!(got.unwrap(), expected);
        assert_eq!(simple(&client, "").unwrap(), ["complete 0"]);
        let message = client.simple_query("select 7 as n").unwrap().swap_remove(1);
        let SimpleQueryMessage::Row(row) = message else { panic!("{message:?}") };
        assert_eq!((row.get("n"), row.try_get("N").unwrap()), (Some("7"), Some("7")));
        assert_eq!(row.try_get("m").unwrap_err().kind(), ErrorKind::Column);
        // What fails takes all of the text along, and the next one goes on.
        let error = simple(&client, "delete from simple; select 1/0; select 2").unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::DIVISION_BY_ZERO));
        assert_eq!(
            simple(&client, "select count(*) from simple").unwrap()[1],
            r#"row [Some("2")]"#
        );
        let in_it = client.transaction(|tx| simple(tx, "delete from simple; table simple"));
        assert_eq!(in_it.unwrap(), ["complete 2", r#"columns ["id", "name"]"#, "complete 0"]);
        assert_eq!(client.metrics().connects, 1);
    });
}
