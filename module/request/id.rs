//! The id of a request, and what its response may change.

use affinity::mcp::Effects;
use affinity::table::{Key, Kind, Table};

use super::message;
use crate::conf::value::{first_value, Read, Value};
use crate::conf::{Affinity, Lookup};
use crate::nginx::request::Request;

/// The id of a request. Its strings live as long as the request.
#[derive(Clone, Copy)]
pub struct RequestId {
    /// What the response may change, in MCP mode.
    pub mcp: Option<Effects>,
    /// The kind of the id. If the request has several ids, this is the first that is looked up.
    pub kind: Kind,
    /// The id as the client sent it, for a comparison with the response; empty without an id.
    pub presented: &'static [u8],
    /// The key of the id, if there is one.
    pub key: Option<Key>,
}

impl RequestId {
    pub const NONE: RequestId =
        RequestId { mcp: None, kind: Kind::Session, presented: &[], key: None };

    /// Reads the id of a request; values are read by `read`. After an error the fields are incomplete.
    /// `affinity` belongs to an upstream whose sessions are in `table`.
    #[inline(always)]
    pub fn read<E>(
        &mut self,
        r: Request<'static>,
        affinity: &Affinity,
        table: &Table,
        read: Read<'static, E>,
    ) -> Result<(), E> {
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
                *self = RequestId { mcp: None, kind: Kind::Session, presented: id, key };
                Ok(())
            }
            Lookup::Mcp => self.read_mcp(r, affinity, table, read),
        }
    }

    /// Reads the id of an MCP request.
    #[inline(never)]
    fn read_mcp<E>(
        &mut self,
        r: Request<'static>,
        affinity: &Affinity,
        table: &Table,
        read: Read<'static, E>,
    ) -> Result<(), E> {
        (self.kind, self.presented, self.key) = (Kind::Session, &[], None);
        let message = message::of(r);
        self.mcp = Some(message.effects());
        let found = message::with_id(&message, |kind, id| {
            let bind = read_bind(&affinity.bind, r, read)?;
            Ok((kind, table.key(kind, id, bind)))
        });
        if let Some((kind, key)) = found.transpose()? {
            (self.kind, self.presented, self.key) = (kind, message.session, Some(key));
        }
        Ok(())
    }
}

/// The value of `bind`; empty without `bind`.
#[inline(always)]
pub fn read_bind<'r, E>(
    bind: &Option<Value>,
    r: Request<'r>,
    read: Read<'r, E>,
) -> Result<&'r [u8], E> {
    match bind {
        Some(value) => read_value(value, r, read),
        None => Ok(&[]),
    }
}

#[cold]
fn read_value<'r, E>(value: &Value, r: Request<'r>, read: Read<'r, E>) -> Result<&'r [u8], E> {
    read(value, r)
}
