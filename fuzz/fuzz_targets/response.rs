//! Fields of responses: whatever a handler passes forges no line of the head.
#![no_main]

use cede_services::http::proto::fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz::fuzz_response(data));
