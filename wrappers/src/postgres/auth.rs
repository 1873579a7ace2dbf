//! Who is it: the client's side of an authentication.
//!
//! The surprising rule: also the server has something to prove. Under SCRAM it must know the
//! password, and a session that it lets begin before it has shown that is refused.

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;

use super::config::{AuthMethod, ChannelBinding, Config, Wanted, find_password};
use super::error::{Error, ErrorKind, Phase};

/// An authentication under way.
pub(super) struct Auth<'a> {
    config: &'a Config,
    wanted: Wanted,
    /// What binds it to the TLS session.
    end_point: Option<Vec<u8>>,
    state: State,
}

enum State {
    /// Nothing was asked.
    Begun,
    /// The answer is on its way.
    Answered,
    Scram(Box<sasl::ScramSha256>),
    /// The server has proven that it knows the password.
    ScramDone,
}

fn failed(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Authentication, Phase::Authenticate, message)
}

impl<'a> Auth<'a> {
    pub(super) fn new(config: &'a Config, wanted: Wanted, end_point: Option<Vec<u8>>) -> Self {
        Self { config, wanted, end_point, state: State::Begun }
    }

    /// Takes what the server asks and appends the answer. True when it is over.
    pub(super) fn answer(&mut self, message: Message, out: &mut BytesMut) -> Result<bool, Error> {
        let encoded = match message {
            Message::AuthenticationOk => return self.finish().map(|()| true),
            Message::AuthenticationCleartextPassword => {
                let password = self.begin(AuthMethod::Password)?;
                frontend::password_message(&password, out)
            }
            Message::AuthenticationMd5Password(body) => {
                let password = self.begin(AuthMethod::Md5)?;
                let hash = md5_hash(self.wanted.user.as_bytes(), &password, body.salt());
                frontend::password_message(hash.as_bytes(), out)
            }
            Message::AuthenticationSasl(body) => self.begin_scram(&body, out)?,
            Message::AuthenticationSaslContinue(body) => {
                let State::Scram(mut scram) = std::mem::replace(&mut self.state, State::Begun)
                else {
                    return Err(unexpected());
                };
                let data = body.data().to_vec();
                // The server says how many thousand times the password is hashed.
                let scram = cede_fiber::blocking(move || scram.update(&data).map(|()| scram))
                    .map_err(|error| Error::io(Phase::Authenticate, error))?
                    .map_err(|error| failed(format!("the server's part of SCRAM: {error}")))?;
                let encoded = frontend::sasl_response(scram.message(), out);
                self.state = State::Scram(scram);
                encoded
            }
            Message::AuthenticationSaslFinal(body) => {
                let State::Scram(mut scram) = std::mem::replace(&mut self.state, State::ScramDone)
                else {
                    return Err(unexpected());
                };
                scram.finish(body.data()).map_err(|error| {
                    failed(format!("the server has not proven that it knows the password: {error}"))
                })?;
                Ok(())
            }
            Message::AuthenticationKerberosV5
            | Message::AuthenticationGss
            | Message::AuthenticationGssContinue(_)
            | Message::AuthenticationSspi
            | Message::AuthenticationScmCredential => {
                return Err(failed(
                    "the server asks for GSSAPI, SSPI or Kerberos; there are SCRAM, md5, password \
                     and certificates here: change pg_hba.conf",
                ));
            }
            _ => return Err(unexpected()),
        };
        encoded.map_err(|error| Error::io(Phase::Authenticate, error))?;
        Ok(false)
    }

    /// The server lets the session begin.
    fn finish(&self) -> Result<(), Error> {
        match &self.state {
            State::Begun => self.allow(AuthMethod::Nothing),
            State::Answered | State::ScramDone => Ok(()),
            State::Scram(_) => {
                Err(failed("the server takes the password without having proven that it knows it"))
            }
        }
    }

    /// Whether the settings allow the method.
    fn allow(&self, method: AuthMethod) -> Result<(), Error> {
        let text = method.text();
        if self.config.require_auth.is_some_and(|methods| !methods.contains(method)) {
            return Err(failed(format!("the server wants {text}, which require_auth forbids")));
        }
        // That of SCRAM is looked at when its mechanism is chosen.
        let is_bound = method == AuthMethod::Scram;
        if self.config.get_channel_binding() == ChannelBinding::Require && !is_bound {
            return Err(failed(format!(
                "channel_binding=require needs SCRAM over TLS, and the server wants {text}"
            )));
        }
        Ok(())
    }

    /// The password, if the method may be used and was not used before.
    fn begin(&mut self, method: AuthMethod) -> Result<Vec<u8>, Error> {
        if !matches!(self.state, State::Begun) {
            return Err(unexpected());
        }
        self.allow(method)?;
        let password = self.password()?;
        self.state = State::Answered;
        Ok(password)
    }

    fn password(&self) -> Result<Vec<u8>, Error> {
        if let Some(password) = self.config.get_password().filter(|given| !given.is_empty()) {
            return Ok(password.to_vec());
        }
        let path = self.config.get_passfile().map(std::path::Path::to_path_buf);
        let wanted = self.wanted.clone();
        let found = cede_fiber::blocking(move || find_password(path.as_deref(), &wanted))
            .map_err(|error| Error::io(Phase::Authenticate, error))?;
        found.map_err(|why| {
            let user = &self.wanted.user;
            failed(format!("the server asks for the password of {user:?}: none is set, and {why}"))
        })
    }

    fn begin_scram(
        &mut self,
        body: &AuthenticationSaslBody,
        out: &mut BytesMut,
    ) -> Result<std::io::Result<()>, Error> {
        let mechanisms: Vec<&str> = body.mechanisms().collect().map_err(|error| {
            Error::io(Phase::Authenticate, error).with_kind(ErrorKind::Protocol)
        })?;
        let has = |mechanism| mechanisms.contains(&mechanism);
        let is_required = self.config.get_channel_binding() == ChannelBinding::Require;
        let (mechanism, binding) = match self.end_point.take() {
            Some(end_point) if has(sasl::SCRAM_SHA_256_PLUS) => {
                let binding = sasl::ChannelBinding::tls_server_end_point(end_point);
                (sasl::SCRAM_SHA_256_PLUS, binding)
            }
            _ if is_required => {
                return Err(failed(
                    "channel_binding=require, but the connection has no TLS, or one of the two \
                     sides cannot bind to it",
                ));
            }
            // The server hears that it could have been bound: if it has offered that, somebody in
            // between has taken the offer away, and it refuses.
            Some(_) if has(sasl::SCRAM_SHA_256) => {
                (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unrequested())
            }
            None if has(sasl::SCRAM_SHA_256) => {
                (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unsupported())
            }
            _ => {
                let list = mechanisms.join(", ");
                return Err(failed(format!("the server has no SCRAM-SHA-256, only {list:?}")));
            }
        };
        let password = self.begin(AuthMethod::Scram)?;
        let scram = sasl::ScramSha256::new(&password, binding);
        let encoded = frontend::sasl_initial_response(mechanism, scram.message(), out);
        self.state = State::Scram(Box::new(scram));
        Ok(encoded)
    }
}

fn unexpected() -> Error {
    Error::protocol(Phase::Authenticate, "the server's authentication is out of order")
}
