//! Sessions over TLS, with SCRAM and COPY, on networks that are slow, cut and falsify.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use cede::postgres::{Client, Config, Error};

use crate::certificates::{Guarded, PASSWORD};
use crate::common::{Random, within_reason};
use crate::proxy::{Condition, Proxy};

const ROWS: u64 = 500;

fn line(run: u64, id: u64) -> String {
    format!("{run}\t{id}\tthe name of number {id}\n")
}

/// Rows go in, and come out as they were.
fn copy_both_ways(client: &Client, run: u64) -> Result<(), Error> {
    let mut copy = client.copy_in("copy networks from stdin")?;
    for id in 0..ROWS {
        copy.write_all(line(run, id).as_bytes())?;
    }
    assert_eq!(copy.finish()?, ROWS);
    let mut text = String::new();
    let sql = format!("copy (select * from networks where run = {run} order by id) to stdout");
    client.copy_out(&sql)?.read_to_string(&mut text)?;
    assert_eq!(text, (0..ROWS).map(|id| line(run, id)).collect::<String>());
    Ok(())
}

/// What is encrypted is right or an error, never wrong; rows are there as a whole or not at all.
#[test]
fn encrypted_sessions_on_networks_that_fail() {
    within_reason(|| {
        let guarded = Guarded::shared();
        guarded.server.psql(
            "create table networks (run int, id int, name text); grant all on networks to scram",
        );
        let server = SocketAddr::from(([127, 0, 0, 1], guarded.server.port()));
        let mut random = Random::new();
        let (mut believed, mut run) = (0, 0);
        for condition in Condition::ALL {
            for _ in 0..if condition == Condition::Corrupt { 12 } else { 2 } {
                let proxy = Proxy::start(server, condition, random.fork());
                let mut config: Config = format!(
                    "host=localhost hostaddr={} port={} user=scram dbname=postgres \
                     sslmode=verify-full sslrootcert={} channel_binding=require",
                    proxy.addr().ip(),
                    proxy.addr().port(),
                    guarded.path("root.pem").display(),
                )
                .parse()
                .unwrap();
                config.password(PASSWORD);
                run += 1;
                let patience = if condition.is_faithful() { 60_000 } else { 500 };
                config.connect_timeout(Duration::from_millis(patience));
                config.reconnect_timeout(Duration::from_millis(patience));
                let result = cede::run(move || {
                    cede::with_deadline(Duration::from_millis(patience), || {
                        copy_both_ways(&Client::connect(config)?, run)
                    })
                })
                .unwrap();
                match result {
                    Ok(()) => believed += 1,
                    Err(error) => {
                        assert!(!condition.is_faithful(), "{condition:?}: {error}");
                        assert!(error.host().is_some(), "{condition:?}: {error}");
                    }
                }
            }
        }
        assert!(believed >= 8, "the four faithful ones, twice: {believed}");
        let sql = format!("select count(*) from networks group by run having count(*) <> {ROWS}");
        assert_eq!(guarded.server.psql(&sql), "");
    });
}
