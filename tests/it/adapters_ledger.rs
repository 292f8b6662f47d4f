//! One suite for both adapters of the ledger: what the port promises, each promise by name.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::HeaderMap;
use jiff::Timestamp;
use tempfile::TempDir;
use tidegate_shared::event::{BodyHash, Event, EventId, EventKey, EventType, HandlerName, RequestId, SourceName};
use tidegate_shared::ledger::embedded::EmbeddedLedger;
use tidegate_shared::ledger::postgres::{PostgresLedger, PostgresSettings};
use tidegate_shared::ledger::{
    Applied, Commit, CommitError, DeadLetter, DeadLetterFilter, DeadLetterStatus, Effects, EventFilter, FailedAttempt,
    Kept, Ledger, Migration, Page, Status, StepOutcome, StepRecord, Value, overall_status,
};
use tidegate_shared::store::Store;
use tidegate_shared::tasks::Tasks;
use tidegate_shared::wire::{Message, Progress, WireMessage};

#[path = "adapters_ledger/commits.rs"]
mod commits;
#[path = "adapters_ledger/dead_letters.rs"]
mod dead_letters;
#[path = "adapters_ledger/grants.rs"]
mod grants;
#[path = "adapters_ledger/keyed.rs"]
mod keyed;
#[path = "adapters_ledger/postgres_only.rs"]
mod postgres_only;
#[path = "adapters_ledger/retention.rs"]
mod retention;
#[path = "adapters_ledger/steps.rs"]
mod steps;
#[path = "adapters_ledger/stories.rs"]
mod stories;
#[path = "adapters_ledger/upgrades.rs"]
mod upgrades;
#[path = "adapters_ledger/world.rs"]
mod world;

/// Makes one test of each claim for each adapter.
macro_rules! on_both {
    ($($part:ident::$claim:ident),* $(,)?) => {
        mod embedded { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                let world = super::world::World::embedded().await;
                super::within_a_minute(super::$part::$claim(&world)).await;
                world.finish().await;
            }
        )* }
        mod postgres { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                let world = super::world::World::postgres().await;
                super::within_a_minute(super::$part::$claim(&world)).await;
                world.finish().await;
            }
        )* }
    };
}

async fn within_a_minute(claim: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(60), claim).await.expect("the claim is shown within a minute");
}

on_both! {
    commits::is_applied_once_however_often_it_is_committed,
    commits::is_applied_once_when_a_batch_holds_it_twice,
    commits::another_body_under_an_id_is_told_apart,
    commits::bad_statements_are_refused_alone,
    commits::a_batch_of_nothing_but_bad_statements_is_refused,
    commits::two_ledgers_apply_each_event_once,
    commits::batches_that_deadlock_are_applied_all_the_same,
    commits::parameters_are_bound_by_number,
    stories::an_events_story_shows_in_its_status,
    stories::an_event_is_found_by_key_and_by_id_in_every_source,
    stories::pages_show_every_row_once_newest_first,
    stories::what_failed_is_pending_until_it_is_applied_or_dead,
    dead_letters::a_dead_letter_is_replayed_and_delivered,
    dead_letters::a_replay_that_dies_is_dead_again_under_its_id,
    dead_letters::nothing_is_both_dead_and_applied,
    dead_letters::what_is_discarded_is_never_applied,
    dead_letters::unreadable_messages_are_kept_once_each,
    dead_letters::dead_letters_are_filtered_and_counted,
    steps::steps_are_kept_in_order_and_the_first_record_wins,
    steps::workers_that_race_go_on_with_one_result,
    steps::steps_commit_with_their_inbox_row_or_not_at_all,
    steps::a_commit_that_contradicts_a_recorded_step_is_refused_alone,
    steps::a_compensated_event_shows_as_one,
    keyed::a_key_has_one_owner_and_one_answer,
    keyed::a_lease_that_ended_is_taken_over_and_its_owner_changes_nothing,
    keyed::a_key_that_is_released_or_expired_is_free,
    keyed::many_begins_of_one_key_have_one_owner,
    keyed::a_finish_that_is_refused_keeps_nothing,
    grants::a_grant_is_renewed_lost_and_brought_back,
    grants::of_many_that_renew_a_grant_one_does,
    retention::an_event_that_is_done_is_forgotten_whole_when_it_is_old,
    retention::an_event_with_a_dead_letter_is_kept_until_that_is_forgotten,
    retention::bodies_go_and_what_was_applied_stays_known,
    retention::what_is_kept_does_not_grow_with_what_came,
    commits::migrations_run_once_however_many_try,
}
