//! Reads a source's secrets, and says what their dates leave open.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::reader::{Section, Setting};
use super::{Config, SourceConfig};
use crate::signature::{DatedSecret, Scheme, Secret, Shift, shifts};

/// How long before the last secret of a source ends its operator is told.
const ENDS_SOON: Duration = Duration::from_secs(7 * 86_400);

/// A public key: as long as a secret and read like one, but no harm in a file that others read.
struct PublicKeyText(Secret);

impl Setting for PublicKeyText {
    const EXPECTED: &'static str = "a public key, as the provider shows it";
    const SHOWN: bool = false;
    fn from_text(text: &str) -> Result<Self, String> {
        Secret::from_text(text).map(Self)
    }
}

impl From<PublicKeyText> for Secret {
    fn from(key: PublicKeyText) -> Self {
        key.0
    }
}

/// The secrets that `scheme` needs; while it is not known, those of most providers. None where one will be offered.
pub(super) fn read_secrets(
    section: &Section<'_>,
    scheme: Option<&Scheme>,
    is_offered: bool,
) -> Option<Vec<DatedSecret>> {
    let has_public_keys = scheme.is_some_and(|scheme| scheme.kind.has_public_keys());
    let is_needed = scheme.is_none_or(Scheme::has_secrets) && !is_offered;
    let secrets = if !is_needed && !section.has("secrets") {
        Vec::new()
    } else if !is_needed {
        section.secrets::<Secret>("secrets")?
    } else if has_public_keys {
        section.required_secrets::<PublicKeyText>("secrets")?
    } else {
        section.required_secrets::<Secret>("secrets")?
    };
    if let Some((from, until)) = gap(&secrets) {
        section.warn("secrets", &format!("none of them counts from {from} to {until}"));
    }
    Some(secrets)
}

/// The first time between two secrets in which none counts.
fn gap(secrets: &[DatedSecret]) -> Option<(Timestamp, Timestamp)> {
    let shifts = shifts(secrets);
    let inner = shifts.windows(2).skip(1).find(|pair| pair[0].live.is_empty())?;
    Some((inner[0].from, inner[1].from))
}

impl SourceConfig {
    /// The secrets that count at `now`.
    pub fn live_secrets(&self, now: Timestamp) -> impl Iterator<Item = &Secret> {
        self.secrets.iter().filter(move |dated| dated.validity.includes(now)).map(|dated| &dated.secret)
    }

    /// Whether it has secrets, and none of them counts at `now`: no request can be verified then.
    #[must_use]
    pub fn lacks_secret(&self, now: Timestamp) -> bool {
        !self.secrets.is_empty() && self.live_secrets(now).next().is_none()
    }
}

impl Config {
    /// What the dates of secrets mean at `now`, where somebody should act.
    #[must_use]
    pub fn dated_warnings(&self, now: Timestamp) -> Vec<String> {
        self.sources.values().flat_map(|source| dated_warnings(source, now)).collect()
    }
}

fn dated_warnings(source: &SourceConfig, now: Timestamp) -> Vec<String> {
    let key = format!("source.{}.secrets", source.name);
    let next = shifts(&source.secrets).into_iter().find(|shift| shift.from > now);
    if source.lacks_secret(now) {
        return vec![match next.filter(|shift| !shift.live.is_empty()) {
            Some(Shift { from, .. }) => {
                format!("{key}: none of them counts before {from}: until then no request can be verified")
            }
            None => format!("{key}: all of them have expired: no request can be verified"),
        }];
    }
    let expired = source.secrets.iter().enumerate().filter_map(|(index, dated)| {
        let end = dated.validity.not_after.filter(|_| dated.validity.is_over(now))?;
        Some(format!("{key}[{index}]: expired at {end}; it can be taken out"))
    });
    let soon = now.checked_add(SignedDuration::try_from(ENDS_SOON).unwrap_or_default()).unwrap_or(Timestamp::MAX);
    let ends = next.filter(|shift| shift.live.is_empty() && shift.from <= soon);
    let ends = ends.map(|shift| format!("{key}: the last that counts ends at {}: add the next one", shift.from));
    expired.chain(ends).collect()
}
