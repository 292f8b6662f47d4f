//! What was found, in words: one sentence of cause, and one of what to do. No secret is ever part of them.

use std::time::Duration;

use jiff::SignedDuration;
use serde::Serialize;
use utoipa::ToSchema;

use super::{BodyChange, JsonLayout, KeyCause, TextChange, UrlPart};
use crate::signature::{Encoding, Hash, KeyForm, Location, SignatureFormat, TimestampUnit, Validity};

/// What to do first where another scheme would fit.
const RIGHT_PRESET: &str = "Look whether the preset is the right one";

/// Why a request did not verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// It verifies by the present configuration.
    Verifies,
    /// It is no event: its provider asks, and is answered.
    Handshake,
    /// It is a handshake, and does not have the word that was agreed on for those.
    HandshakeWord {
        /// Where it should stand.
        place: Location,
    },
    /// There is no signature.
    NotSigned {
        /// Where it should stand.
        place: Location,
    },
    /// A value that decides something is there twice.
    SentTwice {
        /// Which one.
        place: Location,
    },
    /// The signature is right; the time is not.
    Clock {
        /// How old the request was when it came; negative for the future.
        age: SignedDuration,
        /// How old it may be.
        tolerance: Duration,
    },
    /// The signature is right; the time is written in another unit.
    TimestampUnit {
        /// As the scheme has it.
        configured: TimestampUnit,
        /// As it was sent.
        sent: TimestampUnit,
    },
    /// The signature is right, or would be, but there is no id.
    NoEventId,
    /// Something that must be known is not well formed.
    Malformed {
        /// What, as a clause.
        what: &'static str,
    },
    /// The sender's secret is one that did not count when the request was received.
    SecretDate {
        /// Which of the source's secrets, from 0.
        index: usize,
        /// When it counts.
        validity: Validity,
    },
    /// The sender's secret is the configured one, written otherwise.
    SecretText {
        /// Which of the source's secrets, from 0.
        index: usize,
        /// How the sender's differs.
        how: TextChange,
    },
    /// The sender reads the same secret in another form.
    SecretForm {
        /// Which of the source's secrets, from 0.
        index: usize,
        /// As the scheme reads it.
        configured: KeyForm,
        /// As the sender does.
        used: KeyForm,
    },
    /// The signature is right, and written otherwise.
    SignatureEncoding {
        /// As the scheme has it.
        configured: Encoding,
        /// As it was sent.
        used: Encoding,
    },
    /// The signature is right, and stands otherwise in its place.
    SignatureFormat {
        /// As the scheme has it.
        configured: SignatureFormat,
        /// As it was sent.
        found: SignatureFormat,
    },
    /// The sender signs with another hash.
    Hash {
        /// As the scheme has it.
        configured: Hash,
        /// The sender's.
        used: Hash,
    },
    /// The body was changed between the signature and the door.
    Body {
        /// In which way.
        change: BodyChange,
    },
    /// The sender signs another URL.
    Url {
        /// Which parts of it differ from the configured one.
        parts: Vec<UrlPart>,
        /// The one that was signed, without its query.
        signed: String,
    },
    /// It is signed by another scheme of the same vendor, or by an older one.
    OtherScheme {
        /// What people call it.
        title: &'static str,
        /// Its preset, if there is one.
        provider: Option<&'static str>,
    },
    /// It is for another source.
    OtherSource {
        /// That one's name.
        name: String,
    },
    /// It is signed with the secret of another source.
    OtherSecret {
        /// That one's name.
        name: String,
    },
    /// It is from another provider.
    OtherProvider {
        /// What people call it.
        title: &'static str,
        /// Its preset.
        provider: &'static str,
    },
    /// What was sent in the place of the secret is none that is known.
    UnknownCredential,
    /// It is about a key that its provider keeps.
    Key(KeyCause),
    /// The provider offers the secret, and has not yet.
    NoSecretOffered,
    /// By their dates, none of the secrets counted when the request was received.
    NoSecretCounts,
    /// The body was too large to be kept, or could not be kept without a secret in it.
    BodyNotKept,
    /// Nothing that was tried makes the signature right.
    Unexplained,
}

/// A cause in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Explanation {
    /// The cause as a stable word.
    pub cause: &'static str,
    /// Whether it is known why.
    pub explained: bool,
    /// What is wrong, in one sentence.
    pub why: String,
    /// What to do, in one sentence.
    pub advice: String,
}

impl Cause {
    /// The cause as a stable word.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Verifies => "verifies_now",
            Self::Handshake => "handshake",
            Self::HandshakeWord { .. } => "handshake_word",
            Self::NotSigned { .. } => "not_signed",
            Self::SentTwice { .. } => "sent_twice",
            Self::Clock { .. } => "clock_skew",
            Self::TimestampUnit { .. } => "timestamp_unit",
            Self::NoEventId => "no_event_id",
            Self::Malformed { .. } => "malformed",
            Self::SecretDate { .. } => "secret_date",
            Self::SecretText { .. } => "secret_text",
            Self::SecretForm { .. } => "secret_form",
            Self::SignatureEncoding { .. } => "signature_encoding",
            Self::SignatureFormat { .. } => "signature_format",
            Self::Hash { .. } => "hash",
            Self::Body { .. } => "body_changed",
            Self::Url { .. } => "public_url",
            Self::OtherScheme { .. } => "other_scheme",
            Self::OtherSource { .. } => "other_source",
            Self::OtherSecret { .. } => "secret_of_other_source",
            Self::OtherProvider { .. } => "other_provider",
            Self::UnknownCredential => "unknown_credential",
            Self::Key(cause) => cause.code(),
            Self::NoSecretOffered => "no_secret_offered",
            Self::NoSecretCounts => "no_secret_counts",
            Self::BodyNotKept => "body_not_kept",
            Self::Unexplained => "unexplained",
        }
    }

    /// The cause in words.
    #[must_use]
    pub fn explanation(&self) -> Explanation {
        let explained = !matches!(
            self,
            Self::UnknownCredential
                | Self::Key(KeyCause::Unknown { .. } | KeyCause::Unnamed | KeyCause::Unmatched { .. })
                | Self::BodyNotKept
                | Self::Unexplained
        );
        Explanation { cause: self.code(), explained, why: self.why(), advice: self.advice() }
    }

    fn why(&self) -> String {
        match self {
            Self::Verifies => "The request verifies by the present configuration, as of when it was received.".into(),
            Self::Handshake => "The request is a handshake, which is answered and never becomes an event.".into(),
            Self::HandshakeWord { place } => {
                format!("The request is a handshake, and what stands at {place} is not the source's verify_token.")
            }
            Self::NotSigned { place } => format!("The request carries no signature: there is nothing at {place}."),
            Self::SentTwice { place } => format!("The value at {place} was sent more than once."),
            Self::Clock { age, tolerance } => clock(*age, *tolerance),
            Self::TimestampUnit { configured, sent } => {
                format!("The signature is right, but its time is written in {sent} and read as {configured}.")
            }
            Self::NoEventId => "The request has no event id where its provider puts one.".into(),
            Self::Malformed { what } => format!("The request cannot be read: {what}."),
            Self::SecretDate { index, validity: Validity { not_after: Some(end), .. } } => {
                format!("The sender signs with secrets[{index}], which counted until {end}.")
            }
            Self::SecretDate { index, validity: Validity { not_before, .. } } => {
                let begin = not_before.map(|begin| format!(" before {begin}")).unwrap_or_default();
                format!("The sender signs with secrets[{index}], which does not count{begin}.")
            }
            Self::SecretText { index, how } => {
                format!("The sender signs with secrets[{index}] {}.", text_change(*how))
            }
            Self::SecretForm { index, configured, used } => {
                format!("The sender takes secrets[{index}] as {used}, and this source takes it as {configured}.")
            }
            Self::SignatureEncoding { configured, used } => {
                format!("The signature is right, but written in {used} where {configured} is expected.")
            }
            Self::SignatureFormat { configured, found } => {
                format!("The signature is right, but stands there as {found} where {configured} is expected.")
            }
            Self::Hash { configured, used } => {
                format!("The sender signs with {used}, and this source's scheme is {configured}.")
            }
            Self::Body { change } => format!("The body was changed after it was signed: {}.", body_change(*change)),
            Self::Url { parts, signed } => {
                format!("The sender signs another URL, {signed}: {} not as configured.", differ(parts))
            }
            Self::OtherScheme { title, .. } => format!("The request is signed by another scheme: {title}."),
            Self::OtherSource { name } => format!("The request is meant for the source {name}: it is right there."),
            Self::OtherSecret { name } => format!("The request is signed with the secret of the source {name}."),
            Self::OtherProvider { title, .. } => {
                format!("The request is signed with this source's secret, but in the way of {title}.")
            }
            Self::UnknownCredential => {
                "What was sent in the place of the secret is none of the live secrets, however written.".into()
            }
            Self::Key(cause) => cause.why(),
            Self::NoSecretOffered => "The provider has not offered this source's secret yet.".into(),
            Self::NoSecretCounts => "None of the source's secrets counted when the request came.".into(),
            Self::BodyNotKept => "The body was not kept, so its signature cannot be tried.".into(),
            Self::Unexplained => {
                "Nothing explains it: no secret that is configured makes this signature by any known mistake.".into()
            }
        }
    }

    fn advice(&self) -> String {
        match self {
            Self::Verifies => "Let it in with `tidegate rejected release`.".into(),
            Self::Handshake => "Have the provider ask again: nobody waits for the answer to this one any more.".into(),
            Self::HandshakeWord { .. } => {
                "Give both sides the same word, at the provider and as verify_token here, and have it ask again.".into()
            }
            Self::NotSigned { .. } => {
                "Set the secret at the sender so that it signs, or take it for somebody else's request.".into()
            }
            Self::SentTwice { .. } => "Look for a proxy that adds the value again, and have it sent once.".into(),
            Self::Clock { age, .. } => clock_advice(*age),
            Self::TimestampUnit { sent, .. } => {
                format!(
                    "Have the sender write the other unit, or spell the scheme out with timestamp_unit = {:?}.",
                    sent.as_str()
                )
            }
            Self::NoEventId => {
                "Look whether a proxy drops the header with the id, or whether it is a test message.".into()
            }
            Self::Malformed { .. } => {
                "Compare it with what the provider documents, and with what a proxy changes.".into()
            }
            Self::SecretDate { .. } => {
                "Move the secret's not_before or not_after, or have the sender sign with one that counts.".into()
            }
            Self::SecretText { .. } => {
                "Give both sides the same text: copy the secret again, without anything around it.".into()
            }
            Self::SecretForm { used, .. } => {
                spelled_out("Look which form the provider documents", "key", used.as_str())
            }
            Self::SignatureEncoding { used, .. } => spelled_out(RIGHT_PRESET, "encoding", used.as_str()),
            Self::SignatureFormat { found, .. } => spelled_out(RIGHT_PRESET, "format", &found.to_string()),
            Self::Hash { used, .. } => spelled_out("Choose the other hash at the sender", "hash", used.as_str()),
            Self::Body { .. } => {
                "Have whatever stands between the sender and Tidegate pass the body on byte for byte.".into()
            }
            Self::Url { .. } => {
                "Set source.url (or ingest.public_url) to the URL that the provider was given, letter by letter.".into()
            }
            Self::OtherScheme { provider: Some(provider), .. } | Self::OtherProvider { provider, .. } => {
                format!("Set provider = {provider:?} for this source, or choose this source's scheme at the sender.")
            }
            Self::OtherScheme { provider: None, .. } => {
                "Choose this source's scheme at the sender: the one that it used is not accepted.".into()
            }
            Self::OtherSource { name } => format!("Have the sender call /webhooks/{name}."),
            Self::OtherSecret { name } => {
                format!("Look whether the secrets of this source and of {name} were mixed up.")
            }
            Self::UnknownCredential => {
                "Copy the secret from the sender again; if it is right there, the request is somebody else's.".into()
            }
            Self::Key(cause) => cause.advice(),
            Self::NoSecretOffered => {
                "Make the webhook at the provider anew, so that it offers its secret to this source.".into()
            }
            Self::NoSecretCounts => {
                "Give the source a secret whose not_before and not_after leave that time between them.".into()
            }
            Self::BodyNotKept => "Have the sender send it again, and look at a smaller one.".into(),
            Self::Unexplained => {
                "Copy the secret from the sender again; if it is right, the request is forged or was changed.".into()
            }
        }
    }
}

fn clock(age: SignedDuration, tolerance: Duration) -> String {
    let (seconds, allowed) = (age.as_secs().unsigned_abs(), tolerance.as_secs());
    let when = if age.is_negative() { "after" } else { "before" };
    format!(
        "The signature is right, but its time is {seconds} s {when} the request came; at most {allowed} s are taken."
    )
}

fn clock_advice(age: SignedDuration) -> String {
    if !age.is_negative() {
        return "Set both clocks by NTP; if the sender's retries are that late, raise the source's tolerance.".into();
    }
    let seconds = age.as_secs().unsigned_abs();
    format!(
        "Compare this machine's clock and the sender's with the right time and set the wrong one by NTP; if that cannot be \
         done, raise the source's tolerance above {seconds} s."
    )
}

/// The advice for what a preset fixes and a scheme that is spelled out does not.
fn spelled_out(first: &str, key: &str, value: &str) -> String {
    format!("{first}; a scheme that is spelled out takes it with {key} = {value:?}.")
}

fn text_change(how: TextChange) -> String {
    match how {
        TextChange::Newline => "and a line feed behind it".into(),
        TextChange::CrLf => "and a carriage return and a line feed behind it".into(),
        TextChange::SpaceBehind => "and a space behind it".into(),
        TextChange::SpaceBefore => "and a space before it".into(),
        TextChange::WithoutPrefix(prefix) => format!("without its prefix {prefix:?}"),
        TextChange::WithPrefix(prefix) => format!("with the prefix {prefix:?} before it"),
        TextChange::Quoted => "with quotes around it".into(),
        TextChange::Unquoted => "without the quotes around it".into(),
    }
}

fn body_change(change: BodyChange) -> &'static str {
    match change {
        BodyChange::NewlineAdded => "a line feed was added at its end",
        BodyChange::NewlineRemoved => "the line feed at its end was taken away",
        BodyChange::CrLfToLf => "its line ends were CR LF, and are LF now",
        BodyChange::LfToCrLf => "its line ends were LF, and are CR LF now",
        BodyChange::Padded => "white space around it was added",
        BodyChange::MarkAdded => "a byte order mark was added",
        BodyChange::MarkRemoved => "its byte order mark was taken away",
        BodyChange::Latin1ToUtf8 => "it was ISO 8859-1, and is UTF-8 now",
        BodyChange::Utf8ToLatin1 => "it was UTF-8, and is ISO 8859-1 now",
        BodyChange::Layout(JsonLayout::Compact) => "its JSON was compact, and is written anew",
        BodyChange::Layout(JsonLayout::Spaced) => "its JSON had spaces after commas and colons, and is written anew",
        BodyChange::Layout(JsonLayout::Indented2) => "its JSON was indented by two spaces, and is written anew",
        BodyChange::Layout(JsonLayout::Indented4) => "its JSON was indented by four spaces, and is written anew",
        BodyChange::Layout(JsonLayout::Tabs) => "its JSON was indented by tabs, and is written anew",
        BodyChange::KeysSorted => "its JSON had the keys in alphabetical order, and is written anew",
        BodyChange::Escapes => "its JSON escaped other characters, and is written anew",
        BodyChange::Empty => "an empty body was signed",
    }
}

fn differ(parts: &[UrlPart]) -> String {
    let names = parts.iter().map(|part| match part {
        UrlPart::Scheme => "http or https",
        UrlPart::Host => "the host",
        UrlPart::Port => "the port",
        UrlPart::Path => "the path",
        UrlPart::Query => "the query",
    });
    let verb = if parts.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", names.collect::<Vec<_>>().join(" and "))
}
