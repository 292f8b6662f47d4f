//! What a request's signature covers, read a second time: from the scheme and the request alone, by other code than the
//! code under test, and without its strictness.
//!
//! Nobody can forge a signature, the fuzzer neither. So what is proven must be what a provider signed, piece for piece: a
//! byte that moved from one piece to the next shows, though the signed text is the same.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use http::HeaderMap;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use tidegate_shared::signature::{
    Composed, Encoding, Kind, Location, Piece, PublicUrl, Scheme, SignatureFormat, TimestampFrom,
};
use url::form_urlencoded;

use crate::request::Request;
use crate::tree::{at, members, steps, text_at};

/// The pieces that one signature covers.
type Pieces = Vec<Vec<u8>>;

/// What is read of one request.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    covered: Covered,
    /// What stands where a signature may, as it is compared.
    claimed: BTreeSet<Vec<u8>>,
    /// Every id that may be the signed one; `None` if none is signed.
    ids: Option<Ids>,
}

#[derive(Debug, Clone)]
enum Covered {
    /// One signature: what it may cover, where a scheme has several places for a value.
    One(BTreeSet<Pieces>),
    /// A signature for each of several items.
    Each(BTreeSet<Pieces>),
}

/// Ids that may be the signed one.
#[derive(Debug, Clone)]
pub(crate) struct Ids(Vec<Vec<u8>>);

impl Ids {
    pub(crate) fn any_is(&self, id: &[u8]) -> bool {
        self.0.iter().any(|known| known == id)
    }
}

impl Reading {
    fn one(pieces: Pieces, claimed: BTreeSet<Vec<u8>>) -> Self {
        Self { covered: Covered::One(BTreeSet::from([pieces])), claimed, ids: None }
    }

    fn nothing() -> Self {
        Self { covered: Covered::One(BTreeSet::new()), claimed: BTreeSet::new(), ids: None }
    }

    /// Whether what is covered, and a signature of it, are the ones of `made`.
    pub(crate) fn is_of(&self, made: &Self) -> bool {
        match (&self.covered, &made.covered) {
            (Covered::One(found), Covered::One(made_of)) => {
                !found.is_disjoint(made_of) && !self.claimed.is_disjoint(&made.claimed)
            }
            (Covered::Each(found), Covered::Each(made_of)) => {
                !found.is_empty() && found.is_subset(made_of) && self.claimed.is_subset(&made.claimed)
            }
            (Covered::One(_), Covered::Each(_)) | (Covered::Each(_), Covered::One(_)) => false,
        }
    }

    pub(crate) fn ids(&self) -> Option<&Ids> {
        self.ids.as_ref()
    }
}

/// Reads `request` by `scheme`.
pub(crate) fn reading(scheme: &Scheme, request: &Request) -> Reading {
    match scheme.kind {
        Kind::Hmac | Kind::PlainHash | Kind::Ed25519 | Kind::EcdsaP256 | Kind::Rsa | Kind::PayPal => {
            by_template(scheme, request)
        }
        Kind::Token | Kind::Basic => Reading::one(Vec::new(), claimed(scheme, request)),
        Kind::Jwt | Kind::JwtRsa | Kind::JwtEs256 | Kind::Plaid => by_token(scheme, request),
        Kind::MicrosoftGraph => by_client_state(scheme, request),
        Kind::Twilio => by_url_and_form(scheme, request),
        Kind::Adyen => by_items(request),
        Kind::Braintree => by_payload(request),
        Kind::AwsSns => by_message(scheme, request),
    }
}

fn by_template(scheme: &Scheme, request: &Request) -> Reading {
    let times = if scheme.template.has_timestamp() { timestamps(scheme, request) } else { vec![Vec::new()] };
    let ids = if scheme.template.has_id() {
        let places = scheme.id.iter().filter_map(Composed::single);
        places.flat_map(|place| values(scheme, request, place)).collect()
    } else {
        vec![Vec::new()]
    };
    let mut covered = BTreeSet::new();
    for time in &times {
        for id in &ids {
            let piece = |piece: &Piece| {
                if *piece == Piece::Timestamp {
                    Some(time.clone())
                } else if *piece == Piece::Id {
                    Some(id.clone())
                } else {
                    piece_of(scheme, request, piece)
                }
            };
            let pieces = scheme.template.pieces().iter().map(piece);
            covered.extend(pieces.collect::<Option<Pieces>>());
        }
    }
    let ids = scheme.template.has_id().then_some(Ids(ids));
    Reading { covered: Covered::One(covered), claimed: claimed(scheme, request), ids }
}

fn piece_of(scheme: &Scheme, request: &Request, piece: &Piece) -> Option<Vec<u8>> {
    Some(match piece {
        Piece::Literal(text) => text.clone().into_bytes(),
        // In the place of its hash, too: what matters is that no other body has it.
        Piece::Body | Piece::BodySha256 => request.body.clone(),
        Piece::Method => request.method.as_str().as_bytes().to_vec(),
        Piece::Url => match &scheme.url {
            PublicUrl::Whole(url) => url.clone().into_bytes(),
            PublicUrl::Base(_) | PublicUrl::Unknown => request.target.clone().into_bytes(),
        },
        Piece::Uri => match &scheme.url {
            PublicUrl::Whole(_) => Vec::new(),
            PublicUrl::Base(_) | PublicUrl::Unknown => request.target.clone().into_bytes(),
        },
        Piece::Query => query(request).as_bytes().to_vec(),
        Piece::At(location) => values(scheme, request, location).into_iter().next()?,
        Piece::FormSorted => sorted_form(&request.body).concat().concat().into_bytes(),
        Piece::FormPhp => {
            let is_signature = |name: &str| scheme.signature.iter().any(|place| *place == Location::Form(name.into()));
            let fields = sorted_form(&request.body).into_iter().filter(|[name, _]| !is_signature(name));
            format!("{:?}", fields.collect::<Vec<_>>()).into_bytes()
        }
        Piece::SignedHeaders => signed_headers(scheme, request)?,
        Piece::Crc32 => crc32fast::hash(&request.body).to_string().into_bytes(),
        Piece::Secret | Piece::Timestamp | Piece::Id => Vec::new(),
        Piece::Setting => scheme.setting.clone()?.into_bytes(),
    })
}

/// Names and values of the headers that the signature's list names.
fn signed_headers(scheme: &Scheme, request: &Request) -> Option<Vec<u8>> {
    let SignatureFormat::KeyValue { separator, .. } = &scheme.format else { return None };
    let lists = scheme.signature.iter().flat_map(|place| values(scheme, request, place));
    let names = lists.flat_map(|list| items(&list, *separator, '=', "h")).next().unwrap_or_default();
    let names = String::from_utf8(names).ok()?;
    let values = names.split_whitespace().map(|name| Some(request.headers.get(name)?.as_bytes().to_vec()));
    let values = values.collect::<Option<Vec<_>>>()?;
    Some(format!("{names:?}{values:?}").into_bytes())
}

/// Names and values, each pair once.
fn sorted_form(body: &[u8]) -> Vec<[String; 2]> {
    let pairs = form_urlencoded::parse(body).map(|(name, value)| [name.into_owned(), value.into_owned()]);
    pairs.collect::<BTreeSet<_>>().into_iter().collect()
}

fn query(request: &Request) -> &str {
    request.target.split_once('?').map_or("", |(_, query)| query)
}

/// Every text that may be the timestamp.
fn timestamps(scheme: &Scheme, request: &Request) -> Vec<Vec<u8>> {
    match scheme.timestamp.as_ref().map(|rule| &rule.from) {
        Some(TimestampFrom::At(places)) => {
            places.iter().flat_map(|place| values(scheme, request, place).into_iter().take(1)).collect()
        }
        Some(TimestampFrom::Signature) => {
            let SignatureFormat::KeyValue { timestamp: Some(key), separator, .. } = &scheme.format else {
                return Vec::new();
            };
            let texts = scheme.signature.iter().flat_map(|place| values(scheme, request, place));
            texts.flat_map(|text| items(&text, *separator, '=', key)).collect()
        }
        Some(TimestampFrom::Token) | None => Vec::new(),
    }
}

/// Every value at a place.
fn values(scheme: &Scheme, request: &Request, place: &Location) -> Vec<Vec<u8>> {
    let fields = |list: &[u8], name: &str| {
        let found = form_urlencoded::parse(list).filter(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned().into_bytes()).collect()
    };
    match place {
        Location::Header(name) => request.headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect(),
        Location::NumberedHeader(prefix) => {
            let is_numbered = |name: &str| name.strip_prefix(prefix).is_some_and(|rest| rest.parse::<u8>().is_ok());
            let found = request.headers.iter().filter(|(name, _)| is_numbered(name.as_str()));
            found.map(|(_, value)| value.as_bytes().to_vec()).collect()
        }
        Location::Query(name) => fields(query(request).as_bytes(), name),
        Location::Form(name) => fields(&request.body, name),
        Location::Json(pointer) => {
            let found = document(scheme, request).and_then(|json| text_at(&json, &steps(&pointer.to_string())));
            found.map(String::into_bytes).into_iter().collect()
        }
        Location::Body => vec![request.body.clone()],
        Location::JsonKey(_) | Location::BodySha256 | Location::Arrival => Vec::new(),
    }
}

/// The JSON of the body, in whichever form it is sent. What is no text in it is in nothing that is signed.
fn document(scheme: &Scheme, request: &Request) -> Option<Box<RawValue>> {
    let whole = || read(&String::from_utf8_lossy(&request.body));
    let Some(field) = &scheme.json_field else { return whole() };
    let in_form = || {
        let (_, value) = form_urlencoded::parse(&request.body).find(|(name, _)| name == field)?;
        read(&value)
    };
    // From its head to the next line that may end it.
    let in_part = || {
        let body = std::str::from_utf8(&request.body).ok()?;
        let (_, part) = body.split_once(&format!("name=\"{field}\""))?;
        let (_, content) = part.split_once("\r\n\r\n")?;
        read(content.split_once("\r\n--").map_or(content, |(content, _)| content))
    };
    if is_form(&request.headers) { in_form() } else { in_part().or_else(whole) }
}

fn read(text: &str) -> Option<Box<RawValue>> {
    serde_json::from_str(text).ok()
}

/// The body as a document, or an empty one.
fn body_of(request: &Request) -> Box<RawValue> {
    read(&String::from_utf8_lossy(&request.body)).unwrap_or_else(|| RawValue::NULL.to_owned())
}

/// The text at the steps, or none at all.
fn field(document: &RawValue, steps: &[&str]) -> Vec<u8> {
    text_at(document, steps).unwrap_or_default().into_bytes()
}

fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.trim().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded")
}

/// Everything that may be a signature, in the one spelling that all of its spellings have in common.
fn claimed(scheme: &Scheme, request: &Request) -> BTreeSet<Vec<u8>> {
    let texts = scheme.signature.iter().flat_map(|place| values(scheme, request, place));
    texts.flat_map(|text| signatures(&scheme.format, &text)).filter_map(|text| plain(scheme, &text)).collect()
}

fn signatures(format: &SignatureFormat, text: &[u8]) -> Vec<Vec<u8>> {
    let strip = |prefix: &str| text.strip_prefix(prefix.as_bytes()).map(<[u8]>::to_vec);
    match format {
        SignatureFormat::Raw => vec![text.to_vec()],
        SignatureFormat::Prefixed(prefix) => strip(prefix).into_iter().collect(),
        SignatureFormat::MaybePrefixed(prefix) => vec![strip(prefix).unwrap_or_else(|| text.to_vec())],
        SignatureFormat::KeyValue { separator, signature, .. } => items(text, *separator, '=', signature),
        SignatureFormat::Versioned(version) => items(text, ' ', ',', version),
    }
}

/// The values of `key` in a list.
fn items(list: &[u8], between: char, inside: char, key: &str) -> Vec<Vec<u8>> {
    let start = format!("{key}{inside}");
    let items = list.split(|byte| char::from(*byte) == between).map(<[u8]>::trim_ascii);
    items.filter_map(|item| item.strip_prefix(start.as_bytes()).map(<[u8]>::to_vec)).collect()
}

/// A signature without what is free in its spelling: the case of hexadecimal digits, padding, how credentials are written.
fn plain(scheme: &Scheme, text: &[u8]) -> Option<Vec<u8>> {
    if scheme.kind == Kind::Token {
        return Some(text.to_vec());
    }
    if scheme.kind == Kind::Basic {
        let (_, credentials) = text.split_at_checked("basic ".len())?;
        return STANDARD_PAD_INDIFFERENT.decode(credentials.trim_ascii()).ok();
    }
    match scheme.encoding {
        Encoding::Hex => hex::decode(text).ok(),
        Encoding::Base64 => STANDARD_PAD_INDIFFERENT.decode(text).ok(),
        Encoding::Base64Url => Some(without_padding(text)),
    }
}

fn without_padding(text: &[u8]) -> Vec<u8> {
    let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    text[..end].to_vec()
}

/// A token covers its own header and payload, and by its claim the body.
fn by_token(scheme: &Scheme, request: &Request) -> Reading {
    let texts = scheme.signature.iter().flat_map(|place| values(scheme, request, place));
    let token = texts.flat_map(|text| signatures(&scheme.format, &text)).next();
    let token = token.and_then(|token| String::from_utf8(token).ok()).unwrap_or_default();
    let Some((signed, signature)) = token.rsplit_once('.') else { return Reading::nothing() };
    let body = if scheme.body_claim.is_some() { request.body.clone() } else { Vec::new() };
    let claimed = BTreeSet::from([without_padding(signature.as_bytes())]);
    Reading::one(vec![signed.as_bytes().to_vec(), body], claimed)
}

/// The secrets, and the tokens where they are judged too: each is proven by itself, and none covers the body.
fn by_client_state(scheme: &Scheme, request: &Request) -> Reading {
    let document = body_of(request);
    let items = at(&document, &["value"]).map(members).unwrap_or_default();
    let tokens = at(&document, &["validationTokens"]).filter(|_| scheme.setting.is_some());
    let tokens = tokens.map(members).unwrap_or_default();
    let states = items.iter().map(|(_, item)| field(item, &["clientState"]));
    let proofs: BTreeSet<Vec<u8>> = states.chain(tokens.iter().map(|(_, token)| field(token, &[]))).collect();
    let covered = Covered::Each(proofs.iter().map(|proof| vec![proof.clone()]).collect());
    Reading { covered, claimed: proofs, ids: None }
}

/// Twilio's text has no bounds between the query and the fields, nor among the fields: it is one piece.
fn by_url_and_form(scheme: &Scheme, request: &Request) -> Reading {
    let query = query(request);
    let hash = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "bodySHA256");
    let pieces = match hash {
        Some((_, hash)) if hash.eq_ignore_ascii_case(&hex::encode(Sha256::digest(&request.body))) => {
            vec![query.as_bytes().to_vec(), request.body.clone()]
        }
        Some(_) => return Reading::nothing(),
        None => {
            let question_mark = if query.is_empty() { "" } else { "?" };
            vec![format!("{question_mark}{query}{}", sorted_form(&request.body).concat().concat()).into_bytes()]
        }
    };
    Reading::one(pieces, claimed(scheme, request))
}

fn by_items(request: &Request) -> Reading {
    const FIELDS: [&[&str]; 8] = [
        &["pspReference"],
        &["originalReference"],
        &["merchantAccountCode"],
        &["merchantReference"],
        &["amount", "value"],
        &["amount", "currency"],
        &["eventCode"],
        &["success"],
    ];
    let document = body_of(request);
    let items = at(&document, &["notificationItems"]).map(members).unwrap_or_default();
    let (mut covered, mut claimed) = (BTreeSet::new(), BTreeSet::new());
    for item in items.iter().filter_map(|(_, item)| at(item, &["NotificationRequestItem"])) {
        covered.insert(FIELDS.map(|steps| field(item, steps)).to_vec());
        let signature = field(item, &["additionalData", "hmacSignature"]);
        claimed.insert(STANDARD_PAD_INDIFFERENT.decode(signature).unwrap_or_default());
    }
    Reading { covered: Covered::Each(covered), claimed, ids: None }
}

/// The payload, which may end with a line feed or not.
fn by_payload(request: &Request) -> Reading {
    let field = |name: &str| form_urlencoded::parse(&request.body).find(|(key, _)| key == name);
    let value = |name: &str| field(name).map(|(_, value)| value.into_owned()).unwrap_or_default();
    let payload = value("bt_payload").trim_end_matches('\n').as_bytes().to_vec();
    let pairs = value("bt_signature").to_ascii_lowercase();
    let signatures = pairs.split('&').filter_map(|pair| Some(pair.split_once('|')?.1.as_bytes().to_vec()));
    Reading::one(vec![payload], signatures.collect())
}

fn by_message(scheme: &Scheme, request: &Request) -> Reading {
    let document = body_of(request);
    let names: &[&str] = if field(&document, &["Type"]) == b"Notification" {
        &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    } else {
        &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    };
    let fields = names.iter().map(|name| [name.as_bytes(), b"=", &field(&document, &[name])].concat());
    Reading::one(fields.collect(), claimed(scheme, request))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::base::site;

    fn read(preset: &str) -> (Vec<String>, usize) {
        let site = site(preset);
        let reading = &site.made[0].reading;
        let (Covered::One(covered) | Covered::Each(covered)) = &reading.covered;
        let pieces = covered.iter().flatten().map(|piece| String::from_utf8_lossy(piece).into_owned());
        (pieces.collect(), reading.claimed.len())
    }

    /// A reading that finds too little would let forgeries through: what is covered is looked at, kind by kind.
    #[test]
    fn each_kind_covers_what_it_signs() {
        let check = |preset: &str, needles: &[&str]| {
            let (pieces, claimed) = read(preset);
            let all = pieces.join("\n");
            assert!(claimed > 0, "{preset}");
            for needle in needles {
                assert!(all.contains(needle), "{preset}: {needle:?} in {all}");
            }
        };
        check("github", &["Hello, World!"]);
        check("stripe", &["\"object\""]);
        check("standard-webhooks", &["msg_", "test"]);
        check("square", &["https://", "{"]);
        check("twilio", &["SmsMessageSid"]);
        check("adyen", &["TestPayment"]);
        check("aws-sns", &["Message=", "MessageId=", "TopicArn=arn:", "Timestamp="]);
        check("paypal", &["|"]);
        check("paddle-classic", &["alert_name"]);
        check("mailgun", &["\n"]);
        for token in ["plaid", "livekit"] {
            let (pieces, _) = read(token);
            let (_, payload) = pieces[0].split_once('.').unwrap();
            let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
            assert!(payload.contains("sha256"), "{token}: {payload}");
            assert!(!pieces[1].is_empty(), "{token}");
        }
        assert_eq!(read("telegram"), (Vec::new(), 1), "a token covers nothing");
    }
}
