//! A socket as a connection of nginx: `ngx_peer_connection_t` opens it, `ngx_connection_t` is it.

use core::ffi::{c_int, c_uint, c_void};
use core::mem;
use core::ptr::NonNull;
use std::io;

use nginx_sys::{
    ngx_close_connection, ngx_connection_log_error_e_NGX_ERROR_INFO, ngx_connection_t,
    ngx_destroy_pool, ngx_event_connect_peer, ngx_event_get_peer, ngx_event_handler_pt,
    ngx_handle_read_event, ngx_handle_write_event, ngx_int_t, ngx_log_t, ngx_peer_connection_t,
    ngx_post_event, ngx_posted_next_events, ngx_str_t, ngx_tcp_nodelay,
};

use super::address::Address;
use super::error::Error;
use crate::nginx::{AGAIN, DECLINED, OK};

extern "C" {
    fn sticky_learn_has_ssl(c: *mut ngx_connection_t) -> c_uint;
    fn sticky_learn_end_ssl(c: *mut ngx_connection_t);
}

/// The result of a read or a write.
pub(super) enum Moved {
    Bytes(usize),
    /// The other side sends no more.
    End,
    /// Nothing can be moved now: an event follows.
    Later,
}

/// An open socket. Dropping this closes it.
pub(super) struct Stream(NonNull<ngx_connection_t>);

impl Stream {
    /// Begins to connect. An event follows, also if the connection is established at once.
    ///
    /// # Safety
    /// 1. `data` and `log` stay where they are until the stream is dropped.
    /// 2. `handler` takes the events of a connection with this `data`.
    pub(super) unsafe fn connect(
        address: &Address,
        handler: ngx_event_handler_pt,
        data: *mut c_void,
        log: *mut ngx_log_t,
    ) -> Result<Stream, Error> {
        let mut name = ngx_str_t::empty();
        // SAFETY: a peer connection is valid when zeroed. nginx reads the address and the name during the call,
        // and keeps the log, which lives long enough (1).
        unsafe {
            let mut pc: ngx_peer_connection_t = mem::zeroed();
            pc.sockaddr = address.as_ptr().cast_mut();
            pc.socklen = address.len();
            pc.name = &mut name;
            pc.get = Some(ngx_event_get_peer);
            pc.log = log;
            pc.set_log_error(ngx_connection_log_error_e_NGX_ERROR_INFO);
            let rc = ngx_event_connect_peer(&mut pc);
            let connection = match rc {
                OK | AGAIN => NonNull::new(pc.connection).ok_or(Error::Local)?,
                DECLINED => return Err(Error::Connect(last_error())),
                _ => return Err(Error::Local),
            };
            let stream = Stream(connection);
            (*stream.raw()).data = data;
            stream.set_handler(handler);
            if rc == OK {
                ngx_post_event((*stream.raw()).write, &raw mut ngx_posted_next_events);
            }
            Ok(stream)
        }
    }

    pub(super) fn raw(&self) -> *mut ngx_connection_t {
        self.0.as_ptr()
    }

    /// The `data` of a connection.
    ///
    /// # Safety
    /// `connection` is the one of a living stream.
    pub(super) unsafe fn data(connection: *mut ngx_connection_t) -> *mut c_void {
        // SAFETY: a live connection of nginx.
        unsafe { (*connection).data }
    }

    /// Sets the handler of both events.
    ///
    /// # Safety
    /// It takes the events of this connection.
    pub(super) unsafe fn set_handler(&self, handler: ngx_event_handler_pt) {
        // SAFETY: a live connection of nginx has both events.
        unsafe {
            (*(*self.raw()).read).handler = handler;
            (*(*self.raw()).write).handler = handler;
        }
    }

    /// The error of a `connect` that has ended; without one the connection is established.
    pub(super) fn finish_connect(&self) -> Result<(), Error> {
        let mut error: c_int = 0;
        let mut len = size_of::<c_int>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes to `error`, and the length to `len`.
        let result = unsafe {
            let at = (&raw mut error).cast();
            libc::getsockopt((*self.raw()).fd, libc::SOL_SOCKET, libc::SO_ERROR, at, &mut len)
        };
        match (result, error) {
            (0, 0) => {
                // SAFETY: a live connection of nginx. Without the option it is slower, and works.
                unsafe { ngx_tcp_nodelay(self.raw()) };
                Ok(())
            }
            (0, error) => Err(Error::Connect(error)),
            _ => Err(Error::Connect(last_error())),
        }
    }

    pub(super) fn receive(&self, to: &mut [u8]) -> Result<Moved, Error> {
        let c = self.raw();
        // SAFETY: a live connection of nginx; nginx writes at most `len` bytes.
        self.moved(unsafe { (*c).recv.map(|recv| recv(c, to.as_mut_ptr(), to.len())) })
    }

    pub(super) fn send(&self, bytes: &[u8]) -> Result<Moved, Error> {
        let c = self.raw();
        // SAFETY: a live connection of nginx; nginx reads `len` bytes, and writes to none.
        self.moved(unsafe { (*c).send.map(|send| send(c, bytes.as_ptr().cast_mut(), bytes.len())) })
    }

    fn moved(&self, result: Option<isize>) -> Result<Moved, Error> {
        match result.unwrap_or(-1) {
            0 => Ok(Moved::End),
            count if count > 0 => Ok(Moved::Bytes(count as usize)),
            rc if rc as ngx_int_t == AGAIN => Ok(Moved::Later),
            // The error of a TLS record is none of the system's.
            // SAFETY: a live connection of nginx.
            _ if unsafe { sticky_learn_has_ssl(self.raw()) } != 0 => Err(Error::Lost(0)),
            _ => Err(Error::Lost(last_error())),
        }
    }

    /// Keeps both events in the event loop, or puts them there.
    pub(super) fn wait(&self) -> Result<(), Error> {
        // SAFETY: a live connection of nginx has both events.
        let results = unsafe {
            let c = &*self.raw();
            [ngx_handle_read_event(c.read, 0), ngx_handle_write_event(c.write, 0)]
        };
        if results == [OK, OK] {
            Ok(())
        } else {
            Err(Error::Local)
        }
    }

    /// Calls the handler in the next round of the event loop.
    pub(super) fn post(&self) {
        // SAFETY: a live connection of nginx; closing it removes the event from the queue.
        unsafe { ngx_post_event((*self.raw()).read, &raw mut ngx_posted_next_events) };
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: this value owns the connection; its pool, if it has one, is its own.
        unsafe {
            sticky_learn_end_ssl(self.raw());
            let pool = (*self.raw()).pool;
            ngx_close_connection(self.raw());
            if !pool.is_null() {
                ngx_destroy_pool(pool);
            }
        }
    }
}

fn last_error() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}
