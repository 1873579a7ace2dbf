//! Paths, queries and forms: decoded without control bytes and without growing.
#![no_main]

use cede_services::http::proto::fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz::fuzz_query(data));
