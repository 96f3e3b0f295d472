//! nginx's configuration, while it is read.

use core::ffi::{c_char, c_void, CStr};
use core::fmt;
use core::ptr::{self, NonNull};

use nginx_sys::{
    ngx_command_t, ngx_conf_full_name, ngx_conf_t, ngx_cycle_t, ngx_http_conf_ctx_t,
    ngx_http_get_variable_index, ngx_http_upstream_main_conf_t, ngx_http_upstream_module,
    ngx_int_t, ngx_log_t, ngx_module_t, ngx_str_t, ngx_uint_t, NGX_HTTP_SRV_CONF_OFFSET,
    NGX_HTTP_UPS_CONF, NGX_LOG_EMERG, NGX_LOG_WARN,
};
use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};

use super::cycle::blocks;
use super::pool::Pool;
use super::upstream::Block;
use super::{MODULE, OK};

/// A configuration error that has been logged.
#[derive(Debug)]
pub struct Logged;

/// Logs and returns the error: `fail!(cf, "invalid parameter \"{name}\"")`.
macro_rules! fail {
    ($cf:expr, $($message:tt)+) => {
        return Err($cf.error(format_args!($($message)+)))
    };
}
pub(crate) use fail;

/// The result of a directive's handler as nginx takes it.
pub fn conf_result(result: Result<(), Logged>) -> *mut c_char {
    match result {
        Ok(()) => NGX_CONF_OK,
        Err(Logged) => NGX_CONF_ERROR,
    }
}

pub type Handler =
    unsafe extern "C" fn(*mut ngx_conf_t, *mut ngx_command_t, *mut c_void) -> *mut c_char;

/// A directive of `upstream {}`.
pub const fn command(name: &'static CStr, arguments: u32, set: Handler) -> ngx_command_t {
    ngx_command_t {
        name: ngx_str_t { len: name.count_bytes(), data: name.as_ptr().cast_mut().cast() },
        type_: (NGX_HTTP_UPS_CONF | arguments) as ngx_uint_t,
        set: Some(set),
        conf: NGX_HTTP_SRV_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    }
}

/// The nameless end of a module's list of directives.
pub const END_OF_COMMANDS: ngx_command_t = ngx_command_t {
    name: ngx_str_t::empty(),
    type_: 0,
    set: None,
    conf: 0,
    offset: 0,
    post: ptr::null_mut(),
};

/// A word of a directive, or a part of one. Its text lives as long as the configuration; only values that
/// are freed with the configuration keep a word.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub struct Word(ngx_str_t);

impl Word {
    pub const fn fixed(text: &'static str) -> Word {
        Word(ngx_str_t { len: text.len(), data: text.as_ptr().cast_mut() })
    }

    /// # Safety
    /// The text lives as long as the configuration, and does not change.
    pub unsafe fn new(text: ngx_str_t) -> Word {
        Word(text)
    }

    pub fn raw(&self) -> ngx_str_t {
        self.0
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// The word before and from byte `at`.
    pub fn split_at(&self, at: usize) -> Option<(Word, Word)> {
        self.0.split_at(at).map(|(head, tail)| (Word(head), Word(tail)))
    }

    /// Name and value of a `name=value` word.
    pub fn split(&self) -> Option<(&str, Word)> {
        let at = self.as_bytes().iter().position(|&byte| byte == b'=')?;
        let name = core::str::from_utf8(self.as_bytes().get(..at)?).ok()?;
        Some((name, self.split_at(at + 1)?.1))
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The configuration that nginx reads (`ngx_conf_t`).
///
/// A callback makes it from nginx's pointer by one `unsafe` call; the methods are safe.
pub struct Conf<'c>(&'c mut ngx_conf_t);

impl<'c> Conf<'c> {
    /// # Safety
    /// 1. `raw` is what nginx passes to a handler of a directive, or to a hook of an http module.
    /// 2. `'c` ends, and the value is dropped, before the callback returns, and no other value of the same
    ///    pointer exists.
    pub unsafe fn new(raw: *mut ngx_conf_t) -> Conf<'c> {
        debug_assert!(!raw.is_null());
        // SAFETY: nginx's pointer, for this callback alone (1, 2).
        Conf(unsafe { &mut *raw })
    }

    /// For calls of nginx's functions.
    pub fn raw(&mut self) -> *mut ngx_conf_t {
        self.0
    }

    /// Logs an error with file and line, as nginx does.
    pub fn error(&mut self, message: fmt::Arguments<'_>) -> Logged {
        ngx::ngx_conf_log_error!(NGX_LOG_EMERG, self.0, "{message}");
        Logged
    }

    /// Logs a warning with file and line, as nginx does.
    pub fn warn(&mut self, message: fmt::Arguments<'_>) {
        ngx::ngx_conf_log_error!(NGX_LOG_WARN, self.0, "{message}");
    }

    /// The index of a variable, whose name is without the `$`.
    pub fn variable(&mut self, name: &[u8]) -> Result<ngx_int_t, Logged> {
        let mut name = ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() };
        // SAFETY: the configuration is being read; nginx reads the name and copies it.
        match unsafe { ngx_http_get_variable_index(self.raw(), &mut name) } {
            index if index >= 0 => Ok(index),
            _ => Err(Logged),
        }
    }

    /// The absolute path of a file.
    pub fn full_name(&mut self, name: Word) -> Result<Word, Logged> {
        let mut name = name;
        // SAFETY: nginx reads the name, and replaces it by another one that lives as long as the configuration.
        match unsafe { ngx_conf_full_name(self.cycle(), &mut name.0, 0) } {
            OK => Ok(name),
            _ => Err(Logged),
        }
    }

    pub fn log(&self) -> *mut ngx_log_t {
        self.0.log
    }

    pub fn pool(&self) -> Pool<'c> {
        // SAFETY: this pool belongs to the configuration, which nginx does not free during the callback.
        unsafe { Pool::new(self.0.pool) }
    }

    pub fn cycle(&self) -> *mut ngx_cycle_t {
        self.0.cycle
    }

    /// nginx's modules, statically linked and loaded ones.
    pub fn modules(&self) -> impl Iterator<Item = &'c ngx_module_t> + use<'c> {
        // SAFETY: nginx's list of modules ends with a null. It and its modules live as long as the configuration.
        let mut next = unsafe { (*self.cycle()).modules };
        core::iter::from_fn(move || {
            // SAFETY: `next` has not passed the null.
            let module = unsafe { (*next).as_ref()? };
            // SAFETY: this element was not the last.
            next = unsafe { next.add(1) };
            Some(module)
        })
    }

    /// The file that is read, and its line.
    pub fn place(&self) -> (Word, usize) {
        // SAFETY: `conf_file` is set while nginx reads directives; the name lives as long as the
        // configuration.
        unsafe {
            let file = &*self.0.conf_file;
            (Word(file.file.name), file.line)
        }
    }

    /// The words of the directive that is read; the first is its name. Empty outside a directive.
    pub fn args(&self) -> &[Word] {
        // SAFETY: nginx keeps the words in an array of strings in the configuration's pool; `Word` is
        // `repr(transparent)` over such a string.
        unsafe {
            let words = self.0.args.as_ref().map_or(&[][..], |args| args.as_slice::<ngx_str_t>());
            core::slice::from_raw_parts(words.as_ptr().cast(), words.len())
        }
    }

    /// Replaces the words of the directive by other ones, at most as many.
    #[cfg(not(nginx_own_sticky))]
    pub fn set_args(&mut self, words: &[Word]) {
        // SAFETY: the array has room for `nelts` words, and `words` is no longer; nginx fills the array again
        // for each directive.
        unsafe {
            let Some(args) = self.0.args.as_mut().filter(|args| words.len() <= args.nelts) else {
                return;
            };
            args.elts.cast::<Word>().copy_from_nonoverlapping(words.as_ptr(), words.len());
            args.nelts = words.len();
        }
    }

    fn http(&self) -> Option<&ngx_http_conf_ctx_t> {
        // SAFETY: inside `http {}`, where all our directives and hooks are, the context is of this type.
        unsafe { self.0.ctx.cast::<ngx_http_conf_ctx_t>().as_ref() }
    }

    /// Another module's main configuration.
    ///
    /// # Safety
    /// 1. `T` is what `module`, an http module, makes for `http {}`.
    /// 2. While the reference lives, that configuration is not used in another way.
    pub unsafe fn main_conf<T>(&mut self, module: *const ngx_module_t) -> Option<&mut T> {
        // SAFETY: `main_conf` has an element for each http module; it is a `T` (1), used by this reference
        // alone (2).
        unsafe { (*self.http()?.main_conf.add((*module).ctx_index)).cast::<T>().as_mut() }
    }

    /// Our main configuration.
    ///
    /// # Safety
    /// 1. `T` is what our module makes for `http {}`.
    /// 2. While the reference lives, that configuration is not used in another way.
    pub unsafe fn own_main_conf<T>(&mut self) -> Option<&mut T> {
        // SAFETY: `main_conf` has an element for each http module; ours is a `T` (1), used by this reference
        // alone (2).
        unsafe { (*self.http()?.main_conf.add(MODULE.get())).cast::<T>().as_mut() }
    }

    /// Another module's configuration of the `upstream {}` or the `server {}` that is read.
    pub fn srv_conf(&self, module: *const ngx_module_t) -> *mut c_void {
        // SAFETY: `srv_conf` has an element for each http module.
        self.http()
            .map_or(ptr::null_mut(), |http| unsafe { *http.srv_conf.add((*module).ctx_index) })
    }

    /// Another module's configuration of the location that is read or merged.
    ///
    /// # Safety
    /// 1. `T` is what `module`, an http module, makes for a location.
    /// 2. While the reference lives, that configuration is not used in another way.
    pub unsafe fn loc_conf<T>(&mut self, module: *const ngx_module_t) -> Option<&mut T> {
        // SAFETY: `loc_conf` has an element for each http module; it is a `T` (1), used by this reference
        // alone (2).
        unsafe { (*self.http()?.loc_conf.add((*module).ctx_index)).cast::<T>().as_mut() }
    }

    /// The `upstream {}` that is read.
    pub fn block(&self) -> Option<Block<'c>> {
        let us = NonNull::new(self.srv_conf(&raw const ngx_http_upstream_module))?;
        // SAFETY: `ngx_http_upstream_module` makes this type; the block lives as long as the configuration,
        // which nginx does not free during the callback.
        Some(unsafe { Block::new(us.as_ptr().cast()) })
    }

    /// All upstreams that have been read, including those that nginx makes for a `proxy_pass`.
    pub fn upstreams(&mut self) -> impl Iterator<Item = Block<'c>> + Clone {
        // SAFETY: `ngx_http_upstream_module` makes this type; its array moves only while a directive is read.
        unsafe {
            let module = &raw const ngx_http_upstream_module;
            let main = self.main_conf::<ngx_http_upstream_main_conf_t>(module);
            blocks(main.map(|main| &*ptr::from_ref(main)))
        }
    }
}
