//! What keeps hashes for different purposes apart.

/// Number of domains. The hash of a text begins with the number of its domain.
pub(crate) const DOMAINS: usize = 4;
