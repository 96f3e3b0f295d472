//! Checksums of the pages of a memory that nobody uses: written when its nginx has ended in an orderly way,
//! compared when another one starts. In use the memory has none: a session is used without a lock.

/// Bytes that have one sum.
pub const PAGE: usize = 4096;

/// Bytes of a sum.
const SUM: usize = size_of::<u32>();

/// Bytes of the sums of so many bytes.
pub fn len(bytes: usize) -> usize {
    bytes.div_ceil(PAGE) * SUM
}

/// The sums of a memory.
pub fn of(memory: &[u8]) -> impl Iterator<Item = u8> + '_ {
    memory.chunks(PAGE).flat_map(sum)
}

fn sum(page: &[u8]) -> [u8; SUM] {
    crc32fast::hash(page).to_ne_bytes()
}

/// Whether any page but the first has another sum.
pub fn has_damaged(memory: &[u8], sums: &[u8]) -> bool {
    let mut sums = sums.chunks_exact(SUM).skip(1);
    memory.chunks(PAGE).skip(1).any(|page| sums.next() != Some(&sum(page)))
}

/// Fills each page that has another sum with zeros, which are free slots and no servers. Returns how many
/// pages were damaged. The first one is not changed: it is the header, which has a sum of its own.
pub fn empty_damaged(memory: &mut [u8], sums: &[u8]) -> usize {
    let mut damaged = 0;
    let mut sums = sums.chunks_exact(SUM);
    // The sum of the header comes first, and is passed over.
    sums.next();
    for page in memory.chunks_mut(PAGE).skip(1) {
        if sums.next() != Some(&sum(page)) {
            page.fill(0);
            damaged += 1;
        }
    }
    damaged
}
