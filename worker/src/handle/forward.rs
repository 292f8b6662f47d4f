//! `forward`: delivers the event over HTTP to an endpoint of the operator's.
//!
//! The body goes out byte for byte with the provider's own headers. With a secret it is signed by the Standard
//! Webhooks scheme, so that the endpoint can tell it came from here. `Idempotency-Key` is the same for every attempt:
//! a delivery whose answer was lost is made again.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use reqwest::Client;
use reqwest::redirect::Policy;
use serde::Serialize;
use tidegate_shared::config::HandlerConfig;
use tidegate_shared::event::Event;
use tidegate_shared::ledger::Effects;
use tidegate_shared::provider;
use tidegate_shared::signature::{Scheme, Secret, ToSign};
use tidegate_shared::telemetry::chain;
use url::Url;

use super::{Attempt, Handler, Outcome};
use crate::api::retry::retry_after;
use crate::api::{cut, excerpt};
use crate::saga::{Saga, Step, StepError, StepResult};

/// Connections kept open to one endpoint while idle.
const IDLE_MAX: usize = 32;

/// Delivers to one URL: a saga of one step.
#[derive(Debug)]
pub(super) struct Forward {
    saga: Saga<()>,
}

#[derive(Debug)]
struct Endpoint {
    client: Client,
    url: Url,
    signing: Option<(Scheme, Secret)>,
}

/// What the event's story keeps of a delivery.
#[derive(Debug, Serialize)]
struct Delivered {
    status: u16,
}

impl Forward {
    pub(super) fn from_config(config: &HandlerConfig) -> Result<Self, String> {
        let endpoint = Arc::new(Endpoint::from_config(config)?);
        let saga = Saga::new().step("deliver", move |cx| {
            let endpoint = Arc::clone(&endpoint);
            async move { endpoint.deliver(&cx).await }
        });
        Ok(Self { saga })
    }
}

impl Handler for Forward {
    async fn handle(&self, attempt: Attempt<'_>) -> Outcome {
        self.saga.run(&attempt, (), |(), _| Ok(Effects::none())).await
    }
}

impl Endpoint {
    fn from_config(config: &HandlerConfig) -> Result<Self, String> {
        let url = config.url.clone().ok_or("a forward handler needs a url")?;
        // A redirect would send a signed body to a place that the operator did not name.
        let client = Client::builder()
            .redirect(Policy::none())
            .pool_max_idle_per_host(IDLE_MAX)
            .connect_timeout(config.timeout.min(Duration::from_secs(10)))
            .user_agent(concat!("Tidegate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| chain(&error).to_string())?;
        let signing = config.secret.clone().map(|secret| (signing_scheme(), secret));
        if let Some((scheme, secret)) = &signing {
            let probe = to_sign(b"", "probe", Timestamp::UNIX_EPOCH);
            scheme.sign(secret, &probe).map_err(|error| error.to_string())?;
        }
        Ok(Self { client, url, signing })
    }

    async fn deliver(&self, cx: &Step<()>) -> StepResult<Delivered> {
        let headers = self.headers(cx).map_err(|reason| StepError::retry(format!("cannot sign: {reason}")))?;
        let request = self.client.post(self.url.clone()).headers(headers).body(cx.event().body.clone());
        let response =
            request.send().await.map_err(|error| StepError::retry(chain(&error.without_url()).to_string()))?;
        let status = response.status();
        let after = retry_after(response.headers(), Timestamp::now());
        if status.is_success() {
            return Ok(Delivered { status: status.as_u16() });
        }
        Err(classify(status, after, &cut(excerpt(response).await)))
    }

    fn headers(&self, cx: &Step<()>) -> Result<HeaderMap, String> {
        let event = cx.event();
        let mut headers = original_headers(event);
        for (name, value) in [
            ("idempotency-key", cx.idempotency_key()),
            ("x-request-id", event.request_id.as_str()),
            ("traceparent", event.traceparent.as_deref().unwrap_or_default()),
            ("tidegate-source", event.source.as_str()),
            ("tidegate-event-id", event.id.as_str()),
            ("tidegate-event-type", event.event_type.as_str()),
            ("tidegate-attempt", &cx.number().to_string()),
        ] {
            // An id of a provider's may hold what a header cannot; the body has it all the same.
            if let Ok(value) = HeaderValue::from_str(value)
                && !value.is_empty()
            {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        if let Some((scheme, secret)) = &self.signing {
            let id = event.key.to_string();
            let message = to_sign(&event.body, &id, Timestamp::now());
            let signed = scheme.sign(secret, &message).map_err(|error| error.to_string())?;
            for (name, value) in &signed.headers {
                headers.insert(name, value.clone());
            }
        }
        Ok(headers)
    }
}

/// What an endpoint's answer means.
///
/// A 4xx says that this event will never be taken, so it becomes a dead letter at once and can be replayed once the
/// endpoint is mended; but not where the status itself says "later".
fn classify(status: StatusCode, after: Option<Duration>, excerpt: &str) -> StepError {
    let reason =
        if excerpt.is_empty() { format!("answered {status}") } else { format!("answered {status}: {excerpt}") };
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            StepError::Retry { after, reason }
        }
        StatusCode::GONE => StepError::reject(format!("{reason} (the endpoint says that it is gone for good)")),
        status if status.is_client_error() => StepError::reject(reason),
        status if status.is_redirection() => {
            StepError::reject(format!("{reason} (redirects are not followed; configure the final URL)"))
        }
        _ => StepError::Retry { after, reason },
    }
}

/// The provider's own headers, without those that belong to its connection to us.
fn original_headers(event: &Event) -> HeaderMap {
    let mut headers = event.headers.clone();
    for name in [header::HOST, header::CONTENT_LENGTH, header::ACCEPT_ENCODING, header::FORWARDED] {
        headers.remove(name);
    }
    headers
}

fn to_sign<'a>(body: &'a [u8], id: &'a str, timestamp: Timestamp) -> ToSign<'a> {
    ToSign { body, target: "/", id: Some(id), event_type: None, timestamp }
}

fn signing_scheme() -> Scheme {
    provider::preset("standard-webhooks").expect("the preset exists").scheme()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_its_meaning() {
        let after = Some(Duration::from_secs(7));
        let check = |status: u16, retries: bool| match classify(
            StatusCode::from_u16(status).expect("a status"),
            after,
            "why",
        ) {
            StepError::Retry { after: got, reason } => {
                assert!(retries, "{status}");
                assert_eq!(got, after);
                assert!(reason.contains("why"));
            }
            StepError::Reject { .. } => assert!(!retries, "{status}"),
        };
        for status in [408, 409, 425, 429, 500, 502, 503, 504, 599] {
            check(status, true);
        }
        for status in [301, 302, 400, 401, 403, 404, 410, 413, 422, 451] {
            check(status, false);
        }
    }
}
