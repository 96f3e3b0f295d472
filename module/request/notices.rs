//! Info lines of MCP mode: responses without the id that they should have, and ids of two servers.
//!
//! They contain the zone, the server and the keyed hash of an id, never the id. They go to nginx's main
//! log: the log of a connection adds the request line, which may contain an id.

use core::cell::Cell;

use affinity::mcp::Fault;
use affinity::table::{Key, Span, Tick};
use nginx_sys::{ngx_str_t, NGX_LOG_INFO, NGX_LOG_WARN};

use crate::nginx;
use crate::nginx::cycle::Cycle;
use crate::nginx::per_worker::PerWorker;
use crate::nginx::pool::string;
use crate::nginx::upstream::Block;

/// A worker writes at most one line of a kind in this time (milliseconds).
const EVERY: u64 = 1000;

/// The content of a line.
#[derive(Clone, Copy)]
pub enum Notice {
    /// A body contains no id.
    Refused(Fault),
    /// An id was bound to another server, and is bound to this one now.
    Moved(Key),
    /// An id is bound to another server, and stays there.
    Kept(Key),
    /// Another server has announced the same target of an `endpoint` event: it is no id of a session.
    Shared(Key),
}

/// The number of kinds.
const KINDS: usize = 6;

impl Notice {
    fn kind(self) -> usize {
        match self {
            Notice::Refused(Fault::NoTarget) => 0,
            Notice::Refused(Fault::NoId) => 1,
            Notice::Refused(Fault::TooLong) => 2,
            Notice::Moved(_) => 3,
            Notice::Kept(_) => 4,
            Notice::Shared(_) => 5,
        }
    }
}

/// When this worker wrote the last line of each kind.
static LAST: PerWorker<[Cell<Option<Tick>>; KINDS]> =
    PerWorker::new([const { Cell::new(None) }; KINDS]);

/// Warns that the requests to the servers of a MCP upstream are of HTTP/1.0, nginx's default before 1.29.7.
#[cold]
pub fn warn_of_http_1_0(upstream: Block<'_>) {
    let (file, line) = upstream.place();
    ngx::ngx_log_error!(
        NGX_LOG_WARN,
        Cycle::running_log(),
        "requests to the MCP servers of upstream \"{}\" in {file}:{line} are of HTTP/1.0, which needs a \
         connection for each and may delay events: use \"proxy_http_version 1.1\"",
        string(upstream.name())
    );
}

/// Writes a line, unless one of its kind was written less than [`EVERY`] ago. `server` is the one that
/// answered.
#[cold]
pub fn log(zone: ngx_str_t, server: &[u8], notice: Notice) {
    let now = nginx::now();
    let Some(last) = LAST.get(notice.kind()) else { return };
    if last.get().is_some_and(|last| now.since(last) < Span::from_millis(EVERY)) {
        return;
    }
    last.set(Some(now));
    let server = string(server);
    let write = |text: &str, key: Option<Key>| {
        let log = Cycle::running_log();
        match key {
            None => {
                ngx::ngx_log_error!(
                    NGX_LOG_INFO,
                    log,
                    "zone \"{zone}\": server \"{server}\" {text}"
                );
            }
            Some(key) => {
                let hash = key.fingerprint();
                ngx::ngx_log_error!(
                    NGX_LOG_INFO,
                    log,
                    "zone \"{zone}\": server \"{server}\" {text} (hash {hash:016x})"
                );
            }
        }
    };
    match notice {
        Notice::Refused(Fault::NoTarget) => {
            write("sent an endpoint event that is no URI, not learned", None);
        }
        Notice::Refused(Fault::NoId) => {
            write("sent an endpoint event without an id of its own, not learned", None);
        }
        Notice::Refused(Fault::TooLong) => {
            write("sent an id that is too long, not learned", None);
        }
        Notice::Moved(key) => {
            write("answered with an id that was bound to another one, and has it now", Some(key));
        }
        Notice::Kept(key) => {
            write("answered with an id that stays bound to another one", Some(key));
        }
        Notice::Shared(key) => {
            write("sent the same endpoint as another one, not learned", Some(key));
        }
    }
}
