//! What happens to a request and to a session: rules as values, without nginx.
//!
//! A request passes three questions, in this order: where does its id lead (`on_lookup`), what if
//! that server is not available (`on_unavailable`), and what does the answer change (`on_answer`).

mod answer;
mod backup;
mod route;
mod rules;
#[cfg(test)]
mod tests;

pub use answer::{Announced, Answer, AnsweredBy, Change, Clash, Created, Holder};
pub use backup::{digest, stand_in};
pub use route::{Absence, Presented, Rejection, Route, Status};
pub use rules::{Moment, Policy, Rules, Unavailable, Unknown};
