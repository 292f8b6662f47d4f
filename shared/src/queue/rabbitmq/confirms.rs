//! The publishes in flight, answered in batches that hide no returned message.
//!
//! lapin hands a returned message to whichever confirm it resolves next, and resolves the confirms of one
//! `basic.ack(multiple)` in no order. So one publish may read a clean confirm while its own returned message stands in
//! the confirm of another. But the confirm with the message is always resolved *before* the one it belongs to. A batch
//! therefore ends only when everything that was resolved before any of its members is in it too: whoever looks through
//! the whole batch for a returned message before answering any of it is never deceived.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::Stream;
use futures_util::stream::FuturesUnordered;

/// Publishes in flight; `F` runs from the publish to its confirm.
#[derive(Debug)]
pub(super) struct Confirms<F>(FuturesUnordered<F>);

impl<F: Future> Confirms<F> {
    /// None in flight.
    pub(super) fn new() -> Self {
        Self(FuturesUnordered::new())
    }

    /// Adds a publish; it is sent when [`Self::batch`] is next polled.
    pub(super) fn push(&self, publish: F) {
        self.0.push(publish);
    }

    /// How many are in flight.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Waits for outcomes; never empty. Pending while nothing is in flight.
    ///
    /// # Cancel safety
    /// Cancel safe: no outcome is taken unless it is returned.
    pub(super) async fn batch(&mut self) -> Vec<F::Output> {
        // Unconstrained, since a timer without budget wakes itself at once, and the batch would never end.
        tokio::task::unconstrained(std::future::poll_fn(|cx| self.poll_batch(cx))).await
    }

    fn poll_batch(&mut self, cx: &Context<'_>) -> Poll<Vec<F::Output>> {
        let woken = Arc::new(Woken { flag: AtomicBool::new(false), task: cx.waker().clone() });
        let waker = Waker::from(Arc::clone(&woken));
        let mut batch = Vec::new();
        loop {
            match Pin::new(&mut self.0).poll_next(&mut Context::from_waker(&waker)) {
                Poll::Ready(Some(outcome)) => batch.push(outcome),
                Poll::Ready(None) => break,
                // Pending may also mean "come back": only without a wake since is there nothing more.
                Poll::Pending if woken.flag.swap(false, Ordering::AcqRel) => {}
                Poll::Pending => break,
            }
        }
        if batch.is_empty() { Poll::Pending } else { Poll::Ready(batch) }
    }
}

/// Wakes the task and remembers it.
struct Woken {
    flag: AtomicBool,
    task: Waker,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.flag.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_batch_holds_everything_resolved_before_its_members() {
        let mut confirms = Confirms::new();
        let senders: Vec<_> = (0..500)
            .map(|_| {
                let (sender, receiver) = oneshot::channel::<u32>();
                confirms.push(receiver);
                sender
            })
            .collect();
        // Resolved in the reverse order of the publishes, before any of them was polled.
        for (at, sender) in senders.into_iter().rev().enumerate() {
            sender.send(u32::try_from(at).expect("small")).expect("in flight");
        }
        assert_eq!(confirms.batch().await.len(), 500);
        assert_eq!(confirms.len(), 0);
    }

    #[tokio::test]
    async fn timers_do_not_keep_a_batch_from_ending() {
        let mut confirms = Confirms::new();
        for at in 0..1_000_u64 {
            let short = if at == 500 { 1 } else { 60_000 };
            confirms.push(tokio::time::timeout(Duration::from_millis(short), std::future::pending::<()>()));
        }
        let batch = tokio::time::timeout(Duration::from_secs(5), confirms.batch()).await.expect("the batch ends");
        assert_eq!((batch.len(), confirms.len()), (1, 999));
    }

    #[tokio::test]
    async fn nothing_in_flight_is_waited_for_without_an_end() {
        let mut confirms = Confirms::<oneshot::Receiver<()>>::new();
        assert!(tokio::time::timeout(Duration::from_millis(10), confirms.batch()).await.is_err());
    }
}
