//! The questions of the admin API, as SQL that both databases read.
//!
//! Lists go backwards along `seq`, which only grows, so a page never shows a row twice and needs no offset.

use super::{DeadLetterFilter, EventFilter, PAGE_MAX, Page, Statement, Status, Value};
use crate::event::EventKey;

/// The status of the event `e`, equal to [`super::overall_status`] over its handlers' parts.
///
/// Names that stand both in `handlers` and in the inbox are counted; `replace` changes the list only where it holds the
/// whole name.
const STATUS: &str = "CASE
    WHEN EXISTS (SELECT 1 FROM dead_letters d
                 WHERE d.event_key = e.event_key AND d.status IN ('dead', 'discarded')) THEN 'dead'
    WHEN EXISTS (SELECT 1 FROM attempts a
                 WHERE a.event_key = e.event_key AND NOT EXISTS (
                     SELECT 1 FROM inbox i
                     WHERE i.event_key = a.event_key AND i.handler = a.handler AND i.epoch = a.epoch)) THEN 'retrying'
    WHEN EXISTS (SELECT 1 FROM inbox i WHERE i.event_key = e.event_key AND i.applied_at IS NOT NULL)
     AND (SELECT count(DISTINCT i.handler) FROM inbox i
          WHERE i.event_key = e.event_key AND i.applied_at IS NOT NULL
            AND replace(',' || e.handlers || ',', ',' || i.handler || ',', '') <> ',' || e.handlers || ',')
       = CASE WHEN e.handlers = '' THEN 0
              ELSE length(e.handlers) - length(replace(e.handlers, ',', '')) + 1 END
    THEN CASE WHEN EXISTS (SELECT 1 FROM inbox i WHERE i.event_key = e.event_key AND i.outcome IS NOT NULL)
              THEN 'compensated' ELSE 'applied' END
    ELSE 'accepted' END";

const EVENT: &str =
    "e.seq, e.event_key, e.source, e.event_id, e.event_type, e.received_at, e.request_id, e.handlers, e.content_type";

const DEAD_LETTER: &str = "seq, id, handler, source, event_id, event_type, reason, attempts, dead_at";

/// Events with one id, of all sources, at most: ids are unique within a source but for conflicts.
const SAME_ID_MAX: i64 = 100;

/// SQL under construction: conditions with their parameters.
#[derive(Default)]
pub(super) struct Conditions {
    all: Vec<String>,
    params: Vec<Value>,
}

impl Conditions {
    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.params.push(value.into());
        format!("${}", self.params.len())
    }

    pub(super) fn bind_all(&mut self, values: impl IntoIterator<Item = Value>) -> String {
        let places: Vec<String> = values.into_iter().map(|value| self.bind(value)).collect();
        places.join(", ")
    }

    fn and(&mut self, condition: impl Into<String>) {
        self.all.push(condition.into());
    }

    /// The conditions as a `WHERE` that always stands.
    fn clause(&self) -> String {
        if self.all.is_empty() { "WHERE true".to_owned() } else { format!("WHERE {}", self.all.join(" AND ")) }
    }

    pub(super) fn into_statement(self, sql: String) -> Statement {
        Statement { sql: sql.into(), params: self.params }
    }
}

/// One page of events. Columns: `EVENT`, then the status.
pub(super) fn events(filter: &EventFilter, page: Page) -> Statement {
    let mut conditions = Conditions::default();
    if let Some(source) = &filter.source {
        let place = conditions.bind(source.as_str());
        conditions.and(format!("e.source = {place}"));
    }
    if let Some(after) = page.after {
        let place = conditions.bind(after);
        conditions.and(format!("e.seq < {place}"));
    }
    if let Some(narrow) = filter.status.and_then(narrowing) {
        conditions.and(narrow);
    }
    let inner = format!("SELECT {EVENT}, {STATUS} AS status FROM events e {}", conditions.clause());
    let wanted = filter.status.map_or_else(String::new, |status| {
        let place = conditions.bind(status.as_str());
        format!("WHERE status = {place}")
    });
    let limit = conditions.bind(i64::from(page.limit.min(PAGE_MAX)));
    conditions.into_statement(format!("SELECT * FROM ({inner}) AS s {wanted} ORDER BY seq DESC LIMIT {limit}"))
}

/// What an event with the status must have, where an index can find the few that do.
fn narrowing(status: Status) -> Option<&'static str> {
    match status {
        Status::Dead => {
            Some("e.event_key IN (SELECT event_key FROM dead_letters WHERE status IN ('dead', 'discarded'))")
        }
        Status::Retrying => Some("e.event_key IN (SELECT event_key FROM attempts)"),
        Status::Compensated => Some("e.event_key IN (SELECT event_key FROM steps WHERE outcome = 'rejected')"),
        Status::Accepted | Status::Applied => None,
    }
}

/// Events with this key or provider's id. Columns: `EVENT`, the status, headers, body.
pub(super) fn events_by_id(id: &str) -> Statement {
    let mut conditions = Conditions::default();
    let by_id = conditions.bind(id);
    let by_key = match EventKey::from_hex(id) {
        Some(key) => format!(" OR e.event_key = {}", conditions.bind(key.as_bytes().as_slice())),
        None => String::new(),
    };
    let sql = format!(
        "SELECT {EVENT}, {STATUS} AS status, e.headers, e.body FROM events e
         WHERE e.event_id = {by_id}{by_key} ORDER BY e.seq DESC LIMIT {SAME_ID_MAX}"
    );
    conditions.into_statement(sql)
}

/// What handlers did with these events. Columns: `event_key, handler, epoch, kind, attempts`.
pub(super) fn parts(keys: &[Vec<u8>]) -> Statement {
    let mut conditions = Conditions::default();
    let keys = conditions.bind_all(keys.iter().map(|key| key.as_slice().into()));
    let sql = format!(
        "SELECT event_key, handler, epoch, coalesce(outcome, 'applied'), attempts FROM inbox
         WHERE event_key IN ({keys}) AND applied_at IS NOT NULL
         UNION ALL SELECT event_key, handler, epoch, 'failed', max(attempt) FROM attempts
         WHERE event_key IN ({keys}) GROUP BY event_key, handler, epoch
         UNION ALL SELECT event_key, handler, epoch, 'dead', attempts FROM dead_letters
         WHERE event_key IN ({keys}) AND status IN ('dead', 'discarded')"
    );
    conditions.into_statement(sql)
}

/// The failed attempts at these events. Columns: `event_key, handler, attempt, at, error`.
pub(super) fn attempts(keys: &[Vec<u8>]) -> Statement {
    let mut conditions = Conditions::default();
    let keys = conditions.bind_all(keys.iter().map(|key| key.as_slice().into()));
    let sql = format!(
        "SELECT event_key, handler, attempt, at, error FROM attempts
         WHERE event_key IN ({keys}) ORDER BY handler, epoch, attempt"
    );
    conditions.into_statement(sql)
}

/// The columns of [`super::step::recorded`].
const STEP: &str = "event_key, handler, step, undo, outcome, result, reason, attempt, at";

/// The steps that handlers recorded for these events. Columns: `STEP`.
pub(super) fn steps(keys: &[Vec<u8>]) -> Statement {
    let mut conditions = Conditions::default();
    let keys = conditions.bind_all(keys.iter().map(|key| key.as_slice().into()));
    conditions.into_statement(format!("SELECT {STEP} FROM steps WHERE event_key IN ({keys}) ORDER BY handler, seq"))
}

/// The steps that one handler recorded for one event. Columns: `STEP`.
pub(super) fn steps_of(event: &EventKey, handler: &str) -> Statement {
    Statement {
        sql: "SELECT event_key, handler, step, undo, outcome, result, reason, attempt, at FROM steps
              WHERE event_key = $1 AND handler = $2 ORDER BY seq"
            .into(),
        params: vec![event.as_bytes().as_slice().into(), handler.into()],
    }
}

/// The conditions of open dead letters that the filter meets.
fn open_dead_letters(filter: &DeadLetterFilter) -> Conditions {
    let mut conditions = Conditions::default();
    conditions.and("status = 'dead'");
    if !filter.ids.is_empty() {
        let ids = conditions.bind_all(filter.ids.iter().map(|id| id.as_str().into()));
        conditions.and(format!("id IN ({ids})"));
    }
    let equal = [
        ("handler", filter.handler.as_ref().map(|handler| handler.as_str())),
        ("source", filter.source.as_ref().map(|source| source.as_str())),
    ];
    for (column, value) in equal {
        if let Some(value) = value {
            let place = conditions.bind(value);
            conditions.and(format!("{column} = {place}"));
        }
    }
    for (comparison, moment) in [("dead_at >=", filter.since), ("dead_at <", filter.until)] {
        if let Some(moment) = moment {
            let place = conditions.bind(moment.as_millisecond());
            conditions.and(format!("{comparison} {place}"));
        }
    }
    conditions
}

/// One page of open dead letters. Columns: `DEAD_LETTER`.
pub(super) fn dead_letters(filter: &DeadLetterFilter, page: Page) -> Statement {
    let mut conditions = open_dead_letters(filter);
    if let Some(after) = page.after {
        let place = conditions.bind(after);
        conditions.and(format!("seq < {place}"));
    }
    let clause = conditions.clause();
    let limit = conditions.bind(i64::from(page.limit.min(PAGE_MAX)));
    conditions
        .into_statement(format!("SELECT {DEAD_LETTER} FROM dead_letters {clause} ORDER BY seq DESC LIMIT {limit}"))
}

/// Open dead letters by handler and source. Columns: `handler, source, count`.
pub(super) fn count_dead_letters(filter: &DeadLetterFilter) -> Statement {
    let conditions = open_dead_letters(filter);
    let clause = conditions.clause();
    conditions.into_statement(format!(
        "SELECT handler, source, count(*) FROM dead_letters {clause} GROUP BY handler, source ORDER BY handler, source"
    ))
}

/// One dead letter. Columns: `DEAD_LETTER`, then what [`super::story::dead_letter_detail`] reads.
pub(super) fn dead_letter_by_id(id: &str) -> Statement {
    let mut conditions = Conditions::default();
    let id = conditions.bind(id);
    let sql = format!(
        "SELECT {DEAD_LETTER}, status, event_key, message_id, content_type, sent_at, headers, body,
                attempt, ladder_start, epoch, replay_of
         FROM dead_letters WHERE id = {id}"
    );
    conditions.into_statement(sql)
}

/// Discards in `PostgreSQL`, and lays a stone into the inbox for each. Answers the number.
pub(super) fn discard_at_once(filter: &DeadLetterFilter) -> Statement {
    let conditions = open_dead_letters(filter);
    let clause = conditions.clause();
    conditions.into_statement(format!(
        "WITH gone AS (
             UPDATE dead_letters SET status = 'discarded' {clause}
             RETURNING handler, source, event_key, epoch, attempts),
         stones AS (
             INSERT INTO inbox (handler, source, event_key, epoch, attempts)
             SELECT handler, source, event_key, epoch, attempts FROM gone WHERE event_key IS NOT NULL
             ON CONFLICT DO NOTHING)
         SELECT count(*) FROM gone"
    ))
}

/// Discards in SQLite, which has no statement that does both: the stones first.
pub(super) fn discard_in_steps(filter: &DeadLetterFilter) -> [Statement; 2] {
    let stones = open_dead_letters(filter);
    let clause = stones.clause();
    let gone = open_dead_letters(filter);
    [
        stones.into_statement(format!(
            "INSERT INTO inbox (handler, source, event_key, epoch, attempts)
             SELECT handler, source, event_key, epoch, attempts FROM dead_letters {clause} AND event_key IS NOT NULL
             ON CONFLICT DO NOTHING"
        )),
        gone.into_statement(format!("UPDATE dead_letters SET status = 'discarded' {clause}")),
    ]
}
