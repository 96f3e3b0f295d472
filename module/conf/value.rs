//! Strings with variables: the values of `create`, `lookup` and `bind`.
//!
//! Nearly all of them are one header: `$http_NAME`, `$sent_http_NAME`, `$upstream_http_NAME`. Such a value
//! is read from the list of headers directly. That costs a tenth of nginx's script engine, and gives the
//! present header, not one that a variable has cached.

use core::mem;

use affinity::status::OutOfMemory;
use nginx_sys::{
    ngx_http_compile_complex_value, ngx_http_compile_complex_value_t, ngx_http_complex_value,
    ngx_http_complex_value_t, ngx_http_core_main_conf_t, ngx_http_core_module,
    ngx_http_script_variables_count, ngx_http_variable_t, ngx_int_t, ngx_str_t,
};

use crate::conf::cookie::CookieValue;
use crate::conf::header::{HeaderList, HeaderValue};
use crate::nginx::conf::{fail, Conf, Logged, Word};
use crate::nginx::cycle::Cycle;
use crate::nginx::request::Request;
use crate::nginx::{self, OK};

/// A string with variables, compiled.
pub struct Value {
    compiled: ngx_http_complex_value_t,
    header: Option<HeaderValue>,
    cookie: Option<CookieValue>,
}

/// [`Value::eval`] or [`Value::header_only`].
pub type Read<'r, E> = fn(&Value, Request<'r>) -> Result<&'r [u8], E>;

/// A value that needs more than a header of the request.
pub struct NotInHeaders;

impl Value {
    /// Compiles the text of a parameter, which must contain a variable.
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
        let header = HeaderValue::parse(cf, text.as_bytes());
        let cookie = CookieValue::parse(cf, text.as_bytes());
        let mut text = text.raw();
        // SAFETY: both structures are valid when zeroed, and nginx fills in what `ccv` points to. The text
        // and the compiled code live as long as the configuration.
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

    /// Drops the fast path if the configuration defines the variable itself (`set`, `map`), which is known
    /// only when all of it has been read. `cycle` is the one that the value was compiled for.
    pub fn confirm(&mut self, cycle: Cycle<'_>) {
        // SAFETY: `ngx_http_core_module` makes this type; its array of variables lives as long as the cycle.
        let variables = unsafe {
            let core =
                cycle.main_conf::<ngx_http_core_main_conf_t>(&raw const ngx_http_core_module);
            core.map_or(&[][..], |core| core.variables.as_slice::<ngx_http_variable_t>())
        };
        let is_header = |index: ngx_int_t| {
            let variable: Option<&ngx_http_variable_t> = variables.get(index as usize);
            // The `data` of a variable that is defined by its prefix alone is the address of its own name.
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
        self.header.as_ref().is_some_and(|header| matches!(header.list, HeaderList::Request))
    }

    /// The value, if it is a header of the request: no script is run, and no variable is cached.
    #[inline(always)]
    pub fn header_only<'r>(&self, r: Request<'r>) -> Result<&'r [u8], NotInHeaders> {
        let header =
            self.header.as_ref().filter(|header| matches!(header.list, HeaderList::Request));
        header.and_then(|header| header.find(r)).ok_or(NotInHeaders)
    }

    /// The cookie, if the value is one cookie and nothing else.
    pub fn cookie(&self) -> Option<&CookieValue> {
        self.cookie.as_ref()
    }

    /// The value from nginx's script engine; for a cookie of the upstream's response the first that counts.
    #[cold]
    fn run<'r>(&self, r: Request<'r>) -> Result<&'r [u8], OutOfMemory> {
        if let Some(set) = self.cookie.as_ref().and_then(|cookie| cookie.set(r)) {
            return Ok(set.iter().next().unwrap_or_default());
        }
        let mut text = ngx_str_t::empty();
        // SAFETY: nginx only reads a compiled value; the result is in the request's pool or in other memory
        // that lives as long as the request.
        unsafe {
            let value = (&raw const self.compiled).cast_mut();
            if ngx_http_complex_value(r.raw(), value, &mut text) != OK {
                return Err(OutOfMemory);
            }
            Ok(nginx::bytes(&text))
        }
    }
}

/// Whether a text contains a variable.
pub fn has_variables(text: &Word) -> bool {
    // SAFETY: nginx only reads the string, which lives as long as the configuration.
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
