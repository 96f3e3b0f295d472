//! Reads bytes as the record of a session. What is a record is written as the same bytes.

#![no_main]

use affinity::revive::{Record, RecordKey};
use affinity::table::{Kind, Table};
use libfuzzer_sys::fuzz_target;
use std::ptr::NonNull;
use std::sync::LazyLock;

#[repr(align(128))]
struct Memory([u8; Table::MIN_SIZE]);

static KEY: LazyLock<RecordKey> = LazyLock::new(|| {
    let memory = NonNull::from(Box::leak(Box::new(Memory([0; Table::MIN_SIZE])))).cast();
    // SAFETY: the memory is aligned, zero, of this length, used by nothing else, and never freed.
    let table = unsafe { Table::create(memory, Table::MIN_SIZE, [7; 16]) }.unwrap();
    RecordKey::new(&[7; 16], b"id", table.key(Kind::Session, b"id", b""))
});

fuzz_target!(|data: &[u8]| {
    // Nobody but the key has sealed it.
    assert!(KEY.open(&mut data.to_vec()).is_none());
    let Some(record) = Record::decode(data) else { return };
    let mut bytes = Vec::new();
    record.encode(&mut bytes).unwrap();
    assert!(bytes == data);
    let mut sealed = KEY.seal(&record, [1; 12]).unwrap();
    assert!(KEY.open(&mut sealed) == Some(record));
});
