use std::net::SocketAddr;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_shared::config::Config;
use tidegate_shared::ledger::embedded::EmbeddedLedger;
use tidegate_shared::process::install_tls;
use tidegate_shared::serve::{Limits, serve};
use tidegate_shared::store::Store;
use tokio::net::TcpListener;

use super::*;

const TOKEN: &str = "shop-0123456789abcdef";

/// A worker's API on a port of its own, without an external API behind it.
struct Server {
    address: SocketAddr,
    client: Client,
    store: Store,
    tasks: Tasks,
    _folder: TempDir,
}

impl Server {
    async fn start(http: &str) -> Self {
        install_tls();
        let text = format!("[backend]\nkind = \"embedded\"\npath = \"data\"\n[http]\n{http}");
        let config = Config::parse("test.toml", &text, &|_| None).expect("a configuration");
        let limits = Limits::of(&config.ingest);
        let config = config.http.expect("[http] is there");
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let ledger = Ledger::Embedded(EmbeddedLedger::new(store.clone()));
        ledger.migrate(&migrations()).await.expect("it migrates");
        let tasks = Tasks::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let http = Arc::new(Http::new(&config, Apis::default(), ledger, tasks.clone()));
        let state = Router::new().route("/health", axum::routing::get(|| std::future::ready("as it is")));
        tasks.spawn("server", serve(listener, router(http, state, LoginState::new([], &[])), limits, tasks.clone()));
        Self { address, client: Client::new(), store, tasks, _folder: folder }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (reqwest::header::HeaderMap, u16, Value) {
        let request = self.client.request(method, format!("http://{}{path}", self.address)).body(body.to_owned());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = request.send().await.expect("an answer");
        let (headers, status) = (answer.headers().clone(), answer.status().as_u16());
        let text = answer.text().await.expect("a body");
        (headers, status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let (_, status, body) = self.ask(Method::GET, path, &[], "").await;
        (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
    }

    async fn balance(&self) -> Vec<(String, i64)> {
        let read = self.store.read(|connection| {
            let mut rows = connection.prepare("SELECT currency, amount FROM balances ORDER BY currency")?;
            rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        });
        read.await.expect("balances")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.shutdown().cancel();
    }
}

#[tokio::test]
async fn a_payment_is_made_once_for_each_key() {
    let server = Server::start("").await;
    let pay = |key: &'static str, body: &'static str| {
        let server = &server;
        async move {
            let headers: &[_] = if key.is_empty() { &[] } else { &[("idempotency-key", key)] };
            server.ask(Method::POST, "/payments", headers, body).await
        }
    };
    let (headers, status, first) = pay("\"a\"", r#"{"amount":4200,"currency":"EUR"}"#).await;
    assert_eq!((status, headers.contains_key("idempotency-replayed")), (201, false), "{first}");
    assert_eq!((&first["status"], &first["currency"]), (&json!("succeeded"), &json!("eur")));
    // Quoted or bare, it is the same key, and the made-up id stays the same.
    let (headers, status, second) = pay("a", r#"{"amount":4200,"currency":"EUR"}"#).await;
    assert_eq!((status, &second), (201, &first));
    assert_eq!(headers["idempotency-replayed"], "true");
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(server.balance().await, [("eur".to_owned(), 4_200)]);

    let check = async |key, body, expected: (u16, &str)| {
        let (headers, status, problem) = pay(key, body).await;
        assert_eq!((status, problem["error"]["code"].as_str().unwrap_or_default()), expected, "{problem}");
        assert_eq!(headers["x-request-id"], problem["error"]["request_id"].as_str().expect("text"));
    };
    check("", "{}", (400, "idempotency_key_missing")).await;
    check("\"", "{}", (400, "idempotency_key_invalid")).await;
    check("a", r#"{"amount":1,"currency":"EUR"}"#, (422, "idempotency_key_reused")).await;
    check("b", "{}", (400, "bad_request")).await;
    let (_, status, _) = pay("b", r#"{"amount":1,"currency":"usd","payment_id":"p"}"#).await;
    assert_eq!(status, 201, "a refused request does not use up its key");
    check("c", r#"{"amount":2,"currency":"usd","payment_id":"p"}"#, (409, "conflict")).await;
    assert_eq!(server.balance().await, [("eur".to_owned(), 4_200), ("usd".to_owned(), 1)]);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let server = Server::start("").await;
    let body = "x".repeat(BODY_MAX + 1);
    let (_, status, problem) = server.ask(Method::POST, "/payments", &[("idempotency-key", "a")], &body).await;
    assert_eq!((status, &problem["error"]["code"]), (413, &json!("body_too_large")));
}

#[tokio::test]
async fn the_api_wants_its_callers() {
    let server = Server::start(&format!("callers = {{ shop = {TOKEN:?} }}")).await;
    for (method, path) in [
        (Method::GET, "/weather/London"),
        (Method::GET, "/rates/EUR"),
        (Method::GET, "/github/repos/a/b"),
        (Method::DELETE, "/cache/github/repos/a/b"),
        (Method::POST, "/payments"),
    ] {
        let (headers, status, problem) = server.ask(method.clone(), path, &[], "").await;
        assert_eq!((status, &problem["error"]["code"]), (401, &json!("unauthorized")), "{path}");
        assert_eq!(headers["www-authenticate"], "Bearer");
        let bearer = format!("Bearer {TOKEN}");
        let (_, status, _) = server.ask(method, path, &[("authorization", &bearer)], "").await;
        assert_ne!(status, 401, "{path}");
    }
    for path in ["/health", "/openapi.json", "/docs/"] {
        assert_eq!(server.ask(Method::GET, path, &[], "").await.1, 200, "{path}");
    }
}

#[tokio::test]
async fn each_answer_without_an_api_says_why() {
    let server = Server::start("").await;
    let check = async |path: &str, status: u16, code: &str| {
        assert_eq!(server.get(path).await, (status, code.to_owned()), "{path}");
    };
    check("/weather/London", 404, "api_not_configured").await;
    check("/weather/S%C3%A3o%20Paulo%2F1", 404, "api_not_configured").await;
    check("/rates/eur", 404, "api_not_configured").await;
    check("/github/repos/a/b", 404, "api_not_configured").await;
    check("/weather/%20", 400, "bad_request").await;
    check("/weather/%ff", 400, "bad_request").await;
    check(&format!("/weather/{}", "x".repeat(101)), 400, "bad_request").await;
    check("/rates/EURO", 400, "bad_request").await;
    check(&format!("/github/repos/a/{}", "x".repeat(101)), 400, "bad_request").await;
    check("/nowhere", 404, "not_found").await;
    check("/payments", 405, "method_not_allowed").await;
    let (_, status, problem) = server.ask(Method::DELETE, "/cache/crm/v1/users?a=b", &[], "").await;
    assert_eq!((status, &problem["error"]["code"]), (404, &json!("unknown_api")));
    let (headers, _, problem) = server.ask(Method::GET, "/weather/London", &[("x-request-id", "mine")], "").await;
    assert_eq!(
        (&headers["x-request-id"], &problem["error"]["request_id"]),
        (&"mine".parse().expect("a value"), &json!("mine"))
    );
    assert!(problem["error"]["message"].as_str().expect("text").contains("[api.openweathermap]"), "{problem}");
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let server = Server::start("").await;
    let (headers, status, page) = server.ask(Method::GET, "/docs/", &[], "").await;
    assert_eq!(status, 200);
    let policy = headers["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("default-src 'none'") && !policy.contains("http") && !policy.contains('*'), "{policy}");
    let page = page.as_str().expect("a page");
    assert!(page.contains("swagger-ui-bundle.js") && !page.contains("://") && !page.contains("<script>"), "{page}");
    let (_, _, script) = server.ask(Method::GET, "/docs/swagger-initializer.js", &[], "").await;
    assert!(script.as_str().is_some_and(|script| script.contains("/openapi.json")), "{script}");
}
