//! The systems that an order goes through: a CRM, a stock, a payment service and two more, as one server.
//!
//! They do what such systems promise: a write whose `Idempotency-Key` they have seen is answered as before, and has no
//! second effect. What they did is kept in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};

use crate::upstream::{Asked, Does, Upstream};

/// The systems, by the names that the configuration gives them.
pub const NAMES: [&str; 5] = ["crm", "stock", "payment", "notify", "analytics"];

/// Something that happened at a system, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// Such as `POST /crm/deals`, with `{id}` for an id.
    pub action: String,
    /// Under which key.
    pub key: String,
}

/// The running systems.
#[derive(Debug)]
pub struct Systems {
    upstream: Upstream,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    effects: Vec<Effect>,
    answers: BTreeMap<String, Value>,
    refuses: BTreeMap<String, (u16, Value)>,
    hangs: BTreeSet<String>,
    without_key: Vec<String>,
}

impl Systems {
    /// Starts them; every write works.
    ///
    /// # Errors
    /// If there is no port.
    pub async fn start() -> Result<Self> {
        let shared = Arc::<Mutex<Shared>>::default();
        let rule = Arc::clone(&shared);
        let upstream = Upstream::start(move |asked| lock(&rule).answer(asked)).await?;
        Ok(Self { upstream, shared })
    }

    /// `[api.NAME]` of each system, with these settings.
    #[must_use]
    pub fn config(&self, settings: &str) -> String {
        let url = self.upstream.url();
        NAMES.iter().map(|name| format!("[api.{name}]\nbase_url = \"{url}/{name}\"\n{settings}\n")).collect()
    }

    /// Refuses an action from now on.
    pub fn refuse(&self, action: &str, status: u16, why: &str) {
        lock(&self.shared).refuses.insert(action.to_owned(), (status, json!({ "error": why })));
    }

    /// Does every action again.
    pub fn refuse_nothing(&self) {
        lock(&self.shared).refuses.clear();
    }

    /// Does an action the next time, but never answers.
    pub fn hang_once(&self, action: &str) {
        lock(&self.shared).hangs.insert(action.to_owned());
    }

    /// Says whether [`Self::hang_once`] is still to come.
    #[must_use]
    pub fn is_to_hang(&self) -> bool {
        !lock(&self.shared).hangs.is_empty()
    }

    /// Everything that was done for one event, in order.
    #[must_use]
    pub fn effects_of(&self, event_key: &str) -> Vec<String> {
        let shared = lock(&self.shared);
        let of_event = shared.effects.iter().filter(|effect| effect.key.starts_with(event_key));
        of_event.map(|effect| effect.action.clone()).collect()
    }

    /// Writes that came without a key: there must be none.
    #[must_use]
    pub fn without_key(&self) -> Vec<String> {
        lock(&self.shared).without_key.clone()
    }

    /// How often an action was asked for, done anew or not.
    #[must_use]
    pub fn asked_for(&self, action: &str) -> usize {
        self.upstream.asked().iter().filter(|asked| action_of(asked) == action).count()
    }
}

impl Shared {
    fn answer(&mut self, asked: &Asked) -> Does {
        let action = action_of(asked);
        if asked.method == Method::GET {
            return Does::json(&json!({ "contacts": [] }));
        }
        if let Some((status, body)) = self.refuses.get(&action) {
            return Does::answer(*status, body);
        }
        let Some(key) = asked.headers.get("idempotency-key").and_then(|key| key.to_str().ok()) else {
            self.without_key.push(action);
            return Does::status(400);
        };
        let id = json!({ "id": format!("id-{}", self.effects.len() + 1) });
        if !self.answers.contains_key(key) {
            self.effects.push(Effect { action: action.clone(), key: key.to_owned() });
            self.answers.insert(key.to_owned(), id);
        }
        if self.hangs.remove(&action) {
            return Does::hangs();
        }
        Does::answer(if asked.method == Method::POST { 201 } else { 200 }, &self.answers[key])
    }
}

/// The request's method and path, with `{id}` in the place of our own ids.
fn action_of(asked: &Asked) -> String {
    let path = asked.path.split('?').next().unwrap_or_default();
    let parts = path.split('/').map(|part| if part.starts_with("id-") { "{id}" } else { part });
    format!("{} {}", asked.method, parts.collect::<Vec<_>>().join("/"))
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
