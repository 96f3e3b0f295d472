//! Header and body filter. Those of `response/`, which learn from every answer, held or not, call them.

use nginx_sys::{ngx_chain_t, ngx_int_t};

use super::held::{self, Held, Stage};
use super::kept::Full;
use super::next::{pass_body, pass_header};
use super::replaced::Replaced;
use super::{active, reading};
use crate::nginx::request::Request;
use crate::nginx::send::{Buffer, Buffers};
use crate::nginx::{AGAIN, ERROR, OK};

/// Holds the answer whose header is complete, or passes the header on.
#[inline(always)]
pub fn header(r: Request<'static>) -> ngx_int_t {
    /// The least status of an answer that may be held.
    const LEAST: u16 = 400;

    match r.response_status() >= LEAST {
        true => begin_or_pass(r),
        false => pass_header(r),
    }
}

#[cold]
#[inline(never)]
fn begin_or_pass(r: Request<'static>) -> ngx_int_t {
    match held::begin(r) {
        true => OK,
        false => pass_header(r),
    }
}

/// Keeps a part of an answer that is held, has it read, or passes it on. `chain` is what nginx has passed to a body
/// filter.
#[inline(always)]
pub fn body(r: Request<'_>, chain: *mut ngx_chain_t) -> ngx_int_t {
    match active::is_any() {
        true => keep_or_pass(r, chain),
        false => pass_body(r, chain),
    }
}

#[cold]
#[inline(never)]
fn keep_or_pass(r: Request<'_>, chain: *mut ngx_chain_t) -> ngx_int_t {
    // SAFETY: a chain of live buffers or null, which does not change before it is passed on below.
    let part = unsafe { Buffers::new(chain) };
    if let Some((text, replaced)) = reading::read(r, part) {
        return replace(r, part, text, replaced);
    }
    if !r.is_held() {
        return pass_body(r, chain);
    }
    match Held::find(r).filter(|held| !matches!(held.stage.get(), Stage::Done | Stage::Again)) {
        Some(held) => keep(held, chain),
        None => pass_body(r, chain),
    }
}

/// Passes on a text instead of a part of a body.
fn replace(r: Request<'_>, part: Buffers<'_>, text: Vec<u8>, replaced: &Replaced) -> ngx_int_t {
    let is_last = part.into_iter().any(Buffer::is_last);
    part.consume();
    if text.is_empty() && !is_last {
        return pass_body(r, core::ptr::null_mut());
    }
    match replaced.link(r, text, is_last) {
        Some(mut link) => pass_body(r, &mut link),
        None => ERROR,
    }
}

/// Keeps a part of a held answer. The body that is too long is passed on from now on, as it comes.
fn keep(held: &Held, chain: *mut ngx_chain_t) -> ngx_int_t {
    // nginx calls the filters without a part when it could send more.
    if held.stage.get() != Stage::Filling {
        return AGAIN;
    }
    // SAFETY: a chain of live buffers or null, which does not change before it is passed on or consumed.
    let part = unsafe { Buffers::new(chain) };
    let appended = held.kept.borrow_mut().append(part);
    match appended {
        Ok(()) => {
            part.consume();
            held.post();
            AGAIN
        }
        Err(Full) => pass_on_with(held, chain),
    }
}

/// Passes on the header, what is kept, and the part that is not.
fn pass_on_with(held: &Held, chain: *mut ngx_chain_t) -> ngx_int_t {
    let r = held.request;
    held.give_up();
    let rc = pass_header(r);
    if rc == ERROR || rc > OK {
        return ERROR;
    }
    let link = held.kept.borrow_mut().chain(r);
    let Some(mut link) = link else { return ERROR };
    link.next = chain;
    pass_body(r, &mut link)
}
