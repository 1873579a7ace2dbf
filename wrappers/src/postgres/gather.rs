//! How many answers are read at once.
//!
//! ```text
//!   requests under way: 200;  an answer every 9 us  -->  wake the reader at the 11th, not at each
//! ```
//!
//! The surprising rule: the kernel is asked to wait, not the fiber. A socket below its low-water
//! mark wakes nobody, which saves the server the wakeup as well; while answers come slowly, or few
//! are awaited, the mark is one byte.

use std::cell::Cell;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use cede_fiber::with_deadline;

use crate::stream::Stream;

/// With fewer requests under way each answer is read when it comes.
const UNDER_WAY_MIN: usize = 8;
/// So long, at most, an answer waits for those behind it.
const GATHER_TIME: Duration = Duration::from_millis(1);
/// They are expected in this part of that time.
const GATHER_TIME_PART: u64 = 2;
/// Not more than this part of the answers under way, so that the server never waits for requests:
/// each waits for a part of the time only that it was under way.
const GATHER_PART: usize = 2;
/// The highest mark. A mark beyond half of a receive buffer would never be reached.
const LOW_WATER_MAX: usize = 16 * 1024;

/// What is known of the answers of a connection.
#[derive(Default)]
pub(super) struct Gather {
    /// The mark that the socket has, if it was ever set.
    mark: Cell<usize>,
    /// Since when answers are counted, and how many there were; `None` while few are under way.
    since: Cell<Option<(Instant, usize)>>,
    /// Nanoseconds between answers, and bytes of each: averages that forget.
    gap: Cell<u64>,
    bytes: Cell<usize>,
}

impl Gather {
    /// So many answers came, in so many bytes.
    #[inline]
    pub(super) fn came(&self, answers: usize, bytes: usize) {
        let Some((since, before)) = self.since.get() else { return };
        let answers = answers + before;
        if answers == 0 {
            return;
        }
        let now = Instant::now();
        let gap = u64::try_from((now - since).as_nanos()).unwrap_or(u64::MAX) / answers as u64;
        self.gap.set(average(self.gap.get(), gap.min(u64::from(u32::MAX))));
        self.bytes.set(average(self.bytes.get() as u64, (bytes / answers) as u64) as usize);
        self.since.set(Some((now, 0)));
    }

    /// Reads, when it is time to.
    #[inline]
    pub(super) fn read(
        &self,
        stream: &Stream,
        space: &mut [u8],
        under_way: usize,
    ) -> io::Result<usize> {
        let mark = self.wanted(under_way);
        // A setting that the kernel refuses, or that this kind of socket has not, is 1 as before.
        if mark != self.mark.get() && (mark > 1 || self.mark.get() > 1) {
            self.set_mark(stream, mark);
        }
        let mut reader = stream;
        if self.mark.get() <= 1 {
            return reader.read(space);
        }
        match with_deadline(GATHER_TIME, || reader.read(space)) {
            Err(error) if is_deadline(&error) => {
                // They come more slowly than it was thought; the lower mark wakes for those there.
                self.gap.set(GATHER_TIME.as_nanos() as u64);
                self.set_mark(stream, 1);
                reader.read(space)
            }
            read => read,
        }
    }

    /// Which mark fits what is under way now.
    fn wanted(&self, under_way: usize) -> usize {
        if under_way < UNDER_WAY_MIN {
            self.since.set(None);
            return 1;
        }
        if self.since.get().is_none() {
            self.since.set(Some((Instant::now(), 0)));
            return 1;
        }
        let (gap, bytes) = (self.gap.get(), self.bytes.get());
        if gap == 0 || bytes == 0 {
            return 1;
        }
        let in_time = GATHER_TIME.as_nanos() as u64 / GATHER_TIME_PART / gap;
        let answers = usize::try_from(in_time).unwrap_or(1).min(under_way / GATHER_PART);
        if answers < 2 {
            return 1;
        }
        let mark = (answers * bytes).min(LOW_WATER_MAX);
        // About the same is not worth a system call.
        let now = self.mark.get();
        if now > 1 && mark > now / 2 && mark < now * 2 { now } else { mark }
    }

    fn set_mark(&self, stream: &Stream, mark: usize) {
        let set = stream.set_receive_low_water(mark);
        self.mark.set(if set { mark } else { 1 });
    }
}

fn is_deadline(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none()
}

fn average(old: u64, new: u64) -> u64 {
    if old == 0 { new } else { (old * 7 + new) / 8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of 40 bytes, one in so many nanoseconds.
    fn after_answers_every(nanos: u64) -> Gather {
        let gather = Gather::default();
        gather.gap.set(nanos);
        gather.bytes.set(40);
        gather.since.set(Some((Instant::now(), 0)));
        gather
    }

    #[test]
    fn few_answers_or_slow_ones_are_read_as_they_come() {
        for (nanos, under_way) in [(1_000, 0), (1_000, 7), (300_000, 1000), (50_000_000, 1000)] {
            assert_eq!(after_answers_every(nanos).wanted(under_way), 1, "{nanos} {under_way}");
        }
        // Nothing is known yet.
        assert_eq!(Gather::default().wanted(1000), 1);
        assert_eq!(after_answers_every(0).wanted(1000), 1);
    }

    #[test]
    fn a_part_of_many_quick_ones_is_awaited() {
        assert_eq!(after_answers_every(9_000).wanted(16), 8 * 40);
        assert_eq!(after_answers_every(9_000).wanted(10_000), 55 * 40);
        assert_eq!(after_answers_every(1).wanted(1_000_000), LOW_WATER_MAX);
    }

    #[test]
    fn about_the_same_mark_is_left() {
        let gather = after_answers_every(9_000);
        gather.mark.set(300);
        assert_eq!(gather.wanted(16), 300);
        gather.mark.set(1000);
        assert_eq!(gather.wanted(16), 320);
        assert_eq!(gather.wanted(3), 1);
    }
}
