//! Handshakes: requests by which a provider makes sure that this URL wants its events, and what answers them.
//!
//! A handshake is data like the rest of a scheme: what marks it, what proves it, what answers it. [`super::Reply`] is
//! made of it without a network; whatever must be done before the answer may be sent stands in its
//! [`deed`](super::Reply::deed).

use std::fmt;
use std::str::FromStr;

use http::Method;

use super::word::word;
use super::{InvalidField, Location, Pointer};

/// One kind of request that is answered by itself and never becomes an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// Its method.
    pub method: Method,
    /// What tells it from an event, and from other handshakes: all of these.
    pub marks: Vec<Mark>,
    /// What proves that its provider sent it.
    pub proof: HandshakeProof,
    /// What answers it.
    pub answer: Answer,
}

/// Something that tells a handshake from an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// There is a value: `query:crc_token`.
    There(Location),
    /// There is none: `no json:/event/type`.
    Absent(Location),
    /// This value is there: `json:/type = url_verification`.
    Is(Location, String),
    /// The body is an object with this one member, a string, and no other: `only challenge`.
    Only(String),
    /// The body has an empty list there: `empty json:/events`.
    Empty(Pointer),
}

/// What proves that a handshake is its provider's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandshakeProof {
    /// Nothing: it tells nothing that not everyone may know, and changes nothing: `none`.
    Nothing,
    /// What proves an event, judged first: `signature`.
    Signature,
    /// A word that was agreed on for handshakes alone stands there: `word query:hub.verify_token`.
    Word(Location),
}

/// What answers a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The status alone: `200` or `204`.
    Bare(BareAnswer),
    /// A value as plain text: `text query:challenge`.
    Text(AnswerValue),
    /// A JSON object of such members: `json challenge=json:/challenge`.
    Json(Vec<(String, AnswerValue)>),
    /// CloudEvents' leave to send: `origin`. By
    /// [the specification, section 4](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md).
    Origin,
    /// Nothing, once the URL there was called: `confirm json:/SubscribeURL`. AWS SNS alone.
    Confirm(Location),
    /// Nothing, once the secret there was kept for the source; if it stands in a header, the same header goes back:
    /// `keep header:X-Hook-Secret`.
    Keep(Location),
}

word! {
    /// An answer without a body.
    BareAnswer, "an answer without a body", "200 or 204",
    {
        /// 200.
        Ok = "200",
        /// 204.
        NoContent = "204",
    }
}

/// A value of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerValue {
    /// What stands there in the request: `json:/challenge`.
    At(Location),
    /// Its signature by the scheme's hash, key and encoding, alone: `mac(json:/payload/plainToken)`.
    Mac(Location),
    /// The same as the scheme writes it into its header: `signature(query:crc_token)`.
    Signature(Location),
    /// A number: `1`.
    Number(u32),
}

/// A handshake in the words of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct HandshakeText {
    /// The method.
    pub method: &'static str,
    /// What marks it, each as [`Mark`] reads it.
    pub when: &'static [&'static str],
    /// What proves it, as [`HandshakeProof`] reads it.
    pub proof: &'static str,
    /// What answers it, as [`Answer`] reads it.
    pub answer: &'static str,
}

impl HandshakeText {
    /// Reads the text.
    ///
    /// # Errors
    /// The first field that is not written as it must be.
    pub fn read(&self) -> Result<Handshake, InvalidField> {
        Ok(Handshake {
            method: method(self.method)?,
            marks: self.when.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
            proof: self.proof.parse()?,
            answer: self.answer.parse()?,
        })
    }
}

/// One of the methods that a source takes.
///
/// # Errors
/// For any other.
pub fn method(text: &str) -> Result<Method, InvalidField> {
    match text {
        "POST" => Ok(Method::POST),
        "GET" => Ok(Method::GET),
        "HEAD" => Ok(Method::HEAD),
        "OPTIONS" => Ok(Method::OPTIONS),
        _ => Err(InvalidField::new("a handshake's method", "POST, GET, HEAD or OPTIONS")),
    }
}

impl Handshake {
    /// Every place that is read to know and to answer it.
    pub(super) fn places(&self) -> impl Iterator<Item = &Location> {
        let marked = self.marks.iter().filter_map(Mark::place);
        let word = if let HandshakeProof::Word(place) = &self.proof { Some(place) } else { None };
        marked.chain(word).chain(self.answer.places())
    }

    /// The places of texts that are signed with the source's own key: whoever asks chooses those.
    pub(super) fn signed_places(&self) -> Vec<&Location> {
        let made = |value: &AnswerValue| matches!(value, AnswerValue::Mac(_) | AnswerValue::Signature(_));
        let values = match &self.answer {
            Answer::Text(value) => vec![value],
            Answer::Json(members) => members.iter().map(|(_, value)| value).collect(),
            Answer::Bare(_) | Answer::Origin | Answer::Confirm(_) | Answer::Keep(_) => Vec::new(),
        };
        values.into_iter().filter(|value| made(value)).filter_map(AnswerValue::place).collect()
    }

    /// Whether the body must be read to know it.
    pub(super) fn reads_body(&self) -> bool {
        self.marks.iter().any(|mark| mark.place().is_none_or(Location::is_in_body))
    }

    /// Whether a secret is to be kept.
    #[must_use]
    pub fn keeps(&self) -> bool {
        matches!(self.answer, Answer::Keep(_))
    }
}

impl Mark {
    fn place(&self) -> Option<&Location> {
        match self {
            Self::There(place) | Self::Absent(place) | Self::Is(place, _) => Some(place),
            Self::Only(_) | Self::Empty(_) => None,
        }
    }
}

impl Answer {
    fn places(&self) -> Vec<&Location> {
        match self {
            Self::Bare(_) | Self::Origin => Vec::new(),
            Self::Text(value) => value.place().into_iter().collect(),
            Self::Json(members) => members.iter().filter_map(|(_, value)| value.place()).collect(),
            Self::Confirm(place) | Self::Keep(place) => vec![place],
        }
    }
}

impl AnswerValue {
    fn place(&self) -> Option<&Location> {
        match self {
            Self::At(place) | Self::Mac(place) | Self::Signature(place) => Some(place),
            Self::Number(_) => None,
        }
    }
}

impl FromStr for Mark {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, InvalidField> {
        if let Some((place, value)) = text.split_once(" = ") {
            return Ok(Self::Is(place.parse()?, value.to_owned()));
        }
        match text.split_once(' ') {
            Some(("no", place)) => place.parse().map(Self::Absent),
            Some(("only", member)) if !member.is_empty() => Ok(Self::Only(member.to_owned())),
            Some(("empty", place)) => place.strip_prefix("json:").unwrap_or_default().parse().map(Self::Empty),
            Some(_) | None => text.parse().map(Self::There),
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::There(place) => write!(f, "{place}"),
            Self::Absent(place) => write!(f, "no {place}"),
            Self::Is(place, value) => write!(f, "{place} = {value}"),
            Self::Only(member) => write!(f, "only {member}"),
            Self::Empty(pointer) => write!(f, "empty json:{pointer}"),
        }
    }
}

impl FromStr for HandshakeProof {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, InvalidField> {
        match text.split_once(' ') {
            None if text == "none" => Ok(Self::Nothing),
            None if text == "signature" => Ok(Self::Signature),
            Some(("word", place)) => place.parse().map(Self::Word),
            Some(_) | None => Err(InvalidField::new("a handshake's proof", "none, signature or word <location>")),
        }
    }
}

impl fmt::Display for HandshakeProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("none"),
            Self::Signature => f.write_str("signature"),
            Self::Word(place) => write!(f, "word {place}"),
        }
    }
}

impl FromStr for Answer {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, InvalidField> {
        const INVALID: InvalidField = InvalidField::new(
            "a handshake's answer",
            "200, 204, text <value>, json <name>=<value> ..., origin, confirm <location> or keep <location>",
        );
        match text.split_once(' ') {
            None if text == "origin" => Ok(Self::Origin),
            None => text.parse().map(Self::Bare).map_err(|_| INVALID),
            Some(("text", value)) => value.parse().map(Self::Text),
            Some(("json", members)) => {
                members.split(' ').map(member).collect::<Option<_>>().map(Self::Json).ok_or(INVALID)
            }
            Some(("confirm", place)) => place.parse().map(Self::Confirm),
            Some(("keep", place)) => place.parse().map(Self::Keep),
            Some(_) => Err(INVALID),
        }
    }
}

fn member(text: &str) -> Option<(String, AnswerValue)> {
    let (name, value) = text.split_once('=')?;
    Some((name.to_owned(), value.parse().ok()?))
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bare(status) => write!(f, "{status}"),
            Self::Text(value) => write!(f, "text {value}"),
            Self::Json(members) => {
                f.write_str("json")?;
                members.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
            }
            Self::Origin => f.write_str("origin"),
            Self::Confirm(place) => write!(f, "confirm {place}"),
            Self::Keep(place) => write!(f, "keep {place}"),
        }
    }
}

impl FromStr for AnswerValue {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, InvalidField> {
        let inner = |name: &str| text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
        if let Some(place) = inner("mac") {
            return place.parse().map(Self::Mac);
        }
        if let Some(place) = inner("signature") {
            return place.parse().map(Self::Signature);
        }
        text.parse().map(Self::Number).or_else(|_| text.parse().map(Self::At))
    }
}

impl fmt::Display for AnswerValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(place) => write!(f, "{place}"),
            Self::Mac(place) => write!(f, "mac({place})"),
            Self::Signature(place) => write!(f, "signature({place})"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl fmt::Display for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.method)?;
        for (index, mark) in self.marks.iter().enumerate() {
            write!(f, "{}{mark}", if index == 0 { " " } else { ", " })?;
        }
        let proof = match &self.proof {
            HandshakeProof::Nothing => "",
            HandshakeProof::Signature => ", signed",
            HandshakeProof::Word(_) => ", with the source's verify_token",
        };
        write!(f, "{proof}: {}", self.answer)
    }
}
