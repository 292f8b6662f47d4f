//! Waiting for something that becomes true in its own time.
//!
//! The only way a test waits: never a bare sleep. What is waited for is asked for again and again, at first often, then
//! less so, and a failure says what was seen last, so that a red test explains itself.

use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{Instant, sleep, timeout_at};

/// The pause after the first attempt: most things a test waits for take a few milliseconds.
const PAUSE_MIN: Duration = Duration::from_millis(2);

/// The longest pause: late enough to leave the machine to the servers, early enough not to slow a suite down.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Repeats `attempt` until it succeeds, for at most `timeout`.
///
/// An attempt answers with the value waited for, or with the status it saw instead. An attempt that is still running
/// when the time is over is dropped.
///
/// # Errors
///
/// Nothing succeeded within `timeout`; the message names `what` and the last status seen.
pub async fn eventually<T, F, Attempt>(what: &str, timeout: Duration, mut attempt: F) -> Result<T>
where
    // Not `AsyncFnMut`: a task that waits by it could not be shown to be `Send`.
    F: FnMut() -> Attempt,
    Attempt: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + timeout;
    let mut pause = PAUSE_MIN;
    let mut attempts = 0_u32;
    let mut last_status = None;
    loop {
        attempts += 1;
        match timeout_at(deadline, attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(status)) => last_status = Some(status),
            Err(_elapsed) => return Err(overdue(what, timeout, attempts, last_status, "which did not return")),
        }
        if Instant::now() + pause >= deadline {
            return Err(overdue(what, timeout, attempts, last_status, "all of which returned"));
        }
        sleep(pause).await;
        pause = PAUSE_MAX.min(pause * 2);
    }
}

fn overdue(what: &str, timeout: Duration, attempts: u32, last_status: Option<String>, end: &str) -> anyhow::Error {
    let status = last_status.unwrap_or_else(|| "none was seen".to_owned());
    anyhow!("{what}: not within {timeout:?} ({attempts} attempts, {end}); last status: {status}")
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::pending};

    use super::*;

    #[tokio::test]
    async fn success_ends_the_wait() {
        let left = Cell::new(3);
        let value = eventually("the countdown", Duration::from_secs(5), async || {
            left.update(|left| left - 1);
            if left.get() == 0 { Ok("done") } else { Err("not yet".to_owned()) }
        });
        assert_eq!(value.await.unwrap(), "done");
    }

    #[tokio::test(start_paused = true)]
    async fn failure_tells_the_last_status() {
        let count = Cell::new(0);
        let error = eventually("the impossible", Duration::from_secs(1), async || {
            count.update(|count| count + 1);
            Result::<(), _>::Err(format!("status {}", count.get()))
        });
        let (message, count) = (error.await.unwrap_err().to_string(), count.get());
        assert!(message.starts_with("the impossible: not within 1s"), "{message}");
        assert!(message.ends_with(&format!("last status: status {count}")), "{message}");
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_attempt_is_cut_off() {
        let error = eventually("the deaf", Duration::from_secs(1), pending::<Result<(), _>>).await.unwrap_err();
        assert!(error.to_string().contains("1 attempts, which did not return"), "{error}");
    }

    // A stress loop runs its checks in tasks of its own, so the future has to be `Send`.
    #[tokio::test]
    async fn wait_may_move_to_another_thread() {
        let mut tasks = tokio::task::JoinSet::new();
        let name = String::from("borrowed");
        tasks.spawn(async move { eventually(&name, Duration::from_secs(1), async || Ok(name.len())).await });
        assert_eq!(tasks.join_next().await.unwrap().unwrap().unwrap(), 8);
    }
}
