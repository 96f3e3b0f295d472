//! The machines that share sessions by one store.

use core::cell::{Cell, RefCell};

use affinity::share::link::Options;
use affinity::share::secret::Root;
use affinity::share::standing::Standing;

use crate::net::target::Target;
use crate::nginx::conf::Word;
use crate::nginx::per_worker::PerWorker;
use crate::storage::Mapping;
use crate::zone::Zone;

/// One `sticky_share`, and the zones that are shared by it.
pub struct Fleet {
    pub name: Word,
    pub target: Target,
    /// Without the zones.
    pub options: Options,
    /// The secret, if it is from a file.
    pub root: Option<Root>,
    pub standing: &'static Standing,
    /// The zones, in the order of their numbers.
    pub zones: RefCell<Vec<&'static Zone>>,
    /// The longest `gone_after` of their upstreams, in milliseconds.
    pub gone_after: Cell<u64>,
}

/// By name and address of the store.
type Standings = Vec<(Vec<u8>, &'static Standing)>;

/// What the workers of each store know together. A reload keeps it; it is never unmapped.
static STANDINGS: PerWorker<RefCell<Standings>> = PerWorker::new(RefCell::new(Vec::new()));

/// What the workers know of the store with this name and address; `None` if memory is short.
pub fn standing(name: &[u8]) -> Option<&'static Standing> {
    let mut all = STANDINGS.borrow_mut();
    if let Some((_, standing)) = all.iter().find(|(known, _)| known == name) {
        return Some(standing);
    }
    let memory = Mapping::anonymous(size_of::<Standing>()).ok()?;
    // SAFETY: new memory, whose zeros are a standing, all of whose fields are atomic. It stays mapped.
    let standing = unsafe { memory.address().cast::<Standing>().as_ref() };
    core::mem::forget(memory);
    all.push((name.to_vec(), standing));
    Some(standing)
}
