//! Keys that requests name: got from their provider once, and kept.
//!
//! A request comes here only after its key's place was held against the provider's own hosts, and before anything about
//! it is proven. So everything is bounded: how many keys are kept, how many are being got, how long that takes and is
//! waited for, and how soon a place that had none is asked again. Of a place it is remembered what that said, or that
//! it said nothing, never that others came first. Whatever fails is ours to mend and not the sender's: 503.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
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
/// Time to get one, once it is its turn.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Time to wait for that turn. With the above less than the ten seconds for which the least patient provider waits.
const TURN_TIMEOUT: Duration = Duration::from_secs(3);

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
    /// It did not come in time.
    #[error("the key at {location} did not come within {TIMEOUT:?}")]
    Timeout {
        /// Its place.
        location: KeyLocation,
    },
    /// Others were being got for too long; nobody was asked for this one.
    #[error("the key at {location} was not asked for: {FETCHES_MAX} others were being got for {TURN_TIMEOUT:?}")]
    Busy {
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
    /// One for all of them, made with the first: that reads the system's authorities.
    client: OnceLock<PublicClient>,
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self { kept: Mutex::default(), fetches: Semaphore::new(FETCHES_MAX), client: OnceLock::new() }
    }

    /// The key at `location`.
    pub(crate) async fn get(&self, location: KeyLocation, verifier: &Verifier) -> Result<FetchedKey, KeyError> {
        if let Some(known) = self.find(&location) {
            return known.key(location);
        }
        let fetch = Box::pin(self.fetch(&location, verifier));
        self.get_by(&location, fetch).await
    }

    /// The key at `location`, which `fetch` gets once it is its turn, and if nobody has asked for it until then.
    async fn get_by(
        &self,
        location: &KeyLocation,
        fetch: impl Future<Output = Result<FetchedKey, KeyError>>,
    ) -> Result<FetchedKey, KeyError> {
        let Ok(Ok(_turn)) = tokio::time::timeout(TURN_TIMEOUT, self.fetches.acquire()).await else {
            return Err(KeyError::Busy { location: location.clone() });
        };
        if let Some(known) = self.find(location) {
            return known.key(location.clone());
        }
        let fetched = tokio::time::timeout(TIMEOUT, fetch).await;
        let fetched = fetched.unwrap_or_else(|_| Err(KeyError::Timeout { location: location.clone() }));
        let known = fetched.as_ref().map_or(Known::Nothing, |key| Known::Key(key.clone()));
        // Before the turn ends: whoever is next must see it.
        self.kept().put(location.clone(), known, Instant::now());
        fetched
    }

    async fn fetch(&self, location: &KeyLocation, verifier: &Verifier) -> Result<FetchedKey, KeyError> {
        let client = self.client()?;
        let url = location.url().as_str();
        let question = verifier.question(location, Timestamp::now());
        let answer = match question.map_err(|_| KeyError::NoSecret { location: location.clone() })? {
            None => client.get(url).await,
            Some(question) => {
                let json = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
                client.send(Method::POST, url, json, Bytes::copy_from_slice(&question)).await
            }
        };
        let answer = answer.map_err(|source| KeyError::Fetch { location: location.clone(), source })?;
        let status = answer.status();
        let key = location.read(answer.body()).filter(|_| status == StatusCode::OK);
        key.ok_or_else(|| KeyError::NoKey { location: location.clone(), status })
    }

    /// Follows no redirect and asks public addresses only, whoever uses it and however often.
    fn client(&self) -> Result<&PublicClient, KeyError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = PublicClient::try_new().map_err(KeyError::Client)?;
        Ok(self.client.get_or_init(|| client))
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

impl Known {
    fn is_key(&self) -> bool {
        matches!(self, Self::Key(_))
    }

    fn key(self, location: KeyLocation) -> Result<FetchedKey, KeyError> {
        match self {
            Self::Key(key) => Ok(key),
            Self::Nothing => Err(KeyError::Absent { location }),
        }
    }
}

/// What is known of one place.
#[derive(Debug)]
struct Entry {
    known: Known,
    until: Instant,
    /// When a request last named it.
    named: Instant,
}

/// What is known of places, each for its time.
#[derive(Debug, Default)]
struct Kept(HashMap<KeyLocation, Entry>);

impl Kept {
    fn find(&mut self, location: &KeyLocation, now: Instant) -> Option<Known> {
        let entry = self.0.get_mut(location).filter(|entry| now < entry.until)?;
        entry.named = now;
        Some(entry.known.clone())
    }

    /// Keeps what was found, if there is room for it.
    fn put(&mut self, location: KeyLocation, known: Known, now: Instant) {
        self.0.retain(|_, entry| now < entry.until);
        let before = self.0.get(&location).map(|entry| entry.known.is_key());
        // Another request may have got the key that this one did not get.
        let is_worse = before == Some(true) && !known.is_key();
        if is_worse || (before.is_none() && !self.make_room(&known)) {
            return;
        }
        let lasts = if known.is_key() { KEPT_FOR } else { ABSENT_FOR };
        self.0.insert(location, Entry { known, until: now + lasts, named: now });
    }

    /// Makes room for one more, and says whether there is any. First goes, of the places without a key, the one named
    /// the longest ago; only for a key goes that of the keys. So made-up places push out none, and one that is in use
    /// stays, however many others there are.
    fn make_room(&mut self, newcomer: &Known) -> bool {
        if self.0.len() < KEPT_MAX {
            return true;
        }
        let last = self.0.iter().min_by_key(|(_, entry)| (entry.known.is_key(), entry.named));
        let last = last.filter(|(_, entry)| newcomer.is_key() || !entry.known.is_key());
        let Some(place) = last.map(|(place, _)| place.clone()) else { return false };
        self.0.remove(&place).is_some()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
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

    fn fetched() -> FetchedKey {
        let pem = include_bytes!("../../fixtures/keys/certificate.pem");
        place(1).read(pem).expect("a certificate")
    }

    fn key() -> Known {
        Known::Key(fetched())
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

    #[test]
    fn a_key_in_use_stays_and_of_the_others_the_one_named_the_longest_ago_goes() {
        let (mut kept, key, start) = (Kept::default(), key(), Instant::now());
        let places: Vec<KeyLocation> = (0..3 * KEPT_MAX).map(place).collect();
        let at = |number: usize| start + Duration::from_secs(number as u64);
        for (number, new) in places.iter().enumerate() {
            kept.put(new.clone(), key.clone(), at(number));
            assert_eq!(kept.find(new, at(number)).as_ref(), Some(&key), "{number}: none is kept out");
            assert_eq!(kept.find(&places[0], at(number)).as_ref(), Some(&key), "{number}: it is in use");
        }
        let (now, oldest) = (at(places.len()), places.len() - (KEPT_MAX - 1));
        assert_eq!(kept.0.len(), KEPT_MAX);
        assert_eq!(kept.find(&places[oldest - 1], now), None);
        assert_eq!(kept.find(&places[oldest], now), Some(key));
    }

    #[test]
    fn a_place_without_a_key_takes_no_keys_place() {
        let (mut kept, key, now) = (Kept::default(), key(), Instant::now());
        for number in 0..KEPT_MAX {
            kept.put(place(number), key.clone(), now);
        }
        kept.put(place(KEPT_MAX), Known::Nothing, now);
        assert_eq!((kept.0.len(), kept.find(&place(KEPT_MAX), now)), (KEPT_MAX, None));
        // Nor its own, where another request got it in the meantime.
        kept.put(place(0), Known::Nothing, now);
        assert_eq!(kept.find(&place(0), now), Some(key));
    }

    #[tokio::test]
    async fn a_place_that_had_no_key_is_not_asked_again_at_once() {
        let keys = Keys::new();
        keys.kept().put(place(1), Known::Nothing, Instant::now());
        assert!(matches!(keys.get(place(1), &paypal()).await, Err(KeyError::Absent { .. })));
        keys.kept().put(place(2), key(), Instant::now());
        assert!(keys.get(place(2), &paypal()).await.is_ok());
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// Every turn there is.
    fn turns(keys: &Keys) -> Vec<tokio::sync::SemaphorePermit<'_>> {
        (0..FETCHES_MAX).map(|_| keys.fetches.try_acquire().expect("a turn")).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_vain_for_others_is_told_so_and_nothing_is_remembered() {
        let (keys, began) = (Keys::new(), tokio::time::Instant::now());
        let others = turns(&keys);
        assert!(matches!(keys.get(place(1), &paypal()).await, Err(KeyError::Busy { .. })));
        assert_eq!((began.elapsed().as_secs(), keys.find(&place(1))), (TURN_TIMEOUT.as_secs(), None));
        drop(others);
        let got = keys.get_by(&place(1), async { Ok(fetched()) }).await;
        assert_eq!((got.ok(), keys.find(&place(1))), (Some(fetched()), Some(key())));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_to_get_a_key_begins_with_its_turn() {
        let keys = Keys::new();
        let (others, slow, silent) = (turns(&keys), place(1), place(2));
        let leave = async move {
            tokio::time::sleep(TURN_TIMEOUT - SECOND).await;
            drop(others);
        };
        let answer = async {
            tokio::time::sleep(TIMEOUT - SECOND).await;
            Ok(fetched())
        };
        let (got, ()) = tokio::join!(keys.get_by(&slow, answer), leave);
        assert_eq!((got.ok(), keys.find(&slow)), (Some(fetched()), Some(key())));
        // Nor does it last for longer.
        let began = tokio::time::Instant::now();
        let got = keys.get_by(&silent, std::future::pending()).await;
        assert!(matches!(got, Err(KeyError::Timeout { .. })), "{got:?}");
        assert_eq!((began.elapsed().as_secs(), keys.find(&silent)), (TIMEOUT.as_secs(), Some(Known::Nothing)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waited_for_a_place_that_failed_does_not_ask_it_again() {
        let (keys, location, asked) = (Keys::new(), place(1), AtomicUsize::new(0));
        let fail = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(SECOND).await;
            Err(KeyError::NoKey { location: location.clone(), status: StatusCode::NOT_FOUND })
        };
        let answers = join_all((0..10 * FETCHES_MAX).map(|_| keys.get_by(&location, fail()))).await;
        let absent = answers.iter().filter(|answer| matches!(answer, Err(KeyError::Absent { .. }))).count();
        assert_eq!((asked.into_inner(), absent), (FETCHES_MAX, 9 * FETCHES_MAX));
    }

    #[tokio::test]
    async fn one_client_gets_every_key() {
        let keys = Keys::new();
        let first = keys.client().expect("a client");
        assert!(std::ptr::eq(first, keys.client().expect("a client")));
    }
}
