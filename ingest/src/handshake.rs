//! Handshake: does what a provider's question asks for, and then lets the answer go.

use std::sync::Arc;

use http::StatusCode;
use tidegate_shared::guard::{GuardError, PublicClient};
use tidegate_shared::signature::{Deed, Reply, Secret};
use url::Url;

use crate::offered::OfferedError;
use crate::source::Source;

/// Why a handshake is not answered.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The URL that confirms the subscription did not answer.
    #[error("the subscription is not confirmed")]
    Unconfirmed(#[source] GuardError),
    /// It answered something else.
    #[error("the subscription is not confirmed: status {0}")]
    Refused(StatusCode),
    /// The offered secret is not kept.
    #[error(transparent)]
    NotKept(OfferedError),
    /// The work was lost: a panic.
    #[error("the handshake was abandoned")]
    Abandoned,
}

/// Does what must be done before `reply` may be sent.
///
/// # Errors
/// [`HandshakeError`] if that fails: the provider asks again, or the person who made the subscription sees it fail.
pub(crate) async fn shake(source: &Arc<Source>, reply: Reply) -> Result<Reply, HandshakeError> {
    match &reply.deed {
        Deed::Nothing => {}
        Deed::Confirm(url) => confirm(url).await?,
        Deed::Keep(secret) => keep(source, secret.clone()).await?,
    }
    Ok(reply)
}

async fn confirm(url: &Url) -> Result<(), HandshakeError> {
    let client = PublicClient::try_new().map_err(HandshakeError::Unconfirmed)?;
    let answer = client.get(url.as_str()).await.map_err(HandshakeError::Unconfirmed)?;
    if answer.status().is_success() { Ok(()) } else { Err(HandshakeError::Refused(answer.status())) }
}

async fn keep(source: &Arc<Source>, secret: Secret) -> Result<(), HandshakeError> {
    let source = Arc::clone(source);
    let taking = tokio::task::spawn_blocking(move || match &source.offered {
        Some(offered) => {
            offered.take(&source.config, &secret)?;
            tracing::warn!(source = %source.config.name, "a secret was offered and is the source's from now on");
            Ok(())
        }
        None => Err(OfferedError::Unwanted),
    });
    taking.await.map_err(|_| HandshakeError::Abandoned)?.map_err(HandshakeError::NotKept)
}
