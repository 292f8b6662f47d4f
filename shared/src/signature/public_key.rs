//! Public keys: what a provider's private key signed can be verified, and nothing can be signed.

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

use super::der;
use super::{Hash, Kind, SecretError};

/// A public key of one algorithm, with its hash.
pub(super) struct PublicKey(UnparsedPublicKey<Vec<u8>>);

/// DER of the object identifiers that name a key's algorithm in a `SubjectPublicKeyInfo`.
const ID_EC_PUBLIC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const PRIME256V1: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ID_ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
const RSA_ENCRYPTION: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// Length of an Ed25519 key, in bytes.
const ED25519_LEN: usize = 32;
/// Length of a point on P-256 that is not compressed, in bytes.
const P256_LEN: usize = 65;
/// What such a point begins with.
const UNCOMPRESSED: u8 = 4;
/// Shortest and longest RSA key, in bytes of its DER: a modulus of 2048 to 8192 bits and a usual exponent.
const RSA_LEN: std::ops::RangeInclusive<usize> = 266..=1_042;
/// Shortest and longest modulus of an RSA key, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;
/// Longest exponent of an RSA key, in bytes; it is 65537 nearly everywhere.
const RSA_EXPONENT_MAX: usize = 4;

impl PublicKey {
    /// Reads the key at `index` of its list: 32 bytes for Ed25519, or a `SubjectPublicKeyInfo` in DER.
    pub(super) fn try_new(kind: Kind, hash: Hash, bytes: &[u8], index: usize) -> Result<Self, SecretError> {
        let key = match kind {
            Kind::Ed25519 => {
                let raw = if bytes.len() == ED25519_LEN { Some(bytes) } else { spki_key(bytes, ID_ED25519) };
                raw.filter(|key| key.len() == ED25519_LEN)
            }
            Kind::EcdsaP256 | Kind::JwtEs256 | Kind::Plaid => {
                let point = spki_key(bytes, &[ID_EC_PUBLIC_KEY, PRIME256V1].concat());
                point.filter(|key| key.len() == P256_LEN && key[0] == UNCOMPRESSED)
            }
            Kind::Rsa | Kind::JwtRsa | Kind::PayPal | Kind::AwsSns | Kind::MicrosoftGraph => {
                spki_key(bytes, RSA_ENCRYPTION).filter(|key| RSA_LEN.contains(&key.len()))
            }
            Kind::Hmac
            | Kind::PlainHash
            | Kind::Token
            | Kind::Basic
            | Kind::Jwt
            | Kind::Twilio
            | Kind::Adyen
            | Kind::Braintree => None,
        };
        let key = key.ok_or(SecretError::NotAPublicKey { index, kind })?;
        Ok(Self(UnparsedPublicKey::new(algorithm(kind, hash), key.to_vec())))
    }

    /// Whether its private key made `signature` of `signed`.
    pub(super) fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        self.0.verify(signed, signature).is_ok()
    }
}

/// A token writes the two numbers of an ECDSA signature one after the other, all others write them in DER
/// ([RFC 7518, section 3.4](https://www.rfc-editor.org/rfc/rfc7518#section-3.4)).
fn algorithm(kind: Kind, hash: Hash) -> &'static dyn VerificationAlgorithm {
    match (kind, hash) {
        (Kind::Ed25519, _) => &signature::ED25519,
        (Kind::EcdsaP256, _) => &signature::ECDSA_P256_SHA256_ASN1,
        (Kind::JwtEs256 | Kind::Plaid, _) => &signature::ECDSA_P256_SHA256_FIXED,
        (_, Hash::Sha1) => &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
        (_, Hash::Sha256) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (_, Hash::Sha384) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (_, Hash::Sha512) => &signature::RSA_PKCS1_2048_8192_SHA512,
    }
}

/// The `SubjectPublicKeyInfo` of the point `(x, y)` on P-256; `None` unless both have 32 bytes.
pub(super) fn p256_spki(x: &[u8], y: &[u8]) -> Option<Vec<u8>> {
    const HEAD: &[u8] = &[der::SEQUENCE, 0x59, der::SEQUENCE, 0x13];
    const BITS: &[u8] = &[der::BIT_STRING, 0x42, 0, UNCOMPRESSED];
    let is_whole = x.len() == P256_LEN / 2 && y.len() == P256_LEN / 2;
    is_whole.then(|| [HEAD, ID_EC_PUBLIC_KEY, PRIME256V1, BITS, x, y].concat())
}

/// The `SubjectPublicKeyInfo` of an RSA key ([RFC 8017, appendix
/// A.1.1](https://www.rfc-editor.org/rfc/rfc8017#appendix-A.1.1)) of these numbers, the highest byte first; `None` unless
/// its modulus has a length that is taken.
pub(super) fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Option<Vec<u8>> {
    let (modulus, exponent) = (without_zeros(modulus), without_zeros(exponent));
    let bits = modulus.len() * 8 - modulus.first()?.leading_zeros() as usize;
    if !RSA_BITS.contains(&bits) || !(1..=RSA_EXPONENT_MAX).contains(&exponent.len()) {
        return None;
    }
    let key = der::write(der::SEQUENCE, &[der::write_number(modulus), der::write_number(exponent)].concat());
    let key = der::write(der::BIT_STRING, &[&[0][..], &key].concat());
    Some(der::write(der::SEQUENCE, &[der::write(der::SEQUENCE, RSA_ENCRYPTION), key].concat()))
}

/// A number without zeros before it: some libraries write one.
fn without_zeros(number: &[u8]) -> &[u8] {
    let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    &number[start..]
}

/// The key in a `SubjectPublicKeyInfo` ([RFC 5280, section 4.1](https://www.rfc-editor.org/rfc/rfc5280#section-4.1)) whose
/// algorithm is exactly `algorithm`.
fn spki_key<'d>(spki: &'d [u8], algorithm: &[u8]) -> Option<&'d [u8]> {
    let (inner, rest) = der::read(spki, der::SEQUENCE)?;
    let (found, inner) = der::read(inner, der::SEQUENCE)?;
    let (bits, end) = der::read(inner, der::BIT_STRING)?;
    let (unused, key) = bits.split_first()?;
    (rest.is_empty() && end.is_empty() && found == algorithm && *unused == 0).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_has_two_numbers_of_32_bytes() {
        let key = p256_spki(&[1; 32], &[2; 32]).expect("a key");
        assert_eq!(spki_key(&key, &[ID_EC_PUBLIC_KEY, PRIME256V1].concat()).map(<[u8]>::len), Some(65));
        let mut compressed = key.clone();
        compressed[key.len() - P256_LEN] = 2;
        let refused = PublicKey::try_new(Kind::EcdsaP256, Hash::Sha256, &compressed, 0).err();
        assert_eq!(refused, Some(SecretError::NotAPublicKey { index: 0, kind: Kind::EcdsaP256 }));
        for (x, y) in [(31, 32), (33, 32), (32, 31), (32, 33), (0, 0), (64, 0), (65, 65)] {
            assert_eq!(p256_spki(&vec![1; x], &vec![2; y]), None, "{x} and {y}");
        }
    }

    #[test]
    fn a_modulus_has_2048_to_8192_bits() {
        let spki = |first: u8, len: usize, exponent: &[u8]| {
            let mut modulus = vec![0xff; len];
            modulus[0] = first;
            rsa_spki(&modulus, exponent)
        };
        let usual: &[u8] = &[1, 0, 1];
        for (first, len, exponent) in [(0x80, 256, usual), (1, 257, usual), (0xff, 1_024, usual), (0, 257, &[0, 3][..])]
        {
            let key = spki(first, len, exponent).expect("a key");
            assert!(PublicKey::try_new(Kind::JwtRsa, Hash::Sha256, &key, 0).is_ok(), "{first} and {len}");
        }
        for (first, len, exponent) in [
            (0x7f, 256, usual),
            (0xff, 128, usual),
            (0, 256, usual),
            (1, 1_025, usual),
            (0xff, 256, &[][..]),
            (0xff, 256, &[0][..]),
            (0xff, 256, &[1; 5][..]),
        ] {
            assert_eq!(spki(first, len, exponent), None, "{first}, {len} and {exponent:?}");
        }
        assert_eq!((rsa_spki(&[], usual), rsa_spki(&[0; 256], usual)), (None, None));
    }
}
