//! One connection for one piece of work. Unless the work ended cleanly it is closed, and never used again.
//!
//! That is how a dropped future, a timeout or an error leaves no open transaction in the pool: the server rolls back
//! what a closed connection had begun.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object, Pool, PoolError, TimeoutType};
use futures_util::future::maybe_done;
use tokio_postgres::{Row, SimpleQueryMessage, Statement as Prepared};

use super::bind::{Encoded, encode_all};
use super::fault::Fault;
use crate::ledger::Statement;

/// Prepared statements that a connection keeps. Handlers have few; SQL with spliced values must not fill the memory.
const PREPARED_MAX: usize = 256;
/// How long the server may take to roll back before the connection is given up instead.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection out of the pool, closed on drop.
#[derive(Debug)]
pub(super) struct Session {
    /// `None` only while it is dropped or given back.
    client: Option<Object>,
}

/// A prepared statement with its parameters.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) prepared: Prepared,
    pub(super) params: Vec<Encoded>,
}

impl Session {
    pub(super) async fn open(pool: &Pool) -> Result<Self, Fault> {
        pool.get().await.map(Self::of).map_err(|error| Fault::Unavailable(no_connection(&error)))
    }

    pub(super) fn of(client: Object) -> Self {
        Self { client: Some(client) }
    }

    /// Gives the connection back for the next one. Only after its transaction ended.
    pub(super) fn give_back(mut self) {
        drop(self.client.take());
    }

    /// Ends a transaction that failed, and gives the connection back if that works.
    pub(super) async fn roll_back(self) {
        let rolled_back = self.run("ROLLBACK");
        if let Ok(Ok(())) = tokio::time::timeout(ROLLBACK_TIMEOUT, rolled_back).await {
            // What was prepared before a table changed would be refused for ever.
            self.client().statement_cache.clear();
            self.give_back();
        }
    }

    fn client(&self) -> &ClientWrapper {
        self.client.as_ref().expect("a session has its connection until it is dropped or given back")
    }

    /// Runs SQL without parameters, several statements if need be.
    pub(super) async fn run(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.client().batch_execute(sql).await
    }

    /// Asks the server whether it takes writes.
    pub(super) async fn is_writable(&self) -> Result<bool, tokio_postgres::Error> {
        let answers = self.client().simple_query("SELECT current_setting('transaction_read_only')").await?;
        Ok(answers.iter().any(|answer| matches!(answer, SimpleQueryMessage::Row(row) if row.get(0) == Some("off"))))
    }

    /// Prepares a statement, once in the life of the connection.
    pub(super) async fn prepare(&self, sql: &str) -> Result<Prepared, tokio_postgres::Error> {
        let cache = &self.client().statement_cache;
        if cache.size() >= PREPARED_MAX {
            cache.clear();
        }
        self.client().prepare_cached(sql).await
    }

    pub(super) async fn execute(&self, request: &Request) -> Result<u64, tokio_postgres::Error> {
        self.client().execute_raw(&request.prepared, request.params.iter()).await
    }

    /// Sends all requests at once, in this order, and waits for every answer. After one that fails inside of a
    /// transaction the server refuses the rest.
    pub(super) async fn pipeline(&self, requests: &[Request]) -> Vec<Result<u64, tokio_postgres::Error>> {
        in_order(requests.iter().map(|request| self.execute(request))).await
    }

    pub(super) async fn query(&self, request: &Request) -> Result<Vec<Row>, tokio_postgres::Error> {
        let params: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
            request.params.iter().map(|param| param as &(dyn tokio_postgres::types::ToSql + Sync)).collect();
        self.client().query(&request.prepared, &params).await
    }

    /// Prepares a statement of our own and encodes its parameters.
    pub(super) async fn request(&self, statement: &Statement) -> Result<Request, Fault> {
        let prepared = self.prepare(&statement.sql).await.map_err(|error| Fault::of_own(&error))?;
        let params = encode_all(&statement.params, prepared.params()).map_err(Fault::Unavailable)?;
        Ok(Request { prepared, params })
    }

    /// Like [`Self::request`], for SQL that is different each time and not worth keeping.
    pub(super) async fn request_once(&self, statement: &Statement) -> Result<Request, Fault> {
        let prepared = self.client().prepare(&statement.sql).await.map_err(|error| Fault::of_own(&error))?;
        let params = encode_all(&statement.params, prepared.params()).map_err(Fault::Unavailable)?;
        Ok(Request { prepared, params })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

/// Why there is no connection. Whatever the server said at the login, no event is to blame for it.
pub(super) fn no_connection(error: &PoolError) -> String {
    match error {
        PoolError::Backend(error) => Fault::from(error).into_reason(),
        PoolError::Timeout(TimeoutType::Wait) => "every connection of the pool is at work".to_owned(),
        PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => "the server does not answer".to_owned(),
        PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => error.to_string(),
    }
}

/// Awaits futures together, each polled for the first time in its turn. The client sends a request when its future is
/// first polled, so this is the order in which the server gets them; `join_all` does not promise one.
async fn in_order<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.map(|future| Box::pin(maybe_done(future))).collect();
    poll_fn(|context| {
        let ready =
            waiting.iter_mut().filter_map(|future| future.as_mut().poll(context).is_ready().then_some(())).count();
        if ready == waiting.len() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|mut future| future.as_mut().take_output()).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn futures_begin_in_order_and_answer_in_order() {
        let begun = RefCell::new(Vec::new());
        let answers = in_order((0..100_u64).map(|number| {
            let begun = &begun;
            async move {
                begun.borrow_mut().push(number);
                tokio::time::sleep(Duration::from_millis(5 - number % 5)).await;
                number
            }
        }));
        assert_eq!(answers.await, (0..100).collect::<Vec<_>>());
        assert_eq!(begun.into_inner(), (0..100).collect::<Vec<_>>());
    }
}
