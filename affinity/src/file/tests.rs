use core::ptr::NonNull;
use std::alloc::{alloc_zeroed, dealloc, Layout};

use super::*;
use crate::table::{Table, Tick};

/// A header and the head of a table behind it.
struct Memory(NonNull<u8>);

const LAYOUT: Layout = match Layout::from_size_align(2 * Header::LEN, Header::LEN) {
    Ok(layout) => layout,
    Err(_) => panic!(),
};
const MINE: Mine = Mine { boot: [7; 16], size: 1 << 20, table_len: 1 << 19, notes: 9 };
const CLOCK: Clock = Clock { monotonic: 5_000_000, wall: 1_700_000_000_000 };
const IDENTITY: [u8; Table::IDENTITY] = [3; Table::IDENTITY];

impl Memory {
    fn new() -> Memory {
        // SAFETY: the size is not zero.
        let memory = Memory(NonNull::new(unsafe { alloc_zeroed(LAYOUT) }).unwrap());
        memory.header().describe(&MINE.description(), &IDENTITY, CLOCK);
        let mut memory = memory;
        memory.bytes()[Header::LEN..Header::READ].copy_from_slice(&IDENTITY);
        memory
    }

    fn header(&self) -> &Header {
        // SAFETY: two pages are allocated as long as `self` lives, and changed by this thread only.
        unsafe { Header::at(self.0) }
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: two pages are allocated, and `self` is borrowed.
        unsafe { core::slice::from_raw_parts_mut(self.0.as_ptr(), 2 * Header::LEN) }
    }

    fn read(&mut self) -> Result<Option<Description>, Refusal> {
        Description::read(self.bytes())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.0.as_ptr(), LAYOUT) }
    }
}

fn verdict(description: Description, lives: Lives) -> Result<Verdict, Refusal> {
    classify(Some(&description), &MINE, lives)
}

#[test]
fn a_header_is_read_as_it_was_written() {
    let description = Memory::new().read().unwrap().unwrap();
    assert_eq!(description, MINE.description());
    assert_eq!(verdict(description, Lives::Nobody), Ok(Verdict::Attach));
    assert_eq!(verdict(description, Lives::Family), Ok(Verdict::Attach));
}

#[test]
fn every_flipped_bit_of_the_description_is_found() {
    let covered = (0..92).chain(Header::LEN..Header::READ);
    for (at, bit) in covered.flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut memory = Memory::new();
        memory.bytes()[at] ^= 1 << bit;
        let found = memory.read();
        assert!(
            matches!(found, Ok(None) | Err(Refusal::NotOurs | Refusal::Newer(_))),
            "byte {at}, bit {bit}: {found:?}"
        );
    }
}

#[test]
fn a_short_or_foreign_memory_is_refused_or_damaged() {
    let mut memory = Memory::new();
    for len in 0..Header::READ {
        assert!(!matches!(Description::read(&memory.bytes()[..len]), Ok(Some(_))), "{len} bytes");
    }
    assert_eq!(Description::read(&[0; Header::READ]), Err(Refusal::NotOurs));
}

#[test]
fn a_header_whose_mark_is_damaged_is_known_by_the_table_behind_it() {
    let mut memory = Memory::new();
    memory.bytes()[Header::LEN..][..8].copy_from_slice(&Table::MARK);
    memory.bytes()[..8].fill(0);
    assert_eq!(memory.read(), Ok(None));
    memory.bytes()[..Header::LEN].fill(0);
    assert_eq!(memory.read(), Ok(None));
    memory.bytes()[Header::LEN] ^= 1;
    assert_eq!(memory.read(), Err(Refusal::NotOurs));
}

#[test]
fn a_copy_is_no_memory_in_its_file() {
    let memory = Memory::new();
    let inode = Inode { device: 1, number: 2, born: 3 };
    assert!(!memory.header().is_in(inode), "nothing is noted");
    memory.header().note_inode(inode);
    assert!(memory.header().is_in(inode));
    for copy in
        [Inode { device: 9, ..inode }, Inode { number: 9, ..inode }, Inode { born: 9, ..inode }]
    {
        assert!(!memory.header().is_in(copy), "{copy:?}");
    }
}

#[test]
fn other_byte_orders_and_newer_formats_are_named() {
    let mut memory = Memory::new();
    memory.bytes()[8..12].reverse();
    assert_eq!(memory.read(), Err(Refusal::OtherMachine));
    let mut memory = Memory::new();
    memory.bytes()[12..16].copy_from_slice(&9u32.to_ne_bytes());
    assert_eq!(memory.read(), Err(Refusal::Newer(9)));
}

#[test]
fn what_differs_decides() {
    let same = MINE.description();
    let other_libc = Machine { libc: *b"other\0\0\0\0\0\0\0\0\0\0\0", ..Machine::THIS };
    let other_processor = Machine { processor: [b'z'; 16], ..Machine::THIS };
    let cases = [
        (Description { boot: [8; 16], ..same }, Ok(Verdict::Import), Ok(Verdict::Import)),
        (Description { size: 2 << 20, ..same }, Ok(Verdict::Import), Ok(Verdict::Import)),
        (Description { table_len: 1 << 18, ..same }, Ok(Verdict::Import), Ok(Verdict::Import)),
        (Description { notes: 8, ..same }, Ok(Verdict::Import), Ok(Verdict::Import)),
        (Description { machine: other_libc, ..same }, Ok(Verdict::Attach), Ok(Verdict::Begin)),
        (
            Description { machine: other_processor, ..same },
            Err(Refusal::OtherMachine),
            Err(Refusal::OtherMachine),
        ),
        (
            Description { table_format: Table::FORMAT + 1, ..same },
            Err(Refusal::Newer(Table::FORMAT + 1)),
            Err(Refusal::Newer(Table::FORMAT + 1)),
        ),
        (
            Description { table_format: Table::FORMAT - 1, ..same },
            Ok(Verdict::Import),
            Ok(Verdict::Import),
        ),
        (Description { table_format: 1, ..same }, Ok(Verdict::Begin), Ok(Verdict::Begin)),
    ];
    for (description, alone, family) in cases {
        assert_eq!(verdict(description, Lives::Nobody), alone, "{description:?}");
        assert_eq!(verdict(description, Lives::Family), family, "{description:?}");
    }
    assert_eq!(classify(None, &MINE, Lives::Nobody), Ok(Verdict::Begin));
}

#[test]
fn times_of_another_boot_are_found_by_the_time_of_day() {
    let memory = Memory::new();
    let an_hour_later = CLOCK.wall + 3_600_000;
    let then = memory.header().tick_at(an_hour_later);
    assert_eq!(then, Tick::from_millis(CLOCK.monotonic + 3_600_000));
    // The time of day is set: what is noted later counts.
    memory.header().note_clock(Clock { wall: CLOCK.wall - 60_000, ..CLOCK });
    let then = memory.header().tick_at(an_hour_later);
    assert_eq!(then, Tick::from_millis(CLOCK.monotonic + 3_660_000));
}

#[test]
fn a_memory_is_closed_once_and_with_its_clock() {
    let memory = Memory::new();
    assert!(!memory.header().open());
    memory.header().close();
    assert!(memory.header().open());
    assert!(!memory.header().open());
    memory.header().close();
    memory.header().note_clock(Clock { wall: CLOCK.wall + 3_600_000, ..CLOCK });
    assert!(!memory.header().open(), "the clock was changed afterwards");
}

#[test]
fn pages_with_other_bytes_than_their_sums_are_emptied() {
    let mut bytes = vec![7; 5 * sums::PAGE];
    bytes[3 * sums::PAGE..4 * sums::PAGE].fill(0);
    let sums: Vec<u8> = sums::of(&bytes).collect();
    assert_eq!(sums.len(), sums::len(bytes.len()));
    assert!(!sums::has_damaged(&bytes, &sums));
    assert_eq!(sums::empty_damaged(&mut bytes, &sums), 0);
    let whole = bytes.clone();
    bytes[2 * sums::PAGE + 9] ^= 1;
    bytes[3 * sums::PAGE] = 1;
    assert!(sums::has_damaged(&bytes, &sums));
    assert_eq!(sums::empty_damaged(&mut bytes, &sums), 2);
    assert_eq!(bytes[..2 * sums::PAGE], whole[..2 * sums::PAGE]);
    assert!(bytes[2 * sums::PAGE..4 * sums::PAGE].iter().all(|&byte| byte == 0));
    assert_eq!(bytes[4 * sums::PAGE..], whole[4 * sums::PAGE..]);
    // The header's page is not emptied: it has a sum of its own.
    let mut bytes = whole.clone();
    bytes[0] ^= 1;
    assert_eq!(sums::empty_damaged(&mut bytes, &sums), 0);
    assert_eq!(bytes[1], 7);
    // A file that was cut has no sums for its last pages.
    assert_eq!(sums::empty_damaged(&mut bytes, &sums[..8]), 3);
}
