//! Loom's atomics for a thread that may die: from a chosen store on, its stores are lost. (Its loads go
//! on, and change nothing.)

use ::loom::sync::atomic as real;
pub(crate) use real::{fence, Ordering};
use std::cell::Cell;

::loom::thread_local! {
    /// Stores that this thread may still make.
    static LEFT: Cell<u32> = Cell::new(u32::MAX);
}

/// The thread dies after `stores` more stores.
pub(crate) fn die_after(stores: u32) {
    LEFT.with(|left| left.set(stores));
}

/// The thread goes on as another process.
pub(crate) fn live() {
    die_after(u32::MAX);
}

fn alive() -> bool {
    LEFT.with(|left| match left.get() {
        u32::MAX => true,
        0 => false,
        more => {
            left.set(more - 1);
            true
        }
    })
}

macro_rules! mortal {
    ($name:ident, $value:ty) => {
        #[derive(Debug)]
        pub(crate) struct $name(real::$name);

        impl $name {
            pub(crate) fn new(value: $value) -> Self {
                Self(real::$name::new(value))
            }

            pub(crate) fn load(&self, ordering: Ordering) -> $value {
                self.0.load(ordering)
            }

            pub(crate) fn store(&self, value: $value, ordering: Ordering) {
                if alive() {
                    self.0.store(value, ordering);
                }
            }

            #[allow(dead_code)]
            pub(crate) fn swap(&self, value: $value, ordering: Ordering) -> $value {
                if alive() {
                    self.0.swap(value, ordering)
                } else {
                    self.0.load(Ordering::Acquire)
                }
            }

            #[allow(dead_code)]
            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.0.compare_exchange(current, new, success, failure)
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new(0)
            }
        }
    };
}

mortal!(AtomicU32, u32);
mortal!(AtomicU64, u64);
