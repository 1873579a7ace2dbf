//! Header fields on borrowed bytes: slots, look-up, lists, and the syntax of one field line.
//!
//! A [`HeaderSlot`] holds offsets, not references, so one array of slots serves every request of a
//! connection without being tied to the life of a buffer. Look-ups are linear in the number of
//! fields, which is limited: names chosen to collide in a hash table gain nothing.

use std::borrow::Cow;

use super::reject::Reject;
use super::scan;

/// The fields that decide framing or belong to the connection; all others are `Other`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum FieldId {
    /// Any field that the protocol core has no interest in.
    #[default]
    Other,
    /// `Host` (RFC 9112 section 3.2).
    Host,
    /// `Content-Length` (RFC 9110 section 8.6).
    ContentLength,
    /// `Transfer-Encoding` (RFC 9112 section 6.1).
    TransferEncoding,
    /// `Connection` (RFC 9110 section 7.6.1).
    Connection,
    /// `Expect` (RFC 9110 section 10.1.1).
    Expect,
    /// `Upgrade` (RFC 9110 section 7.8).
    Upgrade,
    /// `Date` (RFC 9110 section 6.6.1).
    Date,
    /// `Keep-Alive`, `Proxy-Connection`, `TE`: they mean nothing beyond one connection.
    HopByHop,
    /// `Trailer` (RFC 9110 section 6.6.2).
    Trailer,
}

impl FieldId {
    /// The id of a name, in any case.
    ///
    /// # Examples
    ///
    /// ```
    /// # use cede_services as cede;
    /// # use cede::http::proto::fields::FieldId;
    /// assert_eq!(FieldId::of(b"HOST"), FieldId::Host);
    /// assert_eq!(FieldId::of(b"Accept"), FieldId::Other);
    /// ```
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            2 if is(b"te") => Self::HopByHop,
            4 if is(b"host") => Self::Host,
            4 if is(b"date") => Self::Date,
            6 if is(b"expect") => Self::Expect,
            7 if is(b"upgrade") => Self::Upgrade,
            7 if is(b"trailer") => Self::Trailer,
            10 if is(b"connection") => Self::Connection,
            10 if is(b"keep-alive") => Self::HopByHop,
            14 if is(b"content-length") => Self::ContentLength,
            16 if is(b"proxy-connection") => Self::HopByHop,
            17 if is(b"transfer-encoding") => Self::TransferEncoding,
            _ => Self::Other,
        }
    }

    /// The bit of this id in a set of ids.
    #[inline(always)]
    pub(super) const fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// Where one field is in the bytes of its head. Sixteen bytes, without a life time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderSlot {
    name_start: u32,
    value_start: u32,
    value_len: u32,
    name_len: u16,
    id: FieldId,
}

impl HeaderSlot {
    /// An unused slot, to make arrays of.
    pub const EMPTY: Self =
        Self { name_start: 0, value_start: 0, value_len: 0, name_len: 0, id: FieldId::Other };

    /// Checks the field line `bytes[start..end]`, whose control bytes have been ruled out, and
    /// notes where its parts are. The length of its name is zero if it has not been measured.
    #[inline(always)]
    pub(super) fn parse(
        bytes: &[u8],
        start: usize,
        mut name_len: usize,
        end: usize,
    ) -> Result<Self, Reject> {
        if name_len == 0 {
            name_len = scan::token_len(bytes, start);
        }
        let line = bytes.get(start..end).unwrap_or_default();
        let Some((name, [b':', value @ ..])) = line.split_at_checked(name_len) else {
            return Err(name_reject(line));
        };
        if name.is_empty() {
            return Err(Reject::FieldName);
        }
        let mut value = value;
        while let [b' ' | b'\t', rest @ ..] = value {
            value = rest;
        }
        let value_start = end - value.len();
        let value = scan::trim(value);
        Ok(Self {
            name_start: start as u32,
            value_start: value_start as u32,
            value_len: value.len() as u32,
            name_len: u16::try_from(name_len).map_err(|_| Reject::HeadTooLarge)?,
            id: FieldId::of(name),
        })
    }

    /// Which field it is.
    #[inline(always)]
    pub fn id(self) -> FieldId {
        self.id
    }

    #[inline(always)]
    pub(super) fn name(self, bytes: &[u8]) -> &[u8] {
        slice(bytes, self.name_start as usize, usize::from(self.name_len))
    }

    #[inline(always)]
    pub(super) fn value(self, bytes: &[u8]) -> &[u8] {
        slice(bytes, self.value_start as usize, self.value_len as usize)
    }
}

#[inline(always)]
fn slice(bytes: &[u8], start: usize, len: usize) -> &[u8] {
    bytes.get(start..).and_then(|rest| rest.get(..len)).unwrap_or_default()
}

/// Why the start of a line is not a name and a colon.
#[cold]
fn name_reject(line: &[u8]) -> Reject {
    match line.first() {
        Some(b' ' | b'\t') => Reject::FieldFold,
        _ if !line.contains(&b':') => Reject::FieldColon,
        _ => Reject::FieldName,
    }
}

/// One field line: its name as sent and its value without white space around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name, a token in the case that the peer used.
    pub name: &'a str,
    /// The value; it may be empty and may hold bytes from 0x80 on (RFC 9110 section 5.5).
    pub value: &'a [u8],
}

/// The fields of a head or of a trailer section, in the order they came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    slots: &'a [HeaderSlot],
    seen: u16,
}

impl<'a> Fields<'a> {
    #[inline(always)]
    pub(super) fn new(bytes: &'a [u8], slots: &'a [HeaderSlot], seen: u16) -> Self {
        Self { bytes, slots, seen }
    }

    /// Whether any field of a set of [`FieldId::bit`]s is there.
    #[inline(always)]
    pub(super) fn any_of(self, set: u16) -> bool {
        self.seen & set != 0
    }

    /// The number of field lines.
    pub fn len(self) -> usize {
        self.slots.len()
    }

    /// Whether there is no field.
    pub fn is_empty(self) -> bool {
        self.slots.is_empty()
    }

    /// All field lines in order.
    pub fn iter(self) -> impl Iterator<Item = Field<'a>> + Clone {
        self.slots.iter().map(move |slot| Field {
            // A name is a token, and so it is ASCII.
            name: str::from_utf8(slot.name(self.bytes)).unwrap_or_default(),
            value: slot.value(self.bytes),
        })
    }

    /// The values of every line of a name, in any case, in order.
    pub fn all<'n>(self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.slots
            .iter()
            .filter(move |slot| slot.name(self.bytes).eq_ignore_ascii_case(name.as_bytes()))
            .map(move |slot| slot.value(self.bytes))
    }

    /// The value of the first line of a name, in any case.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The value of the first line of a name as text; `None` too when it is not UTF-8.
    pub fn text(self, name: &str) -> Option<&'a str> {
        str::from_utf8(self.get(name)?).ok()
    }

    /// All lines of a name joined with `, ` in order, as RFC 9110 section 5.3 allows a recipient.
    ///
    /// It allocates only when there are several lines. `Set-Cookie` must not be joined (same
    /// section); it has no business in a request.
    pub fn joined(self, name: &str) -> Option<Cow<'a, [u8]>> {
        let mut values = self.all(name);
        let mut joined = Cow::Borrowed(values.next()?);
        for value in values {
            let joined = joined.to_mut();
            joined.extend_from_slice(b", ");
            joined.extend_from_slice(value);
        }
        Some(joined)
    }

    /// The values of every line of a known field, in order.
    #[inline]
    pub(super) fn known(self, id: FieldId) -> impl Iterator<Item = &'a [u8]> {
        // Most heads have none of a kind: then the slots are not looked at.
        let slots = if self.any_of(id.bit()) { self.slots } else { &[] };
        slots.iter().filter(move |slot| slot.id == id).map(move |slot| slot.value(self.bytes))
    }

    /// The members of the comma-separated list in a known field, over all its lines, without white
    /// space around them. Empty members are included.
    pub(super) fn members(self, id: FieldId) -> impl Iterator<Item = &'a [u8]> {
        self.known(id).flat_map(|value| {
            scan::work(value.len());
            value.split(|&byte| byte == b',').map(scan::trim)
        })
    }
}
