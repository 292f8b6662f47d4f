//! The workers, their ledger, and the broker that delivers again what was not acknowledged.

use crate::door::Step;
use crate::rules::{Break, Table};
use crate::state::{Dead, State, WORKERS, Work};

/// Every step that a worker, or the broker on its behalf, can take.
pub fn steps(table: &Table, state: &State, out: &mut Vec<Step>) {
    for kind in 0..table.progress.len() {
        if state.rung[kind] > 0 {
            let mut next = *state;
            next.rung[kind] -= 1;
            next.ready[kind] += 1;
            out.push(("a delay is over", next));
        }
    }
    for at in 0..WORKERS {
        // Idle ones are alike: the first of them stands for all.
        if state.workers[at] == Work::Idle && at > 0 && state.workers[at - 1] == Work::Idle {
            continue;
        }
        one(table, state, at, out);
    }
}

fn does(state: &State, at: usize, work: Work) -> State {
    let mut next = *state;
    next.workers[at] = work;
    next
}

/// The message goes back, to be delivered again.
fn redelivered(state: &State, at: usize, kind: u8) -> State {
    let mut next = does(state, at, Work::Idle);
    next.ready[usize::from(kind)] += 1;
    next
}

fn one(table: &Table, state: &State, at: usize, out: &mut Vec<Step>) {
    let kind = match state.workers[at] {
        Work::Idle => return take(table, state, at, out),
        Work::Got(kind) | Work::Done(kind) | Work::Retry(kind) | Work::Dying(kind) | Work::Ack(kind) => kind,
    };
    if state.crashes > 0 {
        let crashed = State { crashes: state.crashes - 1, ..*state };
        out.push(("a worker crashes", redelivered(&crashed, at, kind)));
    }
    match state.workers[at] {
        Work::Idle => {}
        Work::Got(_) => {
            out.push(("the handler is done", early(table, state, at, Work::Done(kind), Break::AckBeforeCommit)));
            let (work, early_ack) = match table.next[usize::from(kind)] {
                Some(_) => (Work::Retry(kind), Break::AckBeforeRetry),
                None => (Work::Dying(kind), Break::AckBeforeDeadLetter),
            };
            out.push(("the handler fails", early(table, state, at, work, early_ack)));
            let dying = early(table, state, at, Work::Dying(kind), Break::AckBeforeDeadLetter);
            out.push(("the handler rejects", dying));
            out.push(("the worker gives it back", redelivered(state, at, kind)));
        }
        Work::Done(_) => commit(table, state, at, kind, out),
        Work::Retry(_) => retry(table, state, at, kind, out),
        Work::Dying(_) => {
            let kept = dead_letter(table, state, kind);
            out.push(("its dead letter commits", does(&kept, at, Work::Ack(kind))));
            out.push(("its dead letter commits, unheard", kept));
        }
        Work::Ack(_) => {
            out.push(("it is acknowledged", does(state, at, Work::Idle)));
            out.push(("the acknowledgement is lost", redelivered(state, at, kind)));
        }
    }
}

fn take(table: &Table, state: &State, at: usize, out: &mut Vec<Step>) {
    for kind in 0..table.progress.len() {
        if state.ready[kind] > 0 {
            let mut next = does(state, at, Work::Got(u8::try_from(kind).unwrap_or_default()));
            next.ready[kind] -= 1;
            out.push(("a worker takes it", next));
        }
    }
}

/// Where an acknowledgement comes too early, a crash after it finds nothing to deliver again.
fn early(table: &Table, state: &State, at: usize, work: Work, rule: Break) -> State {
    if !table.rules.breaks(rule) {
        return does(state, at, work);
    }
    // Acknowledged and crashed before the rest: the worst moment stands for all.
    does(state, at, Work::Idle)
}

fn commit(table: &Table, state: &State, at: usize, kind: u8, out: &mut Vec<Step>) {
    let looks_past =
        table.rules.breaks(Break::ReplayPastInbox) && table.progress[usize::from(kind)].replay_of.is_some();
    let mut applied = *state;
    if !state.inbox || looks_past || table.rules.breaks(Break::NoInbox) {
        applied.effects = (state.effects + 1).min(2);
        applied.inbox = true;
        if !table.rules.breaks(Break::DeadLetterNotHealed) && matches!(state.dead, Dead::Open(_) | Dead::Replayed(_)) {
            applied.dead = Dead::Delivered;
        }
    }
    if table.rules.breaks(Break::InboxApart) && !state.inbox {
        out.push((
            "its effects commit without the inbox row",
            State { inbox: false, ..redelivered(&applied, at, kind) },
        ));
    }
    out.push(("its effects commit", does(&applied, at, Work::Ack(kind))));
    // It tries again, and finds what it has committed.
    out.push(("its effects commit, unheard", applied));
    // The database refuses the effects: a failed attempt like any other.
    let failed = if table.next[usize::from(kind)].is_some() { Work::Retry(kind) } else { Work::Dying(kind) };
    out.push(("its effects are refused", does(state, at, failed)));
}

fn retry(table: &Table, state: &State, at: usize, kind: u8, out: &mut Vec<Step>) {
    let Some(next_kind) = table.next[usize::from(kind)] else { return };
    out.push(("its next attempt is not stored", redelivered(state, at, kind)));
    if state.messages() < table.world.messages_max {
        let mut stored = *state;
        stored.rung[usize::from(next_kind)] += 1;
        out.push(("its next attempt is stored and confirmed", does(&stored, at, Work::Ack(kind))));
        out.push(("its next attempt is stored, the confirm is lost", redelivered(&stored, at, kind)));
    }
}

/// What the ledger keeps of a dead letter, as `ledger::keep::dead_letter` says it in SQL.
fn dead_letter(table: &Table, state: &State, kind: u8) -> State {
    if state.inbox && !table.rules.breaks(Break::DeadLetterOfApplied) {
        return *state;
    }
    let attempts = |kind: u8| table.progress[usize::from(kind)].attempt;
    let is_later = |before: u8| attempts(kind) > attempts(before);
    let dead = match state.dead {
        Dead::None | Dead::Delivered => Dead::Open(kind),
        Dead::Open(before) | Dead::Replayed(before) if is_later(before) => Dead::Open(kind),
        kept @ (Dead::Open(_) | Dead::Replayed(_) | Dead::Discarded) => kept,
    };
    State { dead, ..*state }
}
