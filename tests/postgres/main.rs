//! The client of PostgreSQL against a real server.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/postgres.rs"]
mod postgres;
#[path = "../common/proxy.rs"]
mod proxy;
#[path = "../common/spans.rs"]
mod spans;

mod auth;
mod cancel;
mod certificates;
mod copy;
mod faults;
mod hostile;
mod hosts;
mod listen;
mod networks;
mod pool;
mod queries;
mod simple;
mod tells;
mod tls;
mod transactions;
mod types_vs_psql;
mod unsent;

use cede::postgres::Client;

use postgres::Postgres;

/// Runs a test body in a runtime, with a client of the server that all tests share.
fn with_client<T: Send + 'static>(body: impl FnOnce(Client) -> T + Send + 'static) -> T {
    common::within_reason(move || {
        let url = Postgres::shared().url("postgres");
        cede::run(|| body(Client::connect(url).unwrap())).unwrap()
    })
}

/// Waits, in a fiber, until a session of the server is in the midst of this statement.
fn until_it_runs(server: &Postgres, sql: &str) {
    let count =
        format!("select count(*) from pg_stat_activity where state = 'active' and query = '{sql}'");
    common::eventually("the statement runs", || {
        cede::sleep(std::time::Duration::from_millis(1)).unwrap();
        server.psql(&count) != "0"
    });
}
