//! What a process holds of the machine's memory, as the kernel counts it.
//!
//! The resident size is taken from `smaps_rollup`, which walks the page tables: the counter in
//! `status` lags behind by a batch per core.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub resident_bytes: u64,
    /// Page tables, which grow with address space that is spread thinly.
    pub table_bytes: u64,
    pub mappings: u64,
}

impl Memory {
    pub fn now() -> io::Result<Memory> {
        Memory::of(Path::new("/proc/self"))
    }

    /// That of the process with this folder in `/proc`.
    pub fn of(process: &Path) -> io::Result<Memory> {
        let rollup = fs::read_to_string(process.join("smaps_rollup"))?;
        let status = fs::read_to_string(process.join("status"))?;
        let field = |text: &str, name: &str| {
            kib(text, name)
                .map(|kib| kib * 1024)
                .ok_or_else(|| io::Error::other(format!("no {name} in {}", process.display())))
        };
        Ok(Memory {
            resident_bytes: field(&rollup, "Rss:")?,
            table_bytes: field(&status, "VmPTE:")?,
            mappings: mappings(&process.join("maps"))?,
        })
    }
}

/// Memory that could be had without swapping, where the system says so.
pub fn available() -> Option<u64> {
    kib(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:").map(|kib| kib * 1024)
}

/// All of the machine's memory.
pub fn total() -> Option<u64> {
    kib(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:").map(|kib| kib * 1024)
}

/// The number of lines of a process's `maps`.
///
/// Read through a small buffer: a process at its limit of mappings may be unable to allocate.
fn mappings(maps: &Path) -> io::Result<u64> {
    let mut file = File::open(maps)?;
    let mut buffer = [0; 4096];
    let mut lines = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(lines),
            n => lines += buffer.iter().take(n).filter(|&&byte| byte == b'\n').count() as u64,
        }
    }
}

/// The number in a line such as `Rss:    1234 kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name() {
        let text = "Name:\tx\nVmPTE:\t      64 kB\nRss:            1234 kB\n";
        assert_eq!(kib(text, "Rss:"), Some(1234));
        assert_eq!(kib(text, "VmPTE:"), Some(64));
        assert_eq!(kib(text, "Swap:"), None);
        assert_eq!(kib("Rss: much kB", "Rss:"), None);
    }

    #[test]
    fn touched_memory_is_resident() {
        let before = Memory::now().expect("/proc is mounted");
        let held = std::hint::black_box(vec![1_u8; 8 << 20]);
        let after = Memory::now().expect("/proc is mounted");
        assert!(after.resident_bytes >= before.resident_bytes + (held.len() as u64) / 2);
        assert!(after.mappings > 3);
    }
}
