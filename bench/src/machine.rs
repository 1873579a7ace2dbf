//! Which machine and which commit the figures belong to.
//!
//! Never an error: a figure from an unknown commit is still a figure, and says so.

use std::fs;
use std::process::Command;

use crate::memory;

/// For example `AMD EPYC, 2 cores, 23 GiB, Linux 6.18.44`.
pub fn description() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu_model(&info).unwrap_or("unknown processor");
    // Not those that this process may use: `taskset` does not make another machine of it.
    let cores = match info.lines().filter(|line| line.starts_with("processor")).count() {
        1 => "1 core".to_owned(),
        n => format!("{n} cores"),
    };
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = memory::total().map_or(0, |bytes| bytes >> 30);
    format!("{model}, {cores}, {memory} GiB, Linux {}", release.trim())
}

fn cpu_model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, model)| model.trim())
}

/// The commit of the sources, with `-dirty` if they differ from it, or `unknown`.
pub fn commit() -> String {
    let Some(head) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    match git(&["status", "--porcelain"]) {
        Some(changes) if changes.is_empty() => head,
        _ => format!("{head}-dirty"),
    }
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR")]).args(args).output();
    let output = output.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_found() {
        let info = "processor\t: 0\nmodel name\t: Some CPU: the fast one\nmodel name\t: other\n";
        assert_eq!(cpu_model(info), Some("Some CPU: the fast one"));
        assert_eq!(cpu_model(""), None);
    }

    #[test]
    fn there_is_always_a_description() {
        let text = description();
        assert!(text.contains(" core") && text.contains("Linux "), "{text}");
        assert!(!commit().is_empty());
    }
}
