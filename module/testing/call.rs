//! `sticky_test_call`: each worker opens a session of MCP at a server when it starts, uses and ends it.

use core::fmt;
use core::ptr::NonNull;

use affinity::http::HttpRequest;
use affinity::rpc::{Call, RpcAnswer};
use nginx_sys::NGX_LOG_NOTICE;
use ngx::ngx_log_error;

use crate::net::target::Target;
use crate::net::to::{LiveTarget, To};
use crate::nginx::conf::{fail, Conf, Logged, Word};
use crate::nginx::cycle::Cycle;
use crate::rpc::{self, CallError, Expected};

/// The parameters of one directive.
pub(super) struct CallTest {
    pub(super) target: Target,
    uri: Option<Word>,
    /// Only a `ping` in this session.
    session: Option<Word>,
    /// Milliseconds.
    timeout: u64,
}

/// What is asked, in this order. The last `ping` is in a session that has ended.
const STEPS: [Step; 5] = [
    Step {
        name: "initialize",
        method: "POST",
        id: Some(1),
        body: Some(
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"nginx","version":"1"}}}"#,
        ),
    },
    Step {
        name: "initialized",
        method: "POST",
        id: None,
        body: Some(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#),
    },
    PING,
    Step { name: "delete", method: "DELETE", id: None, body: None },
    PING,
];

const PING: Step = Step {
    name: "ping",
    method: "POST",
    id: Some(2),
    body: Some(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#),
};

struct Step {
    name: &'static str,
    method: &'static str,
    id: Option<u64>,
    body: Option<&'static str>,
}

impl CallTest {
    /// Reads `sticky_test_call ADDRESS [uri=URI] [session=ID] [timeout=MILLISECONDS];`
    pub(super) fn read(cf: &mut Conf<'_>) -> Result<CallTest, Logged> {
        let words = cf.args().to_vec();
        let Some(&address) = words.get(1) else { fail!(cf, "no address") };
        let target = Target::parse(cf, address, 0)?;
        let mut test = CallTest { target, uri: None, session: None, timeout: 10_000 };
        for word in words.into_iter().skip(2) {
            match word.split() {
                Some(("uri", text)) => test.uri = Some(text),
                Some(("session", text)) => test.session = Some(text),
                Some(("timeout", text)) => match text.to_string().parse() {
                    Ok(number) => test.timeout = number,
                    Err(_) => fail!(cf, "invalid number \"{text}\""),
                },
                _ => fail!(cf, "invalid parameter \"{word}\""),
            }
        }
        Ok(test)
    }

    /// Begins a test of the configuration of this cycle.
    pub(super) fn start(&self, cycle: Cycle<'_>) {
        let session = self.session.map(|id| id.as_bytes().to_vec());
        let steps = if session.is_some() { &STEPS[4..] } else { &STEPS[..] };
        go_on(cycle, Run { test: NonNull::from(self), session, steps });
    }
}

/// One session.
struct Run {
    /// A part of the configuration, as its target.
    test: NonNull<CallTest>,
    session: Option<Vec<u8>>,
    steps: &'static [Step],
}

/// Asks the next step; after the last one the test ends.
fn go_on(cycle: Cycle<'_>, mut run: Run) {
    // SAFETY: the configuration of the cycle that this worker runs has the test and its target.
    let (test, target) = unsafe {
        let test = run.test.as_ref();
        (test, LiveTarget::new(&test.target))
    };
    let Some((step, rest)) = run.steps.split_first() else { return };
    run.steps = rest;
    let mut headers: Vec<(&str, &[u8])> = vec![
        ("Content-Type", b"application/json"),
        ("Accept", b"application/json, text/event-stream"),
        ("MCP-Protocol-Version", b"2025-06-18"),
    ];
    let session = run.session.clone();
    headers.extend(session.as_ref().map(|id| ("Mcp-Session-Id", id.as_slice())));
    let request = HttpRequest {
        method: step.method,
        target: test.uri.as_ref().map_or(b"/mcp".as_slice(), Word::as_bytes),
        host: test.target.text.as_bytes(),
        headers: &headers,
        body: step.body.map(str::as_bytes),
        keep_alive: false,
    };
    let expected = step.id.map_or(Expected::Head, Expected::Id);
    let then = move |cycle: Cycle<'_>, result| run.take(cycle, step.name, result);
    let begun = rpc::call(cycle, To::Target(target), &request, expected, test.timeout, then);
    if let Err(error) = begun {
        say(cycle, test, step.name, error);
    }
}

impl Run {
    fn take(mut self, cycle: Cycle<'_>, name: &str, result: Result<Call, CallError>) {
        // SAFETY: the configuration of the cycle that this worker runs has the test.
        let test = unsafe { self.test.as_ref() };
        let call = match result {
            Ok(call) => call,
            Err(error) => return say(cycle, test, name, error),
        };
        let Some(head) = call.head() else { return say(cycle, test, name, "no head") };
        let status = head.status();
        match call.answer() {
            Some(RpcAnswer::Result(_)) => say(cycle, test, name, format_args!("{status} result")),
            Some(RpcAnswer::Error(code)) => {
                say(cycle, test, name, format_args!("{status} error {code}"));
            }
            Some(RpcAnswer::Nothing) => say(cycle, test, name, status),
            None => say(cycle, test, name, format_args!("{status}, no answer")),
        }
        if let Some(id) = head.values("mcp-session-id").next() {
            self.session = Some(id.to_vec());
        }
        go_on(cycle, self);
    }
}

fn say(cycle: Cycle<'_>, test: &CallTest, name: &str, result: impl fmt::Display) {
    ngx_log_error!(
        NGX_LOG_NOTICE,
        cycle.log(),
        "call of \"{}\": {name}: {result}",
        test.target.text
    );
}
