//! The claim on a body: which event had it first, for sources whose signature does not hold the id.
//!
//! Beside the claim on an event, and of no weight for it: it is looked at only where that claim says fresh, written only
//! after the event is durable, and what cannot be asked lets the event through. So it can neither lose an event nor apply
//! one twice; the worst that its loss does is that a replay is not noticed.

use std::time::Duration;

use super::{Claims, ClaimsError};
use crate::event::{BodyKey, Event, EventId, EventKey};

/// An event as the claim on its body knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyClaim {
    /// The event.
    pub event: EventKey,
    /// Its id, which another request with this body would not have.
    pub id: EventId,
    /// Its body, less what its provider changes between deliveries.
    pub body: BodyKey,
}

impl BodyClaim {
    /// The claim of `event`.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        let body = BodyKey::new(&event.source, event.known_by());
        Self { event: event.key, id: event.id.clone(), body }
    }

    /// The id that was there first, if it is another one. What cannot be read as an id tells nothing.
    fn other(&self, stored: Option<&str>) -> Option<EventId> {
        stored.and_then(|text| EventId::try_new(text).ok()).filter(|first| *first != self.id)
    }
}

impl Claims {
    /// The id under which this body was accepted first, if that is another one whose time has not ended. None for an event
    /// that is durable itself: whatever was first, that one is no replay.
    ///
    /// # Errors
    /// If the claims cannot be asked: nothing is known then, and the event must be let through.
    pub async fn first_with_body(&self, claim: &BodyClaim) -> Result<Option<EventId>, ClaimsError> {
        let stored = match self {
            Self::Embedded(claims) => claims.first_with_body(claim).await?,
            Self::Redis(claims) => claims.first_id(&claim.body).await?,
        };
        Ok(claim.other(stored.as_deref()))
    }

    /// The id under which this body was accepted first, until that time has ended; for an operator to see, not to decide by.
    ///
    /// # Errors
    /// If the claims cannot be asked.
    pub async fn first_id(&self, body: &BodyKey) -> Result<Option<EventId>, ClaimsError> {
        let stored = match self {
            Self::Embedded(claims) => claims.first_id(body).await?,
            Self::Redis(claims) => claims.first_id(body).await?,
        };
        Ok(stored.and_then(|text| EventId::try_new(&text).ok()))
    }

    /// Keeps for `window` that this event is durable with this body, unless another one was first: its id is answered.
    /// Only after the event is durable.
    ///
    /// # Errors
    /// If the claims cannot be asked; it may be kept all the same.
    pub async fn keep_body(&self, claim: &BodyClaim, window: Duration) -> Result<Option<EventId>, ClaimsError> {
        let stored = match self {
            Self::Embedded(claims) => claims.keep_body(claim, window).await?,
            Self::Redis(claims) => claims.keep_body(claim, window).await?,
        };
        Ok(claim.other(stored.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{BodyHash, SourceName};

    #[test]
    fn only_another_id_was_first() {
        let source = SourceName::try_new("shop").expect("a name");
        let id = |text: &str| EventId::try_new(text).expect("an id");
        let claim = BodyClaim {
            event: EventKey::new(&source, &id("one")),
            id: id("one"),
            body: BodyKey::new(&source, &BodyHash::of(b"body")),
        };
        assert_eq!(claim.other(None), None);
        assert_eq!(claim.other(Some("one")), None);
        assert_eq!(claim.other(Some("two")), Some(id("two")));
        assert_eq!(claim.other(Some("no\nid")), None);
    }

    #[test]
    fn a_body_is_its_sources_own() {
        let key = |source: &str| BodyKey::new(&SourceName::try_new(source).expect("a name"), &BodyHash::of(b"body"));
        assert_eq!(key("shop"), key("shop"));
        assert_ne!(key("shop"), key("shop2"));
    }
}
