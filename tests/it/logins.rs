//! OAuth end to end: the client's own tokens, and what a user grants in a browser.

use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use http::{HeaderMap, StatusCode, header};
use reqwest::Client;
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use tidegate_shared::process;
use tidegate_tests::authorization_server::{AuthorizationServer, CLIENT_ID, CLIENT_SECRET, Fault};
use tidegate_tests::eventually::eventually;
use tidegate_tests::stack::{Backend, SOON, SOURCES, Stack};
use tidegate_tests::upstream::{Asked, Does, Upstream};
use url::Url;

use crate::on_both_backends;

on_both_backends!(
    an_expired_token_under_100_concurrent_calls_is_renewed_once,
    a_user_grants_access_in_a_browser,
    a_forged_or_replayed_callback_is_refused,
    a_login_that_fails_leaves_the_grant_that_is_there,
    a_revoked_grant_shows_in_health_and_a_login_heals_it,
    only_a_caller_begins_a_login,
    no_token_and_no_secret_of_a_client_is_ever_shown,
);

/// Our callback as the authorization server knows it. No worker listens there: see [`come_back_at`].
const REDIRECT: &str = "http://localhost:1/oauth/github/callback";
const SEAL_KEY: &str = "5ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea1";
const CALLER_TOKEN: &str = "a-caller-s-token-of-some-length";

/// Tidegate with an API that takes only the authorization server's tokens.
struct World {
    server: AuthorizationServer,
    upstream: Upstream,
    stack: Stack,
}

/// What a user's browser was shown.
struct Page {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

/// A login in the middle: the user has answered, and the browser is about to come back.
struct Returning {
    /// Where the authorization server sends it.
    callback: Url,
    /// What it brings along.
    cookie: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Granted {
    ToTheClient,
    ByAUser,
}

impl World {
    async fn start(backend: Backend, granted: Granted) -> Result<Self> {
        Self::start_with(backend, granted, "").await
    }

    /// Starts with `http` in `[http]`.
    async fn start_with(backend: Backend, granted: Granted, http: &str) -> Result<Self> {
        let server = AuthorizationServer::start(REDIRECT).await?;
        let guard = server.clone();
        let upstream = Upstream::start(move |asked| guarded(&guard, asked)).await?;
        let stack = Stack::start(backend, &config(&server, &upstream, granted, http)).await?;
        Ok(Self { server, upstream, stack })
    }

    async fn get(&self, name: &str) -> Result<(StatusCode, Value)> {
        repository_at(&self.stack, 0, name).await
    }

    async fn is_connected(&self, name: &str) -> Result<()> {
        let (status, body) = self.get(name).await?;
        assert_eq!((status, &body["full_name"]), (StatusCode::OK, &json!(format!("o/{name}"))), "{body}");
        let health = self.health().await?;
        assert_eq!(health["state"], "up", "{health}");
        Ok(())
    }

    /// Calls fail, and `/health` says where to log in.
    async fn asks_for_a_login(&self) -> Result<()> {
        let (status, body) = self.get("any").await?;
        assert_eq!((status, &body["error"]["code"]), (StatusCode::BAD_GATEWAY, &json!("upstream_refused")), "{body}");
        self.health_asks_for_a_login().await
    }

    async fn health_asks_for_a_login(&self) -> Result<()> {
        eventually("/health asks for a login", SOON, || async {
            let health = self.health().await.map_err(|error| error.to_string())?;
            let reason = health["reason"].as_str().unwrap_or_default();
            let asks =
                health["state"] == "blocked" && reason.contains("log in") && reason.contains("/oauth/github/login");
            if asks { Ok(()) } else { Err(health.to_string()) }
        })
        .await
    }

    async fn health(&self) -> Result<Value> {
        let health: Value = BROWSER.get(self.stack.api_url("/health")).send().await?.json().await?;
        Ok(health["components"]["api.github"].clone())
    }

    /// A user logs in at the first worker, and consents or denies.
    async fn answer(&self) -> Result<Returning> {
        answer_at(&self.stack, None).await
    }

    /// The same to the end.
    async fn log_in(&self) -> Result<Page> {
        let returning = self.answer().await?;
        self.come_back(&returning.callback, Some(&returning.cookie)).await
    }

    async fn come_back(&self, callback: &Url, cookie: Option<&str>) -> Result<Page> {
        come_back_at(&self.stack, callback, cookie).await
    }

    fn token_requests(&self) -> usize {
        let grants = ["client_credentials", "authorization_code", "refresh_token", ""];
        grants.map(|grant| self.server.count(grant)).iter().sum()
    }

    /// Whatever anybody but the authorization server and the API may read.
    async fn shown(&self) -> Result<String> {
        let mut shown = BROWSER.get(self.stack.api_url("/health")).send().await?.text().await?;
        shown += &self.stack.ask(reqwest::Method::GET, "/health", None).await?.to_string();
        for program in self.stack.ingests.iter().chain(&self.stack.workers) {
            shown += &program.log_text();
            shown += &self.stack.metrics(program).await?;
        }
        Ok(shown)
    }
}

impl Page {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn is_connected(&self) {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        assert!(self.text.contains("github is connected"), "{}", self.text);
    }

    fn is_refused(&self, why: &str) {
        assert_eq!(self.status, StatusCode::BAD_REQUEST, "{}", self.text);
        assert!(self.text.contains(why), "{}", self.text);
    }
}

fn config(server: &AuthorizationServer, upstream: &Upstream, granted: Granted, http: &str) -> String {
    let grant = match granted {
        Granted::ToTheClient => String::new(),
        Granted::ByAUser => format!(
            "grant = \"authorization_code\"\nauthorize_url = {:?}\nredirect_url = {REDIRECT:?}\n",
            server.authorize_url().as_str()
        ),
    };
    let keys = if granted == Granted::ByAUser { format!("[oauth]\nkeys = [{SEAL_KEY:?}]\n") } else { String::new() };
    format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n{http}\n{keys}\
         [api.github]\nbase_url = {:?}\nauth = \"oauth2\"\ncache = \"off\"\nretry = {{ attempts = 1 }}\nwait = \"30s\"\n\
         [api.github.oauth]\ntoken_url = {:?}\nclient_id = {CLIENT_ID:?}\nclient_secret = {CLIENT_SECRET:?}\n{grant}\
         {SOURCES}[[handler]]\nname = \"archive\"\non = [\"**\"]\nrun = \"archive\"\n",
        upstream.url(),
        server.token_url().as_str(),
    )
}

/// The token that a request to the API brought.
fn bearer(asked: &Asked) -> Option<&str> {
    asked.headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// A repository for whoever has a token: RFC 6750.
fn guarded(server: &AuthorizationServer, asked: &Asked) -> Does {
    let name = asked.path.rsplit('/').next().unwrap_or_default();
    if bearer(asked).is_some_and(|token| server.accepts(token)) {
        return Does::json(&json!({
            "id": 1, "name": name, "full_name": format!("o/{name}"), "private": false,
            "html_url": format!("https://github.com/o/{name}"), "description": null, "fork": false,
            "stargazers_count": 3, "forks_count": 2, "open_issues_count": 1, "language": "Rust",
            "default_branch": "main", "pushed_at": "2026-11-01T00:00:00Z"
        }));
    }
    let refusal = Does::answer(401, &json!({ "message": "Bad credentials" }));
    refusal.with("www-authenticate", "Bearer realm=\"resource\", error=\"invalid_token\"")
}

/// Follows nothing and keeps no cookie: the tests do, to the letter.
static BROWSER: LazyLock<Client> = LazyLock::new(|| {
    process::install_tls();
    let builder = Client::builder().redirect(Policy::none()).no_proxy().timeout(Duration::from_secs(30));
    builder.build().expect("a client")
});

async fn repository_at(stack: &Stack, worker: usize, name: &str) -> Result<(StatusCode, Value)> {
    let answer = BROWSER.get(stack.api_url_of(worker, &format!("/github/repos/o/{name}"))).send().await?;
    Ok((answer.status(), answer.json().await?))
}

async fn open(stack: &Stack, path: &str, headers: &[(header::HeaderName, String)]) -> Result<Page> {
    let request = BROWSER.get(stack.api_url(path));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    let answer = request.send().await?;
    Ok(Page { status: answer.status(), headers: answer.headers().clone(), text: answer.text().await? })
}

async fn answer_at(stack: &Stack, authorization: Option<&str>) -> Result<Returning> {
    let authorization = authorization.map(|value| (header::AUTHORIZATION, value.to_owned()));
    let page = open(stack, "/oauth/github/login", authorization.as_slice()).await?;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text);
    assert_eq!(page.header("cache-control"), "no-store");
    let (pair, rest) = page.header("set-cookie").split_once("; ").context("a cookie with attributes")?;
    assert_eq!(rest, "Path=/oauth/github/callback; Max-Age=600; HttpOnly; SameSite=Lax");
    let answer = BROWSER.get(page.header("location")).send().await?;
    assert_eq!(answer.status(), StatusCode::FOUND, "the authorization server takes the request");
    let callback: Url = answer.headers()[header::LOCATION].to_str()?.parse()?;
    assert!(callback.as_str().starts_with(&format!("{REDIRECT}?")), "{callback}");
    Ok(Returning { callback, cookie: pair.to_owned() })
}

/// Goes to the callback, at the worker's own address in place of the configured one.
async fn come_back_at(stack: &Stack, callback: &Url, cookie: Option<&str>) -> Result<Page> {
    let path = format!("{}?{}", callback.path(), callback.query().unwrap_or_default());
    let page = open(stack, &path, cookie.map(|pair| (header::COOKIE, pair.to_owned())).as_slice()).await?;
    assert_eq!(page.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(page.header("set-cookie").starts_with("tg-oauth-github=; "), "the cookie is used up");
    assert!(page.header("set-cookie").contains("; Max-Age=0;"), "the cookie is used up");
    Ok(page)
}

/// The URL with another value of a parameter, or without it.
fn changed(url: &Url, name: &str, value: Option<&str>) -> Url {
    let mut other = url.clone();
    let kept: Vec<_> = url.query_pairs().into_owned().filter(|(given, _)| given != name).collect();
    other.query_pairs_mut().clear().extend_pairs(kept);
    if let Some(value) = value {
        other.query_pairs_mut().append_pair(name, value);
    }
    other
}

fn parameter(url: &Url, name: &str) -> Result<String> {
    let found = url.query_pairs().find(|(given, _)| given == name);
    found.map(|(_, value)| value.into_owned()).with_context(|| format!("{url} has no {name}"))
}

/// The token endpoint is slow, so that every call finds the token refused or its renewal under way.
async fn an_expired_token_under_100_concurrent_calls_is_renewed_once(backend: Backend) -> Result<()> {
    let world = World::start(backend, Granted::ToTheClient).await?;
    world.is_connected("first").await?;
    assert_eq!(world.server.count("client_credentials"), 1);
    let old = world.server.issued().pop().context("a token was issued")?;
    let guard = world.server.clone();
    world.upstream.always(move |asked| guarded(&guard, asked).after(Duration::from_millis(100)));
    world.server.fails(Some(Fault::Slow(Duration::from_millis(500))));
    world.server.expire_all_access_tokens();
    let names: Vec<_> = (0..100).map(|number| format!("r{number}")).collect();
    for answer in join_all(names.iter().map(|name| world.get(name))).await {
        let (status, body) = answer?;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
    assert_eq!(world.server.count("client_credentials"), 2, "one renewal for all");
    let with_old = world.upstream.asked().iter().filter(|asked| bearer(asked) == Some(&old)).count();
    assert!(with_old > 2, "several calls saw the old token refused: {with_old}");
    assert_eq!(world.upstream.asked().len(), 1 + 100 + (with_old - 1), "no call was made a third time");
    world.stack.finish().await
}

async fn a_user_grants_access_in_a_browser(backend: Backend) -> Result<()> {
    let mut world = World::start(backend, Granted::ByAUser).await?;
    world.health_asks_for_a_login().await?;
    world.asks_for_a_login().await?;
    assert_eq!((world.token_requests(), world.upstream.asked().len()), (0, 0));
    world.log_in().await?.is_connected();
    world.is_connected("tide").await?;
    assert_eq!((world.server.count("authorization_code"), world.token_requests()), (1, 1));
    // The grant outlives the process: its access token, and what it is renewed by.
    world.stack.crash_handlers().await?;
    world.stack.until_ready().await?;
    world.is_connected("tide").await?;
    assert_eq!(world.token_requests(), 1);
    world.server.expire_all_access_tokens();
    world.is_connected("gate").await?;
    assert_eq!((world.server.count("refresh_token"), world.token_requests()), (1, 2));
    is_sealed(&world, backend).await?;
    world.stack.finish().await
}

/// The grant is in the ledger, and no token stands there in clear.
async fn is_sealed(world: &World, backend: Backend) -> Result<()> {
    let issued = world.server.issued();
    assert_eq!(issued.len(), 5, "a code, then twice two tokens");
    assert_eq!(world.stack.number("SELECT count(*) FROM grants WHERE sealed IS NOT NULL").await?, 1);
    if backend == Backend::Distributed {
        for text in &issued {
            let sql = format!("SELECT count(*) FROM grants WHERE position('{text}'::bytea IN sealed) > 0");
            assert_eq!(world.stack.number(&sql).await?, 0, "a token stands in the ledger in clear");
        }
    } else {
        let config = world.stack.config_path();
        let data = Path::new(&config).parent().context("the configuration lies in a folder")?.join("data");
        let files: Vec<_> = std::fs::read_dir(data)?.collect::<Result<_, _>>()?;
        let mut bytes = Vec::new();
        for file in files.iter().filter(|file| file.path().is_file()) {
            bytes.extend(std::fs::read(file.path())?);
        }
        let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(has("github"), "the grant's row is in these bytes");
        assert!(issued.iter().all(|text| !has(text)), "a token stands in the store in clear");
    }
    Ok(())
}

async fn a_forged_or_replayed_callback_is_refused(backend: Backend) -> Result<()> {
    let world = World::start(backend, Granted::ByAUser).await?;
    let Returning { callback, cookie } = world.answer().await?;
    let others = world.answer().await?;
    let tampered = format!("{}{}", &cookie[..cookie.len() - 4], if cookie.ends_with("AAAA") { "BBBB" } else { "AAAA" });
    let twice = Url::parse(&format!("{callback}&state={}", parameter(&callback, "state")?))?;
    let not_begun = "not the answer to a login that this browser began";
    for (callback, cookie) in [
        (&callback, None),
        (&callback, Some("tg-oauth-github=made-up")),
        (&callback, Some(tampered.as_str())),
        (&changed(&callback, "state", Some("forged")), Some(&cookie)),
        (&changed(&callback, "state", None), Some(&cookie)),
        // Somebody's own login in the user's browser: RFC 6749 section 10.12.
        (&others.callback, Some(&cookie)),
        (&twice, Some(&cookie)),
    ] {
        world.come_back(callback, cookie).await?.is_refused(not_begun);
    }
    let elsewhere = changed(&callback, "iss", Some("https://evil.example"));
    world.come_back(&elsewhere, Some(&cookie)).await?.is_refused("evil.example");
    world.come_back(&changed(&callback, "code", None), Some(&cookie)).await?.is_refused("no code");
    assert_eq!(world.token_requests(), 0, "no code was given away");
    world.asks_for_a_login().await?;

    world.come_back(&callback, Some(&cookie)).await?.is_connected();
    world.is_connected("tide").await?;
    // A page loaded again: its cookie is gone, and the server does not see the code a second time.
    world.come_back(&callback, None).await?.is_refused(not_begun);
    assert_eq!(world.token_requests(), 1);
    world.is_connected("tide").await?;
    // Whoever has the cookie too is refused by the server, which ends the grant: RFC 6749 section 4.1.2.
    world.come_back(&callback, Some(&cookie)).await?.is_refused("invalid_grant");
    assert_eq!(world.server.refusals(), ["invalid_grant: the code was used before"]);
    world.asks_for_a_login().await?;
    world.stack.finish().await
}

async fn a_login_that_fails_leaves_the_grant_that_is_there(backend: Backend) -> Result<()> {
    let mut world = World::start(backend, Granted::ByAUser).await?;
    world.log_in().await?.is_connected();
    world.server.users_deny(true);
    let denied = world.log_in().await?;
    denied.is_refused("access_denied");
    assert!(denied.text.contains("open /oauth/github/login"), "{}", denied.text);
    assert_eq!(world.token_requests(), 1, "nothing to ask for");
    world.is_connected("denied").await?;
    world.server.users_deny(false);
    for (fault, status) in [
        (Fault::Broken, StatusCode::SERVICE_UNAVAILABLE),
        (Fault::Garbage, StatusCode::SERVICE_UNAVAILABLE),
        (Fault::Error("invalid_grant"), StatusCode::BAD_REQUEST),
        (Fault::Error("invalid_client"), StatusCode::BAD_REQUEST),
    ] {
        world.server.fails(Some(fault.clone()));
        assert_eq!(world.log_in().await?.status, status, "{fault:?}");
        world.is_connected("failed").await?;
    }
    world.server.fails(None);
    world.stack.crash_handlers().await?;
    world.stack.until_ready().await?;
    world.is_connected("crashed").await?;
    assert_eq!(world.server.count("refresh_token"), 0);
    world.stack.finish().await
}

async fn a_revoked_grant_shows_in_health_and_a_login_heals_it(backend: Backend) -> Result<()> {
    let mut world = World::start(backend, Granted::ByAUser).await?;
    world.log_in().await?.is_connected();
    world.is_connected("before").await?;
    world.server.revoke_all();
    world.asks_for_a_login().await?;
    let program = world.stack.workers.first().unwrap_or(&world.stack.ingests[0]);
    let metrics = world.stack.metrics(program).await?;
    let revoked =
        metrics.lines().find(|line| line.starts_with("tidegate_api_token_renewals_total") && line.contains("revoked"));
    assert!(revoked.is_some_and(|line| line.contains("github") && line.ends_with(" 1")), "{revoked:?}");
    // What is known to be lost is not tried again, by this process or by the next one.
    world.asks_for_a_login().await?;
    world.stack.crash_handlers().await?;
    world.stack.until_ready().await?;
    world.health_asks_for_a_login().await?;
    world.asks_for_a_login().await?;
    assert_eq!((world.server.count("refresh_token"), world.server.refusals().len()), (1, 1));
    world.log_in().await?.is_connected();
    world.is_connected("after").await?;
    assert_eq!(world.server.count("refresh_token"), 1);
    world.stack.finish().await
}

async fn only_a_caller_begins_a_login(backend: Backend) -> Result<()> {
    let callers = format!("callers = {{ shop = {CALLER_TOKEN:?} }}");
    let world = World::start_with(backend, Granted::ByAUser, &callers).await?;
    let basic = |password: &str| format!("Basic {}", STANDARD.encode(format!("anybody:{password}")));
    for wrong in [None, Some(basic("wrong")), Some(basic("")), Some("Bearer wrong".to_owned())] {
        let authorization = wrong.as_ref().map(|wrong| (header::AUTHORIZATION, wrong.clone()));
        let page = open(&world.stack, "/oauth/github/login", authorization.as_slice()).await?;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{wrong:?}");
        assert!(page.header("www-authenticate").starts_with("Basic realm="), "{wrong:?}");
        assert!(!page.headers.contains_key(header::SET_COOKIE) && !page.headers.contains_key(header::LOCATION));
    }
    answer_at(&world.stack, Some(&format!("Bearer {CALLER_TOKEN}"))).await?;
    let returning = answer_at(&world.stack, Some(&basic(CALLER_TOKEN))).await?;
    // The authorization server's redirect brings no token.
    world.come_back(&returning.callback, Some(&returning.cookie)).await?.is_connected();
    let path = "/github/repos/o/tide";
    assert_eq!(open(&world.stack, path, &[]).await?.status, StatusCode::UNAUTHORIZED);
    let bearer = [(header::AUTHORIZATION, format!("Bearer {CALLER_TOKEN}"))];
    assert_eq!(open(&world.stack, path, &bearer).await?.status, StatusCode::OK);
    world.stack.finish().await
}

/// Everything goes wrong that can, at a server that repeats what it was sent.
async fn no_token_and_no_secret_of_a_client_is_ever_shown(backend: Backend) -> Result<()> {
    let mut world = World::start(backend, Granted::ByAUser).await?;
    let mut shown = String::new();
    let mut secrets = vec![SEAL_KEY.to_owned(), CLIENT_SECRET.to_owned()];
    let encoded = "s3cret%3A+of+%2Bthe%25+client";
    secrets.extend([encoded.to_owned(), STANDARD.encode(format!("{CLIENT_ID}:{encoded}"))]);
    for fault in [
        Fault::Tells,
        Fault::Error("invalid_client"),
        Fault::Broken,
        Fault::Garbage,
        Fault::Redirect(world.server.resource_url()),
    ] {
        world.server.fails(Some(fault));
        let returning = world.answer().await?;
        shown += &world.come_back(&returning.callback, Some(&returning.cookie)).await?.text;
        shown +=
            &world.come_back(&changed(&returning.callback, "state", Some("x")), Some(&returning.cookie)).await?.text;
        secrets.extend([returning.cookie, parameter(&returning.callback, "state")?]);
    }
    world.server.fails(None);
    shown += &world.log_in().await?.text;
    world.is_connected("tide").await?;
    world.server.expire_all_access_tokens();
    world.is_connected("renewed").await?;
    shown += &world.shown().await?;
    for tells in [true, false] {
        // Another process each time: the one before leaves the server alone for a while.
        world.stack.crash_handlers().await?;
        world.stack.until_ready().await?;
        if tells {
            world.server.fails(Some(Fault::Tells));
            world.server.expire_all_access_tokens();
            shown += &world.get("expired").await?.1.to_string();
            world.server.fails(None);
        } else {
            world.server.revoke_all();
            world.asks_for_a_login().await?;
        }
        shown += &world.shown().await?;
    }
    secrets.extend(world.server.issued());
    assert!(secrets.iter().filter(|secret| secret.starts_with("refresh-")).count() >= 2, "{secrets:?}");
    for witness in ["invalid_request: ", "says invalid_client", "no access token", "a login failed", "log in again"] {
        assert!(shown.contains(witness), "nothing tells of {witness:?}: the test looks at too little");
    }
    for secret in secrets {
        assert!(!shown.contains(&secret), "{secret} is shown");
    }
    world.stack.finish().await
}

mod distributed_alone {
    use super::*;

    const LIFE: Duration = Duration::from_secs(4);
    const LOAD: Duration = Duration::from_secs(10);
    const CALLERS: usize = 4;

    /// The server takes each refresh token once, and a second use ends the grant: RFC 9700 section 4.14.2.
    #[tokio::test(flavor = "multi_thread")]
    async fn two_workers_rotate_one_grant() -> Result<()> {
        let mut world = World::start(Backend::Distributed, Granted::ByAUser).await?;
        world.stack.start_worker().await?;
        world.stack.until_ready().await?;
        world.server.rotates(true);
        world.server.tokens_live(Some(LIFE));
        world.log_in().await?.is_connected();
        eventually("the other worker has the grant", SOON, || async {
            let (status, body) = repository_at(&world.stack, 1, "tide").await.map_err(|error| error.to_string())?;
            if status == StatusCode::OK { Ok(()) } else { Err(body.to_string()) }
        })
        .await?;
        let until = Instant::now() + LOAD;
        let calls = join_all((0..2 * CALLERS).map(|caller| calls(&world.stack, caller, until))).await;
        let made: usize = calls.into_iter().collect::<Result<Vec<_>>>()?.into_iter().sum();
        assert!(made > 100, "{made} calls are no load");
        let renewed = world.server.count("refresh_token");
        assert!((3..=8).contains(&renewed), "renewed at half its life, once for both: {renewed} times");
        assert_eq!(world.server.refusals(), Vec::<String>::new());
        // What is held now is good for more.
        world.server.expire_all_access_tokens();
        for worker in [1, 0] {
            let (status, body) = repository_at(&world.stack, worker, "end").await?;
            assert_eq!(status, StatusCode::OK, "{body}");
        }
        assert_eq!(world.server.refusals(), Vec::<String>::new());
        world.stack.finish().await
    }

    async fn calls(stack: &Stack, caller: usize, until: Instant) -> Result<usize> {
        let mut made = 0;
        while Instant::now() < until {
            let (status, body) = repository_at(stack, caller % 2, &format!("r{caller}-{made}")).await?;
            assert_eq!(status, StatusCode::OK, "worker {}, call {made}: {body}", caller % 2);
            made += 1;
        }
        Ok(made)
    }
}
