//! Measures Tidegate: the programs as they are released, beside what the machine allows at all.
//!
//! Machines differ and are noisy, so what counts are ratios: the subject and its baseline are measured in turn, A B A B,
//! in one run, and each pair gives a ratio. A [`scenario`] starts servers and programs ([`site`]), sends a load from a
//! process of its own ([`load`]), reads what every process cost from the kernel ([`usage`]), and reports findings
//! ([`report`]), each beside its target.

#![expect(clippy::disallowed_methods, reason = "tasks of a run end with its runtime")]

pub mod chart;
pub mod handler;
pub mod load;
pub mod measure;
pub mod publisher;
pub mod report;
pub mod scenario;
pub mod site;
pub mod usage;
