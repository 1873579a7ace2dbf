//! The password file: lines of `host:port:database:user:password`.
//!
//! The surprising rule: a file that others may read is not read, as with libpq; the error of the
//! authentication that then fails says why.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The largest password file that is read, in bytes.
pub(crate) const PASSFILE_BYTES_MAX: u64 = 1024 * 1024;

/// Whose password is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// A name, an address or the directory of a socket; `localhost` for the usual directory.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) dbname: String,
    pub(crate) user: String,
}

/// The password from the file, or why there is none. This blocks: it belongs on the blocking pool.
pub(crate) fn find_password(path: Option<&Path>, wanted: &Wanted) -> Result<Vec<u8>, String> {
    let path = match path {
        Some(path) => path.to_path_buf(),
        None => match std::env::var_os("HOME") {
            Some(home) => PathBuf::from(home).join(".pgpass"),
            None => return Err("there is no password file, because HOME is not set".into()),
        },
    };
    let shown = path.display();
    let meta = fs::metadata(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("there is no password file {shown}"),
        _ => format!("the password file {shown} cannot be read: {error}"),
    })?;
    if !meta.is_file() {
        return Err(format!("the password file {shown} is no file"));
    }
    if meta.permissions().mode() & 0o077 != 0 {
        tracing::warn!("the password file {shown} is not read, because others may read it");
        return Err(format!(
            "the password file {shown} was not read, because others may read it: chmod 0600"
        ));
    }
    if meta.len() > PASSFILE_BYTES_MAX {
        return Err(format!("the password file {shown} is longer than {PASSFILE_BYTES_MAX} bytes"));
    }
    let bytes = fs::read(&path)
        .map_err(|error| format!("the password file {shown} cannot be read: {error}"))?;
    password_in(&bytes, wanted)
        .ok_or_else(|| format!("no line of the password file {shown} is for it"))
}

/// The password of the first line that fits.
fn password_in(bytes: &[u8], wanted: &Wanted) -> Option<Vec<u8>> {
    let port = wanted.port.to_string();
    let keys = [&*wanted.host, &*port, &*wanted.dbname, &*wanted.user];
    bytes.split(|&byte| byte == b'\n').find_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.starts_with(b"#") {
            return None;
        }
        let mut rest = line;
        for key in keys {
            let (field, is_any, behind) = field(rest);
            if !is_any && field != key.as_bytes() {
                return None;
            }
            rest = behind?;
        }
        let (password, _, _) = field(rest);
        (!password.is_empty()).then_some(password)
    })
}

/// A field without its escapes, whether it is a bare `*`, and what is behind its colon.
fn field(line: &[u8]) -> (Vec<u8>, bool, Option<&[u8]>) {
    let mut field = Vec::new();
    let mut rest = line.iter();
    loop {
        match rest.next() {
            None => return (field, line == b"*", None),
            Some(b':') => return (field, line.starts_with(b"*:"), Some(rest.as_slice())),
            Some(b'\\') => field.extend(rest.next()),
            Some(&byte) => field.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted { host: "db".into(), port: 5432, dbname: "shop".into(), user: "joe".into() }
    }

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let check = |text: &str, expected: Option<&str>| {
            let found = password_in(text.as_bytes(), &wanted());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{text:?}");
        };
        check("db:5432:shop:joe:secret", Some("secret"));
        check("# db:5432:shop:joe:no\n*:*:*:joe:one\n*:*:*:*:two\n", Some("one"));
        check("other:5432:shop:joe:no\r\ndb:*:shop:joe:yes\r\n", Some("yes"));
        check(r"db:5432:shop:joe:a\:b\\c", Some(r"a:b\c"));
        // A colon ends the password; what is behind it is nothing.
        check("db:5432:shop:joe:a:b", Some("a"));
        check(r"\*:5432:shop:joe:no", None);
        check(r"d\b:5432:shop:joe:escaped", Some("escaped"));
        check("db:5432:shop:joe", None);
        check("db:5432:shop:joe:", None);
        check("", None);
        check(r"db:5432:shop:joe:x\", Some("x"));
    }

    #[test]
    fn a_file_that_others_may_read_is_not_read() {
        let name = format!("cede-passfile-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, "*:*:*:*:secret\n").unwrap();
        let mut results = Vec::new();
        for mode in [0o644, 0o640, 0o600] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            results.push(find_password(Some(&path), &wanted()));
        }
        fs::remove_file(&path).unwrap();
        assert!(results[0].as_ref().unwrap_err().contains("chmod 0600"));
        assert!(results[1].is_err());
        assert_eq!(results[2].as_deref(), Ok(&b"secret"[..]));
        let missing = find_password(Some(&path), &wanted()).unwrap_err();
        assert!(missing.contains("there is no password file"), "{missing}");
    }
}
