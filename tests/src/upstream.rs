//! An external API that answers as it is told: well, badly, late or not at all.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::serve::Listener;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// One request that reached it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// When.
    pub at: Instant,
    /// How.
    pub method: Method,
    /// What for, with its query.
    pub path: String,
    /// With these headers.
    pub headers: HeaderMap,
    /// With this body.
    pub body: Bytes,
}

/// What it does with a request.
#[derive(Debug, Clone)]
pub struct Does {
    wait: Duration,
    reply: Reply,
}

#[derive(Debug, Clone)]
enum Reply {
    Answer {
        status: StatusCode,
        headers: Vec<(&'static str, String)>,
        body: Bytes,
    },
    /// Promises a body and breaks the connection in its middle.
    Breaks,
}

impl Does {
    /// Answers 200 with JSON.
    #[must_use]
    pub fn json(value: &Value) -> Self {
        Self::answer(200, value)
    }

    /// Answers with JSON.
    #[must_use]
    pub fn answer(status: u16, value: &Value) -> Self {
        Self::text(status, &value.to_string())
    }

    /// Answers with a status and nothing to read.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::text(status, "")
    }

    /// Answers 200 with what is not JSON.
    #[must_use]
    pub fn garbage() -> Self {
        Self::text(200, "<html>surely not JSON</html>")
    }

    /// Answers with a text.
    #[must_use]
    pub fn text(status: u16, text: &str) -> Self {
        let status = StatusCode::from_u16(status).expect("a status");
        let body = Bytes::from(text.to_owned());
        Self { wait: Duration::ZERO, reply: Reply::Answer { status, headers: Vec::new(), body } }
    }

    /// Breaks the connection in the middle of the answer.
    #[must_use]
    pub fn breaks() -> Self {
        Self { wait: Duration::ZERO, reply: Reply::Breaks }
    }

    /// Does nothing until the client gives up.
    #[must_use]
    pub fn hangs() -> Self {
        Self::status(504).after(Duration::from_secs(3_600))
    }

    /// The same, so much later.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// The same with a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Reply::Answer { headers, .. } = &mut self.reply {
            headers.push((name, value.to_owned()));
        }
        self
    }
}

type Rule = Box<dyn Fn(&Asked) -> Does + Send + Sync>;

/// The API.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    asked: Mutex<Vec<Asked>>,
    /// First these, one for each request,
    script: Mutex<VecDeque<Does>>,
    /// then always this.
    rule: Mutex<Rule>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("asked", &lock(&self.asked).len()).finish_non_exhaustive()
    }
}

impl Upstream {
    /// Listens on a free port, and answers each request as `rule` says.
    ///
    /// # Errors
    /// If there is no port.
    pub async fn start(rule: impl Fn(&Asked) -> Does + Send + Sync + 'static) -> Result<Self> {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await?, rule)
    }

    /// Answers each request that comes there as `rule` says.
    ///
    /// # Errors
    /// If it does not listen.
    pub fn start_on<L>(listener: L, rule: impl Fn(&Asked) -> Does + Send + Sync + 'static) -> Result<Self>
    where
        L: Listener<Addr = SocketAddr>,
    {
        let address = listener.local_addr()?;
        let shared = Shared { asked: Mutex::default(), script: Mutex::default(), rule: Mutex::new(Box::new(rule)) };
        let shared = Arc::new(shared);
        let router = Router::new().fallback(serve).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("the API serves");
        });
        Ok(Self { address, shared, server })
    }

    /// Its `base_url`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Does these first, one for each request from now on.
    pub fn first(&self, script: impl IntoIterator<Item = Does>) {
        *lock(&self.shared.script) = script.into_iter().collect();
    }

    /// Answers each request by another rule from now on.
    pub fn always(&self, rule: impl Fn(&Asked) -> Does + Send + Sync + 'static) {
        *lock(&self.shared.rule) = Box::new(rule);
    }

    /// Every request so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.shared.asked).clone()
    }

    /// Stops listening: connections are refused from now on.
    pub async fn stop(mut self) {
        self.server.abort();
        // The listener is closed once the task is gone.
        drop((&mut self.server).await);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let asked = Asked { at: Instant::now(), method: parts.method, path, headers: parts.headers, body };
    lock(&shared.asked).push(asked.clone());
    let scripted = lock(&shared.script).pop_front();
    let does = scripted.unwrap_or_else(|| lock(&shared.rule)(&asked));
    answer(does).await
}

async fn answer(does: Does) -> Response {
    tokio::time::sleep(does.wait).await;
    match does.reply {
        Reply::Answer { status, headers, body } => {
            let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().expect("a header"));
            }
            response
        }
        Reply::Breaks => {
            let half: [Result<Bytes, std::io::Error>; 2] =
                [Ok(Bytes::from_static(b"{\"half\":")), Err(std::io::ErrorKind::ConnectionReset.into())];
            ([(header::CONTENT_LENGTH, "100")], Body::from_stream(stream::iter(half))).into_response()
        }
    }
}
