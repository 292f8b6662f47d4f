//! Whether the node that consumes has a majority of its cluster behind it.
//!
//! A node that was cut off from the others answers heartbeats and keeps its clients, but delivers nothing, and a consumer
//! has nothing to miss: until RabbitMQ 4.2 `pause_minority` has the node let go of them, 4.3 has no such setting. So
//! something is asked of it that takes a majority and changes nothing: a message of a queue that is always empty. To take
//! one is an entry in the queue's log, whatever there is to take.
//!
//! Not a publish, as missing confirms are to an ingest: an alarm keeps a connection that publishes from being read, and
//! this one acknowledges.

use std::time::Duration;

use lapin::Channel;
use lapin::options::BasicGetOptions;

use super::link::{Link, LinkError};
use super::name::short;

/// Between an answer and the next question.
const PULSE_EVERY: Duration = Duration::from_secs(2);
/// Time for an answer. A queue whose leader is lost elects another within it, and answers then.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Why a node is to be left.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("the node does not answer for {queue} within {limit:?}: it may be cut off from its cluster")]
    Silent { queue: String, limit: Duration },
    #[error("the node does not answer for {queue}: it may be cut off from its cluster")]
    Refused {
        queue: String,
        #[source]
        source: lapin::Error,
    },
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Asks again and again, and ends once the node cannot answer.
pub(super) async fn until_lost(link: &Link, queue: &str) -> Lost {
    let channel = match link.open_channel().await {
        Ok(channel) => channel,
        Err(error) => return error.into(),
    };
    loop {
        tokio::time::sleep(PULSE_EVERY).await;
        match tokio::time::timeout(ANSWER_MAX, beat(&channel, queue)).await {
            Ok(Ok(())) => {}
            Ok(Err(source)) => return Lost::Refused { queue: queue.to_owned(), source },
            Err(_) => return Lost::Silent { queue: queue.to_owned(), limit: ANSWER_MAX },
        }
    }
}

async fn beat(channel: &Channel, queue: &str) -> lapin::Result<()> {
    let options = BasicGetOptions { no_ack: true /* nothing to acknowledge: nobody publishes there */ };
    channel.basic_get(short(queue), options).await.map(drop)
}
