//! A ledger to try, and the events to try it with.

use super::*;

/// The tables of the example handlers, as their own migration would make them.
pub(super) const TABLES: Migration = Migration {
    id: "payments/1",
    sql: "CREATE TABLE payments (payment_id TEXT PRIMARY KEY, amount BIGINT NOT NULL CHECK (amount >= 0));
          CREATE TABLE balances (currency TEXT PRIMARY KEY, amount BIGINT NOT NULL);
          CREATE TABLE applied_log (event_id TEXT NOT NULL)",
};
pub(super) const UPSERT: &str = "INSERT INTO balances (currency, amount) VALUES ($1, $2)
                      ON CONFLICT (currency) DO UPDATE SET amount = balances.amount + excluded.amount";

/// A ledger with its tables, and a way to look at them that is not the ledger's.
pub(super) struct World {
    pub(super) ledger: Ledger,
    pub(super) tasks: Tasks,
    pub(super) place: Place,
}

pub(super) enum Place {
    Embedded { _folder: TempDir, store: Store },
    Postgres { namespace: String },
}

/// Where the tests' server is.
pub(super) fn postgres_url() -> String {
    #[expect(clippy::disallowed_methods, reason = "a test's server is not part of any configuration")]
    std::env::var("TIDEGATE_TEST_POSTGRES_URL").unwrap_or_else(|_| "postgres://root@127.0.0.1:5432/test".to_owned())
}

impl World {
    pub(super) async fn embedded() -> Self {
        Self::embedded_without_tables().migrated().await
    }

    pub(super) async fn postgres() -> Self {
        Self::postgres_without_tables().migrated().await
    }

    pub(super) fn embedded_without_tables() -> Self {
        let folder = TempDir::new().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let ledger = Ledger::Embedded(EmbeddedLedger::new(store.clone()));
        Self { ledger, tasks: Tasks::new(), place: Place::Embedded { _folder: folder, store } }
    }

    pub(super) fn postgres_without_tables() -> Self {
        let namespace = format!("tg-test-{}", uuid::Uuid::now_v7());
        let tasks = Tasks::new();
        let ledger = ledger_in(&namespace, &tasks);
        Self { ledger, tasks, place: Place::Postgres { namespace } }
    }

    pub(super) async fn migrated(self) -> Self {
        self.ledger.migrate(&[TABLES]).await.expect("the tables");
        self
    }

    /// A ledger on the same tables: another process's, where there can be one.
    pub(super) fn another(&self) -> Ledger {
        match &self.place {
            Place::Embedded { .. } => self.ledger.clone(),
            Place::Postgres { namespace } => ledger_in(namespace, &self.tasks),
        }
    }

    /// One number, by SQL that both databases read.
    pub(super) async fn number(&self, sql: &str) -> i64 {
        match &self.place {
            Place::Embedded { store, .. } => {
                let sql = sql.to_owned();
                store.read(move |c| c.query_row(&sql, [], |row| row.get(0))).await.expect("a number")
            }
            Place::Postgres { namespace } => {
                let client = connect(namespace, &self.tasks).await;
                client.query_one(sql, &[]).await.expect("a number").get(0)
            }
        }
    }

    /// Runs SQL past the ledger.
    pub(super) async fn run(&self, sql: &str) {
        match &self.place {
            Place::Embedded { store, .. } => {
                let sql = sql.to_owned();
                store.write(move |tx| tx.execute_batch(&sql)).await.expect("the statements");
            }
            Place::Postgres { namespace } => {
                connect(namespace, &self.tasks).await.batch_execute(sql).await.expect("the statements");
            }
        }
    }

    pub(super) async fn commit_one(&self, commit: Commit) -> Result<Applied, CommitError> {
        self.ledger.commit(vec![commit]).await.pop().expect("one answer")
    }

    pub(super) async fn dead_ids(&self) -> Vec<String> {
        let page = Page { limit: 100, after: None };
        let rows = self.ledger.dead_letters(DeadLetterFilter::default(), page).await.expect("dead letters");
        rows.into_iter().map(|row| row.id).collect()
    }

    /// The event's status in the list, held against what its handlers' parts say.
    pub(super) async fn status(&self, event: &Event) -> Status {
        let page = Page { limit: 1_000, after: None };
        let rows = self.ledger.events(EventFilter::default(), page).await.expect("events");
        let row = rows.iter().find(|row| row.key == event.key.to_string()).expect("the event is in the log");
        assert_eq!(row.status, overall_status(&row.handlers), "{:?}", row.handlers);
        row.status
    }

    pub(super) async fn finish(self) {
        if let Place::Postgres { namespace } = &self.place {
            self.run(&format!("DROP SCHEMA \"{namespace}\" CASCADE")).await;
        }
        self.tasks.shutdown().cancel();
    }
}

async fn connect(namespace: &str, tasks: &Tasks) -> tokio_postgres::Client {
    let (client, connection) =
        tokio_postgres::connect(&postgres_url(), tokio_postgres::NoTls).await.expect("the server");
    drop(tasks.spawn_job(connection));
    client.batch_execute(&format!("SET search_path = \"{namespace}\"")).await.expect("the schema");
    client
}

pub(super) fn ledger_in(namespace: &str, tasks: &Tasks) -> Ledger {
    let mut settings = PostgresSettings::try_new([postgres_url().as_str()], namespace).expect("a valid URL");
    // Many tests share one server.
    settings.pool_max = 4;
    Ledger::Postgres(PostgresLedger::start(&settings, tasks))
}

pub(super) fn handler(name: &str) -> HandlerName {
    HandlerName::try_new(name).expect("a valid name")
}

pub(super) fn event_of(source: &str, id: &str) -> Arc<Event> {
    let source = SourceName::try_new(source).expect("a valid name");
    let id = EventId::try_new(id).expect("a valid id");
    let body = Bytes::from(format!("{{\"id\":\"{id}\"}}"));
    let mut headers = HeaderMap::new();
    headers.insert("x-test", "yes".parse().expect("a value"));
    Arc::new(Event {
        key: EventKey::new(&source, &id),
        source,
        id,
        event_type: EventType::try_new("order.paid").expect("a valid type"),
        received_at: Timestamp::from_millisecond(1_700_000_000_123).expect("a moment"),
        request_id: RequestId::generate(),
        traceparent: None,
        content_type: Some("application/json".to_owned()),
        headers,
        body_hash: BodyHash::of(&body),
        fingerprint: Some(BodyHash::of(&body)),
        body,
    })
}

pub(super) fn event(id: &str) -> Arc<Event> {
    event_of("shop", id)
}

pub(super) fn commit_of(event: &Arc<Event>, effects: Effects) -> Commit {
    let (handler, progress) = (handler("payments"), Progress::default());
    Commit { handler, event: Arc::clone(event), progress, effects, wanted_by: "payments".into() }
}

/// Not idempotent on purpose: applied twice, it shows.
pub(super) fn pay(event: &Event, currency: &str, amount: i64) -> Effects {
    Effects::none()
        .sql("INSERT INTO applied_log (event_id) VALUES ($1)", [event.id.as_str().into()])
        .sql(UPSERT, [currency.into(), amount.into()])
}

pub(super) fn attempt_of(event: &Arc<Event>, attempt: u32) -> FailedAttempt {
    FailedAttempt {
        handler: handler("payments"),
        event: Arc::clone(event),
        progress: Progress { attempt, ..Progress::default() },
        at: Timestamp::now(),
        error: format!("failure {attempt}"),
        wanted_by: "payments,archive".into(),
    }
}

pub(super) fn dead_of(event: &Arc<Event>, progress: Progress, reason: &str) -> DeadLetter {
    DeadLetter {
        handler: handler("payments"),
        event: Some(Arc::clone(event)),
        message: Message { event: Event::clone(event), progress: progress.clone() }.encode(),
        progress,
        reason: reason.to_owned(),
        dead_at: Timestamp::now(),
        wanted_by: "payments".into(),
    }
}

pub(super) fn unreadable(body: &'static str) -> DeadLetter {
    DeadLetter {
        handler: handler("payments"),
        event: None,
        progress: Progress::default(),
        message: WireMessage {
            message_id: "\0odd".to_owned(),
            event_type: "odd\0type".to_owned(),
            content_type: None,
            timestamp: 7,
            headers: vec![("x".to_owned(), Bytes::from_static(b"\xff"))],
            body: Bytes::from_static(body.as_bytes()),
        },
        reason: "no\0version".to_owned(),
        dead_at: Timestamp::now(),
        wanted_by: "".into(),
    }
}

pub(super) fn attempt(attempt: u32) -> Progress {
    Progress { attempt, ..Progress::default() }
}

pub(super) fn refusal(outcome: &Result<Applied, CommitError>) -> &str {
    let reason = match outcome {
        Err(CommitError::Refused(reason) | CommitError::Duplicate(reason)) => Some(reason),
        Ok(_) | Err(CommitError::Unavailable(_)) => None,
    };
    assert!(reason.is_some(), "expected a refusal, not {outcome:?}");
    reason.map_or("", String::as_str)
}
