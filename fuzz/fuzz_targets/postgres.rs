//! What a PostgreSQL server sends: the same comes of it however it is cut, and limits are kept.
#![no_main]

use cede_wrappers::postgres::fuzz::answers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let whole = answers(data, data.len().max(1));
    let piece = 1 + usize::from(data.first().copied().unwrap_or(0)) % 16;
    assert_eq!(whole, answers(data, piece));
});
