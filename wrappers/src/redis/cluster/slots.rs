//! Which node has which keys.
//!
//! The rule of this file: a key's slot is that of the part in its first braces, if that is not empty,
//! so that keys can be made to live together.

use redis::Value;

use crate::redis::config::Address;

/// How many slots a cluster has; part of the protocol.
pub(super) const SLOTS: usize = 16_384;

/// The slot of a key: CRC-16/XMODEM (polynomial 0x1021) of it, modulo the number of slots.
pub(super) fn slot(key: &[u8]) -> u16 {
    let tag = || {
        let open = key.iter().position(|byte| *byte == b'{')?;
        let len = key.get(open + 1..)?.iter().position(|byte| *byte == b'}')?;
        (len > 0).then(|| &key[open + 1..open + 1 + len])
    };
    let crc = tag().unwrap_or(key).iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % SLOTS as u16
}

/// Slots that lie together, and who has them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) master: Address,
    pub(super) replicas: Vec<Address>,
}

/// Of the answer to `CLUSTER SLOTS`. A node that does not say its own address has that of the node
/// that was asked.
pub(super) fn ranges(answer: &Value, asked: &Address) -> Option<Vec<Range>> {
    let Value::Array(ranges) = answer else { return None };
    ranges.iter().map(|range| one_range(range, asked)).collect()
}

fn one_range(range: &Value, asked: &Address) -> Option<Range> {
    let Value::Array(parts) = range else { return None };
    let [Value::Int(first), Value::Int(last), master, replicas @ ..] = &**parts else {
        return None;
    };
    let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
    let master = node(master, asked)?;
    // Without one of them everything works as well.
    let replicas = replicas.iter().filter_map(|replica| node(replica, asked)).collect();
    (first <= last && usize::from(last) < SLOTS).then_some(Range { first, last, master, replicas })
}

fn node(node: &Value, asked: &Address) -> Option<Address> {
    let Value::Array(parts) = node else { return None };
    let [host, Value::Int(port), ..] = &**parts else { return None };
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::Nil => "",
        _ => return None,
    };
    Some(at(host, u16::try_from(*port).ok()?, asked))
}

/// `host:port` of a redirection.
pub(super) fn address(text: &str, asked: &Address) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    Some(at(host, port.parse().ok()?, asked))
}

fn at(host: &str, port: u16, asked: &Address) -> Address {
    match asked {
        Address::Tcp(asked, _) if host.is_empty() || host == "?" => {
            Address::Tcp(asked.clone(), port)
        }
        _ => Address::Tcp(host.to_string(), port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_keys() {
        // The check value of CRC-16/XMODEM is 0x31c3.
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"a{b}{c}"), slot(b"b"));
        for whole in [&b"foo{}{bar}"[..], b"{", b"}{", b"{}", b""] {
            assert!(usize::from(slot(whole)) < SLOTS);
        }
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
    }

    #[test]
    fn answers_that_are_wrong_are_no_map() {
        let asked = Address::Tcp("10.0.0.1".into(), 1);
        let parse =
            |text: &str| ranges(&redis::parse_redis_value(text.as_bytes()).unwrap(), &asked);
        let good = "*1\r\n*3\r\n:0\r\n:5\r\n*3\r\n$1\r\na\r\n:7\r\n$1\r\nx\r\n";
        let range = |master: &str, replicas: &[&str]| Range {
            first: 0,
            last: 5,
            master: Address::Tcp(master.into(), 7),
            replicas: replicas.iter().map(|host| Address::Tcp((*host).into(), 7)).collect(),
        };
        assert_eq!(parse(good).unwrap(), [range("a", &[])]);
        let own = "*1\r\n*4\r\n:0\r\n:5\r\n*2\r\n$0\r\n\r\n:7\r\n*2\r\n$1\r\nb\r\n:7\r\n";
        assert_eq!(parse(own).unwrap(), [range("10.0.0.1", &["b"])]);
        let half = "*1\r\n*4\r\n:0\r\n:5\r\n*2\r\n$1\r\na\r\n:7\r\n:8\r\n";
        assert_eq!(parse(half).unwrap(), [range("a", &[])]);
        for wrong in [
            ":1\r\n",
            "*1\r\n:1\r\n",
            "*1\r\n*3\r\n:5\r\n:0\r\n*2\r\n$1\r\na\r\n:7\r\n",
            "*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:7\r\n",
            "*1\r\n*3\r\n:-1\r\n:5\r\n*2\r\n$1\r\na\r\n:7\r\n",
            "*1\r\n*3\r\n:0\r\n:5\r\n*2\r\n$1\r\na\r\n:70000\r\n",
            "*1\r\n*2\r\n:0\r\n:5\r\n",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
