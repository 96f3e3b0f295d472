//! The sessions of a zone: its table, and the former tables while old workers use them.

use core::cell::{RefCell, UnsafeCell};
use core::iter;
use core::mem::MaybeUninit;
use core::ops::Deref;
use core::ptr::NonNull;
use std::rc::Rc;

use affinity::revive::Store;
use affinity::table::{
    Bound, End, Existing, HandOn, Key, Limits, ServerId, Session, Span, Table, Tick,
};

use crate::nginx;
use crate::storage::memory::Memory;
use crate::zone::former::Former;
use crate::zone::names::KnownAddress;
use crate::zone::notes::Notes;

/// The sessions of a zone.
#[derive(Clone)]
pub struct Sessions {
    pub table: Handle,
    pub(super) notes: NonNull<Notes>,
    /// The records of sessions that can be revived, if the zone keeps some.
    pub records: Option<Store>,
    /// Where all three are.
    pub(super) memory: Rc<Memory>,
    /// The former memories, the newest first.
    pub(super) former: Vec<Rc<Former>>,
    /// This worker's copies of server addresses, by the server's index.
    pub(super) addresses: RefCell<Vec<Option<KnownAddress>>>,
    pub origin: Origin,
}

/// The handle of the table. A machine that shares the sessions may get the secret of their ids while it runs.
pub struct Handle(UnsafeCell<Table>);

impl Handle {
    pub(super) fn new(table: Table) -> Handle {
        Handle(UnsafeCell::new(table))
    }

    /// From now on this worker hashes ids with this secret.
    ///
    /// # Safety
    /// No reference to the table is in use: this is called by the event loop, not by a handler that has one.
    pub unsafe fn share_ids(&self, secret: [u8; 16]) {
        // SAFETY: the condition of this function.
        unsafe { *self.0.get() = self.with_shared_ids(secret) };
    }
}

impl Deref for Handle {
    type Target = Table;

    #[inline(always)]
    fn deref(&self) -> &Table {
        // SAFETY: `share_ids` is the only change, and excludes other uses.
        unsafe { &*self.0.get() }
    }
}

impl Clone for Handle {
    fn clone(&self) -> Handle {
        Handle::new(**self)
    }
}

/// What the memory of a zone began with.
#[derive(Clone, Copy)]
pub enum Origin {
    /// Nothing.
    New,
    /// Nothing: its file was damaged.
    Damaged,
    /// The memory of an nginx before, as it was.
    Attached,
    /// Sessions of another memory, without its damaged pages.
    Imported { taken: u64, of: u64, damaged_pages: u64 },
}

/// The position of a pass over all memories of a zone.
pub struct Pass {
    memory: usize,
    cursor: usize,
}

impl Pass {
    pub const START: Pass = Pass { memory: 0, cursor: 0 };
}

/// The position of a pass over the former memories of a zone.
#[derive(Default)]
pub struct CatchUp {
    former: usize,
    slots: HandOn,
}

impl Sessions {
    /// The fast path: [`Table::visit_at_once`], unless old workers may have changed the session.
    #[inline(always)]
    pub fn visit_at_once(&self, key: Key, now: Tick, limits: &Limits) -> Option<Session> {
        if !self.former.is_empty() && self.is_behind(key) {
            return None;
        }
        self.table.visit_at_once(key, now, limits)
    }

    /// The session of a key, unless it has expired.
    pub fn lookup(&self, key: Key, now: Tick, limits: &Limits) -> Option<Session> {
        self.catch_up(key, now, limits);
        let session = self.table.lookup_at_once(key, now, limits);
        let session = session.or_else(|| self.table.lookup(key, now, limits));
        session.or_else(|| self.lookup_former(key, now, limits))
    }

    /// The same, and marks the session as used now. To be called after [`Self::visit_at_once`] has found
    /// none.
    pub fn visit(&self, key: Key, now: Tick, limits: &Limits) -> Option<Session> {
        self.catch_up(key, now, limits);
        self.table.visit(key, now, limits).or_else(|| {
            self.lookup_former(key, now, limits)?;
            self.table.visit(key, now, limits)
        })
    }

    /// [`Table::bind`], after the changes of old workers to the session.
    pub fn bind(
        &self,
        key: Key,
        server: ServerId,
        ttl: Option<Span>,
        now: Tick,
        limits: &Limits,
        existing: Existing,
    ) -> Bound {
        self.catch_up(key, now, limits);
        self.table.bind(key, server, ttl, now, limits, existing)
    }

    /// [`Table::bind_since`], after the changes of old workers to the session.
    pub fn bind_since(
        &self,
        key: Key,
        server: ServerId,
        (ttl, created): (Option<Span>, Tick),
        now: Tick,
        limits: &Limits,
        existing: Existing,
    ) -> Bound {
        self.catch_up(key, now, limits);
        self.table.bind_since(key, server, (ttl, created), now, limits, existing)
    }

    /// Whether old workers have changed the session of a key.
    #[inline(never)]
    pub(super) fn is_behind(&self, key: Key) -> bool {
        self.former.iter().any(|former| former.table.is_ahead(key))
    }

    /// Repeats the changes of old workers to the session of a key.
    pub(super) fn catch_up(&self, key: Key, now: Tick, limits: &Limits) {
        for (index, former) in self.former.iter().enumerate().rev() {
            if former.table.is_ahead(key) {
                former.table.hand_on(key, self.successors(index), now, limits);
            }
        }
    }

    /// Repeats the changes of old workers to the sessions in the next `max_slots` slots. Returns whether the
    /// pass goes on.
    pub fn catch_up_some(
        &self,
        pass: &mut CatchUp,
        now: Tick,
        limits: &Limits,
        max_slots: usize,
    ) -> bool {
        let Some(former) = self.former.get(pass.former) else {
            return false;
        };
        let successors = self.successors(pass.former);
        if !former.table.hand_on_some(&mut pass.slots, successors, now, limits, max_slots) {
            pass.former += 1;
        }
        pass.former < self.former.len()
    }

    /// The tables that have replaced a former one, the oldest first.
    pub(super) fn successors(&self, former: usize) -> impl Iterator<Item = &Table> + Clone {
        let newer = self.former.iter().take(former).rev().map(|newer| &newer.table);
        newer.chain(iter::once(&*self.table))
    }

    #[cold]
    pub(super) fn lookup_former(&self, key: Key, now: Tick, limits: &Limits) -> Option<Session> {
        self.former.iter().find_map(|former| {
            former.table.lookup(key, now, limits)?;
            self.table.import_session(&former.table, key, now, limits);
            self.table.lookup(key, now, limits)
        })
    }

    /// The address of a server, if this worker has a copy of it.
    ///
    /// # Safety
    /// The reference is not used after the next call of [`Self::with_address`].
    #[inline(always)]
    pub unsafe fn known_address(&self, server: ServerId) -> Option<&[u8]> {
        // SAFETY: only `with_address` changes the copies, and the reference is not used after that.
        let known = unsafe { self.addresses.try_borrow_unguarded() }.ok()?;
        KnownAddress::address(known, server)
    }

    /// Calls `f` with the address of a server; `None` if the server is no longer in the list.
    #[inline]
    pub fn with_address<T>(&self, server: ServerId, f: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let known = self.addresses.try_borrow().ok();
        let mut buffer = MaybeUninit::uninit();
        let address = match known.as_ref().and_then(|known| KnownAddress::address(known, server)) {
            Some(address) => address,
            None => {
                drop(known);
                self.copy_address(server);
                self.table.address(server, buffer.write([0; Table::MAX_ADDRESS]))?
            }
        };
        Some(f(address))
    }

    /// Copies the address of a server from the zone; does nothing if memory is short.
    #[cold]
    pub(super) fn copy_address(&self, server: ServerId) {
        let Ok(mut known) = self.addresses.try_borrow_mut() else { return };
        let mut text = [0; Table::MAX_ADDRESS];
        let Some(len) = self.table.address(server, &mut text).map(<[u8]>::len) else { return };
        let index = usize::from(server.index);
        let missing = (index + 1).saturating_sub(known.len());
        if known.try_reserve(missing).is_err() {
            return;
        }
        known.extend((0..missing).map(|_| None));
        if let Some(place) = known.get_mut(index) {
            *place = Some(KnownAddress { print: server.print, len, text });
        }
    }

    /// Tells when the session of a key was used last.
    pub fn last_uses(&self, limits: Limits) -> impl FnMut(Key) -> Option<Tick> + '_ {
        let now = nginx::now();
        move |key| self.table.lookup(key, now, &limits).map(|session| session.used)
    }

    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn notes(&self) -> &Notes {
        // SAFETY: the notes are in `memory`, which stays mapped as long as this value lives.
        unsafe { self.notes.as_ref() }
    }

    /// Removes the session of a key. Listeners of the table hear `end`.
    pub fn forget(&self, key: Key, end: End) {
        // The oldest memory first: a lookup must not find the session in a former memory after it has gone
        // here.
        for former in self.former.iter().rev() {
            former.table.forget(key, end);
        }
        self.table.forget(key, end);
    }

    /// Removes the sessions of a server from the next `max_slots` slots. Returns how many were removed;
    /// `None` at the end of the pass. Listeners of the table hear `end`.
    pub fn forget_server(
        &self,
        address: &[u8],
        end: End,
        pass: &mut Pass,
        max_slots: usize,
    ) -> Option<usize> {
        let former = self.former.iter().map(|former| &former.table);
        let table = iter::once(&*self.table).chain(former).nth(pass.memory)?;
        let forgotten = table
            .find_server(address)
            .map_or(0, |server| table.forget_server(server, end, &mut pass.cursor, max_slots));
        // The sessions of a former memory are copies, and are not counted.
        let counts = pass.memory == 0;
        if pass.cursor == 0 {
            pass.memory += 1;
        }
        Some(if counts { forgotten } else { 0 })
    }
}
