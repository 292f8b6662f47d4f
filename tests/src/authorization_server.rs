//! An authorization server with the resource that it guards: RFC 6749, 6750, 7636 and 9207, strict as a good one is.
//!
//! It shares no code with the client under test. Users consent at once, or deny, as the test says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;
use url::{Url, form_urlencoded};

mod book;

use book::{Book, Refusal};
pub use book::{Client, Grant};

/// The client that every server knows.
pub const CLIENT_ID: &str = "tidegate";
/// Its secret, with what must be encoded: RFC 6749 section 2.3.1.
pub const CLIENT_SECRET: &str = "s3cret: of +the% client";

/// What the token endpoint does instead of answering as it should.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answers this code of RFC 6749 section 5.2.
    Error(&'static str),
    /// Answers 500.
    Broken,
    /// Answers 200 with what is no JSON.
    Garbage,
    /// Sends the request on to this place.
    Redirect(Url),
    /// Answers as it should, after so long.
    Slow(Duration),
    /// Answers `invalid_request`, and tells every value that it was sent.
    Tells,
}

/// A running authorization server.
#[derive(Debug, Clone)]
pub struct AuthorizationServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    issuer: String,
    book: Mutex<Book>,
    fault: Mutex<Option<Fault>>,
    counts: Mutex<BTreeMap<String, usize>>,
    refusals: Mutex<Vec<String>>,
    issued: Mutex<Vec<String>>,
}

impl AuthorizationServer {
    /// Starts a server that knows [`CLIENT_ID`], which may do everything and comes back to `redirect_uri`.
    ///
    /// # Errors
    /// If there is no port for it.
    pub async fn start(redirect_uri: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut book = Book::default();
        book.register(Client {
            id: CLIENT_ID.to_owned(),
            secret: Some(CLIENT_SECRET.to_owned()),
            redirect_uris: vec![redirect_uri.to_owned()],
            grants: Grant::ALL.to_vec(),
            scopes: vec!["read".to_owned(), "write".to_owned()],
        });
        let issuer = format!("http://{address}");
        let shared = Arc::new(Shared {
            issuer,
            book: Mutex::new(book),
            fault: Mutex::default(),
            counts: Mutex::default(),
            refusals: Mutex::default(),
            issued: Mutex::default(),
        });
        let router = Router::new()
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/resource", get(resource))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, shared })
    }

    /// The authorization endpoint.
    #[must_use]
    pub fn authorize_url(&self) -> Url {
        self.at("/authorize")
    }

    /// The token endpoint.
    #[must_use]
    pub fn token_url(&self) -> Url {
        self.at("/token")
    }

    /// What the tokens open, by GET.
    #[must_use]
    pub fn resource_url(&self) -> Url {
        self.at("/resource")
    }

    /// Makes a client known, in place of one with its id.
    pub fn register(&self, client: Client) {
        self.book().register(client);
    }

    /// Users deny from now on, or consent again.
    pub fn users_deny(&self, deny: bool) {
        self.book().deny = deny;
    }

    /// How long access tokens live that are issued from now on; `None` does not say it, and they never end.
    pub fn tokens_live(&self, life: Option<Duration>) {
        self.book().token_life = life;
    }

    /// How long codes live that are issued from now on.
    pub fn codes_live(&self, life: Duration) {
        self.book().code_life = life;
    }

    /// Whether a refresh token is good only once, which it is at first.
    pub fn rotates(&self, rotates: bool) {
        self.book().rotates = rotates;
    }

    /// What the token endpoint does instead of its work, or that again.
    pub fn fails(&self, fault: Option<Fault>) {
        *self.shared.fault.lock().expect("no panic") = fault;
    }

    /// Requests to the token endpoint so far of this `grant_type`.
    #[must_use]
    pub fn count(&self, grant_type: &str) -> usize {
        self.shared.counts.lock().expect("no panic").get(grant_type).copied().unwrap_or(0)
    }

    /// Every request to the token endpoint so far that was refused as RFC 6749 section 5.2 says: its code and its cause.
    #[must_use]
    pub fn refusals(&self) -> Vec<String> {
        self.shared.refusals.lock().expect("no panic").clone()
    }

    /// Every code and token that was ever issued.
    #[must_use]
    pub fn issued(&self) -> Vec<String> {
        self.shared.issued.lock().expect("no panic").clone()
    }

    /// Says whether the resource takes this access token now.
    #[must_use]
    pub fn accepts(&self, token: &str) -> bool {
        self.book().accepts(token, Instant::now())
    }

    /// Ends every access token; what they can be renewed by stays.
    pub fn expire_all_access_tokens(&self) {
        self.book().expire_all_access_tokens();
    }

    /// Ends everything that was ever granted, as a user does in their account.
    pub fn revoke_all(&self) {
        self.book().revoke_all();
    }

    fn at(&self, path: &str) -> Url {
        format!("http://{}{path}", self.address).parse().expect("a URL")
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.shared.book()
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no panic")
    }

    fn note_issued(&self, texts: impl IntoIterator<Item = String>) {
        self.issued.lock().expect("no panic").extend(texts);
    }
}

/// The parameters of a request. `None` if one comes twice: RFC 6749 section 3.1.
fn parameters(text: &str) -> Option<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(text.as_bytes()).into_owned() {
        // An empty one counts as left out.
        if !value.is_empty() && all.insert(name, value).is_some() {
            return None;
        }
    }
    Some(all)
}

async fn authorize(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let bad = |why: &str| (StatusCode::BAD_REQUEST, why.to_owned()).into_response();
    let Some(asked) = parameters(&query.unwrap_or_default()) else { return bad("a parameter comes twice") };
    // RFC 6749 section 4.1.2.1: nobody is sent to a place that is not the client's.
    let Some(mut to) = shared.book().redirect_of(&asked) else { return bad("unknown client or redirect_uri") };
    let outcome = shared.book().authorize(&asked, Instant::now());
    shared.note_issued(outcome.iter().cloned());
    {
        let mut query = to.query_pairs_mut();
        match outcome {
            Ok(code) => query.append_pair("code", &code),
            Err(error) => query.append_pair("error", error).append_pair("error_description", "said by the server"),
        };
        if let Some(state) = asked.get("state") {
            query.append_pair("state", state);
        }
        query.append_pair("iss", &shared.issuer);
    }
    (StatusCode::FOUND, [(header::LOCATION, to.as_str())]).into_response()
}

async fn token(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> Response {
    let asked = parameters(&body);
    let grant_type = asked.as_ref().and_then(|asked| asked.get("grant_type")).cloned().unwrap_or_default();
    *shared.counts.lock().expect("no panic").entry(grant_type).or_default() += 1;
    let fault = shared.fault.lock().expect("no panic").clone();
    match fault {
        Some(Fault::Error(code)) => return refuse(Refusal::of(code)),
        Some(Fault::Broken) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Some(Fault::Garbage) => return ([(header::CONTENT_TYPE, "application/json")], "{\"access").into_response(),
        Some(Fault::Redirect(to)) => {
            return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to.as_str())]).into_response();
        }
        Some(Fault::Slow(wait)) => tokio::time::sleep(wait).await,
        Some(Fault::Tells) => {
            let told = asked.unwrap_or_default().into_values().collect::<Vec<_>>().join(" ");
            return answer(StatusCode::BAD_REQUEST, &json!({ "error": "invalid_request", "error_description": told }));
        }
        None => {}
    }
    let form = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/x-www-form-urlencoded");
    let Some(asked) = asked.filter(|_| form) else { return refuse(Refusal::of("invalid_request")) };
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let issued = shared.book().token(authorization, &asked, Instant::now());
    match issued {
        Ok(body) => {
            let tokens = ["access_token", "refresh_token"].map(|name| body[name].as_str().map(str::to_owned));
            shared.note_issued(tokens.into_iter().flatten());
            answer(StatusCode::OK, &body)
        }
        Err(refusal) => {
            shared.refusals.lock().expect("no panic").push(format!("{}: {}", refusal.code, refusal.why));
            refuse(refusal)
        }
    }
}

/// RFC 6749 section 5.2.
fn refuse(refusal: Refusal) -> Response {
    let body = json!({ "error": refusal.code, "error_description": refusal.why });
    if refusal.code != "invalid_client" {
        return answer(StatusCode::BAD_REQUEST, &body);
    }
    let mut response = answer(StatusCode::UNAUTHORIZED, &body);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"token\""));
    response
}

/// RFC 6749 section 5.1: not to be kept.
fn answer(status: StatusCode, body: &Value) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json;charset=UTF-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::PRAGMA, "no-cache"),
    ];
    (status, headers, body.to_string()).into_response()
}

/// RFC 6750 section 3.
async fn resource(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let refuse = |ask: &'static str| (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, ask)]).into_response();
    match given.and_then(|given| given.strip_prefix("Bearer ")) {
        None => refuse("Bearer realm=\"resource\""),
        Some(token) if shared.book().accepts(token, Instant::now()) => {
            axum::Json(json!({ "resource": "yours" })).into_response()
        }
        Some(_) => refuse("Bearer realm=\"resource\", error=\"invalid_token\""),
    }
}
