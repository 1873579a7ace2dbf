//! The load by wrk, for those who trust a program that they know.
//!
//! wrk does not look at bodies: it counts statuses that are no success and errors of sockets. The
//! suite's own generator checks answers of the same server right before.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sample::Miss;
use crate::scenarios::http::response::wrong;
use crate::scenarios::http::servers::Place;
use crate::server::Clock;

const INSTALL: &str = "apt install wrk";

/// Why wrk cannot make the load, if it cannot.
pub fn wrk_missing() -> Option<String> {
    let found = Command::new("wrk").arg("-v").output();
    found.is_err().then(|| format!("wrk is not installed: {INSTALL}"))
}

/// What wrk is told to do.
#[derive(Clone, Copy, Debug)]
pub struct Wrk {
    pub connections: usize,
    pub depth: usize,
    /// Whether each request is the last one of its connection.
    pub once: bool,
    pub seconds: u64,
}

/// Runs it with the clock around it; the number of requests that were answered.
pub fn wrk(place: &Place, load: Wrk, clock: &mut Clock) -> Result<u64, Miss> {
    let mut command = Command::new("wrk");
    command.arg("-t1").arg(format!("-c{}", load.connections)).arg(format!("-d{}s", load.seconds));
    if load.once {
        command.args(["-H", "Connection: close"]);
    }
    if load.depth > 1 {
        command.arg("-s").arg(pipeline_script(&place.folder, load.depth)?);
    }
    command.arg(format!("http://{}/", place.address));
    clock.start()?;
    let output = command.output();
    clock.stop()?;
    let output = output.map_err(|e| Miss::Failed(format!("wrk cannot be started: {e}")))?;
    answered(&String::from_utf8_lossy(&output.stdout))
}

/// wrk asks once more when it has all answers to what its `request` function gave.
fn pipeline_script(folder: &Path, depth: usize) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let path = folder.join("pipeline.lua");
    let script = format!(
        "init = function() batch = string.rep(wrk.format(), {depth}) end\n\
         request = function() return batch end\n"
    );
    fs::write(&path, script)?;
    Ok(path)
}

/// The number of requests in what wrk prints, if nothing went wrong.
fn answered(printed: &str) -> Result<u64, Miss> {
    let mut lines = printed.lines().map(str::trim);
    let complaint = |line: &&str| line.starts_with("Socket errors") || line.starts_with("Non-2xx");
    if let Some(line) = lines.clone().find(complaint) {
        return Err(wrong(&format!("wrk says: {line}")));
    }
    let count = lines.find_map(|line| line.split_once(" requests in ")?.0.parse().ok());
    match count {
        Some(count) if count > 0 => Ok(count),
        _ => Err(wrong(&format!("wrk counted nothing: {}", printed.trim()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "Running 2s test @ http://127.0.0.1:8080/\n  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Req/Sec   170.00k     3.00k  175.00k    70.00%
  341234 requests in 2.01s, 40.00MB read
Requests/sec: 169768.00\n";

    #[test]
    fn requests_count_if_nothing_went_wrong() {
        assert_eq!(answered(PRINTED), Ok(341_234));
        for line in [
            "  Socket errors: connect 0, read 3, write 0, timeout 0",
            "  Non-2xx or 3xx responses: 17",
        ] {
            let printed = format!("{PRINTED}{line}\n");
            assert!(answered(&printed).is_err(), "{line}");
        }
        assert!(answered(&PRINTED.replace("341234", "0")).is_err());
        assert!(answered("").is_err());
    }
}
