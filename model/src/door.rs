//! The door: requests, their claims and publishes, and the drain of the spool, which goes the same way.

use tidegate_shared::claims::Decision;
use tidegate_shared::protocol::spool::AfterDrainClaim;
use tidegate_shared::protocol::{AfterClaim, Patience};
use tidegate_shared::queue::Stored;

use crate::rules::{Break, Heard, Redis, Table, Then};
use crate::state::{DRAIN, Holder, Key, Phase, Request, State, holder};

/// A step and the state it leads to.
pub type Step = (&'static str, State);

/// Every step that a request, the sender or Redis can take.
pub fn steps(table: &Table, state: &State, out: &mut Vec<Step>) {
    for place in 0..table.world.requests {
        arrives(table, state, place, out);
        if state.requests[place].phase != Phase::Idle && state.crashes > 0 {
            out.push(("the door crashes", crashed(table, state, place)));
        }
        one(table, state, place, out);
    }
    if state.spooled && state.drain.phase == Phase::Idle {
        out.push(("the drain takes the event", with(state, DRAIN, Phase::Claim, fresh_turn(state, DRAIN))));
    }
    if state.drain.phase != Phase::Idle {
        one(table, state, DRAIN, out);
        if state.crashes > 0 {
            out.push(("the draining door crashes", crashed(table, state, DRAIN)));
        }
    }
    let ends = match state.key {
        Key::None => false,
        Key::Pending(_) => !table.rules.breaks(Break::NoLease),
        Key::Committed => table.world.redis == Redis::LosesAnything,
    };
    if ends {
        out.push(("Redis loses the key, or its time ends", State { key: Key::None, ..*state }));
    }
}

/// A turn of this place that holds no claim: a request must not take the claim of one before it for its own.
fn fresh_turn(state: &State, place: usize) -> u8 {
    u8::from(state.key == Key::Pending(holder(place, 0)))
}

fn request(state: &State, place: usize) -> Request {
    if place == DRAIN { state.drain } else { state.requests[place] }
}

fn with(state: &State, place: usize, phase: Phase, turn: u8) -> State {
    let mut next = *state;
    let request = if place == DRAIN { &mut next.drain } else { &mut next.requests[place] };
    // Between requests the turn says nothing.
    *request = Request { phase, turn: if phase == Phase::Idle { 0 } else { turn } };
    next
}

fn goes(state: &State, place: usize, phase: Phase) -> State {
    with(state, place, phase, request(state, place).turn)
}

fn crashed(table: &Table, state: &State, place: usize) -> State {
    let spooled = state.spooled && !table.rules.breaks(Break::SpoolInMemory);
    let state = State { crashes: state.crashes - 1, spooled, ..*state };
    goes(&state, place, Phase::Idle)
}

fn arrives(table: &Table, state: &State, place: usize, out: &mut Vec<Step>) {
    if state.requests[place].phase != Phase::Idle {
        return;
    }
    let resends = match (state.acknowledged, state.resends) {
        (false, left) => left,
        (true, 0) => return,
        (true, left) => left - 1,
    };
    let mut next = with(state, place, Phase::Claim, fresh_turn(state, place));
    next.resends = resends;
    if table.rules.breaks(Break::AnswerBeforeConfirm) {
        next.acknowledged = true;
    }
    out.push(("a request arrives", next));
}

/// Every step of the request, or drain, in `place`.
fn one(table: &Table, state: &State, place: usize, out: &mut Vec<Step>) {
    let Request { phase, turn } = request(state, place);
    let own = holder(place, turn);
    match phase {
        Phase::Idle => {}
        Phase::Claim => claim(table, state, place, own, out),
        Phase::Publish | Phase::PublishUnclaimed => publish(table, state, place, out),
        Phase::Confirmed => {
            let end = if place == DRAIN { unspooled(state) } else { goes(state, place, Phase::Accepted) };
            out.push(("the claims hear that it is durable", State { key: Key::Committed, ..end }));
            out.push(("the claims do not hear that it is durable", end));
        }
        Phase::Spool => {
            let kept = if state.spooled { Stored::Duplicate } else { Stored::New };
            let then = |kept| if table.after_spool(kept) { Phase::Spooled } else { Phase::Failed };
            out.push(("the spool commits", State { spooled: true, ..goes(state, place, then(Ok(kept))) }));
            out.push(("the spool cannot commit", goes(state, place, then(Err(())))));
            if table.rules.breaks(Break::AnswerBeforeSpool) {
                out.push(("it is answered before it is spooled", State { acknowledged: true, ..*state }));
            }
        }
        Phase::Spooled => release(table, state, place, Phase::Accepted, out),
        Phase::Failed if place == DRAIN => release(table, state, place, Phase::Idle, out),
        Phase::Failed => release(table, state, place, Phase::Refused, out),
        Phase::Accepted => {
            out.push(("the sender reads 2xx", State { acknowledged: true, ..goes(state, place, Phase::Idle) }));
            out.push(("the 2xx is lost", goes(state, place, Phase::Idle)));
        }
        Phase::Refused => out.push(("the sender reads a refusal", goes(state, place, Phase::Idle))),
    }
}

/// The drain is done with the event.
fn unspooled(state: &State) -> State {
    State { spooled: false, ..goes(state, DRAIN, Phase::Idle) }
}

fn claim(table: &Table, state: &State, place: usize, own: Holder, out: &mut Vec<Step>) {
    let taken =
        |state: &State| if state.key == Key::None { State { key: Key::Pending(own), ..*state } } else { *state };
    let then = |state: &State, answer, patience| {
        if place == DRAIN {
            drain_claimed(state, table.after_drain_claim(answer))
        } else {
            claimed(table, state, place, table.after_claim(answer, patience))
        }
    };
    let answered: Option<Decision> = Some(table.decide(state.key, own));
    for patience in [Patience::Left, Patience::Over] {
        out.push(("it claims", then(&taken(state), answered, patience)));
    }
    if table.world.redis == Redis::Perfect {
        return;
    }
    // A client library runs the command again whose reply was lost: the second run meets what the first has set.
    let again = taken(state);
    out.push(("its claim is run twice", then(&again, Some(table.decide(again.key, own)), Patience::Over)));
    out.push(("Redis does not answer its claim", then(state, None, Patience::Over)));
    out.push(("Redis takes its claim and does not answer", then(&again, None, Patience::Over)));
}

fn claimed(table: &Table, state: &State, place: usize, then: AfterClaim) -> State {
    match then {
        AfterClaim::Publish => {
            let next = goes(state, place, Phase::Publish);
            if table.rules.breaks(Break::MarkBeforeConfirm) { State { key: Key::Committed, ..next } } else { next }
        }
        AfterClaim::PublishUnclaimed => goes(state, place, Phase::PublishUnclaimed),
        AfterClaim::AnswerDuplicate => goes(state, place, Phase::Accepted),
        AfterClaim::LookAgain => *state,
        // One body only: a conflict would be a defect of the rule, and shows as an event that is never settled.
        AfterClaim::RefuseInFlight | AfterClaim::RefuseUnavailable | AfterClaim::Separate => {
            goes(state, place, Phase::Refused)
        }
    }
}

fn drain_claimed(state: &State, then: AfterDrainClaim) -> State {
    match then {
        AfterDrainClaim::Publish => goes(state, DRAIN, Phase::Publish),
        AfterDrainClaim::PublishUnclaimed => goes(state, DRAIN, Phase::PublishUnclaimed),
        AfterDrainClaim::Remove => unspooled(state),
        AfterDrainClaim::Separate | AfterDrainClaim::Behind | AfterDrainClaim::Stay => goes(state, DRAIN, Phase::Idle),
    }
}

fn publish(table: &Table, state: &State, place: usize, out: &mut Vec<Step>) {
    let then = |state: &State, heard: Heard| {
        if place == DRAIN {
            let phase = if table.leaves_spool(heard) { Phase::Confirmed } else { Phase::Failed };
            return goes(state, place, phase);
        }
        let phase = match table.after_publish(heard) {
            Then::Accept => Phase::Confirmed,
            Then::Spool => Phase::Spool,
            Then::Refuse => Phase::Failed,
        };
        goes(state, place, phase)
    };
    let mut state = *state;
    if place == DRAIN && table.rules.breaks(Break::RemoveBeforePublish) {
        state.spooled = false;
    }
    if state.messages() < table.world.messages_max {
        let mut stored = state;
        stored.ready[0] += 1;
        out.push(("the queue stores and confirms it", then(&stored, Heard::Confirm)));
        out.push(("the queue stores it, the confirm is lost", then(&stored, Heard::Nothing)));
    }
    out.push(("the queue refuses it", then(&state, Heard::Refusal)));
    out.push(("the queue cannot be reached", then(&state, Heard::Absence)));
    out.push(("it is lost on its way to the queue", then(&state, Heard::Nothing)));
}

/// Gives the claim up where it is its own, or fails to, and goes on.
fn release(table: &Table, state: &State, place: usize, phase: Phase, out: &mut Vec<Step>) {
    let own = holder(place, request(state, place).turn);
    let kept = goes(state, place, phase);
    let is_own = state.key == Key::Pending(own) || table.rules.breaks(Break::ReleaseOfAnothers);
    if is_own && !table.rules.breaks(Break::NoRelease) {
        out.push(("it gives its claim up", State { key: Key::None, ..kept }));
    }
    out.push(("its claim stays", kept));
}
