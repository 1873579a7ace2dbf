//! Heads of requests: the verdict does not depend on cuts, and what is accepted reads the same again.
#![no_main]

use cede_services::http::proto::fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz::fuzz_head(data));
