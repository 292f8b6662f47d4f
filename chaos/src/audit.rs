//! The account: what senders were told against what the ledger did.

use std::collections::BTreeMap;

use crate::plan::{Kind, Plan, fingerprint};

/// Everything that is known at the end of a round, when nothing is left in any queue.
#[derive(Debug, Clone)]
pub struct Books {
    /// The events that were sent.
    pub plan: Plan,
    /// By number: whether a sender read 2xx for it. What is not in here was never sent.
    pub acknowledged: Vec<bool>,
    /// Every row of effects: the event's number and its body's fingerprint.
    pub effects: Vec<(u64, String)>,
    /// What the counter of effects says.
    pub counter: u64,
    /// Every dead letter.
    pub dead: Vec<Dead>,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// The event's number; `None` if the message could not be read.
    pub number: Option<u64>,
    /// Why it was given up.
    pub reason: String,
}

/// What a round without a discrepancy comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events that were sent.
    pub sent: u64,
    /// Of those, events that a sender read 2xx for.
    pub acknowledged: u64,
    /// Of the others, events that were applied or kept all the same.
    pub unknown_kept: u64,
    /// Events that were applied, once each.
    pub applied: u64,
    /// Poison that was kept as a dead letter.
    pub dead: u64,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Discrepancy {
    /// Acknowledged, and neither applied nor dead.
    #[error("event {0} was acknowledged and is lost")]
    Lost(u64),
    /// Applied more than once.
    #[error("event {0} was applied {1} times")]
    Repeated(u64, usize),
    /// Both applied and dead.
    #[error("event {0} was applied and is a dead letter too")]
    AppliedAndDead(u64),
    /// Dead more than once.
    #[error("event {0} has {1} dead letters")]
    DeadTwice(u64, usize),
    /// Applied, though nobody sent it.
    #[error("event {0} has an effect and was never sent")]
    Phantom(u64),
    /// Applied with another body than the one that was sent.
    #[error("event {0} was applied with another body than was sent")]
    Altered(u64),
    /// Poison that was applied.
    #[error("event {0} is poison and was applied")]
    PoisonApplied(u64),
    /// An event that can be handled was given up.
    #[error("event {0} is no poison and was given up: {1}")]
    InnocentDead(u64, String),
    /// A dead letter that says nothing of why, or of what.
    #[error("a dead letter without an event or without a reason: {0:?}")]
    DeadWithoutReason(Dead),
    /// The counter is not the number of effects.
    #[error("the counter says {counter} for {effects} effects")]
    CounterOff {
        /// What the counter says.
        counter: u64,
        /// Rows of effects.
        effects: u64,
    },
}

impl Discrepancy {
    /// The event that it is about.
    #[must_use]
    pub fn event(&self) -> Option<u64> {
        match self {
            Self::Lost(event)
            | Self::Repeated(event, _)
            | Self::AppliedAndDead(event)
            | Self::DeadTwice(event, _)
            | Self::Phantom(event)
            | Self::Altered(event)
            | Self::PoisonApplied(event)
            | Self::InnocentDead(event, _) => Some(*event),
            Self::DeadWithoutReason(dead) => dead.number,
            Self::CounterOff { .. } => None,
        }
    }
}

impl Books {
    /// Closes the account.
    ///
    /// # Errors
    /// The first discrepancy, by the event's number.
    pub fn audit(&self) -> Result<Totals, Discrepancy> {
        let mut applied: BTreeMap<u64, usize> = BTreeMap::new();
        for (number, print) in &self.effects {
            if !self.was_sent(*number) {
                return Err(Discrepancy::Phantom(*number));
            }
            if *print != fingerprint(&self.plan.event(*number).body) {
                return Err(Discrepancy::Altered(*number));
            }
            *applied.entry(*number).or_default() += 1;
        }
        let mut dead: BTreeMap<u64, Vec<&Dead>> = BTreeMap::new();
        for letter in &self.dead {
            match letter.number {
                Some(number) if !letter.reason.is_empty() => dead.entry(number).or_default().push(letter),
                Some(_) | None => return Err(Discrepancy::DeadWithoutReason(letter.clone())),
            }
        }
        let mut totals = Totals::default();
        for (number, &acknowledged) in (0..).zip(&self.acknowledged) {
            let times = applied.get(&number).copied().unwrap_or(0);
            let letters = dead.get(&number).map_or(&[][..], Vec::as_slice);
            self.audit_event(number, acknowledged, times, letters)?;
            totals.sent += 1;
            totals.acknowledged += u64::from(acknowledged);
            totals.unknown_kept += u64::from(!acknowledged && times + letters.len() > 0);
            totals.applied += u64::from(times == 1);
            totals.dead += u64::from(letters.len() == 1);
        }
        let effects = self.effects.len() as u64;
        if self.counter == effects {
            Ok(totals)
        } else {
            Err(Discrepancy::CounterOff { counter: self.counter, effects })
        }
    }

    fn was_sent(&self, number: u64) -> bool {
        number < self.acknowledged.len() as u64
    }

    fn audit_event(&self, number: u64, acknowledged: bool, times: usize, dead: &[&Dead]) -> Result<(), Discrepancy> {
        let kind: Kind = self.plan.event(number).kind;
        match (times, dead) {
            (0, []) if acknowledged => Err(Discrepancy::Lost(number)),
            (1, []) if kind.is_poison() => Err(Discrepancy::PoisonApplied(number)),
            (0 | 1, []) => Ok(()),
            (0, [letter]) if !kind.is_poison() => Err(Discrepancy::InnocentDead(number, letter.reason.clone())),
            (0, [_]) => Ok(()),
            (2.., _) => Err(Discrepancy::Repeated(number, times)),
            (1, [_, ..]) => Err(Discrepancy::AppliedAndDead(number)),
            (0, [_, _, ..]) => Err(Discrepancy::DeadTwice(number, dead.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { seed: 3 };

    fn number_with(is_poison: bool) -> u64 {
        (0..).find(|&number| PLAN.event(number).kind.is_poison() == is_poison).expect("there is one soon")
    }

    fn effect(number: u64) -> (u64, String) {
        (number, fingerprint(&PLAN.event(number).body))
    }

    fn letter(number: u64) -> Dead {
        Dead { number: Some(number), reason: "it fails".to_owned() }
    }

    /// A round that went well: a hundred events, all acknowledged but the last.
    fn honest() -> Books {
        let numbers = 0..100;
        let (dead, good): (Vec<u64>, Vec<u64>) = numbers.partition(|&number| PLAN.event(number).kind.is_poison());
        let mut acknowledged = vec![true; 100];
        acknowledged[99] = false;
        Books {
            plan: PLAN,
            acknowledged,
            counter: good.len() as u64,
            effects: good.into_iter().map(effect).collect(),
            dead: dead.into_iter().map(letter).collect(),
        }
    }

    /// A lie that is told about an honest round must be found.
    fn found(lie: impl FnOnce(&mut Books)) -> Discrepancy {
        let mut books = honest();
        lie(&mut books);
        books.audit().expect_err("the lie is found")
    }

    #[test]
    fn an_honest_round_balances() {
        let totals = honest().audit().expect("nothing is wrong");
        assert_eq!((totals.sent, totals.acknowledged, totals.applied + totals.dead), (100, 99, 100));
        assert_eq!(totals.unknown_kept, 1);
    }

    #[test]
    fn what_nobody_read_a_2xx_for_may_be_applied_or_not_but_not_twice() {
        let mut books = honest();
        books.effects.retain(|(number, _)| *number != 99);
        books.dead.retain(|dead| dead.number != Some(99));
        books.counter = books.effects.len() as u64;
        assert_eq!(books.audit().map(|totals| totals.unknown_kept), Ok(0));
        for _ in 0..2 {
            books.effects.push(effect(99));
        }
        books.counter = books.effects.len() as u64;
        assert_eq!(books.audit(), Err(Discrepancy::Repeated(99, 2)));
    }

    #[test]
    fn every_lie_is_found() {
        let (good, poison) = (number_with(false), number_with(true));
        assert_eq!(found(|books| books.effects.retain(|(number, _)| *number != good)), Discrepancy::Lost(good));
        assert_eq!(found(|books| books.dead.retain(|dead| dead.number != Some(poison))), Discrepancy::Lost(poison));
        assert_eq!(found(|books| books.effects.push(effect(good))), Discrepancy::Repeated(good, 2));
        assert_eq!(found(|books| books.dead.push(letter(good))), Discrepancy::AppliedAndDead(good));
        assert_eq!(found(|books| books.dead.push(letter(poison))), Discrepancy::DeadTwice(poison, 2));
        assert_eq!(found(|books| books.effects.push(effect(100))), Discrepancy::Phantom(100));
        assert_eq!(found(|books| books.effects[0].1.push('0')), Discrepancy::Altered(honest().effects[0].0));
        assert_eq!(
            found(|books| books.counter += 1),
            Discrepancy::CounterOff { counter: honest().counter + 1, effects: honest().counter }
        );
        let applied = |books: &mut Books| {
            books.dead.retain(|dead| dead.number != Some(poison));
            books.effects.push(effect(poison));
        };
        assert_eq!(found(applied), Discrepancy::PoisonApplied(poison));
        let given_up = |books: &mut Books| {
            books.effects.retain(|(number, _)| *number != good);
            books.dead.push(letter(good));
        };
        assert_eq!(found(given_up), Discrepancy::InnocentDead(good, "it fails".to_owned()));
        let silent = Dead { number: Some(poison), reason: String::new() };
        let lie = silent.clone();
        assert_eq!(found(move |books| books.dead.push(lie)), Discrepancy::DeadWithoutReason(silent));
    }
}
