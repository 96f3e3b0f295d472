//! Readers of bodies that pass the body filter.

use core::cell::RefCell;

use super::active::Active;
use super::replaced::Replaced;
use crate::nginx::recycled::{self, Recycled, Spare};
use crate::nginx::request::Request;
use crate::nginx::send::Buffers;

/// Reads the body of an answer while it passes.
pub trait BodyReader {
    /// Reads the next bytes; false if the rest does not matter.
    fn feed(&mut self, bytes: &[u8]) -> bool;

    /// What is passed on instead of all that was read since the last call; none if that is the same. `is_last`: nothing
    /// will follow.
    fn replacement(&mut self, _is_last: bool) -> Option<Vec<u8>> {
        None
    }

    /// The body has ended, or its rest does not matter. Not called if the request ends before.
    fn finish(self: Box<Self>);
}

struct Reading {
    request: Request<'static>,
    reader: RefCell<Option<Box<dyn BodyReader>>>,
    replaced: Replaced,
    _active: Active,
}

impl Recycled for Reading {
    fn spare() -> &'static Spare<Reading> {
        static SPARE: Spare<Reading> = Spare::new();
        &SPARE
    }
}

/// Has the body of an answer read. To be called before its first byte passes.
pub fn read_body(r: Request<'static>, reader: Box<dyn BodyReader>) {
    let make = || Reading {
        request: r,
        reader: RefCell::new(Some(reader)),
        replaced: Replaced::new(),
        _active: Active::new(),
    };
    // If memory is short, the body is not read.
    let _ = recycled::make(r.pool(), make);
}

/// Has a part of a body read. Returns what is passed on instead, if that is different.
#[cold]
pub(super) fn read<'r>(r: Request<'r>, part: Buffers<'_>) -> Option<(Vec<u8>, &'r Replaced)> {
    let is_reading = |it: &Reading| it.request == r && it.reader.borrow().is_some();
    let reading = recycled::find::<Reading>(r.pool(), is_reading)?;
    let mut reader = reading.reader.take()?;
    for buffer in part {
        let goes_on = buffer.each_part(|part| reader.feed(part));
        if !goes_on || buffer.is_last() {
            let replacement = reader.replacement(true);
            reader.finish();
            return replacement.map(|text| (text, &reading.replaced));
        }
    }
    let replacement = reader.replacement(false);
    reading.reader.replace(Some(reader));
    replacement.map(|text| (text, &reading.replaced))
}
