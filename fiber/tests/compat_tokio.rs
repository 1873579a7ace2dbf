//! Crates that insist on tokio, on fibers.
#![cfg(feature = "compat-tokio")]

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cede_fiber::{compat, run, spawn, with_deadline, yield_now};

/// How long anything may take before it counts as hanging.
const HANG: Duration = Duration::from_secs(120);

#[test]
fn sockets_and_timers_of_tokio_work_while_other_fibers_run() {
    run(|| {
        let ticks = Arc::new(AtomicU64::new(0));
        let (count, done) = (Arc::clone(&ticks), Rc::new(Cell::new(false)));
        let stop = Rc::clone(&done);
        let ticker = spawn(move || {
            while !stop.get() {
                count.fetch_add(1, Ordering::SeqCst);
                yield_now();
            }
        });
        let echo = async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            tokio::spawn(async move {
                let (stream, _) = listener.accept().await?;
                // An answer that were there at once would need no wait of the fiber.
                while ticks.load(Ordering::SeqCst) == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                loop {
                    let mut buffer = [0; 64];
                    stream.readable().await?;
                    match stream.try_read(&mut buffer) {
                        Ok(0) => return Ok::<(), std::io::Error>(()),
                        Ok(n) => drop(stream.try_write(&buffer[..n])?),
                        Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                        Err(e) => return Err(e),
                    }
                }
            });
            let client = tokio::net::TcpStream::connect(address).await?;
            client.writable().await?;
            client.try_write(b"hello")?;
            let mut buffer = [0; 64];
            loop {
                client.readable().await?;
                match client.try_read(&mut buffer) {
                    Ok(n) => return Ok::<_, std::io::Error>(buffer[..n].to_vec()),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                    Err(e) => return Err(e),
                }
            }
        };
        let echoed = with_deadline(HANG, || compat::tokio(echo));
        assert_eq!(echoed.unwrap().unwrap(), b"hello");
        done.set(true);
        ticker.join().unwrap();
    })
    .unwrap();
}

#[test]
fn a_deadline_ends_the_wait() {
    run(|| {
        let slept = with_deadline(Duration::from_millis(5), || {
            compat::tokio(async { tokio::time::sleep(Duration::from_secs(3600)).await })
        });
        assert_eq!(slept.unwrap_err().kind(), ErrorKind::TimedOut);
    })
    .unwrap();
}

/// Bug: tokio panicked, "`EnterGuard` values dropped out of order".
#[test]
fn fibers_that_wait_inside_of_polls_of_tokio_futures_go_on_in_any_order() {
    run(|| {
        let fibers: Vec<_> = (0..4)
            .map(|_| {
                spawn(|| {
                    compat::tokio(async {
                        cede_fiber::park().unwrap();
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        cede_fiber::park().unwrap();
                        tokio::task::yield_now().await;
                    })
                })
            })
            .collect();
        yield_now();
        for order in [[0, 1, 2, 3], [2, 0, 3, 1]] {
            for number in order {
                fibers[number].fiber().wakeup();
                yield_now();
            }
        }
        for fiber in fibers {
            fiber.join().unwrap().unwrap();
        }
        let entered = tokio::runtime::Handle::try_current();
        assert!(entered.is_err(), "tokio's context is left when nobody polls");
    })
    .unwrap();
}
