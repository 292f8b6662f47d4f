//! Every algorithm against the answers that its own specification publishes, and those of other implementations.

use super::*;

const AT: SchemeText = SchemeText { at: &["header:X-Sig"], id: &["body-sha256"], ..SchemeText::HMAC };

fn check(text: SchemeText, key: &str, body: &[u8], signature: &str) {
    let verifier = Verifier::try_new(text.read().unwrap(), &[secret(key)]).unwrap();
    let verdict = verify(&verifier, &headers(&[("X-Sig", signature)]), body, at(THEN));
    assert!(verdict.is_ok(), "{text:?}: {verdict:?}");
    let mut other = body.to_vec();
    other.push(b' ');
    let verdict = verify(&verifier, &headers(&[("X-Sig", signature)]), &other, at(THEN));
    assert_eq!(verdict, Err(VerifyError::InvalidSignature), "{text:?}");
}

/// RFC 2202, section 3, and RFC 4231: test cases 1, 3 and 6, whose keys are long enough to be taken.
#[test]
fn hmac_gives_the_answers_of_its_rfcs() {
    let (key_1, key_6) = ("0b".repeat(20), "aa".repeat(131));
    let large = b"Test Using Larger Than Block-Size Key - Hash Key First";
    for (hash, key, body, tag) in [
        (Hash::Sha1, &key_1, &b"Hi There"[..], "b617318655057264e28bc0b6fb378c8ef146be00"),
        (Hash::Sha1, &"aa".repeat(20), &[0xdd; 50], "125d7342b9ac11cd91a39af48aa17b4f63f175d3"),
        (Hash::Sha256, &key_1, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (Hash::Sha256, &key_6, large, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
        (
            Hash::Sha384,
            &key_1,
            b"Hi There",
            "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
        ),
        (
            Hash::Sha512,
            &key_1,
            b"Hi There",
            "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
        ),
    ] {
        check(SchemeText { hash, key: KeyForm::Hex, ..AT }, key, body, tag);
    }
}

/// RFC 8032, section 7.1: tests 2 and 3; the secret is the public key.
#[test]
fn ed25519_gives_the_answers_of_its_rfc() {
    let text = SchemeText { kind: Kind::Ed25519, key: KeyForm::Hex, ..AT };
    check(
        text,
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        &[0x72],
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    );
    check(
        text,
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        &[0xaf, 0x82],
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    );
}

/// RFC 6979, appendix A.2.5: P-256, SHA-256, "sample".
#[test]
fn ecdsa_gives_the_answer_of_its_rfc() {
    let key = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYP7UuiVanTHJYet0xjVtaMBJuJI7Yfps5mliLmDyn7Z5A/4QCLi8maQa6elWKLxk8vGyDC1+n1F3o8KU1EYimQ==";
    let signature = "MEYCIQDv1IsqrLao/RFA3ZzUXoHWnSyHe1aq+ZHDTQ6oTq83FgIhAPfLHJQtZXxB1DbHobbin2Xz6QDbua/0Bk3Eqy+EOs2o";
    check(SchemeText { at: AT.at, id: AT.id, ..SchemeText::ECDSA_P256 }, key, b"sample", signature);
}

/// Signed by OpenSSL 3.0 with the key of the tests.
#[test]
fn rsa_gives_the_answers_of_openssl() {
    let body = br#"{"id":"evt-1","type":"order.created"}"#;
    for (hash, signature) in [
        (
            Hash::Sha1,
            "Q+0hYq+X1UHFXl2wgv8QOcq6YU5DAvsMx9f3OnobsurRDY70yqHd1EUDj0ySj7I8+b7k8qYlETLMrQcV/DLhwRSoJZmp7kzz9ZN+2xGlkad02wNu9koEFzq6sHUIP7RxC55Jicgzp7hlX5Nqy6CyTRfybnqUneMG6fJGBbiFPCLesdcMMmABdap6TD73m5N4LwEWS2lpcK1NKUfmH1dn5/VeYT9s5OsnbY1Hj+LLZ8VqyhGDmw4yqg+VchhD0zaw0fEYaE5iy6b1gDC9IIPz7fZXQg3oYetofijl/XR2qw2SMUk0zRIdwvKGk/VTjm+rV/cFImbgKlCU+81VtdcPDQ==",
        ),
        (
            Hash::Sha256,
            "OidcUsew5U+OtkEYK1eTl9J2rwp+5GmZew6CS44vzQPT7CIV8aGhfS0lAO2zUFjg6/jfSg75x1z3C5KW3D74GlTeZSF6TtRpO+eGewcnzcVNBzHBIoeDAoVgODZGV3D2lnaIQd/CI0n4V6oCZ8z9AhCNGGEoVR4UBuB+XedhPLONc+jLiUFUpV80RFRlWpT192uQ/FzQlrRdOOuvxD96ablwyFikwrEA/AxXAPIflQ9gRfF6RvSEcc1SdLKouRbOGahB9opoDHHdzzmwKtUC9CE2yYbhyvaG8H8jOvsJ5egDuJtpgY5V+zvHnRu2AP51OlE/c3s+bmUPkeymj7DtDw==",
        ),
    ] {
        let text = SchemeText { hash, key: KeyForm::Base64, at: AT.at, id: AT.id, ..SchemeText::RSA };
        check(text, keys::RSA_PUBLIC, body, signature);
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", keys::RSA_PUBLIC);
        let text = SchemeText { key: KeyForm::Pem, ..text };
        check(text, &pem, body, signature);
        check(text, &pem.replace('\n', "\\n"), body, signature);
    }
}

/// A key of another kind, size or curve is told by its place, and never taken for what it is not.
#[test]
fn what_is_no_key_of_the_kind_is_refused() {
    let rsa_1024 = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDCNeXnGNQyGUI0rzaKEkXWZYZAKrvDVR1QAlgjmzac5keLz/hp2ylstIv2ulYvsrd3pzyRjLh5Px50gZ9yIRZByFhzCtueJXgt38L7Mvl0B+CdxRz/X8eASemtskdX+pk70du3JGuctTjw8MsYLUi7olRBiL6imRbnLPj+U9N9awIDAQAB";
    let p384 = "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAELLcsh2zru0GgL5LKluijqxWQzW/ww5OU+F+VHf9qDucbAB4V5I5YCl+r358pNjwP2HZQPuoUfon/r/cz7N6DAVYctbr2kp/ftc/UZwdinLDU6VaSXZ2jtdHCRFp3Q5Up";
    for (kind, keys) in [
        (Kind::Ed25519, &[keys::P256_PUBLIC, keys::RSA_PUBLIC, "AAAA", ""][..]),
        (Kind::EcdsaP256, &[keys::RSA_PUBLIC, p384, "AAAA", ""]),
        (Kind::Rsa, &[keys::P256_PUBLIC, rsa_1024, keys::RSA_PRIVATE, "AAAA", ""]),
    ] {
        let text = SchemeText { kind, key: KeyForm::Base64, ..AT };
        for key in keys {
            let refused = Verifier::try_new(text.read().unwrap(), &[secret(key)]).unwrap_err();
            assert_eq!(refused, SecretError::NotAPublicKey { index: 0, kind }, "{key}");
        }
        let cut = &keys::RSA_PUBLIC[..keys::RSA_PUBLIC.len() - 4];
        assert!(Verifier::try_new(text.read().unwrap(), &[secret(cut)]).is_err());
    }
}

/// Nobody but the provider can sign what a public key verifies.
#[test]
fn sign_refuses_public_keys() {
    let text = SchemeText { kind: Kind::Ed25519, key: KeyForm::Hex, ..AT };
    let public = secret("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    let refused = text.read().unwrap().sign(&public, &message(b"{}")).unwrap_err();
    assert_eq!(refused, SecretError::PrivateKeyNeeded { kind: Kind::Ed25519 });
}
