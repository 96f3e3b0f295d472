//! Reads the body of a response, buffer by buffer.

use super::endpoint::Endpoint;
use super::response::{BodyFormat, Watch};
use super::step::{Fault, Step};
use super::task::{TaskJson, TaskSse};
use crate::policy::Announced;
use crate::table::Kind;
use crate::time::Span;

/// How much of a body is read, in bytes.
pub const MAX_WATCHED: usize = 64 * 1024;

/// Reads one body, buffer by buffer. The result does not depend on where the body is cut.
pub struct Reader<'a> {
    /// How many bytes may still be read; none after the result.
    left: usize,
    body: BodyReader<'a>,
}

/// The result of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// None yet: the next buffer is needed.
    More,
    /// The body has no id. The reader is done.
    Nothing,
    /// The body should have an id and has none. The reader is done.
    Faulty(Fault),
    /// The body has this id. The reader is done.
    Found(Learned<'a>),
}

/// An id that belongs to the server that sent the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned<'a> {
    /// What it names.
    pub kind: Kind,
    /// The id, decoded; of a stream also its target, undecoded.
    pub id: &'a [u8],
    /// What the body names, for the rules of `Policy::on_announced`.
    pub announced: Announced,
    /// Its time to live from now on, if the server has sent one.
    pub ttl: Option<Span>,
}

#[allow(clippy::large_enum_variant, reason = "there is one for each answer that is read")]
enum BodyReader<'a> {
    Endpoint(Endpoint<'a>),
    TaskJson(TaskJson),
    TaskSse(TaskSse),
}

impl<'a> Reader<'a> {
    /// A reader for a body, if there is something to look for. `uri`: path and query of the request line.
    pub fn new(watch: Watch, uri: &'a [u8]) -> Option<Self> {
        let body = match watch {
            Watch::Nothing => return None,
            Watch::Endpoint => BodyReader::Endpoint(Endpoint::new(uri)),
            Watch::Task(BodyFormat::Json) => BodyReader::TaskJson(TaskJson::new()),
            Watch::Task(BodyFormat::Sse) => BodyReader::TaskSse(TaskSse::new()),
        };
        Some(Reader { left: MAX_WATCHED, body })
    }

    /// Reads the next bytes of the body.
    pub fn feed(&mut self, bytes: &[u8]) -> Progress<'_> {
        if self.left == 0 {
            return Progress::Nothing;
        }
        let bytes = bytes.get(..self.left).unwrap_or(bytes);
        let step = match &mut self.body {
            BodyReader::Endpoint(endpoint) => endpoint.feed(bytes),
            BodyReader::TaskJson(task) => task.feed(bytes),
            BodyReader::TaskSse(task) => task.feed(bytes),
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
            BodyReader::Endpoint(endpoint) => Some(Learned {
                kind: Kind::Sse,
                id: endpoint.id()?,
                announced: endpoint.announced(),
                ttl: None,
            }),
            BodyReader::TaskJson(TaskJson(message))
            | BodyReader::TaskSse(TaskSse { message, .. }) => Some(Learned {
                kind: Kind::Task,
                id: message.task_id()?,
                announced: Announced::Task,
                ttl: message.ttl(),
            }),
        }
    }
}
