//! The records of sessions that can be revived, in a zone of their own beside that of the sessions.

use core::cell::OnceCell;
use core::ffi::c_void;
use core::ptr::{self, NonNull};

use affinity::revive::Store;
use affinity::table::{Key, Tick};
use nginx_sys::{
    ngx_int_t, ngx_pagesize, ngx_shared_memory_add, ngx_shm_zone_t, ngx_slab_alloc,
    ngx_slab_pool_t, NGX_LOG_EMERG, NGX_LOG_NOTICE,
};

use crate::nginx;
use crate::nginx::conf::{Conf, Logged};
use crate::nginx::pool::string;
use crate::nginx::{ERROR, OK};
use crate::zone::former::former_zone;
use crate::zone::Zone;

/// What follows the name of the sessions' zone in that of the records. A zone of the configuration cannot have it.
const SUFFIX: &[u8] = b":revive";

/// The records of a zone's sessions. As [`Zone`], it is in the pool of the configuration and lives as long.
pub struct Records {
    zone: &'static Zone,
    /// Set when the memory is mapped.
    store: OnceCell<Store>,
}

/// Declares the records of a zone, or joins them. nginx reports another size.
pub fn join(
    cf: &mut Conf<'_>,
    zone: &'static Zone,
    size: usize,
) -> Result<&'static Records, Logged> {
    let Some(name) = cf.pool().concat(&[zone.name().0, SUFFIX]) else { return Err(Logged) };
    // SAFETY: the configuration is being read; nginx copies the name and logs errors itself. The data of a zone
    // with this tag are null or a `Records`.
    let (shm, joined) = unsafe {
        let tag = nginx::FILTER_MODULE.tag();
        let shm = ngx_shared_memory_add(cf.raw(), &mut string(name), size, tag);
        if shm.is_null() {
            return Err(Logged);
        }
        (shm, (*shm).data.cast::<Records>().as_ref())
    };
    if let Some(records) = joined {
        return Ok(records);
    }
    let Some(records) = cf.pool().make(|| Records { zone, store: OnceCell::new() }) else {
        return Err(Logged);
    };
    let records = ptr::from_mut(records);
    // SAFETY: nginx has just returned `shm`, an element of its list. Both live as long as the configuration, which
    // outlives each value that keeps the reference.
    unsafe {
        (*shm).data = records.cast();
        (*shm).init = Some(init);
        Ok(&*records)
    }
}

impl Records {
    /// `None` before the memory is mapped. It is mapped before the first request.
    pub fn store(&self) -> Option<&Store> {
        self.store.get()
    }

    /// When the session of a key was used last; `None` if there is none.
    pub fn used(&self) -> impl FnMut(Key) -> Option<Tick> + '_ {
        let (sessions, limits, now) = (self.zone.sessions(), self.zone.limits(), nginx::now());
        move |key| sessions?.table.lookup(key, now, &limits).map(|session| session.used)
    }
}

/// Called when nginx has mapped the zone, or has kept it over a reload (`old` is then the former [`Records`]).
unsafe extern "C" fn init(shm: *mut ngx_shm_zone_t, old: *mut c_void) -> ngx_int_t {
    // SAFETY: nginx passes the zone that `join` declared, and null or the zone of the former configuration, which is
    // still alive.
    let (shm, records, old) =
        unsafe { (&*shm, &*(*shm).data.cast::<Records>(), old.cast::<Records>().as_ref()) };
    let store = match old.and_then(Records::store) {
        Some(store) => Ok(*store),
        // SAFETY: nginx has mapped `shm` and initialised its slab pool.
        None => unsafe { map(shm) },
    };
    match store {
        Ok(store) => {
            // nginx calls this once for each zone of a configuration.
            let _ = records.store.set(store);
            OK
        }
        Err(why) => {
            let name = shm.shm.name;
            ngx::ngx_log_error!(NGX_LOG_EMERG, shm.shm.log, "zone \"{name}\": {why}");
            ERROR
        }
    }
}

/// Makes a store in new memory, and copies the records of the former memory, if the size has changed.
///
/// # Safety
/// `shm` is mapped, and nginx has made its slab pool.
unsafe fn map(shm: &ngx_shm_zone_t) -> Result<Store, String> {
    // SAFETY: a mapped zone begins with its slab pool, and no other process uses the new memory yet. The data of a
    // zone with our tag are a `Records`, and it lives as long as its configuration.
    unsafe {
        let pool = &mut *shm.shm.addr.cast::<ngx_slab_pool_t>();
        let len = pool.pfree * ngx_pagesize;
        let memory = ngx_slab_alloc(pool, len);
        let start = NonNull::new(memory.cast::<u8>()).ok_or("no memory for the records")?;
        // New memory from the kernel is zero, unless nginx was built with NGX_DEBUG_MALLOC.
        if start.cast::<u64>().read() != 0 {
            start.write_bytes(0, len);
        }
        let store = Store::create(start, len).map_err(|error| error.to_string())?;
        let former = former_zone(shm).filter(|old| old.tag == nginx::FILTER_MODULE.tag());
        let former = former.and_then(|old| (*old.data.cast::<Records>()).store());
        if let Some(former) = former {
            let now = nginx::now();
            let taken = store.import(former, now, |_| Some(now));
            let name = shm.shm.name;
            ngx::ngx_log_error!(
                NGX_LOG_NOTICE,
                shm.shm.log,
                "zone \"{name}\" has new memory, {taken} records moved there"
            );
        }
        Ok(store)
    }
}
