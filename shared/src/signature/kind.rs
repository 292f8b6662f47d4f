//! The kinds of proof that a request can carry.

use super::word::word;

word! {
    /// What a request proves itself with. The configuration fixes it; no request can choose.
    Kind, "a kind of proof", "hmac, plain-hash, ed25519, ecdsa-p256, rsa, token, basic, jwt, jwt-rsa or jwt-es256",
    {
        /// An HMAC of the signed text, under a secret that both sides know.
        Hmac = "hmac",
        /// A hash of the signed text, which holds the secret itself. Weaker than an HMAC: who has one signature of a
        /// text that begins with the secret can compute that of some longer ones.
        PlainHash = "plain-hash",
        /// An Ed25519 signature ([RFC 8032](https://www.rfc-editor.org/rfc/rfc8032)) of the signed text.
        Ed25519 = "ed25519",
        /// An ECDSA signature on P-256 with SHA-256, in DER.
        EcdsaP256 = "ecdsa-p256",
        /// An RSA signature by PKCS #1 v1.5.
        Rsa = "rsa",
        /// The secret itself.
        Token = "token",
        /// The secret itself, `user:password`, as HTTP's Basic authentication writes it.
        Basic = "basic",
        /// Microsoft Graph's: the secret itself in every item.
        MicrosoftGraph = "microsoft-graph",
        /// A JSON Web Token, signed by HMAC, one of whose claims is the body's SHA-256.
        Jwt = "jwt",
        /// The same, signed by RSA.
        JwtRsa = "jwt-rsa",
        /// The same, signed by ECDSA on P-256 with SHA-256.
        JwtEs256 = "jwt-es256",
        /// Plaid's: the same, with a key that the token names and that Plaid's API tells.
        Plaid = "plaid",
        /// Twilio's: HMAC of the URL and of the form's sorted fields, or of a URL that holds the body's SHA-256.
        Twilio = "twilio",
        /// Adyen's: HMAC of eight fields of each item.
        Adyen = "adyen",
        /// Braintree's: HMAC of a payload in a form, beside the public key that it belongs to.
        Braintree = "braintree",
        /// PayPal's: RSA with a certificate that the request names.
        PayPal = "paypal",
        /// AWS SNS': RSA over the message's fields, with a certificate that the message names.
        AwsSns = "aws-sns",
    }
}

word! {
    /// The hash of a signature.
    Hash, "a hash", "sha1, sha256, sha384 or sha512",
    {
        /// SHA-1, 20 bytes. Collisions are known, but of none that would forge an HMAC; for providers without a better one.
        Sha1 = "sha1",
        /// SHA-256, 32 bytes.
        Sha256 = "sha256",
        /// SHA-384, 48 bytes.
        Sha384 = "sha384",
        /// SHA-512, 64 bytes.
        Sha512 = "sha512",
    }
}

impl Kind {
    /// Whether the configured secrets are public keys: whoever has them can verify, and nobody can sign.
    #[must_use]
    pub const fn has_public_keys(self) -> bool {
        matches!(self, Self::Ed25519 | Self::EcdsaP256 | Self::Rsa | Self::JwtRsa | Self::JwtEs256)
    }

    /// Whether its keys are always got from the provider, when a request names them; [`super::Scheme::fetches_keys`] says
    /// it of a source.
    #[must_use]
    pub const fn always_fetches_keys(self) -> bool {
        matches!(self, Self::PayPal | Self::AwsSns | Self::Plaid)
    }

    /// Whether a source has secrets, or public keys in their place; those of [`Kind::Plaid`] are for its API.
    #[must_use]
    pub const fn has_secrets(self) -> bool {
        !matches!(self, Self::PayPal | Self::AwsSns)
    }

    /// Whether it is a JSON Web Token.
    #[must_use]
    pub const fn is_jwt(self) -> bool {
        matches!(self, Self::Jwt | Self::JwtRsa | Self::JwtEs256 | Self::Plaid)
    }

    /// Whether the secret itself is sent.
    #[must_use]
    pub const fn is_token(self) -> bool {
        matches!(self, Self::Token | Self::Basic | Self::MicrosoftGraph)
    }

    /// Whether a template says what is signed; the others have their own way.
    #[must_use]
    pub const fn has_template(self) -> bool {
        !self.is_token() && !self.is_jwt() && !matches!(self, Self::Adyen | Self::AwsSns)
    }

    /// Whether it is one provider's own, which a configuration cannot spell out.
    #[must_use]
    pub const fn is_native(self) -> bool {
        matches!(
            self,
            Self::Twilio
                | Self::Adyen
                | Self::Braintree
                | Self::PayPal
                | Self::AwsSns
                | Self::Plaid
                | Self::MicrosoftGraph
        )
    }
}

impl Hash {
    /// The length of what it makes, in bytes.
    pub(super) const fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}
