//! Names that are put together from several places of a request.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::{InvalidField, Location};
use crate::event::{BodyHash, EVENT_ID_MAX};

/// An id or a type: the value at one place, or the values at several, joined.
///
/// `json:/MessageID + json:/RecordType` is for providers that name only the thing an event is about: all that happens to
/// one message would be one event otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composed(Vec<Location>);

/// Most parts of one name.
pub const PARTS_MAX: usize = 6;
/// What stands between two parts.
const PLUS: &str = " + ";

impl Composed {
    /// The places, in order; there is at least one.
    #[must_use]
    pub fn parts(&self) -> &[Location] {
        &self.0
    }

    /// The place, if there is only one.
    #[must_use]
    pub fn single(&self) -> Option<&Location> {
        if let [one] = self.parts() { Some(one) } else { None }
    }
}

/// Joins the values of an id so that two lists of equal length never become one text: a `|` or `\` of a value is escaped.
/// What is longer than an id may be is told by its hash.
pub(super) fn join_id(values: &[Cow<'_, [u8]>]) -> Vec<u8> {
    let mut joined = Vec::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            joined.push(b'|');
        }
        for byte in value.iter() {
            if matches!(byte, b'|' | b'\\') {
                joined.push(b'\\');
            }
            joined.push(*byte);
        }
    }
    if joined.len() > EVENT_ID_MAX { BodyHash::of(&joined).to_string().into_bytes() } else { joined }
}

/// Joins the values of a type with dots, as topic exchanges route them.
pub(super) fn join_type(values: &[Cow<'_, [u8]>]) -> Vec<u8> {
    values.join(&b'.')
}

impl From<Location> for Composed {
    fn from(location: Location) -> Self {
        Self(vec![location])
    }
}

impl FromStr for Composed {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, InvalidField> {
        const TOO_MANY: InvalidField = InvalidField::new("a composed name", "at most 6 locations with \" + \" between");
        let parts: Vec<Location> = text.split(PLUS).map(str::parse).collect::<Result<_, _>>()?;
        if parts.len() <= PARTS_MAX { Ok(Self(parts)) } else { Err(TOO_MANY) }
    }
}

impl fmt::Display for Composed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            let plus = if index == 0 { "" } else { PLUS };
            write!(f, "{plus}{part}")?;
        }
        Ok(())
    }
}
