//! Bodies in chunks: the same however they are cut, never larger than what came, within their limits.
#![no_main]

use cede_services::http::proto::fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz::fuzz_chunked(data));
