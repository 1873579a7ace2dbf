//! 10 ms of pure CPU: a fixed number of steps, found by the thread's CPU clock.
//!
//! A loop that looked at the wall clock would take time in which it did not run for work.

use std::hint::black_box;
use std::io;
use std::time::Duration;

use crate::sample::Miss;

/// What a request that burns is answered.
pub const BURNT: &str = "burnt";
/// The CPU time of one burn.
pub const BURN: Duration = Duration::from_millis(10);

/// Steps between two looks at the clock while calibrating.
const STEPS: u64 = 100_000;
/// CPU time of the calibration: a few burns, so that a moment of a slow core is no measure.
const CALIBRATION: Duration = Duration::from_millis(60);

#[derive(Clone, Copy, Debug)]
pub struct Burn {
    steps: u64,
}

impl Burn {
    pub fn calibrate() -> Result<Burn, Miss> {
        let start = thread_cpu()?;
        let mut steps = 0;
        loop {
            work(STEPS);
            steps += STEPS;
            let spent = thread_cpu()? - start;
            if spent >= CALIBRATION {
                let part = BURN.as_secs_f64() / spent.as_secs_f64();
                return Ok(Burn { steps: (steps as f64 * part) as u64 });
            }
        }
    }

    pub fn once(self) {
        work(self.steps);
    }
}

/// Steps that each need the one before.
fn work(steps: u64) {
    let mut x = black_box(0x9e37_79b9_7f4a_7c15_u64);
    for _ in 0..steps {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    black_box(x);
}

fn thread_cpu() -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid for writes.
    if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burn_takes_cpu_time() {
        let burn = Burn::calibrate().expect("the clock can be read");
        let start = thread_cpu().expect("the clock can be read");
        burn.once();
        let spent = thread_cpu().expect("the clock can be read") - start;
        // Generous: another process on the sibling core halves the speed.
        assert!(spent > BURN / 4 && spent < BURN * 8, "{spent:?}");
    }
}
