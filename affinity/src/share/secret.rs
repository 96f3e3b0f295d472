//! The secret of a fleet, and what is derived from it.

use core::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;

const ROOT_LEN: usize = 32;
/// The lengths of nginx's files for `ssl_session_ticket_key`.
const FILE_LENS: [usize; 2] = [48, 80];

/// The bytes of a MAC. Who guesses has one try in 2^80 for each message or value.
pub const MAC_LEN: usize = 10;

/// The secret that all others are derived from (HKDF-SHA256).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Root([u8; ROOT_LEN]);

impl Root {
    /// The secret of a file of 48 or 80 bytes.
    pub fn from_file(bytes: &[u8]) -> Option<Root> {
        FILE_LENS
            .contains(&bytes.len())
            .then(|| Root(expand(bytes, b"sticky_learn: secret of a fleet, 1")))
    }

    /// A secret of random bytes.
    pub fn new(random: [u8; ROOT_LEN]) -> Root {
        Root(random)
    }

    /// The secret as words of shared memory.
    pub fn to_words(self) -> [u64; 4] {
        let mut words = [0; 4];
        for (word, chunk) in words.iter_mut().zip(self.0.chunks_exact(8)) {
            *word = chunk.try_into().map_or(0, u64::from_le_bytes);
        }
        words
    }

    /// The secret of [`Self::to_words`].
    pub fn from_words(words: [u64; 4]) -> Root {
        let mut bytes = [0; ROOT_LEN];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        Root(bytes)
    }

    /// The secret of the hash of ids.
    pub fn ids(&self) -> [u8; 16] {
        expand(&self.0, b"sticky_learn: ids of a fleet, 1")
    }

    /// Tells whether two machines have the same secret, and nothing else about it.
    pub fn check(&self) -> u64 {
        u64::from_be_bytes(expand(&self.0, b"sticky_learn: check of a fleet, 1"))
    }

    /// The key of MACs.
    pub fn keys(&self) -> Keys {
        let key: [u8; 32] = expand(&self.0, b"sticky_learn: values of a fleet, 1");
        // HMAC takes a key of any length.
        Keys(Hmac::new_from_slice(&key).ok())
    }
}

fn expand<const N: usize>(secret: &[u8], purpose: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    // It only fails for more than 8160 bytes.
    let expanded = Hkdf::<Sha256>::new(None, secret).expand(purpose, &mut bytes);
    debug_assert!(expanded.is_ok());
    bytes
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Root")
    }
}

/// Makes and checks MACs (HMAC-SHA256, its first bytes).
#[derive(Clone)]
pub struct Keys(Option<Hmac<Sha256>>);

impl Keys {
    /// The MAC of texts, each of which counts with its length.
    pub fn mac(&self, texts: &[&[u8]]) -> [u8; MAC_LEN] {
        let mut mac = [0; MAC_LEN];
        if let Some(hmac) = self.begin(texts) {
            let whole = hmac.finalize().into_bytes();
            mac.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
        }
        mac
    }

    /// Whether it is that MAC, in constant time.
    pub fn is_mac(&self, texts: &[&[u8]], mac: &[u8]) -> bool {
        let hmac = self.begin(texts).filter(|_| mac.len() == MAC_LEN);
        hmac.is_some_and(|hmac| hmac.verify_truncated_left(mac).is_ok())
    }

    fn begin(&self, texts: &[&[u8]]) -> Option<Hmac<Sha256>> {
        let mut hmac = self.0.clone()?;
        for text in texts {
            hmac.update(&(text.len() as u64).to_be_bytes());
            hmac.update(text);
        }
        Some(hmac)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

/// What the store has under the key of the secret: `1 CHECK`, and for a fleet without files ` ROOT` behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// [`Root::check`] of the fleet.
    pub check: u64,
    /// The secret, if the machines have it from the store.
    pub root: Option<Root>,
}

impl Stored {
    /// Reads the text in the store; `None` if it is of another version.
    pub fn read(text: &[u8]) -> Option<Stored> {
        let mut words = core::str::from_utf8(text).ok()?.split(' ');
        let (version, check) = (words.next()?, words.next()?);
        let check = u64::from_str_radix(check, 16).ok().filter(|_| version == "1")?;
        let root = match words.next() {
            None => None,
            Some(hex) => {
                let mut bytes = [0; ROOT_LEN];
                let fits = hex.len() == 2 * ROOT_LEN && hex.is_ascii();
                for (at, byte) in bytes.iter_mut().enumerate().filter(|_| fits) {
                    *byte = u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()?;
                }
                Some(Some(Root(bytes)).filter(|root| fits && root.check() == check)?)
            }
        };
        Some(Stored { check, root })
    }

    /// The text in the store. `with_root`: the machines have no files.
    pub fn write(root: &Root, with_root: bool) -> String {
        let root_in_hex = root.0.iter().map(|byte| format!("{byte:02x}"));
        let root_in_hex: String = root_in_hex.filter(|_| with_root).collect();
        format!("1 {:016x} {root_in_hex}", root.check()).trim_end().to_owned()
    }
}
