//! The names of a server's capabilities, as a record keeps them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::text::bounded::Bounded;

/// Names of capabilities and of their parts: `resources`, and `subscribe` of `resources`. One that is
/// `false` or `null` is none.
///
/// In bytes: each name as the length and the text of the capability, the length and the text of the part.
/// A capability itself has an empty part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities<'a>(&'a [u8]);

/// The memory of `Capabilities`.
pub(super) type Names = Bounded<{ Capabilities::MAX_LEN }>;

type Members<'t> = BTreeMap<Cow<'t, str>, &'t RawValue>;

impl<'a> Capabilities<'a> {
    /// The longest list, in bytes.
    pub const MAX_LEN: usize = 1024;

    /// Writes the names of the JSON object `text`, in their order. None if it is no object, or its names
    /// are too long.
    pub(super) fn read(text: &RawValue, names: &'a mut Names) -> Option<Capabilities<'a>> {
        names.clear();
        for (name, value) in members(text)?.into_iter().filter(|(_, value)| is_on(value)) {
            push(names, &name, "")?;
            for (part, value) in members(value).unwrap_or_default() {
                if is_on(value) && !part.is_empty() {
                    push(names, &name, &part)?;
                }
            }
        }
        Some(Capabilities(names.get()?))
    }

    pub(super) fn from_bytes(bytes: &'a [u8]) -> Option<Capabilities<'a>> {
        let mut rest = bytes;
        while !rest.is_empty() {
            split_name(&mut rest)?;
        }
        Some(Capabilities(bytes))
    }

    pub(super) fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The names: capability and part.
    pub fn names(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.0;
        core::iter::from_fn(move || split_name(&mut rest))
    }

    /// Whether all names of `other` are here.
    pub fn cover(&self, other: &Capabilities) -> bool {
        other.names().all(|wanted| self.names().any(|name| name == wanted))
    }
}

fn members(text: &RawValue) -> Option<Members<'_>> {
    Members::deserialize(text).ok()
}

fn is_on(value: &RawValue) -> bool {
    !matches!(value.get(), "false" | "null")
}

fn push(names: &mut Names, name: &str, part: &str) -> Option<()> {
    for text in [name, part] {
        names.push(u8::try_from(text.len()).ok()?);
        names.extend(text.as_bytes());
    }
    Some(())
}

fn split_name<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let mut text = || {
        let (len, behind) = rest.split_first()?;
        let (text, behind) = behind.split_at_checked((*len).into())?;
        *rest = behind;
        Some(text)
    };
    Some((text()?, text()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Vec<(String, String)>> {
        let text = serde_json::from_str(text).unwrap();
        let mut names = Names::new();
        let capabilities = Capabilities::read(text, &mut names)?;
        assert_eq!(Capabilities::from_bytes(capabilities.as_bytes()), Some(capabilities));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Some(capabilities.names().map(|(name, part)| (text(name), text(part))).collect())
    }

    fn named(names: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        Some(names.iter().map(|(name, part)| (name.to_string(), part.to_string())).collect())
    }

    #[test]
    fn capabilities_have_names_and_parts_in_one_order() {
        assert_eq!(read("{}"), named(&[]));
        let text = r#"{"tools":{"listChanged":true}, "resources" :{"subscribe":false},"a":null}"#;
        let expected = [("resources", ""), ("tools", ""), ("tools", "listChanged")];
        assert_eq!(read(text), named(&expected));
        assert_eq!(read(r#"{"loggin\u0067":{}}"#), named(&[("logging", "")]));
        assert_eq!(read(r#"{"x":true,"y":[1]}"#), named(&[("x", ""), ("y", "")]));
    }

    #[test]
    fn what_is_no_object_or_too_long_has_none() {
        for text in ["null", "[]", "7", r#""tools""#] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read(&format!(r#"{{"{}":{{}}}}"#, "x".repeat(256))), None);
        let many = |count: usize| {
            let members: Vec<String> = (0..count).map(|n| format!(r#""{n:>98}":{{}}"#)).collect();
            read(&format!("{{{}}}", members.join(",")))
        };
        assert_eq!(many(10).map(|names| names.len()), Some(10));
        assert_eq!(many(11), None);
    }

    #[test]
    fn a_list_covers_another_if_it_has_each_of_its_names() {
        let list = |bytes: &'static [u8]| Capabilities::from_bytes(bytes).unwrap();
        let (none, tools) = (list(b""), list(b"\x05tools\x00"));
        let both = list(b"\x07prompts\x00\x05tools\x00");
        let part = list(b"\x05tools\x00\x05tools\x01x");
        assert!(both.cover(&tools) && both.cover(&none) && both.cover(&both) && part.cover(&tools));
        assert!(!tools.cover(&both) && !tools.cover(&part) && !none.cover(&tools));
    }

    #[test]
    fn bytes_that_are_no_list_are_none() {
        for bytes in [&b"\x05tool"[..], b"\x05tools", b"\x05tools\x01", b"\x00"] {
            assert_eq!(Capabilities::from_bytes(bytes), None, "{bytes:?}");
        }
    }
}
