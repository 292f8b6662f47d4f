//! How a key is written in the configuration.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use secrecy::zeroize::Zeroizing;
use sha1::{Digest, Sha1};

use super::word::word;
use super::{Secret, SecretError};

word! {
    /// How the key's bytes are got from the secret's text.
    KeyForm, "a key form", "utf8, hex, base64, whsec, whpk, pem or sha1-of",
    {
        /// The text itself, every byte of it.
        Utf8 = "utf8",
        /// Hexadecimal digits.
        Hex = "hex",
        /// Base64 in the standard alphabet, padded or not.
        Base64 = "base64",
        /// The same after an optional `whsec_`.
        Whsec = "whsec",
        /// A public key in base64 after an optional `whpk_`.
        Whpk = "whpk",
        /// A public key between `-----BEGIN PUBLIC KEY-----` and its end.
        Pem = "pem",
        /// The SHA-1 of the text, as Braintree derives its key.
        Sha1Of = "sha1-of",
    }
}

impl KeyForm {
    /// The bytes of `secret`, the one at `index` of its list.
    pub(super) fn decode(self, secret: &Secret, index: usize) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let text = secret.expose();
        if text != text.trim() {
            return Err(SecretError::WhiteSpace { index });
        }
        let decoded = match self {
            Self::Utf8 => Some(text.as_bytes().to_vec()),
            Self::Hex => hex::decode(text).ok(),
            Self::Base64 => base64(text),
            Self::Whsec => base64(text.strip_prefix("whsec_").unwrap_or(text)),
            Self::Whpk => base64(text.strip_prefix("whpk_").unwrap_or(text)),
            Self::Pem => pem(text),
            Self::Sha1Of => Some(Sha1::digest(text).to_vec()),
        };
        decoded.map(Zeroizing::new).ok_or(SecretError::Undecodable { index, form: self })
    }
}

fn base64(text: &str) -> Option<Vec<u8>> {
    STANDARD_PAD_INDIFFERENT.decode(text).ok()
}

/// [RFC 7468](https://www.rfc-editor.org/rfc/rfc7468), one block of it; some providers call it `RSA PUBLIC KEY`. Line breaks may be written as `\n`, as in variables of an
/// environment.
fn pem(text: &str) -> Option<Vec<u8>> {
    let between = |label: &str| {
        text.strip_prefix(&format!("-----BEGIN {label}-----"))?.strip_suffix(&format!("-----END {label}-----"))
    };
    let inner = between("PUBLIC KEY").or_else(|| between("RSA PUBLIC KEY"))?;
    let inner: String = inner.replace("\\n", "").split_ascii_whitespace().collect();
    base64(&inner)
}
