//! The course of one connection: name, connect, TLS handshake, exchange, end.
//!
//! A connection belongs to this worker's list until it ends. Then its memory is freed, and only then its user is
//! told: the user may open the next one at once. When the worker exits, or its cycle is replaced, all are closed
//! and no user is told.

use core::cell::{Cell, RefCell, UnsafeCell};
use core::ffi::c_void;
use core::ptr::{self, NonNull};

use affinity::net::{Next, Output, Protocol, MAX_BUFFERED};
use nginx_sys::{ngx_connection_t, ngx_event_t, ngx_log_t, ngx_resolver_ctx_t, NGX_LOG_ALERT};

use super::address::Address;
use super::error::Error;
use super::names::Lookup;
use super::stream::{Moved, Stream};
use super::target::{Place, Target};
use super::timer::Timer;
use super::tls::Tls;
use super::to::{LiveTarget, Times, To};
use crate::nginx::cycle::Cycle;
use crate::nginx::per_worker::{serves_requests, PerWorker};
use crate::nginx::try_box;

/// The user of a connection: what is said on it, and who hears how it has ended.
pub trait Exchange: Protocol {
    /// The connection is closed. Not called if the worker exits or the cycle is replaced before.
    fn ended(self: Box<Self>, cycle: Cycle<'_>, result: Result<(), Error>);
}

/// Names a connection for its user, also when it has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Handle(u64);

impl Handle {
    /// Sends bytes in the order of the calls, as many as possible at once. False if the connection is not
    /// established, or has just failed: then [`Exchange::ended`] follows. Not to be called by its protocol, which
    /// has an [`Output`].
    pub fn send(self, bytes: &[u8]) -> bool {
        let connection = self.find();
        connection.is_some_and(|it| match it.send_from_outside(bytes) {
            Ok(is_sent) => is_sent,
            Err(error) => {
                it.fail_later(error);
                false
            }
        })
    }

    /// Ends the connection with a reason, in the next round of the event loop.
    pub fn close(self, why: &'static str) {
        if let Some(connection) = self.find() {
            connection.fail_later(Error::Protocol(why));
        }
    }

    fn find<'c>(self) -> Option<&'c Connection> {
        let open = OPEN.borrow();
        // SAFETY: what is in the list is not freed yet, and the caller's use of it ends before the next turn of
        // the event loop, in which alone a connection ends.
        open.iter().map(|it| unsafe { it.as_ref() }).find(|it| it.handle == self)
    }
}

/// What a connection does.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Waiting,
    Resolving,
    Connecting,
    Handshaking,
    Exchanging,
    /// The exchange has succeeded, but for the rest of the output.
    Sending,
}

struct Connection {
    handle: Handle,
    /// Its index in the list.
    place: Cell<usize>,
    stage: Cell<Stage>,
    /// The error that the posted timer ends it with: an error in a call of the user's is not told in that call.
    failed: Cell<Option<Error>>,
    deadline: u64,
    lasts: bool,
    target: Option<LiveTarget>,
    addresses: RefCell<Vec<Address>>,
    /// The index of the next address.
    next: Cell<usize>,
    lookup: Lookup,
    stream: RefCell<Option<Stream>>,
    /// What the protocol has not consumed yet.
    input: RefCell<Vec<u8>>,
    output: RefCell<Output>,
    user: RefCell<Box<dyn Exchange>>,
    timer: Timer,
    log: UnsafeCell<ngx_log_t>,
}

/// The connections of this worker.
static OPEN: PerWorker<RefCell<Vec<NonNull<Connection>>>> =
    PerWorker::new(RefCell::new(Vec::new()));

/// The number of the next connection.
static NEXT: PerWorker<Cell<u64>> = PerWorker::new(Cell::new(1));

/// Opens a connection, if this process serves requests. `None` if it cannot, because memory is short.
pub fn open(cycle: Cycle<'_>, to: To, times: Times, user: Box<dyn Exchange>) -> Option<Handle> {
    let (target, address) = match to {
        To::Address(address) => (None, Some(address)),
        To::Target(target) => (Some(target), None),
    };
    let mut addresses = Vec::new();
    let mut open = OPEN.borrow_mut();
    if !serves_requests() || addresses.try_reserve(1).is_err() || open.try_reserve(1).is_err() {
        return None;
    }
    addresses.extend(address);
    let handle = Handle(NEXT.replace(NEXT.get() + 1));
    let made = try_box(Connection {
        handle,
        place: Cell::new(open.len()),
        stage: Cell::new(Stage::Waiting),
        failed: Cell::new(None),
        deadline: times.deadline,
        lasts: times.lasts,
        target,
        addresses: RefCell::new(addresses),
        next: Cell::new(0),
        lookup: Lookup::none(),
        stream: RefCell::new(None),
        input: RefCell::new(Vec::new()),
        output: RefCell::new(Output::new()),
        user: RefCell::new(user),
        timer: Timer::new(),
        log: UnsafeCell::new(cycle.quiet_log()),
    });
    let connection = NonNull::from(Box::leak(made?));
    open.push(connection);
    drop(open);
    // SAFETY: the connection stays where it is until `remove` frees it, and its timer with it.
    let connection = unsafe {
        let it = connection.as_ref();
        it.timer.set(Some(on_timer), connection.as_ptr().cast(), it.log.get());
        it
    };
    match times.delay {
        0 => connection.begin(),
        delay => connection.timer.start(delay),
    }
    Some(handle)
}

/// Closes all connections of this process. To be called when the worker exits, and before a cycle is replaced.
pub fn close_all() {
    loop {
        let last = OPEN.borrow().last().copied();
        let Some(connection) = last else { break };
        // SAFETY: what is in the list is not freed yet.
        drop(unsafe { remove(connection) });
    }
}

/// Takes a connection out of the list, closes and frees it. Returns its user.
///
/// # Safety
/// It is in the list, and nothing refers to it.
unsafe fn remove(connection: NonNull<Connection>) -> Box<dyn Exchange> {
    // SAFETY: `open` has made the connection as a box; the caller has the only reference.
    let connection = unsafe { Box::from_raw(connection.as_ptr()) };
    let place = connection.place.get();
    let mut open = OPEN.borrow_mut();
    open.swap_remove(place);
    if let Some(moved) = open.get(place) {
        // SAFETY: what is in the list is not freed yet.
        unsafe { moved.as_ref() }.place.set(place);
    }
    // Its events have its address, and its log.
    connection.stream.take();
    connection.user.into_inner()
}

/// Ends a connection, and tells its user.
///
/// # Safety
/// As [`remove`].
unsafe fn end(connection: NonNull<Connection>, result: Result<(), Error>) {
    // SAFETY: the caller's promise.
    let user = unsafe { remove(connection) };
    Cycle::with_running(|cycle| user.ended(cycle, result));
}

unsafe extern "C" fn on_timer(event: *mut ngx_event_t) {
    // SAFETY: the owner of the timer is a connection, which lives as long as the timer. No reference to it is
    // left when it is ended.
    unsafe {
        let connection = Timer::owner(event).cast::<Connection>().cast_mut();
        let Some(connection) = NonNull::new(connection) else { return };
        if let Some(result) = connection.as_ref().on_timer() {
            end(connection, result);
        }
    }
}

unsafe extern "C" fn on_event(event: *mut ngx_event_t) {
    // SAFETY: nginx passes an event of a stream that `connect` has opened.
    unsafe { go_on((*event).data.cast()) };
}

unsafe extern "C" fn on_handshake(c: *mut ngx_connection_t) {
    // SAFETY: nginx passes the connection of a stream that `connect` has opened.
    unsafe { go_on(c) };
}

/// # Safety
/// `c` is the connection of a stream that `connect` has opened.
unsafe fn go_on(c: *mut ngx_connection_t) {
    // SAFETY: the data of the stream are our connection, which outlives it. No reference to it is left when it
    // is ended.
    unsafe {
        let Some(connection) = NonNull::new(Stream::data(c).cast::<Connection>()) else { return };
        match connection.as_ref().advance() {
            Ok(true) => end(connection, Ok(())),
            Ok(false) => {}
            Err(error) => end(connection, Err(error)),
        }
    }
}

unsafe extern "C" fn on_answer(question: *mut ngx_resolver_ctx_t) {
    // SAFETY: the data of the question are our connection, which takes it back before it ends.
    unsafe {
        if let Some(connection) = (*question).data.cast::<Connection>().as_ref() {
            connection.take_answer();
        }
    }
}

impl Connection {
    fn target(&self) -> Option<&Target> {
        // SAFETY: a target lives until its cycle ends, and this connection is closed before (`LiveTarget::new`).
        self.target.as_ref().map(|target| unsafe { target.0.as_ref() })
    }

    fn tls(&self) -> Option<&Tls> {
        self.target()?.tls.as_ref()
    }

    fn as_data(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    fn begin(&self) {
        self.timer.start(self.deadline);
        self.stage.set(Stage::Resolving);
        let result = match self.target().map(|target| (target, &target.place)) {
            None => self.connect(),
            Some((_, Place::Fixed(addresses))) => {
                let mut copy = self.addresses.borrow_mut();
                let room = copy.try_reserve_exact(addresses.len());
                copy.extend(addresses.iter().take_while(|_| room.is_ok()));
                drop(copy);
                self.connect()
            }
            // SAFETY: the resolver belongs to the target's cycle. The connection takes the question back when
            // it is dropped, and passes the answer to it.
            Some((target, Place::Name(resolver))) => unsafe {
                self.lookup.ask(*resolver, target.host, Some(on_answer), self.as_data())
            },
            Some((_, Place::Away)) => Err(Error::NoAddress),
        };
        if let Err(error) = result {
            self.fail_later(error);
        }
    }

    /// Ends the connection in the next round of the event loop.
    fn fail_later(&self, error: Error) {
        self.failed.set(Some(error));
        self.timer.post();
    }

    /// Takes the answer of the resolver, perhaps within `begin`.
    fn take_answer(&self) {
        let port = self.target().map_or(0, |target| target.port);
        let result = self.lookup.answer(port).and_then(|addresses| {
            self.addresses.replace(addresses);
            self.connect()
        });
        if let Err(error) = result {
            self.fail_later(error);
        }
    }

    /// Begins to connect to the next address for which that is possible.
    fn connect(&self) -> Result<(), Error> {
        let mut result = Err(Error::Local);
        self.stage.set(Stage::Connecting);
        while let Some(address) = self.addresses.borrow().get(self.next.get()) {
            self.next.set(self.next.get() + 1);
            // SAFETY: the connection and its log stay where they are until `remove` has dropped the stream.
            let stream =
                unsafe { Stream::connect(address, Some(on_event), self.as_data(), self.log.get()) };
            match stream {
                Ok(stream) => {
                    self.stream.replace(Some(stream));
                    return Ok(());
                }
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// The result, if the timer ends the connection.
    fn on_timer(&self) -> Option<Result<(), Error>> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        if !self.timer.is_over() {
            return None;
        }
        let action = match self.stage.get() {
            Stage::Waiting => {
                self.begin();
                return None;
            }
            Stage::Resolving => "resolving",
            Stage::Connecting => "connecting",
            Stage::Handshaking => "SSL handshaking",
            Stage::Exchanging => "reading answer",
            Stage::Sending => "sending",
        };
        Some(Err(Error::TimedOut(action)))
    }

    /// Goes on after an event. True if the connection has succeeded.
    fn advance(&self) -> Result<bool, Error> {
        match self.stage.get() {
            Stage::Connecting => self.finish_connect(),
            Stage::Handshaking => {
                let (stream, tls) = (self.stream.borrow(), self.tls());
                let (Some(stream), Some(tls)) = (stream.as_ref(), tls) else {
                    return Err(Error::Local);
                };
                tls.verify(stream)?;
                self.start_exchange(stream)
            }
            Stage::Exchanging | Stage::Sending => match self.stream.borrow().as_ref() {
                Some(stream) => self.exchange(stream),
                None => Err(Error::Local),
            },
            Stage::Waiting | Stage::Resolving => Ok(false),
        }
    }

    fn finish_connect(&self) -> Result<bool, Error> {
        let result =
            self.stream.borrow().as_ref().map_or(Err(Error::Local), Stream::finish_connect);
        if let Err(error) = result {
            self.stream.take();
            let is_last = self.addresses.borrow().len() == self.next.get();
            return if is_last { Err(error) } else { self.connect().map(|()| false) };
        }
        let stream = self.stream.borrow();
        let Some(stream) = stream.as_ref() else { return Err(Error::Local) };
        if let Some(tls) = self.tls() {
            self.stage.set(Stage::Handshaking);
            // nginx knows more about a failed handshake than the error says.
            self.log_from(Cycle::with_running(|cycle| cycle.log_level()));
            // SAFETY: `on_handshake` takes the connections of our streams.
            if !unsafe { tls.shake_hands(stream, Some(on_handshake)) }? {
                return Ok(false);
            }
        }
        self.start_exchange(stream)
    }

    fn start_exchange(&self, stream: &Stream) -> Result<bool, Error> {
        // The handshake has set its own.
        // SAFETY: `on_event` takes the events of our streams.
        unsafe { stream.set_handler(Some(on_event)) };
        self.log_from(NGX_LOG_ALERT as usize);
        self.stage.set(Stage::Exchanging);
        if self.lasts {
            self.timer.stop();
        }
        let next = self.user.borrow_mut().connected(&mut self.output.borrow_mut());
        self.apply(next)?;
        self.exchange(stream)
    }

    /// Sends bytes of the user's. True if they are sent or wait for that.
    fn send_from_outside(&self, bytes: &[u8]) -> Result<bool, Error> {
        let stream = self.stream.borrow();
        let Some(stream) = stream.as_ref().filter(|_| self.stage.get() == Stage::Exchanging) else {
            return Ok(false);
        };
        self.output.borrow_mut().push(bytes).map_err(|_| Error::TooMuch)?;
        if !self.send(stream)? {
            stream.wait()?;
        }
        Ok(true)
    }

    /// Sets which lines of nginx are logged.
    fn log_from(&self, level: usize) {
        // SAFETY: only this thread uses the log, and not now.
        unsafe { (*self.log.get()).log_level = level };
    }

    fn apply(&self, next: Next) -> Result<(), Error> {
        match next {
            Next::Wait => {}
            Next::Done => self.stage.set(Stage::Sending),
            Next::Fail(reason) => return Err(Error::Protocol(reason)),
        }
        Ok(())
    }

    /// Sends and receives what is possible now. True if the exchange has succeeded.
    fn exchange(&self, stream: &Stream) -> Result<bool, Error> {
        /// After so many reads the event loop goes on with others.
        const MAX_READS: usize = 16;

        for _ in 0..MAX_READS {
            let is_sent = self.send(stream)?;
            if self.stage.get() == Stage::Sending {
                if is_sent {
                    return Ok(true);
                }
                stream.wait()?;
                return Ok(false);
            }
            if !self.receive(stream)? {
                stream.wait()?;
                return Ok(false);
            }
        }
        stream.post();
        Ok(false)
    }

    /// Sends what is possible now. True if all is sent.
    fn send(&self, stream: &Stream) -> Result<bool, Error> {
        let mut output = self.output.borrow_mut();
        while !output.unsent().is_empty() {
            match stream.send(output.unsent())? {
                Moved::Bytes(count) => output.advance(count),
                Moved::End | Moved::Later => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Receives once. False if nothing has arrived.
    fn receive(&self, stream: &Stream) -> Result<bool, Error> {
        const CHUNK: usize = 8 * 1024;

        let (mut chunk, mut input) = ([0; CHUNK], self.input.borrow_mut());
        let room = CHUNK.min(MAX_BUFFERED - input.len());
        let (head, _) = chunk.split_at_mut(room);
        let received = match stream.receive(head)? {
            Moved::Bytes(count) => head.get(..count).unwrap_or_default(),
            Moved::End => {
                let next = self.user.borrow_mut().closed();
                return match next {
                    Next::Wait => Err(Error::Closed),
                    next => self.apply(next).map(|()| true),
                };
            }
            Moved::Later => return Ok(false),
        };
        input.try_reserve(received.len()).map_err(|_| Error::Local)?;
        input.extend_from_slice(received);
        let (consumed, next) =
            self.user.borrow_mut().received(&input, &mut self.output.borrow_mut());
        let consumed = consumed.min(input.len());
        input.drain(..consumed);
        self.apply(next)?;
        if input.len() == MAX_BUFFERED {
            return Err(Error::TooLong);
        }
        Ok(true)
    }
}
