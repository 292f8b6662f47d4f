//! What a request claims to prove it: the signatures that it carries, decoded before anything is computed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use sha2::{Digest, Sha256};
use subtle::Choice;

use super::tag::{TAG_MAX, Tag};
use super::verify::VerifyError;
use super::{Encoding, Hash, Kind};

/// Most signatures of the scheme's own version or key in one request; a provider that rotates sends two.
pub const SIGNATURES_MAX: usize = 16;

/// Most signatures of public keys: each is held against each key, and each time the whole text is hashed again.
const LONG_MAX: usize = 4;

/// The signatures of one request.
pub(super) struct Claimed {
    form: Form,
    tags: [[u8; TAG_MAX]; SIGNATURES_MAX],
    /// Signatures of public keys, which have many lengths.
    long: Vec<Vec<u8>>,
    /// Signatures in `tags`.
    decoded: usize,
    /// Signatures met, decodable or not.
    offered: usize,
}

/// How a signature's text becomes what is compared.
#[derive(Clone, Copy)]
enum Form {
    /// Exactly this many bytes.
    Tag(Encoding, usize),
    /// As many bytes as the key wants.
    Long(Encoding),
    /// The text stands for itself: its hash is compared, so that its length does not matter.
    Token,
    /// The same, of what stands after `Basic ` in base64 ([RFC 7617](https://www.rfc-editor.org/rfc/rfc7617)).
    Basic,
}

impl Claimed {
    /// Nothing yet, of what proves a request by `kind`.
    pub(super) fn new(kind: Kind, hash: Hash, encoding: Encoding) -> Self {
        let form = if kind == Kind::Token {
            Form::Token
        } else if kind == Kind::Basic {
            Form::Basic
        } else if kind.has_public_keys() || kind.always_fetches_keys() {
            Form::Long(encoding)
        } else {
            Form::Tag(encoding, hash.len())
        };
        Self { form, tags: [[0; TAG_MAX]; SIGNATURES_MAX], long: Vec::new(), decoded: 0, offered: 0 }
    }

    /// Takes one signature's text; text that cannot be one counts only towards the bound.
    pub(super) fn offer(&mut self, text: &[u8]) -> Result<(), VerifyError> {
        let most = if matches!(self.form, Form::Long(_)) { LONG_MAX } else { SIGNATURES_MAX };
        if self.offered == most {
            return Err(VerifyError::MalformedRequest { what: "the signature header holds too many signatures" });
        }
        self.offered += 1;
        match self.form {
            Form::Tag(encoding, len) => {
                if encoding.decode(text, &mut self.tags[self.decoded][..len]) {
                    self.decoded += 1;
                }
            }
            Form::Long(encoding) => self.long.extend(encoding.decode_all(text)),
            Form::Token => self.keep(&token_tag(text)),
            Form::Basic => {
                if let Some(credentials) = basic_credentials(text) {
                    self.keep(&token_tag(&credentials));
                }
            }
        }
        Ok(())
    }

    /// Whether there is nothing to compare with.
    pub(super) fn is_empty(&self) -> bool {
        self.decoded == 0 && self.long.is_empty()
    }

    /// Whether any of the signatures is `tag`; looks at all of them, whichever it is.
    pub(super) fn has(&self, tag: &Tag) -> bool {
        let len = tag.as_bytes().len();
        let decoded = self.tags[..self.decoded].iter();
        decoded.fold(Choice::from(0), |any, claimed| any | tag.ct_eq(&claimed[..len])).into()
    }

    /// The signatures of public keys.
    pub(super) fn long(&self) -> impl Iterator<Item = &[u8]> {
        self.long.iter().map(Vec::as_slice)
    }

    fn keep(&mut self, tag: &Tag) {
        let bytes = tag.as_bytes();
        self.tags[self.decoded][..bytes.len()].copy_from_slice(bytes);
        self.decoded += 1;
    }
}

/// What a token is compared by.
pub(super) fn token_tag(token: &[u8]) -> Tag {
    Tag::new(&Sha256::digest(token))
}

/// The name of the scheme has no case ([RFC 9110, section 11.1](https://www.rfc-editor.org/rfc/rfc9110#section-11.1)).
fn basic_credentials(text: &[u8]) -> Option<Vec<u8>> {
    const SCHEME: &[u8] = b"basic ";
    let (scheme, credentials) = text.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    STANDARD_PAD_INDIFFERENT.decode(credentials.trim_ascii_start()).ok()
}
