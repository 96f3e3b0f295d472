//! `sticky_learn`: session affinity for the upstreams of nginx.
//!
//! One object holds two nginx modules, because two positions in nginx's list of modules are needed. The
//! first is before `ngx_http_upstream_module`: it wires the upstreams before nginx initialises them. The
//! second is among the filters: it sees the headers of a response and, where needed, its body. The feature
//! `testing` adds a third one, with the directives of `testing/`, for the tests.
//!
//! This file connects nginx's hooks with the rooms. A request passes the rooms in this order:
//! 1. `request/` (PRECONTENT): its id is read, its session prefetched.
//! 2. `request/` (`peer.init`, `peer.get`): the session's server is looked up in `zone/` and taken from
//!    `peers/`.
//! 3. `response/` (filters), `request/`: the response learns, moves or removes the session in the zone.
//! 4. `worker/`: the session is refreshed while the response lasts.
//!
//! docs/architecture.md describes the rooms, their floors, and where to add what.

#![deny(unsafe_op_in_unsafe_fn)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!(
    "sticky_learn needs a 64-bit system: ngx_msec_t has 32 bits here and wraps after 49.7 days, \
     and sessions would never expire"
);

use core::ffi::{c_char, c_void};

use conf::{LocationConf, MainConf};
use nginx::conf::{command, conf_result, Conf, Logged, END_OF_COMMANDS};
use nginx::cycle::Cycle;
use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_cycle_t, ngx_http_module_t, ngx_int_t, ngx_module_t, ngx_uint_t,
    NGX_CONF_2MORE, NGX_CONF_ANY, NGX_CONF_BLOCK, NGX_CONF_NOARGS, NGX_CONF_TAKE1,
    NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET,
    NGX_HTTP_MODULE,
};

mod api;
mod balancer;
mod conf;
mod hold;
mod lua;
mod net;
mod nginx;
mod peers;
mod request;
mod response;
mod revive;
mod rpc;
mod servers;
mod share;
#[cfg(not(nginx_own_sticky))]
mod sticky;
#[cfg(nginx_own_sticky)]
#[path = "sticky/absent.rs"]
mod sticky;
mod storage;
#[cfg(feature = "testing")]
mod testing;
mod wait;
mod worker;
mod zone;

/// The modules of the object, and the end of the list.
#[cfg(not(feature = "linked"))]
const MODULES_LEN: usize = 3 + if cfg!(feature = "testing") { 1 } else { 0 };

/// The modules of this object, for nginx's `load_module`.
#[cfg(not(feature = "linked"))]
#[no_mangle]
pub static mut ngx_modules: [*const ngx_module_t; MODULES_LEN] = [
    &raw const ngx_http_sticky_learn_module,
    &raw const ngx_http_sticky_learn_filter_module,
    #[cfg(feature = "testing")]
    &raw const testing::ngx_http_sticky_test_module,
    core::ptr::null(),
];

#[cfg(not(feature = "linked"))]
#[no_mangle]
pub static mut ngx_module_names: [*const c_char; MODULES_LEN] = [
    c"ngx_http_sticky_learn_module".as_ptr(),
    c"ngx_http_sticky_learn_filter_module".as_ptr(),
    #[cfg(feature = "testing")]
    c"ngx_http_sticky_test_module".as_ptr(),
    core::ptr::null(),
];

/// nginx inserts each module before the first loaded module of those that follow it here.
#[cfg(not(feature = "linked"))]
#[no_mangle]
pub static mut ngx_module_order: [*const c_char; 5] = [
    c"ngx_http_sticky_learn_module".as_ptr(),
    c"ngx_http_upstream_module".as_ptr(),
    c"ngx_http_sticky_learn_filter_module".as_ptr(),
    // The copy filter: the first to run of nginx's filters that a dynamic filter may follow.
    c"ngx_http_copy_filter_module".as_ptr(),
    core::ptr::null(),
];

/// The directives of every version, those for an nginx without `sticky`, and the nameless end of the list.
const COMMANDS_LEN: usize = 7 + if cfg!(nginx_own_sticky) { 0 } else { 2 };

pub static mut COMMANDS: [ngx_command_t; COMMANDS_LEN] = {
    let mut commands = [const { END_OF_COMMANDS }; COMMANDS_LEN];
    commands[0] = command(c"sticky_learn", NGX_CONF_ANY, conf::sticky_learn::sticky_learn);
    commands[1] = command(c"keepalive", NGX_CONF_ANY, balancer::keepalive::keepalive);
    commands[2] = ngx_command_t {
        type_: (NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS | NGX_CONF_TAKE1) as ngx_uint_t,
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        ..command(c"sticky_api", 0, api::sticky_api)
    };
    let balancer_by_lua: nginx::conf::Handler = conf::foreign::balancer_by_lua;
    commands[3] = command(c"balancer_by_lua_block", NGX_CONF_BLOCK | NGX_CONF_ANY, balancer_by_lua);
    commands[4] = command(c"balancer_by_lua_file", NGX_CONF_ANY, balancer_by_lua);
    commands[5] = ngx_command_t {
        type_: (NGX_HTTP_MAIN_CONF | NGX_CONF_2MORE) as ngx_uint_t,
        conf: NGX_HTTP_MAIN_CONF_OFFSET,
        ..command(c"sticky_share", 0, share::directive::sticky_share)
    };
    #[cfg(not(nginx_own_sticky))]
    {
        commands[6] = command(c"sticky", NGX_CONF_2MORE, sticky::directive::sticky);
        commands[7] = command(c"server", nginx_sys::NGX_CONF_1MORE, balancer::server::server);
    }
    commands
};

static STICKY_LEARN_CTX: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: Some(response::variables::add),
    postconfiguration: Some(request::precontent::install),
    create_main_conf: Some(create_main),
    init_main_conf: Some(init_main),
    create_srv_conf: Some(conf::create_upstream),
    merge_srv_conf: None,
    create_loc_conf: Some(conf::create_location),
    merge_loc_conf: Some(merge_location),
};

#[cfg_attr(feature = "linked", no_mangle)]
#[allow(non_upper_case_globals, reason = "as nginx names its modules")]
pub static mut ngx_http_sticky_learn_module: ngx_module_t = ngx_module_t {
    ctx: &raw const STICKY_LEARN_CTX as *mut c_void,
    commands: &raw mut COMMANDS as *mut _,
    type_: NGX_HTTP_MODULE as _,
    init_module: Some(init_module),
    init_process: Some(init_worker),
    exit_process: Some(exit_worker),
    exit_master: Some(exit_master),
    ..ngx_module_t::default()
};

static FILTER_CTX: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: None,
    postconfiguration: Some(install_filters),
    create_main_conf: None,
    init_main_conf: None,
    create_srv_conf: None,
    merge_srv_conf: None,
    create_loc_conf: None,
    merge_loc_conf: None,
};

#[cfg_attr(feature = "linked", no_mangle)]
#[allow(non_upper_case_globals, reason = "as nginx names its modules")]
pub static mut ngx_http_sticky_learn_filter_module: ngx_module_t = ngx_module_t {
    ctx: &raw const FILTER_CTX as *mut c_void,
    type_: NGX_HTTP_MODULE as _,
    ..ngx_module_t::default()
};

/// The first call of nginx for a configuration.
unsafe extern "C" fn create_main(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx has set `ctx_index` of all modules, and passes the configuration that it begins to read.
    unsafe {
        nginx::MODULE.set(ngx_http_sticky_learn_module.ctx_index);
        nginx::FILTER_MODULE.set(ngx_http_sticky_learn_filter_module.ctx_index);
        conf::create_main(cf)
    }
}

/// Runs before nginx's own `init_main_conf` of upstreams.
unsafe extern "C" fn init_main(cf: *mut ngx_conf_t, _main: *mut c_void) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it reads; no other reference to it lives during this call.
    let mut cf = unsafe { Conf::new(cf) };
    let zones = MainConf::of(&mut cf).map(|main| main.zones.clone()).unwrap_or_default();
    let result = zone::check(&mut cf, &zones, conf::servers).and_then(|()| share::wire(&mut cf));
    if result.is_ok() {
        revive::arrange(&mut cf);
        balancer::wire::wire(&mut cf);
    }
    conf_result(result)
}

/// Runs for each location, before any module that passes requests to upstreams has merged it.
unsafe extern "C" fn merge_location(
    cf: *mut ngx_conf_t,
    parent: *mut c_void,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it reads and what `create_location` made, twice; no other
    // reference to one of them lives during this call.
    let (mut cf, parent, conf) =
        unsafe { (Conf::new(cf), &*parent.cast::<LocationConf>(), &*conf.cast::<LocationConf>()) };
    conf::location::note_upstream(&mut cf, parent, conf);
    conf::location::advice::note_location(&mut cf);
    api::limit_bodies(&mut cf, conf);
    conf_result(Ok(()))
}

/// Runs when all filters that run after ours are installed.
unsafe extern "C" fn install_filters(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx passes the configuration that it reads; no other reference to it lives during this call.
    let mut cf = unsafe { Conf::new(cf) };
    // The filter that is installed last runs first.
    response::filters::install(&mut cf);
    request::opening::install(&mut cf);
    sticky::install_filter(&mut cf);
    conf::location::advice::warn(&mut cf);
    nginx::OK
}

/// Runs when a configuration is complete, with its zones mapped.
unsafe extern "C" fn init_module(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    // SAFETY: nginx passes the cycle that it will run next; it has no request yet.
    let cycle = unsafe { Cycle::new(cycle) };
    // SAFETY: the cycle has no request yet.
    unsafe { balancer::wire::confirm_values(cycle) };
    // With `master_process off`, those of the cycle that this one replaces.
    net::connection::close_all();
    api::report::note_start();
    match zone::commit(cycle, conf::zones(cycle)) {
        Ok(()) => nginx::OK,
        Err(Logged) => nginx::ERROR,
    }
}

unsafe extern "C" fn init_worker(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    // SAFETY: nginx calls this once in each worker, with the cycle that the worker runs.
    let cycle = unsafe { Cycle::new(cycle) };
    request::precontent::begin_worker(cycle);
    servers::attempts::start(cycle);
    worker::start(cycle);
    share::start(cycle);
    nginx::OK
}

/// Runs in the master when its last worker has ended.
unsafe extern "C" fn exit_master(cycle: *mut ngx_cycle_t) {
    // SAFETY: nginx passes the cycle that the master runs.
    let cycle = unsafe { Cycle::new(cycle) };
    zone::close(cycle, conf::zones(cycle));
}

unsafe extern "C" fn exit_worker(cycle: *mut ngx_cycle_t) {
    // SAFETY: nginx passes the cycle that the worker runs.
    servers::attempts::stop(unsafe { Cycle::new(cycle) });
    share::stop();
    net::connection::close_all();
}
