//! Why a request did not verify: the likely mistakes, tried one after another until the signature is right.
//!
//! What is found is proven: with that one thing changed, the signature is the request's own. So a forged request, which
//! no change makes right, is never explained away. Nothing here lets a request in, and no text holds a secret.

use jiff::Timestamp;
use secrecy::zeroize::Zeroizing;

use super::key::Key;
use super::received::Reader;
use super::{
    DatedSecret, Encoding, FetchedKey, Hash, Judgement, KeyForm, Received, Scheme, Secret, SignatureFormat,
    TimestampUnit, Verifier, VerifyError,
};

mod body;
mod cause;
mod fetched;
mod handshake;
mod other;
mod text;
mod url;

pub use body::{BodyChange, JsonLayout};
pub use cause::{Cause, Explanation};
pub use fetched::KeyCause;
pub use text::{TextChange, credentials, sent_as};
pub use url::UrlPart;

/// A source: its scheme, and the secrets that a request may have been made with.
#[derive(Debug, Clone, Copy)]
pub struct Suspect<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its preset's name, or `hmac`.
    pub provider: &'a str,
    /// How its requests are signed.
    pub scheme: &'a Scheme,
    /// Its secrets.
    pub secrets: &'a [DatedSecret],
}

/// A request that did not verify, and all that is known of where it may be from.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The request.
    pub received: Received<'a>,
    /// When it was received.
    pub received_at: Timestamp,
    /// The source that it was sent to.
    pub source: Suspect<'a>,
    /// What judges that source's requests.
    pub verifier: &'a Verifier,
    /// The other sources.
    pub others: &'a [Suspect<'a>],
    /// The key that the request names, where its provider keeps it; or, as a clause, why it is not at hand.
    pub key: Result<Option<&'a FetchedKey>, &'a str>,
}

/// Says why the request does not verify. It takes some hundred signatures of the body: not for the door's own thread.
#[must_use]
pub fn explain(question: &Question<'_>) -> Cause {
    question.handshake().unwrap_or_else(|| question.signed())
}

impl Question<'_> {
    /// What is to be said of an event, or of a handshake that is proven as events are.
    fn signed(&self) -> Cause {
        let Self { received, received_at, verifier, .. } = self;
        let judged = match (verifier.needs(received), self.key) {
            (Err(error), _) => Err(error),
            (Ok(Some(_)), Err(why)) => return self.search().unwrap_or_else(|| self.without_key(why)),
            (Ok(_), _) => verifier.judge(received, *received_at, self.fetched_key()),
        };
        match judged {
            Ok(Judgement::Event(_)) => Cause::Verifies,
            Ok(Judgement::Handshake(_)) => Cause::Handshake,
            Err(VerifyError::StaleTimestamp { age, tolerance }) => {
                self.timestamp_unit().unwrap_or(Cause::Clock { age, tolerance })
            }
            Err(VerifyError::Duplicate { place }) => Cause::SentTwice { place },
            Err(VerifyError::MissingSignature { place }) => self.search().unwrap_or(Cause::NotSigned { place }),
            Err(VerifyError::InvalidSignature) => self.search().unwrap_or_else(|| self.unexplained()),
            Err(VerifyError::MissingEventId) => self.search_unproven().unwrap_or(Cause::NoEventId),
            Err(VerifyError::MalformedRequest { what }) => self.search_unproven().unwrap_or(Cause::Malformed { what }),
        }
    }

    /// What is left to say where nothing makes the signature right.
    fn unexplained(&self) -> Cause {
        let Suspect { scheme, secrets, .. } = self.source;
        if scheme.fetches_keys() && self.without_tokens().is_none() {
            self.unmatched()
        } else if secrets.is_empty() {
            Cause::NoSecretOffered
        } else if secrets.iter().any(|dated| dated.validity.includes(self.received_at)) {
            Cause::Unexplained
        } else {
            Cause::NoSecretCounts
        }
    }

    /// The key that the request names, where it is needed and at hand.
    fn fetched_key(&self) -> Option<&FetchedKey> {
        self.key.ok().flatten()
    }

    /// The same as [`Self::search`], unless the signature is right and something else is not.
    fn search_unproven(&self) -> Option<Cause> {
        let is_proven = self.verifier.is_proven(&self.received, self.received_at, self.fetched_key());
        if is_proven { None } else { self.search() }
    }

    /// Everything that is tried, the nearest first.
    fn search(&self) -> Option<Cause> {
        if let Some(scheme) = self.without_tokens() {
            return Question { source: Suspect { scheme: &scheme, ..self.source }, ..*self }.search();
        }
        self.secret_date()
            .or_else(|| self.secret_text())
            .or_else(|| self.secret_form())
            .or_else(|| self.signature_writing())
            .or_else(|| self.hash())
            .or_else(|| self.body())
            .or_else(|| self.url())
            .or_else(|| self.timestamp_unit())
            .or_else(|| self.same_vendor())
            .or_else(|| self.other_source())
            .or_else(|| self.topic())
            .or_else(|| self.other_provider())
    }

    /// Whether `scheme` with any of `secrets` finds the request's signature right.
    fn proves(&self, scheme: &Scheme, secrets: &[DatedSecret], received: &Received<'_>) -> bool {
        let keys = secrets.iter().filter_map(|dated| Key::try_new(scheme, &dated.secret, 0).ok()).collect();
        self.proves_by(scheme, keys, received)
    }

    fn proves_by(&self, scheme: &Scheme, keys: Vec<Key>, received: &Received<'_>) -> bool {
        if keys.is_empty() && scheme.has_secrets() {
            return false;
        }
        let own = self.source.scheme;
        let key = self.fetched_key().filter(|_| scheme.kind == own.kind && scheme.jwks == own.jwks);
        Verifier::trial(scheme.clone(), keys).is_proven(received, self.received_at, key)
    }

    /// Whether the source's own scheme and secrets find another request's signature right.
    fn proves_own(&self, received: &Received<'_>) -> bool {
        self.proves(self.source.scheme, self.source.secrets, received)
    }

    fn proves_bytes(&self, bytes: Vec<u8>) -> bool {
        let scheme = self.source.scheme;
        let key = Key::of_bytes(scheme, Zeroizing::new(bytes));
        key.is_some_and(|key| self.proves_by(scheme, vec![key], &self.received))
    }

    /// A secret that does not count yet, or not any more.
    fn secret_date(&self) -> Option<Cause> {
        let dates = self.source.secrets.iter().enumerate();
        let mut others = dates.filter(|(_, dated)| !dated.validity.includes(self.received_at));
        let (index, dated) =
            others.find(|(_, dated)| self.proves(self.source.scheme, std::slice::from_ref(dated), &self.received))?;
        Some(Cause::SecretDate { index, validity: dated.validity })
    }

    /// A secret that is written otherwise on the other side: with a line feed, without its prefix.
    fn secret_text(&self) -> Option<Cause> {
        let form = self.source.scheme.key;
        for (index, DatedSecret { secret, .. }) in self.source.secrets.iter().enumerate() {
            for (how, text) in text::changed(secret.expose()) {
                if form_bytes(form, &text).is_some_and(|bytes| self.proves_bytes(bytes)) {
                    return Some(Cause::SecretText { index, how });
                }
            }
        }
        None
    }

    /// A secret whose text is the key where its decoded bytes should be, or the other way round.
    fn secret_form(&self) -> Option<Cause> {
        const FORMS: [KeyForm; 5] = [KeyForm::Utf8, KeyForm::Hex, KeyForm::Base64, KeyForm::Whsec, KeyForm::Sha1Of];
        let configured = self.source.scheme.key;
        for (index, DatedSecret { secret, .. }) in self.source.secrets.iter().enumerate() {
            for used in FORMS.into_iter().filter(|form| *form != configured) {
                if form_bytes(used, secret.expose()).is_some_and(|bytes| self.proves_bytes(bytes)) {
                    return Some(Cause::SecretForm { index, configured, used });
                }
            }
        }
        None
    }

    /// A signature that is written otherwise: base64 for hexadecimal, without its prefix.
    fn signature_writing(&self) -> Option<Cause> {
        let own = self.source.scheme;
        let formats = [Some(own.format.clone()), Some(SignatureFormat::Raw), self.found_format()];
        for format in formats.into_iter().flatten() {
            for encoding in [own.encoding, Encoding::Hex, Encoding::Base64, Encoding::Base64Url] {
                let tried = Scheme { format: format.clone(), encoding, ..own.clone() };
                if tried != *own && self.proves(&tried, self.source.secrets, &self.received) {
                    return Some(if encoding == own.encoding {
                        Cause::SignatureFormat { configured: own.format.clone(), found: format }
                    } else {
                        Cause::SignatureEncoding { configured: own.encoding, used: encoding }
                    });
                }
            }
        }
        None
    }

    /// The format with whatever prefix the signature has, if it has one.
    fn found_format(&self) -> Option<SignatureFormat> {
        const PREFIX_MAX: usize = 16;
        let pointers = self.source.scheme.pointers();
        let mut reader = Reader::new(&self.received, &pointers, self.source.scheme.json_in());
        let text = reader.first_once(&self.source.scheme.signature).ok()??;
        let end = text.iter().take(PREFIX_MAX).position(|byte| matches!(byte, b'=' | b':' | b',' | b' '))?;
        let prefix = std::str::from_utf8(&text[..=end]).ok()?;
        Some(SignatureFormat::Prefixed(prefix.to_owned()))
    }

    fn hash(&self) -> Option<Cause> {
        let own = self.source.scheme;
        let others =
            [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512].into_iter().filter(|hash| *hash != own.hash);
        others
            .into_iter()
            .find(|hash| {
                let tried = Scheme { hash: *hash, ..own.clone() };
                self.proves(&tried, self.source.secrets, &self.received)
            })
            .map(|used| Cause::Hash { configured: own.hash, used })
    }

    /// A body that was written anew on its way.
    fn body(&self) -> Option<Cause> {
        if !self.source.scheme.covers_body() {
            return None;
        }
        body::before(self.received.body)
            .find(|(_, body)| self.proves_own(&Received { body, ..self.received }))
            .map(|(change, _)| Cause::Body { change })
    }

    /// Another URL than the configured one.
    fn url(&self) -> Option<Cause> {
        let own = self.source.scheme;
        if !own.signs_url() {
            return None;
        }
        url::others(&own.url, &self.received).into_iter().find_map(|other| {
            let tried = Scheme { url: super::PublicUrl::Whole(other.url.clone()), ..own.clone() };
            let proves = self.proves(&tried, self.source.secrets, &self.received);
            proves.then(|| Cause::Url { parts: other.parts, signed: url::without_query(&other.url) })
        })
    }

    /// A timestamp in another unit.
    fn timestamp_unit(&self) -> Option<Cause> {
        let own = self.source.scheme;
        let rule = own.timestamp.as_ref()?;
        [TimestampUnit::Seconds, TimestampUnit::Milliseconds, TimestampUnit::Rfc3339]
            .into_iter()
            .filter(|unit| *unit != rule.unit)
            .find(|unit| {
                let rule = super::TimestampRule { unit: *unit, ..rule.clone() };
                let tried = Scheme { timestamp: Some(rule), ..own.clone() };
                let tried = Verifier::try_new_dated(tried, self.source.secrets).ok();
                let verified = tried.map(|tried| tried.verify(&self.received, self.received_at));
                matches!(verified, Some(Ok(_) | Err(VerifyError::MissingEventId)))
            })
            .map(|sent| Cause::TimestampUnit { configured: rule.unit, sent })
    }
}

/// The bytes that `text` stands for in `form`; as text, white space around it counts too.
fn form_bytes(form: KeyForm, text: &str) -> Option<Vec<u8>> {
    match form {
        KeyForm::Utf8 => Some(text.as_bytes().to_vec()),
        KeyForm::Hex | KeyForm::Base64 | KeyForm::Whsec | KeyForm::Whpk | KeyForm::Pem | KeyForm::Sha1Of => {
            form.decode(&Secret::new(text.to_owned()), 0).ok().map(|bytes| bytes.to_vec())
        }
    }
}

#[cfg(test)]
mod tests;
