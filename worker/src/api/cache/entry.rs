//! One answer that is kept: what it said, when, and what it is still good for.
//!
//! Processes share entries, so that their times are the wall clock's.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tidegate_shared::config::ApiCacheConfig;

/// The version of the bytes. Another one is read as nothing: an answer can be fetched again.
const VERSION: u32 = 1;

/// A successful answer.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The body as it came.
    pub(crate) body: Bytes,
    /// `Content-Type`
    pub(crate) content_type: Option<String>,
    /// `ETag`
    pub(crate) etag: Option<String>,
    /// `Last-Modified`
    pub(crate) last_modified: Option<String>,
    /// When it came, or was last said to be still right.
    pub(crate) stored_at: Timestamp,
    /// How long it is fresh from then on.
    pub(crate) ttl: Duration,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { body, stored_at, ttl, etag, .. } = self;
        let mut shown = f.debug_struct("Entry");
        shown.field("bytes", &body.len()).field("stored_at", stored_at).field("ttl", ttl).field("etag", etag);
        shown.finish_non_exhaustive()
    }
}

/// What an entry is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// To be given as it is.
    Fresh,
    /// To be given as it is, while a new one is fetched.
    Revalidate,
    /// To be given only where no new one can be had.
    StaleIfError,
    /// For nothing but a conditional request.
    Gone,
}

/// What is known of a body; the first line of the bytes.
#[derive(Serialize, Deserialize)]
struct Header {
    v: u32,
    stored_at: Timestamp,
    ttl_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_modified: Option<String>,
}

impl Entry {
    /// Says what it is good for at `now`. Set-back clocks make it younger, never older than it is.
    pub(crate) fn freshness(&self, config: &ApiCacheConfig, now: Timestamp) -> Freshness {
        let Some(stale_for) = self.age(now).checked_sub(self.ttl) else { return Freshness::Fresh };
        if stale_for < config.stale_while_revalidate {
            Freshness::Revalidate
        } else if stale_for < config.stale_if_error {
            Freshness::StaleIfError
        } else {
            Freshness::Gone
        }
    }

    /// How long ago it came, or was last said to be still right.
    pub(crate) fn age(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.stored_at)).unwrap_or(Duration::ZERO)
    }

    /// The same answer, said to be still right at `now`: 304, with the validators that came with it.
    /// <https://www.rfc-editor.org/rfc/rfc9111#section-4.3.4>
    pub(crate) fn revalidated(
        self,
        now: Timestamp,
        ttl: Duration,
        etag: Option<String>,
        last_modified: Option<String>,
    ) -> Self {
        Self {
            stored_at: now,
            ttl,
            etag: etag.or(self.etag),
            last_modified: last_modified.or(self.last_modified),
            ..self
        }
    }

    /// Bytes that it takes in memory, its fixed parts left out.
    pub(super) fn bytes(&self) -> usize {
        let texts = [&self.content_type, &self.etag, &self.last_modified];
        self.body.len() + texts.into_iter().flatten().map(String::len).sum::<usize>()
    }

    /// A line of JSON, then the body.
    pub(super) fn encode(&self) -> Bytes {
        let header = Header {
            v: VERSION,
            stored_at: self.stored_at,
            ttl_ms: u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX),
            content_type: self.content_type.clone(),
            etag: self.etag.clone(),
            last_modified: self.last_modified.clone(),
        };
        let mut bytes = serde_json::to_vec(&header).expect("a header is texts and numbers");
        bytes.reserve_exact(1 + self.body.len());
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.body);
        bytes.into()
    }

    /// Reads what [`Self::encode`] wrote; `None` if another version did, or nobody.
    pub(super) fn decode(bytes: &Bytes) -> Option<Self> {
        // JSON escapes a line's end within a text, so that the first one ends the header.
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let header: Header = serde_json::from_slice(&bytes[..end]).ok()?;
        (header.v == VERSION).then(|| Self {
            body: bytes.slice(end + 1..),
            content_type: header.content_type,
            etag: header.etag,
            last_modified: header.last_modified,
            stored_at: header.stored_at,
            ttl: Duration::from_millis(header.ttl_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a moment")
    }

    fn entry() -> Entry {
        Entry {
            body: Bytes::from_static(b"{\n\"a\": 1\n}\xff\0"),
            content_type: Some("application/json".to_owned()),
            etag: Some("W/\"a\nb\"".to_owned()),
            last_modified: None,
            stored_at: "2026-03-01T10:00:00.123456789Z".parse().expect("a moment"),
            ttl: 10 * SECOND,
        }
    }

    #[test]
    fn each_age_has_its_freshness() {
        let entry = Entry { stored_at: at(1_000), ..entry() };
        let check = |while_revalidate: u32, if_error: u32, age: i64, expected: Freshness| {
            let config = ApiCacheConfig {
                ttl: None,
                paths: Vec::new(),
                stale_while_revalidate: while_revalidate * SECOND,
                stale_if_error: if_error * SECOND,
                bytes_max: 1,
            };
            let found = entry.freshness(&config, at(1_000 + age));
            assert_eq!(
                found, expected,
                "{age} s old, {while_revalidate} s while revalidating, {if_error} s if failing"
            );
        };
        check(5, 20, 0, Freshness::Fresh);
        check(5, 20, 9, Freshness::Fresh);
        check(5, 20, 10, Freshness::Revalidate);
        check(5, 20, 14, Freshness::Revalidate);
        check(5, 20, 15, Freshness::StaleIfError);
        check(5, 20, 29, Freshness::StaleIfError);
        check(5, 20, 30, Freshness::Gone);
        check(0, 20, 10, Freshness::StaleIfError);
        check(0, 0, 10, Freshness::Gone);
        check(20, 5, 29, Freshness::Revalidate);
        check(20, 5, 30, Freshness::Gone);
        // The clock was set back after it was stored.
        check(0, 0, -1, Freshness::Fresh);
        check(0, 0, -1_000, Freshness::Fresh);
    }

    #[test]
    fn bytes_are_read_as_they_were_written() {
        let check = |entry: Entry| assert_eq!(Entry::decode(&entry.encode()), Some(entry));
        check(entry());
        check(Entry { body: Bytes::new(), content_type: None, etag: None, ttl: Duration::ZERO, ..entry() });
        check(Entry { last_modified: Some("Sun, 01 Mar 2026 10:00:00 GMT".to_owned()), ..entry() });
    }

    // Golden: other versions of Tidegate read it. A change here is a new VERSION.
    #[test]
    fn version_1_stays_as_it_is() {
        let golden = b"{\"v\":1,\"stored_at\":\"2026-03-01T10:00:00.123456789Z\",\"ttl_ms\":10000,\
            \"content_type\":\"application/json\",\"etag\":\"W/\\\"a\\nb\\\"\"}\n{\n\"a\": 1\n}\xff\0";
        assert_eq!(entry().encode().as_ref(), golden);
    }

    #[test]
    fn other_bytes_are_nothing() {
        let check = |bytes: &'static [u8]| assert_eq!(Entry::decode(&Bytes::from_static(bytes)), None, "{bytes:?}");
        check(b"");
        check(b"\n");
        check(b"{\"v\":1}\nbody");
        check(b"{\"v\":1,\"stored_at\":\"2026-03-01T10:00:00Z\",\"ttl_ms\":1}");
        check(b"{\"v\":2,\"stored_at\":\"2026-03-01T10:00:00Z\",\"ttl_ms\":1}\nbody");
        check(b"not ours\nbody");
    }

    #[test]
    fn a_revalidated_entry_is_young_and_keeps_what_nobody_renewed() {
        let old = entry();
        let same = old.clone().revalidated(at(2_000_000_000), SECOND, None, None);
        assert_eq!(same, Entry { stored_at: at(2_000_000_000), ttl: SECOND, ..old.clone() });
        let renewed = old.clone().revalidated(old.stored_at, old.ttl, Some("\"c\"".to_owned()), Some("d".to_owned()));
        let expected = Entry { etag: Some("\"c\"".to_owned()), last_modified: Some("d".to_owned()), ..old };
        assert_eq!(renewed, expected);
    }

    #[test]
    fn a_body_is_never_shown() {
        assert!(!format!("{:?}", Entry { body: Bytes::from_static(b"hunter2"), ..entry() }).contains("hunter2"));
    }
}
