//! Which TCP ports of a host answer: a fiber for each port, a few hundred at a time.
//!
//!     cargo run --example port_scanner -- 127.0.0.1 1 1024

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use cede::net::{TcpStream, ToSocketAddrs};

/// Connects under way at one time.
const AT_ONCE: usize = 256;
const TIMEOUT: Duration = Duration::from_millis(500);

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let host = args.next().unwrap_or_else(|| "127.0.0.1".into());
    let first = args.next().map_or(Ok(1), |port| port.parse())?;
    let last = args.next().map_or(Ok(1024), |port| port.parse())?;
    cede::run(|| {
        let mut addrs = (host.as_str(), 0).to_socket_addrs()?;
        let ip = addrs.next().ok_or_else(|| anyhow::anyhow!("{host} has no address"))?.ip();
        let open = scan(ip, first, last);
        for port in &open {
            println!("{port} is open");
        }
        println!("{} of {} ports answer", open.len(), last.saturating_sub(first) as u32 + 1);
        Ok(())
    })?
}

fn scan(ip: IpAddr, first: u16, last: u16) -> Vec<u16> {
    let ports: Vec<u16> = (first..=last).collect();
    let next = std::cell::Cell::new(0);
    // Fibers of one scope may borrow, and share what is not `Sync`: they never change their thread.
    let mut open: Vec<u16> = cede::scope(|s| {
        let scan_next = || {
            let mut open = Vec::new();
            while let Some(&port) = ports.get(next.replace(next.get() + 1)) {
                if TcpStream::connect_timeout(&SocketAddr::new(ip, port), TIMEOUT).is_ok() {
                    open.push(port);
                }
            }
            open
        };
        let workers: Vec<_> = (0..AT_ONCE.min(ports.len())).map(|_| s.spawn(scan_next)).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).flatten().collect()
    });
    open.sort_unstable();
    open
}
