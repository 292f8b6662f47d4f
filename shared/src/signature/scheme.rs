//! A provider's way of proving its requests, as data.

use http::HeaderName;
use url::Url;

use super::document::JsonIn;
use super::native;
use super::received::Reader;
use super::word::word;
use super::{
    Composed, Encoding, Handshake, Hash, KeyForm, Kind, Location, Piece, Pointer, PublicUrl, Received, SignatureFormat,
    Template, TimestampFrom, TimestampRule,
};

/// Everything that tells one provider's requests from forged ones, and one event from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheme {
    /// What a request proves itself with.
    pub kind: Kind,
    /// The hash of the signature.
    pub hash: Hash,
    /// How the key is got from a secret.
    pub key: KeyForm,
    /// What is signed; empty where the secret itself is sent.
    pub template: Template,
    /// Where the signature stands: the first of these that is present.
    pub signature: Vec<Location>,
    /// How signatures stand there.
    pub format: SignatureFormat,
    /// How a signature is written.
    pub encoding: Encoding,
    /// Where the signed timestamp stands and how far it may be from now; `None` where the provider signs none.
    pub timestamp: Option<TimestampRule>,
    /// Where the event's id stands: the first of these that is present. If the template signs an `{id}`, it is this one.
    pub id: Vec<Composed>,
    /// Where the event's type stands: the first of these that is present. If none is, the type is `unknown`.
    pub event_type: Vec<Composed>,
    /// Which of several places belong together.
    pub pairing: Pairing,
    /// Whether it is known and accepted that the signature does not cover the body: whoever has seen one request can send
    /// another body with its signature.
    pub unsigned_body: bool,
    /// The field in which the JSON stands where the body is a form, url-encoded or multipart.
    pub json_field: Option<String>,
    /// The claim that holds the body's SHA-256, for JSON Web Tokens.
    pub body_claim: Option<Pointer>,
    /// Where the provider keeps the JSON Web Keys that its tokens name, in the place of public keys of the source's.
    pub jwks: Option<Url>,
    /// The URL that the provider calls, for `{url}` and `{uri}`.
    pub url: PublicUrl,
    /// What `{setting}` stands for, from the source's configuration.
    pub setting: Option<String>,
    /// Requests that are answered by themselves and never become events.
    pub handshakes: Vec<Handshake>,
}

word! {
    /// Which of several places belong to one another.
    Pairing, "a pairing", "independent, by-position or every",
    {
        /// Of each list the first place that is present is taken.
        Independent = "independent",
        /// The lists of signature, timestamp and id are equally long: with the signature at one place go only the
        /// timestamp and the id at the same place, whatever else is present.
        ByPosition = "by-position",
        /// The signatures at all places count, and one of them must be right.
        Every = "every",
    }
}

impl Scheme {
    /// Whether the signature covers the URL that the provider calls, or a part of it.
    #[must_use]
    pub fn signs_url(&self) -> bool {
        self.template.has(&Piece::Url) || self.template.has(&Piece::Uri)
    }

    /// Whether the source must have a `setting`.
    #[must_use]
    pub fn needs_setting(&self) -> bool {
        self.template.has(&Piece::Setting) || self.kind == Kind::AwsSns
    }

    /// Whether the source may have a `setting`.
    #[must_use]
    pub fn takes_setting(&self) -> bool {
        self.needs_setting() || matches!(self.kind, Kind::Plaid | Kind::MicrosoftGraph)
    }

    /// Whether its keys are got from the provider when a request names them.
    #[must_use]
    pub fn fetches_keys(&self) -> bool {
        self.kind.always_fetches_keys() || self.jwks.is_some() || self.application().is_some()
    }

    /// Whether a source must have secrets, or public keys in their place.
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        self.kind.has_secrets() && self.jwks.is_none()
    }

    /// Whom the tokens beside Microsoft Graph's notifications must be for; `None` where they are not judged.
    pub(super) fn application(&self) -> Option<&str> {
        self.setting.as_deref().filter(|_| self.kind == Kind::MicrosoftGraph)
    }

    /// Whether another body would need another proof: of an item or a message, all that is read of it.
    #[must_use]
    pub fn covers_body(&self) -> bool {
        let by_itself = matches!(self.kind, Kind::Adyen | Kind::Braintree | Kind::AwsSns);
        by_itself || self.body_claim.is_some() || self.body_is_token() || self.template.covers_body()
    }

    /// Whether the body is the token that proves it.
    #[must_use]
    pub fn body_is_token(&self) -> bool {
        self.signature == [Location::Body]
    }

    /// Where a request's JSON is.
    pub(super) fn json_in(&self) -> JsonIn<'_> {
        match &self.json_field {
            _ if self.body_is_token() => JsonIn::Token,
            Some(field) => JsonIn::Field(field),
            None => JsonIn::Body,
        }
    }

    /// Whether a request sends the secret itself in this header: whoever reads it later could forge requests.
    #[must_use]
    pub fn sends_secret_in(&self, header: &HeaderName) -> bool {
        self.kind.is_token() && self.signature.iter().any(|place| place.header() == Some(header))
    }

    /// The secrets that a request sends itself in its body, as values; `None` if they cannot be told from the rest of it.
    #[must_use]
    pub fn secrets_in_body(&self, received: &Received<'_>) -> Option<Vec<String>> {
        if self.kind == Kind::MicrosoftGraph {
            return native::microsoft_graph::client_states(received.body);
        }
        let pointers = self.pointers();
        let mut reader = Reader::new(received, &pointers, self.json_in());
        let mut secrets = Vec::new();
        for place in self.signature.iter().filter(|place| self.kind.is_token() && place.is_in_body()) {
            if let Some(value) = reader.read_once(place).ok()? {
                secrets.push(String::from_utf8(value.into_owned()).ok()?);
            }
        }
        Some(secrets)
    }

    /// The timestamps and ids that go with the signature at `position`.
    pub(super) fn paired<'s, T>(&self, list: &'s [T], position: usize) -> &'s [T] {
        match self.pairing {
            Pairing::Independent | Pairing::Every => list,
            Pairing::ByPosition => list.get(position..=position).unwrap_or_default(),
        }
    }

    /// Every JSON pointer that it follows: those of the proof first.
    pub(super) fn pointers(&self) -> Vec<Pointer> {
        let signed = self.template.pieces().iter().filter_map(Piece::location);
        let names = self.id.iter().chain(&self.event_type).flat_map(Composed::parts);
        let asked = self.handshakes.iter().flat_map(Handshake::places);
        let message = if self.kind == Kind::AwsSns { native::aws_sns::fields() } else { Vec::new() };
        let places = self.signature.iter().chain(signed).chain(self.timestamp_places()).chain(names);
        pointers_of(places.chain(asked).chain(&message))
    }

    /// Where the timestamp stands in places of its own.
    pub(super) fn timestamp_places(&self) -> &[Location] {
        match self.timestamp.as_ref().map(|rule| &rule.from) {
            Some(TimestampFrom::At(places)) => places,
            Some(TimestampFrom::Signature | TimestampFrom::Token) | None => &[],
        }
    }
}

/// Every JSON pointer among `places`, once.
pub(super) fn pointers_of<'l>(places: impl Iterator<Item = &'l Location>) -> Vec<Pointer> {
    let mut pointers: Vec<Pointer> = Vec::new();
    for pointer in places.filter_map(Location::pointer) {
        if !pointers.contains(pointer) {
            pointers.push(pointer.clone());
        }
    }
    pointers
}
