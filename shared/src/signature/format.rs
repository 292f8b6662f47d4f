//! How signatures stand in their header.

use std::fmt;
use std::str::FromStr;

use super::InvalidField;
use super::claimed::Claimed;
use super::verify::VerifyError;

/// Longest signature header that is looked at, in bytes: 16 signatures of the longest hash take 2 KiB.
pub const SIGNATURE_HEADER_MAX: usize = 4096;

/// How signatures stand in their header, or wherever else they do.
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

impl SignatureFormat {
    /// Whether the header carries the timestamp too.
    pub(super) fn has_timestamp(&self) -> bool {
        matches!(self, Self::KeyValue { timestamp: Some(_), .. })
    }

    /// Offers every signature in `text` to `claimed`, and returns the timestamp that stands beside them.
    pub(super) fn read<'t>(&self, text: &'t [u8], claimed: &mut Claimed) -> Result<Option<&'t [u8]>, VerifyError> {
        if text.len() > SIGNATURE_HEADER_MAX {
            return Err(VerifyError::MalformedRequest { what: "the signature header is too long" });
        }
        let mut found = None;
        match self {
            Self::Raw => claimed.offer(text)?,
            Self::Prefixed(prefix) => {
                if let Some(text) = text.strip_prefix(prefix.as_bytes()) {
                    claimed.offer(text)?;
                }
            }
            Self::MaybePrefixed(prefix) => claimed.offer(text.strip_prefix(prefix.as_bytes()).unwrap_or(text))?,
            Self::KeyValue { timestamp, separator, signature } => {
                for (key, value) in pairs(text, *separator, '=') {
                    if key == signature.as_bytes() {
                        claimed.offer(value)?;
                    } else if timestamp.as_ref().is_some_and(|timestamp| key == timestamp.as_bytes())
                        && found.replace(value).is_some()
                    {
                        const TWICE: &str = "the signature header holds more than one timestamp";
                        return Err(VerifyError::MalformedRequest { what: TWICE });
                    }
                }
            }
            Self::Versioned(version) => {
                for (_, value) in pairs(text, ' ', ',').filter(|(name, _)| *name == version.as_bytes()) {
                    claimed.offer(value)?;
                }
            }
        }
        Ok(found)
    }

    /// What stands in the list under `key`, if it is a list and holds it.
    pub(super) fn beside<'t>(&self, text: &'t [u8], key: &str) -> Option<&'t [u8]> {
        let Self::KeyValue { separator, .. } = self else { return None };
        pairs(text, *separator, '=').find(|(name, _)| *name == key.as_bytes()).map(|(_, value)| value)
    }

    /// The text behind the prefix, of a format that holds one signature; `None` for other formats, or without the prefix.
    pub(super) fn strip<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        match self {
            Self::Raw => Some(text),
            Self::Prefixed(prefix) => text.strip_prefix(prefix.as_bytes()),
            Self::MaybePrefixed(prefix) => Some(text.strip_prefix(prefix.as_bytes()).unwrap_or(text)),
            Self::KeyValue { .. } | Self::Versioned(_) => None,
        }
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
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
}
