//! The Go peers: found, built beside this program, and started by exec.
//!
//! A missing `go` is no error: its contestants are left out, and the table says so.

use std::env;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sample::Miss;

pub const INSTALL: &str = "apt install golang-go";

/// The sources, which `go build` needs as files.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/go");
const PROGRAM: &str = "cede-bench-go";

/// The version of the `go` in the path, such as `1.19.8`.
pub fn version() -> Option<String> {
    let output = Command::new("go").arg("version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace()
        .find_map(|word| word.strip_prefix("go1."))
        .map(|rest| format!("1.{rest}"))
}

/// Builds the Go program, or says why it cannot be had.
pub fn build() -> Result<(), String> {
    let target = program().map_err(|e| e.to_string())?;
    build_to(&target)
}

fn build_to(target: &Path) -> Result<(), String> {
    let output = Command::new("go")
        .args(["build", "-o"])
        .arg(target)
        .arg(".")
        .current_dir(SOURCES)
        // Settings of the user's own Go work would change how this is built.
        .env_remove("GOFLAGS")
        .env("GOWORK", "off")
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("go build failed: {}", said.trim().replace('\n', " | ")))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("go is not installed: {INSTALL}"))
        }
        Err(error) => Err(format!("go build cannot be started: {error}")),
    }
}

/// Turns this process, pinned as it is, into the Go program. Returns only if that fails.
pub fn become_peer(args: &[String]) -> Miss {
    match program() {
        Ok(path) => {
            let error = Command::new(&path).args(args).exec();
            Miss::Failed(format!("{} cannot be started: {error}", path.display()))
        }
        Err(error) => error.into(),
    }
}

/// Beside this program, so in cargo's target directory.
fn program() -> io::Result<PathBuf> {
    Ok(env::current_exe()?.with_file_name(PROGRAM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_go_sources_build_where_go_is_installed() {
        if version().is_none() {
            return;
        }
        let target = program().expect("the test has a path").with_file_name("cede-bench-go-test");
        assert_eq!(build_to(&target), Ok(()));
        let output = Command::new(&target).arg("nosuch").output().expect("it was just built");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.starts_with("{\"failed\":"), "{said}");
    }
}
