//! What happens to a session, as a note says it in a word.

/// Why a session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum End {
    /// An answer of its server has ended it.
    Deleted = 0,
    /// Its time was over.
    Expired = 1,
    /// There was no room for it, or none for its server in the server list.
    Evicted = 2,
    /// The administrator has removed it, or all of its server.
    Forgotten = 3,
    /// Its server is gone for good.
    ServerGone = 4,
    /// The drain deadline of its server has passed.
    Drained = 5,
    /// Several sessions share the id, so it names none of them.
    Shared = 6,
    /// A later session of the same id takes its place.
    Replaced = 7,
}

impl End {
    const ALL: [End; 8] = [
        End::Deleted,
        End::Expired,
        End::Evicted,
        End::Forgotten,
        End::ServerGone,
        End::Drained,
        End::Shared,
        End::Replaced,
    ];
    /// Bits that hold the code of any.
    pub(crate) const BITS: u32 = 3;

    pub(crate) fn code(self) -> u32 {
        self as u32
    }

    pub(crate) fn from_code(code: u32) -> Option<End> {
        Self::ALL.get(code as usize).copied()
    }
}

const _: () = assert!(End::ALL.len() == 1 << End::BITS);

/// What has happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// It was created, or got another time to live.
    Bound,
    /// It was moved to another server.
    Moved,
    /// It has ended.
    Ended(End),
    /// Nothing: the listener has missed something, and hears all sessions.
    Present,
}

impl Change {
    const BOUND: u32 = 0;
    const MOVED: u32 = 1;
    const PRESENT: u32 = 2;
    const ENDED: u32 = 1 << End::BITS;

    pub(crate) fn code(self) -> u32 {
        match self {
            Change::Bound => Self::BOUND,
            Change::Moved => Self::MOVED,
            Change::Present => Self::PRESENT,
            Change::Ended(end) => Self::ENDED | end.code(),
        }
    }

    /// None if no change has this code; only damaged memory holds such a code.
    pub(crate) fn from_code(code: u32) -> Option<Change> {
        match code {
            Self::BOUND => Some(Change::Bound),
            Self::MOVED => Some(Change::Moved),
            Self::PRESENT => Some(Change::Present),
            _ => Some(Change::Ended(End::from_code(code.checked_sub(Self::ENDED)?)?)),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Change, End};

    #[test]
    fn each_change_has_a_code_of_its_own() {
        let ends = End::ALL.map(Change::Ended);
        for change in [Change::Bound, Change::Moved, Change::Present].into_iter().chain(ends) {
            assert_eq!(Change::from_code(change.code()), Some(change));
        }
        for code in [3, 7, 16, u32::MAX] {
            assert_eq!(Change::from_code(code), None, "{code}");
        }
    }
}
