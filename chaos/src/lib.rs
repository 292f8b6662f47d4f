//! Breaks Tidegate on purpose, under load, and then accounts for every event.
//!
//! A [`scenario::Scenario`] says what is run and what happens to it. Each round of it starts the real programs on real
//! servers of its own ([`site`]), sends events of which three in ten are duplicates and one in twenty is poison
//! ([`load`]), breaks things ([`fault`]), mends them, waits until nothing is left in any queue, and compares what
//! senders were told with what the ledger did ([`audit`]): every acknowledged event is applied once, or is poison and
//! kept as a dead letter with its reason. Nothing else will do.
//!
//! What handlers do is not idempotent on purpose: a row in a table without any unique key, and a counter plus one.

#![expect(clippy::disallowed_methods, reason = "tasks of a run end with its runtime")]

pub mod audit;
pub mod fault;
pub mod growth;
pub mod handler;
pub mod journal;
pub mod load;
pub mod plan;
pub mod power_cut;
pub mod report;
pub mod round;
pub mod scenario;
pub mod site;
