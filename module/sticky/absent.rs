//! Empty functions for an nginx with its own `sticky` (from 1.29.6 on): ours is not compiled.

use affinity::policy::Status;

use crate::nginx::conf::Conf;
use crate::nginx::request::Request;
use crate::nginx::upstream::Block;

pub fn install_filter(_cf: &mut Conf<'_>) {}

/// # Safety
/// No conditions; `unsafe` only as the function of the same name in `sticky/mod.rs`.
pub unsafe fn arrange(_block: Block<'_>) {}

/// The status of a request and the address of its bound server.
pub type Shown<'a> = (Status, Option<&'a [u8]>);

pub fn shown<'r>(_r: Request<'r>) -> Option<Shown<'r>> {
    None
}
