//! Where in a request a value stands.

use std::fmt;
use std::str::FromStr;

use http::HeaderName;

use super::InvalidField;

/// One place where a signature, a timestamp, an id or a type may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A header: `header:X-GitHub-Delivery`.
    Header(HeaderName),
    /// Headers that are numbered from 1: `header:X-DocuSign-Signature-{n}`. Signatures only.
    NumberedHeader(String),
    /// A parameter of the URL's query: `query:signature`.
    Query(String),
    /// A string or number in the JSON body: `json:/data/id`.
    Json(Pointer),
    /// The first key of the JSON body that is none of these: `json-key:/!update_id`. Types only.
    JsonKey(Vec<String>),
    /// A field of a body in the form of `application/x-www-form-urlencoded`: `form:payload`.
    Form(String),
    /// The body itself: `body`. The token of a JSON Web Token only.
    Body,
    /// The SHA-256 of the raw body, in hexadecimal: `body-sha256`. Always there, so it ends a list. Ids only.
    BodySha256,
    /// A new id for each request: `arrival`. For providers that send the same bytes for distinct events and number none:
    /// all of them are taken, the ones that are sent again too. Ids only.
    Arrival,
}

/// A JSON pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)) below the document's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

/// Most steps of a JSON pointer; the deepest id among the providers stands at 4.
pub const POINTER_DEPTH_MAX: usize = 8;

/// What stands for the number in the name of a numbered header.
const NUMBER: &str = "{n}";

impl Location {
    /// The header, if it is one header.
    #[must_use]
    pub fn header(&self) -> Option<&HeaderName> {
        if let Self::Header(name) = self { Some(name) } else { None }
    }

    /// The pointer, if it is a value in a JSON body.
    #[must_use]
    pub fn pointer(&self) -> Option<&Pointer> {
        if let Self::Json(pointer) = self { Some(pointer) } else { None }
    }

    /// Whether the value stands in the body.
    #[must_use]
    pub fn is_in_body(&self) -> bool {
        matches!(self, Self::Json(_) | Self::JsonKey(_) | Self::Form(_) | Self::Body)
    }
}

impl Pointer {
    /// The keys and indices to follow, unescaped.
    pub(super) fn steps(&self) -> &[String] {
        &self.0
    }
}

impl FromStr for Pointer {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, InvalidField> {
        const INVALID: InvalidField =
            InvalidField::new("a JSON pointer", "1 to 8 steps that begin with '/', such as /data/id");
        let steps: Vec<_> = text.strip_prefix('/').ok_or(INVALID)?.split('/').map(unescape).collect();
        if steps.len() <= POINTER_DEPTH_MAX { Ok(Self(steps)) } else { Err(INVALID) }
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| write!(f, "/{}", step.replace('~', "~0").replace('/', "~1")))
    }
}

impl FromStr for Location {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, InvalidField> {
        const INVALID: InvalidField = InvalidField::new(
            "a location",
            "header:<Name>, query:<name>, json:</pointer>, json-key:/!<other key>, form:<name>, body, body-sha256 or \
             arrival",
        );
        let named = |name: &str| if name.is_empty() { Err(INVALID) } else { Ok(name.to_owned()) };
        match text.split_once(':') {
            Some(("header", name)) => match name.strip_suffix(NUMBER) {
                None => name.parse().map(Self::Header).map_err(|_| INVALID),
                Some(prefix) if prefix.parse::<HeaderName>().is_ok() => Ok(Self::NumberedHeader(prefix.to_lowercase())),
                Some(_) => Err(INVALID),
            },
            Some(("query", name)) => named(name).map(Self::Query),
            Some(("form", name)) => named(name).map(Self::Form),
            Some(("json", pointer)) => pointer.parse().map(Self::Json),
            Some(("json-key", others)) => match others.strip_prefix("/!") {
                Some(others) => Ok(Self::JsonKey(others.split(',').map(str::to_owned).collect())),
                None if others == "/" => Ok(Self::JsonKey(Vec::new())),
                None => Err(INVALID),
            },
            None if text == "body" => Ok(Self::Body),
            None if text == "body-sha256" => Ok(Self::BodySha256),
            None if text == "arrival" => Ok(Self::Arrival),
            Some(_) | None => Err(INVALID),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::NumberedHeader(prefix) => write!(f, "header:{prefix}{NUMBER}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Json(pointer) => write!(f, "json:{pointer}"),
            Self::JsonKey(others) if others.is_empty() => f.write_str("json-key:/"),
            Self::JsonKey(others) => write!(f, "json-key:/!{}", others.join(",")),
            Self::Form(name) => write!(f, "form:{name}"),
            Self::Body => f.write_str("body"),
            Self::BodySha256 => f.write_str("body-sha256"),
            Self::Arrival => f.write_str("arrival"),
        }
    }
}

/// `~1` before `~0`, so that `~01` becomes `~1` ([RFC 6901, section 4](https://www.rfc-editor.org/rfc/rfc6901#section-4)).
fn unescape(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}
