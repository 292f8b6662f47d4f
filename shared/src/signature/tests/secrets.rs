//! Which secrets serve.

use super::*;

fn try_new(preset: &str, secrets: &[&str]) -> Result<(), SecretError> {
    let secrets: Vec<_> = secrets.iter().copied().map(secret).collect();
    Verifier::try_new(scheme(preset), &secrets).map(drop)
}

#[test]
fn a_verifier_without_a_secret_cannot_exist() {
    for preset in crate::provider::presets() {
        let scheme = sample::with_own_values(preset.scheme());
        if !scheme.kind.has_secrets() {
            assert!(Verifier::try_new(scheme.clone(), &[]).is_ok());
            assert_eq!(Verifier::try_new(scheme, &[secret(SECRET)]).unwrap_err(), SecretError::Needless);
            continue;
        }
        let empty = if scheme.key == KeyForm::Pem {
            SecretError::Undecodable { index: 0, form: KeyForm::Pem }
        } else if scheme.kind.has_public_keys() {
            SecretError::NotAPublicKey { index: 0, kind: scheme.kind }
        } else {
            SecretError::TooShort { index: 0 }
        };
        assert_eq!(Verifier::try_new(scheme.clone(), &[]).unwrap_err(), SecretError::Missing, "{}", preset.name);
        assert_eq!(Verifier::try_new(scheme, &[secret("")]).unwrap_err(), empty, "{}", preset.name);
    }
}

#[test]
fn a_key_needs_16_bytes_after_decoding() {
    assert_eq!(try_new("github", &[SECRET, "123456789012345"]), Err(SecretError::TooShort { index: 1 }));
    assert_eq!(try_new("github", &[SECRET, "1234567890123456"]), Ok(()));
    assert_eq!(try_new("standard-webhooks", &["whsec_MTIzNDU2Nzg5MDEyMzQ1"]), Err(SecretError::TooShort { index: 0 }));
    assert_eq!(try_new("standard-webhooks", &["whsec_MTIzNDU2Nzg5MDEyMzQ1Ng=="]), Ok(()));
    assert_eq!(try_new("standard-webhooks", &["MTIzNDU2Nzg5MDEyMzQ1Ng"]), Ok(()));
    assert_eq!(try_new("standard-webhooks", &["whsec_"]), Err(SecretError::TooShort { index: 0 }));
}

#[test]
fn a_fifth_secret_is_refused() {
    assert_eq!(try_new("github", &[SECRET; 4]), Ok(()));
    assert_eq!(try_new("github", &[SECRET; 5]), Err(SecretError::TooMany { count: 5 }));
}

#[test]
fn white_space_around_a_secret_is_refused_not_trimmed() {
    for text in [format!("{SECRET}\n"), format!(" {SECRET}"), format!("{SECRET}\r\n")] {
        assert_eq!(try_new("github", &[SECRET, &text]), Err(SecretError::WhiteSpace { index: 1 }));
    }
}

#[test]
fn a_secret_that_cannot_be_decoded_is_told_by_its_place() {
    let error = try_new("standard-webhooks", &[SECRET, "whsec_not*base64*at*all*"]).unwrap_err();
    assert_eq!(error, SecretError::Undecodable { index: 1, form: KeyForm::Whsec });
    assert_eq!(error.to_string(), "secrets[1] cannot be decoded as whsec");
    let scheme = Scheme { key: KeyForm::Hex, ..scheme("github") };
    let odd = secret("000102030405060708090a0b0c0d0e0f1");
    let error = Verifier::try_new(scheme, &[odd]).unwrap_err();
    assert_eq!(error, SecretError::Undecodable { index: 0, form: KeyForm::Hex });
}

#[test]
fn no_debug_output_shows_a_secret() {
    let shown = format!("{:?} {:?}", secret(SECRET), verifier("standard-webhooks", &[SECRET]));
    assert!(shown.contains("Secret(***)") && shown.contains("keys: 1"), "{shown}");
    assert!(!shown.contains("MfKQ9r8"), "{shown}");
}

#[test]
fn every_live_secret_verifies_and_no_other() {
    let body = br#"{"id":"evt_1"}"#;
    let request = signed("stripe", body);
    for (secrets, accepted) in [
        (&[SECRET, OTHER_SECRET][..], true),
        (&[OTHER_SECRET, SECRET], true),
        (&[OTHER_SECRET, OTHER_SECRET, OTHER_SECRET, SECRET], true),
        (&[OTHER_SECRET], false),
    ] {
        let verdict = verify(&verifier("stripe", secrets), &request, body, at(THEN));
        let expected = if accepted { identity("evt_1", "unknown") } else { Err(VerifyError::InvalidSignature) };
        assert_eq!(verdict, expected);
    }
}
