//! Addresses of servers that this worker has asked the zone for.

use affinity::table::{ServerId, Table};

#[derive(Clone)]
pub(super) struct Known {
    pub(super) print: u64,
    pub(super) len: usize,
    pub(super) text: [u8; Table::MAX_ADDRESS],
}

impl Known {
    /// The address of a server among those that are known.
    #[inline(always)]
    pub(super) fn address(known: &[Option<Known>], server: ServerId) -> Option<&[u8]> {
        let known = known.get(usize::from(server.index))?.as_ref()?;
        (known.print == server.print).then(|| known.text.get(..known.len))?
    }
}
