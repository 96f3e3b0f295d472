//! What is kept of a session, and how it is written.

use core::fmt;

use super::capabilities::Capabilities;
use super::owner::{Owner, OWNER_LEN};
use crate::text::bounded::MAX_ID;

/// The longest body of an `initialize` that is kept, in bytes.
pub const MAX_INITIALIZE: usize = 8 * 1024;

/// The longest `Record::opener`, in bytes.
pub const MAX_OPENER: usize = 256;

/// The longest `Record::uri`, in bytes.
pub const MAX_URI: usize = 2 * 1024;

/// The longest version of the protocol, in bytes.
pub const MAX_VERSION: usize = 32;

/// The longest encoding of a record, in bytes.
pub(super) const MAX_RECORD: usize = 1
    + OWNER_LEN
    + FIELDS * size_of::<u16>()
    + MAX_INITIALIZE
    + MAX_OPENER
    + MAX_URI
    + MAX_VERSION
    + Capabilities::MAX_LEN
    + MAX_ID;

/// Counted up when the meaning of any byte of a record changes.
const FORMAT: u8 = 1;

const FIELDS: usize = 6;

const _: () = assert!(MAX_INITIALIZE <= u16::MAX as usize);

/// What is kept of a session. It holds no header of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The body of the client's `initialize`.
    pub initialize: &'a [u8],
    /// What opened the session: location, `server {}` and upstream. Compared, never read.
    pub opener: &'a [u8],
    /// The URI that this location sent to the server.
    pub uri: &'a [u8],
    /// The version of the protocol that server and client use.
    pub version: &'a str,
    /// The capabilities of the server.
    pub capabilities: Capabilities<'a>,
    /// The credentials of the `initialize`.
    pub owner: Owner,
    /// The id of the session at its server, if that is not the client's: after a revival.
    pub server_id: Option<&'a [u8]>,
}

/// Why a session cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// One of its parts is too long.
    #[error("its record is too long")]
    TooLong,
    /// The id of its server cannot be sent in a header, or is empty.
    #[error("the id of its server is invalid")]
    InvalidId,
    /// There is no memory.
    #[error("no memory")]
    NoMemory,
}

impl<'a> Record<'a> {
    /// The record of the session after a revival, whose id is `server_id` at its new server.
    #[must_use]
    pub fn revived(self, server_id: &'a [u8]) -> Record<'a> {
        Record { server_id: Some(server_id), ..self }
    }

    /// Adds the record to `out`, as bytes.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), NotKept> {
        let fields = self.fields()?;
        out.push(FORMAT);
        out.extend_from_slice(&self.owner.0);
        for field in fields {
            let len = u16::try_from(field.len()).map_err(|_| NotKept::TooLong)?;
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(field);
        }
        Ok(())
    }

    /// The length of the encoding, in bytes.
    pub(super) fn encoded_len(&self) -> Result<usize, NotKept> {
        let texts: usize = self.fields()?.iter().map(|field| field.len()).sum();
        Ok(1 + OWNER_LEN + FIELDS * size_of::<u16>() + texts)
    }

    /// The record in bytes that `encode` has written. Other bytes are a record only if all of it is valid.
    pub fn decode(bytes: &'a [u8]) -> Option<Record<'a>> {
        let (format, rest) = bytes.split_first()?;
        let (owner, mut rest) = rest.split_first_chunk()?;
        if *format != FORMAT {
            return None;
        }
        let mut fields = [&[][..]; FIELDS];
        for field in &mut fields {
            let (len, behind) = rest.split_first_chunk()?;
            (*field, rest) = behind.split_at_checked(u16::from_le_bytes(*len).into())?;
        }
        let [initialize, opener, uri, version, capabilities, server_id] = fields;
        let record = Record {
            initialize,
            opener,
            uri,
            version: core::str::from_utf8(version).ok()?,
            capabilities: Capabilities::from_bytes(capabilities)?,
            owner: Owner(*owner),
            server_id: Some(server_id).filter(|id| !id.is_empty()),
        };
        (rest.is_empty() && record.fields().is_ok()).then_some(record)
    }

    fn fields(&self) -> Result<[&'a [u8]; FIELDS], NotKept> {
        let limits = [
            (self.initialize, MAX_INITIALIZE),
            (self.opener, MAX_OPENER),
            (self.uri, MAX_URI),
            (self.version.as_bytes(), MAX_VERSION),
            (self.capabilities.as_bytes(), Capabilities::MAX_LEN),
            (self.server_id.unwrap_or_default(), MAX_ID),
        ];
        if limits.iter().any(|(field, limit)| field.len() > *limit) {
            return Err(NotKept::TooLong);
        }
        match self.server_id {
            Some(id) if !is_id(id) => Err(NotKept::InvalidId),
            _ => Ok(limits.map(|(field, _)| field)),
        }
    }
}

/// Whether a text may be an `Mcp-Session-Id`: visible ASCII.
fn is_id(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_graphic)
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No id, nothing that the client has sent.
        f.debug_struct("Record").field("version", &self.version).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>() -> Record<'a> {
        Record {
            initialize: b"{}",
            opener: b"7",
            uri: b"/mcp",
            version: "2025-06-18",
            capabilities: Capabilities::from_bytes(b"\x05tools\x00").unwrap(),
            owner: Owner([7; OWNER_LEN]),
            server_id: None,
        }
    }

    fn encoded(record: &Record) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes).unwrap();
        assert_eq!(Ok(bytes.len()), record.encoded_len());
        bytes
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for record in [record(), record().revived(b"new-id")] {
            assert!(Record::decode(&encoded(&record)) == Some(record));
        }
    }

    #[test]
    fn a_record_that_is_cut_or_longer_or_of_another_format_is_none() {
        let bytes = encoded(&record().revived(b"new-id"));
        for len in 0..bytes.len() {
            assert!(Record::decode(&bytes[..len]).is_none(), "{len} bytes");
        }
        assert!(Record::decode(&[&bytes[..], b"x"].concat()).is_none());
        let mut other = bytes.clone();
        other[0] += 1;
        assert!(Record::decode(&other).is_none());
    }

    #[test]
    fn a_part_that_is_too_long_or_no_id_is_not_kept() {
        let long = vec![b'x'; MAX_INITIALIZE + 1];
        let result = |record: Record| record.encode(&mut Vec::new());
        assert_eq!(result(Record { initialize: &long[1..], ..record() }), Ok(()));
        assert_eq!(result(Record { initialize: &long, ..record() }), Err(NotKept::TooLong));
        assert_eq!(result(Record { uri: &long, ..record() }), Err(NotKept::TooLong));
        assert_eq!(result(Record { opener: &long, ..record() }), Err(NotKept::TooLong));
        for id in [&b""[..], b"a b", b"a\r\nX: y", b"\xc3\xa9"] {
            assert_eq!(result(record().revived(id)), Err(NotKept::InvalidId), "{id:?}");
        }
        let longest = Record {
            initialize: &long[..MAX_INITIALIZE],
            opener: &long[..MAX_OPENER],
            uri: &long[..MAX_URI],
            ..record()
        };
        assert!(encoded(&longest.revived(&long[..MAX_ID])).len() <= MAX_RECORD);
    }

    #[test]
    fn what_is_printed_of_a_record_has_nothing_of_its_client() {
        let printed = format!("{:?}", record().revived(b"new-id"));
        assert!(printed.contains("2025-06-18") && !printed.contains("new-id"), "{printed}");
    }
}
