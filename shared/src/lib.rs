//! What ingest and worker must agree on, in the order in which an event meets it.
//!
//! An [`event`] is verified by the [`signature`] scheme of its [`provider`], claimed through [`claims`], written down by
//! [`wire`], made durable by the [`queue`], and applied exactly once in the [`ledger`]. [`store`] is the embedded
//! database behind the three ports where no servers are wanted. [`config`] is the one file for all binaries; [`serve`],
//! [`tasks`], [`health`] and [`telemetry`] are how every process listens, lives, answers and tells.

pub mod event;
pub mod provider;
pub mod signature;
pub mod pattern;
pub mod wire;
pub mod claims;
pub mod queue;
pub mod ledger;
pub mod store;
pub mod config;
pub mod bearer;
pub mod health;
pub mod process;
pub mod problem;
pub mod serve;
pub mod tasks;
pub mod telemetry;
