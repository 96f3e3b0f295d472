//! A zone whose memory is a file (`file=`): what is found there at a start, and what becomes of it.

use core::fmt;

use affinity::file::{classify, sums, Description, Lives, Mine, Verdict};
use affinity::table::{Table, Tick};
use nginx_sys::{ngx_log_t, NGX_LOG_NOTICE};

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::nginx;
use crate::storage::clock::clock;
use crate::storage::file::{self, FilePath, Found, Identity};
use crate::storage::inspect::Inspected;
use crate::storage::locks::flock;
use crate::storage::memory::{file_len, mapped_len, Memory, Pending};
use crate::storage::Mapping;
use crate::zone::former::Former;
use crate::zone::records::{self, Records};
use crate::zone::region::{header_of, table_in, table_place};
use crate::zone::sessions::Origin;

/// What a zone begins with.
pub(super) enum Source {
    /// The memory of the file as it is.
    Attached(Attached),
    /// A new file, where sessions come from, and how it is called if they come from nowhere.
    New { memory: Memory, left: Option<Old>, begins: Origin },
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
    /// Whether the file is a copy of one that was in use.
    is_copy: bool,
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
        return create(path, size, Pending { replaces: None, keep: None }, None);
    };
    let metadata = found.file.metadata().map_err(|error| path.failed("cannot be read", &error))?;
    let is_whole = metadata.len() == file_len(size) as u64;
    let verdict = classify(found.description.as_ref(), mine, found.lives)
        .map_err(|refusal| path.refused(&refusal.to_string()))?;
    let is_older = runs_in.is_some_and(|running| running != Some(file::identity(&metadata)));
    if is_older && verdict != Verdict::Begin {
        let pending = Pending { replaces: Some(found.file), keep: None };
        return create(path, size, pending, None);
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
    // After a reboot a device may have another number.
    if matches!((&old, verdict), (Some(Old::Left(left)), Verdict::Attach) if left.is_copy) {
        let why = path.refused(COPY);
        ngx::ngx_log_error!(NGX_LOG_NOTICE, log, "{why}: its sessions are imported");
    }
    let is_damaged = old.is_none().then(|| DAMAGED.to_owned());
    let keep = cut(metadata.len(), found.description).or(is_damaged).map(|why| {
        let then = match (runs_in, &old) {
            (Some(_), _) => "the sessions of the running zone replace it",
            (None, Some(_)) => "what is left of it is imported",
            (None, None) => "the zone begins without sessions",
        };
        format!("{why}, {then}")
    });
    create(path, size, Pending { replaces: Some(found.file), keep }, old)
}

const COPY: &str = "is a copy of a file that was in use";

const DAMAGED: &str = "is damaged or of another format";

/// What is to be said of a file that is shorter than it says.
fn cut(len: u64, description: Option<Description>) -> Option<String> {
    let whole = file_len(usize::try_from(description?.size).ok()?) as u64;
    (len < whole).then(|| format!("is cut: {len} of {whole} bytes"))
}

fn create(
    path: &FilePath,
    size: usize,
    pending: Pending,
    left: Option<Old>,
) -> Result<Source, String> {
    let file = path.create(file_len(size), pending.replaces.is_some())?;
    let begins = if pending.keep.is_some() { Origin::Damaged } else { Origin::New };
    let memory = Memory::stored(path.clone(), file, size, Some(pending))
        .map_err(|error| path.failed("cannot be mapped", &error))?;
    Ok(Source::New { memory, left, begins })
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
    // The sums of a file that was not closed are old. No machine has stopped since: then its pages are whole, but for
    // those of a copy that was made while the file was in use.
    let inode = found.file.metadata().map(|metadata| file::inode(&metadata));
    let is_same = inode.is_ok_and(|inode| memory.header().is_in(inode));
    let is_closed = memory.header().open();
    if !is_closed && !is_same {
        return Ok(Err(Left::of(&found.file, size, nginx::now())));
    }
    if is_closed {
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
    if !flock(&found.file, libc::LOCK_SH).unwrap_or(false) {
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
        let metadata = file.metadata().ok()?;
        let pages = Mapping::anonymous(mapped_len(size)).ok()?;
        // SAFETY: new memory, which is used by this reference only.
        let bytes =
            unsafe { core::slice::from_raw_parts_mut(pages.address().as_ptr(), pages.len()) };
        let missing = bytes.len() - read(file, bytes, 0)?;
        let mut damaged_pages = missing.div_ceil(sums::PAGE);
        let is_closed = header_of(&pages).open();
        if is_closed {
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
        let is_copy = !is_closed && !header_of(&pages).is_in(file::inode(&metadata));
        Some(Left { table, records, then, damaged_pages, is_copy, _pages: pages })
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

/// Says on the standard error what a start would find, as `nginx -t` says its result. An error if a start would
/// fail. Changes nothing.
pub(super) fn inspect(path: &FilePath, mine: &Mine, name: &[u8]) -> Result<(), String> {
    let name = nginx::pool::string(name);
    let says = |what: &str| nginx::say(format_args!("zone \"{name}\": {}", path.refused(what)));
    let len = file_len(mine.size as usize);
    match path.inspect()? {
        Inspected::Missing => {
            path.inspect_room(len, false)?;
            says("would be made");
        }
        Inspected::InUse(process, description) => {
            // Its reload would make a new file.
            if description.is_some_and(|found| found.size != mine.size) {
                path.inspect_room(len, true)?;
            }
            match process {
                0 => says("is in use by another nginx"),
                _ => says(&format!("is in use by process {process}")),
            }
        }
        Inspected::Free(file, description) => {
            let verdict = classify(description.as_ref(), mine, Lives::Nobody)
                .map_err(|refusal| path.refused(&refusal.to_string()))?;
            let found =
                file.metadata().map_err(|error| path.failed("cannot be read", &error))?.len();
            let left = Left::copy(&file, description, mine);
            let what = match (cut(found, description), &left, verdict) {
                (Some(cut), Some(_), _) => format!("{cut}, what is left of it would be imported"),
                (Some(cut), None, _) => format!("{cut}, the zone would begin without sessions"),
                (None, None, _) | (None, _, Verdict::Begin) => {
                    format!("{DAMAGED}, the zone would begin without sessions")
                }
                (None, Some(Left { damaged_pages: pages @ 1.., .. }), _) => {
                    format!("has {pages} damaged pages, the rest would be imported")
                }
                (None, Some(Left { is_copy: true, .. }), Verdict::Attach) => {
                    format!("{COPY}, its sessions would be imported")
                }
                (None, Some(_), Verdict::Attach) if found == len as u64 => {
                    says(&format!("would be used as it is by a start{RELOAD}"));
                    return Ok(());
                }
                (None, Some(_), _) => "would be imported by a start".to_owned() + RELOAD,
            };
            path.inspect_room(len, true)?;
            says(&what);
        }
    }
    Ok(())
}

/// What runs cannot be seen by `nginx -t`.
const RELOAD: &str = "; a reload that gives it to a running zone replaces it";

pub(super) fn report(log: *mut ngx_log_t, level: u32, message: fmt::Arguments<'_>) {
    ngx::ngx_log_error!(level, log, "{message}");
}
