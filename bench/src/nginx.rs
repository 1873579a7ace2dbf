//! nginx: found where it is installed.
//!
//! Missing it is no error: its contestants are left out, and the table says so.

use std::process::Command;

pub const INSTALL: &str = "apt install nginx-light";

/// Where it may be: a user's path often lacks the folders of the system's programs.
const PLACES: [&str; 3] = ["nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx"];

/// The program and its version, such as `1.22.1`.
pub fn find() -> Option<(&'static str, String)> {
    PLACES.into_iter().find_map(|place| {
        let output = Command::new(place).arg("-v").output().ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let (_, version) = text.trim().split_once("nginx/")?;
        Some((place, version.split_whitespace().next()?.to_owned()))
    })
}

/// Why it cannot be used, if it cannot.
pub fn missing() -> Option<String> {
    find().is_none().then(|| format!("nginx is not installed: {INSTALL}"))
}
