//! Ready-made clients: what to ask some well-known APIs, as calls, and what they answer, as types.

pub mod github;
pub mod rates;
pub mod weather;
