//! What a handshake is answered with.

use std::borrow::Cow;
use std::iter;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use serde_json::Value;
use url::Url;

use super::claimed::token_tag;
use super::fetched_key::FetchedKey;
use super::handshake::{Answer, AnswerValue, BareAnswer, Handshake, HandshakeProof, Mark};
use super::json;
use super::key::Key;
use super::native;
use super::received::Reader;
use super::{Identity, Location, Received, Secret, Verifier, VerifyError};

/// Longest value that is sent back, in bytes; Microsoft's are a few hundred.
const ECHO_MAX: usize = 4_096;
/// Longest body that is looked through for an only member or an empty list, in bytes.
const LOOKED_THROUGH_MAX: usize = 64 * 1_024;
/// Bounds of a secret that is offered, in bytes.
const OFFERED: std::ops::RangeInclusive<usize> = 16..=512;
/// Longest text that is signed for whoever asks, in bytes; X's are some 50.
const CHALLENGE_MAX: usize = 256;

const MALFORMED: VerifyError = VerifyError::MalformedRequest { what: "the handshake is not well formed" };

/// The answer to a handshake.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status: a success.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// What must be done before it may be sent.
    pub deed: Deed,
}

/// What must be done before a handshake may be answered.
#[derive(Debug, Clone)]
pub enum Deed {
    /// Nothing.
    Nothing,
    /// This URL, of the provider's own hosts, must be called.
    Confirm(Url),
    /// This secret must be kept durably for the source. It never takes the place of another.
    Keep(Secret),
}

/// What a verified request is.
#[derive(Debug, Clone)]
pub enum Judgement {
    /// An event.
    Event(Identity),
    /// A question of its provider's.
    Handshake(Reply),
}

impl Reply {
    fn bare(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new(), deed: Deed::Nothing }
    }

    /// No browser may take it for anything else: the text is the asker's own.
    fn text(text: Vec<u8>) -> Self {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ];
        Self { headers: headers.into_iter().collect(), body: text.into(), ..Self::bare(StatusCode::OK) }
    }

    fn json(members: &serde_json::Map<String, Value>) -> Self {
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let body = serde_json::to_vec(members).expect("an object of strings and numbers");
        Self { headers: headers.into_iter().collect(), body: body.into(), ..Self::bare(StatusCode::OK) }
    }
}

impl Verifier {
    /// The answer to a handshake that comes without a signature, or by another method than events do; `None` if
    /// `received` is none.
    ///
    /// # Errors
    /// [`VerifyError`] if it is one, and is not proven or not well formed.
    pub fn open_handshake(&self, received: &Received<'_>, now: Timestamp) -> Result<Option<Reply>, VerifyError> {
        let is_open = |known: &&Handshake| {
            known.method == *received.method
                && (known.proof != HandshakeProof::Signature || received.method != Method::POST)
        };
        let live = self.at(now);
        let mut reader = live.reader(received);
        for known in live.scheme().handshakes.iter().filter(is_open) {
            // Nobody has proven anything yet: a large body is not worth reading for it.
            if (known.reads_body() && !is_short(&reader)) || !is_marked(known, &mut reader)? {
                continue;
            }
            let key = match &known.proof {
                HandshakeProof::Nothing => None,
                HandshakeProof::Signature => Some(live.proven(&mut reader, now, None)?.key),
                HandshakeProof::Word(place) => self.check_word(reader.read_once(place)?.as_deref()).map(|()| None)?,
            };
            return live.reply(known, &mut reader, key.unwrap_or_default()).map(Some);
        }
        Ok(None)
    }

    /// The answer to a handshake that `key` has proven, if the request is one.
    pub(super) fn proven_handshake(
        &self,
        reader: &mut Reader<'_, '_>,
        key: usize,
    ) -> Result<Option<Reply>, VerifyError> {
        let is_proven =
            |known: &&Handshake| known.proof == HandshakeProof::Signature && known.method == *reader.received.method;
        let candidates: Vec<&Handshake> = self.scheme().handshakes.iter().filter(is_proven).collect();
        for known in candidates {
            if is_marked(known, reader)? {
                return self.reply(known, reader, key).map(Some);
            }
        }
        Ok(None)
    }

    /// Judges a request as the door does: one that is proven is an event or a handshake.
    ///
    /// # Errors
    /// As for [`Self::verify`].
    pub fn judge(
        &self,
        received: &Received<'_>,
        now: Timestamp,
        key: Option<&FetchedKey>,
    ) -> Result<Judgement, VerifyError> {
        let live = self.at(now);
        let mut reader = live.reader(received);
        let proven = live.proven(&mut reader, now, key)?;
        match live.proven_handshake(&mut reader, proven.key)? {
            Some(reply) => Ok(Judgement::Handshake(reply)),
            None => live.identity(proven, &mut reader).map(Judgement::Event),
        }
    }

    /// Whether `text` could be a text that whoever asks has signed here: as an event's body it would prove nothing.
    pub(super) fn signs_for_anyone(&self, text: &[u8]) -> bool {
        let scheme = self.scheme();
        is_challenge(text) && scheme.handshakes.iter().any(|known| scheme.signs_for_anyone(known))
    }

    fn check_word(&self, given: Option<&[u8]>) -> Result<(), VerifyError> {
        let given = token_tag(given.unwrap_or_default());
        let agreed = self.verify_token().ok_or(VerifyError::InvalidSignature)?;
        if agreed.ct_eq(given.as_bytes()).into() { Ok(()) } else { Err(VerifyError::InvalidSignature) }
    }

    fn reply(&self, known: &Handshake, reader: &mut Reader<'_, '_>, key: usize) -> Result<Reply, VerifyError> {
        Ok(match &known.answer {
            Answer::Bare(BareAnswer::Ok) => Reply::bare(StatusCode::OK),
            Answer::Bare(BareAnswer::NoContent) => Reply::bare(StatusCode::NO_CONTENT),
            Answer::Text(value) => Reply::text(self.value(value, reader, key)?.into_bytes()),
            Answer::Json(members) => {
                let mut object = serde_json::Map::new();
                for (name, value) in members {
                    let value = match value {
                        AnswerValue::Number(number) => Value::from(*number),
                        value @ (AnswerValue::At(_) | AnswerValue::Mac(_) | AnswerValue::Signature(_)) => {
                            Value::from(self.value(value, reader, key)?)
                        }
                    };
                    object.insert(name.clone(), value);
                }
                Reply::json(&object)
            }
            Answer::Origin => allow_origin(reader.received.headers)?,
            Answer::Confirm(place) => {
                let url = echo(reader, place)?;
                let url = Url::parse(&url).ok().filter(native::aws_sns::is_sns).ok_or(MALFORMED)?;
                Reply { deed: Deed::Confirm(url), ..Reply::bare(StatusCode::OK) }
            }
            Answer::Keep(place) => keep(reader, place)?,
        })
    }

    fn value(&self, value: &AnswerValue, reader: &mut Reader<'_, '_>, key: usize) -> Result<String, VerifyError> {
        match value {
            AnswerValue::Number(number) => Ok(number.to_string()),
            AnswerValue::At(place) => echo(reader, place),
            AnswerValue::Mac(place) => {
                let challenge = echo(reader, place)?;
                self.mac(&challenge, key)
            }
            AnswerValue::Signature(place) => {
                let challenge = echo(reader, place)?;
                let mac = self.mac(&challenge, key)?;
                Ok(self.scheme().format.write(&mac, ""))
            }
        }
    }

    /// The signature of a challenge, for Braintree behind the public key that it belongs to.
    fn mac(&self, challenge: &str, key: usize) -> Result<String, VerifyError> {
        // Without a secret that counts, nothing of this source is right.
        let key = self.keys().get(key).ok_or(VerifyError::InvalidSignature)?;
        let allowed = if let Key::Named(..) = key {
            native::braintree::is_challenge(challenge.as_bytes())
        } else {
            is_challenge(challenge.as_bytes())
        };
        let tag = key.tag_of(iter::once(challenge.as_bytes())).filter(|_| allowed).ok_or(MALFORMED)?;
        let mac = self.scheme().encoding.encode(tag.as_bytes());
        Ok(if let Key::Named(name, _) = key { format!("{name}|{mac}") } else { mac })
    }
}

/// Whether it is a short token: such a text is signed for whoever asks, so it must not be a body that means something.
fn is_challenge(text: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=_-".contains(byte);
    (1..=CHALLENGE_MAX).contains(&text.len()) && text.iter().all(is_token)
}

fn is_marked(known: &Handshake, reader: &mut Reader<'_, '_>) -> Result<bool, VerifyError> {
    for mark in &known.marks {
        let holds = match mark {
            Mark::There(place) => reader.read(place)?.is_some(),
            Mark::Absent(place) => reader.read(place)?.is_none(),
            Mark::Is(place, value) => reader.read(place)?.as_deref() == Some(value.as_bytes()),
            Mark::Only(member) => is_short(reader) && json::has_only(reader.received.body, member),
            Mark::Empty(pointer) => {
                is_short(reader)
                    && json::items(reader.received.body, Some(pointer), 1).is_some_and(|items| items.is_empty())
            }
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_short(reader: &Reader<'_, '_>) -> bool {
    reader.received.body.len() <= LOOKED_THROUGH_MAX
}

/// The value at `place`, if it can be sent back: text without control characters, and not long.
fn echo(reader: &mut Reader<'_, '_>, place: &Location) -> Result<String, VerifyError> {
    let value = reader.read_once(place)?.map(Cow::into_owned).unwrap_or_default();
    let text = String::from_utf8(value).map_err(|_| MALFORMED)?;
    let is_fine = (1..=ECHO_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    if is_fine { Ok(text) } else { Err(MALFORMED) }
}

/// Whoever asks may send, as often as they like: events still have to prove themselves.
fn allow_origin(headers: &HeaderMap) -> Result<Reply, VerifyError> {
    const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
    let origin = super::received::single(headers, &REQUEST_ORIGIN)?.ok_or(MALFORMED)?;
    let headers = [
        (HeaderName::from_static("webhook-allowed-origin"), origin.clone()),
        (HeaderName::from_static("webhook-allowed-rate"), HeaderValue::from_static("*")),
        (header::ALLOW, HeaderValue::from_static("POST")),
    ];
    Ok(Reply { headers: headers.into_iter().collect(), ..Reply::bare(StatusCode::OK) })
}

fn keep(reader: &mut Reader<'_, '_>, place: &Location) -> Result<Reply, VerifyError> {
    let secret = echo(reader, place)?;
    if !OFFERED.contains(&secret.len()) || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(MALFORMED);
    }
    let mut headers = HeaderMap::new();
    if let Location::Header(name) = place {
        let mut value = HeaderValue::try_from(&secret).map_err(|_| MALFORMED)?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(Reply { headers, deed: Deed::Keep(Secret::new(secret)), ..Reply::bare(StatusCode::OK) })
}
