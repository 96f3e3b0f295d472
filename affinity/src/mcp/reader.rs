//! Reads a response's body as it passes.

use super::endpoint::Endpoint;
use super::response::{BodyFormat, Watch};
use super::step::{Fault, Step};
use super::task::{TaskJson, TaskSse};
use crate::policy::Announced;
use crate::table::Kind;
use crate::time::Span;

/// How much of a body is looked at, in bytes.
pub const MAX_WATCHED: usize = 64 * 1024;

/// Reads one body, buffer by buffer. How the body is cut into buffers changes nothing.
pub struct Reader<'a> {
    /// How many bytes may still be looked at; none when all is said.
    left: usize,
    body: Body<'a>,
}

/// What a reader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// Nothing yet: feed it with the next buffer.
    More,
    /// The body teaches nothing. Stop.
    Nothing,
    /// The body gives no id although it is one of those that should. Stop.
    Faulty(Fault),
    /// The body teaches this. Stop.
    Found(Learned<'a>),
}

/// An id that belongs to the server whose response named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned<'a> {
    /// What it names.
    pub kind: Kind,
    /// The id, decoded; of a stream also its target, undecoded.
    pub id: &'a [u8],
    /// The same, as far as it matters to one who has it already.
    pub announced: Announced,
    /// How long it lives from now on, if the server has said so.
    pub ttl: Option<Span>,
}

#[allow(clippy::large_enum_variant, reason = "there is one for each answer that is read")]
enum Body<'a> {
    Endpoint(Endpoint<'a>),
    TaskJson(TaskJson),
    TaskSse(TaskSse),
}

impl<'a> Reader<'a> {
    /// A reader for a body, if there is something to look for. `uri` is the request's, as its request
    /// line has it.
    pub fn new(watch: Watch, uri: &'a [u8]) -> Option<Self> {
        let body = match watch {
            Watch::Nothing => return None,
            Watch::Endpoint => Body::Endpoint(Endpoint::new(uri)),
            Watch::Task(BodyFormat::Json) => Body::TaskJson(TaskJson::new()),
            Watch::Task(BodyFormat::Sse) => Body::TaskSse(TaskSse::new()),
        };
        Some(Reader { left: MAX_WATCHED, body })
    }

    /// Looks at the next bytes of the body.
    pub fn feed(&mut self, bytes: &[u8]) -> Progress<'_> {
        if self.left == 0 {
            return Progress::Nothing;
        }
        let bytes = bytes.get(..self.left).unwrap_or(bytes);
        let step = match &mut self.body {
            Body::Endpoint(endpoint) => endpoint.feed(bytes),
            Body::TaskJson(task) => task.feed(bytes),
            Body::TaskSse(task) => task.feed(bytes),
        };
        self.left -= bytes.len();
        match step {
            Step::More if self.left > 0 => return Progress::More,
            _ => self.left = 0,
        }
        match step {
            Step::More | Step::Nothing => Progress::Nothing,
            Step::Faulty(why) => Progress::Faulty(why),
            Step::Found => self.learned().map_or(Progress::Nothing, Progress::Found),
        }
    }

    fn learned(&self) -> Option<Learned<'_>> {
        match &self.body {
            Body::Endpoint(endpoint) => Some(Learned {
                kind: Kind::Sse,
                id: endpoint.id()?,
                announced: endpoint.announced(),
                ttl: None,
            }),
            Body::TaskJson(TaskJson(message)) | Body::TaskSse(TaskSse { message, .. }) => {
                Some(Learned {
                    kind: Kind::Task,
                    id: message.task_id()?,
                    announced: Announced::Task,
                    ttl: message.ttl(),
                })
            }
        }
    }
}
