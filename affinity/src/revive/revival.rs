//! The course of one revival: which message is sent next, and when it ends.

use super::negotiated::Misfit;

/// How many servers are tried at most.
pub const MAX_SERVERS: u8 = 2;

/// A revival in progress. It begins with [`Send::Initialize`] to a server that is chosen as for a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revival {
    stage: Send,
    /// Servers that may still be tried.
    left: u8,
}

/// A message to the new server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Send {
    /// The kept `initialize`.
    Initialize,
    /// `notifications/initialized`, with the new id.
    Initialized,
    /// A `ping`, with the new id.
    Ping,
}

/// How the new server has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The `initialize` has a 2xx answer with an id; whether the server fits.
    Opened(Result<(), Misfit>),
    /// A 2xx answer to one of the other messages.
    Accepted,
    /// An error, or an `initialize` that has opened no session.
    Refused,
    /// No answer.
    Nothing,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This message is sent.
    Send(Send),
    /// Another server is tried, by an `initialize`. `deletes`: the session at this one is deleted.
    OtherServer {
        /// Whether a session was opened there.
        deletes: bool,
    },
    /// The session is revived.
    Done,
    /// The session stays as it is, and the held answer is passed on.
    GiveUp {
        /// Whether a session was opened that is deleted.
        deletes: bool,
        /// Answers of the location's servers are no evidence any more: a server refuses a `ping` in a
        /// session that it has just opened.
        disables: bool,
    },
}

impl Revival {
    /// A revival before its first message.
    #[expect(clippy::new_without_default, reason = "a revival is begun, there is no default one")]
    pub fn new() -> Revival {
        Revival { stage: Send::Initialize, left: MAX_SERVERS - 1 }
    }

    /// What comes next after an answer, or the lack of one.
    pub fn on(&mut self, heard: Heard) -> Next {
        let stage = self.stage;
        match (stage, heard) {
            (Send::Initialize, Heard::Opened(Ok(()))) => self.send(Send::Initialized),
            (Send::Initialize, Heard::Opened(Err(_))) => self.other_server(true),
            (Send::Initialize, _) => self.other_server(false),
            (Send::Initialized, Heard::Accepted) => self.send(Send::Ping),
            (Send::Initialized, _) => self.other_server(true),
            (Send::Ping, Heard::Accepted) => Next::Done,
            (Send::Ping, Heard::Nothing) => self.other_server(true),
            (Send::Ping, _) => Next::GiveUp { deletes: true, disables: true },
        }
    }

    fn send(&mut self, message: Send) -> Next {
        self.stage = message;
        Next::Send(message)
    }

    fn other_server(&mut self, deletes: bool) -> Next {
        match self.left.checked_sub(1) {
            Some(left) => {
                *self = Revival { stage: Send::Initialize, left };
                Next::OtherServer { deletes }
            }
            None => Next::GiveUp { deletes, disables: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENED: Heard = Heard::Opened(Ok(()));

    fn course(heard: &[Heard]) -> Next {
        let mut revival = Revival::new();
        let mut next = Next::Send(Send::Initialize);
        heard.iter().for_each(|heard| next = revival.on(*heard));
        next
    }

    #[test]
    fn a_session_is_revived_by_three_messages() {
        assert_eq!(course(&[OPENED]), Next::Send(Send::Initialized));
        assert_eq!(course(&[OPENED, Heard::Accepted]), Next::Send(Send::Ping));
        assert_eq!(course(&[OPENED, Heard::Accepted, Heard::Accepted]), Next::Done);
    }

    #[test]
    fn a_failure_leads_to_one_other_server() {
        let misfit = Heard::Opened(Err(Misfit::Version));
        for (heard, deletes) in [
            (&[Heard::Nothing][..], false),
            (&[Heard::Refused], false),
            (&[misfit], true),
            (&[Heard::Opened(Err(Misfit::Capability))], true),
            (&[OPENED, Heard::Refused], true),
            (&[OPENED, Heard::Nothing], true),
            (&[OPENED, Heard::Accepted, Heard::Nothing], true),
        ] {
            assert_eq!(course(heard), Next::OtherServer { deletes }, "{heard:?}");
            let again = course(&[heard, heard].concat());
            assert_eq!(again, Next::GiveUp { deletes, disables: false }, "{heard:?}");
            let all = [heard, &[OPENED, Heard::Accepted, Heard::Accepted]].concat();
            assert_eq!(course(&all), Next::Done, "{heard:?}");
        }
    }

    #[test]
    fn a_server_that_refuses_a_ping_in_a_new_session_ends_all_revivals_of_its_location() {
        let next = course(&[OPENED, Heard::Accepted, Heard::Refused]);
        assert_eq!(next, Next::GiveUp { deletes: true, disables: true });
    }
}
