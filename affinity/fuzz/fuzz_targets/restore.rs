//! Restores the sessions of a region of the fuzzer's bytes into a good table, as a start does with a file of another
//! boot. No access may leave the region, panic, or run for ever; and no session gets a server that it never had.
//!
//! `cargo +nightly fuzz run restore`, from this directory's parent.

#![no_main]

use core::ptr::NonNull;
use std::alloc::{alloc_zeroed, dealloc, Layout};

use affinity::file::{classify, Clock, Description, Header, Lives, Mine};
use affinity::table::{Existing, Kind, Limits, Span, Table, Tick};
use libfuzzer_sys::fuzz_target;

const LEN: usize = 2 * Table::MIN_SIZE;
const LIMITS: Limits = Limits { timeout: Span(1000), lifetime: Some(Span(5000)) };
const MINE: Mine = Mine { boot: [7; 16], size: LEN as u64, table_len: LEN as u64, notes: 5 };

/// Reads and judges a good header that is damaged at places that the fuzzer chooses.
fn read_damaged_header(damage: &[u8]) {
    #[repr(align(4096))]
    struct Pages([u8; 2 * Header::LEN]);
    let mut pages = Pages([0; 2 * Header::LEN]);
    // SAFETY: two pages, aligned, which nobody else uses; the reference ends with the call.
    let header = unsafe { Header::at(NonNull::from(&mut pages.0).cast()) };
    let clock = Clock { monotonic: 1, wall: 2 };
    header.describe(&MINE.description(), &[0; Table::IDENTITY], clock);
    for hit in damage.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([hit[0], hit[1]])) % Header::READ;
        pages.0[at] ^= hit[2];
    }
    if let Ok(description) = Description::read(&pages.0[..Header::READ]) {
        for lives in [Lives::Nobody, Lives::Family] {
            let _ = classify(description.as_ref(), &MINE, lives);
        }
    }
}

struct Memory(NonNull<u8>, Layout);

impl Memory {
    fn new() -> Memory {
        let layout = Layout::from_size_align(LEN, Table::ALIGN).unwrap();
        // SAFETY: the size is not zero.
        Memory(NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap(), layout)
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: so many bytes were allocated, and `self` is borrowed.
        unsafe { core::slice::from_raw_parts_mut(self.0.as_ptr(), LEN) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.0.as_ptr(), self.1) };
    }
}

fuzz_target!(|data: &[u8]| {
    let _ = Description::read(data);
    let Some((&[choice, then], damage)) = data.split_first_chunk() else { return };
    read_damaged_header(damage);
    let (mut old, new) = (Memory::new(), Memory::new());
    if choice & 1 == 0 {
        // From nothing, with a good description.
        let known = damage.len().min(LEN);
        old.bytes()[..known].copy_from_slice(&damage[..known]);
    } else {
        // SAFETY: `LEN` zero bytes were allocated; `bytes` is not used while the table is.
        let table = unsafe { Table::create(old.0, LEN, [7; 16]) }.unwrap();
        let servers = [&b"192.0.2.1:80"[..], b"192.0.2.2:80"].map(|it| table.intern(it, Tick(1)).unwrap());
        for id in 0..40u8 {
            let key = table.key(Kind::Session, &[id], b"");
            table.bind(key, servers[usize::from(id % 2)], None, Tick(1), &LIMITS, Existing::Keep);
        }
        for hit in damage.chunks_exact(3) {
            let at = usize::from(u16::from_le_bytes([hit[0], hit[1]])) % LEN;
            old.bytes()[at] ^= hit[2];
        }
    }
    // SAFETY: `LEN` bytes were allocated, and nobody else uses them.
    let Ok(from) = (unsafe { Table::reopen(old.0, LEN) }) else { return };
    // SAFETY: the same, and all of them are zero.
    let to = unsafe { Table::create(new.0, LEN, from.secret()) }.unwrap();
    let now = Tick(77);
    let restored = to.restore(&from, Tick(u32::from(then)), now, &LIMITS);
    assert!(to.stats().live <= restored.taken);
    let mut address = [0; Table::MAX_ADDRESS];
    for server in to.servers() {
        assert!(to.address(server, &mut address).is_some());
    }
});
