//! `POST /v1/dead-letters/replay` and `/discard`: many dead letters at once.
//!
//! A replay puts the message into its handler's queue, and only after the queue's confirm marks the dead letter as
//! replayed. A crash between the two replays it again: the inbox applies it once. An applied event stays applied.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use serde::{Deserialize, Serialize};
use tidegate_shared::event::HandlerName;
use tidegate_shared::ledger::{DeadLetterCount, DeadLetterDetail, DeadLetterFilter, DeadLetterStatus, Page};
use tidegate_shared::problem::Problem;
use tidegate_shared::queue::PublishError;
use tidegate_shared::wire::WireMessage;
use utoipa::ToSchema;

use super::query::{LIMIT_MAX, filter};
use super::{Admin, AdminError};

/// Dead letters of one request where no limit is given: a request should not take minutes.
const LIMIT_USUAL: u32 = 100;

/// Which dead letters. All of them if nothing is said, which takes `"all": true`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Selection {
    /// Only these.
    #[serde(default)]
    ids: Vec<String>,
    /// Of this handler only.
    handler: Option<String>,
    /// Of this source only.
    source: Option<String>,
    /// Given up at or after this time.
    #[schema(format = DateTime)]
    since: Option<String>,
    /// Given up before this time.
    #[schema(format = DateTime)]
    until: Option<String>,
    /// Every one: needed where nothing else is said.
    #[serde(default)]
    all: bool,
    /// Only say what would be done.
    #[serde(default)]
    dry_run: bool,
    /// At most so many of them now; for a replay, 100 where nothing is said.
    limit: Option<u32>,
}

/// What is or would be replayed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Replayed {
    dry_run: bool,
    /// Dead letters that the selection met at the beginning.
    matched: u64,
    by_handler: Vec<DeadLetterCount>,
    replayed: u64,
    /// Those that cannot be replayed, with the reason: their handler is gone, for example.
    skipped: Vec<Skipped>,
    /// Still to be replayed: ask again with the same selection.
    remaining: u64,
}

/// A dead letter that stays where it is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Skipped {
    id: String,
    reason: String,
}

/// What was discarded.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Discarded {
    dry_run: bool,
    matched: u64,
    by_handler: Vec<DeadLetterCount>,
    discarded: u64,
}

impl Selection {
    fn filter(&self) -> Result<DeadLetterFilter, AdminError> {
        let narrowed = !self.ids.is_empty()
            || [&self.handler, &self.source, &self.since, &self.until].into_iter().any(Option::is_some);
        if !narrowed && !self.all {
            let message = "say which: ids, handler, source, since or until; or \"all\": true for every one";
            return Err(AdminError::BadRequest(message.to_owned()));
        }
        filter(
            self.ids.clone(),
            self.handler.as_deref(),
            self.source.as_deref(),
            self.since.as_deref(),
            self.until.as_deref(),
        )
    }
}

/// Puts dead letters back into their handlers' queues.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/replay",
    tag = "admin",
    operation_id = "replay_dead_letters",
    request_body = Selection,
    responses(
        (status = 200, description = "What was replayed.", body = Replayed),
        (status = 400, description = "`bad_request`: the selection is wrong.", body = Problem),
        (status = 401, description = "`unauthorized`: not the admin token.", body = Problem),
        (status = 503, description = "`unavailable`: ledger or queue cannot be reached; what was done stays done.", body = Problem)
    ),
    security((), ("admin_token" = []))
)]
pub(super) async fn replay(
    State(admin): State<Arc<Admin>>,
    selection: Result<Json<Selection>, JsonRejection>,
) -> Result<Json<Replayed>, AdminError> {
    let Json(selection) = selection.map_err(|error| AdminError::BadRequest(error.body_text()))?;
    let filter = selection.filter()?;
    let by_handler = admin.parts.ledger.count_dead_letters(filter.clone()).await?;
    let matched = by_handler.iter().map(|count| count.count).sum();
    let (mut replayed, mut skipped) = (0, Vec::new());
    if !selection.dry_run {
        let limit = selection.limit.unwrap_or(LIMIT_USUAL).clamp(1, LIMIT_MAX);
        for letter in admin.parts.ledger.dead_letters(filter, Page { limit, after: None }).await? {
            match replay_one(&admin, &letter.id).await? {
                None => replayed += 1,
                Some(reason) => skipped.push(Skipped { id: letter.id, reason }),
            }
        }
    }
    let remaining = u64::saturating_sub(matched, replayed + skipped.len() as u64);
    Ok(Json(Replayed { dry_run: selection.dry_run, matched, by_handler, replayed, skipped, remaining }))
}

/// Takes dead letters off the list for good: their events are never applied by those handlers.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/discard",
    tag = "admin",
    operation_id = "discard_dead_letters",
    request_body = Selection,
    responses(
        (status = 200, description = "What was discarded.", body = Discarded),
        (status = 400, description = "`bad_request`: the selection is wrong.", body = Problem),
        (status = 401, description = "`unauthorized`: not the admin token.", body = Problem),
        (status = 503, description = "`unavailable`: the ledger cannot be reached; what was done stays done.", body = Problem)
    ),
    security((), ("admin_token" = []))
)]
pub(super) async fn discard(
    State(admin): State<Arc<Admin>>,
    selection: Result<Json<Selection>, JsonRejection>,
) -> Result<Json<Discarded>, AdminError> {
    let Json(selection) = selection.map_err(|error| AdminError::BadRequest(error.body_text()))?;
    let filter = selection.filter()?;
    let by_handler = admin.parts.ledger.count_dead_letters(filter.clone()).await?;
    let matched = by_handler.iter().map(|count| count.count).sum();
    let discarded = if selection.dry_run { 0 } else { admin.parts.ledger.discard(filter).await? };
    Ok(Json(Discarded { dry_run: selection.dry_run, matched, by_handler, discarded }))
}

/// Replays one dead letter, or says why that one cannot be replayed.
async fn replay_one(admin: &Admin, id: &str) -> Result<Option<String>, AdminError> {
    let letter = match admin.parts.ledger.dead_letter_by_id(id.to_owned()).await? {
        Some(letter) if letter.status == DeadLetterStatus::Dead => letter,
        Some(_) | None => return Ok(Some("it is not dead any more".to_owned())),
    };
    let Ok(handler) = HandlerName::try_new(&letter.row.handler) else {
        return Ok(Some(format!("{:?} is no handler's name", letter.row.handler)));
    };
    let attempts = letter.row.attempts;
    match admin.parts.queue.deliver(&handler, &replayed_message(letter)).await {
        Ok(()) => {}
        // Of this letter, and for good: the others must not wait for it.
        Err(PublishError::Refused(reason)) => return Ok(Some(reason)),
        Err(error) => return Err(AdminError::Unavailable(format!("dead letter {id} was not replayed: {error}"))),
    }
    tracing::info!(id, %handler, "dead letter replayed");
    metrics::counter!("tidegate_replays_total", "handler" => handler.to_string()).increment(1);
    // Not marked means that the handler was faster: the dead letter is delivered already, or dead again.
    let marked = admin.parts.ledger.mark_replayed(id.to_owned(), attempts).await?;
    tracing::debug!(id, marked, "dead letter in its queue");
    Ok(None)
}

/// The message as it was, on a new ladder.
fn replayed_message(letter: DeadLetterDetail) -> WireMessage {
    let mut message = letter.message;
    message.set_progress(&letter.progress.replayed(&letter.row.id));
    message
}
