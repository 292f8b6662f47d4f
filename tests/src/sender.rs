//! Senders that sign on their own: code of the tests', not the code under test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt as _;
use futures_util::stream;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use reqwest::Client;
use serde_json::Value;
use sha2::Sha256;

/// The secret of every source in tests.
pub const SECRET: &str = "tidegate-test-secret-of-32-bytes";

/// A signed request, not sent yet.
#[derive(Debug, Clone)]
pub struct Signed {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, `null` if it is not JSON.
    pub body: Value,
    /// The headers.
    pub headers: HeaderMap,
}

impl Answer {
    /// `accepted`, `duplicate` or the error's code.
    #[must_use]
    pub fn outcome(&self) -> &str {
        self.body["status"].as_str().or_else(|| self.body["error"]["code"].as_str()).unwrap_or("-")
    }
}

/// HMAC-SHA256 in hexadecimal.
#[must_use]
pub fn hmac_hex(secret: &str, parts: &[&[u8]]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    hex::encode(mac.finalize().into_bytes())
}

/// Signs as GitHub does: <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>.
#[must_use]
pub fn github(id: &str, event: &str, body: impl Into<Vec<u8>>) -> Signed {
    let body = body.into();
    let signature = format!("sha256={}", hmac_hex(SECRET, &[&body]));
    let headers = [
        ("content-type", "application/json"),
        ("x-github-delivery", id),
        ("x-github-event", event),
        ("x-hub-signature-256", &signature),
    ];
    Signed { headers: map(&headers), body }
}

/// Signs as Stripe does: <https://docs.stripe.com/webhooks#verify-manually>.
#[must_use]
pub fn stripe(body: impl Into<Vec<u8>>) -> Signed {
    let body = body.into();
    let now = Timestamp::now().as_second().to_string();
    let signature = hmac_hex(SECRET, &[now.as_bytes(), b".", &body]);
    let header = format!("t={now},v1={signature}");
    Signed { headers: map(&[("content-type", "application/json"), ("stripe-signature", &header)]), body }
}

/// A successful payment of one unit, signed as Stripe does.
#[must_use]
pub fn payment(event_id: &str, payment_id: &str) -> Signed {
    stripe(format!(
        r#"{{"id": "{event_id}", "object": "event", "type": "payment_intent.succeeded", "data": {{"object": {{"id": "{payment_id}", "object": "payment_intent", "amount": 1, "currency": "usd"}}}}}}"#
    ))
}

/// Signs as `generic` wants it.
#[must_use]
pub fn generic(id: &str, event_type: &str, body: impl Into<Vec<u8>>) -> Signed {
    let body = body.into();
    let now = Timestamp::now().as_second().to_string();
    let signature = hmac_hex(SECRET, &[now.as_bytes(), b".", &body]);
    let headers = [
        ("x-webhook-signature", signature.as_str()),
        ("x-webhook-timestamp", &now),
        ("x-webhook-id", id),
        ("x-webhook-event", event_type),
    ];
    Signed { headers: map(&headers), body }
}

fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header's value"))
    };
    pairs.iter().map(pair).collect()
}

/// A client as a provider has one: no retries of its own, a time limit.
///
/// # Panics
/// If the client cannot be built.
#[must_use]
pub fn client() -> Client {
    tidegate_shared::process::install_tls();
    Client::builder().no_proxy().timeout(Duration::from_secs(15)).build().expect("a client")
}

/// Sends once. A status that was read counts, as it does for providers, whatever became of the body behind it.
///
/// # Errors
/// If there is no answer.
pub async fn send(client: &Client, url: &str, signed: &Signed) -> Result<Answer> {
    let sent = client.post(url).headers(signed.headers.clone()).body(signed.body.clone()).send().await?;
    let (status, headers) = (sent.status().as_u16(), sent.headers().clone());
    let body = sent.bytes().await.ok().and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default();
    Ok(Answer { status, body, headers })
}

/// What became of a load.
#[derive(Debug, Default)]
pub struct Report {
    /// Answers by status and outcome, `0 no answer` included.
    pub answers: BTreeMap<String, usize>,
    /// Requests whose sender gave up.
    pub given_up: usize,
}

/// Sends every request as a provider does, `at_once` at a time and to the URLs in turn: again until it reads a 2xx.
pub async fn send_until_accepted(urls: Vec<String>, requests: Vec<Signed>, at_once: usize) -> Report {
    let (client, urls) = (client(), Arc::new(urls));
    let sends = requests.into_iter().enumerate().map(|(number, request)| {
        let (client, urls) = (client.clone(), Arc::clone(&urls));
        async move { send_one_until_accepted(&client, &urls, number, &request).await }
    });
    let mut report = Report::default();
    let mut sends = stream::iter(sends).buffer_unordered(at_once);
    while let Some((answers, accepted)) = sends.next().await {
        for answer in answers {
            *report.answers.entry(answer).or_default() += 1;
        }
        report.given_up += usize::from(!accepted);
    }
    report
}

/// A provider's patience: this often, with this pause.
const TRIES: usize = 400;
const PAUSE: Duration = Duration::from_millis(150);

async fn send_one_until_accepted(
    client: &Client,
    urls: &[String],
    number: usize,
    request: &Signed,
) -> (Vec<String>, bool) {
    let mut answers = Vec::new();
    for attempt in 0..TRIES {
        let url = &urls[(number + attempt) % urls.len()];
        match send(client, url, request).await {
            Ok(answer) => {
                answers.push(format!("{} {}", answer.status, answer.outcome()));
                if (200..300).contains(&answer.status) {
                    return (answers, true);
                }
            }
            Err(_) => answers.push("0 no answer".to_owned()),
        }
        tokio::time::sleep(PAUSE).await;
    }
    (answers, false)
}
