//! A mutex between processes that tells the next owner that the last one died.
//!
//! The kernel says so (robust futexes): no process id is stored or probed. By hand, over libc: no
//! crate in use has robust mutexes that lie in memory of the caller's choice. Order of
//! locks: those of an older table before a newer one's; the server list's before a shard's; never two
//! shards' of one table.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

/// Bytes set aside for a `pthread_mutex_t`, more than any C library on Linux needs.
const SIZE: usize = 64;

const _: () = assert!(size_of::<libc::pthread_mutex_t>() <= SIZE);
const _: () = assert!(align_of::<libc::pthread_mutex_t>() <= 8);

#[repr(C, align(8))]
pub(crate) struct RobustMutex(UnsafeCell<[MaybeUninit<u8>; SIZE]>);

/// How the lock was got.
pub(crate) enum Locked<'a> {
    /// The last owner has released it.
    Clean(Guard<'a>),
    /// The last owner died while it held the lock. Call `Guard::consistent` when what it left is
    /// repaired. If the guard is dropped without that call, the lock fails for ever.
    OwnerDied(Guard<'a>),
    /// The lock cannot be taken: it is not initialised, or broken.
    Failed,
}

impl RobustMutex {
    /// # Safety
    /// 1. No thread of any process uses the mutex until this returns.
    /// 2. No thread of any process holds it.
    pub(crate) unsafe fn init(&self) -> Result<(), i32> {
        let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: the attributes are initialised by the first call and used by the others before
        // they are destroyed; the mutex is large and aligned enough (asserted above), and by
        // conditions 1 and 2 of this function no thread uses or holds it.
        unsafe {
            check(libc::pthread_mutexattr_init(attributes))?;
            let result =
                check(libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED))
                    .and_then(|()| {
                        check(libc::pthread_mutexattr_setrobust(
                            attributes,
                            libc::PTHREAD_MUTEX_ROBUST,
                        ))
                    })
                    .and_then(|()| check(libc::pthread_mutex_init(self.raw(), attributes)));
            libc::pthread_mutexattr_destroy(attributes);
            result
        }
    }

    /// Waits for the lock: first awake, since a change under a shard's lock takes less time than to
    /// fall asleep, then in the kernel.
    pub(crate) fn lock(&self) -> Locked<'_> {
        const TRIES: usize = 50;
        const PAUSES: usize = 4;
        for _ in 0..TRIES {
            // SAFETY: `Region::create` has initialised the mutex before any process got a handle of
            // the table, and its memory stays mapped.
            match unsafe { libc::pthread_mutex_trylock(self.raw()) } {
                libc::EBUSY => (0..PAUSES).for_each(|_| core::hint::spin_loop()),
                code => return self.locked(code),
            }
        }
        // SAFETY: `Region::create` has initialised the mutex, and its memory stays mapped.
        self.locked(unsafe { libc::pthread_mutex_lock(self.raw()) })
    }

    fn locked(&self, code: i32) -> Locked<'_> {
        match code {
            0 => Locked::Clean(Guard(self)),
            libc::EOWNERDEAD => Locked::OwnerDied(Guard(self)),
            _ => Locked::Failed,
        }
    }

    fn raw(&self) -> *mut libc::pthread_mutex_t {
        self.0.get().cast()
    }
}

fn check(code: i32) -> Result<(), i32> {
    if code == 0 {
        Ok(())
    } else {
        Err(code)
    }
}

/// The lock is held until this is dropped.
pub(crate) struct Guard<'a>(&'a RobustMutex);

impl Guard<'_> {
    /// What the dead owner left has been repaired.
    pub(crate) fn consistent(&self) {
        // SAFETY: a guard exists only while its thread holds the mutex, and is not `Send`.
        unsafe { libc::pthread_mutex_consistent(self.0.raw()) };
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // SAFETY: a guard exists only while its thread holds the mutex, and is not `Send`.
        unsafe { libc::pthread_mutex_unlock(self.0.raw()) };
    }
}
