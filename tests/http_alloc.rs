//! A request that is answered with what is there already allocates nothing.
//!
//! The rule of this file: it holds one test, because the counter is the process's.

mod http_common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use http_common::{Lab, router};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn requests_allocate_nothing() {
    let lab = Lab::with(|b| b.requests_per_connection(10_000), router);
    let mut stream = lab.connect();
    let mut buf = [0; 4096];
    let mut ask = |count: usize| {
        for _ in 0..count {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n").unwrap();
            let mut end = 0;
            while !buf[..end].ends_with(b"hello") {
                end += stream.read(&mut buf[end..]).unwrap();
            }
        }
    };
    ask(100);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    ask(1000);
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    // What the harness of the tests does at the same time is not counted apart.
    assert!(allocations < 50, "{allocations} allocations in 1000 requests");
}
