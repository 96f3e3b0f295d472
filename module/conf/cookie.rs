//! The cookies of a request, and those that an upstream's response sets, in all lines of their
//! headers. nginx's own variables know the first of a name only.

use nginx_sys::{
    ngx_conf_t, ngx_http_get_variable_index, ngx_http_request_t, ngx_int_t, ngx_list_part_t,
    ngx_str_t, ngx_table_elt_t,
};

use affinity::cookies::Few;

use crate::nginx;

/// A value that is one cookie and nothing else.
pub struct Cookie {
    side: Side,
    name: Vec<u8>,
    /// Of the variable, for a look at what it became.
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

impl Cookie {
    /// `$cookie_NAME`, `${cookie_NAME}`, `$upstream_cookie_NAME`.
    pub fn parse(cf: &mut ngx_conf_t, text: &[u8]) -> Option<Cookie> {
        let variable = text.strip_prefix(b"$")?;
        let variable = match variable.strip_prefix(b"{") {
            Some(braced) => braced.strip_suffix(b"}")?,
            None => variable,
        };
        let mut variable = variable.to_ascii_lowercase();
        if !variable.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return None;
        }
        let (prefix, side) = SIDES.iter().find(|(prefix, _)| variable.starts_with(prefix))?;
        let name = variable.strip_prefix(*prefix)?.to_vec();
        let mut full = ngx_str_t { len: variable.len(), data: variable.as_mut_ptr() };
        // SAFETY: nginx keeps a copy of the name.
        let index = unsafe { ngx_http_get_variable_index(cf, &mut full) };
        (index >= 0 && !name.is_empty()).then_some(Cookie { side: *side, name, index })
    }

    /// Those of a request; `None` if the value is of responses.
    ///
    /// # Safety
    /// `r` is a live request.
    pub unsafe fn carried<'a>(&self, r: *const ngx_http_request_t) -> Option<Few<'a>> {
        // SAFETY: by this function's contract.
        (self.side == Side::Request).then(|| unsafe { carried(r, &self.name) })
    }

    /// Those that the upstream's response sets; `None` if the value is of requests.
    ///
    /// # Safety
    /// `r` is a live request.
    pub unsafe fn set<'a>(&self, r: *const ngx_http_request_t) -> Option<Few<'a>> {
        if self.side != Side::Upstream {
            return None;
        }
        let mut few = Few::default();
        // SAFETY: by this function's contract.
        unsafe {
            if let Some(upstream) = (*r).upstream.as_ref() {
                let now = nginx::seconds();
                each_line(&upstream.headers_in.headers.part, b"set-cookie", |line| {
                    few.add_set(line, &self.name, now);
                    !few.is_full()
                });
            }
        }
        Some(few)
    }
}

/// The cookies of a name in a request.
///
/// # Safety
/// `r` is a live request, which the cookies live as long as.
pub unsafe fn carried<'a>(r: *const ngx_http_request_t, name: &[u8]) -> Few<'a> {
    let mut few = Few::default();
    // SAFETY: by this function's contract.
    unsafe {
        each_line(&(*r).headers_in.headers.part, b"cookie", |line| {
            few.add_carried(line, name);
            !few.is_full()
        });
    }
    few
}

/// Calls `f` with the value of each header of a name, for as long as it wants more.
///
/// # Safety
/// `part` begins a list of headers of a live request.
unsafe fn each_line<'a>(
    part: *const ngx_list_part_t,
    name: &[u8],
    mut f: impl FnMut(&'a [u8]) -> bool,
) {
    let mut part = part;
    // SAFETY: nginx's lists of headers hold `nelts` elements in each part; their strings live as long
    // as the request.
    unsafe {
        while let Some(list) = part.as_ref() {
            let first = list.elts.cast::<ngx_table_elt_t>().cast_const();
            for place in 0..list.nelts {
                let header = &*first.add(place);
                // A hash of zero marks a header that was deleted.
                let is_it = header.key.len == name.len()
                    && header.hash != 0
                    && nginx::bytes(&header.key).eq_ignore_ascii_case(name);
                if is_it && !f(nginx::bytes(&header.value)) {
                    return;
                }
            }
            part = list.next;
        }
    }
}
