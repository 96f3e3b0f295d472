//! The states of a server, and why it is in one.

/// The state of a server, from connections to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Known {
    /// The server gets the requests of its sessions, and new sessions.
    #[default]
    Up = 0,
    /// Several requests in a row got no byte of an answer within the read timeout. The server gets no
    /// new sessions.
    Slow = 1,
    /// No connection could be established. nginx goes on trying.
    Unreachable = 2,
    /// The same, for so long that the server's sessions count as lost.
    Gone = 3,
}

impl Known {
    /// All of them.
    pub const ALL: [Known; 4] = [Known::Up, Known::Slow, Known::Unreachable, Known::Gone];

    /// The text of the field `state`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Known::Up => "up",
            Known::Slow => "slow",
            Known::Unreachable => "unreachable",
            Known::Gone => "gone",
        }
    }

    pub(super) fn from_code(code: u64) -> Known {
        match code & 3 {
            1 => Known::Slow,
            2 => Known::Unreachable,
            3 => Known::Gone,
            _ => Known::Up,
        }
    }
}

/// Why a server is in its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reason {
    /// None.
    #[default]
    None = 0,
    /// `ECONNREFUSED`, or the file of a Unix socket is missing.
    Refused = 1,
    /// `ECONNRESET`.
    Reset = 2,
    /// No answer to the attempt to connect.
    TimedOut = 3,
    /// `EHOSTUNREACH`, `EHOSTDOWN`.
    NoRoute = 4,
    /// Requests ended by the read timeout without a byte.
    Silent = 5,
    /// Its name has other addresses now.
    NotInDns = 6,
    /// Its configuration says `down`.
    Administrator = 7,
    /// It is in no upstream of the zone.
    Removed = 8,
}

impl Reason {
    /// The text of the field `reason`; `None` if there is none.
    pub const fn as_str(self) -> Option<&'static str> {
        Some(match self {
            Reason::None => return None,
            Reason::Refused => "connection refused",
            Reason::Reset => "connection reset",
            Reason::TimedOut => "connect timed out",
            Reason::NoRoute => "no route to host",
            Reason::Silent => "read timed out",
            Reason::NotInDns => "not in DNS",
            Reason::Administrator => "administrator",
            Reason::Removed => "not in the configuration",
        })
    }

    pub(super) fn from_code(code: u64) -> Reason {
        match code & 0xf {
            1 => Reason::Refused,
            2 => Reason::Reset,
            3 => Reason::TimedOut,
            4 => Reason::NoRoute,
            5 => Reason::Silent,
            6 => Reason::NotInDns,
            7 => Reason::Administrator,
            8 => Reason::Removed,
            _ => Reason::None,
        }
    }
}

/// The source of evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Source {
    /// There is none yet.
    #[default]
    None = 0,
    /// A client's request.
    Request = 1,
    /// An attempt of this module to connect.
    Attempt = 2,
}

impl Source {
    /// The text of the field `seen_by`; `None` if there is none.
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Source::None => None,
            Source::Request => Some("request"),
            Source::Attempt => Some("attempt"),
        }
    }

    pub(super) fn from_code(code: u64) -> Source {
        match code & 3 {
            1 => Source::Request,
            2 => Source::Attempt,
            _ => Source::None,
        }
    }
}
