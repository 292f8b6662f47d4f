//! Reads `[source.signature]`: a scheme that is spelled out, for a provider without a preset.

use std::str::FromStr;
use std::time::Duration;

use http::{HeaderName, Method};
use url::Url;

use super::reader::{Section, Setting};
use crate::provider::Success;
use crate::signature::{
    Answer, Batch, Composed, Encoding, Handshake, HandshakeProof, Hash, KeyForm, Kind, Location, Mark, Pairing,
    Pointer, PublicUrl, Scheme, SchemeError, SignatureFormat, Template, TimestampFrom, TimestampRule, TimestampUnit,
    method,
};

/// The time in which a signed timestamp counts as fresh where a scheme does not say otherwise.
const TOLERANCE: Duration = Duration::from_secs(300);

pub(super) fn read_signature(section: &Section<'_>) -> Option<Scheme> {
    let kind = section.or("kind", Field(Kind::Hmac)).0;
    let template = read_template(section, kind);
    let signature = read_places(section, "header", "at");
    let timestamp_at = read_places(section, "timestamp_header", "timestamp_at");
    let unit = section.or("timestamp_unit", Field(TimestampUnit::Seconds)).0;
    let ids: Option<Vec<Field<Composed>>> = section.required_list("id");
    let fields = Scheme {
        kind,
        hash: section.or("hash", Field(Hash::Sha256)).0,
        key: section.or("key", Field(KeyForm::Utf8)).0,
        template: template?,
        signature: signature.unwrap_or_default(),
        format: section.or("format", Field(SignatureFormat::Raw)).0,
        encoding: section.or("encoding", Field(Encoding::Hex)).0,
        timestamp: None,
        id: plain(ids?),
        event_type: plain(section.list("event_type").unwrap_or_default()),
        pairing: section.or("pairing", Field(Pairing::Independent)).0,
        json_field: section.get("json_field"),
        body_claim: section.get::<String>("body_claim").and_then(|claim| format!("/{claim}").parse().ok()),
        unsigned_body: section.or("unsafe_unsigned_body", false),
        jwks: section.get::<KeySetUrl>("jwks").map(|url| url.0),
        url: PublicUrl::Unknown,
        setting: None,
        handshakes: section.sections("handshake").into_iter().filter_map(read_handshake).collect(),
    };
    let is_token = kind.is_jwt();
    let beside = if is_token { TimestampFrom::Token } else { TimestampFrom::Signature };
    let has_timestamp = fields.template.has_timestamp() || timestamp_at.is_some() || is_token;
    let timestamp = has_timestamp.then(|| TimestampRule {
        from: timestamp_at.map_or(beside, TimestampFrom::At),
        unit,
        tolerance: TOLERANCE,
    });
    let scheme = Scheme { timestamp, ..fields };
    if scheme.jwks.is_none() && section.has("jwks") {
        return None;
    }
    if scheme.unsigned_body {
        section.warn("unsafe_unsigned_body", "whoever has seen one request can send another body with its signature");
    }
    let key_of = |error: SchemeError| if error == SchemeError::KeySet { "jwks" } else { "signed" };
    scheme.check().map_err(|error| section.mistake(key_of(error), error.to_string())).is_ok().then_some(scheme)
}

fn read_handshake(section: Section<'_>) -> Option<Handshake> {
    let marks: Option<Vec<Field<Mark>>> = section.required_list("when");
    let proof = section.or("proof", Field(HandshakeProof::Signature)).0;
    let method = section.or("method", Field(Method::POST)).0;
    let answer: Option<Field<Answer>> = section.required("answer");
    section.finish();
    Some(Handshake { method, marks: plain(marks?), proof, answer: answer?.0 })
}

/// `[source.signature.batch]`: where a request holds its events, if it holds several.
pub(super) fn read_batch(section: &Section<'_>) -> Option<Batch> {
    let section = section.section("batch");
    if !section.is_present() {
        return None;
    }
    let items = section.get::<Field<Pointer>>("items").map(|pointer| pointer.0);
    let id = plain(section.list("id").unwrap_or_default());
    let event_type = plain(section.list("event_type").unwrap_or_default());
    section.finish();
    Some(Batch { items, id, event_type })
}

fn read_template(section: &Section<'_>, kind: Kind) -> Option<Template> {
    if kind.has_template() {
        return section.required::<Field<Template>>("signed").map(|template| template.0);
    }
    if section.get::<Field<Template>>("signed").is_some() {
        section.mistake("signed", format!("kind {:?} has its own way and no signed text", kind.as_str()));
    }
    Some(Template::empty())
}

/// Places under `locations`, or headers under `names`.
fn read_places(section: &Section<'_>, names: &'static str, locations: &'static str) -> Option<Vec<Location>> {
    let headers: Option<Vec<Field<HeaderName>>> = section.list(names);
    let places: Option<Vec<Field<Location>>> = section.list(locations);
    if headers.is_some() && places.is_some() {
        section.mistake(locations, format!("it says what {names} says too; leave one of them out"));
    }
    places.map(plain).or_else(|| Some(plain(headers?).into_iter().map(Location::Header).collect()))
}

/// A field of a scheme, in the words that the scheme itself reads.
struct Field<T>(T);

fn plain<T>(fields: Vec<Field<T>>) -> Vec<T> {
    fields.into_iter().map(|field| field.0).collect()
}

impl Setting for Field<Kind> {
    const EXPECTED: &'static str = "\"hmac\", \"plain-hash\", \"ed25519\", \"ecdsa-p256\", \"rsa\", \"token\", \"basic\", \"jwt\", \"jwt-rsa\" \
         or \"jwt-es256\"";
    fn from_text(text: &str) -> Result<Self, String> {
        match Kind::from_str(text) {
            Ok(kind) if kind.is_native() => Err(format!("{text:?} is a provider of its own")),
            Ok(kind) => Ok(Self(kind)),
            Err(_) => Err(String::new()),
        }
    }
}

/// Where a JWK Set is.
struct KeySetUrl(Url);

impl Setting for KeySetUrl {
    const EXPECTED: &'static str = "an https:// URL of a JWK Set, without a user or a password";
    fn from_text(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|_| String::new())?;
        let is_public = url.scheme() == "https" && url.username().is_empty() && url.password().is_none();
        if is_public && url.has_host() { Ok(Self(url)) } else { Err(String::new()) }
    }
}

macro_rules! field {
    ($($type:ty => $expected:literal),* $(,)?) => {$(
        impl Setting for Field<$type> {
            const EXPECTED: &'static str = $expected;
            fn from_text(text: &str) -> Result<Self, String> {
                <$type>::from_str(text).map(Self).map_err(|_| String::new())
            }
        }
    )*};
}
impl Setting for Field<Answer> {
    const EXPECTED: &'static str = "\"200\", \"204\", \"text query:challenge\", \"json challenge=json:/challenge\", \"origin\" or \
         \"keep header:X-Secret\"";
    fn from_text(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(Answer::Confirm(_)) => Err("only AWS SNS' own preset calls a URL".to_owned()),
            Ok(answer) => Ok(Self(answer)),
            Err(_) => Err(String::new()),
        }
    }
}

impl Setting for Field<Method> {
    const EXPECTED: &'static str = "\"POST\", \"GET\", \"HEAD\" or \"OPTIONS\"";
    fn from_text(text: &str) -> Result<Self, String> {
        method(text).map(Self).map_err(|_| String::new())
    }
}

impl Setting for Success {
    const EXPECTED: &'static str = "\"json\", \"empty\", \"accepted\" or \"no-content\"";
    fn from_text(text: &str) -> Result<Self, String> {
        [Self::Json, Self::Empty, Self::Accepted, Self::NoContent]
            .into_iter()
            .find(|success| success.as_str() == text)
            .ok_or_else(String::new)
    }
}

field! {
    Mark => "what marks it, such as \"json:/type = ping\", \"query:challenge\", \"only challenge\" or \"empty json:/events\"",
    HandshakeProof => "\"none\", \"signature\" or \"word query:token\"",
    Pointer => "a JSON pointer, such as \"/events\"",
    Template => "what is signed, such as \"{timestamp}.{body}\"",
    HeaderName => "a header's name",
    SignatureFormat => "\"raw\", \"prefix:sha256=\", \"prefix?:sha256=\", \"kv:t,v1\" or \"versioned:v1\"",
    TimestampUnit => "\"s\", \"ms\" or \"rfc3339\"",
    Location => "\"header:Name\", \"query:name\", \"json:/pointer\" or \"form:name\"",
    Composed => "\"header:Name\", \"query:name\", \"json:/pointer\", \"form:name\", \"body-sha256\" or \"arrival\", or several with \" + \" between",
    Hash => "\"sha1\", \"sha256\", \"sha384\" or \"sha512\"",
    KeyForm => "\"utf8\", \"hex\", \"base64\", \"whsec\", \"whpk\", \"pem\" or \"sha1-of\"",
    Encoding => "\"hex\", \"base64\" or \"base64url\"",
    Pairing => "\"independent\", \"by-position\" or \"every\"",
}
