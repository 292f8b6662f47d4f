//! What contradicts itself in a scheme, or would not prove anything.

use http::Method;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::json::POINTERS_MAX;
use super::{
    Composed, Handshake, HandshakeProof, Hash, KeyForm, Kind, Location, Pairing, Piece, PublicUrl, Scheme,
    SignatureFormat, TimestampFrom,
};

/// Most locations of an id, or of a type.
pub const LOCATIONS_MAX: usize = 8;

/// How the fields of a scheme contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SchemeError {
    /// There is nowhere to look for a signature.
    #[error("a signature header must be named")]
    NoSignatureHeader,
    /// Nothing is signed, or a token is said to sign something.
    #[error("a signed text must be named for every kind but tokens and basic, and for none of those")]
    NoSignedText,
    /// There is no list that would name them.
    #[error("{{signed_headers}} needs a signature in a header of its own, with a format that begins with kv:")]
    NoSignedHeaders,
    /// The secret is hashed where it must not be, or is not where it must be.
    #[error("the template must hold {{secret}} for plain-hash, and for no other kind")]
    Secret,
    /// Only tokens have claims.
    #[error("a claim with the body's SHA-256 is named, but the kind is no JSON Web Token")]
    BodyClaim,
    /// What is outside of the token would be open, and so would be a signature that has several spellings: each would be a
    /// body of its own.
    #[error(
        "a token that is the body is of the kind jwt or jwt-rsa, bare, at no other place, and without a claim or field of \
         the body"
    )]
    TokenIsBody,
    /// There is no such algorithm.
    #[error("a JSON Web Token is signed with sha256, sha384 or sha512")]
    WeakToken,
    /// An HMAC with a public key as its secret could be made by everyone.
    #[error("whpk and pem write public keys; utf8, whsec and sha1-of write secrets; a token is utf8")]
    KeyForm,
    /// Whoever has seen one request could send another body with its signature.
    #[error("neither the template nor a claim signs the body")]
    UnsignedBody,
    /// A signature cannot cover itself.
    #[error("the signature stands in the body that it signs")]
    SignatureInSignedBody,
    /// The signed text cannot be rebuilt.
    #[error("the template signs a {{timestamp}}, but nothing says where it stands")]
    NoTimestamp,
    /// A window over an unsigned timestamp stops nobody: whoever replays a request writes a new one.
    #[error("a timestamp is configured that the template does not sign")]
    UnsignedTimestamp,
    /// `kv:` without a timestamp key, or another format.
    #[error("the timestamp is said to stand in the signature header, but its format has none")]
    NoTimestampKey,
    /// Without an id no duplicate can be told.
    #[error("an id location must be named; the last resort is body-sha256")]
    NoId,
    /// The signed text must be known before the body is read.
    #[error("an id that the template signs must stand in a header")]
    SignedIdNotInHeader,
    /// Neither says anything about an event's type.
    #[error("an event type cannot be taken from body-sha256 or arrival")]
    TypeFromBodyHash,
    /// A place that only another field can have.
    #[error(
        "json-key is for event types, body-sha256 and arrival for ids, body and a header with {{n}} for signatures"
    )]
    Misplaced,
    /// A bound.
    #[error("at most {LOCATIONS_MAX} locations of an id, and as many of a type, may be named")]
    TooManyLocations,
    /// By-position pairing has nothing to pair.
    #[error("by-position pairing needs as many timestamp headers and id headers as signature headers")]
    Unpaired,
    /// The signed text cannot be rebuilt.
    #[error("the provider signs the URL that it calls: set ingest.public_url, or the source's url")]
    NoUrl,
    /// The signed text cannot be rebuilt.
    #[error("the provider signs a value that only its own pages show: set the source's setting")]
    NoSetting,
    /// Every event would be taken for one.
    #[error("a handshake by POST must be marked by something that no event has")]
    UnmarkedHandshake,
    /// A token would be told, and what is signed for whoever asks must be no signature of an event.
    #[error(
        "an answer can be signed only by the kind hmac; for anyone who can ask only where the body alone is signed"
    )]
    SignedAnswer,
    /// There is no host to ask for keys.
    #[error("the setting is the environment, production or sandbox")]
    NoEnvironment,
    /// No token would be for it.
    #[error("the setting is the application's (client) id, as Microsoft Entra shows it")]
    NoApplication,
    /// Keys that could be changed on their way prove nothing, and no other kind has a name for its key.
    #[error("jwks is an https URL, and for the kinds jwt-rsa and jwt-es256 only")]
    KeySet,
}

impl Scheme {
    /// Refuses a scheme whose fields contradict each other. [`super::Verifier`] asks this too.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self) -> Result<(), SchemeError> {
        if self.signature.is_empty() && !matches!(self.kind, Kind::Adyen | Kind::MicrosoftGraph) {
            return Err(SchemeError::NoSignatureHeader);
        }
        self.check_signed_text()?;
        self.check_key_set()?;
        self.check_key_form()?;
        self.check_timestamp()?;
        self.check_names()?;
        self.check_handshakes()?;
        if self.has_misplaced() {
            return Err(SchemeError::Misplaced);
        }
        if self.pairing == Pairing::ByPosition && !self.is_paired() {
            return Err(SchemeError::Unpaired);
        }
        Ok(())
    }

    /// Refuses a scheme that lacks what its source must tell it.
    pub(super) fn check_source(&self) -> Result<(), SchemeError> {
        if self.template.has(&Piece::Url) && self.url == PublicUrl::Unknown {
            return Err(SchemeError::NoUrl);
        }
        if self.needs_setting() && self.setting.is_none() {
            return Err(SchemeError::NoSetting);
        }
        if self.kind == Kind::Plaid && !matches!(self.setting.as_deref(), None | Some("production" | "sandbox")) {
            return Err(SchemeError::NoEnvironment);
        }
        let is_id = |id: &str| id.len() == Hyphenated::LENGTH && Uuid::try_parse(id).is_ok();
        if self.application().is_some_and(|id| !is_id(id)) {
            return Err(SchemeError::NoApplication);
        }
        Ok(())
    }

    fn check_key_set(&self) -> Result<(), SchemeError> {
        let Some(url) = &self.jwks else { return Ok(()) };
        let is_for_it = matches!(self.kind, Kind::JwtRsa | Kind::JwtEs256);
        if is_for_it && url.scheme() == "https" { Ok(()) } else { Err(SchemeError::KeySet) }
    }

    fn check_signed_text(&self) -> Result<(), SchemeError> {
        let has_text = !self.template.pieces().is_empty();
        if self.kind.has_template() != has_text {
            return Err(SchemeError::NoSignedText);
        }
        if (self.kind == Kind::PlainHash) != self.template.has(&Piece::Secret) {
            return Err(SchemeError::Secret);
        }
        let has_list = matches!(self.format, SignatureFormat::KeyValue { .. }) && self.signature.iter().all(is_header);
        if self.template.has(&Piece::SignedHeaders) && !has_list {
            return Err(SchemeError::NoSignedHeaders);
        }
        if self.body_claim.is_some() && !self.kind.is_jwt() {
            return Err(SchemeError::BodyClaim);
        }
        if self.kind.is_jwt() && self.hash == Hash::Sha1 {
            return Err(SchemeError::WeakToken);
        }
        if self.signature.contains(&Location::Body) && !self.is_token_alone() {
            return Err(SchemeError::TokenIsBody);
        }
        if !self.covers_body() && !self.kind.is_token() && !self.unsigned_body {
            return Err(SchemeError::UnsignedBody);
        }
        let is_in_body = self.signature.iter().any(Location::is_in_body);
        let is_left_out = self.kind.is_native() || self.template.has(&Piece::FormPhp);
        if is_in_body && self.template.covers_body() && !is_left_out {
            Err(SchemeError::SignatureInSignedBody)
        } else {
            Ok(())
        }
    }

    fn is_token_alone(&self) -> bool {
        self.body_is_token()
            && matches!(self.kind, Kind::Jwt | Kind::JwtRsa)
            && self.format == SignatureFormat::Raw
            && self.body_claim.is_none()
            && self.json_field.is_none()
    }

    fn check_key_form(&self) -> Result<(), SchemeError> {
        let fits = match self.key {
            // Of a set, the keys have a form of their own.
            KeyForm::Utf8 => !self.kind.has_public_keys() || self.jwks.is_some(),
            // A token is compared as it stands.
            _ if self.kind.is_token() => false,
            KeyForm::Hex | KeyForm::Base64 => true,
            KeyForm::Whpk | KeyForm::Pem => self.kind.has_public_keys(),
            KeyForm::Whsec | KeyForm::Sha1Of => !self.kind.has_public_keys(),
        };
        if fits { Ok(()) } else { Err(SchemeError::KeyForm) }
    }

    fn check_timestamp(&self) -> Result<(), SchemeError> {
        let signs_it = self.template.has_timestamp();
        match self.timestamp.as_ref().map(|rule| &rule.from) {
            None if signs_it => Err(SchemeError::NoTimestamp),
            None => Ok(()),
            Some(TimestampFrom::At(places)) if places.is_empty() => Err(SchemeError::NoTimestamp),
            // What stands in the body is signed with it.
            Some(TimestampFrom::At(places)) => {
                let is_covered = places.iter().all(Location::is_in_body) && self.covers_body();
                if signs_it || is_covered { Ok(()) } else { Err(SchemeError::UnsignedTimestamp) }
            }
            Some(TimestampFrom::Token) if self.kind.is_jwt() => Ok(()),
            Some(TimestampFrom::Token) => Err(SchemeError::UnsignedTimestamp),
            Some(TimestampFrom::Signature) if !signs_it => Err(SchemeError::UnsignedTimestamp),
            Some(TimestampFrom::Signature) => {
                let is_one = self.signature.iter().all(is_header) && self.pairing != Pairing::Every;
                if is_one && self.format.has_timestamp() { Ok(()) } else { Err(SchemeError::NoTimestampKey) }
            }
        }
    }

    fn check_names(&self) -> Result<(), SchemeError> {
        if self.id.is_empty() {
            return Err(SchemeError::NoId);
        }
        let is_too_many = self.pointers().len() > POINTERS_MAX;
        if self.id.len() > LOCATIONS_MAX || self.event_type.len() > LOCATIONS_MAX || is_too_many {
            return Err(SchemeError::TooManyLocations);
        }
        if self.template.has_id() && !self.id.iter().all(is_one_header) {
            return Err(SchemeError::SignedIdNotInHeader);
        }
        let mut types = self.event_type.iter().flat_map(Composed::parts);
        if types.any(|place| matches!(place, Location::BodySha256 | Location::Arrival)) {
            Err(SchemeError::TypeFromBodyHash)
        } else {
            Ok(())
        }
    }

    fn check_handshakes(&self) -> Result<(), SchemeError> {
        if self.handshakes.iter().any(|known| known.method == Method::POST && known.marks.is_empty()) {
            return Err(SchemeError::UnmarkedHandshake);
        }
        // Braintree's own rule tells challenges from payloads; elsewhere a body that could be a challenge proves nothing.
        let is_told_apart = self.kind == Kind::Braintree || self.template.pieces() == [Piece::Body];
        let can_sign = matches!(self.kind, Kind::Hmac | Kind::Braintree);
        let may_sign = |known: &Handshake| can_sign && (is_told_apart || !self.signs_for_anyone(known));
        let mut signing = self.handshakes.iter().filter(|known| !known.signed_places().is_empty());
        if signing.all(may_sign) { Ok(()) } else { Err(SchemeError::SignedAnswer) }
    }

    /// Whether somebody else than the provider can have a text of theirs signed: anything that the signature of the
    /// question does not cover.
    pub(super) fn signs_for_anyone(&self, known: &Handshake) -> bool {
        let is_covered = known.proof == HandshakeProof::Signature && self.template.covers_body();
        known.signed_places().into_iter().any(|place| !(is_covered && place.is_in_body()))
    }

    fn has_misplaced(&self) -> bool {
        let is_numbered = |place: &Location| matches!(place, Location::NumberedHeader(_));
        let is_key = |place: &Location| matches!(place, Location::JsonKey(_));
        let is_hash = |place: &Location| matches!(place, Location::BodySha256 | Location::Arrival);
        let is_body = |place: &Location| matches!(place, Location::Body);
        let parts = |names: &'_ [Composed]| names.iter().flat_map(Composed::parts).cloned().collect::<Vec<_>>();
        let (ids, types) = (parts(&self.id), parts(&self.event_type));
        let named = self.timestamp_places().iter().chain(&ids).chain(&types);
        self.signature.iter().any(|place| is_key(place) || is_hash(place))
            || self.timestamp_places().iter().any(|place| is_key(place) || is_hash(place) || is_numbered(place))
            || ids.iter().any(|place| is_key(place) || is_numbered(place))
            || types.iter().any(is_numbered)
            || named.chain(self.handshakes.iter().flat_map(Handshake::places)).any(is_body)
    }

    fn is_paired(&self) -> bool {
        let count = self.signature.len();
        let timestamps = match self.timestamp.as_ref().map(|rule| &rule.from) {
            Some(TimestampFrom::At(places)) => places.len(),
            Some(TimestampFrom::Signature | TimestampFrom::Token) | None => count,
        };
        self.id.iter().all(is_one_header) && self.id.len() == count && timestamps == count
    }
}

fn is_header(place: &Location) -> bool {
    matches!(place, Location::Header(_))
}

fn is_one_header(name: &Composed) -> bool {
    name.single().is_some_and(is_header)
}
