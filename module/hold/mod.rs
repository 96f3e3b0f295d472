//! Holds small answers back until a judge has decided: they are passed on byte for byte, or the request runs
//! again.
//!
//! A phase handler can make a request wait, a filter cannot. But the header filter may keep the header of an
//! answer, and the body filter what follows. The upstream ends as usual meanwhile, and a bit of the request's
//! (`r->buffered`) keeps nginx from ending that too. docs/waiting.md has the traps.

mod counts;
pub mod filters;
mod held;
mod kept;
mod next;

#[cfg_attr(
    not(feature = "testing"),
    expect(unused_imports, reason = "the judge of the product is the revival of sessions")
)]
pub use held::settle;
#[cfg(feature = "testing")]
pub use held::totals;
