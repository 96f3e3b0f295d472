//! Records are encrypted under a key that only a request with the id completes.
//!
//! The key is derived (HKDF-SHA256) from the secret of the zone and the client's own id, which is stored
//! nowhere. Who has the memory of the zone but not the id cannot read the record. The cipher is
//! AES-256-GCM-SIV (RFC 8452): a nonce that comes twice only shows whether the two records are equal. The
//! fingerprint of the session is authenticated with the record. So a record that is damaged, torn, or of
//! another session is refused.

use core::fmt;

use aes_gcm_siv::aead::{AeadInPlace, KeyInit};
use aes_gcm_siv::{Aes256GcmSiv, Nonce, Tag};
use hkdf::Hkdf;
use sha2::Sha256;

use super::record::{NotKept, Record, MAX_RECORD};
use crate::table::Key;

/// The length of a nonce, in bytes.
pub const NONCE_LEN: usize = 12;

const TAG_LEN: usize = 16;
const KEY_LEN: usize = 32;

/// The longest sealed record, in bytes.
pub const MAX_SEALED: usize = NONCE_LEN + TAG_LEN + MAX_RECORD;

/// What the key is for. The secret of a zone has other uses.
const PURPOSE: &[u8] = b"sticky_learn: record of a session, 1";

/// The key of one session's record.
pub struct RecordKey {
    cipher: Aes256GcmSiv,
    fingerprint: [u8; 8],
}

impl RecordKey {
    /// The key of the session with this id, as the client has sent it. `key` and `secret` are those of the
    /// session table.
    pub fn new(secret: &[u8; 16], id: &[u8], key: Key) -> RecordKey {
        let mut okm = [0; KEY_LEN];
        // It only fails for a key of more than 8160 bytes.
        let derived = Hkdf::<Sha256>::new(Some(secret), id).expand(PURPOSE, &mut okm);
        debug_assert!(derived.is_ok());
        RecordKey {
            cipher: Aes256GcmSiv::new(&okm.into()),
            fingerprint: key.fingerprint().to_le_bytes(),
        }
    }

    /// The record, encrypted: nonce, tag, text. `nonce` is random.
    pub fn seal(&self, record: &Record, nonce: [u8; NONCE_LEN]) -> Result<Vec<u8>, NotKept> {
        let mut sealed = Vec::new();
        let len = NONCE_LEN + TAG_LEN + record.encoded_len()?;
        sealed.try_reserve_exact(len).map_err(|_| NotKept::NoMemory)?;
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&[0; TAG_LEN]);
        record.encode(&mut sealed)?;
        let (head, text) =
            sealed.split_at_mut_checked(NONCE_LEN + TAG_LEN).ok_or(NotKept::TooLong)?;
        let tag = self
            .cipher
            .encrypt_in_place_detached(Nonce::from_slice(&nonce), &self.fingerprint, text)
            .map_err(|_| NotKept::TooLong)?;
        if let Some(room) = head.get_mut(NONCE_LEN..) {
            room.copy_from_slice(&tag);
        }
        Ok(sealed)
    }

    /// Decrypts a record in its place. None if `seal` of this key has not written it; then its bytes are
    /// of no use.
    pub fn open<'b>(&self, sealed: &'b mut [u8]) -> Option<Record<'b>> {
        let (nonce, rest) = sealed.split_first_chunk_mut::<NONCE_LEN>()?;
        let (tag, text) = rest.split_first_chunk_mut::<TAG_LEN>()?;
        self.cipher
            .decrypt_in_place_detached(
                Nonce::from_slice(nonce),
                &self.fingerprint,
                text,
                Tag::from_slice(tag),
            )
            .ok()?;
        Record::decode(text)
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordKey")
    }
}
