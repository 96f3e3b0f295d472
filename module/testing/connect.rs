//! `sticky_test_connect`: each worker connects to a server when it starts, sends a line and waits for one.

use core::fmt;
use core::ptr::NonNull;

use affinity::net::{Backoff, Next, Output, Protocol};
use nginx_sys::{ngx_random, NGX_LOG_NOTICE};
use ngx::ngx_log_error;

use crate::net::connection::{open, Exchange};
use crate::net::error::Error;
use crate::net::target::Target;
use crate::net::to::{LiveTarget, Times, To};
use crate::net::trust::Trust;
use crate::nginx::conf::{fail, Conf, Logged, Word};
use crate::nginx::cycle::Cycle;
use crate::nginx::try_box;

/// The parameters of one directive.
pub(super) struct Test {
    pub(super) target: Target,
    /// Without these two, the connection is closed when it is established.
    send: Word,
    expect: Word,
    /// Milliseconds.
    timeout: u64,
    /// How many connections are made, one after the other.
    times: usize,
    /// Whether a connection that fails is tried again, with back-off.
    retry: bool,
}

impl Test {
    /// Reads `sticky_test_connect ADDRESS [send=LINE] [expect=LINE] [timeout=MILLISECONDS] [times=NUMBER] [retry]
    /// [ssl] [ssl_verify=off] [ssl_name=NAME] [ssl_trusted_certificate=FILE];`
    pub(super) fn read(cf: &mut Conf<'_>) -> Result<Test, Logged> {
        let words = cf.args().to_vec();
        let Some(&address) = words.get(1) else { fail!(cf, "no address") };
        let target = Target::parse(cf, address, 0)?;
        let (send, expect) = (Word::default(), Word::default());
        let mut test = Test { target, send, expect, timeout: 10_000, times: 1, retry: false };
        let mut trust = Trust::default();
        let mut uses_tls = false;
        for word in words.into_iter().skip(2) {
            match word.split() {
                None if word.as_bytes() == b"retry" => test.retry = true,
                None if word.as_bytes() == b"ssl" => uses_tls = true,
                Some(("send", text)) => test.send = text,
                Some(("expect", text)) => test.expect = text,
                Some(("timeout", text)) => test.timeout = number(cf, text)?,
                Some(("times", text)) => test.times = number(cf, text)? as usize,
                Some(("ssl_verify", text)) => trust.verify = text.as_bytes() != b"off",
                Some(("ssl_name", text)) => trust.name = Some(text),
                Some(("ssl_trusted_certificate", text)) => trust.trusted_certificate = Some(text),
                _ => fail!(cf, "invalid parameter \"{word}\""),
            }
        }
        if uses_tls {
            test.target.use_tls(cf, &trust)?;
        }
        Ok(test)
    }

    /// Begins a test of the configuration of this cycle.
    pub(super) fn start(&self, cycle: Cycle<'_>) {
        let (test, backoff) = (NonNull::from(self), Backoff::default());
        go_on(cycle, Run { test, answered: 0, failed: 0, backoff, said: None }, 0);
    }
}

fn number(cf: &mut Conf<'_>, text: Word) -> Result<u64, Logged> {
    match text.to_string().parse() {
        Ok(number) => Ok(number),
        Err(_) => fail!(cf, "invalid number \"{text}\""),
    }
}

/// The connections of one test.
struct Run {
    /// A part of the configuration, as its target.
    test: NonNull<Test>,
    answered: usize,
    failed: usize,
    backoff: Backoff,
    /// The lines to send and to expect, while a connection is open.
    said: Option<(Vec<u8>, Vec<u8>)>,
}

/// Opens the next connection of a test.
fn go_on(cycle: Cycle<'_>, mut run: Run, delay: u64) {
    // SAFETY: the configuration of the cycle that this worker runs has the test and its target.
    let (test, target) = unsafe {
        let test = run.test.as_ref();
        (test, LiveTarget::new(&test.target))
    };
    let line = |word: Word| [word.as_bytes(), b"\n"].concat();
    let is_silent = test.send.is_empty() && test.expect.is_empty();
    run.said = (!is_silent).then(|| (line(test.send), line(test.expect)));
    if let Some(run) = try_box(run) {
        open(cycle, To::Target(target), Times { delay, deadline: test.timeout, lasts: false }, run);
    }
}

fn say(cycle: Cycle<'_>, test: &Test, result: impl fmt::Display) {
    ngx_log_error!(NGX_LOG_NOTICE, cycle.log(), "test of \"{}\": {result}", test.target.text);
}

impl Protocol for Run {
    fn connected(&mut self, output: &mut Output) -> Next {
        match &self.said {
            None => Next::Done,
            Some((send, _)) => match output.push(send) {
                Ok(()) => Next::Wait,
                Err(_) => Next::Fail("no room for the line"),
            },
        }
    }

    fn received(&mut self, input: &[u8], _: &mut Output) -> (usize, Next) {
        let Some(end) = input.iter().position(|&byte| byte == b'\n') else {
            return (0, Next::Wait);
        };
        let (line, _) = input.split_at(end + 1);
        match &self.said {
            Some((_, expect)) if line == expect => (line.len(), Next::Done),
            _ => (line.len(), Next::Fail("unexpected line")),
        }
    }

    fn closed(&mut self) -> Next {
        Next::Wait
    }
}

impl Exchange for Run {
    fn ended(self: Box<Self>, cycle: Cycle<'_>, result: Result<(), Error>) {
        let mut run = *self;
        // SAFETY: the configuration of the cycle that this worker runs has the test.
        let test = unsafe { run.test.as_ref() };
        let delay = match &result {
            Ok(()) => {
                run.answered += 1;
                run.backoff.succeeded();
                0
            }
            Err(_) => {
                run.failed += 1;
                run.backoff.failed(ngx_random() as u32)
            }
        };
        if result.is_err() && test.retry {
            return go_on(cycle, run, delay);
        }
        if run.answered + run.failed < test.times {
            return go_on(cycle, run, 0);
        }
        match (result, test.times) {
            (Ok(()), 1) => say(cycle, test, "answered"),
            (Err(error), 1) => say(cycle, test, error),
            _ => say(cycle, test, format_args!("{} answered, {} failed", run.answered, run.failed)),
        }
    }
}
