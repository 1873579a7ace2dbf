//! The digest of a certificate's signature, which names the digest that binds an authentication.
//!
//! The rule of this file: of a certificate only the way to one identifier is read. Whether it is valid
//! is seen elsewhere.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Digest {
    Sha256,
    Sha384,
}

/// The digest of a certificate's signature, by its object identifier (RFC 4055, RFC 5758).
pub(super) fn digest_of(certificate: &[u8]) -> Option<Digest> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA_SHA2: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    const ECDSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01];
    // Certificate ::= SEQUENCE { tbsCertificate SEQUENCE, signatureAlgorithm SEQUENCE { OID, .. } .. }
    let (certificate, _) = element(0x30, certificate)?;
    let (_, behind) = element(0x30, certificate)?;
    let (algorithm, _) = element(0x30, behind)?;
    let (id, _) = element(0x06, algorithm)?;
    if id == ECDSA_SHA1 {
        return Some(Digest::Sha256);
    }
    let (&last, family) = id.split_last()?;
    match (family, last) {
        // MD5 and SHA-1 count as SHA-256.
        (RSA, 4 | 5 | 11) | (ECDSA_SHA2, 2) => Some(Digest::Sha256),
        (RSA, 12) | (ECDSA_SHA2, 3) => Some(Digest::Sha384),
        _ => None,
    }
}

/// The content of the DER element with this tag, and what is behind it.
fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    if first != tag {
        return None;
    }
    if length < 0x80 {
        return rest.split_at_checked(length.into());
    }
    let (length, rest) = rest.split_at_checked((length & 0x7f).into())?;
    if length.len() > 4 {
        return None;
    }
    let length = length.iter().fold(0_usize, |n, &byte| n << 8 | usize::from(byte));
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate whose signature has this algorithm, and nothing else of note.
    fn certificate(algorithm: &[u8]) -> Vec<u8> {
        let wrap = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
        // A length of two bytes, as that of most certificates.
        let body = [&[0x30, 0x82, 1, 0][..], &[7; 256]].concat();
        let all = [body, wrap(0x30, &wrap(0x06, algorithm))].concat();
        let mut bytes = vec![0x30, 0x82];
        bytes.extend((all.len() as u16).to_be_bytes());
        bytes.extend(all);
        bytes
    }

    #[test]
    fn the_algorithm_names_the_digest() {
        const RSA: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
        let rsa = |last: u8| digest_of(&certificate(&[&RSA[..], &[last]].concat()));
        assert_eq!(rsa(11), Some(Digest::Sha256));
        assert_eq!(rsa(12), Some(Digest::Sha384));
        // SHA-1 counts as SHA-256; SHA-512 and PSS are not there.
        assert_eq!((rsa(5), rsa(13), rsa(10)), (Some(Digest::Sha256), None, None));
        let ecdsa = |last: u8| digest_of(&certificate(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, last]));
        assert_eq!((ecdsa(2), ecdsa(3)), (Some(Digest::Sha256), Some(Digest::Sha384)));
        // Ed25519 has none.
        assert_eq!(digest_of(&certificate(&[0x2b, 0x65, 0x70])), None);
    }

    #[test]
    fn what_is_cut_has_none() {
        let whole = certificate(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
        assert!((0..whole.len()).all(|len| digest_of(&whole[..len]).is_none()));
        assert_eq!(digest_of(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(digest_of(&[0x30, 0xff]), None);
    }
}
