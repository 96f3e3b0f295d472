//! Strings with variables, as `create`, `lookup` and `bind` take them.
//!
//! Nearly all of them are one header: `$http_NAME`, `$sent_http_NAME`, `$upstream_http_NAME`. Such
//! a value is read from the list of headers itself, which costs a tenth of nginx's script engine
//! and sees the header as it is now, not as a variable has cached it.

use crate::conf::cookie::Cookie;
use crate::conf::header::Header;
use crate::conf::header::List;
use crate::nginx::conf::{fail, Logged};
use crate::nginx::{self, OK};
use core::mem;
use core::ptr;
use nginx_sys::{
    ngx_conf_t, ngx_cycle_t, ngx_http_compile_complex_value, ngx_http_compile_complex_value_t,
    ngx_http_complex_value, ngx_http_complex_value_t, ngx_http_core_main_conf_t,
    ngx_http_core_module, ngx_http_request_t, ngx_http_script_variables_count, ngx_http_variable_t,
    ngx_str_t,
};

/// A string with variables, compiled.
pub struct Value {
    compiled: ngx_http_complex_value_t,
    header: Option<Header>,
    cookie: Option<Cookie>,
}

/// [`Value::eval`] or [`Value::glance`].
pub type Read<'a, E> = unsafe fn(&Value, *mut ngx_http_request_t) -> Result<&'a [u8], E>;

#[derive(Debug)]
pub struct OutOfMemory;

/// A value is more than what a header tells.
pub struct NotInHeaders;

impl Value {
    /// Compiles the text of a parameter; it must hold a variable.
    ///
    /// # Safety
    /// `text` lies in the configuration's pool.
    pub unsafe fn compile(
        cf: &mut ngx_conf_t,
        parameter: &str,
        text: ngx_str_t,
    ) -> Result<Value, Logged> {
        if text.is_empty() {
            fail!(cf, "empty \"{parameter}\" parameter");
        }
        if !has_variables(&text) {
            fail!(cf, "no variable in \"{parameter}={text}\"");
        }
        // SAFETY: by this function's contract.
        unsafe { Value::compile_any(cf, text) }
    }

    /// Compiles a text, with variables or without.
    ///
    /// # Safety
    /// As above.
    pub unsafe fn compile_any(cf: &mut ngx_conf_t, mut text: ngx_str_t) -> Result<Value, Logged> {
        let header = Header::parse(cf, text.as_bytes());
        let cookie = Cookie::parse(cf, text.as_bytes());
        // SAFETY: both structures are plain data, and nginx fills in what `ccv` points to.
        unsafe {
            let mut compiled: ngx_http_complex_value_t = mem::zeroed();
            let mut ccv: ngx_http_compile_complex_value_t = mem::zeroed();
            ccv.cf = cf;
            ccv.value = &mut text;
            ccv.complex_value = &mut compiled;
            if ngx_http_compile_complex_value(&mut ccv) != OK {
                return Err(Logged);
            }
            Ok(Value { compiled, header, cookie })
        }
    }

    /// Gives up the short way where the configuration has made the variable something else (`set`,
    /// `map`), which shows when all of it has been read.
    ///
    /// # Safety
    /// `cycle` is complete, and the value was compiled for it.
    pub unsafe fn confirm(&mut self, cycle: *const ngx_cycle_t) {
        // SAFETY: by this function's contract, the index is one of the core module's variables.
        unsafe {
            let core = nginx::conf::cycle_main_conf::<ngx_http_core_main_conf_t>(
                cycle,
                &raw const ngx_http_core_module,
            );
            let Some(core) = core else { return };
            let variables = core.variables.as_slice::<ngx_http_variable_t>();
            let is_header = |index| {
                let variable: Option<&ngx_http_variable_t> = variables.get(index as usize);
                // nginx passes variables that have only a known prefix their own name.
                variable.is_some_and(|v| v.data == &raw const v.name as usize)
            };
            self.header = self.header.take().filter(|header| is_header(header.index));
            self.cookie = self.cookie.take().filter(|cookie| is_header(cookie.index));
        }
    }

    /// The value for this request, possibly empty.
    ///
    /// # Safety
    /// `r` is a live request of the cycle that compiled the value.
    #[inline(always)]
    pub unsafe fn eval<'a>(&self, r: *mut ngx_http_request_t) -> Result<&'a [u8], OutOfMemory> {
        // SAFETY: by this function's contract.
        unsafe {
            match self.header.as_ref().and_then(|header| header.find(r)) {
                Some(text) => Ok(text),
                None => self.run(r),
            }
        }
    }

    /// Whether the value is a header of requests.
    pub fn is_request_header(&self) -> bool {
        self.header.as_ref().is_some_and(|header| matches!(header.list, List::Request))
    }

    /// The value, if a header of the request tells it: then nothing is run for it, and no variable
    /// is cached.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    pub unsafe fn glance<'a>(&self, r: *mut ngx_http_request_t) -> Result<&'a [u8], NotInHeaders> {
        let header = self.header.as_ref().filter(|header| matches!(header.list, List::Request));
        // SAFETY: by this function's contract.
        header.and_then(|header| unsafe { header.find(r) }).ok_or(NotInHeaders)
    }

    /// The cookie that the value is, if it is one and nothing else.
    pub fn cookie(&self) -> Option<&Cookie> {
        self.cookie.as_ref()
    }

    /// The value as nginx's script engine gives it; of cookies that a response sets, the first that
    /// counts.
    ///
    /// # Safety
    /// As above.
    #[cold]
    unsafe fn run<'a>(&self, r: *mut ngx_http_request_t) -> Result<&'a [u8], OutOfMemory> {
        // SAFETY: by this function's contract.
        if let Some(set) = self.cookie.as_ref().and_then(|cookie| unsafe { cookie.set(r) }) {
            return Ok(set.iter().next().unwrap_or_default());
        }
        let mut text = ngx_str_t::empty();
        // SAFETY: nginx does not write to a compiled value; the result lies in the request's pool
        // or in memory that lives as long as the request.
        unsafe {
            let value = (&raw const self.compiled).cast_mut();
            if ngx_http_complex_value(r, value, &mut text) != OK {
                return Err(OutOfMemory);
            }
            Ok(nginx::bytes(&text))
        }
    }
}

/// Whether a text holds a variable.
pub fn has_variables(text: &ngx_str_t) -> bool {
    // SAFETY: nginx only reads the string.
    unsafe { ngx_http_script_variables_count(ptr::from_ref(text).cast_mut()) != 0 }
}

/// The first value that is not empty; empty if all are.
///
/// # Safety
/// As for `read`.
#[inline(always)]
pub unsafe fn first_value<'a, E>(
    values: &[Value],
    r: *mut ngx_http_request_t,
    read: Read<'a, E>,
) -> Result<&'a [u8], E> {
    match values {
        // SAFETY: by this function's contract.
        [value] => unsafe { read(value, r) },
        // SAFETY: as above.
        values => unsafe { first_of(values, r, read) },
    }
}

#[cold]
unsafe fn first_of<'a, E>(
    values: &[Value],
    r: *mut ngx_http_request_t,
    read: Read<'a, E>,
) -> Result<&'a [u8], E> {
    for value in values {
        // SAFETY: by this function's contract.
        let text = unsafe { read(value, r)? };
        if !text.is_empty() {
            return Ok(text);
        }
    }
    Ok(&[])
}
