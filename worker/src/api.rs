//! External APIs: how they are asked.
#![cfg_attr(not(test), expect(dead_code, reason = "the client that joins these policies comes next"))]

mod breaker;
mod budget;
mod guard;
mod limit;
pub(crate) mod retry;

pub use guard::{GuardError, PublicClient, is_public};
