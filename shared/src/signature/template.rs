//! The signed text: which parts of a request a signature covers, in which order.

use std::fmt;
use std::str::FromStr;

use super::InvalidField;

/// What is signed, such as `{timestamp}.{body}`: literal text around the parts of a request.
///
/// Holds exactly one `{body}` and at most one `{timestamp}` and `{id}`. An `{id}` is followed by literal text or by
/// nothing: without a separator, bytes could be moved between it and the next part under the same signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

/// One piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text that is signed as it stands.
    Literal(String),
    /// The raw body.
    Body,
    /// The timestamp, as its header writes it.
    Timestamp,
    /// The event's id, as its header writes it.
    Id,
}

/// The parts of one request that a template can name; a part that it does not name is empty.
#[derive(Debug, Clone, Copy)]
pub(super) struct SignedParts<'a> {
    pub(super) body: &'a [u8],
    pub(super) timestamp: &'a [u8],
    pub(super) id: &'a [u8],
}

const INVALID: InvalidField = InvalidField::new(
    "a signed template",
    "text with {body} once and optionally {timestamp} and {id}, where literal text stands between {id} and the next \
     placeholder",
);

impl Template {
    /// The pieces, in the order in which they are signed.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// Whether the signature covers a timestamp.
    #[must_use]
    pub fn has_timestamp(&self) -> bool {
        self.0.contains(&Piece::Timestamp)
    }

    /// Whether the signature covers an id.
    #[must_use]
    pub fn has_id(&self) -> bool {
        self.0.contains(&Piece::Id)
    }

    /// Whether `id` can only be read as an id: it does not hold the separator that ends it.
    pub(super) fn is_unambiguous(&self, id: &str) -> bool {
        let after_id = self.0.iter().skip_while(|piece| **piece != Piece::Id).nth(1);
        match after_id {
            Some(Piece::Literal(separator)) => !id.contains(separator.as_str()),
            Some(Piece::Body | Piece::Timestamp | Piece::Id) | None => true,
        }
    }

    /// The signed bytes, piece by piece.
    pub(super) fn render<'a>(&'a self, parts: &SignedParts<'a>) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().map(move |piece| match piece {
            Piece::Literal(text) => text.as_bytes(),
            Piece::Body => parts.body,
            Piece::Timestamp => parts.timestamp,
            Piece::Id => parts.id,
        })
    }

    fn is_valid(&self) -> bool {
        let count = |wanted: &Piece| self.0.iter().filter(|piece| *piece == wanted).count();
        let id_is_separated =
            self.0.windows(2).all(|pair| pair[0] != Piece::Id || matches!(pair[1], Piece::Literal(_)));
        count(&Piece::Body) == 1 && count(&Piece::Timestamp) <= 1 && count(&Piece::Id) <= 1 && id_is_separated
    }
}

impl FromStr for Template {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, InvalidField> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (literal, placeholder) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.into()));
            }
            let Some(opened) = placeholder.strip_prefix('{') else { break };
            let (name, after) = opened.split_once('}').ok_or(INVALID)?;
            pieces.push(match name {
                "body" => Piece::Body,
                "timestamp" => Piece::Timestamp,
                "id" => Piece::Id,
                _ => return Err(INVALID),
            });
            rest = after;
        }
        let template = Self(pieces);
        if template.is_valid() { Ok(template) } else { Err(INVALID) }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Literal(text) => f.write_str(text),
            Piece::Body => f.write_str("{body}"),
            Piece::Timestamp => f.write_str("{timestamp}"),
            Piece::Id => f.write_str("{id}"),
        })
    }
}
