//! In the place of `tls.rs`, for an nginx without SSL.

use nginx_sys::ngx_connection_handler_pt;

use super::error::Error;
use super::stream::Stream;
use super::trust::Trust;
use crate::nginx::conf::{fail, Conf, Logged, Word};

/// TLS to one target: there is none.
pub enum Tls {}

impl Tls {
    pub(super) fn new(cf: &mut Conf<'_>, host: Word, _: &Trust) -> Result<Tls, Logged> {
        fail!(cf, "SSL to \"{host}\" needs an nginx that was built with it");
    }

    /// # Safety
    /// None: it cannot be called.
    pub(super) unsafe fn shake_hands(
        &self,
        _: &Stream,
        _: ngx_connection_handler_pt,
    ) -> Result<bool, Error> {
        match *self {}
    }

    pub(super) fn verify(&self, _: &Stream) -> Result<(), Error> {
        match *self {}
    }
}
