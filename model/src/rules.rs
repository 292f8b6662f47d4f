//! What is decided, and by which function: the ones that ship, or one of them broken on purpose.

use std::time::Duration;

use tidegate_shared::claims::{ClaimToken, Decision, Marker, decide};
use tidegate_shared::config::{OnBrokerDown, OnUnavailable};
use tidegate_shared::event::BodyHash;
use tidegate_shared::protocol::spool::{
    AfterDrain, AfterDrainClaim, AfterSpool, Company, after_drain, after_drain_claim, after_spool,
};
use tidegate_shared::protocol::{AfterClaim, AfterPublish, Next, Patience, after_claim, after_failure, after_publish};
use tidegate_shared::queue::{PublishError, Stored};
use tidegate_shared::wire::Progress;

use crate::state::{Holder, KINDS_MAX, Key, SLOTS_MAX};

/// Holders of claims: each place and turn.
const HOLDERS: usize = 2 * (SLOTS_MAX + 1);

/// How large a world to look at.
#[derive(Debug, Clone, Copy)]
pub struct World {
    /// Requests at once.
    pub requests: usize,
    /// Crashes of any process.
    pub crashes: u8,
    /// Sends after a 2xx was read.
    pub resends: u8,
    /// Replays of dead letters.
    pub replays: u8,
    /// Messages in queues and hands at most.
    pub messages_max: usize,
    /// Delays of the retry ladder.
    pub ladder: usize,
    /// Whether Redis may be away, and lose its key at any moment.
    pub redis: Redis,
    /// `claims.on_unavailable`.
    pub on_unavailable: OnUnavailable,
    /// `source.on_broker_down`.
    pub on_broker_down: OnBrokerDown,
}

/// How well Redis behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redis {
    /// It may be away, lose replies, and lose its key at any moment.
    LosesAnything,
    /// It never loses the key, and always answers; leases end.
    Perfect,
}

/// A rule of order, which types and transactions keep in the programs, broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// `committed` is written before the queue confirms.
    MarkBeforeConfirm,
    /// The sender reads 2xx before the queue confirms.
    AnswerBeforeConfirm,
    /// A claim is given up whoever holds it.
    ReleaseOfAnothers,
    /// A claim is not given up after a failure.
    NoRelease,
    /// A claim never ends by itself.
    NoLease,
    /// There is no inbox.
    NoInbox,
    /// The inbox row commits after the effects.
    InboxApart,
    /// A message is acknowledged before its effects commit.
    AckBeforeCommit,
    /// A message is acknowledged before its next attempt is confirmed.
    AckBeforeRetry,
    /// A message is acknowledged before its dead letter commits.
    AckBeforeDeadLetter,
    /// A dead letter is kept of what is applied.
    DeadLetterOfApplied,
    /// Applying leaves the dead letter open.
    DeadLetterNotHealed,
    /// A replay looks past the inbox.
    ReplayPastInbox,
    /// A replay is marked before it is published.
    MarkBeforeReplay,
    /// A discard leaves no row in the inbox.
    DiscardWithoutStone,
    /// The sender reads 2xx before the spool has committed.
    AnswerBeforeSpool,
    /// The spool forgets an event before the queue confirms it.
    RemoveBeforePublish,
    /// The spool is gone after a restart.
    SpoolInMemory,
}

/// Everything that is decided.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// On what stood under the key.
    pub decide: fn(Option<&Marker>, ClaimToken, &BodyHash) -> Decision,
    /// On the claims' answer.
    pub after_claim: fn(Option<Decision>, Patience, OnUnavailable) -> AfterClaim,
    /// On the queue's answer.
    pub after_publish: fn(Result<Stored, PublishError>, OnBrokerDown) -> AfterPublish,
    /// On the spool's answer.
    pub after_spool: fn(Result<Stored, ()>) -> AfterSpool<()>,
    /// On the claims' answer to the drain of the spool.
    pub after_drain_claim: fn(Option<Decision>, OnUnavailable) -> AfterDrainClaim,
    /// On the queue's answer to the drain.
    pub after_drain: fn(&Result<Stored, PublishError>, Company) -> AfterDrain,
    /// On a failed attempt.
    pub after_failure: fn(&Progress, &[Duration], Option<Duration>) -> Next,
    /// A rule of order that does not hold.
    pub broken: Option<Break>,
}

impl Rules {
    /// What ships.
    #[must_use]
    pub fn shipped() -> Self {
        Self {
            decide,
            after_claim,
            after_publish,
            after_spool,
            after_drain_claim,
            after_drain,
            after_failure,
            broken: None,
        }
    }

    /// What ships, but for one rule of order.
    #[must_use]
    pub fn without(rule: Break) -> Self {
        Self { broken: Some(rule), ..Self::shipped() }
    }

    /// Says whether this rule is broken.
    #[must_use]
    pub fn breaks(&self, rule: Break) -> bool {
        self.broken == Some(rule)
    }
}

/// What a request learns from the queue, as far as it makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The confirm.
    Confirm,
    /// A refusal.
    Refusal,
    /// That it cannot be reached.
    Absence,
    /// Nothing.
    Nothing,
}

/// What a request does next after the queue's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Accepts.
    Accept,
    /// Spools.
    Spool,
    /// Refuses.
    Refuse,
}

/// The decisions for every input that this world has, asked once: they are pure.
#[derive(Debug)]
pub struct Table {
    /// The world.
    pub world: World,
    /// The rules.
    pub rules: Rules,
    /// How far an event can come.
    pub progress: Vec<Progress>,
    /// The next attempt after a failed one; `None` gives up.
    pub next: Vec<Option<u8>>,
    /// The first attempt after a replay.
    pub replay: Vec<Option<u8>>,
    decided: Vec<[Decision; HOLDERS]>,
}

impl Table {
    /// Asks every function about everything.
    #[must_use]
    pub fn new(world: World, rules: Rules) -> Self {
        let body = BodyHash::of(b"body");
        let tokens: [ClaimToken; HOLDERS] = std::array::from_fn(|_| ClaimToken::generate());
        let pending = tokens.iter().map(|token| Some(Marker::parse(Marker::pending_text(*token, &body).as_bytes())));
        let stored: Vec<Option<Marker>> =
            [None, Some(Marker::parse(&Marker::committed_bytes(&body)))].into_iter().chain(pending).collect();
        let decided = stored.iter().map(|marker| tokens.map(|own| (rules.decide)(marker.as_ref(), own, &body)));
        let decided = decided.collect();
        let (progress, next, replay) = lives(world, rules);
        Self { world, rules, progress, next, replay, decided }
    }

    /// What the claim of `own` says, with this under the key.
    #[must_use]
    pub fn decide(&self, key: Key, own: Holder) -> Decision {
        let row = match key {
            Key::None => 0,
            Key::Committed => 1,
            Key::Pending(holder) => 2 + usize::from(holder),
        };
        self.decided[row][usize::from(own)]
    }

    /// What follows the claims' answer.
    #[must_use]
    pub fn after_claim(&self, answer: Option<Decision>, patience: Patience) -> AfterClaim {
        (self.rules.after_claim)(answer, patience, self.world.on_unavailable)
    }

    /// What follows the queue's answer.
    #[must_use]
    pub fn after_publish(&self, heard: Heard) -> Then {
        match (self.rules.after_publish)(heard.outcome(), self.world.on_broker_down) {
            // The embedded queue alone knows duplicates and other bodies; a rule that saw one here shows as harm.
            AfterPublish::Accept | AfterPublish::AnswerDuplicate => Then::Accept,
            AfterPublish::Spool(_) => Then::Spool,
            AfterPublish::Refuse(_) | AfterPublish::Separate => Then::Refuse,
        }
    }

    /// Whether a 2xx follows the spool's answer.
    #[must_use]
    pub fn after_spool(&self, kept: Result<Stored, ()>) -> bool {
        match (self.rules.after_spool)(kept) {
            AfterSpool::Accept | AfterSpool::AnswerDuplicate => true,
            // One body only.
            AfterSpool::Separate | AfterSpool::Refuse(()) => false,
        }
    }

    /// What the drain does after the claims' answer.
    #[must_use]
    pub fn after_drain_claim(&self, answer: Option<Decision>) -> AfterDrainClaim {
        (self.rules.after_drain_claim)(answer, self.world.on_unavailable)
    }

    /// Whether the event leaves the spool after the queue's answer.
    #[must_use]
    pub fn leaves_spool(&self, heard: Heard) -> bool {
        // Behind the others or in its place: it waits.
        let step = |company| (self.rules.after_drain)(&heard.outcome(), company) == AfterDrain::CommitAndRemove;
        step(Company::Alone) || step(Company::Together)
    }
}

impl Heard {
    fn outcome(self) -> Result<Stored, PublishError> {
        match self {
            Self::Confirm => Ok(Stored::New),
            Self::Refusal => Err(PublishError::Refused(String::new())),
            Self::Absence => Err(PublishError::Unavailable(String::new())),
            Self::Nothing => Err(PublishError::OutcomeUnknown(String::new())),
        }
    }
}

/// Every progress that an event can have: up the ladder, and after each replay.
fn lives(world: World, rules: Rules) -> (Vec<Progress>, Vec<Option<u8>>, Vec<Option<u8>>) {
    let ladder = vec![Duration::from_secs(1); world.ladder];
    let mut progress: Vec<Progress> = vec![Progress::default()];
    let (mut next, mut replay) = (Vec::new(), Vec::new());
    let mut seen = 0;
    while let Some(now) = progress.get(seen).cloned() {
        let mut number = |wanted: Progress| {
            let known = progress.iter().position(|one| *one == wanted).unwrap_or_else(|| {
                progress.push(wanted);
                progress.len() - 1
            });
            u8::try_from(known).ok()
        };
        next.push(match (rules.after_failure)(&now, &ladder, None) {
            Next::RetryAfter(_) => number(now.next_attempt()),
            Next::Dead => None,
        });
        let replays = now.replay_of.as_deref().map_or(0, str::len);
        let may = replays < usize::from(world.replays);
        replay.push(if may { number(now.replayed(&"r".repeat(replays + 1))) } else { None });
        seen += 1;
    }
    assert!(progress.len() <= KINDS_MAX, "a life of {} attempts is too long for the model", progress.len());
    (progress, next, replay)
}
