//! The cookies of a request, and those that an upstream's response sets, in all lines of their headers.
//! nginx's own variables have only the first cookie of a name.

use affinity::cookies::Few;
use nginx_sys::ngx_int_t;

use super::words::only_variable;
use crate::nginx;
use crate::nginx::conf::Conf;
use crate::nginx::headers::Headers;
use crate::nginx::request::Request;

/// A value that is one cookie and nothing else.
pub struct CookieValue {
    side: Side,
    name: Vec<u8>,
    /// The variable's index, for [`Value::confirm`](crate::conf::value::Value::confirm).
    pub index: ngx_int_t,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    Upstream,
}

/// Prefixes of nginx's variables.
const SIDES: [(&[u8], Side); 2] =
    [(b"cookie_", Side::Request), (b"upstream_cookie_", Side::Upstream)];

impl CookieValue {
    /// `$cookie_NAME`, `${cookie_NAME}`, `$upstream_cookie_NAME`.
    pub fn parse(cf: &mut Conf<'_>, text: &[u8]) -> Option<CookieValue> {
        let variable = only_variable(text)?;
        let (prefix, side) = SIDES.iter().find(|(prefix, _)| variable.starts_with(prefix))?;
        let name = variable.strip_prefix(*prefix)?.to_vec();
        let index = cf.variable(&variable).ok()?;
        (!name.is_empty()).then_some(CookieValue { side: *side, name, index })
    }

    /// The cookies of this name in a request; `None` if the value is an upstream's.
    pub fn sent<'r>(&self, r: Request<'r>) -> Option<Few<'r>> {
        (self.side == Side::Request).then(|| sent(r, &self.name))
    }

    /// The cookies of this name that the upstream's response sets; `None` if the value is a request's.
    pub fn set<'r>(&self, r: Request<'r>) -> Option<Few<'r>> {
        if self.side != Side::Upstream {
            return None;
        }
        let mut few = Few::default();
        if let Some(upstream) = r.upstream() {
            let now = nginx::seconds();
            for line in lines(upstream.headers_in(), b"set-cookie") {
                few.add_set(line, &self.name, now);
                if few.is_full() {
                    break;
                }
            }
        }
        Some(few)
    }
}

/// The cookies of a name in a request.
pub fn sent<'r>(r: Request<'r>, name: &[u8]) -> Few<'r> {
    let mut few = Few::default();
    for line in lines(r.headers_in(), b"cookie") {
        few.add_carried(line, name);
        if few.is_full() {
            break;
        }
    }
    few
}

/// The values of all headers of a name.
fn lines<'r>(headers: Headers<'r>, name: &'static [u8]) -> impl Iterator<Item = &'r [u8]> {
    headers
        .filter(move |header| !header.is_deleted() && header.name().eq_ignore_ascii_case(name))
        .map(|header| header.value())
}
