//! Signatures: how a provider proves that a request is its own, written down as data.
//!
//! A [`Scheme`] says everything about one provider: what is signed, with which hash and key, where the signature, the
//! timestamp, the id and the type stand. [`Verifier::verify`] judges a request by it, [`Scheme::sign`] makes the headers
//! that would pass, so both sides are held against each other. What holds for every scheme:
//!
//! - The bytes that are verified are the bytes that were received; nothing is parsed before they verify.
//! - The scheme is fixed by the configuration: no header selects a hash, a key or a version.
//! - A claimed signature is decoded to exactly the hash's length before it is compared, in constant time.
//! - There is no verifier without a secret, and no way to skip it.
//!
//! Deliberately absent: public-key signatures, shared tokens, signed URLs. Each is a new variant of an enum here.

mod word;

mod encoding;
mod format;
mod json;
mod key;
mod location;
mod scheme;
mod secret;
mod sign;
mod template;
mod timestamp;
mod verify;

pub use encoding::Encoding;
pub use format::{SIGNATURE_HEADER_MAX, SIGNATURES_MAX, SignatureFormat};
pub use key::{Hash, KeyForm, SECRET_MIN, SECRETS_MAX, SecretError};
pub use location::{Location, POINTER_DEPTH_MAX, Pointer};
pub use scheme::{LOCATIONS_MAX, Pairing, Scheme, SchemeError};
pub use secret::Secret;
pub use sign::ToSign;
pub use template::{Piece, Template};
pub use timestamp::{TimestampFrom, TimestampRule, TimestampUnit};
pub use verify::{Identity, Verifier, VerifyError};
pub use word::InvalidField;

#[cfg(test)]
mod tests;
