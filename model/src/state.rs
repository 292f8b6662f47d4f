//! One state of the world: every request, server and worker, small enough to keep millions of them.

/// Requests at once that a model may have.
pub const SLOTS_MAX: usize = 3;
/// Workers.
pub const WORKERS: usize = 2;
/// How far an event can come, in numbers of [`crate::rules::Table::progress`].
pub const KINDS_MAX: usize = 12;
/// Who drains the spool, among the holders of claims.
pub const DRAIN: usize = SLOTS_MAX;

/// How far one request, or the drain of the spool, has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Phase {
    /// Nothing is under way.
    #[default]
    Idle,
    /// About to ask the claims.
    Claim,
    /// The claim is its own: about to publish.
    Publish,
    /// About to publish without a claim.
    PublishUnclaimed,
    /// The queue has confirmed: about to tell the claims.
    Confirmed,
    /// The queue has not confirmed: about to spool.
    Spool,
    /// About to give the claim up, then to answer 2xx: the event is spooled.
    Spooled,
    /// About to give the claim up, then to refuse.
    Failed,
    /// The answer 2xx is on its way.
    Accepted,
    /// A refusal is on its way.
    Refused,
}

/// A request, and which of two in its place it is: its claim must not be taken for that of one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Request {
    /// How far it has come.
    pub phase: Phase,
    /// Its turn.
    pub turn: u8,
}

/// Whose claim stands in Redis: a place, and the turn of the request in it.
pub type Holder = u8;

/// The holder's number.
#[must_use]
pub fn holder(place: usize, turn: u8) -> Holder {
    u8::try_from(place * 2).unwrap_or(u8::MAX) + turn
}

/// What stands under the event's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Key {
    /// Nothing.
    #[default]
    None,
    /// A claim.
    Pending(Holder),
    /// That the event is durable.
    Committed,
}

/// One worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Work {
    /// It holds nothing.
    #[default]
    Idle,
    /// It holds a message.
    Got(u8),
    /// The handler is done: about to commit.
    Done(u8),
    /// The handler failed: about to publish the next attempt.
    Retry(u8),
    /// It gives up: about to commit the dead letter.
    Dying(u8),
    /// About to acknowledge.
    Ack(u8),
}

/// The event's dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dead {
    /// There is none.
    #[default]
    None,
    /// On the list, since this attempt.
    Open(u8),
    /// Sent again after this attempt.
    Replayed(u8),
    /// Applied after all.
    Delivered,
    /// Given up for good.
    Discarded,
}

/// The world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct State {
    /// Requests at the door.
    pub requests: [Request; SLOTS_MAX],
    /// The drain of the spool.
    pub drain: Request,
    /// In Redis.
    pub key: Key,
    /// Messages that wait for a worker, by how far they have come.
    pub ready: [u8; KINDS_MAX],
    /// Messages that wait on a rung.
    pub rung: [u8; KINDS_MAX],
    /// Workers.
    pub workers: [Work; WORKERS],
    /// The inbox has its row.
    pub inbox: bool,
    /// How often the effects were applied, up to 2.
    pub effects: u8,
    /// Its dead letter.
    pub dead: Dead,
    /// A replay is published, and not marked yet.
    pub replaying: Option<u8>,
    /// The spool has it.
    pub spooled: bool,
    /// The sender has read 2xx.
    pub acknowledged: bool,
    /// Crashes left.
    pub crashes: u8,
    /// Sends left that come although the sender has read 2xx.
    pub resends: u8,
    /// Replays left.
    pub replays: u8,
}

impl State {
    /// Messages in queues and hands.
    #[must_use]
    pub fn messages(&self) -> usize {
        let queued: u8 = self.ready.iter().chain(&self.rung).sum();
        usize::from(queued) + self.workers.iter().filter(|work| **work != Work::Idle).count()
    }

    /// The effects are applied, or the event is kept for an operator, or the operator gave it up.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.effects > 0 || matches!(self.dead, Dead::Open(_) | Dead::Discarded)
    }

    /// The good end: acknowledged and settled, with nothing left to do.
    #[must_use]
    pub fn is_good_end(&self) -> bool {
        self.acknowledged
            && self.is_settled()
            && self.messages() == 0
            && !self.spooled
            && self.replaying.is_none()
            && self.drain.phase == Phase::Idle
    }

    /// Workers are alike: which of them holds what makes no difference.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        self.workers.sort_unstable();
        self
    }
}
