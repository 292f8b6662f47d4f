//! Picking a few values out of a JSON body, in one pass and without building the rest.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::location::Pointer;

/// The values at `pointers`: strings unquoted, numbers as they are written, `None` for all else.
///
/// A body that is not one JSON document has none of them. Where a key is repeated, the last one counts, as in most
/// parsers. Bytes outside the wanted values are only skipped, so deep nesting costs no stack.
pub(super) fn pick<'b>(body: &'b [u8], pointers: &[Pointer]) -> Vec<Option<Cow<'b, str>>> {
    let mut found = vec![None; pointers.len()];
    let mut json = serde_json::Deserializer::from_slice(body);
    let wanted = Wanted { pointers, active: Active::all(pointers.len()), depth: 0, found: &mut found };
    if wanted.deserialize(&mut json).and_then(|()| json.end()).is_err() {
        found.fill(None);
    }
    found
}

/// The pointers that lead through the current value: bit `n` stands for the pointer `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Active(u32);

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
        (0..u32::BITS as usize).filter(move |index| self.has(*index))
    }
}

/// What is looked for inside one object or array.
struct Wanted<'p, 'f, 'b> {
    pointers: &'p [Pointer],
    active: Active,
    depth: usize,
    found: &'f mut [Option<Cow<'b, str>>],
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
            if self.pointers[index].steps().len() == self.depth + 1 {
                self.found[index] = scalar(value);
            } else {
                deeper = deeper.with(index);
            }
        }
        if deeper == Active::NONE {
            return Ok(());
        }
        let inner = Wanted { pointers: self.pointers, active: deeper, depth: self.depth + 1, found: &mut *self.found };
        inner.deserialize(&mut serde_json::Deserializer::from_str(value.get()))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, pointers: &[&str], expected: &[Option<&str>]) {
        let pointers: Vec<Pointer> = pointers.iter().map(|text| text.parse().unwrap()).collect();
        let found = pick(body.as_bytes(), &pointers);
        let found: Vec<_> = found.iter().map(Option::as_deref).collect();
        assert_eq!(found, expected, "{body}");
    }

    #[test]
    fn picks_strings_and_numbers_as_written() {
        check(r#"{"id":"a"}"#, &["/id"], &[Some("a")]);
        check(r#"{"id":"a\u00e9\"\\"}"#, &["/id"], &[Some("aé\"\\")]);
        check(r#"{"i\u0064":"a"}"#, &["/id"], &[Some("a")]);
        check(r#"{"id":12345678901234567890123}"#, &["/id"], &[Some("12345678901234567890123")]);
        check(r#"{"id":-1.50}"#, &["/id"], &[Some("-1.50")]);
        check(r#" { "id" : "" } "#, &["/id"], &[Some("")]);
    }

    #[test]
    fn picks_nothing_else() {
        for body in [
            r#"{"id":null}"#,
            r#"{"id":true}"#,
            r#"{"id":{}}"#,
            r#"{"id":["a"]}"#,
            r#"{"ID":"a"}"#,
            r#"{"a":{"id":"b"}}"#,
            r#"["id"]"#,
            r#""id""#,
            "1",
            "null",
            "-1.5",
            "true",
            "",
            "id=a",
            r#"{"id":"\ud800"}"#,
        ] {
            check(body, &["/id"], &[None]);
        }
    }

    #[test]
    fn a_body_that_is_not_json_has_no_values() {
        for body in [r#"{"id":"a""#, r#"{"id":"a"}x"#, r#"{"id":"a",}"#, r#"{"id":"a"}{"#, "{\"id\":\"a\tb\"}"] {
            check(body, &["/id"], &[None]);
        }
        assert_eq!(pick(b"{\"id\":\"\xff\"}", &["/id".parse().unwrap()]), [None]);
    }

    #[test]
    fn follows_several_pointers_at_once() {
        let body = r#"{"event":{"type":"t","id":7},"list":[{"id":"x"},{"id":"y"}],"id":"top"}"#;
        check(
            body,
            &["/event", "/event/type", "/event/id", "/list/1/id", "/list/2/id", "/id"],
            &[None, Some("t"), Some("7"), Some("y"), None, Some("top")],
        );
        check(r#"{"a/b":{"c~d":"e"}}"#, &["/a~1b/c~0d"], &[Some("e")]);
    }

    #[test]
    fn the_last_of_a_repeated_key_counts() {
        check(r#"{"id":"a","id":"b"}"#, &["/id"], &[Some("b")]);
        check(r#"{"id":"a","id":null}"#, &["/id"], &[None]);
    }

    #[test]
    fn nesting_beyond_any_stack_is_skipped() {
        let deep = format!(r#"{{"a":{}{},"id":"x"}}"#, "[".repeat(200_000), "]".repeat(200_000));
        check(&deep, &["/id"], &[Some("x")]);
        check(&deep, &["/a/0/0/0", "/id"], &[None, Some("x")]);
    }
}
