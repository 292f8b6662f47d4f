//! A secret made ready to authenticate requests.

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderName;
use secrecy::zeroize::Zeroizing;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::claimed::{Claimed, token_tag};
use super::public_key::PublicKey;
use super::signed_text::SignedText;
use super::tag::Tag;
use super::{Hash, KeyForm, Kind, Location, Scheme, SchemeError, Secret, VerifyError};

/// Most secrets that may be live at once; a rotation needs two.
pub const SECRETS_MAX: usize = 4;
/// Shortest key, in decoded bytes: 128 bits, below which guessing becomes conceivable.
pub const SECRET_MIN: usize = 16;

/// Why secrets cannot serve a scheme, or cannot sign a message by it. Names a secret by its place, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Verifying with no secret would mean accepting everything.
    #[error("at least one secret is needed")]
    Missing,
    /// The provider's keys are got from the provider.
    #[error("this provider's keys are got from itself; leave secrets out")]
    Needless,
    /// Every live secret costs a hash over the body of a forged request.
    #[error("at most {SECRETS_MAX} secrets may be live at once, not {count}")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// The decoded key is too short.
    #[error("secrets[{index}] must be at least {SECRET_MIN} bytes long")]
    TooShort {
        /// Which secret, from 0.
        index: usize,
    },
    /// Most likely a line feed of the file that it came from; nothing is trimmed silently.
    #[error("secrets[{index}] begins or ends with white space")]
    WhiteSpace {
        /// Which secret, from 0.
        index: usize,
    },
    /// The text is not of the scheme's key form.
    #[error("secrets[{index}] cannot be decoded as {form}")]
    Undecodable {
        /// Which secret, from 0.
        index: usize,
        /// What it should be.
        form: KeyForm,
    },
    /// Braintree's keys come in pairs, and so do the credentials of Plaid's API.
    #[error("secrets[{index}] must be the public key or client id, a colon, and the private key or secret")]
    NotAPair {
        /// Which secret, from 0.
        index: usize,
    },
    /// The bytes are no key of this kind. Public keys are not secret, but most likely this is another thing.
    #[error("secrets[{index}] must be a public key for {kind}, as the provider shows it")]
    NotAPublicKey {
        /// Which secret, from 0.
        index: usize,
        /// What it should be a key for.
        kind: Kind,
    },
    /// The scheme contradicts itself.
    #[error(transparent)]
    Scheme(#[from] SchemeError),
    /// Signing only: nobody but the provider has the private key.
    #[error("only the provider can sign this: {kind} needs its private key")]
    PrivateKeyNeeded {
        /// The kind of proof.
        kind: Kind,
    },
    /// Signing only: a provider's own way that is only read.
    #[error("requests of the kind {kind} are verified, but not made here")]
    NotSignedHere {
        /// The kind of proof.
        kind: Kind,
    },
    /// Signing only: the id or type cannot be sent in its header, or not without changing what is signed.
    #[error("the value for header {header} cannot be sent in it")]
    Unsendable {
        /// The header.
        header: HeaderName,
    },
    /// Signing only: no such request would verify.
    #[error("the request cannot be signed")]
    Unsignable(#[source] VerifyError),
    /// Signing only: the request has no such place to write a value at, or lacks a value that is signed.
    #[error("the request has nothing, or no room, at {location}")]
    NoPlace {
        /// The place.
        location: Location,
    },
}

/// A key that is ready: an HMAC has taken it already, so that it is not hashed again for each request.
pub(super) enum Key {
    HmacSha1(Hmac<Sha1>),
    HmacSha256(Hmac<Sha256>),
    HmacSha384(Hmac<Sha384>),
    HmacSha512(Hmac<Sha512>),
    Plain(Hash, Zeroizing<Vec<u8>>),
    Token(Tag),
    /// Braintree's: HMAC-SHA1, and the public key whose signatures are its own.
    Named(String, Hmac<Sha1>),
    /// Plaid's: what its API wants to know, `client id:secret`.
    Api(Secret),
    Public(PublicKey),
}

impl Key {
    /// Prepares `secret`, the one at `index` of its list.
    pub(super) fn try_new(scheme: &Scheme, secret: &Secret, index: usize) -> Result<Self, SecretError> {
        let bytes = scheme.key.decode(secret, index)?;
        let pair = || secret.expose().split_once(':').ok_or(SecretError::NotAPair { index });
        if scheme.kind.has_public_keys() {
            return PublicKey::try_new(scheme.kind, scheme.hash, &bytes, index).map(Self::Public);
        }
        // What a key is derived from is what can be guessed, not the hash that it becomes.
        let guessable = if scheme.key == KeyForm::Sha1Of { secret.expose().len() } else { bytes.len() };
        if guessable < SECRET_MIN {
            return Err(SecretError::TooShort { index });
        }
        if scheme.kind == Kind::Braintree {
            let (name, private) = pair()?;
            return Ok(Self::Named(name.to_owned(), keyed(&Sha1::digest(private))));
        }
        if scheme.kind == Kind::Plaid {
            return pair().map(|_| Self::Api(secret.clone()));
        }
        Ok(Self::shared(scheme, bytes))
    }

    /// Prepares bytes that a secret may have been meant to be, however few; `None` if no key of the scheme's kind can be
    /// made of them. To explain only: [`Self::try_new`] is the one that refuses what is too weak.
    pub(super) fn of_bytes(scheme: &Scheme, bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        let kind = scheme.kind;
        if kind.has_public_keys() {
            return PublicKey::try_new(kind, scheme.hash, &bytes, 0).ok().map(Self::Public);
        }
        let has_own_form = kind.always_fetches_keys() || kind == Kind::Braintree;
        (!has_own_form).then(|| Self::shared(scheme, bytes))
    }

    /// The key of a secret that both sides know.
    fn shared(scheme: &Scheme, bytes: Zeroizing<Vec<u8>>) -> Self {
        match (scheme.kind, scheme.hash) {
            (Kind::Token | Kind::Basic | Kind::MicrosoftGraph, _) => Self::Token(token_tag(&bytes)),
            (Kind::PlainHash, hash) => Self::Plain(hash, bytes),
            (_, Hash::Sha1) => Self::HmacSha1(keyed(&bytes)),
            (_, Hash::Sha256) => Self::HmacSha256(keyed(&bytes)),
            (_, Hash::Sha384) => Self::HmacSha384(keyed(&bytes)),
            (_, Hash::Sha512) => Self::HmacSha512(keyed(&bytes)),
        }
    }

    /// Whether any of the `claimed` signatures is this key's over `text`.
    pub(super) fn proves(&self, claimed: &Claimed, text: &SignedText<'_>) -> bool {
        if let Self::Public(key) = self {
            let signed = text.pieces(b"").collect::<Vec<_>>().concat();
            return claimed.long().any(|signature| key.verifies(&signed, signature));
        }
        self.tag(text).is_some_and(|tag| claimed.has(&tag))
    }

    /// What this key makes of `text`; `None` for a public key, which makes nothing.
    pub(super) fn tag(&self, text: &SignedText<'_>) -> Option<Tag> {
        let secret: &[u8] = if let Self::Plain(_, secret) = self { secret } else { b"" };
        self.tag_of(text.pieces(secret))
    }

    /// What this key makes of `pieces`, one after another.
    pub(super) fn tag_of<'p>(&self, pieces: impl Iterator<Item = &'p [u8]>) -> Option<Tag> {
        Some(match self {
            Self::HmacSha1(mac) | Self::Named(_, mac) => authenticated(mac.clone(), pieces),
            Self::HmacSha256(mac) => authenticated(mac.clone(), pieces),
            Self::HmacSha384(mac) => authenticated(mac.clone(), pieces),
            Self::HmacSha512(mac) => authenticated(mac.clone(), pieces),
            Self::Plain(Hash::Sha1, _) => hashed::<Sha1>(pieces),
            Self::Plain(Hash::Sha256, _) => hashed::<Sha256>(pieces),
            Self::Plain(Hash::Sha384, _) => hashed::<Sha384>(pieces),
            Self::Plain(Hash::Sha512, _) => hashed::<Sha512>(pieces),
            Self::Token(tag) => *tag,
            Self::Public(_) | Self::Api(_) => return None,
        })
    }
}

fn keyed<M: KeyInit>(bytes: &[u8]) -> M {
    M::new_from_slice(bytes).expect("HMAC takes a key of any length")
}

fn authenticated<'p>(mut mac: impl Mac, pieces: impl Iterator<Item = &'p [u8]>) -> Tag {
    pieces.for_each(|piece| mac.update(piece));
    Tag::new(&mac.finalize().into_bytes())
}

fn hashed<'p, D: Digest>(pieces: impl Iterator<Item = &'p [u8]>) -> Tag {
    let mut hasher = D::new();
    pieces.for_each(|piece| hasher.update(piece));
    Tag::new(&hasher.finalize())
}
