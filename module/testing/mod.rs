//! Directives of the tests, in an nginx module of their own. Only the feature `testing` compiles this room:
//! `tools/module --testing` builds an object that has it, the product never does.
//!
//! The name of each directive begins with `sticky_test_`; by that, `tools/module` finds that the product has
//! none.

use core::ffi::{c_char, c_void};
use core::ptr;

use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_cycle_t, ngx_http_module_t, ngx_int_t, ngx_module_t, ngx_uint_t,
    NGX_CONF_TAKE1, NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET, NGX_HTTP_MODULE, NGX_LOG_NOTICE,
};
use ngx::ngx_log_error;

use crate::nginx::conf::{command, conf_result, Conf, Word, END_OF_COMMANDS};
use crate::nginx::cycle::Cycle;
use crate::nginx::per_worker::serves_requests;
use crate::nginx::pool::Pool;
use crate::nginx::OK;

/// The configuration of `http {}`.
#[derive(Default)]
struct TestConf {
    note: Option<Word>,
}

/// The directives, and the nameless end of the list.
static mut COMMANDS: [ngx_command_t; 2] = [
    ngx_command_t {
        type_: (NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1) as ngx_uint_t,
        conf: NGX_HTTP_MAIN_CONF_OFFSET,
        ..command(c"sticky_test_note", 0, note)
    },
    END_OF_COMMANDS,
];

static TEST_CTX: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: None,
    postconfiguration: None,
    create_main_conf: Some(create_main),
    init_main_conf: None,
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
    ..ngx_module_t::default()
};

unsafe extern "C" fn create_main(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx passes the configuration that it begins to read; its pool lives as long as that.
    let pool = unsafe { Pool::new((*cf).pool) };
    pool.make(TestConf::default).map_or(ptr::null_mut(), |conf| ptr::from_mut(conf).cast())
}

/// `sticky_test_note TEXT;`: each worker logs the text when it starts.
unsafe extern "C" fn note(
    cf: *mut ngx_conf_t,
    _command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it reads, and the one that `create_main` has made.
    let (cf, conf) = unsafe { (Conf::new(cf), &mut *conf.cast::<TestConf>()) };
    conf.note = cf.args().get(1).copied();
    conf_result(Ok(()))
}

unsafe extern "C" fn init_worker(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    // SAFETY: nginx calls this once in each worker, with the cycle that the worker runs; `create_main` makes
    // a `TestConf`.
    let (cycle, conf) = unsafe {
        let cycle = Cycle::new(cycle);
        (cycle, cycle.main_conf::<TestConf>(&raw const ngx_http_sticky_test_module))
    };
    if let Some(note) = conf.and_then(|conf| conf.note).filter(|_| serves_requests()) {
        ngx_log_error!(NGX_LOG_NOTICE, cycle.log(), "note of a test: {note}");
    }
    OK
}
