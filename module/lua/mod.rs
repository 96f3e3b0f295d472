//! What `lua/resty/sticky_learn.lua` calls: functions with C's interface, for LuaJIT's FFI.
//!
//! They run at once, in any phase of a worker. They allocate nothing, except this worker's copy of a server's
//! address, and keep none of the pointers that they get.
//!
//! A string is a pointer and a length, and may have any bytes. LuaJIT keeps a string alive that is an argument
//! of a call, not one whose address is in a structure: hence the long lists of arguments.

use core::ffi::c_int;
use core::net::SocketAddr;

use affinity::table::{Bound, End, Existing, Key, Kind, Stats, Table};
use nginx_sys::ngx_http_request_t;

use crate::conf;
use crate::nginx;
use crate::nginx::cycle::Cycle;
use crate::nginx::request::Request;
use crate::request::by_lua::NoServer;
use crate::request::PeerData;
use crate::share;
use crate::zone::sessions::Sessions;
use crate::zone::Zone;

/// The number of this interface: that of the Lua file must be the same.
const INTERFACE: c_int = 1;

/// How many counters a zone has for Lua.
const COUNTERS: usize = 9;

/// Why a call has no result. The Lua file has a message for each number.
#[derive(Clone, Copy)]
#[repr(i32)]
enum Failure {
    /// The zone has no memory: the configuration is still being read.
    NoZones = -1,
    /// The configuration has no zone of that name.
    UnknownZone = -2,
    UnknownSession = -3,
    /// The text is not an address as nginx prints it.
    InvalidServer = -4,
    /// The zone's list of servers is full.
    NoRoom = -5,
    /// The kind is none of this interface.
    InvalidKind = -6,
    /// The request is not at an upstream with sessions.
    NoUpstream = -7,
    NoId = -8,
    Unreachable = -9,
    Gone = -10,
    /// The session's server has failed with this request.
    Failed = -11,
}

/// The id of a session, in strings of Lua.
struct Id<'a> {
    zone: &'a [u8],
    kind: c_int,
    id: &'a [u8],
    bind: &'a [u8],
}

impl Id<'_> {
    /// Calls `f` with the zone and the key of the id.
    fn with<T>(
        &self,
        f: impl FnOnce(&Zone, &Sessions, Key) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let kind = match self.kind {
            1 => Kind::Session,
            2 => Kind::Sse,
            3 => Kind::Task,
            _ => return Err(Failure::InvalidKind),
        };
        with_zone(self.zone, |zone, sessions| {
            f(zone, sessions, sessions.table.key(kind, self.id, self.bind))
        })
    }
}

/// The bytes of a string of Lua.
///
/// # Safety
/// `data` points to `len` bytes, which stay as they are during `'a`.
unsafe fn text<'a>(data: *const u8, len: usize) -> &'a [u8] {
    match len {
        0 => &[],
        // SAFETY: the caller's promise.
        len => unsafe { core::slice::from_raw_parts(data, len) },
    }
}

/// Calls `f` with a zone of the configuration that this process runs. In `init_by_lua` that is the one that is
/// being read, whose zones are not mapped yet: ngx_lua makes its cycle the running one meanwhile.
fn with_zone<T>(
    name: &[u8],
    f: impl FnOnce(&Zone, &Sessions) -> Result<T, Failure>,
) -> Result<T, Failure> {
    Cycle::with_running(|cycle| {
        let zone = conf::zones(cycle).iter().find(|zone| zone.name().0 == name);
        let zone = zone.ok_or(Failure::UnknownZone)?;
        f(zone, zone.sessions().ok_or(Failure::NoZones)?)
    })
}

#[no_mangle]
pub extern "C" fn ngx_http_sticky_learn_lua_interface() -> c_int {
    INTERFACE
}

/// Writes the address of a session's server to `address` and returns its length.
///
/// # Safety
/// Each pointer of a string points to so many bytes during the call; `address` has room for `Table::MAX_ADDRESS`.
#[no_mangle]
pub unsafe extern "C" fn ngx_http_sticky_learn_lua_lookup(
    zone: *const u8,
    zone_len: usize,
    kind: c_int,
    id: *const u8,
    id_len: usize,
    bind: *const u8,
    bind_len: usize,
    address: *mut u8,
) -> c_int {
    // SAFETY: the strings stay as they are during the call.
    let id = unsafe {
        Id { zone: text(zone, zone_len), kind, id: text(id, id_len), bind: text(bind, bind_len) }
    };
    result(id.with(|zone, sessions, key| {
        let session = sessions.lookup(key, nginx::now(), &zone.limits());
        let server = session.ok_or(Failure::UnknownSession)?.server;
        // SAFETY: `address` has room for each address of a zone.
        let copied = sessions.with_address(server, |text| unsafe { copy(text, address) });
        copied.ok_or(Failure::UnknownSession)
    }))
}

/// Binds an id to a server, also if it has another one. Returns zero.
///
/// # Safety
/// Each pointer of a string points to so many bytes during the call.
#[no_mangle]
pub unsafe extern "C" fn ngx_http_sticky_learn_lua_bind(
    zone: *const u8,
    zone_len: usize,
    kind: c_int,
    id: *const u8,
    id_len: usize,
    bind: *const u8,
    bind_len: usize,
    server: *const u8,
    server_len: usize,
) -> c_int {
    // SAFETY: the strings stay as they are during the call.
    let (id, server) = unsafe {
        let id = Id {
            zone: text(zone, zone_len),
            kind,
            id: text(id, id_len),
            bind: text(bind, bind_len),
        };
        (id, text(server, server_len))
    };
    result(id.with(|zone, sessions, key| {
        if !is_address(server) {
            return Err(Failure::InvalidServer);
        }
        let (now, limits) = (nginx::now(), zone.limits());
        let server = sessions.table.intern(server, now).ok_or(Failure::NoRoom)?;
        let existing = Existing::Move;
        let bound = sessions.bind(key, server, None, now, &limits, existing);
        share::write::bound(zone, key, bound, existing);
        match bound {
            Bound::Refused => Err(Failure::NoRoom),
            _ => Ok(0),
        }
    }))
}

/// Writes the address of the server that has the session of a request to `address` and returns its length.
///
/// # Safety
/// `r` is a live request; `address` has room for `Table::MAX_ADDRESS` bytes.
#[no_mangle]
pub unsafe extern "C" fn ngx_http_sticky_learn_lua_session_server(
    r: *mut ngx_http_request_t,
    address: *mut u8,
) -> c_int {
    // SAFETY: the request is alive, and `address` has room for each address of a zone.
    let found =
        unsafe { PeerData::with_session_server(Request::new(r), |text| copy(text, address)) };
    result(found.map_err(|why| match why {
        NoServer::NoUpstream => Failure::NoUpstream,
        NoServer::NoId => Failure::NoId,
        NoServer::Unknown => Failure::UnknownSession,
        NoServer::Unreachable => Failure::Unreachable,
        NoServer::Gone => Failure::Gone,
        NoServer::Failed => Failure::Failed,
    }))
}

/// Removes a session. Returns zero.
///
/// # Safety
/// Each pointer of a string points to so many bytes during the call.
#[no_mangle]
pub unsafe extern "C" fn ngx_http_sticky_learn_lua_forget(
    zone: *const u8,
    zone_len: usize,
    kind: c_int,
    id: *const u8,
    id_len: usize,
    bind: *const u8,
    bind_len: usize,
) -> c_int {
    // SAFETY: the strings stay as they are during the call.
    let id = unsafe {
        Id { zone: text(zone, zone_len), kind, id: text(id, id_len), bind: text(bind, bind_len) }
    };
    result(id.with(|zone, sessions, key| {
        let session = sessions.lookup(key, nginx::now(), &zone.limits());
        session.ok_or(Failure::UnknownSession)?;
        sessions.forget(key, End::Forgotten);
        share::write::ended(zone, key);
        Ok(0)
    }))
}

/// Writes the counters of a zone, in the order of the Lua file. Returns zero.
///
/// # Safety
/// `zone` points to so many bytes during the call; `counters` has room for [`COUNTERS`] numbers.
#[no_mangle]
pub unsafe extern "C" fn ngx_http_sticky_learn_lua_counters(
    zone: *const u8,
    zone_len: usize,
    counters: *mut [u64; COUNTERS],
) -> c_int {
    // SAFETY: the string stays as it is during the call.
    result(with_zone(unsafe { text(zone, zone_len) }, |_, sessions| {
        let Stats {
            capacity,
            live,
            hits,
            unknown,
            created,
            moved,
            expired,
            evicted,
            forgotten,
            ..
        } = sessions.table.stats();
        let all = [capacity, live, hits, unknown, created, moved, expired, evicted, forgotten];
        // SAFETY: there is room for all of them.
        unsafe { counters.write(all) };
        Ok(0)
    }))
}

fn result(result: Result<c_int, Failure>) -> c_int {
    result.unwrap_or_else(|why| why as c_int)
}

/// Copies an address of a zone, and returns its length.
///
/// # Safety
/// `to` has room for `Table::MAX_ADDRESS` bytes.
unsafe fn copy(address: &[u8], to: *mut u8) -> c_int {
    // SAFETY: no address of a zone is longer than that.
    unsafe { to.copy_from_nonoverlapping(address.as_ptr(), address.len()) };
    address.len() as c_int
}

/// Whether a text is an address as nginx prints those of servers.
fn is_address(text: &[u8]) -> bool {
    text.len() <= Table::MAX_ADDRESS
        && match text.strip_prefix(b"unix:") {
            Some(path) => !path.is_empty() && !path.contains(&0),
            None => core::str::from_utf8(text)
                .is_ok_and(|text| text.parse::<SocketAddr>().is_ok_and(|it| it.port() != 0)),
        }
}
