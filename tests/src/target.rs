//! An HTTP endpoint that records what reaches it and answers as it is told.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// One request that reached the endpoint.
#[derive(Debug, Clone)]
pub struct Call {
    /// When.
    pub at: Instant,
    /// With these headers.
    pub headers: HeaderMap,
    /// With this body.
    pub body: Bytes,
    /// What it was answered.
    pub answered: StatusCode,
}

impl Call {
    /// A header's value, or an empty text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// What the endpoint answers.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Seconds in `Retry-After`.
    pub retry_after: Option<u32>,
}

impl From<u16> for Answer {
    fn from(status: u16) -> Self {
        Self { status: StatusCode::from_u16(status).expect("a status"), retry_after: None }
    }
}

/// The endpoint.
#[derive(Debug)]
pub struct Target {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    calls: Mutex<Vec<Call>>,
    answer: Mutex<Answer>,
}

impl Target {
    /// Listens on a free port and answers 200.
    ///
    /// # Errors
    /// If there is no port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { calls: Mutex::default(), answer: Mutex::new(200.into()) });
        let router = Router::new().fallback(record).layer(DefaultBodyLimit::disable()).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("the endpoint serves");
        });
        Ok(Self { address, shared, server })
    }

    /// Where to deliver to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    /// Answers this from now on.
    pub fn answer(&self, answer: impl Into<Answer>) {
        *self.shared.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer.into();
    }

    /// Every call so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often each event was delivered and answered 2xx, by the provider's id.
    #[must_use]
    pub fn delivered(&self) -> HashMap<String, usize> {
        let mut delivered = HashMap::new();
        for call in self.calls().iter().filter(|call| call.answered.is_success()) {
            *delivered.entry(call.header("tidegate-event-id").to_owned()).or_default() += 1;
        }
        delivered
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn record(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let answer = *shared.answer.lock().unwrap_or_else(PoisonError::into_inner);
    let call = Call { at: Instant::now(), headers, body, answered: answer.status };
    shared.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    let mut response = (answer.status, "answered by the test").into_response();
    if let Some(seconds) = answer.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
