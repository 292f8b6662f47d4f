//! Reads one `[[source]]`: whose requests it takes, and how they are proven.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::reader::{Section, Setting, nearest};
use super::{OnBrokerDown, SourceConfig};
use crate::event::SourceName;
use crate::provider::{HMAC, preset, presets};
use crate::signature::{
    Encoding, Hash, KeyForm, Location, Pairing, Scheme, Secret, SignatureFormat, Template, TimestampFrom,
    TimestampRule, TimestampUnit, Verifier,
};

/// A secret of this length or less could be guessed from one captured request; shorter than 24 is worth a warning.
const SECRET_ADVISED: usize = 24;
const DAY: Duration = Duration::from_secs(86_400);
/// The time in which a signed timestamp counts as fresh where a scheme does not say otherwise.
const TOLERANCE: Duration = Duration::from_secs(300);

pub(super) fn read_source(section: &Section<'_>, name: SourceName) -> Option<SourceConfig> {
    let provider: Option<String> = section.required("provider");
    let signature = section.section("signature");
    let scheme = provider.as_deref().and_then(|provider| scheme(section, &signature, provider));
    let secrets: Option<Vec<Secret>> = section.required_list("secrets");
    let dedup_window = section.or("dedup_window", 4 * DAY);
    let on_broker_down = section.or("on_broker_down", OnBrokerDown::Reject);
    signature.finish();
    let scheme = with_tolerance(section, scheme?);
    let counters = provider.as_deref().and_then(preset).map_or(&[][..], |preset| preset.counters);
    let secrets = secrets?;
    if secrets.iter().any(|secret| secret.expose().len() < SECRET_ADVISED) {
        section.warn("secrets", "a secret is shorter than the 24 bytes that Standard Webhooks asks for");
    }
    match Verifier::try_new(scheme.clone(), &secrets) {
        Ok(verifier) => {
            let verifier = Arc::new(verifier);
            Some(SourceConfig {
                name,
                provider: provider?,
                scheme,
                secrets,
                verifier,
                dedup_window,
                on_broker_down,
                counters,
            })
        }
        Err(error) => {
            section.mistake("secrets", error.to_string());
            None
        }
    }
}

fn scheme(section: &Section<'_>, signature: &Section<'_>, provider: &str) -> Option<Scheme> {
    if provider == HMAC {
        if !signature.is_present() {
            section
                .mistake("signature", "missing; provider \"hmac\" spells the scheme out in [source.signature]".into());
        }
        return read_scheme(signature);
    }
    if signature.is_present() {
        section.mistake("signature", format!("provider {provider:?} has its own scheme; use provider = \"hmac\""));
    }
    let found = preset(provider);
    if found.is_none() {
        let names = || presets().iter().map(|preset| preset.name).chain([HMAC]);
        let hint = match nearest(provider, names()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("known: {}", names().collect::<Vec<_>>().join(", ")),
        };
        section.mistake("provider", format!("no provider is called {provider:?}; {hint}"));
    }
    found.map(|preset| (preset.scheme)())
}

fn read_scheme(section: &Section<'_>) -> Option<Scheme> {
    let template: Option<Field<Template>> = section.required("signed");
    let headers: Option<Vec<Field<HeaderName>>> = section.required_list("header");
    let format = section.or("format", Field(SignatureFormat::Raw)).0;
    let timestamp_headers: Option<Vec<Field<HeaderName>>> = section.list("timestamp_header");
    let unit = section.or("timestamp_unit", Field(TimestampUnit::Seconds)).0;
    let ids: Option<Vec<Field<Location>>> = section.required_list("id");
    let template = template?.0;
    let timestamp = template.has_timestamp().then(|| TimestampRule {
        from: timestamp_headers
            .map_or(TimestampFrom::SignatureHeader, |headers| TimestampFrom::Headers(plain(headers))),
        unit,
        tolerance: TOLERANCE,
    });
    let scheme = Scheme {
        hash: section.or("hash", Field(Hash::Sha256)).0,
        key: section.or("key", Field(KeyForm::Utf8)).0,
        encoding: section.or("encoding", Field(Encoding::Hex)).0,
        event_type: plain(section.list("event_type").unwrap_or_default()),
        pairing: Pairing::Independent,
        signature_headers: plain(headers?),
        id: plain(ids?),
        template,
        format,
        timestamp,
    };
    match scheme.check() {
        Ok(()) => Some(scheme),
        Err(error) => {
            section.mistake("signed", error.to_string());
            None
        }
    }
}

/// The source's own tolerance, where its scheme has a timestamp to judge.
fn with_tolerance(section: &Section<'_>, mut scheme: Scheme) -> Scheme {
    if let Some(tolerance) = section.get::<Duration>("tolerance") {
        match &mut scheme.timestamp {
            Some(rule) => rule.tolerance = tolerance,
            None => section.mistake("tolerance", "this provider signs no timestamp, so nothing can be stale".into()),
        }
    }
    scheme
}

/// A field of a scheme, in the words that the scheme itself reads.
struct Field<T>(T);

fn plain<T>(fields: Vec<Field<T>>) -> Vec<T> {
    fields.into_iter().map(|field| field.0).collect()
}

macro_rules! field {
    ($($type:ty => $expected:literal),* $(,)?) => {$(
        impl Setting for Field<$type> {
            const EXPECTED: &'static str = $expected;
            fn from_text(text: &str) -> Result<Self, String> {
                <$type>::from_str(text).map(Self).map_err(|_| String::new())
            }
        }
    )*};
}
field! {
    Template => "what is signed, such as \"{timestamp}.{body}\"",
    HeaderName => "a header's name",
    SignatureFormat => "\"raw\", \"prefix:sha256=\", \"prefix?:sha256=\", \"kv:t,v1\" or \"versioned:v1\"",
    TimestampUnit => "\"s\", \"ms\" or \"rfc3339\"",
    Location => "\"header:Name\", \"json:/pointer\" or \"body-sha256\"",
    Hash => "\"sha256\", \"sha384\" or \"sha512\"",
    KeyForm => "\"utf8\", \"hex\", \"base64\" or \"whsec\"",
    Encoding => "\"hex\", \"base64\" or \"base64url\"",
}
