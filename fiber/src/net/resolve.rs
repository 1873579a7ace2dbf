//! From names to addresses, without holding up the shard.
//!
//! An address written in digits is parsed in place; a name is looked up by the system's resolver on
//! the blocking pool. Answers are kept for a short time, because the resolver does not say for how
//! long they hold.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::blocking::blocking;

/// Names whose addresses are kept, in the whole process; when there are more, the one that was
/// looked up first goes.
pub const NAMES_KEPT_MAX: usize = 1024;
/// How long the addresses of a name are kept. A name that has moved is followed within this time.
pub const NAME_KEPT: Duration = Duration::from_secs(10);
/// The longest name that is looked up, as RFC 1035 has it, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// What can be turned into addresses: std's trait of the same name, for the same types, but a
/// lookup parks the fiber.
///
/// std's own trait cannot be used here, because its lookup blocks the thread.
///
/// # Examples
///
/// ```
/// # use cede_fiber as cede;
/// # cede::run(|| -> std::io::Result<()> {
/// use cede::net::ToSocketAddrs;
///
/// let here: Vec<_> = "localhost:80".to_socket_addrs()?.collect();
/// assert!(here.iter().all(|addr| addr.ip().is_loopback() && addr.port() == 80));
/// # Ok(()) }).unwrap().unwrap();
/// ```
pub trait ToSocketAddrs {
    /// The addresses.
    type Iter: Iterator<Item = SocketAddr>;

    /// Resolves it.
    ///
    /// # Errors
    ///
    /// A name that cannot be resolved, or a text that is no address; for a name also a cancel or a
    /// deadline.
    fn to_socket_addrs(&self) -> io::Result<Self::Iter>;
}

macro_rules! one_address {
    ($($type:ty),*) => {$(
        impl ToSocketAddrs for $type {
            type Iter = std::option::IntoIter<SocketAddr>;

            fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
                Ok(Some(SocketAddr::from(*self)).into_iter())
            }
        }
    )*};
}

one_address!(SocketAddr, SocketAddrV4, SocketAddrV6);
one_address!((IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

impl ToSocketAddrs for (&str, u16) {
    type Iter = std::vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        resolve(self.0, self.1)
    }
}

impl ToSocketAddrs for (String, u16) {
    type Iter = std::vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        resolve(&self.0, self.1)
    }
}

impl ToSocketAddrs for str {
    type Iter = std::vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        if let Ok(addr) = self.parse() {
            return Ok(vec![addr].into_iter());
        }
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        let (host, port) =
            self.rsplit_once(':').ok_or_else(|| invalid("an address needs a port: host:port"))?;
        let port = port.parse().map_err(|_| invalid("the port is not a number below 65536"))?;
        resolve(host, port)
    }
}

impl ToSocketAddrs for String {
    type Iter = std::vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        self.as_str().to_socket_addrs()
    }
}

impl<'a> ToSocketAddrs for &'a [SocketAddr] {
    type Iter = std::iter::Copied<std::slice::Iter<'a, SocketAddr>>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        Ok(self.iter().copied())
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    type Iter = T::Iter;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (**self).to_socket_addrs()
    }
}

/// Tries each address in turn; the last error is the one that is told.
#[track_caller]
pub(super) fn each_address<T>(
    addr: impl ToSocketAddrs,
    mut f: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for addr in addr.to_socket_addrs()? {
        match f(addr) {
            Ok(value) => return Ok(value),
            // Every further attempt would fail like this one.
            Err(error) if crate::is_cancelled(&error) => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn resolve(host: &str, port: u16) -> io::Result<std::vec::IntoIter<SocketAddr>> {
    let with_port = |ips: Vec<IpAddr>| {
        let addrs: Vec<_> = ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        addrs.into_iter()
    };
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(with_port(vec![ip]));
    }
    if host.len() > NAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the name is too long"));
    }
    if let Some(ips) = Names::lock().find(host, Instant::now()) {
        return Ok(with_port(ips));
    }
    let host = host.to_string();
    blocking(move || look_up(host))?.map(with_port)
}

/// Runs on the pool.
fn look_up(host: String) -> io::Result<Vec<IpAddr>> {
    // Many fibers may have asked at once; those behind the first find its answer.
    if let Some(ips) = Names::lock().find(&host, Instant::now()) {
        return Ok(ips);
    }
    let found = std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), 0));
    let addrs = found.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot find the address of {host:?}: {error}"))
    })?;
    let ips: Vec<IpAddr> = addrs.map(|addr| addr.ip()).collect();
    if !ips.is_empty() {
        Names::lock().keep(host, ips.clone(), Instant::now());
    }
    Ok(ips)
}

/// What was looked up lately.
#[derive(Debug, Default)]
struct Names(Option<HashMap<String, Answer>>);

#[derive(Debug)]
struct Answer {
    ips: Vec<IpAddr>,
    since: Instant,
}

/// Held for a few instructions and never across a wait.
static NAMES: Mutex<Names> = Mutex::new(Names(None));

impl Names {
    fn lock() -> MutexGuard<'static, Self> {
        NAMES.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, host: &str, now: Instant) -> Option<Vec<IpAddr>> {
        let answer = self.0.as_ref()?.get(host)?;
        (now.saturating_duration_since(answer.since) < NAME_KEPT).then(|| answer.ips.clone())
    }

    fn keep(&mut self, host: String, ips: Vec<IpAddr>, now: Instant) {
        let names = self.0.get_or_insert_default();
        if names.len() >= NAMES_KEPT_MAX && !names.contains_key(&host) {
            names.retain(|_, a| now.saturating_duration_since(a.since) < NAME_KEPT);
            if names.len() >= NAMES_KEPT_MAX
                && let Some(oldest) = names.iter().min_by_key(|(_, a)| a.since)
            {
                let oldest = oldest.0.clone();
                names.remove(&oldest);
            }
        }
        names.insert(host, Answer { ips, since: now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_for_a_time_and_in_a_number() {
        let mut names = Names::default();
        let start = Instant::now();
        let ip = vec![IpAddr::from([127, 0, 0, 1])];
        for i in 0..NAMES_KEPT_MAX as u64 + 10 {
            names.keep(format!("host{i}"), ip.clone(), start + Duration::from_nanos(i));
        }
        assert_eq!(names.0.as_ref().unwrap().len(), NAMES_KEPT_MAX);
        assert_eq!(names.find("host0", start), None);
        assert_eq!(names.find("host20", start), Some(ip.clone()));
        assert_eq!(names.find("host20", start + NAME_KEPT * 2), None);
        names.keep("later".into(), ip, start + NAME_KEPT * 2);
        assert_eq!(names.0.as_ref().unwrap().len(), 1);
    }
}
