//! What ingest and worker must agree on, in the order in which an event meets it.
//!
//! An [`event`] is verified by the [`signature`] scheme of its [`provider`], claimed through [`claims`], written down by
//! [`wire`], made durable by the [`queue`], and applied exactly once in the [`ledger`]; what external APIs answered
//! meanwhile is kept by the [`cache`]. While the broker is away, events may wait in the [`spool`]. [`store`] is the
//! embedded database behind these ports where no servers are wanted, and [`redis`] the server behind two of them where
//! they are. What did not verify is kept for a while by [`rejected`]. [`config`] is the one file for all binaries;
//! [`serve`], [`tasks`], [`health`] and [`telemetry`] are how every process listens, lives, answers and tells. [`net`] and
//! [`rate`] are who may ask, and how often.

pub mod bearer;
pub mod cache;
pub mod claims;
pub mod config;
pub mod environment;
pub mod event;
pub mod guard;
pub mod health;
pub mod ledger;
pub mod net;
pub mod pattern;
#[cfg(feature = "price")]
pub mod price;
pub mod problem;
pub mod process;
pub mod protocol;
pub mod provider;
pub mod queue;
pub mod random;
pub mod rate;
pub mod redis;
pub mod rejected;
pub mod serve;
pub mod signature;
pub mod spool;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod wire;
