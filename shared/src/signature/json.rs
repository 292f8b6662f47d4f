//! Picking a few values out of a JSON body, in one pass and without building the rest.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::location::{POINTER_DEPTH_MAX, Pointer};

/// Most pointers that one pass follows.
pub(super) const POINTERS_MAX: usize = u64::BITS as usize;

/// The values at `pointers`: strings unquoted, numbers as they are written, `None` for all else.
///
/// A body that is not one JSON document has none of them. Where a key is repeated, the last one counts, as in most
/// parsers. Bytes outside the wanted values are only skipped, so deep nesting costs no stack.
pub(super) fn pick<'b>(body: &'b [u8], pointers: &[Pointer], strings: Strings) -> Picked<'b> {
    let seen = [Active::NONE; POINTER_DEPTH_MAX];
    let mut picked = Picked { values: vec![None; pointers.len()], repeated: Active::NONE, seen };
    let mut json = serde_json::Deserializer::from_slice(body);
    let wanted = Wanted { pointers, strings, active: Active::all(pointers.len()), depth: 0, picked: &mut picked };
    if wanted.deserialize(&mut json).and_then(|()| json.end()).is_err() {
        picked.values.fill(None);
    }
    picked
}

/// What a string on the way of a pointer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strings {
    /// An end: nothing is behind it.
    Closed,
    /// JSON, into which the pointer leads on; where it is none, nothing is behind it.
    Opened,
}

/// What one pass over a body found.
#[derive(Debug)]
pub(super) struct Picked<'b> {
    values: Vec<Option<Cow<'b, str>>>,
    repeated: Active,
    /// By depth: the pointers that have led through a key at that depth already.
    seen: [Active; POINTER_DEPTH_MAX],
}

impl<'b> Picked<'b> {
    /// The same, without the document.
    pub(super) fn into_owned<'o>(self) -> Picked<'o> {
        let own = |value: Option<Cow<'b, str>>| value.map(|value| Cow::Owned(value.into_owned()));
        Picked { values: self.values.into_iter().map(own).collect(), repeated: self.repeated, seen: self.seen }
    }

    /// The value at the pointer number `index`.
    pub(super) fn value(&self, index: usize) -> Option<&Cow<'b, str>> {
        self.values.get(index)?.as_ref()
    }

    /// Whether a key on the way of the pointer number `index` stands in its object twice: another parser might believe
    /// the other one.
    pub(super) fn is_repeated(&self, index: usize) -> bool {
        index < self.values.len() && self.repeated.has(index)
    }
}

/// The pointers that lead through the current value: bit `n` stands for the pointer `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Active(u64);

impl Active {
    const NONE: Self = Self(0);

    fn all(count: usize) -> Self {
        (0..count).fold(Self::NONE, Self::with)
    }

    fn with(self, index: usize) -> Self {
        Self(self.0 | 1 << index)
    }

    fn has(self, index: usize) -> bool {
        self.0 & 1 << index != 0
    }

    fn indices(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let first = (rest != 0).then(|| rest.trailing_zeros() as usize);
            // Takes away the lowest bit that is set.
            rest &= rest.wrapping_sub(1);
            first
        })
    }
}

/// What is looked for inside one object or array.
struct Wanted<'p, 'f, 'b> {
    pointers: &'p [Pointer],
    strings: Strings,
    active: Active,
    depth: usize,
    picked: &'f mut Picked<'b>,
}

impl<'b> Wanted<'_, '_, 'b> {
    /// The pointers whose next step is `step`.
    fn behind(&self, step: &str) -> Active {
        let leads_there = |index: &usize| self.pointers[*index].steps()[self.depth] == step;
        self.active.indices().filter(leads_there).fold(Active::NONE, Active::with)
    }

    /// Keeps the value for the pointers that end here, and follows the others into it.
    fn enter(&mut self, active: Active, value: &'b RawValue) -> Result<(), serde_json::Error> {
        let mut deeper = Active::NONE;
        for index in active.indices() {
            if self.picked.seen[self.depth].has(index) {
                self.picked.repeated = self.picked.repeated.with(index);
            }
            self.picked.seen[self.depth] = self.picked.seen[self.depth].with(index);
            // What an earlier value of a repeated key held is gone, whatever this one holds.
            self.picked.values[index] = None;
            if self.pointers[index].steps().len() == self.depth + 1 {
                self.picked.values[index] = scalar(value);
            } else {
                deeper = deeper.with(index);
            }
        }
        if deeper == Active::NONE {
            return Ok(());
        }
        let (pointers, strings, depth) = (self.pointers, self.strings, self.depth + 1);
        if let (Strings::Opened, Ok(text)) = (strings, serde_json::from_str::<String>(value.get())) {
            self.open(deeper, &text);
            return Ok(());
        }
        let inner = Wanted { pointers, strings, active: deeper, depth, picked: &mut *self.picked };
        inner.deserialize(&mut serde_json::Deserializer::from_str(value.get()))
    }

    /// Follows the pointers into a document of its own.
    fn open(&mut self, deeper: Active, text: &str) {
        let Picked { values, repeated, seen } = &mut *self.picked;
        let mut found = Picked { values: vec![None; values.len()], repeated: *repeated, seen: *seen };
        let (pointers, strings, depth) = (self.pointers, self.strings, self.depth + 1);
        let inner = Wanted { pointers, strings, active: deeper, depth, picked: &mut found };
        let mut json = serde_json::Deserializer::from_str(text);
        if inner.deserialize(&mut json).and_then(|()| json.end()).is_ok() {
            (*repeated, *seen) = (found.repeated, found.seen);
            for index in deeper.indices() {
                values[index] = found.values[index].take().map(|value| Cow::Owned(value.into_owned()));
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Wanted<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(active) = map.next_key_seed(Key(&self))? {
            if active == Active::NONE {
                map.next_value::<IgnoredAny>()?;
            } else {
                let value = map.next_value()?;
                self.enter(active, value).map_err(Error::custom)?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let indices = self.active.indices().map(|pointer| self.pointers[pointer].steps()[self.depth].parse::<usize>());
        let looked_at = indices.flatten().max().map_or(0, |last| last.saturating_add(1));
        for index in 0..looked_at {
            let Some(value) = seq.next_element()? else { return Ok(()) };
            let active = self.behind(&index.to_string());
            self.enter(active, value).map_err(Error::custom)?;
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Reads a key only to see which pointers go on behind it, without keeping it.
struct Key<'w, 'p, 'f, 'b>(&'w Wanted<'p, 'f, 'b>);

impl<'de> DeserializeSeed<'de> for Key<'_, '_, '_, '_> {
    type Value = Active;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Active, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_, '_, '_, '_> {
    type Value = Active;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Active, E> {
        Ok(self.0.behind(key))
    }
}

/// The first `max` items of the list at `pointer`, or of the list that is the whole body; `None` if there is none.
pub(super) fn items<'b>(body: &'b [u8], pointer: Option<&Pointer>, max: usize) -> Option<Vec<&'b RawValue>> {
    struct First(usize);

    impl<'de> Visitor<'de> for First {
        type Value = Vec<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while items.len() < self.0 {
                let Some(item) = seq.next_element()? else { return Ok(items) };
                items.push(item);
            }
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(items)
        }
    }

    let mut value: &RawValue = serde_json::from_slice(body).ok()?;
    for step in pointer.map(Pointer::steps).unwrap_or_default() {
        let object: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(value.get()).ok()?;
        value = object.get(step.as_str())?;
    }
    serde_json::Deserializer::from_str(value.get()).deserialize_seq(First(max)).ok()
}

/// Whether `body` is an object with the member `name`, a string, and no other.
pub(super) fn has_only(body: &[u8], name: &str) -> bool {
    let object: Option<HashMap<Cow<'_, str>, Cow<'_, str>>> = serde_json::from_slice(body).ok();
    object.is_some_and(|object| object.len() == 1 && object.contains_key(name))
}

/// A string or a number as text. A number keeps its own spelling: an id beyond 2^53 must not be rounded.
fn scalar(value: &RawValue) -> Option<Cow<'_, str>> {
    let text = value.get();
    match text.as_bytes().first()? {
        b'"' if !text.contains('\\') => Some(Cow::Borrowed(text.trim_matches('"'))),
        b'"' => serde_json::from_str(text).ok().map(Cow::Owned),
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(text)),
        _ => None,
    }
}

/// The first key of the object `body` that is none of `others`.
pub(super) fn first_key<'b>(body: &'b [u8], others: &[String]) -> Option<Cow<'b, str>> {
    struct First<'o>(&'o [String]);

    impl<'de> Visitor<'de> for First<'_> {
        type Value = Option<Cow<'de, str>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut first = None;
            while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                map.next_value::<IgnoredAny>()?;
                if first.is_none() && !self.0.iter().any(|other| *other == key) {
                    first = Some(key);
                }
            }
            Ok(first)
        }
    }

    let mut json = serde_json::Deserializer::from_slice(body);
    json.deserialize_map(First(others)).ok().flatten()
}

/// The document with the string `value` at `pointer`, its objects made where they are missing; `None` where there is no
/// such place.
pub(super) fn with_value(body: &[u8], pointer: &Pointer, value: &str) -> Option<Vec<u8>> {
    let mut document: serde_json::Value = serde_json::from_slice(body).ok()?;
    let mut place = &mut document;
    for step in pointer.steps() {
        place = if let serde_json::Value::Object(object) = place {
            object.entry(step).or_insert_with(|| serde_json::json!({}))
        } else {
            place.as_array_mut()?.get_mut(step.parse::<usize>().ok()?)?
        };
    }
    *place = value.into();
    serde_json::to_vec(&document).ok()
}

#[cfg(test)]
mod tests;
