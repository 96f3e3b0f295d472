//! What `nginx -t` sees of a zone's file. Nothing is made, locked, or opened for writing.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use affinity::file::Description;

use super::file::{FilePath, OPEN_FLAGS};
use super::folder;
use super::locks::accepting;

/// What is at the path of a zone.
pub enum Inspected {
    Missing,
    /// By the nginx of this process; zero if that is not known.
    InUse(u32, Option<Description>),
    /// Nobody serves clients with it.
    Free(File, Option<Description>),
}

impl FilePath {
    /// What a start would find. An error if that would fail.
    pub fn inspect(&self) -> Result<Inspected, String> {
        folder::check(self.folder()?)?;
        let file = match OpenOptions::new().read(true).custom_flags(OPEN_FLAGS).open(self.as_path())
        {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Inspected::Missing),
            Err(error) => return Err(self.not_opened(&error)),
        };
        self.check_owner(&file)?;
        folder::access(self.as_path(), libc::W_OK)
            .map_err(|error| self.failed("cannot be written", &error))?;
        let description = self.describe(&file)?;
        Ok(match accepting(&file) {
            Some(process) => Inspected::InUse(process, description),
            None => Inspected::Free(file, description),
        })
    }

    /// Whether a new file of `len` bytes can be made here. `beside`: the old file stays until that is done.
    pub fn inspect_room(&self, len: usize, beside: bool) -> Result<(), String> {
        let folder = self.folder()?;
        folder::check_writable(folder)?;
        let temporary = self.temporary();
        let left = OpenOptions::new().read(true).custom_flags(OPEN_FLAGS).open(temporary.as_path());
        let mut reused = 0;
        if let Ok(left) = left {
            reused = temporary.check_owner(&left)?.blocks().saturating_mul(512);
            temporary.check_left(&left)?;
        }
        match folder::room(folder) {
            Some(room) if room.saturating_add(reused) < len as u64 => {
                Err(temporary.no_room(len, beside, &format!("only {room} are free")))
            }
            _ => Ok(()),
        }
    }
}
