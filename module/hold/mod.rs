mod active;
mod counts;
pub mod filters;
mod held;
mod kept;
mod next;
mod reading;
mod replaced;

#[cfg(feature = "testing")]
pub use held::totals;
pub use held::{has_begun_again, holding, leave, settle, Stays};
pub use next::{send_status, set_next};
pub use reading::{read_body, BodyReader};
