//! The queue on RabbitMQ: quorum queues, publisher confirms, connections that come back.
//!
//! A confirm counts only if no message was returned, publishing and consuming have a connection each, an
//! acknowledgement on a channel that is gone is an error, and every kind of trouble ends in one and the same reconnect.
//!
//! Deliberately absent: plugins, `x-death` as a counter, TTL per message, lapin's own recovery.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lapin::uri::AMQPUri;

use super::Topology;
use crate::telemetry::chain;

mod acks;
mod confirms;
mod consumer;
mod direct;
mod link;
mod message;
mod name;
mod outgoing;
mod publisher;
mod publishing;
mod pulse;
mod queue;
mod rung;
mod silence;
mod supervisor;
mod ticket;
mod topology;
mod vital;

pub use consumer::RabbitMqDeliveries;
pub use publisher::{NotOverTls, RabbitMqPublisher};
pub use queue::RabbitMqQueue;
pub use ticket::RabbitMqTicket;

/// Seconds between heartbeats: a silent connection is given up after twice as long. RabbitMQ's guide calls less than 5
/// likely to end connections that are well: <https://www.rabbitmq.com/docs/heartbeats>.
const HEARTBEAT_SECONDS: u16 = 5;
/// Time for a connection to finish what is in flight and to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where RabbitMQ is.
#[derive(Clone)]
pub struct RabbitMqSettings {
    uris: Arc<[AMQPUri]>,
}

/// A URL that does not lead to RabbitMQ. It may hold a password, so that it is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected \"amqp://user:password@host:5672/vhost\" or \"amqps://…\"")]
pub struct InvalidRabbitMqUrl;

impl RabbitMqSettings {
    /// Takes the URLs of a cluster's nodes; they are tried in turn.
    ///
    /// # Errors
    /// If there is none, or one is not an AMQP URL.
    pub fn try_new<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidRabbitMqUrl> {
        let uris: Vec<AMQPUri> = urls.into_iter().map(parse).collect::<Result<_, _>>()?;
        if uris.is_empty() {
            return Err(InvalidRabbitMqUrl);
        }
        Ok(Self { uris: uris.into() })
    }
}

impl fmt::Debug for RabbitMqSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.uris.iter().map(|uri| format!("{}:{}", uri.authority.host, uri.authority.port));
        f.debug_list().entries(hosts).finish()
    }
}

fn parse(url: &str) -> Result<AMQPUri, InvalidRabbitMqUrl> {
    let mut uri: AMQPUri = url.parse().map_err(|_| InvalidRabbitMqUrl)?;
    // The parser takes an IPv6 address for no host at all, and would quietly connect to localhost.
    if let Ok(url) = url::Url::parse(url)
        && let Some(url::Host::Ipv6(address)) = url.host()
    {
        uri.authority.host = address.to_string();
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    Ok(uri)
}

/// The topology could not be deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the topology was not deleted: {0}")]
pub struct DeleteTopologyError(String);

/// Deletes every exchange and queue of the topology, with all that is in them: for tests, and for taking leave.
///
/// # Errors
/// If the broker cannot be reached or refuses.
pub async fn delete_topology(settings: &RabbitMqSettings, topology: &Topology) -> Result<(), DeleteTopologyError> {
    let failed = |error: link::LinkError| DeleteTopologyError(chain(&error).to_string());
    let name = format!("{} delete", topology.namespace);
    let (link, _events) = link::Link::open(&settings.uris[0], &name, &[]).await.map_err(failed)?;
    let deleted = topology::delete(&link.channel, &topology::objects(topology)).await;
    link.close().await;
    deleted.map_err(|refused| failed(refused.into()))
}

/// A number by chance, for spreading things out. Nothing secret hangs on it.
fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_never_shown() {
        let settings = RabbitMqSettings::try_new(["amqp://user:hunter2@mq-1:5673/%2f", "amqp://[::1]/x?heartbeat=3"])
            .expect("valid URLs");
        let shown = format!("{settings:?}");
        assert_eq!(shown, r#"["mq-1:5673", "::1:5672"]"#);
        assert_eq!(settings.uris[0].query.heartbeat, Some(HEARTBEAT_SECONDS));
        assert_eq!(settings.uris[1].query.heartbeat, Some(3));
        assert_eq!(settings.uris[0].vhost, "/");
    }

    #[test]
    fn mistakes_are_refused_without_showing_the_url() {
        for bad in ["http://x", "amqp:hunter2", "hunter2", ""] {
            let error = RabbitMqSettings::try_new([bad]).expect_err("not a URL");
            assert!(!error.to_string().contains("hunter2"));
        }
        assert!(RabbitMqSettings::try_new([]).is_err());
    }
}
