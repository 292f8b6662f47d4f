//! The signed text: which parts of a request a signature covers, in which order.

use std::fmt;
use std::str::FromStr;

use super::{InvalidField, Location};

/// What is signed, such as `{timestamp}.{body}`: literal text around the parts of a request.
///
/// One signed text must not be readable as two requests. Values that the sender's request carries (`{id}`, `{header:X}`,
/// `{json:/x}`, ...) therefore have literal text between them, and `admits` refuses values that hold its
/// adjoining character. Three kinds of pieces stand next to others without it, as vendors sign `{timestamp}{body}` and
/// `{url}{body}`:
///
/// - A timestamp has a fixed width there: a byte moved into it or out of it makes it malformed.
/// - A URL is the configuration's; where a piece follows it at once, so is its query (`needs_whole_url`).
/// - Hashes of the body, the secret and the source's setting are not taken from the request.
///
/// Signed headers end with a text of their own, and the body behind them must begin with a bracket that none of them holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    /// What every request asks of the pieces, found once.
    facts: Facts,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Facts {
    has_timestamp: bool,
    has_bare_timestamp: bool,
    has_id: bool,
    has_made: bool,
}

/// One piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text that is signed as it stands.
    Literal(String),
    /// The raw body: `{body}`.
    Body,
    /// The timestamp, as its place writes it: `{timestamp}`.
    Timestamp,
    /// The event's id, as its header writes it: `{id}`.
    Id,
    /// The HTTP method: `{method}`.
    Method,
    /// The URL that the provider calls, with its query: `{url}`.
    Url,
    /// Path and query of that URL: `{uri}`.
    Uri,
    /// Its query, without the question mark: `{query}`.
    Query,
    /// A value of the request: `{header:X-Name}`, `{query:name}`, `{json:/pointer}` or `{form:name}`.
    At(Location),
    /// The fields of a form body, sorted by name, names and values one after another: `{form_sorted}`.
    FormSorted,
    /// The fields of a form body but the signature's, sorted by name, as PHP serializes them: `{form_php}`.
    FormPhp,
    /// The headers that the signature's list names under `h`, as Hook0 signs them: the names with spaces between, a point,
    /// the values with points between, a point: `{signed_headers}`.
    SignedHeaders,
    /// The SHA-256 of the body in hexadecimal: `{body_sha256}`.
    BodySha256,
    /// The CRC-32 of the body in decimal: `{crc32}`. Covers no body: everyone can make another one with the same sum.
    Crc32,
    /// The secret: `{secret}`, for [`super::Kind::PlainHash`].
    Secret,
    /// The source's `setting`: `{setting}`, such as the id that the provider gave to the webhook.
    Setting,
}

/// What every placeholder but those with a location is called.
const PLACEHOLDERS: [(&str, Piece); 14] = [
    ("body", Piece::Body),
    ("timestamp", Piece::Timestamp),
    ("id", Piece::Id),
    ("method", Piece::Method),
    ("url", Piece::Url),
    ("uri", Piece::Uri),
    ("query", Piece::Query),
    ("form_sorted", Piece::FormSorted),
    ("form_php", Piece::FormPhp),
    ("signed_headers", Piece::SignedHeaders),
    ("body_sha256", Piece::BodySha256),
    ("crc32", Piece::Crc32),
    ("secret", Piece::Secret),
    ("setting", Piece::Setting),
];

const INVALID: InvalidField = InvalidField::new(
    "a signed template",
    "text with placeholders such as {body}, {timestamp} and {id}, each at most once, where literal text stands between \
     {body} and what else is taken from the request, but for {timestamp} and {url}",
);

impl Piece {
    /// Whether its text is the request's own and can have any length.
    fn is_open(&self) -> bool {
        self.is_whole_body() || matches!(self, Self::Id | Self::Query | Self::At(_))
    }

    /// Whether it is as long as the body, so that nothing limits what it holds.
    fn is_whole_body(&self) -> bool {
        matches!(self, Self::Body | Self::FormSorted | Self::FormPhp)
    }

    /// The place of the request that it stands for.
    #[must_use]
    pub fn location(&self) -> Option<&Location> {
        if let Self::At(location) = self { Some(location) } else { None }
    }

    /// Whether it is more than a name for bytes that are at hand, and must be made for each request.
    pub(super) fn is_made(&self) -> bool {
        !matches!(self, Self::Literal(_) | Self::Body | Self::Timestamp | Self::Id | Self::Secret)
    }
}

impl Template {
    /// The template of a kind that signs nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(Vec::new())
    }

    fn new(pieces: Vec<Piece>) -> Self {
        let is_bare = |one: &Piece, other: &Piece| *one == Piece::Timestamp && !matches!(other, Piece::Literal(_));
        let facts = Facts {
            has_timestamp: pieces.contains(&Piece::Timestamp),
            has_bare_timestamp: pieces
                .windows(2)
                .any(|pair| is_bare(&pair[0], &pair[1]) || is_bare(&pair[1], &pair[0])),
            has_id: pieces.contains(&Piece::Id),
            has_made: pieces.iter().any(Piece::is_made),
        };
        Self { pieces, facts }
    }

    /// The pieces, in the order in which they are signed.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Whether the signature covers `piece`.
    #[must_use]
    pub fn has(&self, piece: &Piece) -> bool {
        self.pieces.contains(piece)
    }

    /// Whether the signature covers a timestamp.
    #[must_use]
    pub fn has_timestamp(&self) -> bool {
        self.facts.has_timestamp
    }

    /// Whether the signature covers an id.
    #[must_use]
    pub fn has_id(&self) -> bool {
        self.facts.has_id
    }

    /// Whether another body would need another signature.
    #[must_use]
    pub fn covers_body(&self) -> bool {
        self.pieces.iter().any(|piece| piece.is_whole_body() || *piece == Piece::BodySha256)
    }

    /// Whether a piece follows the URL at once, so that a query which is not configured could be lengthened by it.
    pub(super) fn needs_whole_url(&self) -> bool {
        let is_url = |piece: &Piece| matches!(piece, Piece::Url | Piece::Uri);
        self.pieces.windows(2).any(|pair| is_url(&pair[0]) && !matches!(pair[1], Piece::Literal(_)))
    }

    /// Whether a timestamp stands next to another piece, with nothing between.
    pub(super) fn has_bare_timestamp(&self) -> bool {
        self.facts.has_bare_timestamp
    }

    /// Whether a piece must be made for each request.
    pub(super) fn has_made(&self) -> bool {
        self.facts.has_made
    }

    /// Whether `value` can only be read as the value of `piece`: the byte that ends it is not in it.
    pub(super) fn admits(&self, piece: &Piece, value: &[u8]) -> bool {
        self.end_of(piece).is_none_or(|end| !value.contains(&end))
    }

    /// What ends `piece`. The text up to the body is read from its begin, the text behind it from its end; so it is the
    /// first byte of the literal after the piece, or the last one of the literal before it.
    fn end_of(&self, piece: &Piece) -> Option<u8> {
        let at = self.pieces.iter().position(|one| one == piece)?;
        let is_behind_body = self.pieces[..at].iter().any(Piece::is_whole_body);
        let neighbour = if is_behind_body { self.pieces.get(at.checked_sub(1)?)? } else { self.pieces.get(at + 1)? };
        let Piece::Literal(text) = neighbour else { return None };
        if is_behind_body { text.bytes().next_back() } else { text.bytes().next() }
    }

    fn is_valid(&self) -> bool {
        let is_once = |piece: &Piece| self.pieces.iter().filter(|other| *other == piece).count() == 1;
        let repeats =
            self.pieces.iter().filter(|piece| !matches!(piece, Piece::Literal(_))).any(|piece| !is_once(piece));
        let whole_bodies = self.pieces.iter().filter(|piece| piece.is_whole_body()).count();
        let is_before_body = |at: usize| self.pieces.get(at + 1) == Some(&Piece::Body);
        let headers = self.pieces.iter().position(|piece| *piece == Piece::SignedHeaders);
        let is_separated = headers.is_none_or(is_before_body)
            && self.pieces.windows(2).all(|pair| !(pair[0].is_open() && pair[1].is_open()));
        !repeats
            && whole_bodies <= 1
            && is_separated
            && self.pieces.iter().any(|piece| !matches!(piece, Piece::Literal(_)))
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
            pieces.push(placeholder_called(name)?);
            rest = after;
        }
        let template = Self::new(pieces);
        if template.is_valid() { Ok(template) } else { Err(INVALID) }
    }
}

fn placeholder_called(name: &str) -> Result<Piece, InvalidField> {
    if let Some((_, piece)) = PLACEHOLDERS.iter().find(|(known, _)| *known == name) {
        return Ok(piece.clone());
    }
    match name.parse() {
        Ok(
            Location::JsonKey(_)
            | Location::NumberedHeader(_)
            | Location::Body
            | Location::BodySha256
            | Location::Arrival,
        )
        | Err(_) => Err(INVALID),
        Ok(location) => Ok(Piece::At(location)),
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces.iter().try_for_each(|piece| {
            if let Piece::Literal(text) = piece {
                f.write_str(text)
            } else if let Piece::At(location) = piece {
                write!(f, "{{{location}}}")
            } else {
                let name = PLACEHOLDERS.iter().find(|(_, other)| other == piece).map_or("", |(name, _)| *name);
                write!(f, "{{{name}}}")
            }
        })
    }
}
