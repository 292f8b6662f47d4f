//! The harness: real servers, the real programs, senders that sign on their own, and endpoints that record.
//!
//! A test starts a [`stack::Stack`] for one of the two [`stack::Backend`]s, sends with [`sender`] or with a vendor's
//! own SDK through [`sdk`], looks through the admin API and the database, and ends with `finish`, which makes sure that
//! nothing is left over. Faults come from [`servers`] that belong to the test and from [`chaos_proxy`].

#![expect(clippy::disallowed_methods, reason = "tasks of the harness end with the test's runtime")]

pub mod attack;
pub mod authorization_server;
pub mod chaos_proxy;
pub mod disk;
pub mod eventually;
pub mod fixture;
pub mod health;
pub mod install;
pub mod internet;
pub mod program;
pub mod sdk;
pub mod sender;
pub mod servers;
pub mod stack;
pub mod systems;
pub mod target;
pub mod upstream;
