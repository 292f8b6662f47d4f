//! Batches: requests that hold several events.

use bytes::Bytes;

use super::composed::{join_id, join_type};
use super::document::JsonIn;
use super::json;
use super::received::Reader;
use super::scheme::pointers_of;
use super::text::each;
use super::verify::{event_id, event_type_or_unknown};
use super::{Composed, Identity, InvalidField, Pointer, Received, VerifyError};
use crate::event::{BodyHash, EventId};

/// Most events of one request; a larger body would become more than the memory that it was counted as.
pub const ITEMS_MAX: usize = 10_000;

/// Where a provider's request holds its events, and how each is told from the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The list; `None` if the whole body is one.
    pub items: Option<Pointer>,
    /// Where an event's id stands in it: the first of these that is there, else the item's own hash.
    pub id: Vec<Composed>,
    /// Where its type stands in it; a header is one of the request's.
    pub event_type: Vec<Composed>,
}

/// A batch in the words of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct BatchText {
    /// The list: a JSON pointer, or nothing for the whole body.
    pub items: &'static str,
    /// Where an item's id stands, each as [`Composed`] reads it.
    pub id: &'static [&'static str],
    /// Where its type stands, likewise.
    pub event_type: &'static [&'static str],
}

/// One event of a batch.
#[derive(Debug, Clone)]
pub struct Item {
    /// Which event it is.
    pub identity: Identity,
    /// Its JSON, byte for byte.
    pub body: Bytes,
}

impl BatchText {
    /// Reads the text.
    ///
    /// # Errors
    /// The first field that is not written as it must be.
    pub fn read(&self) -> Result<Batch, InvalidField> {
        let items = Some(self.items).filter(|pointer| !pointer.is_empty()).map(str::parse).transpose()?;
        Ok(Batch { items, id: each(self.id)?, event_type: each(self.event_type)? })
    }
}

impl Batch {
    /// The events of a request that has been verified; `None` if it holds no list, or an empty one.
    ///
    /// # Errors
    /// If there are more than [`ITEMS_MAX`], or one has an id that cannot be one.
    pub fn split(&self, received: &Received<'_>, body: &Bytes) -> Result<Option<Vec<Item>>, VerifyError> {
        let Some(items) = json::items(body, self.items.as_ref(), ITEMS_MAX + 1) else { return Ok(None) };
        // What a request without events is for is in the rest of it.
        if items.is_empty() {
            return Ok(None);
        }
        if items.len() > ITEMS_MAX {
            return Err(VerifyError::MalformedRequest { what: "the request holds too many events" });
        }
        let pointers = pointers_of(self.id.iter().chain(&self.event_type).flat_map(Composed::parts));
        let split = items.into_iter().map(|item| {
            let item = item.get().as_bytes();
            let received = Received { body: item, ..*received };
            let mut reader = Reader::new(&received, &pointers, JsonIn::Body);
            let id = match reader.name(&self.id, join_id)? {
                Some(id) => event_id(&id)?,
                None => EventId::try_new(&BodyHash::of(item).to_string()).expect("a hash is an id"),
            };
            let event_type = reader.name(&self.event_type, join_type)?;
            let event_type = event_type_or_unknown(event_type.as_deref().unwrap_or_default());
            Ok(Item { identity: Identity { id, event_type }, body: body.slice_ref(item) })
        });
        split.collect::<Result<_, _>>().map(Some)
    }
}
