//! How the binary of an upgrade (USR2) gets the memory of the zones.
//!
//! The old master passes it open descriptors. Their numbers and the names of their zones are in a variable
//! of the new binary's environment, as nginx's listening sockets are in the variable `NGINX`.

use core::cell::RefCell;
use std::env;
use std::fmt::Write;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};

use nginx_sys::{ngx_inherited, ngx_test_config};

use crate::nginx::cycle::Cycle;
use crate::nginx::per_worker::PerWorker;
use crate::storage::file::{self, Identity};
use crate::storage::memory::Memory;

/// The value is `FD-NAME` for each zone, the name in hexadecimal digits, with commas between.
const VARIABLE: &str = "STICKY_LEARN_ZONES";

/// What the old binary has passed; `None` before the variable is read.
static INHERITED: PerWorker<RefCell<Option<Inherited>>> = PerWorker::new(RefCell::new(None));

#[derive(Default)]
struct Inherited {
    /// The descriptors that no zone has taken yet.
    zones: Zones,
    /// The files of all zones, also of those whose descriptor is taken.
    files: Vec<Identity>,
}

/// Zones by name, with the descriptors of their memory.
type Zones = Vec<(Vec<u8>, OwnedFd)>;

/// The descriptor of the memory of a zone of the old binary. Once for each zone.
pub fn take(zone: &[u8]) -> Option<OwnedFd> {
    let mut inherited = INHERITED.try_borrow_mut().ok()?;
    let zones = &mut inherited.get_or_insert_with(read).zones;
    let index = zones.iter().position(|(name, _)| name == zone)?;
    Some(zones.swap_remove(index).1)
}

/// The files that the old binary uses.
pub fn files() -> Vec<Identity> {
    let Ok(mut inherited) = INHERITED.try_borrow_mut() else { return Vec::new() };
    inherited.get_or_insert_with(read).files.clone()
}

/// Closes the descriptors of zones that the new configuration does not have. No later configuration of this
/// process takes any.
pub fn finish() {
    if let Ok(mut inherited) = INHERITED.try_borrow_mut() {
        // Nobody has read the variable if there are no zones.
        inherited.get_or_insert_with(read);
        *inherited = Some(Inherited::default());
    }
}

fn read() -> Inherited {
    // SAFETY: plain words of this process, set before a configuration is read.
    let is_upgrade = unsafe { ngx_inherited != 0 && ngx_test_config == 0 };
    let zones = match env::var(VARIABLE) {
        Ok(value) if is_upgrade => parse(&value),
        _ => Vec::new(),
    };
    let files = zones.iter().filter_map(|(_, fd)| file::identity_of(fd.as_fd())).collect();
    Inherited { zones, files }
}

fn parse(value: &str) -> Zones {
    let zones = value.split(',').filter_map(|word| {
        let (fd, name) = word.split_once('-')?;
        let fd = fd.parse::<RawFd>().ok().filter(|&fd| fd > 2)?;
        // SAFETY: F_GETFD reads nothing of this process. An open descriptor of this number was passed by
        // the old master for this purpose, so that nobody else in this process closes it.
        let fd =
            unsafe { (libc::fcntl(fd, libc::F_GETFD) >= 0).then(|| OwnedFd::from_raw_fd(fd))? };
        Some((from_digits(name)?, fd))
    });
    zones.collect()
}

fn from_digits(digits: &str) -> Option<Vec<u8>> {
    let byte = |at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// Passes the memory of zones to a later upgrade from this cycle.
pub fn offer<'z>(cycle: Cycle<'_>, zones: impl Iterator<Item = (&'z [u8], &'z Memory)>) {
    let mut entry = format!("{VARIABLE}=");
    for (name, memory) in zones {
        let Some(fd) = memory.fd() else { continue };
        memory.keep_over_exec();
        // A text takes whatever is written to it.
        let _ = write!(entry, "{fd}-");
        for byte in name {
            let _ = write!(entry, "{byte:02x}");
        }
        entry.push(',');
    }
    cycle.pass_environment(VARIABLE.len(), &entry);
}
