//! Reads bytes as the record of a session. What is a record is written as the same bytes.

#![no_main]

use affinity::revive::{Record, RecordKey};
use affinity::table::{Kind, Table};
use libfuzzer_sys::fuzz_target;
use std::alloc::{alloc_zeroed, Layout};
use std::ptr::NonNull;
use std::sync::LazyLock;

/// The key, and the table that it was made by.
static KEY: LazyLock<(RecordKey, Table)> = LazyLock::new(|| {
    let layout = Layout::from_size_align(Table::MIN_SIZE, Table::ALIGN).unwrap();
    // SAFETY: the size is not zero.
    let memory = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap();
    // SAFETY: the memory is aligned, zero, of this length, used by nothing else, and never freed.
    let table = unsafe { Table::create(memory, Table::MIN_SIZE, [7; 16]) }.unwrap();
    (RecordKey::new(&[7; 16], b"id", table.key(Kind::Session, b"id", b"")), table)
});

fuzz_target!(|data: &[u8]| {
    let (key, _) = &*KEY;
    // Nobody but the key has sealed it.
    assert!(key.open(&mut data.to_vec()).is_none());
    let Some(record) = Record::decode(data) else { return };
    let mut bytes = Vec::new();
    record.encode(&mut bytes).unwrap();
    assert!(bytes == data);
    let mut sealed = key.seal(&record, [1; 12]).unwrap();
    assert!(key.open(&mut sealed) == Some(record));
});
