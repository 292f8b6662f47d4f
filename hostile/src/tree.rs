//! A JSON document as it is written: every member is found, what is not looked at need not be more than skipped.

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// The members of an object or the elements of an array, each as it is written; none of anything else.
pub(crate) fn members(value: &RawValue) -> Vec<(String, &RawValue)> {
    if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(value.get()) {
        return elements.into_iter().enumerate().map(|(at, element)| (at.to_string(), element)).collect();
    }
    let mut json = serde_json::Deserializer::from_str(value.get());
    json.deserialize_map(Members).unwrap_or_default()
}

/// The last value that the steps lead to.
pub(crate) fn at<'d>(document: &'d RawValue, steps: &[impl AsRef<str>]) -> Option<&'d RawValue> {
    steps.iter().try_fold(document, |value, step| {
        members(value).into_iter().rfind(|(name, _)| name == step.as_ref()).map(|(_, value)| value)
    })
}

/// A string, or a number as it is written.
pub(crate) fn text(value: &RawValue) -> Option<String> {
    match value.get().as_bytes().first()? {
        b'"' => serde_json::from_str(value.get()).ok(),
        b'-' | b'0'..=b'9' => Some(value.get().to_owned()),
        _ => None,
    }
}

/// The same of what the steps lead to.
pub(crate) fn text_at(document: &RawValue, steps: &[impl AsRef<str>]) -> Option<String> {
    at(document, steps).and_then(text)
}

/// The keys and indices of a JSON pointer.
pub(crate) fn steps(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}

/// The body, if every byte of it is JSON that can be built.
pub(crate) fn strict(body: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice::<Value>(body).ok()?;
    serde_json::from_slice(body).ok()
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}
