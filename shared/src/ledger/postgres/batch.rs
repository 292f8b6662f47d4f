//! A batch of commits, settled: together where that works, and so that no event's bad statements keep another's from
//! committing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::Database;
use super::apply::apply;
use super::fault::{Failed, Fault};
use crate::event::EventKey;
use crate::ledger::{Applied, Commit, CommitError, Statement, Value, statement};
use crate::protocol::is_another_event;

/// Events taken out of a batch, one refusal at a time, before all that are left are tried alone.
const EXCLUDED_MAX: usize = 4;

type Outcome = Result<Applied, CommitError>;

/// Commits each; the answers stand in the order of `commits`.
pub(super) async fn commit(database: &Database, commits: &[Commit]) -> Vec<Outcome> {
    let firsts = firsts(commits);
    let mut outcomes: Vec<Option<Outcome>> = commits.iter().map(forbidden).collect();
    let mut together: Vec<usize> =
        (0..commits.len()).filter(|place| firsts[*place] == *place && outcomes[*place].is_none()).collect();
    together.sort_by_cached_key(|place| lock_order(&commits[*place]));

    let mut alone = Vec::new();
    while !together.is_empty() && alone.len() < EXCLUDED_MAX {
        let batch: Vec<&Commit> = together.iter().map(|place| &commits[*place]).collect();
        match apply(database, &batch).await {
            Ok(applied) => {
                together.drain(..).zip(applied).for_each(|(place, applied)| outcomes[place] = Some(Ok(applied)));
            }
            Err(Failed { fault: Fault::Refused(reason) | Fault::Duplicate(reason), .. }) if together.len() == 1 => {
                together.drain(..).for_each(|place| outcomes[place] = Some(Err(CommitError::Refused(reason.clone()))));
            }
            Err(Failed { fault: Fault::Refused(_) | Fault::Duplicate(_), of: Some(culprit) }) => {
                alone.push(together.remove(culprit))
            }
            // Refused at the COMMIT, by a deferred constraint: it may be anybody's.
            Err(Failed { fault: Fault::Refused(_) | Fault::Duplicate(_), of: None }) => alone.append(&mut together),
            Err(Failed { fault: Fault::Unavailable(reason) | Fault::Again(reason), .. }) => {
                let unavailable = || Some(Err(CommitError::Unavailable(reason.clone())));
                together.drain(..).chain(alone.drain(..)).for_each(|place| outcomes[place] = unavailable());
            }
        }
    }
    alone.append(&mut together);
    one_by_one(database, commits, &alone, &mut outcomes).await;
    answers(commits, &firsts, outcomes)
}

/// Commits each alone. Once the database is gone the rest is not tried: each would wait for it anew.
async fn one_by_one(database: &Database, commits: &[Commit], places: &[usize], outcomes: &mut [Option<Outcome>]) {
    let mut gone = None;
    for place in places {
        let outcome = match &gone {
            Some(reason) => Err(CommitError::Unavailable(String::clone(reason))),
            None => match apply(database, &[&commits[*place]]).await {
                Ok(applied) => Ok(applied.first().copied().unwrap_or(Applied::Before)),
                Err(Failed { fault: Fault::Refused(reason) | Fault::Duplicate(reason), .. }) => {
                    Err(CommitError::Refused(reason))
                }
                Err(failed) => {
                    let reason = failed.fault.into_reason();
                    gone = Some(reason.clone());
                    Err(CommitError::Unavailable(reason))
                }
            },
        };
        outcomes[*place] = Some(outcome);
    }
}

/// What a commit is refused for before a database sees it.
fn forbidden(commit: &Commit) -> Option<Outcome> {
    statement::check(&commit.effects.statements).err().map(|reason| Err(CommitError::Refused(reason)))
}

/// For each commit the place of the first one with its inbox key: itself, but for a redelivery in the same batch.
fn firsts(commits: &[Commit]) -> Vec<usize> {
    let mut by_key: HashMap<(&str, &EventKey, u32), usize> = HashMap::new();
    let mut firsts = Vec::with_capacity(commits.len());
    for (place, commit) in commits.iter().enumerate() {
        let key = (commit.handler.as_str(), &commit.event.key, commit.progress.epoch);
        firsts.push(match by_key.entry(key) {
            Entry::Occupied(found) => *found.get(),
            Entry::Vacant(free) => *free.insert(place),
        });
    }
    firsts
}

/// The answer of each: that of the first with its key. What was applied by the first was applied before by the others,
/// unless they are other events with its id.
fn answers(commits: &[Commit], firsts: &[usize], outcomes: Vec<Option<Outcome>>) -> Vec<Outcome> {
    let mut answers: Vec<Outcome> = Vec::with_capacity(outcomes.len());
    for (place, outcome) in outcomes.into_iter().enumerate() {
        let first = firsts[place];
        let answer = match outcome {
            Some(outcome) => outcome,
            None if first == place => Err(CommitError::Unavailable("the batch left it out".to_owned())),
            None => match &answers[first] {
                // Which of the others stands in the inbox is not known here: asked again, the ledger says.
                Ok(Applied::OtherBody) => Err(CommitError::Unavailable("its twin is another event".to_owned())),
                Ok(Applied::Now | Applied::Before) => {
                    let [applied, came] = [first, place].map(|at| commits[at].event.fingerprint.as_ref());
                    Ok(if is_another_event(applied, came) { Applied::OtherBody } else { Applied::Before })
                }
                Err(CommitError::Unavailable(reason)) => Err(CommitError::Unavailable(reason.clone())),
                Err(CommitError::Refused(reason) | CommitError::Duplicate(reason)) => {
                    Err(CommitError::Refused(reason.clone()))
                }
            },
        };
        answers.push(answer);
    }
    answers
}

/// One statement as a place in the order: its SQL, its texts and bytes, its numbers.
type StatementOrder<'a> = (&'a str, Vec<&'a [u8]>, Vec<i64>);

/// The order in which a batch runs its events, so that two batches lock the rows they share in the same order.
///
/// What many events share is as a rule touched last (a balance, a counter), and is known by its texts (a currency)
/// rather than by its numbers (an amount). Where this guess is wrong the batches deadlock and one is tried again.
fn lock_order(commit: &Commit) -> Vec<StatementOrder<'_>> {
    commit.effects.statements.iter().rev().map(statement_order).collect()
}

fn statement_order(statement: &Statement) -> StatementOrder<'_> {
    let texts = statement.params.iter().filter_map(|value| match value {
        Value::Text(text) => Some(text.as_bytes()),
        Value::Bytes(bytes) => Some(bytes.as_slice()),
        Value::Null | Value::Int(_) | Value::Bool(_) | Value::Float(_) => None,
    });
    let numbers = statement.params.iter().filter_map(|value| match value {
        Value::Int(number) => Some(*number),
        Value::Null | Value::Bool(_) | Value::Float(_) | Value::Text(_) | Value::Bytes(_) => None,
    });
    (&statement.sql, texts.collect(), numbers.collect())
}
