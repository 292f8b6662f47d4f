//! Tokens by keys of a JWK Set: which of its keys a request names, and which of them are taken.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaEncoding,
    RsaKeyPair,
};
use serde_json::{Value, json};

use super::keys::RSA_PRIVATE;
use super::*;
use crate::event::BodyHash;

const URL: &str = "https://auth.example.com/.well-known/jwks.json";
const BODY: &[u8] = br#"{"id":"evt-1","type":"order.created"}"#;
const BASE: SchemeText = SchemeText {
    kind: Kind::JwtRsa,
    at: &["header:X-Sig"],
    id: &["json:/id"],
    event_type: &["json:/type"],
    body_claim: "sha256",
    ..SchemeText::JWT
};
const ES256: SchemeText = SchemeText { kind: Kind::JwtEs256, ..BASE };

fn scheme_of(text: SchemeText) -> Scheme {
    Scheme { jwks: Some(URL.parse().unwrap()), ..text.read().unwrap() }
}

fn rsa() -> RsaKeyPair {
    RsaKeyPair::from_pkcs8(&STANDARD.decode(RSA_PRIVATE).unwrap()).unwrap()
}

fn p256() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random).unwrap()
}

fn rsa_jwk(kid: &str) -> Value {
    let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(rsa().public());
    json!({ "kty": "RSA", "kid": kid, "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e) })
}

fn p256_jwk(pair: &EcdsaKeyPair, kid: &str) -> Value {
    // The point follows the byte that says it is not compressed.
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    json!({
        "kty": "EC", "crv": "P-256", "kid": kid, "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    })
}

/// The same key that says something more, or something else, of itself.
fn with(mut key: Value, member: &str, value: &str) -> Value {
    key[member] = value.into();
    key
}

fn token(header: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let payload = json!({ "sha256": BodyHash::of(BODY).to_string() });
    let signed = [header, &payload].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn by_rsa(header: &Value, encoding: &'static dyn RsaEncoding) -> String {
    token(header, |signed| {
        let pair = rsa();
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), signed, &mut signature).unwrap();
        signature
    })
}

fn by_p256(pair: &EcdsaKeyPair, header: &Value) -> String {
    token(header, |signed| pair.sign(&SystemRandom::new(), signed).unwrap().as_ref().to_vec())
}

fn needs(text: SchemeText, token: &str) -> Result<KeyLocation, VerifyError> {
    let verifier = Verifier::try_new(scheme_of(text), &[]).unwrap();
    let headers = headers(&[("X-Sig", token)]);
    verifier.needs(&Received::post(&headers, BODY)).map(|location| location.expect("a key is needed"))
}

/// Verifies as the door does, with what is in the set.
fn judge(text: SchemeText, token: &str, keys: &[Value]) -> Result<Identity, VerifyError> {
    let verifier = Verifier::try_new(scheme_of(text), &[]).unwrap();
    let headers = headers(&[("X-Sig", token)]);
    let received = Received::post(&headers, BODY);
    let location = verifier.needs(&received)?.expect("a key is needed");
    match location.read(json!({ "keys": keys }).to_string().as_bytes()) {
        Some(key) => verifier.verify_with(&received, at(THEN), &key),
        None => verifier.verify(&received, at(THEN)),
    }
}

const FORGED: Result<Identity, VerifyError> = Err(VerifyError::InvalidSignature);

#[test]
fn each_key_of_a_set_verifies_what_names_it() {
    let (old, new) = (p256(), p256());
    let set = [p256_jwk(&old, "2026-01"), rsa_jwk("2026-02"), p256_jwk(&new, "2026-02")];
    for (pair, kid) in [(&old, "2026-01"), (&new, "2026-02")] {
        let token = by_p256(pair, &json!({ "alg": "ES256", "kid": kid }));
        assert_eq!(judge(ES256, &token, &set), identity("evt-1", "order.created"), "{kid}");
    }
    let crossed = by_p256(&old, &json!({ "alg": "ES256", "kid": "2026-02" }));
    assert_eq!(judge(ES256, &crossed, &set), FORGED);
    // Of two keys with one name, the scheme's type decides.
    let token = by_rsa(&json!({ "alg": "RS256", "kid": "2026-02" }), &RSA_PKCS1_SHA256);
    assert_eq!(judge(BASE, &token, &set), identity("evt-1", "order.created"));
    assert_eq!(judge(BASE, &token, &set[..1]), FORGED, "it left the set");
}

#[test]
fn a_key_must_be_for_what_it_is_used_for() {
    let token = by_rsa(&json!({ "alg": "RS256", "kid": "1" }), &RSA_PKCS1_SHA256);
    let key = || rsa_jwk("1");
    for right in [key(), with(key(), "use", "sig"), with(key(), "alg", "RS256")] {
        assert_eq!(judge(BASE, &token, std::slice::from_ref(&right)), identity("evt-1", "order.created"), "{right}");
        // What cannot be read beside it does no harm.
        let set = [json!(null), json!({ "kty": "OKP" }), json!({ "kid": 1, "kty": "RSA" }), right];
        assert_eq!(judge(BASE, &token, &set), identity("evt-1", "order.created"));
    }
    let modulus_of_1024_bits = URL_SAFE_NO_PAD.encode([0xff; 128]);
    for wrong in [
        with(key(), "use", "enc"),
        with(key(), "alg", "RS512"),
        with(key(), "alg", "HS256"),
        with(key(), "kty", "oct"),
        with(key(), "kty", "EC"),
        with(key(), "kid", "2"),
        with(key(), "n", &modulus_of_1024_bits),
        with(key(), "n", "*"),
        with(key(), "e", ""),
        json!({ "kty": "oct", "kid": "1", "k": "AAAA" }),
        p256_jwk(&p256(), "1"),
    ] {
        assert_eq!(judge(BASE, &token, std::slice::from_ref(&wrong)), FORGED, "{wrong}");
    }
    let pair = p256();
    let token = by_p256(&pair, &json!({ "alg": "ES256", "kid": "1" }));
    for wrong in [with(p256_jwk(&pair, "1"), "crv", "P-384"), with(p256_jwk(&pair, "1"), "x", "AAAA")] {
        assert_eq!(judge(ES256, &token, std::slice::from_ref(&wrong)), FORGED, "{wrong}");
    }
}

#[test]
fn the_algorithm_is_the_configured_one() {
    let set = [rsa_jwk("1")];
    let stronger = by_rsa(&json!({ "alg": "RS512", "kid": "1" }), &RSA_PKCS1_SHA512);
    assert_eq!(judge(SchemeText { hash: Hash::Sha512, ..BASE }, &stronger, &set), identity("evt-1", "order.created"));
    // A token that names another one asks nobody.
    assert_eq!(needs(BASE, &stronger), Err(VerifyError::InvalidSignature));
    let modulus = set[0]["n"].as_str().unwrap().as_bytes();
    let by_modulus = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, modulus);
    for (alg, signed) in [("none", false), ("HS256", true), ("ES256", true), ("RS384", true)] {
        let header = json!({ "alg": alg, "kid": "1" });
        let sign = |text: &[u8]| ring::hmac::sign(&by_modulus, text).as_ref().to_vec();
        let forged = token(&header, |text| if signed { sign(text) } else { Vec::new() });
        assert_eq!(needs(BASE, &forged), Err(VerifyError::InvalidSignature), "{alg}");
    }
    let critical = by_rsa(&json!({ "alg": "RS256", "kid": "1", "crit": ["b64"] }), &RSA_PKCS1_SHA256);
    assert_eq!(needs(BASE, &critical), Err(VerifyError::InvalidSignature));
}

#[test]
fn a_token_names_its_key_in_few_and_harmless_characters() {
    let named = |header: &Value| needs(BASE, &by_rsa(header, &RSA_PKCS1_SHA256));
    let longest = "k".repeat(128);
    for kid in ["1", "-KI3Q9nNR7bRofxmeZoXqbHZGew", "a+b/c=", "https://a.example/keys:1", longest.as_str()] {
        let location = named(&json!({ "alg": "RS256", "kid": kid })).unwrap();
        assert_eq!((location.url().as_str(), location.name()), (URL, Some(kid)));
        assert_eq!(location.to_string(), format!("{URL} (key {kid})"));
    }
    let too_long = "k".repeat(129);
    for kid in ["", "a b", "a\nb", "\u{1b}[2J", "é", "a%00", too_long.as_str()] {
        assert_eq!(named(&json!({ "alg": "RS256", "kid": kid })), Err(VerifyError::InvalidSignature), "{kid:?}");
    }
    for header in
        [json!({ "alg": "RS256" }), json!({ "alg": "RS256", "kid": null }), json!({ "alg": "RS256", "kid": 1 })]
    {
        assert_eq!(named(&header), Err(VerifyError::InvalidSignature), "{header}");
    }
}

/// What a token says of its keys itself is not listened to, and the body is still covered.
#[test]
fn a_set_changes_nothing_else() {
    let set = [rsa_jwk("1")];
    let elsewhere = json!({ "alg": "RS256", "kid": "1", "jku": "https://evil.example/", "jwk": rsa_jwk("1") });
    let location = needs(BASE, &by_rsa(&elsewhere, &RSA_PKCS1_SHA256)).unwrap();
    assert_eq!(location.url().as_str(), URL);
    let verifier = Verifier::try_new(scheme_of(BASE), &[]).unwrap();
    assert!(verifier.question(&location, at(THEN)).unwrap().is_none(), "a GET is enough");
    let token = by_rsa(&json!({ "alg": "RS256", "kid": "1" }), &RSA_PKCS1_SHA256);
    let key = location.read(json!({ "keys": set }).to_string().as_bytes()).expect("a key");
    let headers = headers(&[("X-Sig", &token)]);
    let other = br#"{"id":"evt-2","type":"order.created"}"#;
    assert_eq!(verifier.verify_with(&Received::post(&headers, other), at(THEN), &key), FORGED);
    assert_eq!(verifier.verify(&Received::post(&headers, BODY), at(THEN)), FORGED, "without its key");
}

#[test]
fn a_set_takes_the_place_of_keys() {
    let refused = Verifier::try_new(scheme_of(BASE), &[secret(SECRET)]).unwrap_err();
    assert_eq!(refused, SecretError::Needless);
    assert_eq!(Verifier::try_new(scheme("wix"), &[]).unwrap_err(), SecretError::Missing);
    let plain = Scheme { jwks: Some("http://auth.example.com/keys".parse().unwrap()), ..scheme_of(BASE) };
    let symmetric = scheme_of(SchemeText { kind: Kind::Jwt, ..BASE });
    let hmac = scheme_of(SchemeText { at: BASE.at, id: BASE.id, ..SchemeText::HMAC });
    for wrong in [plain, symmetric, hmac] {
        assert_eq!(wrong.check(), Err(SchemeError::KeySet), "{wrong:?}");
    }
    assert_eq!(scheme_of(SchemeText { key: KeyForm::Pem, ..BASE }).check(), Ok(()));
    let private = SecretError::PrivateKeyNeeded { kind: Kind::JwtRsa };
    assert_eq!(scheme_of(BASE).sign(&secret(SECRET), &message(BODY)).unwrap_err(), private);
}

#[test]
fn tokens_of_microsoft_graph_are_asked_for_by_who_knows_the_secret_only() {
    const APPLICATION: &str = "8e460676-ae3f-4b1e-8790-ee0fb5d6148f";
    let graph = |setting: Option<&str>| Scheme { setting: setting.map(str::to_owned), ..scheme("microsoft-graph") };
    let token = by_rsa(&json!({ "alg": "RS256", "kid": "1" }), &RSA_PKCS1_SHA256);
    let body = |state: &str| json!({ "value": [{ "clientState": state }], "validationTokens": [token] }).to_string();
    let needs = |setting, state: &str| {
        let verifier = Verifier::try_new(graph(setting), &[secret(SECRET)]).unwrap();
        let (headers, body) = (HeaderMap::new(), body(state));
        verifier.needs(&Received::post(&headers, body.as_bytes()))
    };
    assert_eq!(needs(None, SECRET), Ok(None));
    let location = needs(Some(APPLICATION), SECRET).unwrap().expect("a key");
    assert_eq!(location.url().as_str(), "https://login.microsoftonline.com/common/discovery/v2.0/keys");
    assert_eq!(location.name(), Some("1"));
    assert_eq!(needs(Some(APPLICATION), OTHER_SECRET), Err(VerifyError::InvalidSignature));
    for wrong in ["", "an application", "8e460676ae3f4b1e8790ee0fb5d6148f"] {
        let refused = Verifier::try_new(graph(Some(wrong)), &[secret(SECRET)]).unwrap_err();
        assert_eq!(refused, SecretError::Scheme(SchemeError::NoApplication), "{wrong:?}");
    }
    assert!(!scheme("microsoft-graph").needs_setting() && scheme("microsoft-graph").takes_setting());
}
