//! What this machine lacks for a full and quiet measurement, and what to type.
//!
//! Findings that cost a contestant are faults; those that only cost precision are hints, and do
//! not change the exit status.

use std::fs;
use std::path::Path;

use crate::affinity;
use crate::databases;
use crate::golang;
use crate::machine;
use crate::memory;
use crate::nginx;
use crate::scenario::{Need, Scenario};
use crate::scenarios::{self, http};

/// A million fibers with a touched page each, their page tables, and room for the rest.
const MEMORY_BYTES: u64 = 6 << 30;
/// More waiting work than this will show in the figures.
const LOAD_MAX: f64 = 0.5;

enum Finding {
    Good(String),
    Fault(String),
    Hint(String),
}

/// Prints the findings; whether every contestant can run.
pub fn examine() -> bool {
    println!("{}, commit {}", machine::description(), machine::commit());
    let findings = [
        go(),
        nginx(),
        postgres(),
        redis(),
        wrk(),
        cores(),
        memory_size(),
        kernel(),
        governor(),
        load(),
    ];
    for finding in &findings {
        match finding {
            Finding::Good(text) => println!("  ok       {text}"),
            Finding::Fault(text) => println!("  missing  {text}"),
            Finding::Hint(text) => println!("  hint     {text}"),
        }
    }
    !findings.iter().any(|finding| matches!(finding, Finding::Fault(_)))
}

fn go() -> Finding {
    match golang::version() {
        Some(version) => Finding::Good(format!("go {version}")),
        None => {
            let users = users_of(Need::Go);
            Finding::Fault(format!("go, for {users}: {}", golang::INSTALL))
        }
    }
}

fn nginx() -> Finding {
    match nginx::find() {
        Some((_, version)) => Finding::Good(format!("nginx {version}")),
        None => {
            let users = users_of(Need::Nginx);
            Finding::Fault(format!("nginx, for {users}: {}", nginx::INSTALL))
        }
    }
}

fn postgres() -> Finding {
    match databases::postgres_version() {
        Some(version) => Finding::Good(format!("PostgreSQL {version}")),
        None => {
            let users = users_of(Need::Postgres);
            Finding::Fault(format!("PostgreSQL, for {users}: {}", databases::INSTALL_POSTGRES))
        }
    }
}

fn redis() -> Finding {
    match databases::redis_version() {
        Some(version) => Finding::Good(format!("Redis {version}")),
        None => {
            let users = users_of(Need::Redis);
            Finding::Fault(format!("Redis, for {users}: {}", databases::INSTALL_REDIS))
        }
    }
}

fn wrk() -> Finding {
    match http::wrk_missing() {
        None => Finding::Good("wrk, for --load wrk".to_owned()),
        Some(why) => Finding::Hint(format!("{why} (only --load wrk needs it)")),
    }
}

fn cores() -> Finding {
    let have = affinity::allowed().map_or(0, |cores| cores.len());
    let want = scenarios::ALL.iter().map(|s| s.cores).max().unwrap_or(1);
    if have >= want {
        return Finding::Good(format!("{have} cores may be used"));
    }
    let users = users(|s| s.cores > have);
    Finding::Fault(format!("cores: {users} need {want}, {have} may be used (see taskset, cgroups)"))
}

fn memory_size() -> Finding {
    match memory::available() {
        Some(free) if free < MEMORY_BYTES => Finding::Fault(format!(
            "memory: {:.1} GiB are available, million wants {} GiB",
            free as f64 / (1_u64 << 30) as f64,
            MEMORY_BYTES >> 30
        )),
        Some(free) => Finding::Good(format!("{} GiB of memory are available", free >> 30)),
        None => Finding::Hint("the available memory is unknown".to_owned()),
    }
}

fn kernel() -> Finding {
    let release = read("/proc/sys/kernel/osrelease");
    match kernel_version(&release) {
        Some(version) if version >= (6, 13) => {
            Finding::Good(format!("Linux {release} has guard markers for stacks"))
        }
        _ => Finding::Hint(format!(
            "Linux {release}: before 6.13 each guarded stack takes two mappings, so million needs \
             sysctl vm.max_map_count=2100000"
        )),
    }
}

fn governor() -> Finding {
    let file = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    match read(file).as_str() {
        "performance" => Finding::Good("cores run at full clock".to_owned()),
        "" if !Path::new(file).exists() => Finding::Good("the clock is not scaled here".to_owned()),
        other => Finding::Hint(format!(
            "the clock governor is {other}: cpupower frequency-set -g performance"
        )),
    }
}

fn load() -> Finding {
    match busy_machine() {
        Some(hint) => Finding::Hint(hint),
        None => Finding::Good("the machine is quiet".to_owned()),
    }
}

/// What to tell somebody who measures on a machine that has other work to do.
pub fn busy_machine() -> Option<String> {
    let text = read("/proc/loadavg");
    let load: f64 = text.split(' ').next()?.parse().ok()?;
    (load > LOAD_MAX).then(|| format!("load average {load}: other work will show in the figures"))
}

fn users_of(need: Need) -> String {
    users(|s| s.contestants.iter().any(|c| c.program.need() == Some(need)))
}

fn users(uses: impl Fn(&Scenario) -> bool) -> String {
    let names = scenarios::ALL.iter().filter(|s| uses(s)).map(|s| s.name);
    names.collect::<Vec<_>>().join(", ")
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_are_compared_as_numbers() {
        assert_eq!(kernel_version("6.18.44-cloud"), Some((6, 18)));
        assert_eq!(kernel_version("6.8.0"), Some((6, 8)));
        assert!(kernel_version("6.8.0") < Some((6, 13)));
        assert_eq!(kernel_version("unknown"), None);
    }

    #[test]
    fn users_are_named() {
        let users = users_of(Need::Nginx);
        assert_eq!(users, "http-hello, http-pipelined, http-churn, http-idle");
    }
}
