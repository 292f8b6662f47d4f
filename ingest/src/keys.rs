//! Keys that requests name: got from their provider once, and kept.
//!
//! A request comes here only after its key's place was held against the provider's own hosts, and before anything about
//! it is proven. So everything is bounded: how many keys are kept, how many are being got, how long that takes, and how
//! soon a place that had none is asked again. Whatever fails is ours to mend and not the sender's: 503.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use tidegate_shared::guard::{GuardError, PublicClient};
use tidegate_shared::signature::{FetchedKey, KeyLocation, Verifier};
use tokio::sync::Semaphore;

/// Keys kept at most; a provider has a few at a time.
const KEPT_MAX: usize = 64;
/// How long a key is used before it is got again; certificates are valid for months.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3_600);
/// How long a place without a key is not asked again.
const ABSENT_FOR: Duration = Duration::from_secs(30);
/// Keys that are being got at once: forged requests can name ever new places.
const FETCHES_MAX: usize = 4;
/// Time to get one: providers wait for an answer meanwhile.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The client cannot be built.
    #[error("keys cannot be got: TLS cannot be set up")]
    Client(#[source] GuardError),
    /// There was no answer.
    #[error("the key at {location} was not got")]
    Fetch {
        /// Its place.
        location: KeyLocation,
        /// What went wrong.
        #[source]
        source: GuardError,
    },
    /// It did not come in time, or too many others were being got.
    #[error("the key at {location} did not come within {TIMEOUT:?}")]
    Timeout {
        /// Its place.
        location: KeyLocation,
    },
    /// What is there is no key.
    #[error("there is no key at {location}: status {status}")]
    NoKey {
        /// Its place.
        location: KeyLocation,
        /// The answer's status.
        status: StatusCode,
    },
    /// To ask for it takes a secret of ours, and none counts now.
    #[error("no secret of the source counts now, and the key at {location} cannot be asked for without one")]
    NoSecret {
        /// Its place.
        location: KeyLocation,
    },
    /// It failed a moment ago.
    #[error("the key at {location} failed a moment ago")]
    Absent {
        /// Its place.
        location: KeyLocation,
    },
}

/// The keys of every source.
#[derive(Debug)]
pub(crate) struct Keys {
    kept: Mutex<Kept>,
    fetches: Semaphore,
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self { kept: Mutex::default(), fetches: Semaphore::new(FETCHES_MAX) }
    }

    /// The key at `location`.
    pub(crate) async fn get(&self, location: KeyLocation, verifier: &Verifier) -> Result<FetchedKey, KeyError> {
        match self.find(&location) {
            Some(Known::Key(key)) => return Ok(key),
            Some(Known::Nothing) => return Err(KeyError::Absent { location }),
            None => {}
        }
        let fetched = tokio::time::timeout(TIMEOUT, self.fetch(&location, verifier)).await;
        let fetched = fetched.unwrap_or_else(|_| Err(KeyError::Timeout { location: location.clone() }));
        let known = fetched.as_ref().map_or(Known::Nothing, |key| Known::Key(key.clone()));
        self.kept().put(location, known, Instant::now());
        fetched
    }

    async fn fetch(&self, location: &KeyLocation, verifier: &Verifier) -> Result<FetchedKey, KeyError> {
        let permit = self.fetches.acquire().await;
        // Another request may have got it meanwhile.
        if let Some(Known::Key(key)) = self.find(location) {
            return Ok(key);
        }
        let client = PublicClient::try_new().map_err(KeyError::Client)?;
        let url = location.url().as_str();
        let question = verifier.question(location, Timestamp::now());
        let answer = match question.map_err(|_| KeyError::NoSecret { location: location.clone() })? {
            None => client.get(url).await,
            Some(question) => {
                let json = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
                client.send(Method::POST, url, json, Bytes::copy_from_slice(&question)).await
            }
        };
        drop(permit);
        let answer = answer.map_err(|source| KeyError::Fetch { location: location.clone(), source })?;
        let status = answer.status();
        let key = location.read(answer.body()).filter(|_| status == StatusCode::OK);
        key.ok_or_else(|| KeyError::NoKey { location: location.clone(), status })
    }

    fn find(&self, location: &KeyLocation) -> Option<Known> {
        self.kept().find(location, Instant::now())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a place.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    Key(FetchedKey),
    /// It was asked, and had no key.
    Nothing,
}

/// What is known of places, each for its time.
#[derive(Debug, Default)]
struct Kept(HashMap<KeyLocation, (Known, Instant)>);

impl Kept {
    fn find(&self, location: &KeyLocation, now: Instant) -> Option<Known> {
        self.0.get(location).filter(|(_, until)| now < *until).map(|(known, _)| known.clone())
    }

    /// Keeps what was found, while there is room. Only what has run out makes room for places without a key, and only
    /// those make room for a key: made-up places push out none.
    fn put(&mut self, location: KeyLocation, known: Known, now: Instant) {
        self.0.retain(|_, (_, until)| now < *until);
        let is_key = known != Known::Nothing;
        if self.0.len() >= KEPT_MAX && is_key {
            let place = self.0.iter().find(|(_, (known, _))| *known == Known::Nothing).map(|(place, _)| place.clone());
            if let Some(place) = place {
                self.0.remove(&place);
            }
        }
        if self.0.len() < KEPT_MAX {
            let lasts = if is_key { KEPT_FOR } else { ABSENT_FOR };
            self.0.insert(location, (known, now + lasts));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use tidegate_shared::config::Config;
    use tidegate_shared::signature::Received;

    use super::*;

    fn paypal() -> Arc<Verifier> {
        let source = "[[source]]\nname = \"p\"\nprovider = \"paypal\"\nsetting = \"WH-1\"\n";
        let config = Config::parse("test", source, &|_| None).expect("a source");
        Arc::clone(&config.sources.values().next().expect("a source").verifier)
    }

    /// A place, by way of the only rule that lets one through.
    pub(crate) fn place(number: usize) -> KeyLocation {
        let url = format!("https://api.paypal.com/v1/notifications/certs/CERT-{number}");
        let headers = HeaderMap::from_iter([
            ("paypal-transmission-sig".parse().expect("a name"), HeaderValue::from_static("AAAA")),
            ("paypal-cert-url".parse().expect("a name"), HeaderValue::try_from(url).expect("a value")),
        ]);
        paypal().needs(&Received::post(&headers, b"{}")).expect("a place").expect("a place")
    }

    fn key() -> Known {
        let pem = include_bytes!("../../fixtures/keys/certificate.pem");
        Known::Key(place(1).read(pem).expect("a certificate"))
    }

    #[test]
    fn a_key_is_kept_for_a_day_and_its_absence_for_a_moment() {
        let (mut kept, now) = (Kept::default(), Instant::now());
        kept.put(place(1), key(), now);
        kept.put(place(2), Known::Nothing, now);
        assert_eq!(kept.find(&place(1), now), Some(key()));
        assert_eq!(kept.find(&place(2), now), Some(Known::Nothing));
        assert_eq!(kept.find(&place(3), now), None);
        assert_eq!(kept.find(&place(2), now + ABSENT_FOR), None);
        assert_eq!(kept.find(&place(1), now + KEPT_FOR), None);
    }

    #[test]
    fn made_up_places_push_out_no_key_and_take_no_more_room() {
        let (mut kept, now) = (Kept::default(), Instant::now());
        kept.put(place(0), key(), now);
        for number in 1..=2 * KEPT_MAX {
            kept.put(place(number), Known::Nothing, now);
        }
        assert_eq!(kept.0.len(), KEPT_MAX);
        assert_eq!(kept.find(&place(0), now), Some(key()));
        kept.put(place(1_000), key(), now);
        assert_eq!((kept.0.len(), kept.find(&place(1_000), now)), (KEPT_MAX, Some(key())));
    }

    #[tokio::test]
    async fn a_place_that_had_no_key_is_not_asked_again_at_once() {
        let keys = Keys::new();
        keys.kept().put(place(1), Known::Nothing, Instant::now());
        assert!(matches!(keys.get(place(1), &paypal()).await, Err(KeyError::Absent { .. })));
        keys.kept().put(place(2), key(), Instant::now());
        assert!(keys.get(place(2), &paypal()).await.is_ok());
    }
}
