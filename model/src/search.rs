//! Visits every state that can be reached, breadth first, and judges each.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::rules::{Rules, Table, World};
use crate::state::{Dead, State};
use crate::{door, operator, worker};

/// A way to a state, from the beginning.
pub type Story = Vec<&'static str>;

/// What was found: how much was looked at, and the shortest way to the first state of each kind of harm.
#[derive(Debug)]
pub struct Verdict {
    /// States that can be reached.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// The effects were applied more than once.
    pub twice: Option<Story>,
    /// A sender has read 2xx, and the event can never be settled.
    pub lost: Option<Story>,
    /// It is applied, and an open dead letter.
    pub both: Option<Story>,
    /// It was applied after an operator had given it up.
    pub revived: Option<Story>,
    /// The good end is out of reach.
    pub stuck: Option<Story>,
}

impl Verdict {
    /// Says whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.harms().is_empty()
    }

    /// The kinds of harm that were found.
    #[must_use]
    pub fn harms(&self) -> Vec<&'static str> {
        let kinds = [
            ("twice", &self.twice),
            ("lost", &self.lost),
            ("both", &self.both),
            ("revived", &self.revived),
            ("stuck", &self.stuck),
        ];
        kinds.iter().filter(|(_, found)| found.is_some()).map(|(name, _)| *name).collect()
    }
}

/// Multiplies and rotates: the states are our own, nobody attacks the table.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u8(*byte);
        }
    }
    fn write_u8(&mut self, byte: u8) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
    fn write_usize(&mut self, word: usize) {
        self.0 = (self.0.rotate_left(5) ^ word as u64).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
    fn write_isize(&mut self, word: isize) {
        self.write_usize(word.cast_unsigned());
    }
}

/// The graph of what can be reached.
struct Graph {
    states: Vec<State>,
    /// From where, and by which step, each state was reached first.
    parents: Vec<(u32, &'static str)>,
    /// Where the successors of each state begin in `successors`; one more at the end.
    offsets: Vec<u32>,
    successors: Vec<u32>,
}

/// Visits the whole world under these rules.
#[must_use]
pub fn search(world: World, rules: Rules) -> Verdict {
    let graph = Graph::of(&Table::new(world, rules));
    let first = |is_it: &dyn Fn(&State) -> bool| graph.states.iter().position(is_it).map(|found| graph.story(found));
    let settling = graph.can_reach(|state| state.is_settled());
    let ending = graph.can_reach(State::is_good_end);
    let unreached = |reaching: &[bool], is_it: &dyn Fn(&State) -> bool| {
        let harm = graph.states.iter().zip(reaching).position(|(state, reaches)| !reaches && is_it(state));
        harm.map(|found| graph.story(found))
    };
    Verdict {
        states: graph.states.len(),
        steps: graph.successors.len(),
        twice: first(&|state| state.effects > 1),
        lost: unreached(&settling, &|state| state.acknowledged),
        both: first(&|state| state.effects > 0 && matches!(state.dead, Dead::Open(_))),
        revived: first(&|state| state.effects > 0 && state.dead == Dead::Discarded),
        stuck: unreached(&ending, &|_| true),
    }
}

impl Graph {
    fn of(table: &Table) -> Self {
        let world = table.world;
        let start =
            State { crashes: world.crashes, resends: world.resends, replays: world.replays, ..State::default() };
        let mut numbers: HashMap<State, u32, BuildHasherDefault<Mix>> = HashMap::default();
        numbers.insert(start, 0);
        let mut graph = Self { states: vec![start], parents: vec![(0, "")], offsets: vec![0], successors: Vec::new() };
        let (mut at, mut steps) = (0, Vec::new());
        while let Some(state) = graph.states.get(at).copied() {
            door::steps(table, &state, &mut steps);
            worker::steps(table, &state, &mut steps);
            operator::steps(table, &state, &mut steps);
            for (step, next) in steps.drain(..) {
                let next = next.canonical();
                if next == state {
                    continue;
                }
                let fresh = number(graph.states.len());
                let known = *numbers.entry(next).or_insert(fresh);
                if known == fresh {
                    graph.states.push(next);
                    graph.parents.push((number(at), step));
                }
                graph.successors.push(known);
            }
            graph.offsets.push(number(graph.successors.len()));
            at += 1;
        }
        graph
    }

    /// From which states one that `is_goal` can be reached.
    fn can_reach(&self, is_goal: impl Fn(&State) -> bool) -> Vec<bool> {
        let mut begins = vec![0_u32; self.states.len() + 1];
        for to in &self.successors {
            begins[*to as usize + 1] += 1;
        }
        for at in 1..begins.len() {
            begins[at] += begins[at - 1];
        }
        let mut places = begins.clone();
        let mut predecessors = vec![0_u32; self.successors.len()];
        for from in 0..self.states.len() {
            for to in &self.successors[self.offsets[from] as usize..self.offsets[from + 1] as usize] {
                predecessors[places[*to as usize] as usize] = number(from);
                places[*to as usize] += 1;
            }
        }
        let mut reaches: Vec<bool> = self.states.iter().map(is_goal).collect();
        let mut todo: Vec<u32> = (0..number(reaches.len())).filter(|state| reaches[*state as usize]).collect();
        while let Some(state) = todo.pop() {
            for from in &predecessors[begins[state as usize] as usize..begins[state as usize + 1] as usize] {
                if !std::mem::replace(&mut reaches[*from as usize], true) {
                    todo.push(*from);
                }
            }
        }
        reaches
    }

    fn story(&self, mut at: usize) -> Story {
        let mut story = Vec::new();
        while at != 0 {
            let (from, step) = self.parents[at];
            story.push(step);
            at = from as usize;
        }
        story.reverse();
        story
    }
}

/// A number of states or steps; four thousand million of them would not fit into memory.
fn number(count: usize) -> u32 {
    u32::try_from(count).expect("memory ends before the numbers do")
}
