//! The proofs that data cannot describe, one provider or family each.

pub(super) mod adyen;
pub(super) mod aws_sns;
pub(super) mod braintree;
pub(super) mod jwks;
pub(super) mod jwt;
pub(super) mod microsoft_graph;
pub(super) mod paypal;
pub(super) mod plaid;
pub(super) mod twilio;
