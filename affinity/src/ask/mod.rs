//! The question "which server has this id?", asked of others than the session table.
//!
//! The table in memory is looked up first, and inlined there. Only an id that it does not have is asked for:
//! the answer is a server, nobody, or comes later, and then the request waits. [`State`] is the course of
//! such a request, and [`Slots`] the list of those that wait.

mod course;
mod slots;
#[cfg(test)]
mod tests;

pub use course::{Event, State};
pub use slots::{Slots, Ticket};
