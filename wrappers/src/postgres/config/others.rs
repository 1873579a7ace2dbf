//! The parameters of libpq that are not settings here.
//!
//! The rule of this file: what would be less safe, or another thing, if it was left out is refused;
//! what asks for the way it is anyway is taken.

use crate::postgres::error::Error;

/// A parameter that is not a setting.
struct Other {
    key: &'static str,
    /// The environment's variable, if it counts.
    variable: Option<&'static str>,
    /// What it may be. Anything when there is a lone `*`.
    taken: &'static [&'static str],
    /// Why it cannot be anything else.
    why: &'static str,
}

const fn other(
    key: &'static str,
    variable: Option<&'static str>,
    taken: &'static [&'static str],
    why: &'static str,
) -> Other {
    Other { key, variable, taken, why }
}

const NO_GSSAPI: &str = "there is no GSSAPI here";
const NO_OAUTH: &str = "there is no OAuth here";
const NO_SERVICE: &str = "pg_service.conf is not read: write its settings out";
const NO_REVOCATION: &str = "lists of revoked certificates are not read";
const NO_KEYS: &str = "use the password";
const FALSE: &[&str] = &["0", "false", "off", "no"];

const OTHERS: &[Other] = &[
    other("client_encoding", None, &["utf8", "utf-8", "unicode", "auto"], "strings are UTF-8 here"),
    other("gssencmode", Some("PGGSSENCMODE"), &["disable", "prefer"], NO_GSSAPI),
    // They say how something is done that is not done.
    other("krbsrvname", None, &["*"], NO_GSSAPI),
    other("gsslib", None, &["*"], NO_GSSAPI),
    other("gssdelegation", None, &["*"], NO_GSSAPI),
    other("service", Some("PGSERVICE"), &[], NO_SERVICE),
    other("servicefile", None, &[], NO_SERVICE),
    other("replication", None, FALSE, "there is no replication here"),
    other(
        "requirepeer",
        Some("PGREQUIREPEER"),
        &[],
        "who owns a server's process is not looked at",
    ),
    other("requiressl", Some("PGREQUIRESSL"), &["0"], "it is old: use sslmode=require"),
    other("sslcompression", Some("PGSSLCOMPRESSION"), &["0"], "TLS is not compressed"),
    other("sslsni", Some("PGSSLSNI"), &["1"], "the name of the server is always sent"),
    other("sslcertmode", Some("PGSSLCERTMODE"), &["allow"], "sslcert alone says what is sent"),
    other("sslpassword", None, &[], "keys that are encrypted are not read"),
    other("sslcrl", Some("PGSSLCRL"), &[], NO_REVOCATION),
    other("sslcrldir", Some("PGSSLCRLDIR"), &[], NO_REVOCATION),
    other("sslkeylogfile", None, &[], "keys are not written anywhere"),
    other(
        "ssl_min_protocol_version",
        Some("PGSSLMINPROTOCOLVERSION"),
        &["tlsv1", "tlsv1.1", "tlsv1.2"],
        "it is 1.2 at least, and 1.3 where the server has it",
    ),
    other(
        "ssl_max_protocol_version",
        Some("PGSSLMAXPROTOCOLVERSION"),
        &["tlsv1.3"],
        "the server chooses up to 1.3",
    ),
    other("min_protocol_version", Some("PGMINPROTOCOLVERSION"), &["3.0"], "it is 3.0"),
    other("max_protocol_version", Some("PGMAXPROTOCOLVERSION"), &["3.0", "latest"], "it is 3.0"),
    other("scram_client_key", None, &[], NO_KEYS),
    other("scram_server_key", None, &[], NO_KEYS),
    other("oauth_issuer", None, &[], NO_OAUTH),
    other("oauth_client_id", None, &[], NO_OAUTH),
    other("oauth_client_secret", None, &[], NO_OAUTH),
    other("oauth_scope", None, &[], NO_OAUTH),
];

/// The variables that must not ask for what is not there, and their parameters.
pub(super) fn variables() -> impl Iterator<Item = (&'static str, &'static str)> {
    OTHERS.iter().filter_map(|other| Some((other.variable?, other.key)))
}

/// Takes a parameter that is no setting, if it asks for what is done anyway.
pub(super) fn check(key: &str, value: &str) -> Result<(), Error> {
    let Some(other) = OTHERS.iter().find(|other| other.key == key) else {
        return Err(Error::config(format!(
            "{key:?} is no parameter of a connection; see the table at Config"
        )));
    };
    let taken = other.taken;
    if taken == ["*"] || taken.iter().any(|taken| taken.eq_ignore_ascii_case(value)) {
        return Ok(());
    }
    let why = other.why;
    Err(Error::config(match taken {
        [] => format!("{key} is not supported: {why}"),
        taken => format!("{key} must be {}: {why}", taken.join(" or ")),
    }))
}
