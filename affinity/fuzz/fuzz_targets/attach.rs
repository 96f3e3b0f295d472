//! Attaches to a region of the fuzzer's bytes and reads all that can be read without a lock. No access may
//! leave the region (AddressSanitizer checks its ends), panic, or run for ever.
//!
//! `cargo +nightly fuzz run attach`, from this directory's parent.

#![no_main]

use core::ptr::NonNull;
use std::alloc::{alloc_zeroed, dealloc, Layout};

use affinity::table::{Existing, Kind, Limits, Span, Table, Tick};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, damage)) = data.split_first() else {
        return;
    };
    let len = if choice & 1 == 0 { Table::MIN_SIZE } else { 3 * Table::MIN_SIZE + 64 };
    let layout = Layout::from_size_align(len, Table::ALIGN).unwrap();
    // SAFETY: the size is not zero.
    let region = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap();
    // SAFETY: `len` bytes were allocated, and nothing else uses them.
    let bytes = unsafe { core::slice::from_raw_parts_mut(region.as_ptr(), len) };
    if choice & 2 == 0 {
        // From nothing.
        let known = damage.len().min(len);
        bytes[..known].copy_from_slice(&damage[..known]);
    } else {
        // From a good table, damaged at places that the fuzzer chooses.
        // SAFETY: `len` zero bytes were allocated, and stay so until the last handle is gone. `bytes` is
        // not used while the table is.
        let table = unsafe { Table::create(region, len, [7; 16]) }.unwrap();
        let server = table.intern(b"192.0.2.1:80", Tick(1)).unwrap();
        for id in 0..40u8 {
            table.bind(
                table.key(Kind::Session, &[id], b""),
                server,
                None,
                Tick(1),
                &LIMITS,
                Existing::Keep,
            );
        }
        for hit in damage.chunks_exact(3) {
            let at = usize::from(u16::from_le_bytes([hit[0], hit[1]])) % len;
            bytes[at] = hit[2];
        }
    }
    // SAFETY: `len` bytes were allocated and stay so until the last handle is gone. Nothing writes to
    // them. (Condition 3 of `attach` does not hold on purpose; no lock is taken.)
    if let Ok(table) = unsafe { Table::attach(region, len) } {
        read_everything(&table);
    }
    // SAFETY: allocated above with this layout, and no handle is used any more.
    unsafe { dealloc(region.as_ptr(), layout) };
});

const LIMITS: Limits = Limits { timeout: Span(1000), lifetime: Some(Span(5000)) };

fn read_everything(table: &Table) {
    table.stats();
    table.secret();
    let mut buffer = [0; Table::MAX_ADDRESS];
    for server in table.servers() {
        table.address(server, &mut buffer);
        table.server_stats(server);
        table.record(server);
        table.server_flags(server);
        table.count_hit(server);
    }
    table.find_server(b"192.0.2.1:80");
    for id in 0..40u8 {
        let key = table.key(Kind::Session, &[id], b"");
        if let Some(session) = table.lookup(key, Tick(2), &LIMITS) {
            table.address(session.server, &mut buffer);
        }
        table.touch(key, Tick(3));
        table.count_unknown(key);
    }
}
