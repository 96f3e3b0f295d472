//! Closed-loop HTTP load on one address: each connection sends its next request when the response to
//! its last one is complete.
//!
//!   load ADDRESS
//!
//! Reads commands from standard input. Answers each command with one line of JSON: the totals of all
//! requests since `open`, except those of `warm`.
//!
//!   open CONNECTIONS                    closes all connections and opens new ones
//!   create FIRST COUNT                  creates sessions and records the server of each
//!   warm SESSIONS MILLISECONDS          uses random sessions for that time, records nothing
//!   request SESSIONS ms MILLISECONDS    uses random sessions for that time
//!   request SESSIONS count COUNT        sends so many requests, a different session each time

mod response;

use std::error::Error;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::mem;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::response::Response;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The load generator stops with an error if no connection receives anything for so long.
const TIMEOUT: Duration = Duration::from_secs(30);

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
                let before = mem::replace(&mut load.outcome, Outcome::new());
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

/// The requests that are still to be sent.
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
    /// The server of each session; zero if it is not known.
    servers: Vec<u8>,
    random: Random,
    outcome: Outcome,
}

struct Outcome {
    requests: u64,
    /// Requests of sessions whose server is known.
    routed: u64,
    /// Those of them that another server answered.
    misrouted: u64,
    /// Responses with another status than 200.
    failed: u64,
    elapsed: Duration,
    /// In nanoseconds.
    latency: Histogram<u64>,
}

impl Outcome {
    fn new() -> Outcome {
        // Two significant digits: a quantile is at most 1 % above the true value.
        let latency = Histogram::new_with_max(TIMEOUT.as_nanos() as u64, 2)
            .expect("bounds and digits are valid");
        Outcome {
            requests: 0,
            routed: 0,
            misrouted: 0,
            failed: 0,
            elapsed: Duration::ZERO,
            latency,
        }
    }

    fn record(&mut self, latency: Duration) {
        self.latency.saturating_record(latency.as_nanos() as u64);
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Outcome { requests, routed, misrouted, failed, elapsed, latency } = self;
        let seconds = elapsed.as_secs_f64();
        let (p50, p99) = (latency.value_at_quantile(0.5), latency.value_at_quantile(0.99));
        write!(
            f,
            r#"{{"requests":{requests},"routed":{routed},"misrouted":{misrouted},"failed":{failed},"seconds":{seconds:.6},"p50_ns":{p50},"p99_ns":{p99}}}"#
        )
    }
}

struct Connection {
    stream: TcpStream,
    /// The request without a response yet, and when it was sent.
    sent: Option<(Request, Instant)>,
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
            outcome: Outcome::new(),
        })
    }

    fn open(&mut self, connections: usize) -> Result<()> {
        self.connections.clear();
        self.outcome = Outcome::new();
        for token in 0..connections {
            let stream = std::net::TcpStream::connect(self.address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            self.poll.registry().register(&mut stream, Token(token), Interest::READABLE)?;
            let received = Vec::with_capacity(4096);
            self.connections.push(Connection { stream, sent: None, received });
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
            busy += usize::from(self.send(connection, &mut work, &mut text, start)?);
        }
        while busy > 0 {
            self.poll.poll(&mut events, Some(TIMEOUT))?;
            if events.is_empty() {
                return Err(format!("no response for {TIMEOUT:?}, {busy} requests open").into());
            }
            for event in &events {
                let connection = &mut connections[event.token().0];
                if let Some(response) = read(connection)? {
                    let now = Instant::now();
                    self.record(connection, &response, now);
                    connection.received.clear();
                    busy -= usize::from(!self.send(connection, &mut work, &mut text, now)?);
                }
            }
        }
        self.outcome.elapsed += start.elapsed();
        self.connections = connections;
        Ok(())
    }

    /// Sends the next request; false if there is none.
    fn send(
        &mut self,
        connection: &mut Connection,
        work: &mut Work,
        text: &mut Vec<u8>,
        now: Instant,
    ) -> io::Result<bool> {
        let Some(request) = work.next(&mut self.random, now) else {
            connection.sent = None;
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
        connection.sent = Some((request, now));
        // The socket's buffer holds no other request, so this small one always fits.
        connection.stream.write_all(text)?;
        Ok(true)
    }

    fn record(&mut self, connection: &Connection, response: &Response, now: Instant) {
        let Some((request, since)) = connection.sent else {
            return;
        };
        let to = &mut self.outcome;
        to.requests += 1;
        to.failed += u64::from(response.status != 200);
        to.record(now - since);
        match request {
            Request::Create(session) => {
                if self.servers.len() <= session {
                    self.servers.resize(session + 1, 0);
                }
                self.servers[session] = response.server;
            }
            Request::Use(session) => {
                let server = self.servers.get(session).copied().unwrap_or(0);
                to.routed += u64::from(server != 0);
                to.misrouted += u64::from(server != 0 && server != response.server);
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
                // The step is a prime, so every session is used. If the number of sessions is a power of
                // ten and the servers took them in turn, each request goes to another server than the
                // last one, as with round robin.
                Request::Use(*left * 9941 % *sessions)
            }),
        }
    }
}

/// Reads what has arrived. Returns the response if it is complete.
fn read(connection: &mut Connection) -> Result<Option<Response>> {
    let mut buffer = [0; 4096];
    loop {
        match connection.stream.read(&mut buffer) {
            Ok(0) => return Err("the load balancer closed a connection".into()),
            Ok(n) => connection.received.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // Nothing follows a complete response before the next request: no read until `WouldBlock`.
        if let Some(response) = Response::parse(&connection.received)? {
            return Ok(Some(response));
        }
    }
}

/// 32 pseudo-random hexadecimal digits, for each session the same in every run.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a member in a line of JSON.
    fn member(json: &str, name: &str) -> f64 {
        let (_, rest) = json.split_once(&format!("\"{name}\":")).unwrap();
        rest.split([',', '}']).next().unwrap().parse().unwrap()
    }

    #[test]
    fn an_outcome_without_requests_is_all_zero() {
        assert_eq!(
            Outcome::new().to_string(),
            r#"{"requests":0,"routed":0,"misrouted":0,"failed":0,"seconds":0.000000,"p50_ns":0,"p99_ns":0}"#
        );
    }

    #[test]
    fn quantiles_are_at_most_one_percent_high() {
        for unit in [1, 1_000, 1_000_000] {
            let mut outcome = Outcome::new();
            (1..=100).for_each(|n| outcome.record(Duration::from_nanos(n * unit)));
            let json = outcome.to_string();
            for (name, true_value) in [("p50_ns", 50 * unit), ("p99_ns", 99 * unit)] {
                let (value, least) = (member(&json, name), true_value as f64);
                assert!(value >= least && value <= least * 1.01, "{name} {value} {least}");
            }
        }
    }

    #[test]
    fn a_latency_above_the_timeout_is_kept_as_the_timeout() {
        let mut outcome = Outcome::new();
        outcome.record(TIMEOUT * 3);
        let value = member(&outcome.to_string(), "p50_ns");
        let timeout = TIMEOUT.as_nanos() as f64;
        assert!(value >= timeout && value <= timeout * 1.02, "{value}");
    }

    #[test]
    fn each_session_is_used_and_the_server_changes_each_time() {
        let sessions = 1_000;
        let mut work = Work::InTurn { sessions, left: sessions };
        let (mut random, now) = (Random(1), Instant::now());
        let mut used = Vec::new();
        while let Some(Request::Use(session)) = work.next(&mut random, now) {
            used.push(session);
        }
        assert!(used.windows(2).all(|pair| pair[0] % 3 != pair[1] % 3));
        used.sort_unstable();
        assert!(used.iter().copied().eq(0..sessions));
    }
}
