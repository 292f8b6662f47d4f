//! The signed text of one request: its template, filled in.

use std::borrow::Cow;

use http::HeaderName;
use url::form_urlencoded;

use super::received::{Reader, single};
use super::template::{Piece, Template};
use super::{Location, Scheme, VerifyError};
use crate::event::BodyHash;

/// A template with the parts of one request. What is at hand is borrowed; only what a template names is made.
pub(super) struct SignedText<'a> {
    pub(super) template: &'a Template,
    pub(super) body: &'a [u8],
    pub(super) timestamp: &'a [u8],
    pub(super) id: &'a [u8],
    /// The pieces that are made, in the order of the template.
    pub(super) made: Vec<Cow<'a, [u8]>>,
}

impl SignedText<'_> {
    /// The signed bytes, piece by piece; `secret` is what `{secret}` stands for.
    pub(super) fn pieces<'s>(&'s self, secret: &'s [u8]) -> impl Iterator<Item = &'s [u8]> {
        let mut made = self.made.iter();
        self.template.pieces().iter().map(move |piece| match piece {
            Piece::Literal(text) => text.as_bytes(),
            Piece::Body => self.body,
            Piece::Timestamp => self.timestamp,
            Piece::Id => self.id,
            Piece::Secret => secret,
            Piece::Method
            | Piece::Url
            | Piece::Uri
            | Piece::Query
            | Piece::At(_)
            | Piece::FormSorted
            | Piece::FormPhp
            | Piece::BodySha256
            | Piece::Crc32
            | Piece::SignedHeaders
            | Piece::Setting => made.next().map(AsRef::as_ref).unwrap_or_default(),
        })
    }
}

/// Why a piece of the signed text cannot be made.
pub(super) enum Unmade<'s> {
    /// The request does not have the value.
    Absent(&'s Location),
    /// Its place cannot be read, or its text would be ambiguous.
    Refused(VerifyError),
}

impl From<Unmade<'_>> for VerifyError {
    fn from(unmade: Unmade<'_>) -> Self {
        match unmade {
            Unmade::Absent(_) => Self::MalformedRequest { what: "a value that the signature covers is missing" },
            Unmade::Refused(error) => error,
        }
    }
}

const AMBIGUOUS: VerifyError = VerifyError::MalformedRequest {
    what: "a value that the signature covers holds what separates it from the next one",
};
/// Else bytes could be moved from what is signed right behind the URL into its query.
const QUERY_NOT_CONFIGURED: VerifyError =
    VerifyError::MalformedRequest { what: "the URL has a query; the source's url must be configured with it" };

/// Makes the pieces of `scheme`'s template that are not at hand. Without such pieces nothing is allocated.
pub(super) fn make<'a, 's>(scheme: &'s Scheme, reader: &mut Reader<'a, '_>) -> Result<Vec<Cow<'a, [u8]>>, Unmade<'s>>
where
    's: 'a,
{
    if !scheme.template.has_made() {
        return Ok(Vec::new());
    }
    scheme
        .template
        .pieces()
        .iter()
        .filter(|piece| piece.is_made())
        .map(|piece| make_one(scheme, reader, piece))
        .collect()
}

fn make_one<'a, 's>(
    scheme: &'s Scheme,
    reader: &mut Reader<'a, '_>,
    piece: &'s Piece,
) -> Result<Cow<'a, [u8]>, Unmade<'s>>
where
    's: 'a,
{
    let received = *reader.received;
    let admitted = |value: Cow<'a, [u8]>| {
        if scheme.template.admits(piece, &value) { Ok(value) } else { Err(Unmade::Refused(AMBIGUOUS)) }
    };
    Ok(match piece {
        Piece::Method => Cow::Borrowed(received.method.as_str().as_bytes()),
        Piece::Url | Piece::Uri if scheme.url.is_whole() => scheme.url.piece(piece, &received),
        Piece::Url | Piece::Uri => {
            admitted(Cow::Borrowed(received.query().as_bytes()))?;
            if scheme.template.needs_whole_url() && !received.query().is_empty() {
                return Err(Unmade::Refused(QUERY_NOT_CONFIGURED));
            }
            scheme.url.piece(piece, &received)
        }
        Piece::Query => admitted(Cow::Borrowed(received.query().as_bytes()))?,
        Piece::At(location) => {
            admitted(reader.read_once(location).map_err(Unmade::Refused)?.ok_or(Unmade::Absent(location))?)?
        }
        Piece::FormSorted => Cow::Owned(sorted_form(received.body).map_err(Unmade::Refused)?.into_bytes()),
        Piece::FormPhp => Cow::Owned(php_form(received.body, &scheme.signature).map_err(Unmade::Refused)?.into_bytes()),
        Piece::SignedHeaders => Cow::Owned(signed_headers(scheme, reader).map_err(Unmade::Refused)?),
        Piece::BodySha256 => Cow::Owned(BodyHash::of(received.body).to_string().into_bytes()),
        Piece::Crc32 => Cow::Owned(crc32fast::hash(received.body).to_string().into_bytes()),
        Piece::Setting => Cow::Borrowed(scheme.setting.as_deref().unwrap_or_default().as_bytes()),
        Piece::Literal(_) | Piece::Body | Piece::Timestamp | Piece::Id | Piece::Secret => Cow::Borrowed(b""),
    })
}

/// Names and values of the headers that the signature's list names.
///
/// Points part them from each other and from the body, and stand in values and bodies too. So that the text is read in one
/// way only, a name holds none, and the body begins with the first bracket of all.
fn signed_headers(scheme: &Scheme, reader: &mut Reader<'_, '_>) -> Result<Vec<u8>, VerifyError> {
    const MALFORMED: VerifyError = VerifyError::MalformedRequest {
        what: "a header that the signature covers is missing, or the body is no JSON object or list",
    };
    let is_bracket = |byte: &u8| matches!(byte, b'{' | b'[');
    if !reader.received.body.first().is_some_and(is_bracket) {
        return Err(MALFORMED);
    }
    let list = reader.first_once(&scheme.signature)?.unwrap_or_default();
    let names = scheme.format.beside(&list, "h").unwrap_or_default().trim_ascii();
    if names.is_empty() {
        return Ok(b"..".to_vec());
    }
    let mut text = [names, b"."].concat();
    for name in names.split(|byte| *byte == b' ').take(SIGNED_HEADERS_MAX) {
        let name = HeaderName::from_bytes(name).ok().filter(|_| !name.contains(&b'.')).ok_or(MALFORMED)?;
        let value = single(reader.received.headers, &name)?.ok_or(MALFORMED)?.as_bytes();
        if value.iter().any(is_bracket) {
            return Err(AMBIGUOUS);
        }
        text.extend_from_slice(value);
        text.push(b'.');
    }
    Ok(text)
}

/// Most headers that one signature covers; those beyond are left out, so that it does not match.
const SIGNED_HEADERS_MAX: usize = 16;

/// Most fields of a form that are sorted: a body of separators must not fill the memory.
const FIELDS_MAX: usize = 1_000;

/// The fields of a form body, sorted by name and value, names and values one after another; a field that is there twice
/// with one value counts once.
pub(super) fn sorted_form(body: &[u8]) -> Result<String, VerifyError> {
    let mut fields = sorted_fields(body)?;
    fields.dedup();
    Ok(fields.iter().fold(String::new(), |mut text, (name, value)| {
        text.push_str(name);
        text.push_str(value);
        text
    }))
}

/// The fields of a form body, sorted by name, as PHP's `serialize` writes an array of strings; without the one that the
/// signature stands in.
pub(super) fn php_form(body: &[u8], signature: &[Location]) -> Result<String, VerifyError> {
    let is_signature = |name: &str| signature.contains(&Location::Form(name.to_owned()));
    let mut fields = sorted_fields(body)?;
    fields.retain(|(name, _)| !is_signature(name));
    if let Some(pair) = fields.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(VerifyError::Duplicate { place: Location::Form(pair[0].0.clone().into_owned()) });
    }
    let string = |text: &str| format!("s:{}:\"{text}\";", text.len());
    let items: String = fields.iter().flat_map(|(name, value)| [string(name), string(value)]).collect();
    Ok(format!("a:{}:{{{items}}}", fields.len()))
}

/// Names and values, sorted.
type Fields<'b> = Vec<(Cow<'b, str>, Cow<'b, str>)>;

fn sorted_fields(body: &[u8]) -> Result<Fields<'_>, VerifyError> {
    let mut fields: Vec<_> = form_urlencoded::parse(body).take(FIELDS_MAX + 1).collect();
    fields.sort();
    if fields.len() > FIELDS_MAX {
        return Err(VerifyError::MalformedRequest { what: "the form has too many fields" });
    }
    Ok(fields)
}
