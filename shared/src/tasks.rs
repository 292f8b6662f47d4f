//! The tasks of a process: owned, told to stop by a token, and never forgotten.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Every task of a process, and the way to tell them to stop.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    leaving: CancellationToken,
    shutdown: CancellationToken,
    failed: CancellationToken,
}

impl Tasks {
    /// No task yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the process will stop soon: it still takes work, and asks whoever can to send it elsewhere.
    #[must_use]
    pub fn leaving(&self) -> &CancellationToken {
        &self.leaving
    }

    /// Cancelled when the process is to stop.
    #[must_use]
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Starts a task that lives as long as the process: its end before the shutdown, by return or by panic, is a
    /// defect, and stops the process.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let guard = EndOfTask { name, tasks: self.clone() };
        drop(self.spawn_job(async move {
            let _guard = guard;
            task.await;
        }));
    }

    /// Starts a piece of work that ends by itself; the shutdown waits for it.
    pub fn spawn_job<F>(&self, job: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(job)
    }

    /// Completes when a task ended that should not have.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Completes when every task has ended, once [`Self::finish`] waits for that.
    pub async fn ended(&self) {
        self.tracker.wait().await;
    }

    /// Waits until every task has ended, at most `grace`; says how many had to be left.
    pub async fn finish(&self, grace: Duration) -> usize {
        self.tracker.close();
        match tokio::time::timeout(grace, self.tracker.wait()).await {
            Ok(()) => 0,
            Err(_) => self.tracker.len(),
        }
    }
}

struct EndOfTask {
    name: &'static str,
    tasks: Tasks,
}

impl Drop for EndOfTask {
    fn drop(&mut self) {
        if !self.tasks.shutdown.is_cancelled() {
            tracing::error!(task = self.name, "a task ended that must live as long as the process");
            self.tasks.failed.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_early_is_noticed() {
        let tasks = Tasks::new();
        tasks.spawn("short", async {});
        tokio::time::timeout(Duration::from_secs(5), tasks.failed()).await.expect("the early end is noticed");
    }

    #[tokio::test]
    async fn finish_says_how_many_tasks_were_left() {
        let tasks = Tasks::new();
        drop(tasks.spawn_job(std::future::pending::<()>()));
        drop(tasks.spawn_job(async {}));
        tasks.shutdown().cancel();
        assert_eq!(tasks.finish(Duration::from_millis(50)).await, 1);
    }
}
