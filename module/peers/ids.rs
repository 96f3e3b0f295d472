//! The id of a server in a cookie or a route: its `route=`, else the MD5 of its address.

use core::cell::RefCell;

use nginx_sys::{ngx_hex_dump, ngx_http_upstream_server_t};

use crate::nginx;
use crate::nginx::conf::Word;
use crate::peers::list::{Candidate, List};
use crate::peers::version;

/// Digits of an MD5.
const MD5_LEN: usize = 2 * size_of::<Md5Sum>();

/// The ids of an upstream's servers.
#[derive(Default)]
pub struct Ids {
    /// The route of each `server` up to the last that has one, in their order.
    routes: Vec<Word>,
    /// The `server` of each peer of the configuration, by group and place.
    known: [Vec<usize>; GROUPS],
    /// The `server` of each name that nginx resolves while it runs, in nginx's order.
    resolved: Vec<usize>,
    /// The last computed MD5 of each peer, by group and place.
    sums: RefCell<[Vec<Sum>; GROUPS]>,
}

/// Groups of peers: the servers, and the backup servers.
const GROUPS: usize = 2;

/// The MD5 of an address, valid while the peer in that place has the address.
#[derive(Default)]
struct Sum {
    address: Vec<u8>,
    digits: [u8; MD5_LEN],
}

/// The id of one server.
pub enum PeerId {
    /// A text of the configuration, which outlives its requests.
    Route(&'static [u8]),
    Md5([u8; MD5_LEN]),
}

impl PeerId {
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            PeerId::Route(route) => route,
            PeerId::Md5(digits) => digits,
        }
    }
}

impl Ids {
    /// Stores the route of the `server` with that index.
    pub fn set_route(&mut self, server: usize, route: Word) {
        if !route.is_empty() {
            self.routes.resize(server + 1, Word::default());
            self.routes[server] = route;
        }
    }

    /// Stores which `server` each peer of `list` belongs to, when all directives are read.
    ///
    /// nginx has made the peers from `servers` in their order, one for each address. The names that it
    /// resolves while it runs are in the same order. Backup servers are last.
    pub fn arrange(&mut self, servers: &[ngx_http_upstream_server_t], list: List<'_>) {
        for (group, known) in self.known.iter_mut().enumerate() {
            for (place, server) in servers.iter().enumerate() {
                if usize::from(server.backup() != 0) != group {
                    continue;
                }
                if version::is_resolved_later(server) {
                    self.resolved.push(place);
                } else {
                    known.extend(core::iter::repeat_n(place, server.naddrs));
                }
            }
        }
        list.each(|candidate| {
            self.of(candidate);
        });
    }

    /// Whether `id` is the id of a peer.
    pub fn is(&self, candidate: &Candidate<'_>, id: &[u8]) -> bool {
        match self.route(candidate) {
            Some(route) => route == id,
            None => id.len() == MD5_LEN && self.md5(candidate) == id,
        }
    }

    /// The id of a peer.
    pub fn of(&self, candidate: &Candidate<'_>) -> PeerId {
        match self.route(candidate) {
            Some(route) => PeerId::Route(route),
            None => PeerId::Md5(self.md5(candidate)),
        }
    }

    /// Whether any server has a route.
    pub fn has_routes(&self) -> bool {
        !self.routes.is_empty()
    }

    /// The route of a peer.
    pub fn route(&self, candidate: &Candidate<'_>) -> Option<&'static [u8]> {
        if self.routes.is_empty() {
            return None;
        }
        // SAFETY: the group of a candidate is locked, and `first` is the first group of its upstream.
        let name = unsafe { version::resolved_name(candidate.first(), candidate.peer()) };
        let server = match name {
            Some(name) => self.resolved.get(name),
            None => self.known.get(candidate.group)?.get(candidate.place),
        };
        let route = self.routes.get(*server?)?;
        // SAFETY: the words of the configuration outlive its requests.
        (!route.is_empty()).then(|| unsafe { nginx::bytes(&route.raw()) })
    }

    fn md5(&self, candidate: &Candidate<'_>) -> [u8; MD5_LEN] {
        let address = candidate.address();
        let Ok(mut sums) = self.sums.try_borrow_mut() else {
            return md5(address);
        };
        let Some(sums) = sums.get_mut(candidate.group) else {
            return md5(address);
        };
        if sums.len() <= candidate.place && sums.try_reserve(candidate.place + 1).is_ok() {
            sums.resize_with(candidate.place + 1, Sum::default);
        }
        match sums.get_mut(candidate.place) {
            Some(sum) if sum.address == address => sum.digits,
            Some(sum) => {
                sum.digits = md5(address);
                sum.address.clear();
                // If memory is short, the next call computes the MD5 again.
                if sum.address.try_reserve(address.len()).is_ok() {
                    sum.address.extend_from_slice(address);
                }
                sum.digits
            }
            None => md5(address),
        }
    }
}

type Md5Sum = [u8; 16];

/// nginx's `ngx_md5_t`.
#[repr(C)]
#[derive(Default)]
struct Md5 {
    bytes: u64,
    state: [u32; 4],
    buffer: [[u8; 32]; 2],
}

extern "C" {
    fn ngx_md5_init(ctx: *mut Md5);
    fn ngx_md5_update(ctx: *mut Md5, data: *const u8, size: usize);
    fn ngx_md5_final(result: *mut Md5Sum, ctx: *mut Md5);
}

/// The MD5 of a text in hexadecimal digits.
fn md5(text: &[u8]) -> [u8; MD5_LEN] {
    let mut ctx = Md5::default();
    let mut sum = Md5Sum::default();
    // SAFETY: nginx reads `len` bytes of the text, and writes to `ctx`, which has the layout of `ngx_md5_t`,
    // and to the 16 bytes of `sum`.
    unsafe {
        ngx_md5_init(&mut ctx);
        ngx_md5_update(&mut ctx, text.as_ptr(), text.len());
        ngx_md5_final(&mut sum, &mut ctx);
    }
    let mut digits = [0; MD5_LEN];
    // SAFETY: nginx reads the 16 bytes of `sum`, and writes two digits for each.
    unsafe { ngx_hex_dump(digits.as_mut_ptr(), sum.as_mut_ptr(), sum.len()) };
    digits
}
