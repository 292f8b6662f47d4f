//! Reads one `[[source]]`: whose requests it takes, and how they are proven.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::admission::read_source_admission;
use super::reader::{Section, nearest};
use super::secret::read_secrets;
use super::signature::{read_batch, read_signature};
use super::{OnBrokerDown, OnReplay, SourceConfig};
use crate::event::SourceName;
use crate::provider::{HMAC, Preset, Success, preset, presets};
use crate::random;
use crate::signature::{
    Batch, DatedSecret, Handshake, HandshakeProof, PublicUrl, SECRETS_MAX, Scheme, SchemeError, Secret, SecretError,
    Verifier,
};

/// A secret of this length or less could be guessed from one captured request; shorter than 24 is worth a warning.
const SECRET_ADVISED: usize = 24;
const DAY: Duration = Duration::from_secs(86_400);

/// Reads a source; `public_url` is the ingest's, for providers that sign the URL that they call.
pub(super) fn read_source(section: &Section<'_>, name: SourceName, public_url: Option<&Url>) -> Option<SourceConfig> {
    let provider: Option<String> = section.required("provider");
    let signature = section.section("signature");
    let scheme = provider.as_deref().and_then(|provider| scheme(section, &signature, provider));
    let offered_secret = read_offered_secret(section, scheme.as_ref());
    let secrets = read_secrets(section, scheme.as_ref(), offered_secret.is_some());
    let dedup_window = section.or("dedup_window", 4 * DAY);
    let on_broker_down = section.or("on_broker_down", OnBrokerDown::Reject);
    let known = provider.as_deref().and_then(preset);
    let success = known.map_or_else(|| signature.or("success", Success::Json), |known| known.success);
    let batch = known.map_or_else(|| read_batch(&signature), Preset::batch);
    // What a token holds is proven as a whole.
    let batch = batch.filter(|_| !scheme.as_ref().is_some_and(Scheme::body_is_token));
    let split = read_split(section, batch);
    let verify_token = read_verify_token(section, scheme.as_ref());
    let admission = read_source_admission(section);
    signature.finish();
    // As it is written, since that is what the provider signs.
    let url = section.get::<Url>("url").and_then(|_| section.get::<String>("url"));
    let setting = section.get::<String>("setting");
    let scheme = with_tolerance(section, scheme?);
    let scheme = with_own_values(section, scheme, (url, public_url), setting);
    let counters = known.map_or(&[][..], |preset| preset.counters);
    let secrets = secrets?;
    if offered_secret.is_some() && secrets.len() >= SECRETS_MAX {
        section.mistake("offered_secret", format!("with {} secrets there is no room for it", secrets.len()));
    }
    let replay = read_replay(section, &scheme);
    let can_be_guessed = |dated: &DatedSecret| dated.secret.expose().len() < SECRET_ADVISED;
    if !scheme.kind.has_public_keys() && secrets.iter().any(can_be_guessed) {
        section.warn("secrets", "a secret is shorter than the 24 bytes that Standard Webhooks asks for");
    }
    match verifier(&scheme, &secrets, offered_secret.is_some(), verify_token.as_ref()) {
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
                replay,
                admission,
                counters,
                success,
                split,
                verify_token,
                offered_secret,
            })
        }
        Err(error) => {
            section.mistake(key_of(&error), error.to_string());
            None
        }
    }
}

fn verifier(
    scheme: &Scheme,
    secrets: &[DatedSecret],
    is_offered: bool,
    verify_token: Option<&Secret>,
) -> Result<Verifier, SecretError> {
    // Until the provider has offered one: a secret that nobody knows.
    let unknown = || Secret::new(hex::encode(random::bytes::<32>()));
    let verifier = if is_offered && secrets.is_empty() {
        Verifier::try_new(scheme.clone(), &[unknown()])?
    } else {
        Verifier::try_new_dated(scheme.clone(), secrets)?
    };
    Ok(match verify_token {
        Some(token) => verifier.with_verify_token(token),
        None => verifier,
    })
}

fn read_offered_secret(section: &Section<'_>, scheme: Option<&Scheme>) -> Option<PathBuf> {
    let path = section.get::<PathBuf>("offered_secret");
    if path.is_some() && !scheme.is_some_and(|scheme| scheme.handshakes.iter().any(Handshake::keeps)) {
        section.mistake("offered_secret", "this provider offers no secret of its own".into());
    }
    path
}

fn read_split(section: &Section<'_>, batch: Option<Batch>) -> Option<Batch> {
    let split = section.or("split", false);
    if split && batch.is_none() {
        section.mistake("split", "a request of this provider is one event".into());
    }
    batch.filter(|_| split)
}

/// The word that handshakes are proven with, where the scheme has such.
fn read_verify_token(section: &Section<'_>, scheme: Option<&Scheme>) -> Option<Secret> {
    let by_word = |known: &Handshake| matches!(known.proof, HandshakeProof::Word(_));
    if scheme.is_some_and(|scheme| scheme.handshakes.iter().any(by_word)) {
        return section.required("verify_token");
    }
    let token = section.get::<Secret>("verify_token");
    if token.is_some() {
        section.mistake("verify_token", "this provider asks for no such word".into());
    }
    token
}

/// What is done about bodies that come again, where that can be told.
fn read_replay(section: &Section<'_>, scheme: &Scheme) -> OnReplay {
    match (section.get("replay"), scheme.leaves_id_open()) {
        (asked, true) => asked.unwrap_or(OnReplay::Count),
        (Some(OnReplay::Count | OnReplay::Reject), false) => {
            section.mistake(
                "replay",
                "nothing to look for: this provider's signature covers the id or a timestamp, or does not cover the body"
                    .into(),
            );
            OnReplay::Off
        }
        (Some(OnReplay::Off) | None, false) => OnReplay::Off,
    }
}

/// Which of the source's keys an error is about.
fn key_of(error: &SecretError) -> &'static str {
    let is = |of: &[SchemeError]| of.iter().any(|of| *error == SecretError::Scheme(*of));
    if is(&[SchemeError::NoUrl]) {
        "url"
    } else if is(&[SchemeError::NoSetting, SchemeError::NoEnvironment, SchemeError::NoApplication]) {
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
