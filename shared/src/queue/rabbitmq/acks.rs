//! Acknowledgements of one channel, as many as come together in one frame.
//!
//! A group of effects commits at once, and its deliveries are then acknowledged at once. Each costs a hand-over to the
//! client library, a frame and a turn of the queue's own process, unless one frame stands for all: AMQP's `multiple`
//! acknowledges everything up to a delivery tag. It may be used only where everything up to there is done with.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lapin::Acker;
use tokio::sync::{mpsc, oneshot};

use super::ticket::{Extent, acknowledge};
use crate::queue::SettleError;

/// Acknowledgements taken together at most.
const TOGETHER_MAX: usize = 512;

/// The delivery tags of a channel that are not settled.
#[derive(Debug, Clone, Default)]
pub(super) struct Open(Arc<Mutex<BTreeSet<u64>>>);

impl Open {
    fn tags(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A delivery was handed out.
    pub(super) fn add(&self, tag: u64) {
        self.tags().insert(tag);
    }

    /// A delivery is done with: acknowledged, or it may be.
    fn done(&self, tag: u64) {
        self.tags().remove(&tag);
    }

    /// A delivery was to be given back. Unless the channel was told it stays open for as long as the channel is: an
    /// acknowledgement of later ones must not stand for what nobody has handled.
    pub(super) fn given_back(&self, tag: u64, outcome: &Result<(), SettleError>) {
        if outcome.is_ok() {
            self.tags().remove(&tag);
        }
    }

    /// How many of `done`, which are sorted, may be acknowledged by one frame: none that is open stands between them.
    fn together(&self, done: &[u64]) -> usize {
        let tags = self.tags();
        let mut open = tags.iter();
        done.iter().take_while(|tag| open.next() == Some(tag)).count()
    }
}

/// One delivery that is to be acknowledged.
struct Done {
    tag: u64,
    acker: Acker,
    answer: oneshot::Sender<Result<(), SettleError>>,
}

/// The way to a channel's acknowledging task.
#[derive(Debug, Clone)]
pub(super) struct Acks(mpsc::Sender<Done>);

impl Acks {
    /// The way, with the task, which ends when the last clone is gone.
    pub(super) fn new(open: Open) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, done) = mpsc::channel(TOGETHER_MAX);
        (Self(sender), acknowledge_all(done, open))
    }

    /// Acknowledges a delivery.
    ///
    /// # Errors
    /// [`SettleError::ChannelGone`]: the broker may not have heard of it, and will then deliver the message again.
    ///
    /// # Cancel safety
    /// Dropped half-way, the delivery may be acknowledged all the same.
    pub(super) async fn ack(&self, tag: u64, acker: Acker) -> Result<(), SettleError> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Done { tag, acker, answer }).await.map_err(|_| SettleError::ChannelGone)?;
        answered.await.unwrap_or(Err(SettleError::ChannelGone))
    }
}

async fn acknowledge_all(mut done: mpsc::Receiver<Done>, open: Open) {
    let mut group = Vec::with_capacity(TOGETHER_MAX);
    while done.recv_many(&mut group, TOGETHER_MAX).await > 0 {
        // Those who were answered with the first of the group by the same commit have their turn.
        tokio::task::yield_now().await;
        while group.len() < TOGETHER_MAX
            && let Ok(one) = done.try_recv()
        {
            group.push(one);
        }
        group.sort_unstable_by_key(|one| one.tag);
        let tags: Vec<u64> = group.iter().map(|one| one.tag).collect();
        let mut rest = group.split_off(open.together(&tags));
        if let Some(last) = group.last() {
            let extent = if group.len() > 1 { Extent::AllUpToIt } else { Extent::Itself };
            let outcome = acknowledge(&last.acker, extent).await;
            group.drain(..).for_each(|one| tell(one, &open, outcome.clone()));
        }
        for one in rest.drain(..) {
            let outcome = acknowledge(&one.acker, Extent::Itself).await;
            tell(one, &open, outcome);
        }
    }
}

fn tell(Done { tag, answer, .. }: Done, open: &Open, outcome: Result<(), SettleError>) {
    open.done(tag);
    // The delivery's job may be gone with its process; the broker knows.
    drop(answer.send(outcome));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_frame_never_stands_for_a_delivery_that_is_not_done() {
        let check = |open: &[u64], done: &[u64], expected: usize| {
            let tags = Open::default();
            open.iter().for_each(|tag| tags.add(*tag));
            assert_eq!(tags.together(done), expected, "{open:?} {done:?}");
        };
        check(&[1, 2, 3], &[1, 2, 3], 3);
        check(&[1, 2, 3], &[1, 3], 1);
        check(&[1, 2, 3], &[2, 3], 0);
        check(&[4, 7, 9], &[4, 7], 2);
        check(&[4, 7, 9], &[7, 9], 0);
        check(&[4], &[4], 1);
        check(&[], &[], 0);
        // One that was settled another way, and one that was never open: by themselves.
        check(&[2, 3], &[1, 2], 0);
    }

    #[test]
    fn one_frame_never_stands_for_a_delivery_whose_giving_back_failed() {
        let tags = Open::default();
        (1..=4).for_each(|tag| tags.add(tag));
        tags.given_back(1, &Ok(()));
        assert_eq!(tags.together(&[2, 4]), 1, "1 is back in its queue; 3 is open");
        tags.done(2);
        tags.given_back(3, &Err(SettleError::ChannelGone));
        assert_eq!(tags.together(&[4]), 0, "3 may still be the channel's");
    }
}
