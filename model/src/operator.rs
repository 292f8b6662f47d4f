//! The operator: replays dead letters and gives them up for good.

use crate::door::Step;
use crate::rules::{Break, Table};
use crate::state::{Dead, State};

/// Every step that an operator can take.
pub fn steps(table: &Table, state: &State, out: &mut Vec<Step>) {
    if let Some(kind) = state.replaying {
        let is_still = state.dead == Dead::Open(kind);
        let dead = if is_still { Dead::Replayed(kind) } else { state.dead };
        out.push(("the replay is marked", State { replaying: None, dead, ..*state }));
        out.push(("the replay is published and never marked", State { replaying: None, ..*state }));
        return;
    }
    let Dead::Open(kind) = state.dead else { return };
    let inbox = state.inbox || !table.rules.breaks(Break::DiscardWithoutStone);
    out.push(("the dead letter is discarded", State { dead: Dead::Discarded, inbox, ..*state }));
    let Some(replay) = table.replay[usize::from(kind)].filter(|_| state.replays > 0) else { return };
    let state = State { replays: state.replays - 1, ..*state };
    if table.rules.breaks(Break::MarkBeforeReplay) {
        out.push(("a replay is marked and never published", State { dead: Dead::Replayed(kind), ..state }));
    }
    if state.messages() < table.world.messages_max {
        let mut published = State { replaying: Some(kind), ..state };
        published.ready[usize::from(replay)] += 1;
        out.push(("the dead letter is replayed", published));
        out.push(("the dead letter is replayed, the confirm is lost", State { replaying: None, ..published }));
    }
}
