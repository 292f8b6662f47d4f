//! The line to one server: what many callers ask at a time is written as one pipeline, and answered out of one.
//!
//! The client library's hand-over for each command costs more than the command. Pipelines do not wait for each other, so
//! that a caller waits for its own answer only.

use std::io;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use redis::aio::ConnectionLike as _;
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::CallError;
use super::connection::Connection;

/// Commands in one pipeline at most.
const BATCH_MAX: usize = 128;
/// Pipelines that wait for their answers at most; beyond it commands wait for each other.
const PIPELINES_MAX: usize = 64;
/// Commands that wait to be written; one more waits to wait, and its time limit goes on.
const WAITING_MAX: usize = 4_096;

/// A command, with who waits for its answer.
struct Asked {
    command: Cmd,
    answer: oneshot::Sender<Result<Value, CallError>>,
}

/// The callers' end.
#[derive(Clone)]
pub(super) struct Line(mpsc::Sender<Asked>);

impl Line {
    /// A line over whatever connection there is, whose answers take at most `limit`; with the task that serves it until the last clone of the line is gone.
    pub(super) fn new(
        connections: watch::Receiver<Option<Connection>>,
        limit: Duration,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, asked) = mpsc::channel(WAITING_MAX);
        (Self(sender), serve(asked, connections, limit))
    }

    /// Asks one command.
    ///
    /// # Errors
    /// [`CallError::Resting`] if there is no connection, so that nothing was asked. With the others it may have been done.
    ///
    /// # Cancel safety
    /// Dropped half-way, the command may be done all the same.
    pub(super) async fn ask(&self, command: Cmd) -> Result<Value, CallError> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Asked { command, answer }).await.map_err(|_| CallError::Resting)?;
        let line_ended = |_| Err(RedisError::from(io::Error::from(io::ErrorKind::BrokenPipe)).into());
        answered.await.unwrap_or_else(line_ended)
    }
}

async fn serve(mut asked: mpsc::Receiver<Asked>, connections: watch::Receiver<Option<Connection>>, limit: Duration) {
    let mut pipelines = FuturesUnordered::new();
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        tokio::select! {
            count = asked.recv_many(&mut batch, BATCH_MAX), if pipelines.len() < PIPELINES_MAX => {
                if count == 0 {
                    return;
                }
                let connection = connections.borrow().clone();
                match connection {
                    Some(connection) => pipelines.push(run(connection, std::mem::take(&mut batch), limit)),
                    // Nobody may be there to hear it.
                    None => batch.drain(..).for_each(|asked| drop(asked.answer.send(Err(CallError::Resting)))),
                }
            }
            Some(()) = pipelines.next() => {}
        }
    }
}

async fn run(mut connection: Connection, batch: Vec<Asked>, limit: Duration) {
    let (mut pipeline, count) = (Pipeline::with_capacity(batch.len()), batch.len());
    let callers: Vec<_> = batch
        .into_iter()
        .map(|Asked { command, answer }| {
            pipeline.add_command(command);
            answer
        })
        .collect();
    // A server that hangs must not keep its pipelines, and with them the connection, for as long as it does.
    let outcome = timeout(limit, connection.req_packed_commands(&pipeline, 0, count)).await;
    let answers: Vec<Result<Value, CallError>> = match outcome {
        Ok(Ok(values)) => values.into_iter().map(|value| value.extract_error().map_err(CallError::from)).collect(),
        Ok(Err(error)) => vec![Err(error.into()); count],
        Err(_) => vec![Err(CallError::Timeout(limit)); count],
    };
    // The client library answers each command of a pipeline, or none.
    debug_assert_eq!(answers.len(), count);
    for (caller, answer) in callers.into_iter().zip(answers) {
        // The caller may be gone: its time was over.
        drop(caller.send(answer));
    }
}
