//! The settings that are one of a few.
//!
//! The rule of this file: what is written and what is read are the names of libpq.

use std::path::PathBuf;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name or an address.
    Tcp(String),
    /// The directory of a UNIX socket.
    Unix(PathBuf),
}

impl Host {
    pub(super) fn new(text: &str) -> Self {
        if text.starts_with('/') { Self::Unix(text.into()) } else { Self::Tcp(text.into()) }
    }
}

/// Who may have signed the server's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SslRootCert {
    /// Whom the system trusts. That is only worth something with
    /// [`VerifyFull`](SslMode::VerifyFull), which is then what is meant if nothing else is said, and
    /// anything weaker is an error.
    System,
    /// Those in a file of PEM.
    File(PathBuf),
}

macro_rules! choices {
    ($(#[$doc:meta])* $name:ident { $($(#[$choice_doc:meta])* $choice:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$choice_doc])* #[doc = concat!("`", $text, "`")] $choice,)*
        }

        impl $name {
            /// What it may be, for an error.
            pub(super) const TEXTS: &[&str] = &[$($text),*];

            pub(super) fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$choice),)*
                    _ => None,
                }
            }
        }
    };
}

choices! {
    /// Whether TLS is used, and what of the server's certificate is verified.
    ///
    /// Only the last two keep out somebody in between. A UNIX socket never has TLS.
    SslMode {
        /// Never:
        Disable = "disable",
        /// Only when the server does not take the connection without:
        Allow = "allow",
        /// When the server has it, else without:
        Prefer = "prefer",
        /// Always, with any certificate (unless roots are given: then as the next):
        Require = "require",
        /// Always, with a certificate that one of the roots has signed, for whatever name:
        VerifyCa = "verify-ca",
        /// Always, with a certificate for the name that was connected to:
        VerifyFull = "verify-full",
    }
}

choices! {
    /// How TLS begins.
    SslNegotiation {
        /// The server is asked for it first:
        Postgres = "postgres",
        /// At once, which servers do since version 17, and some proxies; only with
        /// [`Require`](SslMode::Require) or more:
        Direct = "direct",
    }
}

choices! {
    /// Whether an authentication by SCRAM is bound to the TLS session, so that nobody in between can
    /// pass it on.
    ChannelBinding {
        /// Never:
        Disable = "disable",
        /// When both sides can:
        Prefer = "prefer",
        /// Always; every other method of authentication fails:
        Require = "require",
    }
}

choices! {
    /// What a session must be able to do; a host whose sessions cannot is left for the next one.
    TargetSessionAttrs {
        /// Anything:
        Any = "any",
        /// Write, unless a transaction says otherwise:
        ReadWrite = "read-write",
        /// Not write, unless a transaction says otherwise:
        ReadOnly = "read-only",
        /// Not be of a standby:
        Primary = "primary",
        /// Be of a standby:
        Standby = "standby",
        /// Be of a standby, if there is one:
        PreferStandby = "prefer-standby",
    }
}

choices! {
    /// In which order hosts and their addresses are tried.
    LoadBalanceHosts {
        /// As they are given:
        Disable = "disable",
        /// By chance:
        Random = "random",
    }
}

/// How a server finds out who a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthMethod {
    /// It does not ask; also when a certificate of the client's is what it asks for.
    Nothing,
    Password,
    Md5,
    Scram,
}

impl AuthMethod {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Password => "password",
            Self::Md5 => "md5",
            Self::Scram => "scram-sha-256",
        }
    }
}

/// The methods that a server may ask for: a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AuthMethods(u8);

impl AuthMethods {
    const EACH: [AuthMethod; 4] =
        [AuthMethod::Nothing, AuthMethod::Password, AuthMethod::Md5, AuthMethod::Scram];

    /// A list of names; either all with a `!` in front or none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut bits = 0;
        let negated = text.starts_with('!');
        for name in text.split(',').map(str::trim) {
            let name = if negated { name.strip_prefix('!')? } else { name };
            let method = Self::EACH.into_iter().find(|method| method.text() == name)?;
            bits |= 1 << method as u8;
        }
        Some(Self(if negated { !bits } else { bits }))
    }

    pub(crate) fn contains(self, method: AuthMethod) -> bool {
        self.0 & 1 << method as u8 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_listed_or_left_out() {
        let check = |text, expected: Option<[bool; 4]>| {
            let methods = AuthMethods::parse(text);
            let contained = methods.map(|methods| AuthMethods::EACH.map(|m| methods.contains(m)));
            assert_eq!(contained, expected, "{text:?}");
        };
        check("scram-sha-256", Some([false, false, false, true]));
        check("md5, none", Some([true, false, true, false]));
        check("!password,!md5", Some([true, false, false, true]));
        check("!password,md5", None);
        check("password,!md5", None);
        check("gss", None);
        check("", None);
    }
}
