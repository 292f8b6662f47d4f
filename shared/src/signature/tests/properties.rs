//! For every preset: what is signed verifies, and nothing one byte away from it does.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

fn presets() -> impl Strategy<Value = &'static str> {
    select(crate::provider::presets().iter().map(|preset| preset.name).collect::<Vec<_>>())
}

/// A JSON body with an id, so that every preset finds one, and free text.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    any::<String>().prop_map(|text| serde_json::json!({ "id": "evt_1", "text": text }).to_string().into_bytes())
}

proptest! {
    #[test]
    fn verify_accepts_what_sign_made(
        preset in presets(),
        body in bodies(),
        id in "[A-Za-z0-9_-]{1,128}",
        event_type in "[a-z]{1,20}(\\.[a-z]{1,20}){0,3}",
        seconds in 0_i64..100_000_000_000,
        drift in -300_i64..=300,
    ) {
        let message = ToSign { body: &body, id: Some(&id), event_type: Some(&event_type), timestamp: at(seconds) };
        let request = scheme(preset).sign(&secret(SECRET), &message).unwrap();
        let verdict = verifier(preset, &[OTHER_SECRET, SECRET]).verify(&request, &body, at(seconds + drift));
        prop_assert!(verdict.is_ok(), "{verdict:?}");
    }

    #[test]
    fn no_other_body_verifies(preset in presets(), body in bodies(), place in any::<Index>(), flip in 1_u8..) {
        let request = signed(preset, &body);
        let mut mutated = body;
        let place = place.index(mutated.len());
        mutated[place] ^= flip;
        let verdict = verifier(preset, &[SECRET]).verify(&request, &mutated, at(THEN));
        prop_assert_eq!(verdict, Err(VerifyError::InvalidSignature));
    }

    /// Only the case of a hexadecimal digit is free.
    #[test]
    fn no_other_signature_verifies(
        preset in presets(),
        body in bodies(),
        place in any::<Index>(),
        byte in 0x20_u8..0x7f,
    ) {
        let name = scheme(preset).signature_headers[0].clone();
        let mut request = signed(preset, &body);
        let original = request[&name].as_bytes().to_vec();
        let mut mutated = original.clone();
        mutated[place.index(original.len())] = byte;
        let is_same = if scheme(preset).encoding == Encoding::Hex {
            original.eq_ignore_ascii_case(&mutated)
        } else {
            original == mutated
        };
        prop_assume!(!is_same);
        request.insert(&name, http::HeaderValue::from_bytes(&mutated).unwrap());
        prop_assert!(verifier(preset, &[SECRET]).verify(&request, &body, at(THEN)).is_err());
    }

    /// No header, however strange, panics or verifies by itself.
    #[test]
    fn no_made_up_header_verifies(preset in presets(), text in "[ -~]{0,200}", body in bodies()) {
        let name = scheme(preset).signature_headers[0].clone();
        let mut request = signed(preset, &body);
        request.insert(&name, text.parse().unwrap());
        prop_assert!(verifier(preset, &[SECRET]).verify(&request, &body, at(THEN)).is_err());
    }

    /// No body, however strange, panics once it is verified and read.
    #[test]
    fn every_signed_body_is_judged(preset in presets(), body in any::<Vec<u8>>()) {
        let verdict = verifier(preset, &[SECRET]).verify(&signed(preset, &body), &body, at(THEN));
        prop_assert!(!matches!(verdict, Err(VerifyError::InvalidSignature)));
    }
}
