//! What the providers signed: the valid vectors of `fixtures/vectors`, each with the source that it is for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Deserialize;
use tidegate_shared::provider::preset;
use tidegate_shared::signature::{Identity, PublicUrl, Scheme, Secret, Verifier, VerifyError};

use crate::reading::{Reading, reading};
use crate::request::Request;

/// A source, and what its provider signed for it.
pub(crate) struct Site {
    /// The preset's name.
    pub(crate) preset: String,
    verifier: Verifier,
    /// Keys that are fetched, by URL or name.
    keys: BTreeMap<String, String>,
    pub(crate) made: Vec<Made>,
}

/// A request that its provider signed.
pub(crate) struct Made {
    pub(crate) request: Request,
    /// When it is fresh.
    pub(crate) now: Timestamp,
    pub(crate) reading: Reading,
}

impl Site {
    /// A source of one signed request.
    pub(crate) fn of(verifier: Verifier, request: Request, now: Timestamp) -> Self {
        let reading = reading(verifier.scheme(), &request);
        let made = vec![Made { request, now, reading }];
        Self { preset: String::new(), verifier, keys: BTreeMap::new(), made }
    }

    /// Verifies as the door does: with the key that the request names, if the provider has it.
    pub(crate) fn verify(&self, request: &Request, now: Timestamp) -> Result<Identity, VerifyError> {
        let received = request.received();
        let key = self.verifier.needs(&received)?.and_then(|location| {
            let got = self.keys.get(location.name().unwrap_or(location.url().as_str()))?;
            location.read(got.as_bytes())
        });
        match key {
            Some(key) => self.verifier.verify_with(&received, now, &key),
            None => self.verifier.verify(&received, now),
        }
    }

    /// Verifies `request`; if it is proven, what its signature covers is what one of `made` covers, and so is the
    /// signature. Says whether it was.
    pub(crate) fn judge<'m>(
        &self,
        request: &Request,
        made: impl IntoIterator<Item = &'m Made>,
        now: Timestamp,
    ) -> bool {
        let scheme = self.verifier.scheme();
        let verdict = self.verify(request, now);
        // An id that is not signed is looked for only in what is proven.
        let is_proven = verdict.is_ok() || (verdict == Err(VerifyError::MissingEventId) && !scheme.template.has_id());
        if let Err(error) = &verdict {
            assert!(!error.to_string().is_empty(), "every refusal says why");
        }
        if !is_proven {
            return false;
        }
        let found = reading(scheme, request);
        let original = made.into_iter().find(|made| found.is_of(&made.reading));
        let shown = || String::from_utf8_lossy(&request.write()).into_owned();
        assert!(original.is_some(), "{}: forged: {verdict:?} for {}", self.preset, shown());
        if let (Ok(identity), Some(ids)) = (&verdict, found.ids()) {
            assert!(ids.any_is(identity.id.as_str().as_bytes()), "{}: an id that is not signed", self.preset);
        }
        true
    }
}

/// One vector; `fixtures/README.md` has its fields.
#[derive(Deserialize)]
struct Vector {
    provider: String,
    secrets: Vec<String>,
    headers: BTreeMap<String, Values>,
    body: Option<String>,
    body_base64: Option<String>,
    now: i64,
    expect: String,
    method: Option<String>,
    url: Option<String>,
    setting: Option<String>,
    #[serde(default)]
    keys: BTreeMap<String, String>,
    tolerance: Option<u64>,
    scheme: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Several(Vec<String>),
}

/// A source for every preset and secret that has a valid vector.
pub(crate) fn sites() -> &'static [Site] {
    static SITES: LazyLock<Vec<Site>> = LazyLock::new(|| {
        let mut sites = BTreeMap::new();
        for vector in vectors() {
            add(&mut sites, &vector);
        }
        sites.into_values().collect()
    });
    &SITES
}

/// The site that a text names: the one of that preset, or any other, always the same.
pub(crate) fn site(name: &str) -> &'static Site {
    let sites = sites();
    let (preset, number) = name.split_once('#').unwrap_or((name, "0"));
    let of_preset: Vec<&Site> = sites.iter().filter(|site| site.preset == preset).collect();
    let number = number.parse().unwrap_or(0_usize);
    match of_preset.get(number.checked_rem(of_preset.len()).unwrap_or(0)) {
        Some(site) => site,
        None => &sites[crc32fast::hash(name.as_bytes()) as usize % sites.len()],
    }
}

/// Everything that the provider of `preset` signed, for whichever of its sources.
pub(crate) fn made_by(preset: &str) -> impl Iterator<Item = &'static Made> {
    sites().iter().filter(move |site| site.preset == preset).flat_map(|site| &site.made)
}

/// What [`site`] finds it by.
pub(crate) fn names() -> impl Iterator<Item = (String, &'static Site)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    sites().iter().map(move |site| {
        let count = counts.entry(&site.preset).or_default();
        *count += 1;
        (format!("{}#{}", site.preset, *count - 1), site)
    })
}

fn vectors() -> Vec<Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/vectors");
    let entries = std::fs::read_dir(folder).expect("the vectors are part of the repository");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a file of the repository").path()).collect();
    files.sort();
    let read = |file| {
        let text = std::fs::read(file).expect("a file of the repository");
        serde_json::from_slice::<Vec<Vector>>(&text).expect("an array of vectors")
    };
    files.iter().flat_map(read).collect()
}

/// Adds the vector to its site, if its provider signed it; the ones that are refused for their secrets have none.
fn add(sites: &mut BTreeMap<String, Site>, vector: &Vector) {
    if vector.expect != "valid" || vector.scheme.is_some() {
        return;
    }
    let Some(scheme) = scheme_of(vector) else { return };
    // The second of two tokens stands in a vector that is refused, and the fuzzer knows all of those.
    if scheme.kind.is_token() && vector.secrets.len() > 1 {
        return;
    }
    let name = provider_of(vector).to_owned();
    let key = format!("{name} {:?} {:?} {:?}", vector.secrets, scheme.url, (&scheme.setting, vector.tolerance));
    let secrets: Vec<Secret> = vector.secrets.iter().cloned().map(Secret::new).collect();
    let Ok(verifier) = Verifier::try_new(scheme, &secrets) else { return };
    let site =
        sites.entry(key).or_insert_with(|| Site { preset: name, verifier, keys: BTreeMap::new(), made: Vec::new() });
    site.keys.extend(vector.keys.clone());
    let request = request_of(vector);
    let now = Timestamp::from_second(vector.now).expect("a time of a vector");
    let verdict = site.verify(&request, now);
    assert!(matches!(verdict, Ok(_) | Err(VerifyError::MissingEventId)), "{}: {verdict:?}", site.preset);
    let reading = reading(site.verifier.scheme(), &request);
    assert!(reading.is_of(&reading), "{}: nothing is read of {request:?}", site.preset);
    site.made.push(Made { request, now, reading });
}

fn provider_of(vector: &Vector) -> &str {
    match vector.provider.as_str() {
        "standard-webhooks" | "svix" if vector.secrets.iter().any(|secret| secret.starts_with("whpk_")) => {
            "standard-webhooks-ed25519"
        }
        "svix" => "standard-webhooks",
        provider => provider,
    }
}

/// The preset's scheme with what only the source can tell.
fn scheme_of(vector: &Vector) -> Option<Scheme> {
    let mut scheme = preset(provider_of(vector))?.scheme();
    if let (Some(rule), Some(seconds)) = (&mut scheme.timestamp, vector.tolerance) {
        rule.tolerance = Duration::from_secs(seconds);
    }
    if scheme.signs_url() {
        scheme.url = vector.url.clone().map_or(PublicUrl::Unknown, PublicUrl::Whole);
    }
    scheme.setting = vector.setting.clone().filter(|_| scheme.takes_setting());
    Some(scheme)
}

fn request_of(vector: &Vector) -> Request {
    let mut headers = HeaderMap::new();
    for (name, values) in &vector.headers {
        let values = match values {
            Values::One(value) => std::slice::from_ref(value),
            Values::Several(values) => values,
        };
        for value in values {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header of a vector");
            headers.append(name, HeaderValue::from_str(value).expect("a value of a vector"));
        }
    }
    let url = vector.url.as_deref().and_then(|url| url::Url::parse(url).ok());
    let target = url.map_or("/".to_owned(), |url| url[url::Position::BeforePath..url::Position::AfterQuery].to_owned());
    let base64 = |text: &String| STANDARD.decode(text).expect("base64 of a vector");
    let body = vector.body.clone().map(String::into_bytes).or_else(|| vector.body_base64.as_ref().map(base64));
    let method = vector.method.as_deref().unwrap_or("POST").parse().expect("a method of a vector");
    Request { method, target, headers, body: body.expect("a vector has a body") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tidegate_shared::provider::presets;

    use super::*;

    #[test]
    fn every_preset_has_a_signed_request() {
        let found: BTreeSet<&str> = sites().iter().map(|site| site.preset.as_str()).collect();
        let missing: Vec<&str> = presets().map(|preset| preset.name).filter(|name| !found.contains(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        let count: usize = sites().iter().map(|site| site.made.len()).sum();
        assert!(count > 400, "{count}");
    }

    #[test]
    fn a_site_is_found_by_its_name() {
        for (name, expected) in names() {
            assert!(std::ptr::eq(site(&name), expected), "{name}");
        }
        assert_eq!(site("github").preset, "github");
    }

    /// A signed request as text is the same request.
    #[test]
    fn what_is_signed_survives_as_text() {
        for site in sites() {
            for made in &site.made {
                let read = Request::read(crate::input::Input::new(&made.request.write()));
                assert!(site.judge(&read, &site.made, made.now), "{}: {read:?}", site.preset);
            }
        }
    }
}
