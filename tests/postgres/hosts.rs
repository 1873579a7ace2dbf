//! Several hosts: dead ones, standbys, those that cannot be written to.

use std::net::TcpListener;
use std::sync::OnceLock;

use cede::postgres::{Client, Error, ErrorKind, Event, Phase, SqlState};

use crate::certificates::Guarded;
use crate::common::within_reason;
use crate::postgres::Postgres;

/// The port of the server that a session with these settings is on.
fn server_of(ports: &[u16], parameters: &str) -> Result<u16, Error> {
    let hosts: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let url = format!("postgres://postgres@{}/postgres?{parameters}", hosts.join(","));
    within_reason(|| {
        cede::run(|| {
            let client = Client::connect(url)?;
            let port = client.query_one("select current_setting('port')::int4", &[])?;
            port.try_get::<_, i32>(0).map(|port| port as u16)
        })
        .unwrap()
    })
}

fn standby() -> u16 {
    static STANDBY: OnceLock<Postgres> = OnceLock::new();
    STANDBY.get_or_init(|| Postgres::builder().standby().start()).port()
}

fn dead() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn the_first_host_that_serves_is_taken() {
    let (dead, live) = (dead(), Postgres::shared().port());
    assert_eq!(server_of(&[dead, live], "").unwrap(), live);
    assert_eq!(server_of(&[live, dead], "").unwrap(), live);
    for _ in 0..4 {
        assert_eq!(server_of(&[dead, live], "load_balance_hosts=random").unwrap(), live);
    }
    let error = server_of(&[dead, dead], "").unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Connect, Phase::Connect), "{error}");
    assert!(error.to_string().contains("2 attempts"), "{error}");
}

#[test]
fn hosts_are_taken_by_what_their_sessions_can_do() {
    let (primary, standby) = (Postgres::shared().port(), standby());
    let hosts = [standby, primary];
    let check = |attrs: &str, hosts: &[u16], expected| {
        let port = server_of(hosts, &format!("target_session_attrs={attrs}")).unwrap();
        assert_eq!(port, expected, "{attrs}");
    };
    check("any", &hosts, standby);
    check("read-write", &hosts, primary);
    check("primary", &hosts, primary);
    check("read-only", &[primary, standby], standby);
    check("standby", &[primary, standby], standby);
    check("prefer-standby", &[primary, standby], standby);
    check("prefer-standby", &[primary, dead()], primary);
    for (attrs, host) in [("read-write", standby), ("standby", primary), ("primary", standby)] {
        let error = server_of(&[host], &format!("target_session_attrs={attrs}")).unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Connect, Phase::Startup), "{error}");
        assert!(error.to_string().contains("target_session_attrs"), "{error}");
    }
}

#[test]
fn a_default_of_the_session_counts_as_read_only() {
    let port = Postgres::shared().port();
    let connect = |attrs: &str| {
        let options = "options=-c%20default_transaction_read_only%3Don";
        server_of(&[port], &format!("target_session_attrs={attrs}&{options}"))
    };
    assert_eq!(connect("read-only").unwrap(), port);
    assert_eq!(connect("primary").unwrap(), port);
    assert!(connect("read-write").unwrap_err().to_string().contains("read-only"));
}

#[test]
fn a_wrong_password_is_not_tried_on_the_next_host() {
    let (guarded, open) = (Guarded::shared().server.port(), Postgres::shared().port());
    let error = server_of(&[guarded, open], "user=scram&password=wrong").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    assert_eq!(error.host(), Some(&*format!("127.0.0.1:{guarded}")), "{error}");
    assert!(!error.to_string().contains(&open.to_string()), "{error}");
}

#[test]
fn a_server_that_is_full_is_left_for_the_next() {
    let (full, open) = (Guarded::shared(), Postgres::shared());
    full.server.psql("create role crowd login connection limit 0");
    open.psql("create role crowd login");
    let port = server_of(&[full.server.port(), open.port()], "user=crowd").unwrap();
    assert_eq!(port, open.port());
    let error = server_of(&[full.server.port()], "user=crowd").unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::TOO_MANY_CONNECTIONS), "{error}");
    open.psql("drop role crowd");
}

#[test]
fn a_client_whose_server_dies_goes_on_with_the_next() {
    let (dying, other) = (Postgres::start(), Postgres::shared().port());
    let hosts = format!("127.0.0.1:{},127.0.0.1:{other}", dying.port());
    let url = format!("postgres://postgres@{hosts}/postgres?target_session_attrs=read-write");
    within_reason(move || {
        cede::run(|| {
            let client = Client::connect(url).unwrap();
            let mut notifications = client.listen("failover").unwrap();
            assert_eq!(client.host(), format!("127.0.0.1:{}", dying.port()));
            dying.kill();
            assert_eq!(notifications.recv().unwrap(), Event::Reconnected);
            assert_eq!(client.host(), format!("127.0.0.1:{other}"));
            client.notify("failover", "here").unwrap();
            assert!(matches!(notifications.recv().unwrap(), Event::Notification(_)));
        })
        .unwrap();
    });
}
