//! One call to an external API, as a value.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use url::form_urlencoded;

/// What stands unescaped in a segment of a path or in a query: RFC 3986 section 2.3.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One call: built by a handler, made by [`super::Api::call`].
#[derive(Debug, Clone)]
pub struct Call {
    pub(super) method: Method,
    path: String,
    query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
    pub(super) stale: Stale,
    /// Whether its answer may be kept, and taken from what is kept: its path says all of it.
    pub(super) may_be_kept: bool,
    /// What cannot be sent, told when the call is made.
    flaw: Option<String>,
}

/// How old an answer may be where no new one can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stale {
    /// As `stale_if_error` says.
    AsConfigured,
    /// At most so long after it was fresh.
    UpTo(Duration),
}

impl Call {
    /// Asks for `path`, which begins with a slash and holds only what may stand in a URL. Parts that come from data are
    /// added by [`Self::segment`] and [`Self::query`].
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    /// Sends a body to `path`; see [`Self::get`] about paths. Without an [`Self::idempotency_key`] it is made only once.
    #[must_use]
    pub fn post(path: &str) -> Self {
        Self::new(Method::POST, path)
    }

    /// Puts a body at `path`; see [`Self::get`] about paths.
    #[must_use]
    pub fn put(path: &str) -> Self {
        Self::new(Method::PUT, path)
    }

    /// Deletes what is at `path`; see [`Self::get`] about paths.
    #[must_use]
    pub fn delete(path: &str) -> Self {
        Self::new(Method::DELETE, path)
    }

    fn new(method: Method, path: &str) -> Self {
        let flaw = (!path.starts_with('/')).then(|| format!("the path {path:?} does not begin with a slash"));
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let (path, query) = (path.trim_end_matches('/').to_owned(), query.to_owned());
        Self {
            method,
            path,
            query,
            headers: HeaderMap::new(),
            body: None,
            stale: Stale::AsConfigured,
            may_be_kept: true,
            flaw,
        }
    }

    /// Adds a segment to the path. It may hold anything: it stays one segment.
    #[must_use]
    pub fn segment(mut self, segment: &str) -> Self {
        // URLs take these two for "here" and "above", escaped or not: they would lead to another resource.
        if matches!(segment, "" | "." | "..") {
            self.flaw = Some(format!("{segment:?} cannot be a part of a path"));
        }
        self.path.push('/');
        self.path.extend(utf8_percent_encode(segment, ESCAPED));
        self
    }

    /// Adds a parameter to the query.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        let before = std::mem::take(&mut self.query);
        self.query = form_urlencoded::Serializer::new(before).append_pair(name, value).finish();
        self
    }

    /// Adds a header. Answers are kept by their path, so that one to a call with a header of its own is not.
    #[must_use]
    pub fn header(self, name: HeaderName, value: &str) -> Self {
        self.fixed_header(name, value).uncached()
    }

    /// Adds a header that every call to its path has.
    #[must_use]
    pub(super) fn fixed_header(mut self, name: HeaderName, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => drop(self.headers.insert(name, value)),
            Err(_) => self.flaw = Some(format!("the header {name} cannot be {value:?}")),
        }
        self
    }

    /// Asks the API itself, whatever is kept, and keeps nothing of its answer.
    #[must_use]
    pub fn uncached(mut self) -> Self {
        self.may_be_kept = false;
        self
    }

    /// Sends `value` as JSON.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.body = Some(body.into()),
            Err(error) => self.flaw = Some(format!("the body cannot be JSON: {error}")),
        }
        self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.uncached()
    }

    /// Makes it safe to send more than once: the API does it only once for one key. See
    /// [`crate::Attempt::idempotency_key`].
    #[must_use]
    pub fn idempotency_key(self, key: &str) -> Self {
        self.header(super::IDEMPOTENCY_KEY, key)
    }

    /// Takes an answer that was fresh up to so long ago if no new one can be had, whatever `stale_if_error` says. Zero
    /// takes none. Answers are kept for as long as the configuration says: `stale_if_error` is the longest there is.
    #[must_use]
    pub fn stale_up_to(mut self, age: Duration) -> Self {
        self.stale = Stale::UpTo(age);
        self
    }

    /// Says whether making it twice does no more than making it once: RFC 9110 section 9.2.2.
    #[must_use]
    pub(super) fn is_idempotent(&self) -> bool {
        self.method.is_idempotent() || self.headers.contains_key(super::IDEMPOTENCY_KEY)
    }

    /// The path without its query, which may hold what people are called.
    pub(super) fn path(&self) -> &str {
        if self.path.is_empty() { "/" } else { &self.path }
    }

    /// Path and query, as they are sent and as answers are kept by.
    #[must_use]
    pub fn path_and_query(&self) -> String {
        let path = self.path();
        if self.query.is_empty() { path.to_owned() } else { format!("{path}?{}", self.query) }
    }

    /// Why it cannot be sent.
    pub(super) fn flaw(&self) -> Option<&str> {
        self.flaw.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_stays_in_its_place() {
        let check = |call: Call, expected: &str| {
            assert_eq!(call.path_and_query(), expected);
            assert_eq!(call.flaw(), None);
        };
        check(Call::get("/"), "/");
        check(Call::get("/a?b=c").query("d", "e&f=g"), "/a?b=c&d=e%26f%3Dg");
        check(Call::get("/repos/").segment("../x").segment("a?b#c/d"), "/repos/..%2Fx/a%3Fb%23c%2Fd");
        check(Call::get("/w").query("q", "São Paulo"), "/w?q=S%C3%A3o+Paulo");
    }

    #[test]
    fn what_would_lead_elsewhere_is_not_sent() {
        for call in [
            Call::get("repos"),
            Call::get("/repos").segment(".."),
            Call::get("/repos").segment("."),
            Call::get("/repos").segment(""),
            Call::get("/").header(header::ACCEPT, "a\nb"),
        ] {
            assert!(call.flaw().is_some(), "{}", call.path_and_query());
        }
    }

    #[test]
    fn a_write_is_repeated_only_with_a_key() {
        assert!(Call::get("/").is_idempotent() && Call::put("/").is_idempotent() && Call::delete("/").is_idempotent());
        assert!(!Call::post("/").is_idempotent());
        assert!(Call::post("/").idempotency_key("k").is_idempotent());
    }
}
