//! A model of the protocol that is exhaustive for one event: every order of requests, answers, crashes and losses.
//!
//! What a request or a worker *decides* is asked of the functions that ship ([`Rules::shipped`]); what servers do is the
//! smallest true thing: Redis may lose its key, or its reply, at any time; a publish may be stored or not, whatever its
//! sender hears; a transaction happens whole or not at all; whatever is not acknowledged is delivered again.
//!
//! [`search`](search::search) visits every state that can be reached and judges it:
//!
//! - *twice*: the effects were applied more than once;
//! - *lost*: a sender has read 2xx, and from here the event can neither be applied nor become a dead letter;
//! - *both*: it is applied and an open dead letter;
//! - *revived*: it is applied after an operator gave it up;
//! - *stuck*: the good end cannot be reached any more: settled, with empty queues.
//!
//! Abstractions: one event with one body, at most three of its messages in the queues at a time.
//!
//! The claim on a body (`tidegate_shared::claims::BodyClaim`), which notices replays, is not in the model, for it adds no
//! way here. It neither reads nor writes the claim on an event, and it is written only beside an event that is durable.
//! Read, it can do one thing: refuse a request whose own claim said fresh, before its publish, and give that claim up. That
//! is the step of a request that gives up before it publishes, which the model has where the queue refuses or the door
//! crashes; and the event that is refused is not the one that had the body, whose sender alone has read 2xx.

pub mod door;
pub mod operator;
pub mod rules;
pub mod search;
pub mod state;
pub mod worker;

#[cfg(test)]
mod tests;

pub use rules::{Break, Rules, World};
pub use search::{Verdict, search};
