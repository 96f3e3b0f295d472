//! A bounded list whose places are named by tickets.
//!
//! By hand: the crates with such a list (slotmap, thunderdome) abort the process if memory is short.

use core::mem;

/// Names a value in a [`Slots`]. A ticket of a value that was removed names nothing, also when its place is
/// used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    slot: u32,
    /// How often the place had been emptied before. It wraps after 2^32 times: a ticket must not be that old.
    generation: u32,
}

/// A list of values in places that do not move.
#[derive(Debug)]
pub struct Slots<T> {
    slots: Vec<Slot<T>>,
    /// The first place of the chain of free ones.
    free: Option<u32>,
    len: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T> {
    Used(T),
    /// The next free place.
    Free(Option<u32>),
}

impl<T> Slots<T> {
    /// An empty list.
    pub const fn new() -> Slots<T> {
        Slots { slots: Vec::new(), free: None, len: 0 }
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a value; `None` if the list has `most` values, or memory is short.
    pub fn insert(&mut self, value: T, most: usize) -> Option<Ticket> {
        if self.len >= most {
            return None;
        }
        let slot = match self.free {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.slots.len()).ok()?;
                self.slots.try_reserve(1).ok()?;
                self.slots.push(Slot { generation: 0, content: Content::Free(None) });
                slot
            }
        };
        let place = self.slots.get_mut(slot as usize)?;
        if let Content::Free(next) = mem::replace(&mut place.content, Content::Used(value)) {
            self.free = next;
        }
        self.len += 1;
        Some(Ticket { slot, generation: place.generation })
    }

    /// The value of a ticket.
    pub fn get(&self, ticket: Ticket) -> Option<&T> {
        let slot = self.slots.get(ticket.slot as usize)?;
        match &slot.content {
            Content::Used(value) if slot.generation == ticket.generation => Some(value),
            _ => None,
        }
    }

    /// Removes the value of a ticket.
    pub fn remove(&mut self, ticket: Ticket) -> Option<T> {
        self.get(ticket)?;
        let slot = self.slots.get_mut(ticket.slot as usize)?;
        slot.generation = slot.generation.wrapping_add(1);
        let content = mem::replace(&mut slot.content, Content::Free(self.free));
        self.free = Some(ticket.slot);
        self.len -= 1;
        match content {
            Content::Used(value) => Some(value),
            Content::Free(_) => None,
        }
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Slots<T> {
        Slots::new()
    }
}
