//! Sessions over TLS, with SCRAM and COPY, on networks that are slow, cut and falsify.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use cede::postgres::{Client, Config, Error};

use crate::certificates::{Guarded, PASSWORD};
use crate::common::{Random, within_reason};
use crate::proxy::{Condition, Proxy};

const ROWS: u64 = 500;

fn line(id: u64) -> String {
    format!("{id}\tthe name of number {id}\n")
}

/// Rows go in, and come out as they were.
fn copy_both_ways(client: &Client) -> Result<(), Error> {
    let mut copy = client.copy_in("copy networks from stdin")?;
    for id in 0..ROWS {
        copy.write_all(line(id).as_bytes())?;
    }
    assert_eq!(copy.finish()?, ROWS);
    let mut text = String::new();
    let out = client.copy_out("copy (select * from networks order by id limit 500) to stdout");
    out?.read_to_string(&mut text)?;
    assert_eq!(text.len(), (0..ROWS).map(|id| line(id).len()).sum::<usize>());
    client.batch_execute(
        "delete from networks where ctid = any (select ctid from networks limit 500)",
    )
}

/// What is encrypted is right or an error, never wrong; rows are there as a whole or not at all.
#[test]
fn encrypted_sessions_on_networks_that_fail() {
    within_reason(|| {
        let guarded = Guarded::shared();
        guarded
            .server
            .psql("create table networks (id int, name text); grant all on networks to scram");
        let server = SocketAddr::from(([127, 0, 0, 1], guarded.server.port()));
        let mut random = Random::new();
        let mut believed = 0;
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
                let patience = if condition.is_faithful() { 60_000 } else { 500 };
                config.connect_timeout(Duration::from_millis(patience));
                config.reconnect_timeout(Duration::from_millis(patience));
                let result = cede::run(move || {
                    cede::with_deadline(Duration::from_millis(patience), || {
                        copy_both_ways(&Client::connect(config)?)
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
        let rest: u64 = guarded.server.psql("select count(*) from networks").parse().unwrap();
        assert_eq!(rest % ROWS, 0, "{rest}");
    });
}
