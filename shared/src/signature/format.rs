//! How signatures stand in their header.

use std::fmt;
use std::str::FromStr;

use subtle::Choice;

use super::key::{TAG_MAX, Tag};
use super::verify::VerifyError;
use super::{Encoding, InvalidField};

/// Longest signature header that is looked at, in bytes: 16 signatures of the longest kind take 2 KiB.
pub const SIGNATURE_HEADER_MAX: usize = 4096;
/// Most signatures of the scheme's own version or key in one header; a provider that rotates sends two.
pub const SIGNATURES_MAX: usize = 16;

/// How signatures stand in their header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureFormat {
    /// The signature alone: `raw`.
    Raw,
    /// Behind a prefix that must be there: `prefix:sha256=`.
    Prefixed(String),
    /// Behind a prefix that may be there: `prefix?:sha256=`.
    MaybePrefixed(String),
    /// A list of `key=value`: `kv:t,v1`, `kv:ts;h1`, or without a timestamp `kv:v1`, `kv:;h1`.
    KeyValue {
        /// The key of the timestamp, if the list holds one; it may stand once.
        timestamp: Option<String>,
        /// What stands between two items.
        separator: char,
        /// The key of a signature; it may stand several times. Other keys are ignored.
        signature: String,
    },
    /// A list of `version,signature` with spaces between: `versioned:v1`. Other versions are ignored.
    Versioned(String),
}

/// What one header claims: decoded signatures, and the timestamp if it stands there too.
pub(super) struct Claimed<'h> {
    tags: [[u8; TAG_MAX]; SIGNATURES_MAX],
    tag_len: usize,
    /// Signatures in `tags`, each of exactly `tag_len` bytes.
    decoded: usize,
    /// Signatures met, decodable or not.
    offered: usize,
    pub(super) timestamp: Option<&'h [u8]>,
}

impl<'h> Claimed<'h> {
    fn new(tag_len: usize) -> Self {
        Self { tags: [[0; TAG_MAX]; SIGNATURES_MAX], tag_len, decoded: 0, offered: 0, timestamp: None }
    }

    /// Takes one signature's text; text that is not exactly one tag counts only towards the bound.
    fn offer(&mut self, text: &[u8], encoding: Encoding) -> Result<(), VerifyError> {
        if self.offered == SIGNATURES_MAX {
            return Err(VerifyError::MalformedRequest { what: "the signature header holds too many signatures" });
        }
        self.offered += 1;
        if encoding.decode(text, &mut self.tags[self.decoded][..self.tag_len]) {
            self.decoded += 1;
        }
        Ok(())
    }

    fn offer_timestamp(&mut self, text: &'h [u8]) -> Result<(), VerifyError> {
        match self.timestamp.replace(text) {
            None => Ok(()),
            Some(_) => {
                Err(VerifyError::MalformedRequest { what: "the signature header holds more than one timestamp" })
            }
        }
    }

    /// Whether there is nothing to compare with.
    pub(super) fn is_empty(&self) -> bool {
        self.decoded == 0
    }

    /// Whether any of the signatures is `tag`; looks at all of them, whichever it is.
    pub(super) fn has(&self, tag: &Tag) -> bool {
        let decoded = self.tags[..self.decoded].iter();
        decoded.fold(Choice::from(0), |any, claimed| any | tag.ct_eq(&claimed[..self.tag_len])).into()
    }
}

impl SignatureFormat {
    /// Whether the header carries the timestamp too.
    pub(super) fn has_timestamp(&self) -> bool {
        matches!(self, Self::KeyValue { timestamp: Some(_), .. })
    }

    /// Reads what `header` claims.
    pub(super) fn read<'h>(
        &self,
        header: &'h [u8],
        tag_len: usize,
        encoding: Encoding,
    ) -> Result<Claimed<'h>, VerifyError> {
        if header.len() > SIGNATURE_HEADER_MAX {
            return Err(VerifyError::MalformedRequest { what: "the signature header is too long" });
        }
        let mut claimed = Claimed::new(tag_len);
        match self {
            Self::Raw => claimed.offer(header, encoding)?,
            Self::Prefixed(prefix) => {
                if let Some(text) = header.strip_prefix(prefix.as_bytes()) {
                    claimed.offer(text, encoding)?;
                }
            }
            Self::MaybePrefixed(prefix) => {
                claimed.offer(header.strip_prefix(prefix.as_bytes()).unwrap_or(header), encoding)?;
            }
            Self::KeyValue { timestamp, separator, signature } => {
                for (key, value) in pairs(header, *separator, '=') {
                    if key == signature.as_bytes() {
                        claimed.offer(value, encoding)?;
                    } else if timestamp.as_ref().is_some_and(|timestamp| key == timestamp.as_bytes()) {
                        claimed.offer_timestamp(value)?;
                    }
                }
            }
            Self::Versioned(version) => {
                for (_, value) in pairs(header, ' ', ',').filter(|(name, _)| *name == version.as_bytes()) {
                    claimed.offer(value, encoding)?;
                }
            }
        }
        Ok(claimed)
    }

    /// Writes the header of a request with one signature.
    pub(super) fn write(&self, signature: &str, timestamp: &str) -> String {
        match self {
            Self::Raw | Self::MaybePrefixed(_) => signature.into(),
            Self::Prefixed(prefix) => format!("{prefix}{signature}"),
            Self::KeyValue { timestamp: Some(key), separator, signature: name } => {
                format!("{key}={timestamp}{separator}{name}={signature}")
            }
            Self::KeyValue { timestamp: None, signature: name, .. } => format!("{name}={signature}"),
            Self::Versioned(version) => format!("{version},{signature}"),
        }
    }
}

/// Splits `a=1,b=2` into its pairs; an item that is none is left out.
fn pairs(list: &[u8], between_items: char, in_item: char) -> impl Iterator<Item = (&[u8], &[u8])> {
    let is = |byte: u8, wanted: char| char::from(byte) == wanted;
    list.split(move |byte| is(*byte, between_items)).filter_map(move |item| {
        let item = item.trim_ascii();
        let at = item.iter().position(|byte| is(*byte, in_item))?;
        Some((&item[..at], &item[at + 1..]))
    })
}

impl FromStr for SignatureFormat {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, InvalidField> {
        const INVALID: InvalidField = InvalidField::new(
            "a signature format",
            "raw, prefix:<text>, prefix?:<text>, kv:<timestamp key>,<signature key> (or with ';'), kv:<signature key> \
             or versioned:<version>",
        );
        let format = match text.split_once(':') {
            None if text == "raw" => Self::Raw,
            Some(("prefix", prefix)) if is_prefix(prefix) => Self::Prefixed(prefix.into()),
            Some(("prefix?", prefix)) if is_prefix(prefix) => Self::MaybePrefixed(prefix.into()),
            Some(("kv", keys)) => key_value(keys).ok_or(INVALID)?,
            Some(("versioned", version)) if is_name(version) => Self::Versioned(version.into()),
            Some(_) | None => return Err(INVALID),
        };
        Ok(format)
    }
}

impl fmt::Display for SignatureFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw => f.write_str("raw"),
            Self::Prefixed(prefix) => write!(f, "prefix:{prefix}"),
            Self::MaybePrefixed(prefix) => write!(f, "prefix?:{prefix}"),
            Self::KeyValue { timestamp: None, separator: ',', signature } => write!(f, "kv:{signature}"),
            Self::KeyValue { timestamp, separator, signature } => {
                write!(f, "kv:{}{separator}{signature}", timestamp.as_deref().unwrap_or_default())
            }
            Self::Versioned(version) => write!(f, "versioned:{version}"),
        }
    }
}

fn key_value(keys: &str) -> Option<SignatureFormat> {
    let separator = keys.chars().find(|c| matches!(c, ',' | ';')).unwrap_or(',');
    let (timestamp, signature) = keys.split_once(separator).unwrap_or(("", keys));
    let timestamp = Some(timestamp).filter(|key| !key.is_empty());
    let valid = is_name(signature) && timestamp.is_none_or(|key| is_name(key) && key != signature);
    valid.then(|| SignatureFormat::KeyValue {
        timestamp: timestamp.map(Into::into),
        separator,
        signature: signature.into(),
    })
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn is_prefix(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}
