//! Whose a session is, where no `bind` says it: a keyed hash of the credentials of its `initialize`.

use core::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

pub(super) const OWNER_LEN: usize = 16;

/// What the hash is for. The secret of a zone has other uses.
const PURPOSE: &[u8] = b"sticky_learn: owner of a session, 1";

/// The headers that hold credentials, in lower case.
pub const CREDENTIALS: [&[u8]; 4] =
    [b"authorization", b"proxy-authorization", b"cookie", b"x-api-key"];

/// The keyed hash of a request's credentials. Two requests with the same hash have the same owner.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Owner(pub(super) [u8; OWNER_LEN]);

impl Owner {
    /// The owner by a request. `lines`: its header lines, names in any letter case, in the order of the
    /// request. `further`: names of other headers with credentials, in lower case, in an order that is
    /// the same for all requests of the upstream. `certificate`: the fingerprint of the client's
    /// certificate, or empty.
    ///
    /// The hashed text holds, for each name in its order, the number of its lines, and each line with its
    /// length. So two requests are hashed as the same text only if these lines are the same.
    pub fn of<'a>(
        secret: &[u8; 16],
        further: &[&[u8]],
        lines: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        certificate: &[u8],
    ) -> Owner {
        let mut hash = Hash::new(secret);
        for name in CREDENTIALS.iter().chain(further) {
            let values = || {
                lines
                    .clone()
                    .filter(|(line, _)| line.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value)
            };
            hash.text(name);
            hash.number(values().count());
            values().for_each(|value| hash.text(value));
        }
        hash.text(certificate);
        hash.finish()
    }
}

struct Hash(Option<Hmac<Sha256>>);

impl Hash {
    fn new(secret: &[u8; 16]) -> Hash {
        // HMAC takes a key of any length.
        let mut hash = Hash(Hmac::new_from_slice(secret).ok());
        hash.text(PURPOSE);
        hash
    }

    fn number(&mut self, number: usize) {
        self.bytes(&(number as u64).to_le_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.number(text.len());
        self.bytes(text);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if let Some(hash) = &mut self.0 {
            hash.update(bytes);
        }
    }

    fn finish(self) -> Owner {
        let hash = self.0.map(|hash| hash.finalize().into_bytes());
        let first = hash.as_deref().and_then(|hash| hash.first_chunk());
        Owner(*first.unwrap_or(&[0; OWNER_LEN]))
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Owner")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 16] = *b"0123456789abcdef";

    fn owner(lines: &[(&str, &str)], certificate: &str) -> Owner {
        let lines = lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        Owner::of(&SECRET, &[b"x-tenant"], lines, certificate.as_bytes())
    }

    #[test]
    fn equal_credentials_are_one_owner_whatever_stands_beside_them() {
        let alice = owner(&[("Authorization", "Bearer a"), ("Cookie", "c=1")], "");
        let same = [("cookie", "c=1"), ("Accept", "x"), ("AUTHORIZATION", "Bearer a")];
        assert_eq!(owner(&same, ""), alice);
        assert_eq!(owner(&[], ""), owner(&[("Host", "a"), ("Mcp-Session-Id", "b")], ""));
    }

    #[test]
    fn another_credential_is_another_owner() {
        let requests: &[(&[(&str, &str)], &str)] = &[
            (&[], ""),
            (&[("authorization", "a")], ""),
            (&[("authorization", "b")], ""),
            (&[("authorization", "")], ""),
            (&[("proxy-authorization", "a")], ""),
            (&[("cookie", "a")], ""),
            (&[("x-api-key", "a")], ""),
            (&[("x-tenant", "a")], ""),
            (&[], "a"),
            (&[("authorization", "a")], "a"),
            (&[("authorization", "a"), ("authorization", "b")], ""),
            (&[("authorization", "b"), ("authorization", "a")], ""),
            (&[("authorization", "ab")], ""),
            (&[("authorization", "a"), ("cookie", "b")], ""),
            // The same bytes, cut elsewhere.
            (&[("authorization", "a"), ("authorization", "bc")], ""),
            (&[("authorization", "ab"), ("authorization", "c")], ""),
            (&[("authorization", "a"), ("authorization", "proxy-authorization")], ""),
            (&[("authorization", "a"), ("proxy-authorization", "proxy-authorization")], ""),
        ];
        let owners: Vec<Owner> =
            requests.iter().map(|(lines, certificate)| owner(lines, certificate)).collect();
        for (one, first) in owners.iter().enumerate() {
            for (other, second) in owners.iter().enumerate() {
                assert_eq!(
                    first == second,
                    one == other,
                    "{:?}, {:?}",
                    requests[one],
                    requests[other]
                );
            }
        }
    }

    #[test]
    fn another_secret_gives_another_hash_and_none_is_printed() {
        let lines = || core::iter::once((&b"authorization"[..], &b"a"[..]));
        let [one, other] = [[1; 16], [2; 16]].map(|secret| Owner::of(&secret, &[], lines(), b""));
        assert_ne!(one, other);
        assert_eq!(format!("{one:?}"), "Owner");
    }
}
