//! The token source against a small token endpoint that does what each test tells it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_shared::config::{Config, OAuthClientAuth, SealKey};
use tidegate_shared::ledger::embedded::EmbeddedLedger;
use tidegate_shared::process;
use tidegate_shared::store::Store;
use url::{Url, form_urlencoded};

use super::*;

const SECRET: &str = "client secret with a space & more";
const SECOND: Duration = Duration::from_secs(1);

/// A key of the seal, each byte of which is `byte`.
pub(crate) fn seal_key(byte: u8) -> SealKey {
    let text = format!("[oauth]\nkeys = [\"{}\"]", hex::encode([byte; 32]));
    let config = Config::parse("tidegate.toml", &text, &|_| None).expect("a configuration");
    config.seal_keys.into_iter().next().expect("one key")
}

/// One request to the token endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) headers: HeaderMap,
    pub(crate) form: HashMap<String, String>,
}

type Answer = Box<dyn Fn(usize, &Asked) -> Response + Send + Sync>;

/// A token endpoint.
pub(crate) struct Server {
    pub(crate) url: Url,
    pub(crate) asked: Mutex<Vec<Asked>>,
    answer: Mutex<Answer>,
    count: AtomicUsize,
    delay_ms: AtomicU64,
}

impl Server {
    /// A server whose tokens live for `expires_in` seconds: `access-1` with `refresh-1`, then `access-2`, and so on.
    pub(crate) async fn start(expires_in: u64, tasks: &Tasks) -> Arc<Self> {
        process::install_tls();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/token", listener.local_addr().expect("an address"));
        let server = Arc::new(Self {
            url: url.parse().expect("a URL"),
            asked: Mutex::default(),
            answer: Mutex::new(Box::new(move |number, _| token(number, json!({ "expires_in": expires_in })))),
            count: AtomicUsize::new(0),
            delay_ms: AtomicU64::new(0),
        });
        let router = axum::Router::new().fallback(answer).with_state(Arc::clone(&server));
        drop(tasks.spawn_job(async move { axum::serve(listener, router).await }));
        server
    }

    pub(crate) fn answers(&self, answer: impl Fn(usize, &Asked) -> Response + Send + Sync + 'static) {
        *self.answer.lock().expect("no panic") = Box::new(answer);
    }

    fn is_slow(&self, delay: Duration) {
        self.delay_ms.store(u64::try_from(delay.as_millis()).expect("short"), Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn last(&self) -> Asked {
        self.asked.lock().expect("no panic").last().expect("a request").clone()
    }
}

async fn answer(State(server): State<Arc<Server>>, headers: HeaderMap, body: String) -> Response {
    let asked = Asked { headers, form: form_urlencoded::parse(body.as_bytes()).into_owned().collect() };
    server.asked.lock().expect("no panic").push(asked.clone());
    let number = server.count.fetch_add(1, Ordering::Relaxed) + 1;
    tokio::time::sleep(Duration::from_millis(server.delay_ms.load(Ordering::Relaxed))).await;
    (server.answer.lock().expect("no panic"))(number, &asked)
}

/// The answer with the token `number`, and `more` in it.
pub(crate) fn token(number: usize, more: Value) -> Response {
    let mut body = json!({
        "access_token": format!("access-{number}"),
        "token_type": "Bearer",
        "refresh_token": format!("refresh-{number}"),
    });
    let Value::Object(more) = more else { panic!("an object") };
    body.as_object_mut().expect("an object").extend(more);
    body.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    axum::Json(body).into_response()
}

fn refusal(status: u16, error: &str, description: &str) -> Response {
    let body = json!({ "error": error, "error_description": description });
    (StatusCode::from_u16(status).expect("a status"), axum::Json(body)).into_response()
}

/// A ledger in a folder of its own.
pub(crate) async fn ledger() -> (TempDir, Ledger) {
    let folder = TempDir::new().expect("a folder");
    let ledger = Ledger::Embedded(EmbeddedLedger::new(Store::open(folder.path()).expect("a store")));
    ledger.migrate(&[]).await.expect("the tables");
    (folder, ledger)
}

fn config(server: &Server, grant: OAuthGrant) -> OAuthConfig {
    OAuthConfig {
        grant,
        token_url: server.url.clone(),
        client_id: "tide:gate".to_owned(),
        client_secret: Some(Secret::new(SECRET.to_owned())),
        client_auth: OAuthClientAuth::Header,
        scopes: vec!["read".to_owned(), "write".to_owned()],
        renew_before: 60 * SECOND,
    }
}

pub(crate) fn name() -> ApiName {
    ApiName::try_new("crm").expect("a name")
}

/// A worker that acts for itself.
async fn client(server: &Server, tasks: &Tasks) -> (TempDir, OAuth) {
    let (folder, ledger) = ledger().await;
    let config = config(server, OAuthGrant::ClientCredentials);
    (folder, OAuth::start(&config, name(), ledger, None, tasks).expect("a token source"))
}

/// A worker that acts for a user.
pub(crate) fn user(server: &Server, redirect_url: &str, ledger: &Ledger, tasks: &Tasks) -> OAuth {
    let grant = OAuthGrant::AuthorizationCode {
        authorize_url: "https://id.example/authorize?tenant=t".parse().expect("a URL"),
        redirect_url: redirect_url.parse().expect("a URL"),
    };
    let seal = Seal::new(&[seal_key(7)]).map(Arc::new);
    OAuth::start(&config(server, grant), name(), ledger.clone(), seal, tasks).expect("a token source")
}

const REDIRECT: &str = "https://tide.example/oauth/crm/callback";

/// Goes through a login as a browser does, with `code` as what the server gave it.
async fn log_in(oauth: &OAuth) -> Result<(), ConsentError> {
    let begun = oauth.begin_login(Timestamp::now()).expect("users are asked");
    let state = begun.url.query_pairs().find(|(name, _)| name == "state").expect("a state").1.into_owned();
    let callback = json!({ "state": state, "code": "the-code" });
    let callback = serde_json::from_value(callback).expect("a callback");
    oauth.finish_login(Some(begun.cookie.expose()), callback, Timestamp::now()).await
}

async fn text(oauth: &OAuth) -> String {
    oauth.token().await.expect("a token").expose().to_owned()
}

/// Asks 100 times at once; all must get the same token.
async fn all(oauth: &OAuth) -> String {
    let tokens = join_all((0..100).map(|_| text(oauth))).await;
    assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
    tokens[0].clone()
}

#[tokio::test]
async fn a_hundred_callers_share_one_renewal() {
    let tasks = Tasks::new();
    let server = Server::start(1, &tasks).await;
    let (_folder, oauth) = client(&server, &tasks).await;
    server.is_slow(SECOND / 5);
    assert_eq!(all(&oauth).await, "access-1");
    assert_eq!(server.count(), 1);
    tokio::time::sleep(SECOND * 11 / 10).await;
    assert_eq!(all(&oauth).await, "access-2", "the first has ended");
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn a_hundred_refusals_are_one_renewal() {
    let tasks = Tasks::new();
    let server = Server::start(3_600, &tasks).await;
    let (_folder, oauth) = client(&server, &tasks).await;
    let first = oauth.token().await.expect("a token");
    server.is_slow(SECOND / 5);
    let again = join_all((0..100).map(|_| async {
        oauth.refused(&first);
        text(&oauth).await
    }));
    assert!(again.await.iter().all(|token| token == "access-2"));
    oauth.refused(&first);
    assert_eq!(text(&oauth).await, "access-2", "what was refused is not in use any more");
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn an_early_renewal_holds_nobody_up() {
    let tasks = Tasks::new();
    // Renewed at half of its life, though renew_before is longer.
    let server = Server::start(4, &tasks).await;
    let (_folder, oauth) = client(&server, &tasks).await;
    assert_eq!(text(&oauth).await, "access-1");
    tokio::time::sleep(SECOND).await;
    assert_eq!(text(&oauth).await, "access-1");
    assert_eq!(server.count(), 1, "renewed before half of its life");
    tokio::time::sleep(SECOND * 11 / 10).await;
    server.is_slow(SECOND / 2);
    let started = Instant::now();
    assert_eq!(all(&oauth).await, "access-1");
    assert!(started.elapsed() < SECOND / 4, "{:?}", started.elapsed());
    tokio::time::sleep(SECOND * 3 / 4).await;
    assert_eq!(text(&oauth).await, "access-2");
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn a_caller_that_leaves_breaks_no_renewal_off() {
    let tasks = Tasks::new();
    let server = Server::start(3_600, &tasks).await;
    let (_folder, oauth) = client(&server, &tasks).await;
    server.is_slow(SECOND / 4);
    assert!(tokio::time::timeout(SECOND / 20, oauth.token()).await.is_err());
    assert_eq!(text(&oauth).await, "access-1");
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_failing_endpoint_is_not_stormed() {
    let tasks = Tasks::new();
    let server = Server::start(3_600, &tasks).await;
    let (_folder, oauth) = client(&server, &tasks).await;
    server.answers(|_, _| StatusCode::SERVICE_UNAVAILABLE.into_response());
    let started = Instant::now();
    while started.elapsed() < SECOND * 25 / 10 {
        let calls = join_all((0..10).map(|_| oauth.token())).await;
        assert!(calls.iter().all(|call| matches!(call, Err(TokenError::Unavailable(_)))), "{calls:?}");
        tokio::time::sleep(SECOND / 100).await;
    }
    // At 0 s and after 1 s; not again before 3 s.
    assert_eq!(server.count(), 2);
    assert!(oauth.problem().expect("a problem").contains("503"), "{:?}", oauth.problem());
    server.answers(|number, _| token(number, json!({})));
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(text(&oauth).await, "access-3");
    assert_eq!(oauth.problem(), None);
}

#[tokio::test]
async fn every_error_of_the_token_endpoint_is_told_from_the_others() {
    let tasks = Tasks::new();
    let server = Server::start(3_600, &tasks).await;
    let ask = async || {
        let (_folder, oauth) = client(&server, &tasks).await;
        let error = oauth.token().await.expect_err("no token");
        assert_eq!(oauth.problem(), Some(error.to_string()));
        error
    };
    let codes = ["invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type"];
    for code in codes.into_iter().chain(["invalid_scope", "of_its_own"]) {
        for status in [400, 401, 200] {
            server.answers(move |_, _| refusal(status, code, "why\nnot"));
            let expected = TokenError::Refused { error: code.to_owned(), description: "why not".to_owned() };
            assert_eq!(ask().await, expected);
        }
    }
    let unavailable = async |what: &str, answer: fn() -> Response| {
        server.answers(move |_, _| answer());
        let error = ask().await;
        assert!(matches!(error, TokenError::Unavailable(_)), "{what}: {error:?}");
        assert!(!error.to_string().contains("leaked"), "{what}: {error}");
    };
    unavailable("500", || refusal(500, "invalid_client", "")).await;
    unavailable("429", || refusal(429, "slow_down", "")).await;
    unavailable("a redirect", || (StatusCode::FOUND, [(header::LOCATION, "/token2")]).into_response()).await;
    unavailable("garbage", || ([(header::CONTENT_TYPE, "application/json")], "leaked {").into_response()).await;
    unavailable("a page", || ([(header::CONTENT_TYPE, "text/html")], "leaked").into_response()).await;
    unavailable("nothing", || StatusCode::OK.into_response()).await;
    unavailable("another type", || token(1, json!({ "token_type": "mac" }))).await;
    unavailable("no type", || token(1, json!({ "token_type": null }))).await;
    unavailable("no token", || token(1, json!({ "access_token": "" }))).await;
    unavailable("a header of its own", || token(1, json!({ "access_token": "a\r\nleaked: b" }))).await;
    unavailable("too much", || token(1, json!({ "more": "x".repeat(70_000) }))).await;
    let (_folder, oauth) = client(&server, &tasks).await;
    server.answers(|_, _| {
        token(1, json!({ "token_type": "bearer", "expires_in": u64::MAX, "more": "x".repeat(60_000) }))
    });
    assert_eq!(text(&oauth).await, "access-1");
}

#[tokio::test]
async fn the_client_proves_itself_as_configured() {
    let tasks = Tasks::new();
    let server = Server::start(3_600, &tasks).await;
    let (_folder, oauth) = client(&server, &tasks).await;
    text(&oauth).await;
    let asked = server.last();
    // RFC 6749 section 2.3.1 and appendix B: id and secret are form-encoded first. Encoded here by hand.
    let expected = base64_of("tide%3Agate:client+secret+with+a+space+%26+more");
    assert_eq!(asked.headers[header::AUTHORIZATION], format!("Basic {expected}"));
    assert_eq!(asked.form["grant_type"], "client_credentials");
    assert_eq!(asked.form["scope"], "read write");
    assert!(!asked.form.contains_key("client_secret"));

    let (_folder, ledger) = ledger().await;
    let config = OAuthConfig { client_auth: OAuthClientAuth::Body, ..config(&server, OAuthGrant::ClientCredentials) };
    text(&OAuth::start(&config, name(), ledger, None, &tasks).expect("a token source")).await;
    let asked = server.last();
    assert!(!asked.headers.contains_key(header::AUTHORIZATION));
    assert_eq!((asked.form["client_id"].as_str(), asked.form["client_secret"].as_str()), ("tide:gate", SECRET));
}

fn base64_of(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn a_grant_is_shared_and_renewed_by_one_worker() {
    let tasks = Tasks::new();
    let server = Server::start(2, &tasks).await;
    let (_folder, ledger) = ledger().await;
    let workers: Vec<_> = (0..4).map(|_| user(&server, REDIRECT, &ledger, &tasks)).collect();
    assert_eq!(workers[0].token().await, Err(TokenError::NotGranted(name())));
    log_in(&workers[1]).await.expect("a grant");
    assert_eq!(text(&workers[1]).await, "access-1");
    let asked = server.last();
    assert_eq!((asked.form["grant_type"].as_str(), asked.form["code"].as_str()), ("authorization_code", "the-code"));
    assert_eq!(asked.form["redirect_uri"], REDIRECT);
    server.answers(|number, _| token(number, json!({ "expires_in": 3_600 })));
    server.is_slow(SECOND / 2);
    tokio::time::sleep(SECOND * 21 / 10).await;
    let tokens = join_all(workers.iter().map(all)).await;
    assert_eq!(tokens, ["access-2"; 4]);
    assert_eq!(server.count(), 2);
    let asked = server.last();
    assert_eq!(
        (asked.form["grant_type"].as_str(), asked.form["refresh_token"].as_str()),
        ("refresh_token", "refresh-1")
    );
    assert!(workers.iter().all(|worker| worker.problem().is_none()));
    // A worker that starts now finds the grant.
    assert_eq!(text(&user(&server, REDIRECT, &ledger, &tasks)).await, "access-2");
}

#[tokio::test]
async fn a_refused_grant_is_renewed_once_by_all_workers() {
    let tasks = Tasks::new();
    let server = Server::start(3_600, &tasks).await;
    let (_folder, ledger) = ledger().await;
    let workers: Vec<_> = (0..3).map(|_| user(&server, REDIRECT, &ledger, &tasks)).collect();
    log_in(&workers[0]).await.expect("a grant");
    let worker = user(&server, REDIRECT, &ledger, &tasks);
    let token = worker.token().await.expect("a token");
    worker.refused(&token);
    assert_eq!(text(&worker).await, "access-2");
    // The worker of the login still holds the first.
    workers[0].refused(&workers[0].token().await.expect("a token"));
    assert_eq!(text(&workers[0]).await, "access-2");
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn a_refresh_token_that_is_not_rotated_is_kept() {
    let tasks = Tasks::new();
    let server = Server::start(1, &tasks).await;
    let (_folder, ledger) = ledger().await;
    let oauth = user(&server, REDIRECT, &ledger, &tasks);
    log_in(&oauth).await.expect("a grant");
    server.answers(|number, _| token(number, json!({ "expires_in": 1, "refresh_token": null })));
    for number in 2..4 {
        tokio::time::sleep(SECOND * 11 / 10).await;
        assert_eq!(text(&oauth).await, format!("access-{number}"));
        assert_eq!(server.last().form["refresh_token"], "refresh-1");
    }
}

#[tokio::test]
async fn a_grant_that_the_server_ended_is_lost_until_a_login() {
    let tasks = Tasks::new();
    let server = Server::start(1, &tasks).await;
    let (_folder, ledger) = ledger().await;
    let oauth = user(&server, REDIRECT, &ledger, &tasks);
    log_in(&oauth).await.expect("a grant");
    tokio::time::sleep(SECOND * 11 / 10).await;
    server.answers(|_, _| refusal(400, "invalid_grant", "revoked: refresh-1"));
    let error = oauth.token().await.expect_err("no grant");
    assert!(matches!(&error, TokenError::Revoked(why) if why.contains("log in again at /oauth/crm/login")), "{error}");
    assert_eq!(oauth.problem(), Some(error.to_string()));
    // Another worker knows it from the ledger, and does not ask the server.
    let other = user(&server, REDIRECT, &ledger, &tasks);
    assert_eq!(other.token().await, Err(error));
    assert_eq!(server.count(), 2);
    server.answers(|number, _| token(number, json!({ "expires_in": 3_600 })));
    log_in(&other).await.expect("a grant");
    assert_eq!(text(&other).await, "access-3");
    assert_eq!(other.problem(), None);
}

#[tokio::test]
async fn a_server_that_is_away_ends_no_grant() {
    let tasks = Tasks::new();
    let server = Server::start(1, &tasks).await;
    let (_folder, ledger) = ledger().await;
    let oauth = user(&server, REDIRECT, &ledger, &tasks);
    log_in(&oauth).await.expect("a grant");
    tokio::time::sleep(SECOND * 11 / 10).await;
    for answer in [|| refusal(503, "", ""), || refusal(401, "invalid_client", "")] {
        server.answers(move |_, _| answer());
        let error = user(&server, REDIRECT, &ledger, &tasks).token().await.expect_err("no token");
        assert!(matches!(error, TokenError::Unavailable(_) | TokenError::Refused { .. }), "{error}");
        let grant = ledger.grant(name()).await.expect("a ledger").expect("a grant");
        assert!(grant.sealed.is_some() && grant.renewing_until.is_none(), "{grant:?}");
    }
    server.answers(|number, _| token(number, json!({})));
    assert_eq!(text(&oauth).await, "access-4");
    assert_eq!(server.last().form["refresh_token"], "refresh-1");
}

#[tokio::test]
async fn a_token_without_an_end_is_used_until_it_is_refused() {
    let tasks = Tasks::new();
    let server = Server::start(1, &tasks).await;
    let (_folder, ledger) = ledger().await;
    let oauth = user(&server, REDIRECT, &ledger, &tasks);
    server.answers(|number, _| token(number, json!({ "refresh_token": null })));
    log_in(&oauth).await.expect("a grant");
    let held = oauth.token().await.expect("a token");
    oauth.refused(&held);
    assert!(matches!(oauth.token().await, Err(TokenError::Revoked(_))));
    assert_eq!(server.count(), 1);
    tokio::time::sleep(SECOND * 13 / 10).await;
    assert!(matches!(oauth.token().await, Err(TokenError::Revoked(_))), "what was refused came back from the ledger");
    log_in(&oauth).await.expect("a grant");
    assert_eq!(text(&oauth).await, "access-2");
}

#[tokio::test]
async fn the_ledger_holds_no_token_in_the_clear() {
    let tasks = Tasks::new();
    let server = Server::start(3_600, &tasks).await;
    let (_folder, ledger) = ledger().await;
    log_in(&user(&server, REDIRECT, &ledger, &tasks)).await.expect("a grant");
    let sealed = ledger.grant(name()).await.expect("a ledger").expect("a grant").sealed.expect("a seal");
    let holds = |text: &str| sealed.windows(text.len()).any(|piece| piece == text.as_bytes());
    assert!(!holds("access-") && !holds("refresh-"));
    assert!(Seal::new(&[seal_key(7)]).expect("a key").open("grant:crm", &sealed).is_ok());
}

#[tokio::test]
async fn no_secret_is_printed() {
    let tasks = Tasks::new();
    let server = Server::start(3_600, &tasks).await;
    let (_folder, ledger) = ledger().await;
    let oauth = user(&server, REDIRECT, &ledger, &tasks);
    log_in(&oauth).await.expect("a grant");
    let begun = oauth.begin_login(Timestamp::now()).expect("users are asked");
    let token = oauth.token().await.expect("a token");
    server.answers(|_, asked| {
        let form = &asked.form;
        let sent = ["refresh_token", "code_verifier", "code"].map(|name| form.get(name).map_or("", String::as_str));
        refusal(400, &format!("bad {SECRET}"), &format!("I know {} and {SECRET}", sent.concat()))
    });
    oauth.refused(&token);
    let error = oauth.token().await.expect_err("no token");
    assert!(error.to_string().contains("I know ***"), "{error}");
    let denied = log_in(&oauth).await.expect_err("no grant");
    let config = config(&server, OAuthGrant::ClientCredentials);
    let printed = format!(
        "{oauth:?} {token:?} {error:?} {error} {denied:?} {denied} {config:?} {:?} {:?} {:?}",
        Seal::new(&[seal_key(7)]),
        oauth.problem(),
        begun.cookie,
    );
    let key = hex::encode([7; 32]);
    let debug_of_key = format!("{:?}", [7_u8; 32]);
    for secret in [SECRET, "access-", "refresh-", "the-code", begun.cookie.expose(), &key, &debug_of_key] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
    let verifier = server.last().form["code_verifier"].clone();
    assert!(!printed.contains(&verifier));
}

#[tokio::test]
async fn a_slow_endpoint_is_given_up() {
    let tasks = Tasks::new();
    let server = Server::start(3_600, &tasks).await;
    let (_folder, oauth) = client(&server, &tasks).await;
    server.is_slow(60 * SECOND);
    let started = Instant::now();
    assert!(matches!(oauth.token().await, Err(TokenError::Unavailable(_))));
    assert!((9..12).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}
