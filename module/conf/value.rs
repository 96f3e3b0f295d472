//! Strings with variables, as `create`, `lookup` and `bind` take them.
//!
//! Nearly all of them are one header: `$http_NAME`, `$sent_http_NAME`, `$upstream_http_NAME`. Such
//! a value is read from the list of headers itself, which costs a tenth of nginx's script engine
//! and sees the header as it is now, not as a variable has cached it.

use core::mem;

use nginx_sys::{
    ngx_http_compile_complex_value, ngx_http_compile_complex_value_t, ngx_http_complex_value,
    ngx_http_complex_value_t, ngx_http_core_main_conf_t, ngx_http_core_module,
    ngx_http_script_variables_count, ngx_http_variable_t, ngx_int_t, ngx_str_t,
};

use crate::conf::cookie::Cookie;
use crate::conf::header::{Header, List};
use crate::nginx::conf::{fail, Conf, Logged, Word};
use crate::nginx::cycle::Cycle;
use crate::nginx::request::Request;
use crate::nginx::{self, OK};

/// A string with variables, compiled.
pub struct Value {
    compiled: ngx_http_complex_value_t,
    header: Option<Header>,
    cookie: Option<Cookie>,
}

/// [`Value::eval`] or [`Value::header_only`].
pub type Read<'r, E> = fn(&Value, Request<'r>) -> Result<&'r [u8], E>;

#[derive(Debug)]
pub struct OutOfMemory;

/// A value is more than what a header tells.
pub struct NotInHeaders;

impl Value {
    /// Compiles the text of a parameter; it must hold a variable.
    pub fn compile(cf: &mut Conf<'_>, parameter: &str, text: Word) -> Result<Value, Logged> {
        if text.is_empty() {
            fail!(cf, "empty \"{parameter}\" parameter");
        }
        if !has_variables(&text) {
            fail!(cf, "no variable in \"{parameter}={text}\"");
        }
        Value::compile_any(cf, text)
    }

    /// Compiles a text, with variables or without.
    pub fn compile_any(cf: &mut Conf<'_>, text: Word) -> Result<Value, Logged> {
        let header = Header::parse(cf, text.as_bytes());
        let cookie = Cookie::parse(cf, text.as_bytes());
        let mut text = text.raw();
        // SAFETY: both structures are plain data, and nginx fills in what `ccv` points to. The text lives as
        // long as the configuration, and so does what is compiled of it.
        unsafe {
            let mut compiled: ngx_http_complex_value_t = mem::zeroed();
            let mut ccv: ngx_http_compile_complex_value_t = mem::zeroed();
            ccv.cf = cf.raw();
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
    /// `cycle` is the one that the value was compiled for.
    pub fn confirm(&mut self, cycle: Cycle<'_>) {
        // SAFETY: that is what the core module makes, and its array holds its variables.
        let variables = unsafe {
            let core =
                cycle.main_conf::<ngx_http_core_main_conf_t>(&raw const ngx_http_core_module);
            core.map_or(&[][..], |core| core.variables.as_slice::<ngx_http_variable_t>())
        };
        let is_header = |index: ngx_int_t| {
            let variable: Option<&ngx_http_variable_t> = variables.get(index as usize);
            // nginx passes variables that have only a known prefix their own name.
            variable.is_some_and(|v| v.data == &raw const v.name as usize)
        };
        self.header = self.header.take().filter(|header| is_header(header.index));
        self.cookie = self.cookie.take().filter(|cookie| is_header(cookie.index));
    }

    /// The value for this request, possibly empty.
    #[inline(always)]
    pub fn eval<'r>(&self, r: Request<'r>) -> Result<&'r [u8], OutOfMemory> {
        match self.header.as_ref().and_then(|header| header.find(r)) {
            Some(text) => Ok(text),
            None => self.run(r),
        }
    }

    /// Whether the value is a header of requests.
    pub fn is_request_header(&self) -> bool {
        self.header.as_ref().is_some_and(|header| matches!(header.list, List::Request))
    }

    /// The value, if a header of the request tells it: then nothing is run for it, and no variable
    /// is cached.
    #[inline(always)]
    pub fn header_only<'r>(&self, r: Request<'r>) -> Result<&'r [u8], NotInHeaders> {
        let header = self.header.as_ref().filter(|header| matches!(header.list, List::Request));
        header.and_then(|header| header.find(r)).ok_or(NotInHeaders)
    }

    /// The cookie that the value is, if it is one and nothing else.
    pub fn cookie(&self) -> Option<&Cookie> {
        self.cookie.as_ref()
    }

    /// The value as nginx's script engine gives it; of cookies that a response sets, the first that
    /// counts.
    #[cold]
    fn run<'r>(&self, r: Request<'r>) -> Result<&'r [u8], OutOfMemory> {
        if let Some(set) = self.cookie.as_ref().and_then(|cookie| cookie.set(r)) {
            return Ok(set.iter().next().unwrap_or_default());
        }
        let mut text = ngx_str_t::empty();
        // SAFETY: nginx does not write to a compiled value; the result lies in the request's pool
        // or in memory that lives as long as the request.
        unsafe {
            let value = (&raw const self.compiled).cast_mut();
            if ngx_http_complex_value(r.raw(), value, &mut text) != OK {
                return Err(OutOfMemory);
            }
            Ok(nginx::bytes(&text))
        }
    }
}

/// Whether a text holds a variable.
pub fn has_variables(text: &Word) -> bool {
    // SAFETY: nginx only reads the string.
    unsafe { ngx_http_script_variables_count(&mut text.raw()) != 0 }
}

/// The first value that is not empty; empty if all are.
#[inline(always)]
pub fn first_value<'r, E>(
    values: &[Value],
    r: Request<'r>,
    read: Read<'r, E>,
) -> Result<&'r [u8], E> {
    match values {
        [value] => read(value, r),
        values => first_of(values, r, read),
    }
}

#[cold]
fn first_of<'r, E>(values: &[Value], r: Request<'r>, read: Read<'r, E>) -> Result<&'r [u8], E> {
    for value in values {
        let text = read(value, r)?;
        if !text.is_empty() {
            return Ok(text);
        }
    }
    Ok(&[])
}
