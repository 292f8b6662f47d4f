//! Reads one `[[source]]`: whose requests it takes, and how they are proven.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::admission::read_source_admission;
use super::reader::{Section, nearest};
use super::signature::read_signature;
use super::{OnBrokerDown, SourceConfig};
use crate::event::SourceName;
use crate::provider::{HMAC, Preset, preset, presets};
use crate::signature::{PublicUrl, Scheme, SchemeError, Secret, SecretError, Verifier};

/// A secret of this length or less could be guessed from one captured request; shorter than 24 is worth a warning.
const SECRET_ADVISED: usize = 24;
const DAY: Duration = Duration::from_secs(86_400);

/// Reads a source; `public_url` is the ingest's, for providers that sign the URL that they call.
pub(super) fn read_source(section: &Section<'_>, name: SourceName, public_url: Option<&Url>) -> Option<SourceConfig> {
    let provider: Option<String> = section.required("provider");
    let signature = section.section("signature");
    let scheme = provider.as_deref().and_then(|provider| scheme(section, &signature, provider));
    let has_secrets = scheme.as_ref().is_none_or(|scheme| scheme.kind.has_secrets());
    let secrets: Option<Vec<Secret>> = if has_secrets {
        section.required_list("secrets")
    } else {
        section.list("secrets").or_else(|| Some(Vec::new()))
    };
    let dedup_window = section.or("dedup_window", 4 * DAY);
    let on_broker_down = section.or("on_broker_down", OnBrokerDown::Reject);
    let admission = read_source_admission(section);
    signature.finish();
    // As it is written, since that is what the provider signs.
    let url = section.get::<Url>("url").and_then(|_| section.get::<String>("url"));
    let setting = section.get::<String>("setting");
    let scheme = with_tolerance(section, scheme?);
    let scheme = with_own_values(section, scheme, (url, public_url), setting);
    let counters = provider.as_deref().and_then(preset).map_or(&[][..], |preset| preset.counters);
    let secrets = secrets?;
    let can_be_guessed = |secret: &Secret| secret.expose().len() < SECRET_ADVISED;
    if !scheme.kind.has_public_keys() && secrets.iter().any(can_be_guessed) {
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
                admission,
                counters,
            })
        }
        Err(error) => {
            section.mistake(key_of(&error), error.to_string());
            None
        }
    }
}

/// Which of the source's keys an error is about.
fn key_of(error: &SecretError) -> &'static str {
    if *error == SecretError::Scheme(SchemeError::NoUrl) {
        "url"
    } else if *error == SecretError::Scheme(SchemeError::NoSetting) {
        "setting"
    } else {
        "secrets"
    }
}

fn scheme(section: &Section<'_>, signature: &Section<'_>, provider: &str) -> Option<Scheme> {
    if provider == HMAC {
        if !signature.is_present() {
            section
                .mistake("signature", "missing; provider \"hmac\" spells the scheme out in [source.signature]".into());
        }
        return read_signature(signature);
    }
    if signature.is_present() {
        section.mistake("signature", format!("provider {provider:?} has its own scheme; use provider = \"hmac\""));
    }
    let found = preset(provider);
    if found.is_none() {
        let names = || presets().map(|preset| preset.name).chain([HMAC]);
        let hint = match nearest(provider, names()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("known: {}", names().collect::<Vec<_>>().join(", ")),
        };
        section.mistake("provider", format!("no provider is called {provider:?}; {hint}"));
    }
    found.map(Preset::scheme)
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

/// What only the source can tell: the URL that its provider calls, and the provider's own value.
fn with_own_values(
    section: &Section<'_>,
    scheme: Scheme,
    (url, public_url): (Option<String>, Option<&Url>),
    setting: Option<String>,
) -> Scheme {
    if url.is_some() && !scheme.signs_url() {
        section.mistake("url", "this provider does not sign the URL that it calls".into());
    }
    if setting.is_some() && !scheme.takes_setting() {
        section.mistake("setting", "this provider signs no value of its own".into());
    }
    let url = url.map(PublicUrl::Whole).or_else(|| public_url.map(PublicUrl::base)).unwrap_or_default();
    Scheme { url, setting, ..scheme }
}
