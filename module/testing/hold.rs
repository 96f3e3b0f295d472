//! A fake judge of answers.
//!
//! `sticky_test_hold after=MILLISECONDS|never|0 [again] [timeout=MILLISECONDS];` in an upstream, behind its directive
//! with sessions: answers of 400, 404, 410 and 422 are held for so long, and then passed on, or the request begins
//! again. `0` decides at once.
//!
//! `sticky_test_holding counts;` in a location answers by the counts of the worker, `sticky_test_holding release;`
//! settles all answers that it holds.

use core::cell::RefCell;
use core::ffi::{c_char, c_void};
use core::mem;

use affinity::ask::Ticket;
use affinity::table::Span;
use nginx_sys::{ngx_command_t, ngx_conf_t, ngx_http_request_t, ngx_int_t, NGX_LOG_NOTICE};

use super::page;
use crate::conf::judge::{Case, Judge, Verdict};
use crate::conf::{Asked, MainConf, UpstreamConf};
use crate::hold;
use crate::nginx::conf::{conf_result, fail, Conf, Logged, Word};
use crate::nginx::cycle::Cycle;
use crate::nginx::per_worker::PerWorker;
use crate::nginx::request::Request;
use crate::wait::later;

struct FakeJudge {
    /// Milliseconds; `None` waits for `sticky_test_holding release`.
    after: Option<u64>,
    verdict: Verdict,
    timeout: Span,
}

/// The answers that wait for `release`.
static PENDING: PerWorker<RefCell<Vec<(Ticket, Verdict)>>> =
    PerWorker::new(RefCell::new(Vec::new()));

impl Judge for FakeJudge {
    fn holds(&self, _: Request<'static>, status: u16) -> bool {
        matches!(status, 400 | 404 | 410 | 422)
    }

    fn judge(&self, answer: &Case<'_>) -> Verdict {
        let (ticket, verdict) = (answer.ticket, self.verdict);
        let (status, length) =
            (answer.request.response_status(), answer.body.map_or(0, <[u8]>::len));
        let log = Cycle::running_log();
        ngx::ngx_log_error!(NGX_LOG_NOTICE, log, "held answer of a test: {status}, {length} bytes");
        match self.after {
            Some(0) => return verdict,
            Some(millis) => later::run(millis, move || hold::settle(ticket, verdict)),
            None => PENDING.borrow_mut().push((ticket, verdict)),
        }
        Verdict::Wait
    }

    fn timeout(&self, _has_answer: bool) -> Span {
        self.timeout
    }
}

/// `sticky_test_hold`.
pub unsafe extern "C" fn hold(
    cf: *mut ngx_conf_t,
    _command: *mut ngx_command_t,
    _conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it reads; no other reference to it lives during this call.
    conf_result(read(&mut unsafe { Conf::new(cf) }))
}

fn read(cf: &mut Conf<'_>) -> Result<(), Logged> {
    let timeout = Span::from_millis(600_000);
    let mut judge = FakeJudge { after: Some(0), verdict: Verdict::PassOn, timeout };
    for word in cf.args().to_vec().into_iter().skip(1) {
        match word.split() {
            None if word.as_bytes() == b"again" => judge.verdict = Verdict::Again,
            Some(("after", text)) if text.as_bytes() == b"never" => judge.after = None,
            Some(("after", text)) => judge.after = Some(number(cf, text)?),
            Some(("timeout", text)) => judge.timeout = Span::from_millis(number(cf, text)?),
            _ => fail!(cf, "invalid parameter \"{word}\""),
        }
    }
    // SAFETY: the upstream is being read, and no other reference to our configuration of it is in use.
    let conf = cf.block().and_then(|block| unsafe { UpstreamConf::of_mut(block) });
    let Some(UpstreamConf { asked: Asked::Sessions(_, affinity), .. }) = conf else {
        fail!(cf, "\"sticky_test_hold\" must be behind \"sticky_learn\"");
    };
    affinity.judge = Some(Box::new(judge));
    if let Some(main) = MainConf::of(cf) {
        main.filters.hold = true;
    }
    Ok(())
}

fn number(cf: &mut Conf<'_>, text: Word) -> Result<u64, Logged> {
    match text.to_string().parse() {
        Ok(number) => Ok(number),
        Err(_) => fail!(cf, "invalid number \"{text}\""),
    }
}

/// Settles all answers of the worker.
fn release() -> usize {
    let all = mem::take(&mut *PENDING.borrow_mut());
    for (ticket, verdict) in &all {
        hold::settle(*ticket, *verdict);
    }
    all.len()
}

/// `sticky_test_holding`.
pub unsafe extern "C" fn holding(
    cf: *mut ngx_conf_t,
    _command: *mut ngx_command_t,
    _conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it reads.
    unsafe { page::install(cf, on_counts, on_release) }
}

unsafe extern "C" fn on_counts(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request.
    unsafe { page::send_text(r, format!("{}\n", hold::totals())) }
}

unsafe extern "C" fn on_release(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request.
    unsafe { page::send_text(r, format!("{}\n", release())) }
}
