//! A row of an answer, read the same way whichever database it comes from.

use jiff::Timestamp;

use super::{LedgerUnavailable, Value};

/// A row's columns by place.
#[derive(Debug)]
pub(super) struct Row(Vec<Value>);

impl Row {
    pub(super) fn new(columns: Vec<Value>) -> Self {
        Self(columns)
    }

    pub(super) fn text(&self, at: usize) -> Result<String, LedgerUnavailable> {
        self.maybe_text(at)?.ok_or_else(|| misread(at, "text"))
    }

    pub(super) fn maybe_text(&self, at: usize) -> Result<Option<String>, LedgerUnavailable> {
        match self.0.get(at) {
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            Some(Value::Null) => Ok(None),
            Some(_) | None => Err(misread(at, "text")),
        }
    }

    pub(super) fn number(&self, at: usize) -> Result<i64, LedgerUnavailable> {
        self.maybe_number(at)?.ok_or_else(|| misread(at, "a number"))
    }

    pub(super) fn maybe_number(&self, at: usize) -> Result<Option<i64>, LedgerUnavailable> {
        match self.0.get(at) {
            Some(Value::Int(number)) => Ok(Some(*number)),
            Some(Value::Null) => Ok(None),
            Some(_) | None => Err(misread(at, "a number")),
        }
    }

    pub(super) fn bytes(&self, at: usize) -> Result<Vec<u8>, LedgerUnavailable> {
        self.maybe_bytes(at)?.ok_or_else(|| misread(at, "bytes"))
    }

    pub(super) fn maybe_bytes(&self, at: usize) -> Result<Option<Vec<u8>>, LedgerUnavailable> {
        match self.0.get(at) {
            Some(Value::Bytes(bytes)) => Ok(Some(bytes.clone())),
            Some(Value::Null) => Ok(None),
            Some(_) | None => Err(misread(at, "bytes")),
        }
    }

    /// A number that is a count.
    pub(super) fn count(&self, at: usize) -> Result<u32, LedgerUnavailable> {
        Ok(u32::try_from(self.number(at)?).unwrap_or(0))
    }

    /// A number of unix milliseconds.
    pub(super) fn moment(&self, at: usize) -> Result<Timestamp, LedgerUnavailable> {
        Ok(Timestamp::from_millisecond(self.number(at)?).unwrap_or_default())
    }
}

fn misread(at: usize, expected: &str) -> LedgerUnavailable {
    LedgerUnavailable(format!("column {at} of an answer is not {expected}"))
}
