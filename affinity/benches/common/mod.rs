//! Memory, ids, and the tables that the benches compare.
#![allow(dead_code, reason = "each bench uses its part")]

use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use affinity::table::{End, Existing, Key, Kind, Limits, ServerId, Span, Table, Tick};
use intrusive_collections::{intrusive_adapter, KeyAdapter, RBTree, RBTreeLink};
use parking_lot::{Mutex, RwLock};

pub const LIMITS: Limits = Limits { timeout: Span(100_000), lifetime: None };
pub const NOW: Tick = Tick(1_000_000);

/// Numbers of sessions to measure with, or others: SESSIONS="1000 10000000".
pub fn sizes() -> Vec<usize> {
    let sizes = std::env::var("SESSIONS").unwrap_or("1000 100000 1000000".into());
    sizes.split_whitespace().map(|size| size.parse().expect("a number of sessions")).collect()
}

/// As long as a UUID in text.
pub type Id = [u8; 36];

/// `count` random ids; others for another seed.
pub fn ids(count: usize, seed: u64) -> Vec<Id> {
    let mut random = Random(seed);
    (0..count)
        .map(|_| {
            let text = format!("{:016x}-{:016x}-ab", random.next(), random.next());
            text.as_bytes()[..36].try_into().unwrap()
        })
        .collect()
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Zeroed memory shared with children; never given back.
pub fn shared(len: usize) -> NonNull<u8> {
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address of the system's choice.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
    assert_ne!(start, libc::MAP_FAILED);
    NonNull::new(start.cast()).unwrap()
}

/// A table that is measured: it gives a load balancer the server of an id.
pub trait Sessions {
    const NAME: &'static str;
    fn new(count: usize) -> Self;
    fn create(&self, id: &Id);
    fn lookup(&self, id: &Id) -> Option<u16>;
    /// As `lookup`, and marks the session as used now.
    fn hit(&self, id: &Id, now: Tick) -> Option<u16>;
    fn forget(&self, id: &Id) -> bool;
}

/// (c) This crate's table, in a zone of 32,000 sessions a megabyte.
pub struct Ours {
    pub table: Table,
    pub server: ServerId,
}

impl Ours {
    fn key(&self, id: &Id) -> Key {
        self.table.key(Kind::Session, id, b"")
    }
}

impl Sessions for Ours {
    const NAME: &'static str = "table";

    fn new(count: usize) -> Ours {
        let len = (count.div_ceil(32_000) << 20).max(64 * 1024);
        // SAFETY: fresh memory that stays mapped.
        let table = unsafe { Table::create(shared(len), len, *b"0123456789abcdef") }.unwrap();
        let server = table.intern(b"192.0.2.1:8000", NOW).unwrap();
        Ours { table, server }
    }

    fn create(&self, id: &Id) {
        self.table.bind(self.key(id), self.server, None, NOW, &LIMITS, Existing::Keep);
    }

    #[inline]
    fn lookup(&self, id: &Id) -> Option<u16> {
        Some(self.table.lookup(self.key(id), NOW, &LIMITS)?.server.index)
    }

    #[inline]
    fn hit(&self, id: &Id, now: Tick) -> Option<u16> {
        Some(self.table.visit(self.key(id), now, &LIMITS)?.server.index)
    }

    fn forget(&self, id: &Id) -> bool {
        self.table.forget(self.key(id), End::Forgotten)
    }
}

/// (a) hashbrown and ahash under parking_lot's lock of many readers, in one process. It keeps and
/// compares whole ids. This crate's table keeps keyed fingerprints of 64 bits and checks that the server
/// is on its list. Both compare two times with the clock of the caller. The hash of (a) is faster: that
/// of (c) also hides ids and takes their place.
pub struct HashMap(RwLock<hashbrown::HashMap<Id, Value, ahash::RandomState>>);

struct Value {
    server: u16,
    created: u32,
    used: AtomicU32,
}

impl Sessions for HashMap {
    const NAME: &'static str = "hashbrown";

    fn new(count: usize) -> HashMap {
        HashMap(RwLock::new(hashbrown::HashMap::with_capacity_and_hasher(
            count,
            ahash::RandomState::new(),
        )))
    }

    fn create(&self, id: &Id) {
        self.0
            .write()
            .insert(*id, Value { server: 1, created: NOW.0, used: AtomicU32::new(NOW.0) });
    }

    #[inline]
    fn lookup(&self, id: &Id) -> Option<u16> {
        let map = self.0.read();
        let value = map.get(id)?;
        let idle = NOW.0.wrapping_sub(value.used.load(Ordering::Relaxed));
        (idle < 100_000 && NOW.0.wrapping_sub(value.created) < 1 << 30).then_some(value.server)
    }

    #[inline]
    fn hit(&self, id: &Id, now: Tick) -> Option<u16> {
        let map = self.0.read();
        let value = map.get(id)?;
        let idle = now.0.wrapping_sub(value.used.load(Ordering::Relaxed));
        if idle != 0 {
            value.used.store(now.0, Ordering::Relaxed);
        }
        (idle < 100_000 && now.0.wrapping_sub(value.created) < 1 << 30).then_some(value.server)
    }

    fn forget(&self, id: &Id) -> bool {
        self.0.write().remove(id).is_some()
    }
}

/// (b) A red-black tree under one mutex, keyed with a hash of the id, as in nginx. A lookup takes the
/// mutex. When the tree is full, the oldest session is evicted.
pub struct Tree(Mutex<TreeInside>);

struct TreeInside {
    tree: RBTree<NodeAdapter>,
    queue: VecDeque<u64>,
    capacity: usize,
    hasher: ahash::RandomState,
}

struct Node {
    link: RBTreeLink,
    hash: u64,
    id: Id,
    server: u16,
    used: AtomicU32,
}

intrusive_adapter!(NodeAdapter = Box<Node>: Node { link: RBTreeLink });

impl<'a> KeyAdapter<'a> for NodeAdapter {
    type Key = u64;
    fn get_key(&self, node: &'a Node) -> u64 {
        node.hash
    }
}

impl Sessions for Tree {
    const NAME: &'static str = "rbtree";

    fn new(count: usize) -> Tree {
        let tree = RBTree::new(NodeAdapter::new());
        let hasher = ahash::RandomState::new();
        Tree(Mutex::new(TreeInside { tree, queue: VecDeque::new(), capacity: count, hasher }))
    }

    fn create(&self, id: &Id) {
        let inside = &mut *self.0.lock();
        let hash = inside.hasher.hash_one(id);
        if inside.queue.len() >= inside.capacity {
            if let Some(oldest) = inside.queue.pop_front() {
                inside.tree.find_mut(&oldest).remove();
            }
        }
        inside.queue.push_back(hash);
        let (link, used) = (RBTreeLink::new(), AtomicU32::new(NOW.0));
        inside.tree.insert(Box::new(Node { link, hash, id: *id, server: 1, used }));
    }

    #[inline]
    fn lookup(&self, id: &Id) -> Option<u16> {
        let inside = self.0.lock();
        let hash = inside.hasher.hash_one(id);
        let node = inside.tree.find(&hash).get()?;
        let idle = NOW.0.wrapping_sub(node.used.load(Ordering::Relaxed));
        (idle < 100_000 && node.id == *id).then_some(node.server)
    }

    fn hit(&self, id: &Id, now: Tick) -> Option<u16> {
        let inside = self.0.lock();
        let hash = inside.hasher.hash_one(id);
        let node = inside.tree.find(&hash).get()?;
        node.used.store(now.0, Ordering::Relaxed);
        (node.id == *id).then_some(node.server)
    }

    fn forget(&self, id: &Id) -> bool {
        let inside = &mut *self.0.lock();
        let hash = inside.hasher.hash_one(id);
        inside.tree.find_mut(&hash).remove().is_some()
    }
}
