//! Our hooks over those of a request's peer connection. They pass nginx's calls on to the hooks beneath.

use core::ffi::c_void;
use core::ptr;

use nginx_sys::{
    ngx_event_free_peer_pt, ngx_event_get_peer_pt, ngx_event_notify_peer_pt, ngx_int_t,
    ngx_peer_connection_t, ngx_uint_t,
};
#[cfg(nginx_peer_sessions)]
use nginx_sys::{ngx_event_save_peer_session_pt, ngx_event_set_peer_session_pt};

use crate::nginx::upstream::Peer;
use crate::nginx::ERROR;

/// The data of our hooks for one request.
pub trait Hooked {
    /// The hooks beneath; `None` while the server that is held is not one of the balancer's.
    fn inner(&self) -> Option<&Inner>;

    /// `peer.get`: takes a peer. No peer is taken when nginx calls it.
    fn get(&self, pc: Peer<'_>) -> ngx_int_t;

    /// `peer.free`: gives back the peer that `get` took.
    fn free(&self, pc: Peer<'_>, state: ngx_uint_t);
}

/// The hooks beneath ours for one request, in the order of `ngx_peer_connection_t`.
#[repr(C)]
pub struct Inner {
    get: ngx_event_get_peer_pt,
    free: ngx_event_free_peer_pt,
    notify: ngx_event_notify_peer_pt,
    pub data: *mut c_void,
    #[cfg(nginx_peer_sessions)]
    set_session: ngx_event_set_peer_session_pt,
    #[cfg(nginx_peer_sessions)]
    save_session: ngx_event_save_peer_session_pt,
}

impl Inner {
    /// The hooks that the balancer has set for a request's peer connection.
    pub fn of(peer: Peer<'_>) -> Inner {
        // SAFETY: plain words of a live peer connection.
        let peer = unsafe { &*peer.raw() };
        Inner {
            get: peer.get,
            free: peer.free,
            notify: peer.notify,
            data: peer.data,
            #[cfg(nginx_peer_sessions)]
            set_session: peer.set_session,
            #[cfg(nginx_peer_sessions)]
            save_session: peer.save_session,
        }
    }

    /// Calls the balancer's `peer.get`; to be called from [`Hooked::get`].
    pub fn get(&self, pc: Peer<'_>) -> ngx_int_t {
        match self.get {
            // SAFETY: the hook gets its peer connection and the data that were set together with it.
            Some(get) => unsafe { get(pc.raw(), self.data) },
            None => ERROR,
        }
    }

    /// Calls the balancer's `peer.free`; to be called from [`Hooked::free`].
    pub fn free(&self, pc: Peer<'_>, state: ngx_uint_t) {
        if let Some(free) = self.free {
            // SAFETY: the hook gets its peer connection and the data that were set together with it.
            unsafe { free(pc.raw(), self.data, state) };
        }
    }
}

/// Puts our hooks over those of a request's peer connection. `data` keeps the former ones ([`Inner::of`]),
/// and is in the request's pool.
pub fn wrap<T: Hooked>(peer: Peer<'_>, data: &'static T) {
    // SAFETY: plain words of a live peer connection. nginx passes `data` to our hooks only while the request
    // lives, and `data` lives as long.
    let peer = unsafe { &mut *peer.raw() };
    peer.data = ptr::from_ref(data).cast_mut().cast();
    peer.get = Some(get::<T>);
    peer.free = Some(free::<T>);
    // nginx tests whether this hook is set.
    if peer.notify.is_some() {
        peer.notify = Some(notify::<T>);
    }
    #[cfg(nginx_peer_sessions)]
    {
        peer.set_session = Some(set_session::<T>);
        peer.save_session = Some(save_session::<T>);
    }
}

unsafe extern "C" fn get<T: Hooked>(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
) -> ngx_int_t {
    // SAFETY: nginx passes the peer connection of a live request, and the `T` that `wrap` has set.
    unsafe { (*data.cast::<T>()).get(Peer::new(pc)) }
}

unsafe extern "C" fn free<T: Hooked>(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
    state: ngx_uint_t,
) {
    // SAFETY: nginx passes the peer connection of a live request, and the `T` that `wrap` has set.
    unsafe { (*data.cast::<T>()).free(Peer::new(pc), state) }
}

unsafe extern "C" fn notify<T: Hooked>(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
    kind: ngx_uint_t,
) {
    // SAFETY: nginx passes the peer connection of a live request, and the `T` that `wrap` has set; the hook
    // beneath gets the data that were set together with it.
    unsafe {
        if let Some(inner) = (*data.cast::<T>()).inner() {
            if let Some(notify) = inner.notify {
                notify(pc, inner.data, kind);
            }
        }
    }
}

#[cfg(nginx_peer_sessions)]
unsafe extern "C" fn set_session<T: Hooked>(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
) -> ngx_int_t {
    // SAFETY: nginx passes the peer connection of a live request, and the `T` that `wrap` has set; the hook
    // beneath gets the data that were set together with it.
    unsafe {
        match (*data.cast::<T>()).inner().and_then(|inner| Some((inner.set_session?, inner.data))) {
            Some((set_session, inner)) => set_session(pc, inner),
            None => crate::nginx::OK,
        }
    }
}

#[cfg(nginx_peer_sessions)]
unsafe extern "C" fn save_session<T: Hooked>(pc: *mut ngx_peer_connection_t, data: *mut c_void) {
    // SAFETY: nginx passes the peer connection of a live request, and the `T` that `wrap` has set; the hook
    // beneath gets the data that were set together with it.
    unsafe {
        if let Some(inner) = (*data.cast::<T>()).inner() {
            if let Some(save_session) = inner.save_session {
                save_session(pc, inner.data);
            }
        }
    }
}
