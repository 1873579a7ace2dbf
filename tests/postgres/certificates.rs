//! A server that asks in all ways who somebody is, with certificates made for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::postgres::Postgres;

/// A server with TLS, whose certificate is for `localhost`, and users who come in different ways.
pub(crate) struct Guarded {
    pub(crate) server: Postgres,
}

/// A folder until it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("cede-certificates-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The password of all who have one.
pub(crate) const PASSWORD: &str = "s\u{e9}cret p%ss:/@";
/// The same in a URL.
pub(crate) const PASSWORD_ENCODED: &str = "s%C3%A9cret%20p%25ss%3A%2F%40";

const HBA: &str = "
host    all scram      all scram-sha-256
local   all scram          scram-sha-256
host    all md5        all md5
host    all clear      all password
host    all nobody     all reject
hostssl all tls_only   all trust
host    all tls_only   all reject
hostssl all plain_only all reject
hostssl all joe        all cert
host    all joe        all reject
";

impl Guarded {
    /// One for all tests.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Guarded> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn start() -> Self {
        let folder = Folder::new();
        let write = |name: &str, text: String| fs::write(folder.0.join(name), text).unwrap();
        let (ours, other) = (authority("ours"), authority("other"));
        write("root.pem", ours.pem());
        write("other.pem", other.pem());
        for (file, name, issuer) in
            [("server", "localhost", &ours), ("joe", "joe", &ours), ("stranger", "joe", &other)]
        {
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            let key = KeyPair::generate().unwrap();
            write(&format!("{file}.pem"), params.signed_by(&key, issuer).unwrap().pem());
            write(&format!("{file}.key"), key.serialize_pem());
        }
        let server = Postgres::builder()
            .hba(HBA)
            .ssl(folder.0.join("server.pem"), folder.0.join("server.key"))
            .client_root(folder.0.join("root.pem"))
            .start();
        // What goes when the server goes.
        for file in fs::read_dir(&folder.0).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), server.socket_dir().join(file.file_name())).unwrap();
        }
        server.psql(&format!(
            "CREATE ROLE scram LOGIN PASSWORD '{PASSWORD}'; CREATE ROLE clear LOGIN PASSWORD \
             '{PASSWORD}'; SET password_encryption = 'md5'; CREATE ROLE md5 LOGIN PASSWORD \
             '{PASSWORD}'; CREATE ROLE nobody LOGIN; CREATE ROLE tls_only LOGIN; CREATE ROLE \
             plain_only LOGIN; CREATE ROLE joe LOGIN;"
        ));
        Self { server }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.server.socket_dir().join(name)
    }

    /// A URL for a user over TCP, by the name of the certificate.
    pub(crate) fn url(&self, user: &str, parameters: &str) -> String {
        format!("postgres://{user}@localhost:{}/postgres?{parameters}", self.server.port())
    }

    pub(crate) fn socket_dir(&self) -> &Path {
        self.server.socket_dir()
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}
