//! How each type of setting is written.

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use url::Url;

use super::reader::Setting;
use super::{OAuthClientAuth, OnBrokerDown, OnReplay, OnUnavailable, PublisherKind};
use crate::event::{Currency, HandlerName, SourceName};
use crate::pattern::Pattern;
use crate::signature::Secret;

macro_rules! setting {
    ($type:ty, $expected:literal, $from:expr) => {
        impl Setting for $type {
            const EXPECTED: &'static str = $expected;
            fn from_text(text: &str) -> Result<Self, String> {
                let from: fn(&str) -> Result<Self, String> = $from;
                from(text)
            }
        }
    };
}

fn quiet<T, E>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|_| String::new())
}

fn explained<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

setting!(String, "text", |text| Ok(text.to_owned()));
setting!(bool, "true or false", |text| quiet(text.parse()));
setting!(SocketAddr, "an address with a port, such as \"127.0.0.1:3000\"", |text| quiet(text.parse()));
setting!(usize, "a whole number from 0", |text| quiet(text.parse()));
setting!(NonZeroUsize, "a whole number from 1", |text| quiet(text.parse()));
setting!(NonZeroU32, "a whole number from 1", |text| quiet(text.parse()));
setting!(NonZeroU16, "a whole number from 1 to 65535", |text| quiet(text.parse()));
setting!(PathBuf, "a path", |text| Ok(text.into()));
setting!(SourceName, "1 to 64 of a-z, 0-9, '-' and '_'", |text| quiet(Self::try_new(text)));
setting!(HandlerName, "1 to 64 of a-z, 0-9, '-' and '_'", |text| quiet(Self::try_new(text)));
setting!(Currency, "a currency of ISO 4217, such as \"EUR\"", |text| quiet(Self::try_new(text)));
setting!(Pattern, "a pattern of events", |text| explained(Self::try_new(text)));
setting!(Url, "an http:// or https:// URL", |text| {
    let url = quiet(Self::parse(text))?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() { Ok(url) } else { Err(String::new()) }
});
setting!(Timestamp, "a time with its zone, such as \"2026-12-01T00:00:00Z\"", |text| quiet(text.parse()));
setting!(Duration, "a duration such as \"30s\", \"10m\" or \"7d\"", |text| {
    // A bare number has no unit, and would be read differently by everyone.
    let duration = quiet(humantime::parse_duration(text))?;
    if duration.is_zero() { Err("it must be longer than zero".to_owned()) } else { Ok(duration) }
});

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteCount(pub usize);
setting!(ByteCount, "a size such as \"1MiB\" or \"64KiB\"", |text| {
    let size: bytesize::ByteSize = quiet(text.parse())?;
    match usize::try_from(size.as_u64()) {
        Ok(bytes) if bytes > 0 => Ok(Self(bytes)),
        Ok(_) | Err(_) => Err(String::new()),
    }
});

impl Setting for Secret {
    const EXPECTED: &'static str = "a secret, best given as \"env:NAME\"";
    const SHOWN: bool = false;
    const LITERAL_WARNED: bool = true;
    fn from_text(text: &str) -> Result<Self, String> {
        if text.trim() != text {
            return Err("it begins or ends with white space".to_owned());
        }
        Ok(Self::new(text.to_owned()))
    }
}

/// The URL of a server, which may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl(String);

impl ServerUrl {
    /// The URL with its password: for the client library only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerUrl(***)")
    }
}

impl Setting for ServerUrl {
    const EXPECTED: &'static str = "a server's URL, such as \"amqp://…\", \"redis://…\" or \"postgres://…\"";
    const SHOWN: bool = false;
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

/// A duration, or none at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrOff(pub Option<Duration>);
setting!(OrOff, "a duration such as \"30s\", or \"off\"", |text| {
    if text == "off" { Ok(Self(None)) } else { Duration::from_text(text).map(|duration| Self(Some(duration))) }
});

/// A part of a whole: over 0, up to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio(pub f64);
setting!(Ratio, "a number over 0, up to 1", |text| {
    let ratio: f64 = quiet(text.parse())?;
    if ratio > 0.0 && ratio <= 1.0 { Ok(Self(ratio)) } else { Err(String::new()) }
});

/// How often something may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So many times,
    pub count: NonZeroU32,
    /// in this time.
    pub per: Duration,
}
setting!(Rate, "a rate such as \"60/min\"; per s, min, h or d", |text| {
    let (count, unit) = text.split_once('/').ok_or_else(String::new)?;
    let seconds = match unit.trim() {
        "s" | "sec" | "second" => 1,
        "m" | "min" | "minute" => 60,
        "h" | "hour" => 3_600,
        "d" | "day" => 86_400,
        _ => return Err(String::new()),
    };
    Ok(Self { count: quiet(count.trim().parse())?, per: Duration::from_secs(seconds) })
});

/// A path of an API; `*` stands for any text, slashes included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern(String);
setting!(PathPattern, "a path such as \"/v6/*\"", |text| {
    if text.starts_with('/') { Ok(Self(text.to_owned())) } else { Err(String::new()) }
});

impl PathPattern {
    /// Its length: the longer, the fewer paths are meant.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Says whether `path` is meant.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| path.strip_prefix(first)) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

impl Setting for OAuthClientAuth {
    const EXPECTED: &'static str = "\"header\" or \"body\"";
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "header" => Ok(Self::Header),
            "body" => Ok(Self::Body),
            _ => Err(String::new()),
        }
    }
}

impl Setting for OnUnavailable {
    const EXPECTED: &'static str = "\"accept\" or \"reject\"";
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "accept" => Ok(Self::Accept),
            "reject" => Ok(Self::Reject),
            _ => Err(String::new()),
        }
    }
}

impl Setting for PublisherKind {
    const EXPECTED: &'static str = "\"lapin\" or \"direct\"";
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "lapin" => Ok(Self::Lapin),
            "direct" => Ok(Self::Direct),
            _ => Err(String::new()),
        }
    }
}

impl Setting for OnBrokerDown {
    const EXPECTED: &'static str = "\"reject\" or \"spool\"";
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "reject" => Ok(Self::Reject),
            "spool" => Ok(Self::Spool),
            _ => Err(String::new()),
        }
    }
}

impl Setting for OnReplay {
    const EXPECTED: &'static str = "\"count\", \"reject\" or \"off\"";
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "count" => Ok(Self::Count),
            "reject" => Ok(Self::Reject),
            "off" => Ok(Self::Off),
            _ => Err(String::new()),
        }
    }
}
