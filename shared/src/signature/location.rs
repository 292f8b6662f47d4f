//! Where in a request an id or a type stands.

use std::fmt;
use std::str::FromStr;

use http::HeaderName;

use super::InvalidField;

/// One place where an event's id or type may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A header: `header:X-GitHub-Delivery`.
    Header(HeaderName),
    /// A string or number in the JSON body: `json:/data/id`.
    Json(Pointer),
    /// The SHA-256 of the raw body, in hexadecimal: `body-sha256`. Always there, so it ends a list.
    BodySha256,
}

/// A JSON pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)) below the document's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

/// Most steps of a JSON pointer; the deepest id among the providers stands at 4.
pub const POINTER_DEPTH_MAX: usize = 8;

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
        const INVALID: InvalidField = InvalidField::new("a location", "header:<Name>, json:</pointer> or body-sha256");
        match text.split_once(':') {
            Some(("header", name)) => name.parse().map(Self::Header).map_err(|_| INVALID),
            Some(("json", pointer)) => pointer.parse().map(Self::Json),
            None if text == "body-sha256" => Ok(Self::BodySha256),
            Some(_) | None => Err(INVALID),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Json(pointer) => write!(f, "json:{pointer}"),
            Self::BodySha256 => f.write_str("body-sha256"),
        }
    }
}

/// `~1` before `~0`, so that `~01` becomes `~1` ([RFC 6901, section 4](https://www.rfc-editor.org/rfc/rfc6901#section-4)).
fn unescape(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}
