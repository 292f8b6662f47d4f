//! A secret made ready to authenticate requests.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::zeroize::Zeroizing;
use sha2::{Sha256, Sha384, Sha512};
use subtle::{Choice, ConstantTimeEq};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use http::HeaderName;

use super::template::{SignedParts, Template};
use super::word::word;
use super::{SchemeError, Secret};

word! {
    /// The hash inside the HMAC.
    Hash, "a hash", "sha256, sha384 or sha512",
    {
        /// HMAC-SHA256, 32 bytes.
        Sha256 = "sha256",
        /// HMAC-SHA384, 48 bytes.
        Sha384 = "sha384",
        /// HMAC-SHA512, 64 bytes.
        Sha512 = "sha512",
    }
}

word! {
    /// How the key's bytes are got from the secret's text.
    KeyForm, "a key form", "utf8, hex, base64 or whsec",
    {
        /// The text itself, every byte of it.
        Utf8 = "utf8",
        /// Hexadecimal digits.
        Hex = "hex",
        /// Base64 in the standard alphabet, padded or not.
        Base64 = "base64",
        /// The same after an optional `whsec_`.
        Whsec = "whsec",
    }
}

/// Most secrets that may be live at once; a rotation needs two.
pub const SECRETS_MAX: usize = 4;
/// Shortest key, in decoded bytes: 128 bits, below which guessing becomes conceivable.
pub const SECRET_MIN: usize = 16;
/// The longest tag, in bytes: SHA-512's.
pub(super) const TAG_MAX: usize = 64;

/// Why secrets cannot serve a scheme, or cannot sign a message by it. Names a secret by its place, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Verifying with no secret would mean accepting everything.
    #[error("at least one secret is needed")]
    Missing,
    /// Every live secret costs a hash over the body of a forged request.
    #[error("at most {SECRETS_MAX} secrets may be live at once, not {count}")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// The decoded key is too short.
    #[error("secrets[{index}] must be at least {SECRET_MIN} bytes long")]
    TooShort {
        /// Which secret, from 0.
        index: usize,
    },
    /// Most likely a line feed of the file that it came from; nothing is trimmed silently.
    #[error("secrets[{index}] begins or ends with white space")]
    WhiteSpace {
        /// Which secret, from 0.
        index: usize,
    },
    /// The text is not of the scheme's key form.
    #[error("secrets[{index}] cannot be decoded as {form}")]
    Undecodable {
        /// Which secret, from 0.
        index: usize,
        /// What it should be.
        form: KeyForm,
    },
    /// The scheme contradicts itself.
    #[error(transparent)]
    Scheme(#[from] SchemeError),
    /// Signing only: the id or type cannot be sent in its header, or not without changing what is signed.
    #[error("the value for header {header} cannot be sent in it")]
    Unsendable {
        /// The header.
        header: HeaderName,
    },
}

/// An HMAC that has taken its key: cloned for each request, so that the key is not hashed again.
pub(super) enum Key {
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
}

/// What a key makes of one request.
pub(super) struct Tag {
    bytes: [u8; TAG_MAX],
    len: usize,
}

impl Hash {
    /// The length of its tags, in bytes.
    pub(super) const fn tag_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl Key {
    /// Prepares `secret`, the one at `index` of its list.
    pub(super) fn try_new(hash: Hash, form: KeyForm, secret: &Secret, index: usize) -> Result<Self, SecretError> {
        let bytes = form.decode(secret, index)?;
        Ok(match hash {
            Hash::Sha256 => Self::Sha256(keyed(&bytes)),
            Hash::Sha384 => Self::Sha384(keyed(&bytes)),
            Hash::Sha512 => Self::Sha512(keyed(&bytes)),
        })
    }

    /// Authenticates what `template` covers of a request.
    pub(super) fn tag(&self, template: &Template, parts: &SignedParts<'_>) -> Tag {
        match self {
            Self::Sha256(mac) => tag(mac.clone(), template, parts),
            Self::Sha384(mac) => tag(mac.clone(), template, parts),
            Self::Sha512(mac) => tag(mac.clone(), template, parts),
        }
    }
}

impl Tag {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Compares in constant time; another length is never equal.
    pub(super) fn ct_eq(&self, claimed: &[u8]) -> Choice {
        self.as_bytes().ct_eq(claimed)
    }
}

impl KeyForm {
    fn decode(self, secret: &Secret, index: usize) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let text = secret.expose();
        if text != text.trim() {
            return Err(SecretError::WhiteSpace { index });
        }
        let decoded = match self {
            Self::Utf8 => Some(text.as_bytes().to_vec()),
            Self::Hex => hex::decode(text).ok(),
            Self::Base64 => STANDARD_PAD_INDIFFERENT.decode(text).ok(),
            Self::Whsec => STANDARD_PAD_INDIFFERENT.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok(),
        };
        let bytes = Zeroizing::new(decoded.ok_or(SecretError::Undecodable { index, form: self })?);
        if bytes.len() < SECRET_MIN { Err(SecretError::TooShort { index }) } else { Ok(bytes) }
    }
}

fn keyed<M: KeyInit>(bytes: &[u8]) -> M {
    M::new_from_slice(bytes).expect("HMAC takes a key of any length")
}

fn tag(mut mac: impl Mac, template: &Template, parts: &SignedParts<'_>) -> Tag {
    template.render(parts).for_each(|piece| mac.update(piece));
    let output = mac.finalize().into_bytes();
    let mut tag = Tag { bytes: [0; TAG_MAX], len: output.len() };
    tag.bytes[..output.len()].copy_from_slice(&output);
    tag
}
