//! A flag that every worker reads instead of a list that few requests need.

use super::{AtomicU32, Ordering};

/// Whether anything on a list in shared memory needs attention.
///
/// Whoever changes the list calls [`Flag::note`] after the change. When all have returned, the flag
/// says what the list says, however their changes, looks and notes have mixed.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Flag(AtomicU32);

impl Flag {
    /// What was noted last.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Notes what a look at the list says.
    pub fn note(&self, look: impl Fn() -> bool) {
        // Another worker may have changed the list, or noted what it saw, between the look and the
        // note. The last one to note has looked once more after that: its exchange follows those of
        // all others, and with Acquire it sees what they had changed before.
        let mut seen = look();
        loop {
            self.0.swap(u32::from(seen), Ordering::AcqRel);
            let now = look();
            if now == seen {
                break;
            }
            seen = now;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use core::cell::Cell;

    use super::Flag;

    /// Another worker changes the list and notes that, between the look and the note of this one.
    fn is_set_after_change_between_look_and_note(to: bool) -> bool {
        let (flag, list, is_first) = (Flag::default(), Cell::new(!to), Cell::new(true));
        flag.note(|| {
            let seen = list.get();
            if is_first.take() {
                list.set(to);
                flag.note(|| list.get());
            }
            seen
        });
        flag.is_set()
    }

    #[test]
    fn a_stale_look_does_not_stay() {
        assert!(is_set_after_change_between_look_and_note(true));
        assert!(!is_set_after_change_between_look_and_note(false));
    }

    #[test]
    fn a_list_that_does_not_change_is_noted_as_it_is() {
        let flag = Flag::default();
        assert!(!flag.is_set());
        flag.note(|| true);
        assert!(flag.is_set());
        flag.note(|| false);
        assert!(!flag.is_set());
    }
}
