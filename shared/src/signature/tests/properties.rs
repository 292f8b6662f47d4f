//! For every preset: what is signed verifies, and nothing one byte away from it does.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::sample::{Sample, sample};
use super::*;

/// Every preset whose requests can be made here; the others have their vectors.
fn presets() -> impl Strategy<Value = &'static str> {
    let known = crate::provider::presets().filter(|preset| {
        let kind = preset.scheme.kind;
        !(kind.is_native() || kind.is_jwt() && kind.has_public_keys())
    });
    select(known.map(|preset| preset.name).collect::<Vec<_>>())
}

/// The text of the signature, where it stands in a header.
fn signature_of(sample: &Sample) -> Option<(HeaderName, Vec<u8>)> {
    let place = sample.scheme.signature.first()?;
    let name = if let Location::NumberedHeader(prefix) = place {
        format!("{prefix}1").parse().unwrap()
    } else {
        place.header()?.clone()
    };
    let text = sample.headers[&name].as_bytes().to_vec();
    Some((name, text))
}

/// Only the case of a hexadecimal digit is free, and that of the word Basic.
fn is_same_signature(scheme: &Scheme, original: &[u8], mutated: &[u8]) -> bool {
    let is_any_case = scheme.kind == Kind::Basic || (scheme.kind.has_template() && scheme.encoding == Encoding::Hex);
    original == mutated || (is_any_case && original.eq_ignore_ascii_case(mutated))
}

proptest! {
    #[test]
    fn verify_accepts_what_sign_made(
        preset in presets(),
        text in any::<String>(),
        seconds in 1_000_000_000_i64..9_000_000_000,
        drift in -1_i64..=1,
    ) {
        let sample = sample(preset, &text, at(seconds));
        let drift = drift * i64::try_from(sample.scheme.timestamp.as_ref().map_or(300, |rule| rule.tolerance.as_secs())).unwrap();
        let verdict = sample.verify(at(seconds + drift));
        prop_assert!(verdict.is_ok(), "{preset}: {verdict:?}");
    }

    /// Ids and types of any form come back as they were sent, at any time that can be written.
    #[test]
    fn what_generic_senders_write_comes_back(
        preset in select(vec!["generic", "generic-body", "standard-webhooks"]),
        id in "[A-Za-z0-9_-]{1,128}",
        event_type in "[a-z]{1,20}(\\.[a-z]{1,20}){0,3}",
        seconds in 0_i64..100_000_000_000,
    ) {
        let message = ToSign { id: Some(&id), event_type: Some(&event_type), timestamp: at(seconds), ..message(b"{}") };
        let request = scheme(preset).sign(&secret(SECRET), &message).unwrap().headers;
        let expected = if preset == "standard-webhooks" { "unknown" } else { &event_type };
        prop_assert_eq!(verify(&verifier(preset, &[SECRET]), &request, b"{}", at(seconds)), identity(&id, expected));
    }

    #[test]
    fn no_other_body_verifies(preset in presets(), text in any::<String>(), place in any::<Index>(), flip in 1_u8..) {
        let mut sample = sample(preset, &text, at(THEN));
        let template = &sample.scheme.template;
        prop_assume!(template.has(&Piece::Body) || template.has(&Piece::BodySha256));
        let place = place.index(sample.body.len());
        sample.body[place] ^= flip;
        let verdict = sample.verify(at(THEN));
        // What is signed by itself, and stands in the body, may have become unreadable.
        prop_assert!(verdict.is_err(), "{preset}: {verdict:?}");
    }

    #[test]
    fn no_other_signature_verifies(
        preset in presets(),
        text in any::<String>(),
        place in any::<Index>(),
        byte in 0x20_u8..0x7f,
    ) {
        let mut sample = sample(preset, &text, at(THEN));
        let Some((name, original)) = signature_of(&sample) else { return Ok(()) };
        let mut mutated = original.clone();
        mutated[place.index(original.len())] = byte;
        prop_assume!(!is_same_signature(&sample.scheme, &original, &mutated));
        sample.headers.insert(&name, http::HeaderValue::from_bytes(&mutated).unwrap());
        let verdict = sample.verify(at(THEN));
        prop_assert!(verdict.is_err(), "{preset}: {verdict:?}");
    }

    #[test]
    fn no_part_of_a_signature_verifies(preset in presets(), cut in any::<Index>()) {
        let mut sample = sample(preset, "", at(THEN));
        let Some((name, original)) = signature_of(&sample) else { return Ok(()) };
        // Padding may be left out by whoever writes credentials.
        let end = original.len() - original.iter().rev().take_while(|byte| **byte == b'=').count();
        let cut = &original[..cut.index(end)];
        sample.headers.insert(&name, http::HeaderValue::from_bytes(cut).unwrap());
        prop_assert!(sample.verify(at(THEN)).is_err(), "{preset}");
    }

    #[test]
    fn no_other_secret_verifies(preset in presets(), text in any::<String>()) {
        let sample = sample(preset, &text, at(THEN));
        prop_assume!(!matches!(sample.scheme.kind, Kind::EcdsaP256 | Kind::Rsa));
        let verifier = Verifier::try_new(sample.scheme.clone(), &[sample::other_secret(&sample.scheme)]).unwrap();
        prop_assert_eq!(verifier.verify(&sample.received(), at(THEN)), Err(VerifyError::InvalidSignature), "{}", preset);
    }

    /// No header, however strange, panics or verifies by itself.
    #[test]
    fn no_made_up_header_verifies(preset in presets(), text in "[ -~]{0,200}", body in any::<String>()) {
        let mut sample = sample(preset, &body, at(THEN));
        let Some((name, _)) = signature_of(&sample) else { return Ok(()) };
        sample.headers.insert(&name, text.parse().unwrap());
        prop_assert!(sample.verify(at(THEN)).is_err(), "{preset}");
    }

    /// No body, however strange, panics once it is verified and read.
    #[test]
    fn every_signed_body_is_judged(
        preset in select(vec!["github", "stripe", "standard-webhooks", "generic"]),
        body in any::<Vec<u8>>(),
    ) {
        let verdict = verify(&verifier(preset, &[SECRET]), &signed(preset, &body), &body, at(THEN));
        prop_assert!(!matches!(verdict, Err(VerifyError::InvalidSignature)));
    }

    /// Nor a body that is read before it is verified, nor a query.
    #[test]
    fn every_place_is_read_without_a_panic(preset in presets(), target in "/[ -~]{0,80}", body in any::<Vec<u8>>()) {
        let sample = Sample { target, body, ..sample(preset, "", at(THEN)) };
        let verdict = sample.verify(at(THEN));
        prop_assert!(verdict.is_err() || !sample.scheme.covers_body(), "{preset}: {verdict:?}");
    }
}
