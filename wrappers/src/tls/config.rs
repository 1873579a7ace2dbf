//! Whom a client believes: roots, verification, a certificate of its own.
//!
//! The surprising rule: a verification that is switched off accepts everything, also a certificate
//! that does not parse. Such a connection cannot be listened to, but nobody knows who is there.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, RootCertStore, SignatureScheme};

/// What of the server's certificate has to be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verify {
    /// Nothing: anyone in between can pretend to be the server.
    Nothing,
    /// Who has signed it, and its time.
    Chain,
    /// That, and its name.
    Full,
}

/// Who may sign certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Roots {
    /// Whom the system trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` are other places to look.
    System,
    /// Those in a file of PEM.
    File(PathBuf),
}

/// The settings of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsOptions {
    pub(crate) verify: Verify,
    /// Not read when nothing is verified.
    pub(crate) roots: Roots,
    /// The client's own certificates, its own first, and their key; files of PEM.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
    /// What is spoken within, as ALPN names it (RFC 7301); `None` says nothing of it.
    pub(crate) protocol: Option<&'static [u8]>,
}

/// Settings that were read, for any number of connections.
#[derive(Clone)]
pub(crate) struct TlsConfig(Arc<ClientConfig>);

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsConfig")
    }
}

impl TlsConfig {
    /// Reads the files, on the blocking pool. The roots of the system are read once.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or used, which is named; a cancel or a deadline.
    pub(crate) fn load(options: &TlsOptions) -> io::Result<Self> {
        if options.verify == Verify::Nothing && options.client.is_none() {
            return read(options).map(|config| Self(Arc::new(config)));
        }
        let options = options.clone();
        cede_fiber::blocking(move || read(&options))?.map(|config| Self(Arc::new(config)))
    }

    pub(super) fn rustls(&self) -> &Arc<ClientConfig> {
        &self.0
    }
}

/// Runs on the blocking pool.
fn read(options: &TlsOptions) -> io::Result<ClientConfig> {
    let mut config = read_files(options)?;
    config.alpn_protocols.extend(options.protocol.map(<[u8]>::to_vec));
    Ok(config)
}

fn read_files(options: &TlsOptions) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match options.verify {
        Verify::Nothing => Arc::new(Unverified(Arc::clone(&provider))),
        Verify::Chain => Arc::new(Nameless(verifier(options, &provider)?)),
        Verify::Full => verifier(options, &provider)?,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some((certificate, key)) = &options.client else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate)?;
    let bytes = read_file(key)?;
    let private = PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|error| unusable(key, format_args!("no private key in PEM ({error})")))?;
    builder.with_client_auth_cert(chain, private).map_err(|error| unusable(key, error))
}

fn verifier(
    options: &TlsOptions,
    provider: &Arc<CryptoProvider>,
) -> io::Result<Arc<WebPkiServerVerifier>> {
    let roots = match &options.roots {
        Roots::System => system_roots()?,
        Roots::File(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| unusable(path, error))?;
            }
            Arc::new(roots)
        }
    };
    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
        .build()
        .map_err(io::Error::other)
}

/// A failure is not kept.
fn system_roots() -> io::Result<Arc<RootCertStore>> {
    static SYSTEM: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = SYSTEM.get() {
        return Ok(Arc::clone(roots));
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems also keep old certificates that cannot be read.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        let text = format!(
            "the system has no root certificates{why}: install ca-certificates, or name a file"
        );
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    Ok(Arc::clone(SYSTEM.get_or_init(|| Arc::new(roots))))
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let bytes = read_file(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(|error| unusable(path, error))?;
    if certificates.is_empty() {
        return Err(unusable(path, "no certificate in PEM"));
    }
    Ok(certificates)
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn unusable(path: &Path, why: impl fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {why}", path.display()))
}

/// Accepts whoever answers. The signatures of the handshake are not looked at either: they would
/// prove that the server has the key of a certificate that anybody can make.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts a certificate for any name, if it is right otherwise.
#[derive(Debug)]
struct Nameless(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Nameless {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        match self.0.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The name is the last that is looked at: the test `verify_ca_looks_at_all_but_the_name`.
            Err(rustls::Error::InvalidCertificate(
                NotValidForName | NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
