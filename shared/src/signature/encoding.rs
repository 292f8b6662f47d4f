//! How a signature's bytes are written as text.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};

use super::tag::TAG_MAX;
use super::word::word;

word! {
    /// How a signature's bytes are written in its header.
    Encoding, "a signature encoding", "hex, base64 or base64url",
    {
        /// Hexadecimal digits, upper or lower case.
        Hex = "hex",
        /// The standard alphabet, padded.
        Base64 = "base64",
        /// The URL-safe alphabet, padded or not.
        Base64Url = "base64url",
    }
}

/// Room for the longest tag, in whole base64 groups of three bytes.
const DECODE_ROOM: usize = TAG_MAX.next_multiple_of(3);

impl Encoding {
    /// Fills `tag` from `text`; false unless `text` is exactly one tag of that length.
    ///
    /// The base64 engines refuse stray trailing bits, so a tag has one spelling only (in hex, but for case).
    pub(super) fn decode(self, text: &[u8], tag: &mut [u8]) -> bool {
        match self {
            Self::Hex => hex::decode_to_slice(text, tag).is_ok(),
            Self::Base64 => decode_base64(&STANDARD, text, tag),
            Self::Base64Url if text.ends_with(b"=") => decode_base64(&URL_SAFE, text, tag),
            Self::Base64Url => decode_base64(&URL_SAFE_NO_PAD, text, tag),
        }
    }

    /// The bytes of `text`, however many; `None` if it is not written so.
    pub(super) fn decode_all(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Hex => hex::decode(text).ok(),
            Self::Base64 => STANDARD.decode(text).ok(),
            Self::Base64Url if text.ends_with(b"=") => URL_SAFE.decode(text).ok(),
            Self::Base64Url => URL_SAFE_NO_PAD.decode(text).ok(),
        }
    }

    /// Writes `tag` as its provider would.
    pub(super) fn encode(self, tag: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(tag),
            Self::Base64 => STANDARD.encode(tag),
            Self::Base64Url => URL_SAFE_NO_PAD.encode(tag),
        }
    }
}

fn decode_base64(engine: &impl Engine, text: &[u8], tag: &mut [u8]) -> bool {
    let mut room = [0; DECODE_ROOM];
    match engine.decode_slice(text, &mut room) {
        Ok(length) if length == tag.len() => {
            tag.copy_from_slice(&room[..length]);
            true
        }
        Ok(_) | Err(_) => false,
    }
}
