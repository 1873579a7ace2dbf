//! What the tests of this folder share: the ways to cut an input, and the count of work.

use std::cell::Cell;
use std::fmt::Debug;

thread_local! {
    /// Bytes looked at by this thread's parsers; see [`super::scan::work`].
    pub(super) static WORK: Cell<usize> = const { Cell::new(0) };
}

/// The work that a call does, in bytes looked at.
pub(super) fn work_of(call: impl FnOnce()) -> usize {
    let before = WORK.get();
    call();
    WORK.get() - before
}

/// Runs a parser on an input whole, byte by byte, and cut in two at every offset; `parse` is given
/// the lengths to which the input grows. All results have to be the same; it is returned.
pub(super) fn every_cut<T: PartialEq + Debug>(
    input: &[u8],
    mut parse: impl FnMut(&[usize]) -> T,
) -> T {
    let len = input.len();
    let whole = parse(&[len]);
    let bytes: Vec<_> = (0..=len).collect();
    assert_eq!(parse(&bytes), whole, "byte by byte: {}", shown(input));
    // Long inputs are of one kind all along: fewer cuts do.
    let step = (len / 500).max(1);
    for cut in (0..=len).step_by(step) {
        assert_eq!(parse(&[cut, len]), whole, "cut at {cut}: {}", shown(input));
    }
    whole
}

/// An input for messages, cut to a length that can be read.
pub(super) fn shown(input: &[u8]) -> String {
    let mut text = input.escape_ascii().to_string();
    if text.len() > 300 {
        text.truncate(300);
        text.push_str("...");
    }
    text
}
