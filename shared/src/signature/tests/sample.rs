//! A request as the provider of any preset would send it: with all that its scheme reads, signed by a key of the tests.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};

use super::keys::{ED25519_SEED, P256_PRIVATE, P256_PUBLIC, RSA_PRIVATE, RSA_PUBLIC};
use super::*;

/// A request that verifies.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) scheme: Scheme,
    pub(super) secret: Secret,
    pub(super) headers: HeaderMap,
    pub(super) target: String,
    pub(super) body: Vec<u8>,
}

impl Sample {
    pub(super) fn verify(&self, now: Timestamp) -> Result<Identity, VerifyError> {
        let other = Verifier::try_new(self.scheme.clone(), &[other_secret(&self.scheme), self.secret.clone()]);
        other.unwrap().verify(&self.received(), now)
    }

    pub(super) fn received(&self) -> Received<'_> {
        Received { target: &self.target, ..Received::post(&self.headers, &self.body) }
    }
}

/// The preset's scheme with what only a source can tell.
pub(super) fn with_own_values(scheme: Scheme) -> Scheme {
    let url = PublicUrl::Base("https://hooks.example.com".into());
    let setting = scheme.needs_setting().then(|| "a setting of the source".into());
    // The tests' own library verifies RSA with SHA-1, and does not sign so.
    let hash = if scheme.kind == Kind::Rsa { Hash::Sha256 } else { scheme.hash };
    Scheme { url, setting, hash, ..scheme }
}

/// A request of `preset`, with `text` somewhere in its body.
pub(super) fn sample(preset: &str, text: &str, sent: Timestamp) -> Sample {
    let scheme = with_own_values(scheme(preset));
    let body = body_for(&scheme, text);
    let message = ToSign { timestamp: sent, ..message(&body) };
    let signed = if scheme.kind.has_public_keys() {
        scheme.sign_by(&message, |text| {
            let signature = private_signature(scheme.kind, &text.pieces(b"").collect::<Vec<_>>().concat());
            Ok(match scheme.encoding {
                Encoding::Hex => hex::encode(signature),
                Encoding::Base64 | Encoding::Base64Url => STANDARD.encode(signature),
            })
        })
    } else {
        scheme.sign(&secret_for(&scheme), &message)
    };
    let signed = signed.unwrap();
    let (headers, target, body) = (signed.headers, signed.target.into_owned(), signed.body.into_owned());
    let mut sample = Sample { secret: secret_for(&scheme), scheme, headers, target, body };
    add_headers(&mut sample);
    sample
}

/// A JSON body with a value at every pointer of the scheme, or a form with every field.
fn body_for(scheme: &Scheme, text: &str) -> Vec<u8> {
    let places = || {
        let signed = scheme.template.pieces().iter().filter_map(Piece::location);
        scheme.id.iter().chain(&scheme.event_type).flat_map(Composed::parts).chain(signed)
    };
    // Each once, though it may be signed and name the event.
    let fields: BTreeSet<_> =
        places().filter_map(|place| if let Location::Form(name) = place { Some(name) } else { None }).collect();
    if !fields.is_empty() || scheme.template.has(&Piece::FormSorted) || scheme.template.has(&Piece::FormPhp) {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields.iter().map(|name| (name, "evt_1")));
        return form.append_pair("text", text).finish().into_bytes();
    }
    let body = serde_json::json!({ "id": "evt_1", "text": text }).to_string().into_bytes();
    places()
        .filter_map(Location::pointer)
        .fold(body, |body, pointer| json::with_value(&body, pointer, "evt_1").unwrap_or(body))
}

/// Headers that are signed or that name the event, where signing has not written them.
fn add_headers(sample: &mut Sample) {
    let names = sample.scheme.id.iter().take(1).flat_map(Composed::parts).filter_map(Location::header).cloned();
    for name in names.collect::<Vec<_>>() {
        sample.headers.entry(name).or_insert("evt_1".parse().unwrap());
    }
}

pub(super) fn secret_for(scheme: &Scheme) -> Secret {
    written(scheme, SECRET, &public_key(scheme.kind, &ED25519_SEED))
}

/// A secret, or another public key, that did not sign it.
pub(super) fn other_secret(scheme: &Scheme) -> Secret {
    written(scheme, OTHER_SECRET, &public_key(scheme.kind, &[8; 32]))
}

/// The public key of the tests; of Ed25519 the one of `seed`.
fn public_key(kind: Kind, seed: &[u8]) -> Vec<u8> {
    if kind == Kind::EcdsaP256 {
        STANDARD.decode(P256_PUBLIC).unwrap()
    } else if kind == Kind::Rsa {
        STANDARD.decode(RSA_PUBLIC).unwrap()
    } else {
        Ed25519KeyPair::from_seed_unchecked(seed).unwrap().public_key().as_ref().to_vec()
    }
}

fn written(scheme: &Scheme, text: &str, bytes: &[u8]) -> Secret {
    secret(&match scheme.key {
        KeyForm::Utf8 | KeyForm::Whsec | KeyForm::Sha1Of => text.to_owned(),
        KeyForm::Hex => hex::encode(bytes),
        KeyForm::Base64 => STANDARD.encode(bytes),
        KeyForm::Whpk => format!("whpk_{}", STANDARD.encode(bytes)),
        KeyForm::Pem => format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", STANDARD.encode(bytes)),
    })
}

fn private_signature(kind: Kind, signed: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    if kind == Kind::Ed25519 {
        Ed25519KeyPair::from_seed_unchecked(&ED25519_SEED).unwrap().sign(signed).as_ref().to_vec()
    } else if kind == Kind::EcdsaP256 {
        let key = STANDARD.decode(P256_PRIVATE).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key, &random).unwrap();
        pair.sign(&random, signed).unwrap().as_ref().to_vec()
    } else {
        let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(RSA_PRIVATE).unwrap()).unwrap();
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &random, signed, &mut signature).unwrap();
        signature
    }
}
