//! The system's limits of this process and of those that it starts.

use std::io;

use crate::sample::Miss;

/// Allows this many descriptors, or skips the contestant where the system does not.
pub fn raise_descriptors(count: u64) -> Result<(), Miss> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is valid for writes.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } < 0 {
        return Err(io::Error::last_os_error().into());
    }
    if limit.rlim_max < count {
        return Err(Miss::Skipped(format!(
            "needs {count} descriptors, {} are allowed (ulimit -Hn)",
            limit.rlim_max
        )));
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the pointer is valid for reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_system_allows_is_skipped() {
        assert!(matches!(raise_descriptors(u64::MAX), Err(Miss::Skipped(_))));
        assert_eq!(raise_descriptors(3), Ok(()));
    }
}
