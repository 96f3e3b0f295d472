//! The calls of one revival. They go on if the client of the request leaves: others may wait for the session.

use core::cell::{Cell, RefCell};
use std::rc::Rc;

use affinity::ask::Ticket;
use affinity::http::HttpHead;
use affinity::policy::Rejection;
use affinity::revive::{
    decide, initialize, ping, Evidence, Heard, Negotiated, Next, RecordKey, Reply, RequestKind,
    Revival, Send, Standing, Step, Ticket as Claimed, INITIALIZED, PER_SECOND, PING_TIMEOUT,
};
use affinity::rpc::{Call, RpcAnswer};
use affinity::status::{Loss, Refused};
use affinity::table::{End, Existing, Key};
use nginx_sys::{ngx_random, NGX_LOG_INFO};

use super::choose::{self, Server};
use super::head::{self, Head};
use super::keep::nonce;
use super::pings;
use super::session::{with_record, OwnSession, Place};
use crate::conf::judge::{Case, Verdict};
use crate::hold;
use crate::net::address::Address;
use crate::net::to::To;
use crate::nginx;
use crate::nginx::cycle::Cycle;
use crate::nginx::per_worker::PerWorker;
use crate::nginx::pool::string;
use crate::rpc::{self, CallError, Expected};
use crate::wait::later;

/// How long the answer to each message of a revival may take (milliseconds): less than a claim holds.
const DEADLINE: u64 = 4_000;

/// How long a course waits for its turn, and between two looks (milliseconds): less than its claim and its request last.
const LONGEST_TURN: u64 = 8_000;
const LONGEST_PAUSE: u64 = 3_000;

pub(super) struct Course {
    place: Place,
    /// Stands for the location of the request.
    location: Key,
    /// The request that has begun it.
    case: Ticket,
    claimed: Claimed,
    key: Key,
    record_key: RecordKey,
    sealed: Vec<u8>,
    /// The id that the old server knows.
    old_id: Vec<u8>,
    kind: RequestKind,
    /// The answer that has led here; none if the server is gone.
    first: Option<Reply>,
    /// The answer to the ping that has shown the session to be lost.
    lost_by: Option<Reply>,
    head: Rc<Head>,
    revival: Revival,
    tried: Vec<Vec<u8>>,
    server: Option<Server>,
    new_id: Vec<u8>,
    /// The last answer of the new server.
    heard: Option<Reply>,
    /// When the course began, in nginx's milliseconds.
    begun: u64,
    /// Why the last server that was tried was none for this session; none if the claim is lost.
    why: Option<Refused>,
}

impl Course {
    pub(super) fn new(
        case: &Case<'_>,
        session: OwnSession,
        claimed: Claimed,
        first: Option<Reply>,
    ) -> Option<Box<Course>> {
        let OwnSession { place, id, key, kept, kind, location, .. } = session;
        let record_key = place.record_key(id, key)?;
        let (head, old_id) = with_record(&record_key, &kept.sealed, |record| {
            let id = record.server_id.unwrap_or(id);
            let (request, credentials) = (case.request, &place.revive.credentials);
            Some((Head::of(request, credentials, record)?, nginx::try_copy(id)?))
        })??;
        nginx::try_box(Course {
            place,
            location,
            case: case.ticket,
            claimed,
            key,
            record_key,
            sealed: kept.sealed,
            old_id,
            kind,
            first,
            lost_by: None,
            head: Rc::new(head),
            revival: Revival::new(),
            tried: Vec::new(),
            server: None,
            new_id: Vec::new(),
            heard: None,
            begun: nginx::millis(),
            why: Some(Refused::NoServer),
        })
    }

    /// The session is lost: it has to be opened again.
    fn note_loss(&self) {
        self.count(Loss::Lost);
        self.log("session is lost", &[]);
    }

    fn count(&self, loss: Loss) {
        if let Some(sessions) = self.place.affinity.zone.sessions() {
            sessions.count_loss(loss);
        }
    }

    /// Ends the course without a new session.
    fn give_up(self) {
        self.end_in_vain(false);
    }

    /// The same; whether the new session has refused a ping as the old one did.
    fn end_in_vain(self, is_distrusted: bool) {
        if let Some(why) = self.why {
            self.count(Loss::NotRevived(why));
            let text = match why {
                Refused::NoServer => "session could not be revived, no server has answered",
                Refused::Misfit => {
                    "session could not be revived, the version or a capability is missing"
                }
                Refused::Error => "session could not be revived, an error was the answer",
            };
            self.log(text, self.server.as_ref().map_or(&[], |server| &server.name));
        }
        let (store, now) = (self.place.store, nginx::now());
        match self.first.filter(|_| is_distrusted) {
            Some(first) => store.distrusted(self.key, self.claimed, first, now),
            None => store.failed(self.key, self.claimed, now),
        };
        let verdict = match self.first {
            Some(_) => Verdict::PassOn,
            // A server may answer later.
            None if self.why == Some(Refused::NoServer) => Verdict::Reject(Rejection::Unavailable),
            None => Verdict::Reject(Rejection::Gone),
        };
        hold::settle(self.case, verdict);
    }

    /// The new session refuses a ping as the old one did: such answers say nothing about a session.
    fn note_distrust(&self) {
        let name = self.server.as_ref().map_or(&[][..], |server| &server.name);
        self.log("a new session refuses a ping as the old one, such answers are passed on", name);
        let owner = with_record(&self.record_key, &self.sealed, |record| record.owner);
        let store = self.place.store;
        if owner.is_some_and(|owner| store.distrust(self.location, owner, nginx::now())) {
            self.log("new sessions of three clients refuse a ping, answers of this location are passed on", name);
        }
    }

    /// Whether the request that has begun the course will not wait much longer.
    fn has_waited_long(&self) -> bool {
        nginx::millis() >= self.begun + LONGEST_TURN
    }

    /// Ends the course before anything was sent: too many sessions are revived now.
    fn postpone(self) {
        self.place.store.give_back(self.key, self.claimed, nginx::now());
        let verdict = match self.first {
            Some(_) => Verdict::Status(503),
            None => Verdict::Reject(Rejection::Unavailable),
        };
        hold::settle(self.case, verdict);
    }

    fn log(&self, text: &str, server: &[u8]) {
        let (zone, hash) = (self.place.affinity.zone.log_name(), self.key.fingerprint());
        let log = Cycle::running_log();
        if server.is_empty() {
            ngx::ngx_log_error!(NGX_LOG_INFO, log, "zone \"{zone}\": {text} (hash {hash:016x})");
            return;
        }
        let server = string(server);
        ngx::ngx_log_error!(
            NGX_LOG_INFO,
            log,
            "zone \"{zone}\": {text} at server \"{server}\" (hash {hash:016x})"
        );
    }
}

/// How many courses of this worker wait for their turn.
static WAITING: PerWorker<Cell<usize>> = PerWorker::new(Cell::new(0));

type Then = fn(Box<Course>, Result<Call, CallError>);

/// A message of nginx's own.
struct Message<'a> {
    to: Address,
    method: &'a str,
    body: Option<&'a [u8]>,
    /// Without a session it opens one.
    session: Option<&'a [u8]>,
    expected: Expected,
    deadline: u64,
}

/// Sends a message; `then` gets the course back, perhaps at once.
fn send(course: Box<Course>, message: &Message<'_>, then: Then) {
    let head = Rc::clone(&course.head);
    let shared = Rc::new(RefCell::new(Some(course)));
    let back = Rc::clone(&shared);
    let answered = move |_: Cycle<'_>, result| {
        let course = back.take();
        if let Some(course) = course {
            then(course, result);
        }
    };
    let (to, expected) = (To::Address(message.to), message.expected);
    let begun = head.with_request(message.method, message.body, message.session, |request| {
        Cycle::with_running(|cycle| {
            rpc::call(cycle, to, request, expected, message.deadline, answered)
        })
    });
    if let Err(error) = begun {
        let course = shared.take();
        if let Some(course) = course {
            then(course, Err(error));
        }
    }
}

/// Asks the session's server whether it knows the session. Returns the verdict for now.
pub(super) fn ping_old(mut course: Box<Course>) -> Verdict {
    let place = course.place;
    let sessions = place.affinity.zone.sessions();
    let found = sessions.and_then(|it| it.lookup(course.key, nginx::now(), &place.affinity.limits));
    let server = found.and_then(|found| choose::state(&place, found.server)?.1);
    let Some(Server { address, name }) = server else {
        place.store.give_back(course.key, course.claimed, nginx::now());
        return Verdict::PassOn;
    };
    course.count(Loss::Pinged);
    course.log("session may be lost, a ping is asked", &name);
    let (id, body) = ping(random());
    // Nothing else needs it.
    let session = core::mem::take(&mut course.old_id);
    let message = Message {
        to: address,
        method: "POST",
        body: Some(body.as_bytes()),
        session: Some(&session),
        expected: Expected::Id(id),
        deadline: PING_TIMEOUT,
    };
    pings::begin();
    send(course, &message, after_ping);
    Verdict::Wait
}

fn after_ping(mut course: Box<Course>, result: Result<Call, CallError>) {
    pings::end();
    let Some(first) = course.first else { return course.give_up() };
    let reply = result.ok().and_then(|call| Some(Reply::new(call.head()?.status(), call.answer())));
    let evidence = Evidence::Pinged { first, ping: reply };
    let (store, now) = (course.place.store, nginx::now());
    match decide(evidence, course.kind, Standing::Owner) {
        Step::Revive => {
            course.lost_by = reply;
            open(course);
        }
        Step::End => {
            course.note_loss();
            if let Some(sessions) = course.place.affinity.zone.sessions() {
                sessions.forget(course.key, End::Deleted);
            }
            store.remove(course.key);
            hold::settle(course.case, Verdict::Status(204));
        }
        Step::Drop => {
            // The question died with the session. The next call revives it.
            store.give_back(course.key, course.claimed, now);
            hold::settle(course.case, Verdict::Status(202));
        }
        _ => {
            let text = if reply.is_some() {
                store.alive(course.key, course.claimed, first, now);
                "session is not lost"
            } else {
                store.silent(course.key, course.claimed, now);
                "session may be lost, but the ping had no answer"
            };
            course.log(text, &[]);
            hold::settle(course.case, Verdict::PassOn);
        }
    }
}

/// Opens the session at a server, when the pace of all revivals allows it.
pub(super) fn open(mut course: Box<Course>) {
    match course.place.store.may_begin(nginx::millis()) {
        Ok(()) if renews(&mut course) => {
            course.note_loss();
            open_at_next(course);
        }
        Ok(()) => course.give_up(),
        Err(_) if !renews(&mut course) => course.give_up(),
        Err(_) if course.has_waited_long() => course.postpone(),
        Err(millis) => {
            // All that wait here get their turn by chance: one that asks at each turn would keep the worker busy.
            WAITING.set(WAITING.get() + 1);
            let turns = millis.max(WAITING.get() as u64 * 1000 / PER_SECOND).min(LONGEST_PAUSE);
            later::run(millis + u64::from(random()) % turns, move || {
                WAITING.set(WAITING.get().saturating_sub(1));
                open(course);
            });
        }
    }
}

fn open_at_next(mut course: Box<Course>) {
    let server = choose::server(&course.place, &course.tried);
    let Some(server) = server.filter(|_| renews(&mut course)) else { return course.give_up() };
    let record = with_record(&course.record_key, &course.sealed, |record| {
        initialize(record.initialize, record.version)
    });
    let Some(body) = record.flatten() else { return course.give_up() };
    let tried = nginx::try_copy(&server.name).filter(|_| course.tried.try_reserve(1).is_ok());
    let Some(tried) = tried else { return course.give_up() };
    course.tried.push(tried);
    let to = server.address;
    course.server = Some(server);
    let message = Message {
        to,
        method: "POST",
        body: Some(&body),
        session: None,
        expected: Expected::AnyId,
        deadline: DEADLINE,
    };
    send(course, &message, after_initialize);
}

/// Whether the claim is still that of the course.
fn renews(course: &mut Course) -> bool {
    let renews = course.place.store.renew(course.key, course.claimed, nginx::now());
    if !renews {
        course.why = None;
    }
    renews
}

fn after_initialize(mut course: Box<Course>, result: Result<Call, CallError>) {
    let heard = match result {
        Err(_) => Heard::Nothing,
        Ok(call) => {
            let id = call.head().filter(|head| head.is_success()).and_then(head::session_id);
            let negotiated = match call.answer() {
                Some(RpcAnswer::Result(text)) => Negotiated::read(text),
                _ => None,
            };
            match (id, negotiated) {
                (Some(id), Some(negotiated)) => {
                    course.new_id = id;
                    let fits = with_record(&course.record_key, &course.sealed, |record| {
                        negotiated.fits(record)
                    });
                    match fits {
                        Some(fits) => Heard::Opened(fits),
                        None => Heard::Refused,
                    }
                }
                _ => Heard::Refused,
            }
        }
    };
    go_on(course, heard);
}

fn after_message(mut course: Box<Course>, result: Result<Call, CallError>) {
    let heard = match result {
        Ok(call) => {
            course.heard = call.head().map(|head| Reply::new(head.status(), call.answer()));
            match call.head().is_some_and(HttpHead::is_success) {
                true => Heard::Accepted,
                false => Heard::Refused,
            }
        }
        Err(_) => Heard::Nothing,
    };
    go_on(course, heard);
}

fn go_on(mut course: Box<Course>, heard: Heard) {
    course.why = Some(match heard {
        Heard::Opened(Err(_)) => Refused::Misfit,
        Heard::Refused => Refused::Error,
        Heard::Opened(Ok(())) | Heard::Accepted | Heard::Nothing => Refused::NoServer,
    });
    match course.revival.on(heard) {
        Next::Send(message) => send_message(course, message),
        Next::OtherServer { deletes } => {
            if deletes {
                delete(&course);
            }
            course.new_id.clear();
            open_at_next(course);
        }
        Next::Done => finish(course),
        Next::GiveUp { deletes, disables } => {
            if deletes {
                delete(&course);
            }
            // Another answer is one of a server in trouble, and says nothing about the first.
            let is_distrusted = disables && course.first.is_some() && course.first == course.heard;
            if is_distrusted {
                course.note_distrust();
            }
            course.end_in_vain(is_distrusted);
        }
    }
}

fn send_message(mut course: Box<Course>, message: Send) {
    let to = course.server.as_ref().map(|server| server.address);
    let Some(to) = to.filter(|_| renews(&mut course)) else {
        delete(&course);
        return course.give_up();
    };
    let (id, ping) = ping(random());
    let (expected, body) = match message {
        Send::Ping => (Expected::Id(id), ping.as_bytes()),
        Send::Initialize | Send::Initialized => (Expected::Head, INITIALIZED),
    };
    let Some(session) = nginx::try_copy(&course.new_id) else {
        delete(&course);
        return course.give_up();
    };
    let message = Message {
        to,
        method: "POST",
        body: Some(body),
        session: Some(&session),
        expected,
        deadline: DEADLINE,
    };
    send(course, &message, after_message);
}

/// The new session answers: the client's requests go there from now on.
fn finish(mut course: Box<Course>) {
    let (place, now) = (course.place, nginx::now());
    let (claimed, lost_by) = (course.claimed, course.lost_by);
    let Some(server) = &course.server else { return course.give_up() };
    let sealed = nonce().and_then(|nonce| {
        with_record(&course.record_key, &course.sealed, |record| {
            course.record_key.seal(&record.revived(&course.new_id), nonce).ok()
        })?
    });
    let number = place.affinity.zone.sessions().and_then(|sessions| {
        let home = sessions.table.intern(&server.name, now)?;
        let used = sessions.last_uses(place.affinity.zone.limits());
        let number = place.store.revived(course.key, claimed, &sealed?, lost_by, now, used)?;
        sessions.bind(course.key, home, None, now, &place.affinity.limits, Existing::Move);
        Some(number)
    });
    if number.is_none() {
        delete(&course);
        // Another request has it, or there is no memory.
        course.why = None;
        return course.give_up();
    }
    course.count(Loss::Revived);
    course.log("session revived", &server.name);
    hold::settle(course.case, Verdict::Again);
}

/// Ends the session that was opened in vain.
fn delete(course: &Course) {
    let Some(server) = &course.server else { return };
    if course.new_id.is_empty() {
        return;
    }
    let session = Some(course.new_id.as_slice());
    // Nobody waits for the answer.
    let _ = course.head.with_request("DELETE", None, session, |request| {
        Cycle::with_running(|cycle| {
            let to = To::Address(server.address);
            rpc::call(cycle, to, request, Expected::Head, DEADLINE, |_, _| {})
        })
    });
}

fn random() -> u32 {
    ngx_random() as u32
}
