//! Signatures: how a provider proves that a request is its own, written down as data.
//!
//! A [`Scheme`] says everything about one provider: what is signed, with which hash and key, where the signature, the
//! timestamp, the id and the type stand. [`Verifier::verify`] judges a request by it, [`Scheme::sign`] makes the request
//! that would pass, so both sides are held against each other. What holds for every scheme:
//!
//! - The bytes that are verified are the bytes that were received. Before they verify nothing is parsed, but for the
//!   values that the proof itself needs where a provider keeps them in the body.
//! - The scheme is fixed by the configuration: no header selects a hash, a key or a version.
//! - A claimed signature is decoded to exactly the hash's length before it is compared, in constant time; a token is
//!   compared by its hash, so that neither its content nor its length shows in the time.
//! - There is no verifier without a secret or a public key, and no way to skip it. A secret with dates counts within them
//!   only, by the time at which the request was received. A key that a request names is looked for only on its provider's
//!   own hosts, or where the configuration says.

mod word;

mod check;
mod composed;
mod describe;
mod encoding;
mod format;
mod handshake;
mod key_form;
mod kind;
mod location;
mod public_url;
mod scheme;
mod template;
mod text;
mod timestamp;

mod batch;
mod claimed;
mod content;
mod dated;
mod der;
mod document;
mod fetched_key;
mod json;
mod key;
mod native;
mod prove;
mod public_key;
mod received;
mod replay;
mod reply;
mod secret;
mod sign;
mod signed_text;
mod tag;
mod verify;

pub mod explain;

pub use batch::{Batch, BatchText, ITEMS_MAX, Item};
pub use check::{LOCATIONS_MAX, SchemeError};
pub use claimed::SIGNATURES_MAX;
pub use composed::{Composed, PARTS_MAX};
pub use dated::{DatedSecret, Shift, Validity, shifts};
pub use encoding::Encoding;
pub use fetched_key::{FetchedKey, KeyLocation};
pub use format::{SIGNATURE_HEADER_MAX, SignatureFormat};
pub use handshake::{Answer, AnswerValue, BareAnswer, Handshake, HandshakeProof, HandshakeText, Mark, method};
pub use key::{SECRET_MIN, SECRETS_MAX, SecretError};
pub use key_form::KeyForm;
pub use kind::{Hash, Kind};
pub use location::{Location, POINTER_DEPTH_MAX, Pointer};
pub use public_url::PublicUrl;
pub use received::Received;
pub use reply::{Deed, Judgement, Reply};
pub use scheme::{Pairing, Scheme};
pub use secret::Secret;
pub use sign::{Signed, ToSign};
pub use template::{Piece, Template};
pub use text::SchemeText;
pub use timestamp::{TimestampFrom, TimestampRule, TimestampUnit};
pub use verify::{Identity, NoLiveSecret, Verifier, VerifyError};
pub use word::InvalidField;

#[cfg(test)]
mod tests;
