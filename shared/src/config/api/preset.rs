//! The APIs that need little configuration: what is known of each.

use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

/// A ready-made client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiPreset {
    /// <https://openweathermap.org/current>
    OpenWeatherMap,
    /// <https://www.exchangerate-api.com/docs/free>: exchange rates without a key.
    OpenErApi,
    /// <https://www.exchangerate-api.com/docs/standard-requests>
    ExchangeRateApi,
    /// <https://docs.github.com/en/rest>
    GitHub,
}

impl ApiPreset {
    /// Every preset.
    pub const ALL: [Self; 4] = [Self::OpenWeatherMap, Self::OpenErApi, Self::ExchangeRateApi, Self::GitHub];

    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenWeatherMap => "openweathermap",
            Self::OpenErApi => "open-er-api",
            Self::ExchangeRateApi => "exchangerate-api",
            Self::GitHub => "github",
        }
    }

    /// Says whether it answers exchange rates.
    #[must_use]
    pub fn has_rates(self) -> bool {
        matches!(self, Self::OpenErApi | Self::ExchangeRateApi)
    }

    pub(super) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }

    pub(super) fn base_url(self) -> &'static str {
        match self {
            Self::OpenWeatherMap => "https://api.openweathermap.org",
            Self::OpenErApi => "https://open.er-api.com",
            Self::ExchangeRateApi => "https://v6.exchangerate-api.com",
            Self::GitHub => "https://api.github.com",
        }
    }

    /// Where its key goes, as `auth` says it.
    pub(super) fn auth(self) -> &'static str {
        match self {
            Self::OpenWeatherMap => "query:appid",
            Self::OpenErApi => "none",
            Self::ExchangeRateApi | Self::GitHub => "bearer",
        }
    }

    pub(super) fn needs_key(self) -> bool {
        matches!(self, Self::OpenWeatherMap | Self::ExchangeRateApi)
    }

    /// How often its answers change.
    pub(super) fn ttl(self) -> Duration {
        match self {
            Self::OpenWeatherMap => HOUR / 6,
            Self::OpenErApi | Self::ExchangeRateApi => HOUR,
            Self::GitHub => HOUR / 12,
        }
    }
}
