//! A listener that keeps a list of what it hears.

use std::collections::HashMap;

use affinity::table::{Change, Heard, Held, Key, Listener, Table};

#[derive(Default)]
pub struct Watch {
    listener: Listener,
    /// What was heard last of each session.
    pub known: HashMap<Key, Held>,
    /// Ends may be unheard.
    pub missed: bool,
}

impl Watch {
    /// A listener of a table, which has heard all of its sessions.
    pub fn new(table: &Table) -> Watch {
        let mut watch = Watch::default();
        watch.hear(table);
        assert!(watch.missed, "a new listener knows that it is new");
        watch.missed = false;
        watch
    }

    /// Hears all that there is to hear.
    pub fn hear(&mut self, table: &Table) -> Vec<Heard> {
        let mut all = Vec::new();
        loop {
            // Little at a time, so that passes and notes take several calls.
            let hearing = table.hear(&mut self.listener, 20, |heard| all.push(heard));
            self.missed |= hearing.missed;
            if !hearing.more {
                break;
            }
        }
        for heard in &all {
            match heard.held {
                Some(held) => self.known.insert(heard.key, held),
                None => self.known.remove(&heard.key),
            };
        }
        all
    }

    /// The changes of `hear`.
    pub fn changes(&mut self, table: &Table) -> Vec<Change> {
        self.hear(table).into_iter().map(|heard| heard.change).collect()
    }

    /// Looks up each session of the list, as a listener does that has missed something. Returns how many
    /// had ended unheard.
    pub fn repair(&mut self, table: &Table) -> usize {
        let before = self.known.len();
        self.known.retain(|key, _| table.held(*key).is_some());
        self.missed = false;
        before - self.known.len()
    }

    /// Sessions of which the list does not say what the table says: server, creation and time to live
    /// (uses are not heard).
    pub fn wrong(&self, table: &Table, keys: impl Iterator<Item = Key>) -> Vec<Key> {
        let what = |held: Held| (held.session.server, held.session.created, held.ttl);
        keys.filter(|key| self.known.get(key).copied().map(what) != table.held(*key).map(what))
            .collect()
    }
}
