//! Which backup server stands in for a session.

/// A number for each backup server; the one with the highest number stands in for a session. A session
/// keeps its stand-in while the servers stay the same. When one goes, only its sessions get others.
pub fn stand_in(session: u64, server: &[u8]) -> u64 {
    // The finalizer of MurmurHash3: each bit of the sum changes each bit of the result.
    let mut mixed = session ^ digest(&[server]);
    for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        mixed = (mixed ^ mixed >> 33).wrapping_mul(factor);
    }
    mixed ^ mixed >> 33
}

/// A number for some texts (FNV-1a), for [`stand_in`] where there is no session.
pub fn digest(texts: &[&[u8]]) -> u64 {
    texts.iter().copied().flatten().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
