//! A scheme as text: what a preset is written in.

use std::str::FromStr;
use std::time::Duration;

use super::{
    Encoding, HandshakeText, Hash, InvalidField, KeyForm, Kind, Location, Pairing, PublicUrl, Scheme, Template,
    TimestampFrom, TimestampRule, TimestampUnit,
};

/// A scheme in the words of `[source.signature]`. A constant: every field that a provider does not need is taken from
/// [`SchemeText::HMAC`] or one of its like.
#[derive(Debug, Clone, Copy)]
pub struct SchemeText {
    /// What a request proves itself with.
    pub kind: Kind,
    /// The hash of the signature.
    pub hash: Hash,
    /// How the key is got from a secret.
    pub key: KeyForm,
    /// What is signed, as [`Template`] reads it; empty where the secret itself is sent.
    pub signed: &'static str,
    /// Where the signature stands, each as [`Location`] reads it.
    pub at: &'static [&'static str],
    /// How signatures stand there, as [`super::SignatureFormat`] reads it.
    pub format: &'static str,
    /// How a signature is written.
    pub encoding: Encoding,
    /// Where the timestamp stands; if it is signed and this is empty, in the signature's key-value list.
    pub timestamp_at: &'static [&'static str],
    /// How it is written.
    pub timestamp_unit: TimestampUnit,
    /// How far it may be from now, in seconds.
    pub tolerance: u64,
    /// Where the event's id stands, each as [`super::Composed`] reads it.
    pub id: &'static [&'static str],
    /// Where its type stands, likewise.
    pub event_type: &'static [&'static str],
    /// Which of several places belong together.
    pub pairing: Pairing,
    /// As in [`Scheme::unsigned_body`].
    pub unsigned_body: bool,
    /// The field in which the JSON stands where the body is a form, url-encoded or multipart.
    pub json_field: &'static str,
    /// The claim that holds the body's SHA-256, for JSON Web Tokens.
    pub body_claim: &'static str,
    /// Requests that are answered by themselves and never become events.
    pub handshakes: &'static [HandshakeText],
}

impl SchemeText {
    /// HMAC-SHA256 in hexadecimal of the body alone.
    pub const HMAC: Self = Self {
        kind: Kind::Hmac,
        hash: Hash::Sha256,
        key: KeyForm::Utf8,
        signed: "{body}",
        at: &[],
        format: "raw",
        encoding: Encoding::Hex,
        timestamp_at: &[],
        timestamp_unit: TimestampUnit::Seconds,
        tolerance: 300,
        id: &[],
        event_type: &[],
        pairing: Pairing::Independent,
        unsigned_body: false,
        json_field: "",
        body_claim: "",
        handshakes: &[],
    };
    /// An Ed25519 signature in hexadecimal, the public key in hexadecimal too.
    pub const ED25519: Self = Self { kind: Kind::Ed25519, key: KeyForm::Hex, ..Self::HMAC };
    /// An ECDSA signature in base64, the public key in base64 too.
    pub const ECDSA_P256: Self =
        Self { kind: Kind::EcdsaP256, key: KeyForm::Base64, encoding: Encoding::Base64, ..Self::HMAC };
    /// An RSA signature with SHA-256 in base64, the public key in PEM.
    pub const RSA: Self = Self { kind: Kind::Rsa, key: KeyForm::Pem, encoding: Encoding::Base64, ..Self::HMAC };
    /// The secret itself.
    pub const TOKEN: Self = Self { kind: Kind::Token, signed: "", ..Self::HMAC };
    /// The secret itself, `user:password`, in HTTP's Basic authentication.
    pub const BASIC: Self = Self { kind: Kind::Basic, signed: "", at: &["header:Authorization"], ..Self::HMAC };

    /// A JSON Web Token by HMAC-SHA256, the body's hash in hexadecimal.
    pub const JWT: Self = Self { kind: Kind::Jwt, signed: "", ..Self::HMAC };

    /// Reads the text.
    ///
    /// # Errors
    /// The first field that is not written as it must be.
    pub fn read(&self) -> Result<Scheme, InvalidField> {
        let template = if self.signed.is_empty() { Template::empty() } else { self.signed.parse()? };
        let from = match self.timestamp_at {
            [] if self.kind.is_jwt() => TimestampFrom::Token,
            [] => TimestampFrom::Signature,
            places => TimestampFrom::At(each(places)?),
        };
        let has_timestamp = template.has_timestamp() || !self.timestamp_at.is_empty() || self.kind.is_jwt();
        let body_claim = Some(self.body_claim).filter(|claim| !claim.is_empty());
        Ok(Scheme {
            kind: self.kind,
            hash: self.hash,
            key: self.key,
            timestamp: has_timestamp.then(|| TimestampRule {
                from,
                unit: self.timestamp_unit,
                tolerance: Duration::from_secs(self.tolerance),
            }),
            template,
            signature: each::<Location>(self.at)?,
            format: self.format.parse()?,
            encoding: self.encoding,
            id: each(self.id)?,
            event_type: each(self.event_type)?,
            pairing: self.pairing,
            unsigned_body: self.unsigned_body,
            json_field: Some(self.json_field).filter(|field| !field.is_empty()).map(str::to_owned),
            body_claim: body_claim.map(|claim| format!("/{claim}").parse()).transpose()?,
            jwks: None,
            url: PublicUrl::Unknown,
            setting: None,
            handshakes: self.handshakes.iter().map(HandshakeText::read).collect::<Result<_, _>>()?,
        })
    }
}

pub(super) fn each<T: FromStr<Err = InvalidField>>(texts: &[&str]) -> Result<Vec<T>, InvalidField> {
    texts.iter().map(|text| text.parse()).collect()
}
