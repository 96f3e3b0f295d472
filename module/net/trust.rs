//! Which servers are trusted.

use crate::nginx::conf::Word;

/// How the certificate of a server is verified.
pub struct Trust {
    /// A file with the certificates of the CAs that are trusted.
    pub trusted_certificate: Option<Word>,
    /// Whether anything is verified: the CA, the times, the name.
    pub verify: bool,
    /// The name of the server, if it is not that of the target.
    pub name: Option<Word>,
    /// The files of the certificate and of its key that this machine shows.
    pub certificate: Option<(Word, Word)>,
}

impl Default for Trust {
    fn default() -> Trust {
        Trust { trusted_certificate: None, verify: true, name: None, certificate: None }
    }
}
