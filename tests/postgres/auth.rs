//! Who is it: passwords in all forms, refusals, the password file.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use cede::postgres::{Client, Config, Error, ErrorKind, Phase, SqlState};

use crate::certificates::{Guarded, PASSWORD, PASSWORD_ENCODED};
use crate::common::within_reason;
use crate::postgres::Postgres;

/// Connects, and says who one is there.
fn who(config: impl TryInto<Config, Error = Error> + Send + 'static) -> Result<String, Error> {
    within_reason(|| {
        cede::run(|| {
            let client = Client::connect(config.try_into()?)?;
            client.query_one("select current_user::text", &[])?.try_get(0)
        })
        .unwrap()
    })
}

/// A URL as settings.
struct Url(String);

impl TryFrom<Url> for Config {
    type Error = Error;

    fn try_from(url: Url) -> Result<Self, Error> {
        url.0.parse()
    }
}

struct Given(Config);

impl TryFrom<Given> for Config {
    type Error = Error;

    fn try_from(given: Given) -> Result<Self, Error> {
        Ok(given.0)
    }
}

fn url(user: &str, parameters: &str) -> Url {
    Url(Guarded::shared().url(user, parameters))
}

fn refused(url: Url) -> Error {
    let error = who(url).unwrap_err();
    let port = Guarded::shared().server.port();
    assert_eq!(error.host(), Some(&*format!("localhost:{port}")), "{error}");
    assert!(!error.to_string().contains(PASSWORD) && !format!("{error:?}").contains(PASSWORD));
    error
}

#[test]
fn the_right_password_is_taken_in_every_form() {
    for user in ["scram", "md5", "clear"] {
        for mode in ["disable", "require"] {
            let name = format!("{user}:{PASSWORD_ENCODED}");
            assert_eq!(who(url(&name, &format!("sslmode={mode}"))).unwrap(), user, "{mode}");
        }
    }
}

#[test]
fn the_wrong_password_is_named_as_the_reason() {
    for user in ["scram", "md5", "clear"] {
        let error = refused(url(&format!("{user}:wrong"), "sslmode=disable"));
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
        assert_eq!(error.phase(), Phase::Authenticate, "{error}");
        assert_eq!(error.code(), Some(&SqlState::INVALID_PASSWORD), "{error}");
        assert!(error.to_string().contains(user), "{error}");
    }
}

#[test]
fn who_is_not_known_or_not_wanted_is_refused() {
    // A server does not say whether there is such a user.
    let error = refused(url("nobody", "sslmode=disable"));
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    assert_eq!(error.code(), Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION), "{error}");
    let error = refused(url("whoever", "sslmode=disable"));
    assert_eq!(error.code(), Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION), "{error}");
    let error = refused(url("postgres", "sslmode=disable&dbname=nowhere"));
    assert_eq!(error.kind(), ErrorKind::Db, "{error}");
    assert_eq!(error.code(), Some(&SqlState::INVALID_CATALOG_NAME), "{error}");
    let error = refused(url("postgres", "sslmode=disable&options=-c%20nonsense%3D1"));
    assert_eq!(error.code(), Some(&SqlState::UNDEFINED_OBJECT), "{error}");
}

#[test]
fn a_password_that_is_not_there_is_missed() {
    let error = refused(url("scram", "sslmode=disable&passfile=/nonexistent/pgpass"));
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    assert!(error.to_string().contains("/nonexistent/pgpass"), "{error}");
}

#[test]
fn the_password_file_is_asked_by_host_and_port() {
    let path = std::env::temp_dir().join(format!("cede-pgpass-{}", std::process::id()));
    let port = Guarded::shared().server.port();
    let password = PASSWORD.replace('\\', "\\\\").replace(':', "\\:");
    let text = format!("localhost:1:*:scram:wrong\nlocalhost:{port}:postgres:scram:{password}\n");
    fs::write(&path, text).unwrap();
    let settings = format!("sslmode=disable&passfile={}", path.display());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let read = who(url("scram", &settings));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    let ignored = who(url("scram", &settings));
    fs::remove_file(&path).unwrap();
    assert_eq!(read.unwrap(), "scram");
    assert!(ignored.unwrap_err().to_string().contains("chmod 0600"));
}

#[test]
fn methods_that_are_forbidden_are_not_used() {
    let connect = |user: &str, methods: &str| {
        let name = format!("{user}:{PASSWORD_ENCODED}");
        who(url(&name, &format!("sslmode=disable&require_auth={methods}")))
    };
    assert_eq!(connect("scram", "scram-sha-256").unwrap(), "scram");
    assert_eq!(connect("md5", "!password").unwrap(), "md5");
    for (user, methods) in [("clear", "!password"), ("md5", "scram-sha-256"), ("scram", "none")] {
        let error = connect(user, methods).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
        assert!(error.to_string().contains("require_auth"), "{error}");
    }
}

#[test]
fn scram_is_bound_to_tls() {
    let name = format!("scram:{PASSWORD_ENCODED}");
    let connect = |settings: &str| who(url(&name, settings));
    for binding in ["disable", "prefer", "require"] {
        let settings = format!("sslmode=require&channel_binding={binding}");
        assert_eq!(connect(&settings).unwrap(), "scram", "{binding}");
    }
    let error = connect("sslmode=disable&channel_binding=require").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    let name = format!("md5:{PASSWORD_ENCODED}");
    let error = who(url(&name, "sslmode=require&channel_binding=require")).unwrap_err();
    assert!(error.to_string().contains("md5"), "{error}");
}

#[test]
fn a_unix_socket_is_a_directory() {
    let guarded = Guarded::shared();
    let mut config = Config::new();
    config.host_path(guarded.socket_dir()).port(guarded.server.port());
    config.user("scram").password(PASSWORD).dbname("postgres");
    assert_eq!(who(Given(config.clone())).unwrap(), "scram");
    config.password("wrong");
    let error = who(Given(config)).unwrap_err();
    let socket = guarded.socket_dir().join(format!(".s.PGSQL.{}", guarded.server.port()));
    assert_eq!(error.host(), socket.to_str(), "{error}");
    let directory = Postgres::shared().socket_dir().to_str().unwrap();
    let port = Postgres::shared().port();
    let encoded = directory.replace('/', "%2F");
    let url = format!("postgres://postgres@{encoded}:{port}/");
    assert_eq!(who(Url(url)).unwrap(), "postgres");
    let pairs = format!("host={directory} port={port} user=postgres sslmode=require");
    // It has no TLS and needs none.
    assert_eq!(who(Url(pairs)).unwrap(), "postgres");
    let error = who(Url("host=/nonexistent user=postgres".into())).unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Connect, Phase::Connect), "{error}");
    assert!(error.to_string().contains("/nonexistent/.s.PGSQL.5432"), "{error}");
}
