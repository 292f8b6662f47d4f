//! The fixed-length value that a shared secret makes of a request.

use subtle::{Choice, ConstantTimeEq};

/// The longest tag, in bytes: SHA-512's.
pub(super) const TAG_MAX: usize = 64;

/// What a key makes of one request: an HMAC, or a hash.
#[derive(Clone, Copy)]
pub(super) struct Tag {
    bytes: [u8; TAG_MAX],
    len: usize,
}

impl Tag {
    /// Takes the output of a hash.
    pub(super) fn new(output: &[u8]) -> Self {
        let mut tag = Self { bytes: [0; TAG_MAX], len: output.len() };
        tag.bytes[..output.len()].copy_from_slice(output);
        tag
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Compares in constant time; another length is never equal.
    pub(super) fn ct_eq(&self, claimed: &[u8]) -> Choice {
        self.as_bytes().ct_eq(claimed)
    }
}
