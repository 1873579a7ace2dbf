//! The cores that this process may use, and pinning to them.
//!
//! Pinning is inherited by threads that are started later, so a contestant pins itself before it
//! starts its runtime.

use std::io;

/// The cores that the system lets this process use, lowest first.
pub fn allowed() -> io::Result<Vec<usize>> {
    let mut set = empty();
    // SAFETY: the pointer is valid for writes of the given size; 0 is the calling thread.
    let got = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: CPU_ISSET reads the bit of a core below CPU_SETSIZE, which is the size of the set.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|&c| unsafe { libc::CPU_ISSET(c, &set) }).collect())
}

/// Pins the calling thread, and the threads that it starts from now on, to these cores.
pub fn pin(cores: &[usize]) -> io::Result<()> {
    // The number of the calling thread.
    pin_thread(0, cores)
}

/// Pins this thread of any process, and what it starts from now on.
pub fn pin_thread(thread: libc::pid_t, cores: &[usize]) -> io::Result<()> {
    let mut set = empty();
    for &core in cores {
        if core >= libc::CPU_SETSIZE as usize {
            return Err(io::Error::other(format!("there is no core {core}")));
        }
        // SAFETY: the core is below CPU_SETSIZE, so its bit is inside of the set.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // SAFETY: the pointer is valid for reads of the given size.
    let set_to = unsafe { libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &set) };
    if set_to != 0 {
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(libc::ESRCH) {
            // So that a caller can tell who has ended meanwhile.
            return Err(error);
        }
        return Err(io::Error::new(
            error.kind(),
            format!("cannot pin to cores {cores:?}: {error}"),
        ));
    }
    Ok(())
}

fn empty() -> libc::cpu_set_t {
    // SAFETY: a cpu_set_t is an array of integers, for which zeroes are a valid value.
    unsafe { std::mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_is_allowed_one_core() {
        let first = allowed().expect("affinity can be read")[0];
        let pinned = std::thread::spawn(move || {
            pin(&[first]).expect("an allowed core can be pinned to");
            allowed().expect("affinity can be read")
        });
        assert_eq!(pinned.join().expect("no panic"), [first]);
    }

    #[test]
    fn cores_that_do_not_exist_are_refused() {
        for cores in [&[usize::MAX][..], &[]] {
            assert!(pin(cores).is_err(), "{cores:?}");
        }
    }
}
