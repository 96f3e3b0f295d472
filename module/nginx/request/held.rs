//! A request whose answer is held: its marks, and its way back to its content handler.

use core::ffi::c_uint;

use nginx_sys::{
    ngx_del_timer, ngx_http_core_content_phase, ngx_http_core_main_conf_t, ngx_http_core_module,
    ngx_http_phase_handler_t, ngx_http_request_t, ngx_int_t,
};

use super::Request;

extern "C" {
    fn sticky_learn_is_held(r: *const ngx_http_request_t) -> c_uint;
    fn sticky_learn_set_held(r: *mut ngx_http_request_t);
    fn sticky_learn_unset_held(r: *mut ngx_http_request_t);
    fn sticky_learn_take_answer_back(r: *mut ngx_http_request_t);
}

type Checker =
    unsafe extern "C" fn(*mut ngx_http_request_t, *mut ngx_http_phase_handler_t) -> ngx_int_t;

impl Request<'_> {
    /// Whether the answer is held; also true while an image is filtered.
    pub fn is_held(self) -> bool {
        // SAFETY: C reads a bit of the live request.
        unsafe { sticky_learn_is_held(self.raw()) != 0 }
    }

    /// Marks the answer as held: nginx keeps the request and its body when the server has sent all. To be called by
    /// a header filter of a main request, which then does not pass the header on.
    pub fn set_held(self) {
        // SAFETY: C writes bits of the live request.
        unsafe { sticky_learn_set_held(self.raw()) }
    }

    /// Takes back [`Request::set_held`]: the answer is passed on.
    pub fn unset_held(self) {
        // SAFETY: C writes a bit of the live request.
        unsafe { sticky_learn_unset_held(self.raw()) }
    }

    /// The expected length of the response; `None` if it is not known.
    pub fn response_length(self) -> Option<u64> {
        // SAFETY: a plain word. It is -1 without a length.
        u64::try_from(unsafe { (*self.raw()).headers_out.content_length_n }).ok()
    }

    /// Removes the length of the response: its body will have another one.
    pub fn clear_response_length(self) {
        // SAFETY: plain words of the live request; the header is in the list of its response's headers.
        unsafe {
            let out = &mut (*self.raw()).headers_out;
            out.content_length_n = -1;
            if let Some(header) = out.content_length.as_mut() {
                header.hash = 0;
                out.content_length = core::ptr::null_mut();
            }
        }
    }

    /// Removes the timer of sending, which nginx has set when it found the answer not sent.
    pub fn stop_send_timer(self) {
        // SAFETY: a live connection has a write event; the bit says whether it is in nginx's timers.
        unsafe {
            let write = (*self.connection()).write;
            if (*write).timer_set() != 0 {
                ngx_del_timer(write);
            }
        }
    }

    /// Forgets the answer, of which nothing may have been sent, and puts the request before its content handler: the
    /// next run of the phases begins there. False if there is no content phase.
    pub fn take_answer_back(self) -> bool {
        // SAFETY: `ngx_http_core_module` makes this type.
        let core = unsafe { self.main_conf(&raw const ngx_http_core_module) };
        let Some(place) = core.and_then(before_content) else { return false };
        // SAFETY: a live request. Its contexts are in memory of the request, and modules find them empty after an
        // internal redirect as well.
        unsafe {
            sticky_learn_take_answer_back(self.raw());
            (*self.raw()).phase_handler = place + 1;
        }
        true
    }
}

/// The index of the last handler of PRECONTENT in the phase engine, directly before those of the content phase.
pub fn before_content(core: &ngx_http_core_main_conf_t) -> Option<ngx_int_t> {
    let mut place = 0;
    // SAFETY: the list of handlers ends with one without a checker.
    unsafe {
        let mut handler = core.phase_engine.handlers;
        while let Some(checker) = (*handler).checker {
            if core::ptr::fn_addr_eq(checker, ngx_http_core_content_phase as Checker) {
                return (place > 0).then(|| place - 1);
            }
            place += 1;
            handler = handler.add(1);
        }
    }
    None
}
