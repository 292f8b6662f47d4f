//! Requests that others signed: published vectors, the vendors' libraries and other languages, never `Scheme::sign`.

use super::*;

fn check(preset: &str, secret: &str, pairs: &[(&str, &str)], body: &str, now: i64, expected: (&str, &str)) {
    let verdict = verify(&verifier(preset, &[secret]), &headers(pairs), body.as_bytes(), at(now));
    assert_eq!(verdict, identity(expected.0, expected.1), "{preset}");
}

/// <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation>
#[test]
fn verifies_the_vector_that_github_publishes() {
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    check(
        "github",
        "It's a Secret to Everybody",
        &[("X-Hub-Signature-256", signature), ("X-GitHub-Delivery", "72d3162e-cc78"), ("X-GitHub-Event", "push")],
        "Hello, World!",
        THEN,
        ("72d3162e-cc78", "push"),
    );
}

/// Signed by `@octokit/webhooks-methods` 6.0.0.
#[test]
fn verifies_a_form_encoded_body_of_github() {
    let signature = "sha256=e9b725be0716d770e790c8d5c4350fe00ceb1b1b949737748e8b6a566e3df377";
    check(
        "github",
        "a-secret-of-the-repository",
        &[("X-Hub-Signature-256", signature), ("X-GitHub-Delivery", "1"), ("X-GitHub-Event", "ping")],
        "payload=%7B%22zen%22%3A%22x%22%7D&a=b",
        THEN,
        ("1", "ping"),
    );
}

/// Signed by `generateTestHeaderString` of stripe-node 23.1.0.
#[test]
fn verifies_what_stripes_own_library_signed() {
    let signature = "36a0768bbe4d15892df733379d2a879554d6680828be601360b859e6e4716103";
    for header in [
        format!("t=1700000000,v1={signature}"),
        format!("t=1700000000,v1={},v1={signature},v0={}", "0".repeat(64), "f".repeat(64)),
        format!("v1={signature}, t=1700000000"),
    ] {
        check(
            "stripe",
            "whsec_0123456789abcdefghijklmnopqrstuv",
            &[("Stripe-Signature", &header)],
            r#"{"id":"evt_1","object":"event","type":"charge.succeeded"}"#,
            THEN,
            ("evt_1", "charge.succeeded"),
        );
    }
}

/// The vectors of Svix's and of Standard Webhooks' own libraries, and one signed by `standardwebhooks` 1.1.0 (`PyPI`).
#[test]
fn verifies_the_vectors_of_standard_webhooks() {
    let check =
        |secret: &str, family: &str, id: &str, timestamp: &str, signature: &str, body: &str, event_type: &str| {
            let names = ["id", "timestamp", "signature"].map(|part| format!("{family}-{part}"));
            let pairs = [(&*names[0], id), (&*names[1], timestamp), (&*names[2], signature)];
            check("standard-webhooks", secret, &pairs, body, timestamp.parse().unwrap(), (id, event_type));
        };
    for family in ["webhook", "svix"] {
        check(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            family,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            r#"{"test": 2432232314}"#,
            "unknown",
        );
        check(
            "C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            family,
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            "1649367553",
            "v1,Mm7xgUVICxZfQ3bgf0h0Dof65L/IFx+PnZvnDWPCX6Q= v1a,AAAA v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
            r#"{"email":"test@example.com","username":"test_user"}"#,
            "unknown",
        );
        check(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            family,
            "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
            "1700000000",
            "v1,eDpbla9qHrtA8JcIeVyS5amCfQvgvLFccRlom4P3qBQ=",
            r#"{"type":"contact.created"}"#,
            "contact.created",
        );
    }
}

/// Signed by Python's `hmac`.
#[test]
fn verifies_generic_requests_in_every_spelling() {
    let (key, body) = ("a secret of my own sender", r#"{"id":"evt-1","type":"order.created"}"#);
    let timed = "828ede523c0e0c47d5d510d61bdd43bf5f47c57426e9c09f90ff4e7afb5f1f77";
    let plain = "41380f158553e0afe2343424caf824995c5a8d7ee757b1494330a74f1efc09af";
    for header in ["X-Webhook-Signature", "X-Signature", "X-Hub-Signature-256"] {
        let spellings = |hex: &str| [hex.to_owned(), format!("sha256={hex}"), hex.to_ascii_uppercase()];
        for signature in spellings(timed) {
            for timestamp in ["X-Webhook-Timestamp", "X-Timestamp"] {
                let pairs = [(header, &*signature), (timestamp, "1700000000")];
                check("generic", key, &pairs, body, THEN, ("evt-1", "order.created"));
            }
        }
        for signature in spellings(plain) {
            check("generic-body", key, &[(header, &signature)], body, THEN, ("evt-1", "order.created"));
        }
    }
}

/// Signed by Python's `hmac`, key `bytes(range(32))`: what `provider = "hmac"` can say beyond the presets.
#[test]
fn verifies_schemes_that_are_spelled_out() {
    fn check(text: SchemeText, key: &str, header: &str) {
        let scheme = SchemeText { at: &["header:X-Sig"], tolerance: 5, id: &["header:x-id", "json:/id"], ..text };
        let sent =
            if text.timestamp_unit == TimestampUnit::Milliseconds { "1700000000123" } else { "2023-11-14T22:13:20Z" };
        let verifier = Verifier::try_new(scheme.read().unwrap(), &[secret(key)]).unwrap();
        let body = br#"{"id":"evt-1","type":"order.created"}"#;
        let verdict = verify(&verifier, &headers(&[("X-Sig", header), ("X-Time", sent)]), body, at(THEN));
        assert_eq!(verdict, identity("evt-1", "unknown"), "{}", text.signed);
    }
    let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";
    let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let sha512 = SchemeText {
        hash: Hash::Sha512,
        key: KeyForm::Hex,
        signed: "v0:{timestamp}:{body}",
        format: "prefix:v0=",
        encoding: Encoding::Base64,
        timestamp_at: &["header:X-Time"],
        timestamp_unit: TimestampUnit::Milliseconds,
        ..SchemeText::HMAC
    };
    let signature = "v0=QG/8PPSgZnjmo/o83/yS2+c9kkjs/KyIwFlmuapJw2zJVW1MTLsukoWWUCvZ0IfHzVT8VFebOZCYWOtn5Ye0gg==";
    check(sha512, hex, signature);
    let sha384 = SchemeText {
        hash: Hash::Sha384,
        key: KeyForm::Base64,
        signed: "{body}{timestamp}",
        encoding: Encoding::Base64Url,
        timestamp_at: &["header:X-Time"],
        timestamp_unit: TimestampUnit::Rfc3339,
        ..SchemeText::HMAC
    };
    check(sha384, base64, "ny7ixtBZChzJM2U8OoMjLqwpOO3fFbLlYVo9We2vaGGjWCS8h3BFw4P5h2tBW_Ox");
    let sha256 = SchemeText { key: KeyForm::Hex, signed: "{timestamp}:{body}", format: "kv:ts;h1", ..SchemeText::HMAC };
    let signature = "ts=1700000000;h1=da1a45059182ae709200570080f64b734cd11f1fade2255b86b6ee3dfee8354e";
    check(sha256, hex, signature);
}
