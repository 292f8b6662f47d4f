//! Why a request is not answered 2xx: one error for the whole path, which `respond.rs` turns into an answer.

use std::net::IpAddr;
use std::time::Duration;

use tidegate_shared::event::{EventId, SourceName};
use tidegate_shared::queue::PublishError;
use tidegate_shared::signature::VerifyError;
use tidegate_shared::spool::SpoolError;

use crate::admission::Limited;
use crate::claim::ClaimError;
use crate::handshake::HandshakeError;
use crate::keys::KeyError;

/// Why a request is not answered 2xx.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// No source has this name.
    #[error("there is no source {name:?}")]
    UnknownSource {
        /// As it stood in the URL.
        name: String,
    },
    /// The source takes no requests from there; the sender reads the same as if there were no such source.
    #[error("the source takes no requests from {sender}")]
    AddressNotAllowed {
        /// The source.
        name: SourceName,
        /// Who sent it.
        sender: IpAddr,
    },
    /// It comes too soon after others.
    #[error("the {limited} is over its rate limit")]
    RateLimited {
        /// Whose others.
        limited: Limited,
        /// The time until one may come.
        retry_after: Duration,
    },
    /// The source takes POST only.
    #[error("a source takes POST")]
    MethodNotAllowed,
    /// The body is compressed.
    #[error("the body has a content encoding")]
    UnsupportedEncoding,
    /// The body is larger than the limit.
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge {
        /// `ingest.body_limit`, in bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive within {within:?}")]
    BodyTimeout {
        /// `ingest.body_timeout`.
        within: Duration,
    },
    /// The body comes more slowly than it must.
    #[error("the body came at less than {rate_min} bytes a second")]
    BodyTooSlow {
        /// `ingest.body_rate_min`, in bytes a second.
        rate_min: usize,
    },
    /// The connection broke in the middle of the body.
    #[error("the body broke off")]
    BodyBroken(#[source] hyper::Error),
    /// Too many bytes of other requests are held already.
    #[error("too many bytes are in flight")]
    Overloaded,
    /// The key that it is to be verified with is not at hand.
    #[error("the request cannot be verified now")]
    NoKey(#[source] KeyError),
    /// It is a handshake, and what it asks for cannot be done.
    #[error("the handshake is not answered")]
    Handshake(#[source] HandshakeError),
    /// It does not verify.
    #[error("the request does not verify")]
    Unverified(#[source] VerifyError),
    /// The claim could not be made.
    #[error("the event cannot be claimed")]
    Unclaimed(#[source] ClaimError),
    /// Its body is durable under another id, which the signature does not hold, and its source refuses such events.
    #[error("the body of {event_id:?} was received before as {first:?}: possibly a replay")]
    Replayed {
        /// The id that it came with.
        event_id: EventId,
        /// The id under which the body came first.
        first: EventId,
    },
    /// The queue did not confirm.
    #[error("the event is not known to be durable")]
    NotDurable(#[source] PublishError),
    /// The queue did not confirm, and the spool did not keep it either.
    #[error("the event is not in the spool, and {unpublished}")]
    NotSpooled {
        /// What the queue said.
        unpublished: PublishError,
        /// What the spool said.
        #[source]
        spool: SpoolError,
    },
    /// The work of this request was lost: a panic, or the end of the process.
    #[error("the request was abandoned")]
    Abandoned,
}

impl IngestError {
    /// Whether it is about an event that was verified.
    pub(crate) fn is_of_a_signed_event(&self) -> bool {
        matches!(self, Self::Replayed { .. } | Self::Unclaimed(_) | Self::NotDurable(_) | Self::NotSpooled { .. })
    }
}
