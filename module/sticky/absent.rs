//! In place of `sticky` where nginx has its own (from 1.29.6 on): nothing of ours is compiled.

use affinity::policy::Status;

use crate::nginx::conf::Conf;
use crate::nginx::request::Request;
use crate::nginx::upstream::Block;

pub fn install_filter(_cf: &mut Conf<'_>) {}

/// # Safety
/// None: there is nothing to do.
pub unsafe fn arrange(_block: Block<'_>) {}

/// Status and bound server of a request.
pub type Shown<'a> = (Status, Option<&'a [u8]>);

pub fn shown<'r>(_r: Request<'r>) -> Option<Shown<'r>> {
    None
}
