//! What a request carries: the id of a session, and what else it says of it.

use affinity::mcp::Outlook;
use affinity::table::{Key, Kind, Table};
use nginx_sys::ngx_http_request_t;

use crate::conf::value::{first_value, Read, Value};
use crate::conf::{Affinity, Lookup};
use crate::response::body;

/// Its strings live as long as the request.
#[derive(Clone, Copy)]
pub struct Carried {
    /// What its answer may teach, in MCP mode.
    pub mcp: Option<Outlook>,
    /// What its id names. Of several ids it is the one that is asked for first.
    pub kind: Kind,
    /// The id, to be known again in the response; empty if there is none.
    pub presented: &'static [u8],
    /// The key of the id, if there is one.
    pub key: Option<Key>,
}

impl Carried {
    pub const NOTHING: Carried =
        Carried { mcp: None, kind: Kind::Session, presented: &[], key: None };

    /// Reads it from a request, values by `read`; leaves some of it unread where that fails.
    ///
    /// # Safety
    /// As for `read`; what is read must not outlive the request. `affinity` belongs to an upstream
    /// whose sessions are in `table`.
    #[inline(always)]
    pub unsafe fn read<E>(
        &mut self,
        r: *mut ngx_http_request_t,
        affinity: &Affinity,
        table: &Table,
        read: Read<'static, E>,
    ) -> Result<(), E> {
        // SAFETY: by this function's contract.
        unsafe {
            match &affinity.lookup {
                Lookup::Values(values) => {
                    let id = first_value(values, r, read)?;
                    let key = match id {
                        [] => None,
                        id => {
                            let bind = read_bind(&affinity.bind, r, read)?;
                            Some(table.key(Kind::Session, id, bind))
                        }
                    };
                    *self = Carried { mcp: None, kind: Kind::Session, presented: id, key };
                    Ok(())
                }
                Lookup::Mcp => self.read_mcp(r, affinity, table, read),
            }
        }
    }

    /// Reads what MCP puts into it.
    ///
    /// # Safety
    /// As above.
    #[inline(never)]
    unsafe fn read_mcp<E>(
        &mut self,
        r: *mut ngx_http_request_t,
        affinity: &Affinity,
        table: &Table,
        read: Read<'static, E>,
    ) -> Result<(), E> {
        (self.kind, self.presented, self.key) = (Kind::Session, &[], None);
        // SAFETY: by this function's contract.
        let said = unsafe { body::request(r) };
        self.mcp = Some(said.outlook());
        let found = body::with_id(&said, |kind, id| {
            // SAFETY: as above.
            let bind = unsafe { read_bind(&affinity.bind, r, read)? };
            Ok((kind, table.key(kind, id, bind)))
        });
        if let Some((kind, key)) = found.transpose()? {
            (self.kind, self.presented, self.key) = (kind, said.session, Some(key));
        }
        Ok(())
    }
}

/// What an id is bound to; empty if it is bound to nothing.
///
/// # Safety
/// As for `read`.
#[inline(always)]
pub unsafe fn read_bind<'a, E>(
    bind: &Option<Value>,
    r: *mut ngx_http_request_t,
    read: Read<'a, E>,
) -> Result<&'a [u8], E> {
    match bind {
        // SAFETY: by this function's contract.
        Some(value) => unsafe { read_value(value, r, read) },
        None => Ok(&[]),
    }
}

/// # Safety
/// As for `read`.
#[cold]
unsafe fn read_value<'a, E>(
    value: &Value,
    r: *mut ngx_http_request_t,
    read: Read<'a, E>,
) -> Result<&'a [u8], E> {
    // SAFETY: by this function's contract.
    unsafe { read(value, r) }
}
