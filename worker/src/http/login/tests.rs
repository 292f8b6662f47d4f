//! Logins over HTTP, as a browser makes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::redirect::Policy;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tidegate_shared::event::CallerName;
use tidegate_shared::ledger::Ledger;
use tidegate_shared::problem::Problem;
use tidegate_shared::signature::Secret;
use tidegate_shared::tasks::Tasks;
use url::Url;

use super::*;
use crate::api::oauth::tests::{Server, ledger, name, token as issued, user};

const REDIRECT: &str = "https://tide.example/oauth/crm/callback";
const TOKEN: &str = "token-of-the-backend";

/// A worker's API with logins only.
struct World {
    url: String,
    server: Arc<Server>,
    oauth: OAuth,
    ledger: Ledger,
    browser: reqwest::Client,
    tasks: Tasks,
    _folder: TempDir,
}

/// What a login sent the browser away with.
struct Away {
    to: Url,
    cookie: String,
    set_cookie: String,
}

impl World {
    async fn start(callers: &[&str]) -> Self {
        let tasks = Tasks::new();
        let server = Server::start(3_600, &tasks).await;
        let (folder, ledger) = ledger().await;
        let oauth = user(&server, REDIRECT, &ledger, &tasks);
        let callers: Vec<_> = callers.iter().map(|token| caller(token)).collect();
        let state = Arc::new(LoginState::new([oauth.clone()], &callers));
        let (router, _) = routes().with_state(state).split_for_parts();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        drop(tasks.spawn_job(async move { axum::serve::<_, axum::Router, _>(listener, router).await }));
        let browser = reqwest::Client::builder().redirect(Policy::none()).build().expect("a client");
        Self { url, server, oauth, ledger, browser, tasks, _folder: folder }
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.browser.get(format!("{}{path}", self.url))
    }

    async fn log_in(&self) -> Away {
        let response = self.get("/oauth/crm/login").send().await.expect("an answer");
        assert_eq!(response.status(), 303);
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["referrer-policy"], "no-referrer");
        let text = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
        let set_cookie = text("set-cookie");
        let cookie = set_cookie.split(';').next().expect("a pair").to_owned();
        Away { to: text("location").parse().expect("a URL"), cookie, set_cookie }
    }

    /// Comes back with `query`; answers the status and the page.
    async fn come_back(&self, cookie: Option<&str>, query: &str) -> (u16, String) {
        let mut request = self.get(&format!("/oauth/crm/callback?{query}"));
        if let Some(cookie) = cookie {
            request = request.header("cookie", format!("other=1; {cookie}; more=2"));
        }
        let response = request.send().await.expect("an answer");
        let headers = response.headers().clone();
        let status = response.status().as_u16();
        assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert!(headers["content-security-policy"].to_str().expect("text").starts_with("default-src 'none'"));
        let gone = headers["set-cookie"].to_str().expect("text");
        assert!(gone.starts_with("tg-oauth-crm=; Path=/oauth/crm/callback; Max-Age=0;"), "{gone}");
        (status, response.text().await.expect("a page"))
    }

    async fn is_connected(&self) -> bool {
        self.ledger.grant(name()).await.expect("a ledger").is_some()
    }
}

impl Away {
    fn parameter(&self, name: &str) -> String {
        let found: Vec<_> = self.to.query_pairs().filter(|(given, _)| given == name).collect();
        assert_eq!(found.len(), 1, "{name} in {}", self.to);
        found[0].1.clone().into_owned()
    }

    fn answer(&self, rest: &str) -> String {
        format!("state={}&{rest}", self.parameter("state"))
    }
}

fn caller(token: &str) -> Caller {
    Caller { name: CallerName::try_new("backend").expect("a name"), token: Secret::new(token.to_owned()) }
}

#[tokio::test]
async fn a_login_connects_the_api() {
    let world = World::start(&[]).await;
    let away = world.log_in().await;
    assert!(away.to.as_str().starts_with("https://id.example/authorize?tenant=t&"), "{}", away.to);
    let expected = [("response_type", "code"), ("client_id", "tide:gate"), ("redirect_uri", REDIRECT)];
    for (name, value) in expected.into_iter().chain([("scope", "read write"), ("code_challenge_method", "S256")]) {
        assert_eq!(away.parameter(name), value);
    }
    assert!(away.parameter("state").len() >= 43, "256 bits");
    for attribute in ["Path=/oauth/crm/callback", "Max-Age=600", "HttpOnly", "SameSite=Lax", "Secure"] {
        assert!(away.set_cookie.split("; ").any(|given| given == attribute), "{attribute} in {}", away.set_cookie);
    }
    let (status, page) = world.come_back(Some(&away.cookie), &away.answer("code=xyz&iss=https://id.example")).await;
    assert_eq!((status, page.as_str()), (200, "api crm is connected; you can close this page\n"));
    assert_eq!(world.oauth.token().await.expect("a token").expose(), "access-1");
    let asked = world.server.asked.lock().expect("no panic")[0].form.clone();
    assert_eq!((asked["code"].as_str(), asked["redirect_uri"].as_str()), ("xyz", REDIRECT));
    // RFC 7636 section 4.6, worked out by hand.
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&asked["code_verifier"]));
    assert_eq!(challenge, away.parameter("code_challenge"));
    assert!((43..=128).contains(&asked["code_verifier"].len()), "RFC 7636 section 4.1");
    world.tasks.shutdown().cancel();
}

#[tokio::test]
async fn only_the_browser_that_began_a_login_finishes_it() {
    let world = World::start(&[]).await;
    let (away, other) = (world.log_in().await, world.log_in().await);
    assert_ne!(away.parameter("state"), other.parameter("state"));
    let answer = away.answer("code=xyz");
    let check = async |cookie: Option<&str>, query: &str| {
        let (status, page) = world.come_back(cookie, query).await;
        assert_eq!(status, 400, "{cookie:?} {query}");
        assert!(page.contains("not the answer to a login that this browser began"), "{page}");
    };
    let mut forged = away.cookie.clone();
    let last = if forged.pop() == Some('A') { 'Q' } else { 'A' };
    forged.push(last);
    check(None, &answer).await;
    check(Some(&other.cookie), &answer).await;
    check(Some(&forged), &answer).await;
    check(Some("tg-oauth-crm="), &answer).await;
    check(Some("tg-oauth-crm=%%%"), &answer).await;
    check(Some(&away.cookie), "code=xyz").await;
    check(Some(&away.cookie), "state=&code=xyz").await;
    check(Some(&away.cookie), &other.answer("code=xyz")).await;
    check(Some(&away.cookie), &away.answer("code=xyz&code=abc")).await;
    check(Some(&away.cookie), "").await;
    assert_eq!(world.server.count(), 0, "the server was asked");
    assert!(!world.is_connected().await);
    assert_eq!(world.come_back(Some(&away.cookie), &answer).await.0, 200);
}

#[tokio::test]
async fn what_the_server_refuses_is_shown_as_text() {
    let world = World::start(&[]).await;
    let away = world.log_in().await;
    let said = away.answer("error=access_denied&error_description=%3Cscript%3Ealert(1)%3C/script%3E%0D%0Ax");
    let (status, page) = world.come_back(Some(&away.cookie), &said).await;
    assert_eq!(status, 400);
    assert!(page.contains("the authorization server says access_denied: <script>alert(1)</script>  x\n"), "{page}");
    let (status, page) = world.come_back(Some(&away.cookie), &away.answer("code=")).await;
    assert!(status == 400 && page.contains("no code"), "{page}");
    for foreign in ["https://evil.example", "http://id.example", "id.example", "https://id.example:444", ""] {
        let (status, page) = world.come_back(Some(&away.cookie), &away.answer(&format!("code=x&iss={foreign}"))).await;
        assert!(status == 400 && page.contains("not the authorization server"), "{foreign}: {page}");
    }
    assert_eq!(world.server.count(), 0);
    let body = json!({ "error": "invalid_grant", "error_description": "the code xyz was used" }).to_string();
    world.server.answers(move |_, _| (StatusCode::BAD_REQUEST, body.clone()).into_response());
    let (status, page) = world.come_back(Some(&away.cookie), &away.answer("code=wxyz")).await;
    assert!(status == 400 && page.contains("invalid_grant"), "{page}");
    world.server.answers(|_, _| StatusCode::BAD_GATEWAY.into_response());
    assert_eq!(world.come_back(Some(&away.cookie), &away.answer("code=xyz")).await.0, 503);
    assert!(!world.is_connected().await);
    world.server.answers(|number, _| issued(number, json!({})));
    assert_eq!(world.come_back(Some(&away.cookie), &away.answer("code=xyz")).await.0, 200);
}

#[tokio::test]
async fn only_callers_begin_a_login() {
    let world = World::start(&["another-callers-token", TOKEN]).await;
    let basic = |user: &str, password: &str| format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    let check = async |authorization: Option<String>, expected: u16| {
        let mut request = world.get("/oauth/crm/login");
        if let Some(authorization) = &authorization {
            request = request.header("authorization", authorization);
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), expected, "{authorization:?}");
        if expected == 401 {
            let ask = response.headers()["www-authenticate"].to_str().expect("text");
            assert!(ask.starts_with("Basic realm="), "{ask}");
            assert!(!response.headers().contains_key("set-cookie"));
            assert_eq!(response.json::<Problem>().await.expect("a problem").error.code, "unauthorized");
        }
    };
    check(Some(format!("Bearer {TOKEN}")), 303).await;
    check(Some(basic("anybody", TOKEN)), 303).await;
    check(Some(basic("", "another-callers-token")), 303).await;
    for wrong in ["", "Bearer", "Bearer ", "Bearer token-of-the-backen", "Basic ", "Basic !!", TOKEN] {
        check(Some(wrong.to_owned()), 401).await;
    }
    check(Some(basic(TOKEN, "")), 401).await;
    check(Some(STANDARD.encode(TOKEN)), 401).await;
    check(None, 401).await;
}

#[tokio::test]
async fn without_callers_only_this_machine_begins_a_login() {
    let world = World::start(&[]).await;
    let status = async |name: &'static str, value: &'static str| {
        world.get("/oauth/crm/login").header(name, value).send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(status("x-nothing", "1").await, 303);
    assert_eq!(status("host", "evil.example").await, 403);
    assert_eq!(status("origin", "https://evil.example").await, 403);
    for path in ["/oauth/other/login", "/oauth/other/callback", "/oauth/%2e/login"] {
        assert_eq!(world.get(path).send().await.expect("an answer").status(), 404, "{path}");
    }
}

#[tokio::test]
async fn a_login_ends_after_ten_minutes() {
    let world = World::start(&[]).await;
    let begun = Timestamp::now();
    let away = world.oauth.begin_login(begun).expect("users are asked");
    let state = away.url.query_pairs().find(|(name, _)| name == "state").expect("a state").1.into_owned();
    let finish = async |at: Timestamp| {
        let callback = serde_json::from_value(json!({ "state": state, "code": "x" })).expect("a callback");
        world.oauth.finish_login(Some(away.cookie.expose()), callback, at).await
    };
    assert_eq!(finish(begun + CONSENT_TIME).await, Err(ConsentError::NotBegun));
    assert_eq!(finish(begun + CONSENT_TIME - std::time::Duration::from_secs(1)).await, Ok(()));
}
