//! TLS to a real server: all modes, certificates of both sides, many fibers.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use cede::postgres::{Client, Error, ErrorKind, Phase, SqlState};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::certificates::Guarded;
use crate::common::within_reason;
use crate::postgres::Postgres;

/// Whether a session with these settings is encrypted.
fn is_encrypted(url: String) -> Result<bool, Error> {
    within_reason(|| {
        cede::run(|| {
            let client = Client::connect(url)?;
            let sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
            client.query_one(sql, &[])?.try_get(0)
        })
        .unwrap()
    })
}

fn root(name: &str) -> String {
    format!("sslrootcert={}", Guarded::shared().path(name).display())
}

fn check(user: &str, parameters: &str, expected: bool) {
    let url = Guarded::shared().url(user, parameters);
    assert_eq!(is_encrypted(url).unwrap(), expected, "{user} {parameters}");
}

fn refused(user: &str, parameters: &str) -> Error {
    is_encrypted(Guarded::shared().url(user, parameters)).unwrap_err()
}

#[test]
fn each_mode_is_encrypted_or_not() {
    check("postgres", "sslmode=disable", false);
    check("postgres", "sslmode=allow", false);
    check("postgres", "sslmode=prefer", true);
    check("postgres", "", true);
    check("postgres", "sslmode=require", true);
    check("postgres", &format!("sslmode=verify-ca&{}", root("root.pem")), true);
    check("postgres", &format!("sslmode=verify-full&{}", root("root.pem")), true);
}

#[test]
fn the_other_way_is_tried_where_the_mode_allows_it() {
    check("tls_only", "sslmode=allow", true);
    check("plain_only", "sslmode=prefer", false);
    // A root that does not fit: `prefer` goes without TLS, as libpq does.
    check("postgres", &format!("sslmode=prefer&{}", root("other.pem")), false);
    for (user, mode) in [("tls_only", "disable"), ("plain_only", "require")] {
        let error = refused(user, &format!("sslmode={mode}"));
        assert_eq!(error.code(), Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION), "{error}");
    }
}

#[test]
fn a_certificate_that_does_not_fit_is_refused() {
    let tls = |parameters: &str, words: &str| {
        let error = refused("postgres", parameters);
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Tls, Phase::Tls), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    tls(&format!("sslmode=verify-full&{}", root("other.pem")), "root certificate");
    tls(&format!("sslmode=verify-ca&{}", root("other.pem")), "root certificate");
    // Roots make more of `require`.
    tls(&format!("sslmode=require&{}", root("other.pem")), "root certificate");
    // Nobody that the system trusts has signed it.
    tls("sslmode=verify-full", "root certificate");
    let by_address = format!("host=127.0.0.1&sslmode=verify-full&{}", root("root.pem"));
    tls(&by_address, "localhost");
    let both = format!("hostaddr=127.0.0.1&sslmode=verify-full&{}", root("root.pem"));
    check("postgres", &both, true);
    let any_name = format!("host=127.0.0.1&sslmode=verify-ca&{}", root("root.pem"));
    check("postgres", &any_name, true);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let config = |parameters: &str, words: &str| {
        let error = refused("postgres", parameters);
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Config, Phase::Config), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    config("sslmode=verify-ca", "sslrootcert");
    config("sslmode=require&sslrootcert=system", "verify-full");
    config("sslmode=require&sslcert=/nonexistent", "sslkey");
    config("sslmode=verify-full&sslrootcert=/nonexistent/root.pem", "/nonexistent/root.pem");
}

#[test]
fn a_client_is_known_by_its_certificate() {
    let own = |name: &str| {
        let path = |file: String| Guarded::shared().path(&file).display().to_string();
        let (cert, key) = (path(format!("{name}.pem")), path(format!("{name}.key")));
        format!("sslmode=verify-full&{}&sslcert={cert}&sslkey={key}", root("root.pem"))
    };
    check("joe", &own("joe"), true);
    let error = refused("joe", &format!("sslmode=verify-full&{}", root("root.pem")));
    assert_eq!(error.code(), Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION), "{error}");
    // One that the server does not trust ends the handshake.
    let error = refused("joe", &own("stranger"));
    assert!(
        matches!(error.kind(), ErrorKind::Tls | ErrorKind::Closed | ErrorKind::Protocol),
        "{error}"
    );
}

#[test]
fn a_server_without_tls_is_refused_where_it_is_needed() {
    let url = |mode| format!("{}?sslmode={mode}", Postgres::shared().url("postgres"));
    assert!(!is_encrypted(url("prefer")).unwrap());
    let error = is_encrypted(url("require")).unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Tls, Phase::Tls), "{error}");
    assert!(error.to_string().contains("no TLS"), "{error}");
}

#[test]
fn many_fibers_use_one_encrypted_connection() {
    let url = Guarded::shared().url("postgres", "sslmode=require");
    within_reason(|| {
        cede::run(|| {
            let client = Client::connect(url).unwrap();
            let fibers: Vec<_> = (0..100_i32)
                .map(|i| {
                    let client = client.clone();
                    cede::spawn(move || {
                        // Long enough that requests and answers are many records each.
                        let text = char::from(b'a' + (i % 26) as u8).to_string().repeat(50_000);
                        let row = client.query_one("select $1 || $2::int4::text", &[&text, &i])?;
                        assert_eq!(row.try_get::<_, String>(0)?, format!("{text}{i}"));
                        Ok::<_, Error>(())
                    })
                })
                .collect();
            fibers.into_iter().for_each(|fiber| fiber.join().unwrap().unwrap());
        })
        .unwrap();
    });
}

#[test]
fn a_statement_is_cancelled_over_tls() {
    let url = Guarded::shared().url("postgres", "sslmode=require&application_name=cede_tls_cancel");
    within_reason(|| {
        cede::run(|| {
            let client = Client::connect(url).unwrap();
            let error = cede::with_deadline(Duration::from_millis(50), || {
                client.batch_execute("select pg_sleep(100)")
            });
            assert!(error.unwrap_err().is_timeout());
            // It waits behind the other one, which ends soon only if the cancel has come.
            let row = client.query_one("select 1", &[]).unwrap();
            assert_eq!(row.get::<_, i32>(0), 1);
        })
        .unwrap();
    });
}

/// Takes TLS from clients that begin with it, as servers do since version 17, and passes questions
/// and answers on to one that does not.
fn direct_front(plain_port: u16) -> u16 {
    let guarded = Guarded::shared();
    let certificate = CertificateDer::from_pem_file(guarded.path("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(guarded.path("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    // A client that does not ask for it is refused.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move |client: TcpStream| -> io::Result<()> {
        let session = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
        let mut client = StreamOwned::new(session, client);
        let mut server = TcpStream::connect(("127.0.0.1", plain_port))?;
        let mut bytes = [0; 8192];
        loop {
            let n = client.read(&mut bytes)?;
            if n == 0 || client.conn.alpn_protocol() != Some(b"postgresql") {
                return Ok(());
            }
            server.write_all(&bytes[..n])?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"Z\0\0\0\x05I") {
                let n = server.read(&mut bytes)?;
                if n == 0 {
                    return Ok(());
                }
                answer.extend_from_slice(&bytes[..n]);
            }
            client.write_all(&answer)?;
        }
    };
    // They end with the process.
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || drop(serve(client)));
        }
    });
    port
}

#[test]
fn tls_may_begin_at_once() {
    let port = direct_front(Postgres::shared().port());
    let url = |parameters: &str| {
        format!("postgres://postgres@localhost:{port}/postgres?{parameters}&{}", root("root.pem"))
    };
    // The server behind the front knows of no TLS.
    let direct = url("sslmode=verify-full&sslnegotiation=direct&hostaddr=127.0.0.1");
    assert!(!is_encrypted(direct).unwrap());
    let error = is_encrypted(url("sslmode=verify-full&hostaddr=127.0.0.1")).unwrap_err();
    assert_eq!(error.phase(), Phase::Tls, "{error}");
    let error = is_encrypted(url("sslmode=prefer&sslnegotiation=direct")).unwrap_err();
    assert!(error.to_string().contains("sslmode=require"), "{error}");
    // A server that waits to be asked.
    let error = refused("postgres", "sslmode=require&sslnegotiation=direct");
    assert_eq!(error.phase(), Phase::Tls, "{error}");
}
