//! What publishes to RabbitMQ in a round.

use std::fmt;

use serde::Serialize;

/// What an ingest publishes to RabbitMQ with, `ingest.publisher`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publisher {
    /// The client library.
    Lapin,
    /// A connection of Tidegate's own.
    Direct,
}

impl Publisher {
    /// That of the round with this seed: each has every second round.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        if seed.is_multiple_of(2) { Self::Lapin } else { Self::Direct }
    }

    /// As the configuration has it.
    pub(super) fn setting(self) -> &'static str {
        match self {
            Self::Lapin => "lapin",
            Self::Direct => "direct",
        }
    }
}

/// What published in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum Published {
    /// Nothing: the store of the one process is the queue.
    Embedded,
    /// Ingests of this build, with this.
    By(Publisher),
    /// First an older build's ingests with what they have, which is lapin; then ingests of this build, with this.
    AfterOlderBuild(Publisher),
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("embedded"),
            Self::By(publisher) => f.write_str(publisher.setting()),
            Self::AfterOlderBuild(publisher) => write!(f, "older build, then {}", publisher.setting()),
        }
    }
}

impl From<Published> for String {
    fn from(published: Published) -> Self {
        published.to_string()
    }
}
