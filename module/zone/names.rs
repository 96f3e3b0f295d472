//! This worker's copies of the addresses in the zone's list of servers.

use affinity::table::{ServerId, Table};

/// The copy of a server's address.
#[derive(Clone)]
pub(super) struct KnownAddress {
    pub(super) print: u64,
    pub(super) len: usize,
    pub(super) text: [u8; Table::MAX_ADDRESS],
}

impl KnownAddress {
    /// The address of a server, if `known` has a copy of it.
    #[inline(always)]
    pub(super) fn address(known: &[Option<KnownAddress>], server: ServerId) -> Option<&[u8]> {
        let known = known.get(usize::from(server.index))?.as_ref()?;
        (known.print == server.print).then(|| known.text.get(..known.len))?
    }
}
