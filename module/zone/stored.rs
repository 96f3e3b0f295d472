//! A zone whose memory is a file (`file=`): what is found there at a start, and what becomes of it.

use core::fmt;

use affinity::file::{classify, sums, Description, Lives, Mine, Verdict};
use affinity::table::{Table, Tick};
use nginx_sys::{ngx_log_t, NGX_LOG_WARN};

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::nginx;
use crate::storage::clock::clock;
use crate::storage::file::{self, FilePath, Found, Identity, Inspected};
use crate::storage::memory::{file_len, mapped_len, Memory, Pending};
use crate::storage::Mapping;
use crate::zone::former::Former;
use crate::zone::records::{self, Records};
use crate::zone::region::{header_of, table_in, table_place};

/// What a zone begins with.
pub(super) enum Source {
    /// The memory of the file as it is.
    Attached(Attached),
    /// A new file, and where sessions come from.
    New(Memory, Option<Old>),
}

/// A memory as it is, with its table and its records.
pub(super) struct Attached {
    pub(super) memory: Memory,
    pub(super) table: Table,
    pub(super) records: Records,
}

/// Where the sessions of a new file come from.
pub(super) enum Old {
    /// Memory that old workers still use.
    Former(Former),
    /// A copy of a file that nobody uses.
    Left(Left),
}

/// A copy of a file that nobody uses.
pub(super) struct Left {
    pub(super) table: Table,
    pub(super) records: Records,
    /// This moment by the clock of the table.
    pub(super) then: Tick,
    pub(super) damaged_pages: usize,
    _pages: Mapping,
}

/// Opens the file of a zone, or makes it. `runs_in` is set if the zone runs already: the file of its memory, if
/// that is in one. Another file is replaced, since it is older than what runs.
pub(super) fn open(
    path: &FilePath,
    mine: &Mine,
    family: &[Identity],
    runs_in: Option<Option<Identity>>,
    log: *mut ngx_log_t,
) -> Result<Source, String> {
    let size = mine.size as usize;
    let Some(found) = path.open(family)? else {
        return Ok(Source::New(create(path, size, Pending { replaces: None, keep: false })?, None));
    };
    let metadata = found.file.metadata().map_err(|error| path.failed("cannot be read", &error))?;
    let is_whole = metadata.len() == file_len(size) as u64;
    let verdict = classify(found.description.as_ref(), mine, found.lives)
        .map_err(|refusal| path.refused(&refusal.to_string()))?;
    let is_older = runs_in.is_some_and(|running| running != Some(file::identity(&metadata)));
    if is_older && verdict != Verdict::Begin {
        let pending = Pending { replaces: Some(found.file), keep: false };
        return Ok(Source::New(create(path, size, pending)?, None));
    }
    let old = match verdict {
        Verdict::Attach if is_whole => match attach(path, &found, size)? {
            Ok(attached) => return Ok(Source::Attached(attached)),
            Err(left) => left.map(Old::Left),
        },
        // Old workers still use it.
        Verdict::Import if found.lives == Lives::Family && found.has_our_format() => {
            former(&found, metadata.len()).map(Old::Former)
        }
        Verdict::Import => Left::copy(&found.file, found.description, mine).map(Old::Left),
        Verdict::Attach if found.lives == Lives::Nobody => {
            Left::copy(&found.file, found.description, mine).map(Old::Left)
        }
        Verdict::Attach | Verdict::Begin => None,
    };
    if old.is_none() {
        let damaged = path.damaged();
        report(
            log,
            NGX_LOG_WARN,
            format_args!(
                "{}, the zone begins without sessions; \"{}\" is the old file",
                path.refused("is damaged or of another format"),
                damaged.as_text()
            ),
        );
    }
    let pending = Pending { replaces: Some(found.file), keep: old.is_none() };
    Ok(Source::New(create(path, size, pending)?, old))
}

fn create(path: &FilePath, size: usize, pending: Pending) -> Result<Memory, String> {
    let file = path.create(file_len(size))?;
    Memory::stored(path.clone(), file, size, Some(pending))
        .map_err(|error| path.failed("cannot be mapped", &error))
}

/// Attaches to a file that is whole in length and description. If its sums say that it is damaged, what is
/// whole of it is in the inner error.
fn attach(
    path: &FilePath,
    found: &Found,
    size: usize,
) -> Result<Result<Attached, Option<Left>>, String> {
    let failed = |error| path.failed("cannot be mapped", &error);
    let file = found.file.try_clone().map_err(failed)?;
    let memory = Memory::stored(path.clone(), file, size, None).map_err(failed)?;
    if found.lives == Lives::Family {
        // SAFETY: only processes of this module write to the file.
        let (table, records) =
            unsafe { (table_in(memory.pages()), records::attach(memory.pages())) };
        return Ok(table.map(|table| Attached { memory, table, records }).ok_or(None));
    }
    // The sums of a file that was not closed are old. No machine has stopped since: then its pages are whole.
    if memory.header().open() {
        let mut sums = vec![0; sums::len(mapped_len(size))];
        found
            .file
            .read_exact_at(&mut sums, mapped_len(size) as u64)
            .map_err(|error| path.failed("cannot be read", &error))?;
        // SAFETY: mapped, and nobody else uses the file: this process has its lock alone.
        let bytes = unsafe {
            core::slice::from_raw_parts(memory.pages().address().as_ptr(), memory.pages().len())
        };
        if sums::has_damaged(bytes, &sums) {
            memory.header().close();
            return Ok(Err(Left::of(&found.file, size, nginx::now())));
        }
    }
    let Some((start, len)) = table_place(memory.pages()) else { return Ok(Err(None)) };
    // SAFETY: so many bytes are mapped there, and nobody else uses the file.
    let Ok(table) = (unsafe { Table::reopen(start, len) }) else { return Ok(Err(None)) };
    // SAFETY: nobody else uses the file, and its memory is kept beside the records.
    let records = unsafe { records::renew(memory.pages()) };
    if !file::flock(&found.file, libc::LOCK_SH).unwrap_or(false) {
        return Err(path.refused("is in use by another nginx"));
    }
    Ok(Ok(Attached { memory, table, records }))
}

/// The memory of a file that an nginx still uses, which quits.
fn former(found: &Found, len: u64) -> Option<Former> {
    let size = mapped_len(usize::try_from(found.description?.size).ok()?);
    if (size as u64) > len {
        return None;
    }
    let pages = Mapping::shared(std::os::fd::AsFd::as_fd(&found.file), size).ok()?;
    // SAFETY: only processes of this module write to the file.
    unsafe { Former::of(pages) }
}

impl Left {
    /// Copies a file that describes itself so.
    pub(super) fn copy(file: &File, description: Option<Description>, mine: &Mine) -> Option<Left> {
        let description = description?;
        let size = usize::try_from(description.size).ok()?;
        let mut left = Left::of(file, size, nginx::now())?;
        if description.boot != mine.boot {
            left.then = header_of(&left._pages).tick_at(clock().wall);
        }
        Some(left)
    }

    /// Reads a file of a zone of `size` bytes, as much as there is of it. It is not mapped: somebody might
    /// cut it meanwhile.
    fn of(file: &File, size: usize, then: Tick) -> Option<Left> {
        let pages = Mapping::anonymous(mapped_len(size)).ok()?;
        // SAFETY: new memory, which is used by this reference only.
        let bytes =
            unsafe { core::slice::from_raw_parts_mut(pages.address().as_ptr(), pages.len()) };
        read(file, bytes, 0)?;
        let mut damaged_pages = 0;
        if header_of(&pages).open() {
            let mut sums = vec![0; sums::len(bytes.len())];
            // Without all sums each session is checked by itself, as in a file that was not closed.
            if read(file, &mut sums, bytes.len() as u64)? == sums.len() {
                damaged_pages = sums::empty_damaged(bytes, &sums);
            }
        }
        let (start, len) = table_place(&pages)?;
        // SAFETY: so many bytes are mapped there, and nobody else uses them.
        let table = unsafe { Table::reopen(start, len) }.ok()?;
        // SAFETY: nobody else uses the pages, which are kept beside the records.
        let records = unsafe { records::reopen(&pages) };
        Some(Left { table, records, then, damaged_pages, _pages: pages })
    }
}

/// Reads as much as there is; returns how much.
fn read(file: &File, bytes: &mut [u8], from: u64) -> Option<usize> {
    let mut len = 0;
    while let Some(rest) = bytes.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, from + len as u64).ok()? {
            0 => break,
            read => len += read,
        }
    }
    Some(len)
}

/// Says on the standard error what a start would find, as `nginx -t` says its result. Changes nothing.
pub(super) fn inspect(path: &FilePath, mine: &Mine, name: &[u8]) -> Result<(), String> {
    let found = path.inspect()?;
    let name = nginx::pool::string(name);
    let says = |what: fmt::Arguments<'_>| {
        nginx::say(format_args!("zone \"{name}\": \"{}\" {what}", path.as_text()));
    };
    match found {
        Inspected::Missing => says(format_args!("would be made")),
        Inspected::InUse(0) => says(format_args!("is in use by another nginx")),
        Inspected::InUse(process) => says(format_args!("is in use by process {process}")),
        Inspected::Free(description) => {
            let verdict = classify(description.as_ref(), mine, Lives::Nobody)
                .map_err(|refusal| path.refused(&refusal.to_string()))?;
            says(format_args!(
                "{}",
                match verdict {
                    Verdict::Attach => "would be used as it is",
                    Verdict::Import => "would be imported",
                    Verdict::Begin =>
                        "is damaged or of another format, the zone would begin without sessions",
                }
            ));
        }
    }
    Ok(())
}

pub(super) fn report(log: *mut ngx_log_t, level: u32, message: fmt::Arguments<'_>) {
    ngx::ngx_log_error!(level, log, "{message}");
}
