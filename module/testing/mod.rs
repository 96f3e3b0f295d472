//! Directives of the tests, in an nginx module of their own. Only the feature `testing` compiles this room:
//! `tools/module --testing` builds an object that has it, the product never does.
//!
//! The name of each directive begins with `sticky_test_`; by that, `tools/module` finds that the product has
//! none.

mod answers;
mod call;
mod connect;
mod hold;
mod page;

use core::ffi::{c_char, c_void};
use core::ptr;

use call::CallTest;
use connect::Test;
use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_cycle_t, ngx_http_module_t, ngx_int_t, ngx_module_t, ngx_uint_t,
    NGX_CONF_1MORE, NGX_CONF_ANY, NGX_CONF_TAKE1, NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET,
    NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET, NGX_HTTP_MODULE,
};
use ngx::core::NGX_CONF_OK;

use crate::nginx::conf::{command, conf_result, Conf, END_OF_COMMANDS};
use crate::nginx::cycle::Cycle;
use crate::nginx::pool::Pool;
use crate::nginx::OK;

/// The configuration of `http {}`.
#[derive(Default)]
struct TestConf {
    tests: Vec<Test>,
    calls: Vec<CallTest>,
}

/// The directives, and the nameless end of the list.
static mut COMMANDS: [ngx_command_t; 7] = [
    command(c"sticky_test_answer", NGX_CONF_ANY, answers::answer),
    command(c"sticky_test_hold", NGX_CONF_ANY, hold::hold),
    ngx_command_t {
        type_: (NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1) as ngx_uint_t,
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        ..command(c"sticky_test_holding", 0, hold::holding)
    },
    ngx_command_t {
        type_: (NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1) as ngx_uint_t,
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        ..command(c"sticky_test_waiting", 0, answers::waiting)
    },
    ngx_command_t {
        type_: (NGX_HTTP_MAIN_CONF | NGX_CONF_1MORE) as ngx_uint_t,
        conf: NGX_HTTP_MAIN_CONF_OFFSET,
        ..command(c"sticky_test_connect", 0, connect)
    },
    ngx_command_t {
        type_: (NGX_HTTP_MAIN_CONF | NGX_CONF_1MORE) as ngx_uint_t,
        conf: NGX_HTTP_MAIN_CONF_OFFSET,
        ..command(c"sticky_test_call", 0, call)
    },
    END_OF_COMMANDS,
];

static TEST_CTX: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: None,
    postconfiguration: None,
    create_main_conf: Some(create_main),
    init_main_conf: Some(init_main),
    create_srv_conf: None,
    merge_srv_conf: None,
    create_loc_conf: None,
    merge_loc_conf: None,
};

#[allow(non_upper_case_globals, reason = "as nginx names its modules")]
pub static mut ngx_http_sticky_test_module: ngx_module_t = ngx_module_t {
    ctx: &raw const TEST_CTX as *mut c_void,
    commands: &raw mut COMMANDS as *mut _,
    type_: NGX_HTTP_MODULE as _,
    init_process: Some(init_worker),
    exit_process: Some(exit_worker),
    ..ngx_module_t::default()
};

unsafe extern "C" fn create_main(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx passes the configuration that it begins to read; its pool lives as long as that.
    let pool = unsafe { Pool::new((*cf).pool) };
    pool.make(TestConf::default).map_or(ptr::null_mut(), |conf| ptr::from_mut(conf).cast())
}

unsafe extern "C" fn connect(
    cf: *mut ngx_conf_t,
    _command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it reads, and the one that `create_main` has made.
    let (mut cf, conf) = unsafe { (Conf::new(cf), &mut *conf.cast::<TestConf>()) };
    conf_result(Test::read(&mut cf).map(|test| conf.tests.push(test)))
}

unsafe extern "C" fn call(
    cf: *mut ngx_conf_t,
    _command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it reads, and the one that `create_main` has made.
    let (mut cf, conf) = unsafe { (Conf::new(cf), &mut *conf.cast::<TestConf>()) };
    conf_result(CallTest::read(&mut cf).map(|test| conf.calls.push(test)))
}

/// Runs when `http {}` is read.
unsafe extern "C" fn init_main(cf: *mut ngx_conf_t, conf: *mut c_void) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it reads, and the one that `create_main` has made.
    let (mut cf, conf) = unsafe { (Conf::new(cf), &mut *conf.cast::<TestConf>()) };
    let targets = conf.tests.iter_mut().map(|test| &mut test.target);
    for target in targets.chain(conf.calls.iter_mut().map(|test| &mut test.target)) {
        target.finish(&mut cf);
    }
    NGX_CONF_OK
}

/// Runs in each worker, and in the cache manager.
unsafe extern "C" fn init_worker(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    // SAFETY: nginx passes the cycle that the worker runs; `create_main` makes a `TestConf`.
    let (cycle, conf) = unsafe {
        let cycle = Cycle::new(cycle);
        (cycle, cycle.main_conf::<TestConf>(&raw const ngx_http_sticky_test_module))
    };
    for test in conf.iter().flat_map(|conf| &conf.tests) {
        test.start(cycle);
    }
    for test in conf.iter().flat_map(|conf| &conf.calls) {
        test.start(cycle);
    }
    OK
}

unsafe extern "C" fn exit_worker(cycle: *mut ngx_cycle_t) {
    // SAFETY: nginx passes the cycle that the worker runs.
    answers::exit_worker(unsafe { Cycle::new(cycle) });
}
