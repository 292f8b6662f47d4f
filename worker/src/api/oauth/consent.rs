//! A user's consent: what goes out with the browser, and what must come back with it.
//!
//! What the callback is checked by travels in the browser itself, sealed in a cookie, so that any worker can finish what
//! another began. A callback counts only where its state is the cookie's (RFC 6749 section 10.12), and its code is good
//! only with the cookie's verifier (RFC 7636).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use tidegate_shared::event::ApiName;
use tidegate_shared::signature::Secret;
use url::Url;

use super::TokenError;
use super::endpoint::{Endpoint, told};
use super::seal::{Seal, random};

/// How long a user may take to consent.
pub(crate) const CONSENT_TIME: Duration = Duration::from_secs(600);
/// Random bytes of a state and of a verifier: 256 bits, as RFC 7636 section 7.1 recommends.
const RANDOM: usize = 32;

/// How users of one API are asked.
#[derive(Debug)]
pub(super) struct Consent {
    pub(super) api: ApiName,
    pub(super) authorize_url: Url,
    pub(super) redirect_url: Url,
    pub(super) seal: Arc<Seal>,
}

/// A login that was begun.
#[derive(Debug)]
pub(crate) struct Begun {
    /// Where the browser goes.
    pub(crate) url: Url,
    /// What it brings back in its cookie.
    pub(crate) cookie: Secret,
}

/// What the authorization server sends back with the browser: RFC 6749 sections 4.1.2 and 4.1.2.1, RFC 9207.
#[derive(Deserialize)]
pub(crate) struct Callback {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
    iss: Option<String>,
}

/// Why a callback connects nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConsentError {
    /// No cookie, one that is too old, or a state that is not its own.
    #[error("this is not the answer to a login that this browser began in the last ten minutes")]
    NotBegun,
    #[error("the answer comes from {0:?}, which is not the authorization server")]
    ForeignIssuer(String),
    #[error("the authorization server says {error}{}{description}", if description.is_empty() { "" } else { ": " })]
    Denied { error: String, description: String },
    #[error("the answer has no code")]
    NoCode,
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// What the code is exchanged with.
#[derive(Debug)]
pub(super) struct Consented {
    pub(super) code: Secret,
    pub(super) verifier: Secret,
}

/// What the cookie seals.
#[derive(Serialize, Deserialize)]
struct Pending {
    state: String,
    verifier: String,
    until: Timestamp,
}

impl Consent {
    /// Begins a login at `now`.
    pub(super) fn begin(&self, endpoint: &Endpoint, now: Timestamp) -> Begun {
        let text = || URL_SAFE_NO_PAD.encode(random::<RANDOM>());
        let pending = Pending { state: text(), verifier: text(), until: now + CONSENT_TIME };
        let verifier = Secret::new(pending.verifier.clone());
        let url = endpoint.consent_url(&self.authorize_url, &self.redirect_url, &pending.state, &verifier);
        let plain = serde_json::to_vec(&pending).expect("texts and times are JSON");
        let cookie = Secret::new(URL_SAFE_NO_PAD.encode(self.seal.seal(&self.purpose(), &plain)));
        Begun { url, cookie }
    }

    /// Judges what came back at `now`. The state is looked at first: without it nothing of the rest is worth showing.
    pub(super) fn judge(
        &self,
        cookie: Option<&str>,
        callback: Callback,
        now: Timestamp,
    ) -> Result<Consented, ConsentError> {
        let pending = cookie.and_then(|cookie| self.pending(cookie)).filter(|pending| now < pending.until);
        let pending = pending.ok_or(ConsentError::NotBegun)?;
        let state = callback.state.unwrap_or_default();
        if !bool::from(state.as_bytes().ct_eq(pending.state.as_bytes())) {
            return Err(ConsentError::NotBegun);
        }
        if let Some(issuer) = callback.iss.filter(|issuer| !self.is_issuer(issuer)) {
            return Err(ConsentError::ForeignIssuer(told(&issuer, &[])));
        }
        if let Some(error) = callback.error {
            let description = callback.error_description.unwrap_or_default();
            return Err(ConsentError::Denied { error: told(&error, &[]), description: told(&description, &[]) });
        }
        let code = callback.code.filter(|code| !code.is_empty()).ok_or(ConsentError::NoCode)?;
        Ok(Consented { code: Secret::new(code), verifier: Secret::new(pending.verifier) })
    }

    fn pending(&self, cookie: &str) -> Option<Pending> {
        let plain = self.seal.open(&self.purpose(), &URL_SAFE_NO_PAD.decode(cookie).ok()?).ok()?;
        serde_json::from_slice(&plain).ok()
    }

    /// RFC 9207 section 2.4 compares the whole issuer; its origin is what the configuration knows of it.
    fn is_issuer(&self, issuer: &str) -> bool {
        Url::parse(issuer).is_ok_and(|issuer| issuer.origin() == self.authorize_url.origin())
    }

    fn purpose(&self) -> String {
        format!("login:{}", self.api)
    }
}
