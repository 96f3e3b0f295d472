//! The records of sessions that can be revived: a store of their own in the memory of the zone, behind the [`Notes`].
//!
//! [`Notes`]: super::notes::Notes

use core::ptr::NonNull;

use affinity::revive::{Store, StoreError};
use affinity::table::{Key, Tick};
use nginx_sys::{ngx_log_t, ngx_str_t, NGX_LOG_NOTICE, NGX_LOG_WARN};

use super::region::{describe, records_place};
use crate::nginx;
use crate::storage::Mapping;

/// What a memory has of records.
#[derive(Clone, Copy)]
pub(super) enum Records {
    /// The memory has no place for records.
    None,
    Store(Store),
    /// A new store, in place of what could not be used.
    Renewed(Store, StoreError),
    /// What is there cannot be used.
    Unusable(StoreError),
}

impl Records {
    pub(super) fn store(self) -> Option<Store> {
        match self {
            Records::Store(store) | Records::Renewed(store, _) => Some(store),
            Records::None | Records::Unusable(_) => None,
        }
    }
}

fn place(pages: &Mapping) -> Option<(NonNull<u8>, usize)> {
    records_place(pages, &describe(pages).ok()??)
}

/// The bytes that a memory has for records.
pub(super) fn len(pages: &Mapping) -> usize {
    place(pages).map_or(0, |(_, len)| len)
}

/// The records in a memory that other processes use.
///
/// # Safety
/// All processes that use the memory do so by this module, and the memory stays mapped while the result is used.
pub(super) unsafe fn attach(pages: &Mapping) -> Records {
    // SAFETY: so many bytes are mapped there, and only handles of this store write to them.
    open(pages, |start, len| unsafe { Store::attach(start, len) })
}

/// The records in a memory that no other process uses.
///
/// # Safety
/// No other process uses the memory before this returns. The memory stays mapped while the result is used.
pub(super) unsafe fn reopen(pages: &Mapping) -> Records {
    // SAFETY: so many bytes are mapped there, and nobody else uses them.
    open(pages, |start, len| unsafe { Store::reopen(start, len) })
}

/// As [`reopen`], with a new store in place of one that cannot be used.
///
/// # Safety
/// The same.
pub(super) unsafe fn renew(pages: &Mapping) -> Records {
    // SAFETY: the condition of this function.
    unsafe {
        match (reopen(pages), place(pages)) {
            (Records::Unusable(error), Some((start, len))) => {
                start.write_bytes(0, len);
                Store::create(start, len)
                    .map_or_else(Records::Unusable, |store| Records::Renewed(store, error))
            }
            (records, _) => records,
        }
    }
}

fn open(
    pages: &Mapping,
    open: impl FnOnce(NonNull<u8>, usize) -> Result<Store, StoreError>,
) -> Records {
    match place(pages).map(|(start, len)| open(start, len)) {
        None => Records::None,
        Some(Ok(store)) => Records::Store(store),
        Some(Err(error)) => Records::Unusable(error),
    }
}

/// Makes an empty store in a memory; `None` if that has no place for records.
///
/// # Safety
/// No other process uses the memory before this returns. The memory stays mapped while the result is used.
pub(super) unsafe fn create(pages: &Mapping) -> Result<Option<Store>, StoreError> {
    let Some((start, len)) = place(pages) else { return Ok(None) };
    // SAFETY: so many bytes are mapped there, and nobody else uses them. Zeros are written only where something else is:
    // a page that was never used takes no memory.
    unsafe {
        if core::slice::from_raw_parts(start.as_ptr(), len).iter().any(|&byte| byte != 0) {
            start.write_bytes(0, len);
        }
        Store::create(start, len).map(Some)
    }
}

/// Copies the records of another memory, in which it is `then`. `used` says when a session of the new memory was used.
pub(super) fn copy(
    to: Option<&Store>,
    from: Records,
    then: Tick,
    used: impl FnMut(Key) -> Option<Tick>,
    (name, log): (ngx_str_t, *mut ngx_log_t),
) {
    match (to, from) {
        (Some(to), Records::Store(from)) => {
            let kept = from.stats().kept;
            let taken = to.import(&from, then, nginx::now(), used);
            ngx::ngx_log_error!(
                NGX_LOG_NOTICE,
                log,
                "zone \"{name}\": {taken} of {kept} records for a revival moved to its new memory"
            );
        }
        (Some(_), Records::Renewed(_, error) | Records::Unusable(error)) => {
            report_lost((name, log), error);
        }
        (Some(_), Records::None) | (None, _) => (),
    }
}

/// Logs that a zone begins without records.
pub(super) fn report_lost((name, log): (ngx_str_t, *mut ngx_log_t), error: StoreError) {
    ngx::ngx_log_error!(
        NGX_LOG_WARN,
        log,
        "zone \"{name}\": {error}; its sessions are kept, but cannot be revived"
    );
}
