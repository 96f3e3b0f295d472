//! Closed-loop load on one address: each connection sends its next request when the response to the
//! last one has come. Reads commands from standard input, answers each with a line of JSON that tells
//! what was done since the connections were opened, warming up left out:
//!
//!   open CONNECTIONS                    closes the connections that are open, and opens others
//!   create FIRST COUNT                  asks for sessions, notes the server of each
//!   warm SESSIONS MILLISECONDS          uses sessions drawn at random, for a while
//!   request SESSIONS ms MILLISECONDS    the same, and it is told
//!   request SESSIONS count COUNT        uses one session after the other, that often
//!
//!   load ADDRESS

mod histogram;
mod response;

use std::error::Error;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::mem;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::histogram::Histogram;
use crate::response::Response;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Without an answer for so long the load has hung.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    let address = std::env::args().nth(1).ok_or("usage: load ADDRESS")?.parse()?;
    let mut load = Load::new(address)?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["open", connections] => load.open(connections.parse()?)?,
            ["create", first, count] => {
                let (first, count): (usize, usize) = (first.parse()?, count.parse()?);
                load.run(Work::Create { next: first, end: first + count })?;
            }
            ["warm", sessions, ms] => {
                let before = mem::take(&mut load.outcome);
                load.run(Work::random(sessions.parse()?, ms.parse()?))?;
                load.outcome = before;
            }
            ["request", sessions, "ms", ms] => {
                load.run(Work::random(sessions.parse()?, ms.parse()?))?;
            }
            ["request", sessions, "count", count] => {
                let (sessions, left) = (sessions.parse()?, count.parse()?);
                load.run(Work::InTurn { sessions, left })?;
            }
            _ => return Err(format!("unknown command \"{line}\"").into()),
        }
        println!("{}", load.outcome);
    }
    Ok(())
}

/// What is still to be asked.
enum Work {
    Create { next: usize, end: usize },
    Random { sessions: usize, until: Instant },
    InTurn { sessions: usize, left: usize },
}

#[derive(Clone, Copy)]
enum Request {
    Create(usize),
    Use(usize),
}

struct Load {
    address: SocketAddr,
    poll: Poll,
    connections: Vec<Connection>,
    /// The server of each session, zero for none.
    servers: Vec<u8>,
    random: Random,
    outcome: Outcome,
}

#[derive(Default)]
struct Outcome {
    requests: u64,
    /// Of sessions whose server is known.
    routed: u64,
    misrouted: u64,
    failed: u64,
    elapsed: Duration,
    latency: Histogram,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Outcome { requests, routed, misrouted, failed, elapsed, latency } = self;
        let (seconds, p50, p99) =
            (elapsed.as_secs_f64(), latency.quantile(0.5), latency.quantile(0.99));
        write!(
            f,
            r#"{{"requests":{requests},"routed":{routed},"misrouted":{misrouted},"failed":{failed},"seconds":{seconds:.6},"p50_ns":{p50},"p99_ns":{p99}}}"#
        )
    }
}

struct Connection {
    stream: TcpStream,
    asked: Option<(Request, Instant)>,
    received: Vec<u8>,
}

impl Load {
    fn new(address: SocketAddr) -> Result<Load> {
        Ok(Load {
            address,
            poll: Poll::new()?,
            connections: Vec::new(),
            servers: Vec::new(),
            random: Random(0x9e37_79b9_7f4a_7c15),
            outcome: Outcome::default(),
        })
    }

    fn open(&mut self, connections: usize) -> Result<()> {
        self.connections.clear();
        self.outcome = Outcome::default();
        for token in 0..connections {
            let stream = std::net::TcpStream::connect(self.address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            self.poll.registry().register(&mut stream, Token(token), Interest::READABLE)?;
            let received = Vec::with_capacity(4096);
            self.connections.push(Connection { stream, asked: None, received });
        }
        Ok(())
    }

    fn run(&mut self, mut work: Work) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut connections = mem::take(&mut self.connections);
        let start = Instant::now();
        let mut text = Vec::with_capacity(1024);
        let mut busy = 0;
        for connection in &mut connections {
            busy += usize::from(self.ask(connection, &mut work, &mut text, start)?);
        }
        while busy > 0 {
            self.poll.poll(&mut events, Some(PATIENCE))?;
            if events.is_empty() {
                return Err(format!("no answer for {PATIENCE:?}, {busy} requests open").into());
            }
            for event in &events {
                let connection = &mut connections[event.token().0];
                if let Some(answer) = read(connection)? {
                    let now = Instant::now();
                    self.note(connection, &answer, now);
                    connection.received.clear();
                    busy -= usize::from(!self.ask(connection, &mut work, &mut text, now)?);
                }
            }
        }
        self.outcome.elapsed += start.elapsed();
        self.connections = connections;
        Ok(())
    }

    /// Sends the next request; false if there is none.
    fn ask(
        &mut self,
        connection: &mut Connection,
        work: &mut Work,
        text: &mut Vec<u8>,
        now: Instant,
    ) -> io::Result<bool> {
        let Some(request) = work.next(&mut self.random, now) else {
            connection.asked = None;
            return Ok(false);
        };
        text.clear();
        match request {
            Request::Create(session) => {
                text.extend_from_slice(b"GET /new?id=");
                push_id(text, session);
                text.extend_from_slice(b" HTTP/1.1\r\nHost: bench\r\n\r\n");
            }
            Request::Use(session) => {
                text.extend_from_slice(b"GET /mcp HTTP/1.1\r\nHost: bench\r\nMcp-Session-Id: ");
                push_id(text, session);
                text.extend_from_slice(b"\r\n\r\n");
            }
        }
        connection.asked = Some((request, now));
        // One small request at a time always fits the socket's buffer.
        connection.stream.write_all(text)?;
        Ok(true)
    }

    fn note(&mut self, connection: &Connection, answer: &Response, now: Instant) {
        let Some((request, since)) = connection.asked else {
            return;
        };
        let to = &mut self.outcome;
        to.requests += 1;
        to.failed += u64::from(answer.status != 200);
        to.latency.add(now - since);
        match request {
            Request::Create(session) => {
                if self.servers.len() <= session {
                    self.servers.resize(session + 1, 0);
                }
                self.servers[session] = answer.server;
            }
            Request::Use(session) => {
                let server = self.servers.get(session).copied().unwrap_or(0);
                to.routed += u64::from(server != 0);
                to.misrouted += u64::from(server != 0 && server != answer.server);
            }
        }
    }
}

impl Work {
    fn random(sessions: usize, ms: u64) -> Work {
        Work::Random { sessions, until: Instant::now() + Duration::from_millis(ms) }
    }

    fn next(&mut self, random: &mut Random, now: Instant) -> Option<Request> {
        match self {
            Work::Create { next, end } => (*next < *end).then(|| {
                *next += 1;
                Request::Create(*next - 1)
            }),
            Work::Random { sessions, until } => {
                (now < *until).then(|| Request::Use(random.next() as usize % *sessions))
            }
            Work::InTurn { sessions, left } => (*left > 0).then(|| {
                *left -= 1;
                // A prime step visits all of them. This one changes the server with each request, as
                // round robin does, for every power of ten and sessions made in turn on three servers.
                Request::Use(*left * 9941 % *sessions)
            }),
        }
    }
}

/// Reads what has come; the response, if it is complete.
fn read(connection: &mut Connection) -> Result<Option<Response>> {
    let mut buffer = [0; 4096];
    loop {
        match connection.stream.read(&mut buffer) {
            Ok(0) => return Err("the load balancer closed a connection".into()),
            Ok(n) => connection.received.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // A complete response is the only one on its way: no need to read until nothing is left.
        if let Some(answer) = Response::parse(&connection.received)? {
            return Ok(Some(answer));
        }
    }
}

/// 32 hexadecimal digits without order, the same in every run.
fn push_id(text: &mut Vec<u8>, session: usize) {
    let mut random = Random(session as u64);
    for _ in 0..2 {
        let word = random.next();
        text.extend((0..16).map(|i| b"0123456789abcdef"[(word >> (60 - 4 * i)) as usize & 15]));
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
