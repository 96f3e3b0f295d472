//! The first page of a zone's memory: what the rest is, and who has made it.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::table::Table;
use crate::time::Tick;

/// "stickymm" in ASCII, in the byte order of every machine.
const MAGIC: [u8; 8] = *b"stickymm";
/// Another machine reads this with other bytes first.
const BYTE_ORDER: u32 = 0x0102_0304;
/// Counted up when the meaning of a byte of the header changes. The table has a format of its own.
const FORMAT: u32 = 1;

/// The processor and the C library of the process: the first decides what the numbers mean, the second
/// what the locks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// `x86_64`, with zeros behind.
    pub processor: [u8; 16],
    /// `gnu`, with zeros behind.
    pub libc: [u8; 16],
}

impl Machine {
    /// The machine that this code was compiled for.
    pub const THIS: Machine = Machine {
        processor: text(std::env::consts::ARCH),
        libc: text(if cfg!(target_env = "musl") { "musl" } else { "gnu" }),
    };
}

const fn text(word: &str) -> [u8; 16] {
    let (mut padded, bytes) = ([0; 16], word.as_bytes());
    let mut at = 0;
    while at < bytes.len() {
        padded[at] = bytes[at];
        at += 1;
    }
    padded
}

/// The part of a header that does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Where it was made.
    pub machine: Machine,
    /// The boot of the kernel that its monotonic times belong to.
    pub boot: [u8; 16],
    /// Bytes of the zone.
    pub size: u64,
    /// Bytes of the table, which begins behind the header.
    pub table_len: u64,
    /// The format of the table.
    pub table_format: u32,
    /// The layout of what the caller keeps behind the table.
    pub notes: u64,
}

/// Why a memory is not touched. The texts complete what begins with the name of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has no header of this module.
    #[error("is no file of sticky_learn, name another path or remove it")]
    NotOurs,
    /// It was written by another processor.
    #[error("was written on a machine of another architecture, name another path or remove it")]
    OtherMachine,
    /// It was written by a later version of this module.
    #[error("was written by a newer version of this module (format {0}), name another path or remove it")]
    Newer(u32),
}

/// A monotonic clock and the time of day, read at one moment (milliseconds).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Since the kernel's boot.
    pub monotonic: u64,
    /// Since 1970.
    pub wall: u64,
}

impl Clock {
    /// The time of day at the zero of the monotonic clock; modulo 2^64.
    fn offset(self) -> u64 {
        self.wall.wrapping_sub(self.monotonic)
    }
}

/// A file of a file system: a copy of it has another one, but for a copy into the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Of the file system.
    pub device: u64,
    /// Of the file there.
    pub number: u64,
    /// When it was made (nanoseconds since 1970); zero where the system does not know. Numbers are used again.
    pub born: u64,
}

/// The first page of a zone's memory. All numbers are in the byte order of the machine.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct Header {
    /// Stored last.
    magic: AtomicU64,
    byte_order: AtomicU32,
    format: AtomicU32,
    processor: [AtomicU64; 2],
    libc: [AtomicU64; 2],
    boot: [AtomicU64; 2],
    size: AtomicU64,
    table_len: AtomicU64,
    notes: AtomicU64,
    table_format: AtomicU32,
    /// A checksum of the words above and of the table's identity.
    check: AtomicU32,
    /// `Clock::offset` of the last look at the clocks.
    clock: AtomicU64,
    /// `Header::closed` of `clock` if all processes have ended in an orderly way, else zero.
    closed: AtomicU64,
    /// The time of day when the memory was written to its disk (milliseconds since 1970), else zero.
    synced: AtomicU64,
    /// The process id of the latest master.
    master: AtomicU32,
    /// The file that the memory is in.
    inode: [AtomicU64; 3],
}

/// Where `check` is: the words before it are what it covers.
const CHECK_AT: usize = core::mem::offset_of!(Header, check);
const _: () = assert!(CHECK_AT == 92 && size_of::<Header>() == Header::LEN);

impl Header {
    /// Bytes of a header.
    pub const LEN: usize = 4096;

    /// Bytes at the start of a memory that [`Description::read`] needs.
    pub const READ: usize = Self::LEN + Table::IDENTITY;

    /// Where the process id of the latest master is, four bytes in the machine's order.
    pub const MASTER_AT: u64 = core::mem::offset_of!(Header, master) as u64;

    /// The header of a memory.
    ///
    /// # Safety
    /// 1. At least `LEN` bytes are mapped at `memory` for `'m`, readable and writable.
    /// 2. All processes write to them by this type only.
    pub unsafe fn at<'m>(memory: NonNull<u8>) -> &'m Header {
        assert!(memory.as_ptr().addr() % align_of::<Header>() == 0);
        // SAFETY: mapped (1), aligned (above), and atomics, for which all bytes are valid (2).
        unsafe { memory.cast().as_ref() }
    }

    /// Whether a memory begins so.
    pub fn is_begun(start: &[u8; 8]) -> bool {
        *start == MAGIC
    }

    /// Writes the header of a new memory. `identity` is that of its table, [`Table::identity`].
    pub fn describe(&self, description: &Description, identity: &[u8], clock: Clock) {
        let halves = |bytes: [u8; 16]| {
            let number = u128::from_ne_bytes(bytes);
            let number = if cfg!(target_endian = "big") { number.rotate_left(64) } else { number };
            [number as u64, (number >> 64) as u64]
        };
        let store = |at: &[AtomicU64; 2], bytes| {
            at.iter().zip(halves(bytes)).for_each(|(at, half)| at.store(half, Ordering::Relaxed));
        };
        self.byte_order.store(BYTE_ORDER, Ordering::Relaxed);
        self.format.store(FORMAT, Ordering::Relaxed);
        store(&self.processor, description.machine.processor);
        store(&self.libc, description.machine.libc);
        store(&self.boot, description.boot);
        self.size.store(description.size, Ordering::Relaxed);
        self.table_len.store(description.table_len, Ordering::Relaxed);
        self.notes.store(description.notes, Ordering::Relaxed);
        self.table_format.store(description.table_format, Ordering::Relaxed);
        self.note_clock(clock);
        self.check.store(description.check(identity), Ordering::Relaxed);
        self.magic.store(u64::from_ne_bytes(MAGIC), Ordering::Release);
    }

    /// Notes the time. A worker calls this now and then: it writes only when the time of day was set.
    pub fn note_clock(&self, clock: Clock) {
        /// Both clocks are read with a precision of milliseconds.
        const JITTER: u64 = 100;
        let (old, new) = (self.clock.load(Ordering::Relaxed), clock.offset());
        if new.wrapping_sub(old).wrapping_add(JITTER) > 2 * JITTER {
            self.clock.store(new, Ordering::Relaxed);
        }
    }

    /// What the clock that the memory's times belong to shows at a time of day, also if that clock was
    /// another boot's.
    pub fn tick_at(&self, wall: u64) -> Tick {
        Tick::from_millis(wall.wrapping_sub(self.clock.load(Ordering::Relaxed)))
    }

    /// Notes the master whose workers use the memory.
    pub fn note_master(&self, process: u32) {
        self.master.store(process, Ordering::Relaxed);
    }

    /// The latest master.
    pub fn master(&self) -> u32 {
        self.master.load(Ordering::Relaxed)
    }

    /// Notes the file that the memory is in.
    pub fn note_inode(&self, inode: Inode) {
        let words = [inode.device, inode.number, inode.born];
        self.inode.iter().zip(words).for_each(|(at, word)| at.store(word, Ordering::Relaxed));
    }

    /// Whether the memory was used in this file. False in a copy that was made in between.
    pub fn is_in(&self, inode: Inode) -> bool {
        let words = [inode.device, inode.number, inode.born];
        self.inode.iter().zip(words).all(|(at, word)| at.load(Ordering::Relaxed) == word)
    }

    /// Notes that no process uses the memory any more, and that the sums of its pages are written.
    pub fn close(&self) {
        self.closed.store(Self::closed(self.clock.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    /// Takes the note of `close` off. Returns whether it was there.
    pub fn open(&self) -> bool {
        let closed = self.closed.swap(0, Ordering::Relaxed);
        closed == Self::closed(self.clock.load(Ordering::Relaxed))
    }

    /// Never zero, but for one moment of 584 million years.
    fn closed(clock: u64) -> u64 {
        clock ^ u64::from_le_bytes(*b"closedat")
    }

    /// Notes that the memory was written to its disk.
    pub fn note_sync(&self, wall: u64) {
        self.synced.store(wall, Ordering::Relaxed);
    }

    /// When that was.
    pub fn synced(&self) -> Option<u64> {
        Some(self.synced.load(Ordering::Relaxed)).filter(|&wall| wall != 0)
    }
}

impl Description {
    /// The bytes that the checksum covers, as a header has them.
    fn bytes(&self) -> [u8; CHECK_AT] {
        let mut bytes = [0; CHECK_AT];
        let mut left = &mut bytes[..];
        let mut put = |part: &[u8]| {
            let (head, rest) = core::mem::take(&mut left).split_at_mut(part.len());
            head.copy_from_slice(part);
            left = rest;
        };
        put(&MAGIC);
        put(&BYTE_ORDER.to_ne_bytes());
        put(&FORMAT.to_ne_bytes());
        put(&self.machine.processor);
        put(&self.machine.libc);
        put(&self.boot);
        put(&self.size.to_ne_bytes());
        put(&self.table_len.to_ne_bytes());
        put(&self.notes.to_ne_bytes());
        put(&self.table_format.to_ne_bytes());
        bytes
    }

    fn check(&self, identity: &[u8]) -> u32 {
        let mut check = crc32fast::Hasher::new();
        check.update(&self.bytes());
        check.update(identity);
        check.finalize()
    }

    /// Reads the first [`Header::READ`] bytes of a memory. `None` if it is one of this module, but its
    /// header or the head of its table is damaged.
    pub fn read(start: &[u8]) -> Result<Option<Description>, Refusal> {
        let mut left = start;
        if take(&mut left) != Some(MAGIC) {
            // The table behind the header has a mark of its own.
            return match start
                .get(Header::LEN..)
                .is_some_and(|table| table.starts_with(&Table::MARK))
            {
                true => Ok(None),
                false => Err(Refusal::NotOurs),
            };
        }
        match take(&mut left).map(u32::from_ne_bytes) {
            Some(BYTE_ORDER) => (),
            Some(order) if order.swap_bytes() == BYTE_ORDER => return Err(Refusal::OtherMachine),
            _ => return Ok(None),
        }
        match take(&mut left).map(u32::from_ne_bytes) {
            Some(FORMAT) => (),
            Some(newer) if newer > FORMAT => return Err(Refusal::Newer(newer)),
            _ => return Ok(None),
        }
        Ok(Description::read_rest(left, start))
    }

    fn read_rest(mut left: &[u8], start: &[u8]) -> Option<Description> {
        let left = &mut left;
        let description = Description {
            machine: Machine { processor: take(left)?, libc: take(left)? },
            boot: take(left)?,
            size: u64::from_ne_bytes(take(left)?),
            table_len: u64::from_ne_bytes(take(left)?),
            notes: u64::from_ne_bytes(take(left)?),
            table_format: u32::from_ne_bytes(take(left)?),
        };
        let check = u32::from_ne_bytes(take(left)?);
        let identity = start.get(Header::LEN..Header::READ)?;
        (description.check(identity) == check).then_some(description)
    }
}

/// The first bytes, which are taken off.
fn take<const N: usize>(left: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = left.split_first_chunk()?;
    *left = rest;
    Some(*taken)
}
