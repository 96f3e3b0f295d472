//! A fake source of answers, and what the tests see of the requests that wait.
//!
//! `sticky_test_answer after=TIME|never|0 server=ADDRESS|nobody|failed [revive=ADDRESS|nobody|failed]
//! [timeout=TIME] [most=NUMBER];` in an upstream, after its `sticky_learn`. `0` answers at once.
//!
//! `sticky_test_waiting counts;` in a location answers by the counts of the worker, `sticky_test_waiting
//! release;` answers all questions of the worker at once.

use core::cell::{RefCell, UnsafeCell};
use core::ffi::{c_char, c_void};
use core::mem;
use core::ptr;
use std::rc::Rc;

use affinity::ask::Ticket;
use affinity::table::Span;
use nginx_sys::{
    ngx_add_timer, ngx_command_t, ngx_conf_t, ngx_connection_t, ngx_del_timer, ngx_event_t,
    ngx_http_request_t, ngx_int_t, ngx_msec_t, NGX_LOG_NOTICE,
};

use super::page;
use crate::conf::source::{Answer, Question, Source};
use crate::conf::{Asked, MainConf, UpstreamConf};
use crate::nginx;
use crate::nginx::conf::{conf_result, fail, Conf, Logged, Word};
use crate::nginx::cycle::Cycle;
use crate::nginx::per_worker::PerWorker;
use crate::wait;

/// What is answered.
#[derive(Clone, Copy)]
enum Says {
    Server(Word),
    Nobody,
    Failed,
}

/// When it is answered (milliseconds).
#[derive(Clone, Copy)]
enum After {
    AtOnce,
    Time(u64),
    /// At `sticky_test_waiting release`.
    Never,
}

#[derive(Clone, Copy)]
struct FakeSource {
    after: After,
    says: Says,
    revival: Option<Says>,
    timeout: Span,
}

/// A question without its answer.
#[repr(C)]
struct Pending {
    timer: UnsafeCell<ngx_event_t>,
    /// nginx's debug log reads the `fd` of a timer's connection.
    connection: UnsafeCell<ngx_connection_t>,
    ticket: Ticket,
    says: Says,
}

static PENDING: PerWorker<RefCell<Vec<Rc<Pending>>>> = PerWorker::new(RefCell::new(Vec::new()));

impl Says {
    fn answer(&self) -> Answer<'_> {
        match self {
            Says::Server(address) => Answer::Server(address.as_bytes()),
            Says::Nobody => Answer::Nobody,
            Says::Failed => Answer::Failed,
        }
    }
}

impl FakeSource {
    fn say<'a>(&self, says: &'a Says, ticket: Ticket) -> Answer<'a> {
        if matches!(self.after, After::AtOnce) {
            return says.answer();
        }
        // SAFETY: an event and a connection are valid when zeroed.
        let (timer, mut connection) = unsafe { (mem::zeroed(), mem::zeroed::<ngx_connection_t>()) };
        connection.fd = -1;
        let (timer, connection) = (UnsafeCell::new(timer), UnsafeCell::new(connection));
        let pending = Rc::new(Pending { timer, connection, ticket, says: *says });
        if let After::Time(millis) = self.after {
            // SAFETY: the value keeps its place in the list until nginx or `release` has removed the timer.
            unsafe {
                let event = pending.timer.get();
                (*event).handler = Some(on_timer);
                (*event).data = pending.connection.get().cast();
                (*event).log = Cycle::running_log();
                // A source does not keep an exiting worker.
                (*event).set_cancelable(1);
                ngx_add_timer(event, millis as ngx_msec_t);
            }
        }
        PENDING.borrow_mut().push(pending);
        Answer::Wait
    }
}

impl Source for FakeSource {
    fn ask(&self, question: &Question) -> Answer<'_> {
        let sessions = question.zone.sessions();
        let limits = question.zone.limits();
        let session = sessions.and_then(|it| it.lookup(question.key, nginx::now(), &limits));
        assert!(session.is_none(), "the table knows the id that is asked for");
        self.say(&self.says, question.ticket)
    }

    fn revives(&self) -> bool {
        self.revival.is_some()
    }

    fn revive(&self, question: &Question) -> Answer<'_> {
        match &self.revival {
            Some(says) => self.say(says, question.ticket),
            None => Answer::Nobody,
        }
    }

    fn timeout(&self) -> Span {
        self.timeout
    }
}

unsafe extern "C" fn on_timer(event: *mut ngx_event_t) {
    let is_due = |pending: &Rc<Pending>| ptr::eq(pending.timer.get(), event);
    let place = PENDING.borrow().iter().position(is_due);
    if let Some(place) = place {
        let pending = PENDING.borrow_mut().swap_remove(place);
        wait::answer(pending.ticket, pending.says.answer());
    }
}

/// Answers all questions of the worker.
fn release() -> usize {
    let all = mem::take(&mut *PENDING.borrow_mut());
    for pending in &all {
        // SAFETY: `timer_set` says that the timer is in nginx's tree.
        unsafe {
            if (*pending.timer.get()).timer_set() != 0 {
                ngx_del_timer(pending.timer.get());
            }
        }
        wait::answer(pending.ticket, pending.says.answer());
    }
    all.len()
}

/// `sticky_test_answer`.
pub unsafe extern "C" fn answer(
    cf: *mut ngx_conf_t,
    _command: *mut ngx_command_t,
    _conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it reads; no other reference to it lives during this call.
    conf_result(read(&mut unsafe { Conf::new(cf) }))
}

fn read(cf: &mut Conf<'_>) -> Result<(), Logged> {
    let mut source = FakeSource {
        after: After::AtOnce,
        says: Says::Nobody,
        revival: None,
        timeout: Span::from_millis(5_000),
    };
    let mut most = None;
    for word in cf.args().to_vec().into_iter().skip(1) {
        let (name, text) = word.split().unwrap_or((word_text(&word), Word::default()));
        match (name, word_text(&text)) {
            ("after", "0") => source.after = After::AtOnce,
            ("after", "never") => source.after = After::Never,
            ("after", time) => source.after = After::Time(millis(cf, time)?),
            ("timeout", time) => source.timeout = Span::from_millis(millis(cf, time)?),
            ("most", number) => match number.parse() {
                Ok(number) => most = Some(number),
                Err(_) => fail!(cf, "invalid number in \"{word}\""),
            },
            ("revive", _) => source.revival = Some(says(text)),
            ("server", _) => source.says = says(text),
            ("nobody" | "failed", "") => source.says = says(word),
            _ => fail!(cf, "invalid parameter \"{word}\""),
        }
    }
    wait::set_most(most);
    // SAFETY: the upstream is being read, and no other reference to our configuration of it is in use.
    let conf = cf.block().and_then(|block| unsafe { UpstreamConf::of_mut(block) });
    let Some(UpstreamConf { asked: Asked::Sessions(_, affinity), .. }) = conf else {
        fail!(cf, "\"sticky_test_answer\" must be placed after \"sticky_learn\"");
    };
    affinity.source = Some(Box::new(source));
    if let Some(main) = MainConf::of(cf) {
        main.asks = true;
    }
    Ok(())
}

fn word_text(word: &Word) -> &str {
    core::str::from_utf8(word.as_bytes()).unwrap_or_default()
}

fn says(word: Word) -> Says {
    match word.as_bytes() {
        b"nobody" => Says::Nobody,
        b"failed" => Says::Failed,
        _ => Says::Server(word),
    }
}

fn millis(cf: &mut Conf<'_>, text: &str) -> Result<u64, Logged> {
    match text.strip_suffix("ms").and_then(|digits| digits.parse().ok()) {
        Some(millis) => Ok(millis),
        None => fail!(cf, "invalid time \"{text}\", only milliseconds are known"),
    }
}

/// `sticky_test_waiting`.
pub unsafe extern "C" fn waiting(
    cf: *mut ngx_conf_t,
    _command: *mut ngx_command_t,
    _conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it reads.
    unsafe { page::install(cf, on_counts, on_release) }
}

unsafe extern "C" fn on_counts(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request.
    unsafe { page::send_text(r, format!("{}\n", wait::totals())) }
}

unsafe extern "C" fn on_release(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request.
    unsafe { page::send_text(r, format!("{}\n", release())) }
}

/// Logs the counts of a worker that ends.
pub fn exit_worker(cycle: Cycle<'_>) {
    let totals = wait::totals();
    ngx::ngx_log_error!(NGX_LOG_NOTICE, cycle.log(), "questions of a test: {totals}");
}
