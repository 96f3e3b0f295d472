//! The connection of a worker for commands.

use std::rc::Rc;

use affinity::net::{Next, Output, Protocol};
use affinity::share::link::Event;

use super::member::Member;
use crate::net::connection::Exchange;
use crate::net::error::Error;
use crate::nginx;
use crate::nginx::cycle::Cycle;

/// The user of the connection.
pub(super) struct Commands(pub(super) Rc<Member>);

impl Commands {
    fn read(&self, input: &[u8]) -> Result<usize, (usize, &'static str)> {
        let mut at = 0;
        loop {
            let rest = input.get(at..).unwrap_or_default();
            let received = self.0.link.borrow_mut().receive(rest, nginx::millis());
            let (len, event) = received.map_err(|why| (at, why))?;
            at += len;
            if matches!(event, Event::Incomplete) {
                return Ok(at);
            }
            if let Some(millis) = self.0.link.borrow().round_trip() {
                self.0.fleet.standing.note_reply(millis);
            }
            self.0.hear(event);
        }
    }

    fn send(&self, output: &mut Output) -> Next {
        let mut link = self.0.link.borrow_mut();
        let commands = link.output();
        let is_sent = commands.is_whole() && output.push(commands.as_bytes()).is_ok();
        commands.clear();
        drop(link);
        self.0.schedule();
        match is_sent {
            true => Next::Wait,
            false => Next::Fail("does not read what is sent"),
        }
    }
}

impl Protocol for Commands {
    fn connected(&mut self, output: &mut Output) -> Next {
        self.0.link.borrow_mut().connected(nginx::millis());
        self.send(output)
    }

    fn received(&mut self, input: &[u8], output: &mut Output) -> (usize, Next) {
        match self.read(input) {
            Ok(len) => (len, self.send(output)),
            Err((len, why)) => (len, Next::Fail(why)),
        }
    }

    fn closed(&mut self) -> Next {
        Next::Wait
    }
}

impl Exchange for Commands {
    fn ended(self: Box<Self>, cycle: Cycle<'_>, result: Result<(), Error>) {
        self.0.lost(cycle, result.err());
    }
}
