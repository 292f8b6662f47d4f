//! The seal on what users grant: XChaCha20-Poly1305, so that a copy of the ledger alone opens no API.
//!
//! Its bytes: a version, a random nonce, then the ciphertext with its tag. The purpose and the version are
//! authenticated with it, so that what was sealed for one API or one use opens in no other place.

use std::fmt;

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use tidegate_shared::config::SealKey;

/// The layout above.
const VERSION: u8 = 1;
/// 192 bits: long enough to be drawn at random for ever under one key.
const NONCE_LEN: usize = 24;

/// Seals with the newest key; opens with each of them.
#[derive(Clone)]
pub(crate) struct Seal(Vec<XChaCha20Poly1305>);

/// What does not open: altered, cut off, sealed for something else, or with a key that is gone. Which one of these, no
/// cipher can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it does not open with any of the keys")]
pub(crate) struct Unsealable;

impl Seal {
    /// A seal with `keys`, the first of which is the newest. `None` without keys.
    #[must_use]
    pub(crate) fn new(keys: &[SealKey]) -> Option<Self> {
        let ciphers: Vec<_> = keys.iter().map(|key| XChaCha20Poly1305::new(key.expose().into())).collect();
        (!ciphers.is_empty()).then_some(Self(ciphers))
    }

    /// Seals `plain`, for `purpose` only.
    #[must_use]
    pub(crate) fn seal(&self, purpose: &str, plain: &[u8]) -> Vec<u8> {
        let nonce = random::<NONCE_LEN>();
        let payload = Payload { msg: plain, aad: &authenticated(VERSION, purpose) };
        let sealed = self.0[0].encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.expect("only 256 GiB and more cannot be sealed");
        [&[VERSION], nonce.as_slice(), &sealed].concat()
    }

    /// Opens what was sealed for `purpose`.
    ///
    /// # Errors
    /// [`Unsealable`], whatever is wrong with it.
    pub(crate) fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        let (version, rest) = sealed.split_first().ok_or(Unsealable)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>().ok_or(Unsealable)?;
        if *version != VERSION {
            return Err(Unsealable);
        }
        let (nonce, aad) = (XNonce::from(*nonce), authenticated(*version, purpose));
        let open = |cipher: &XChaCha20Poly1305| cipher.decrypt(&nonce, Payload { msg: ciphertext, aad: &aad }).ok();
        self.0.iter().find_map(open).ok_or(Unsealable)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal({} keys)", self.0.len())
    }
}

/// Random bytes of the system's.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system gives random bytes once it runs");
    bytes
}

fn authenticated(version: u8, purpose: &str) -> Vec<u8> {
    [&[version], purpose.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::oauth::tests::seal_key;

    const PLAIN: &[u8] = b"what nobody may read";

    fn seal(keys: &[u8]) -> Seal {
        Seal::new(&keys.iter().map(|key| seal_key(*key)).collect::<Vec<_>>()).expect("a key")
    }

    #[test]
    fn what_is_sealed_opens_for_its_purpose_only() {
        let sealed = seal(&[1]).seal("grant:crm", PLAIN);
        assert_eq!(seal(&[1]).open("grant:crm", &sealed), Ok(PLAIN.to_vec()));
        for purpose in ["grant:crm2", "login:crm", "grant:cr", ""] {
            assert_eq!(seal(&[1]).open(purpose, &sealed), Err(Unsealable), "{purpose}");
        }
        assert!(!sealed.windows(6).any(|piece| PLAIN.windows(6).any(|plain| plain == piece)), "it is not encrypted");
        assert_ne!(seal(&[1]).seal("grant:crm", PLAIN), sealed, "a nonce came twice");
    }

    #[test]
    fn a_key_that_is_not_the_newest_opens_and_does_not_seal() {
        let old = seal(&[1]).seal("p", PLAIN);
        assert_eq!(seal(&[2, 1]).open("p", &old), Ok(PLAIN.to_vec()));
        assert_eq!(seal(&[2]).open("p", &old), Err(Unsealable));
        let new = seal(&[2, 1]).seal("p", PLAIN);
        assert_eq!(seal(&[2]).open("p", &new), Ok(PLAIN.to_vec()));
        assert_eq!(seal(&[1]).open("p", &new), Err(Unsealable));
        assert!(Seal::new(&[]).is_none());
    }

    #[test]
    fn nothing_altered_opens() {
        let sealed = seal(&[1]).seal("p", PLAIN);
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(seal(&[1]).open("p", &flipped), Err(Unsealable), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert_eq!(seal(&[1]).open("p", &sealed[..len]), Err(Unsealable), "{len} bytes");
        }
        assert_eq!(seal(&[1]).open("p", &[sealed.as_slice(), b"x"].concat()), Err(Unsealable));
    }
}
