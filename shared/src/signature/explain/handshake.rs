//! What is to be said of a request by which its provider only asks.

use crate::signature::{Answer, BareAnswer, Handshake, HandshakeProof, Scheme, Verifier, VerifyError};

use super::{Cause, Question};

impl Question<'_> {
    /// What is to be said of a handshake that no signature proves; `None` if it is none.
    pub(super) fn handshake(&self) -> Option<Cause> {
        let error = match self.verifier.open_handshake(&self.received, self.received_at) {
            Ok(reply) => return reply.map(|_| Cause::Handshake),
            Err(error) => error,
        };
        let proof = self.marked().map(|known| &known.proof);
        match (error, proof) {
            (VerifyError::Duplicate { place }, _) => Some(Cause::SentTwice { place }),
            (VerifyError::InvalidSignature, Some(HandshakeProof::Word(place))) => {
                Some(Cause::HandshakeWord { place: place.clone() })
            }
            // The answer is signed by a secret of the source.
            (VerifyError::InvalidSignature, Some(HandshakeProof::Nothing)) => Some(Cause::NoSecretCounts),
            (VerifyError::MalformedRequest { what }, Some(HandshakeProof::Word(_) | HandshakeProof::Nothing)) => {
                Some(Cause::Malformed { what })
            }
            (
                VerifyError::InvalidSignature
                | VerifyError::MalformedRequest { .. }
                | VerifyError::MissingSignature { .. }
                | VerifyError::StaleTimestamp { .. }
                | VerifyError::MissingEventId,
                _,
            ) => None,
        }
    }

    /// The handshake that the request is marked as, whatever it is to be proven with.
    fn marked(&self) -> Option<&Handshake> {
        let own = self.source.scheme;
        own.handshakes.iter().find(|known| {
            let (proof, answer) = (HandshakeProof::Nothing, Answer::Bare(BareAnswer::Ok));
            let bare = Handshake { proof, answer, ..(*known).clone() };
            let tried = Scheme { handshakes: vec![bare], ..own.clone() };
            let answered = Verifier::trial(tried, Vec::new()).open_handshake(&self.received, self.received_at);
            matches!(answered, Ok(Some(_)))
        })
    }
}
