use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{Method, StatusCode, header};
use serde_json::{Value, json};
use tidegate_shared::process::install_tls;
use tidegate_shared::queue::embedded::EmbeddedQueue;
use tidegate_shared::store::Store;
use tokio::net::TcpListener;

use super::*;

/// What the other side answers, first to last; the last one again and again.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<(u16, String)>>>,
    asked: Arc<Mutex<Vec<(Method, http::HeaderMap)>>>,
}

impl Script {
    fn of<const N: usize>(answers: [(u16, Value); N]) -> Self {
        let script = Self::default();
        script.then(answers);
        script
    }

    fn then<const N: usize>(&self, answers: [(u16, Value); N]) {
        *lock(&self.answers) = answers.into_iter().map(|(status, body)| (status, body.to_string())).collect();
    }

    fn asked(&self) -> usize {
        lock(&self.asked).len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(script): State<Script>, request: Request) -> Response {
    lock(&script.asked).push((request.method().clone(), request.headers().clone()));
    let mut answers = lock(&script.answers);
    let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
    let (status, body) = answer.expect("the script has an answer");
    (StatusCode::from_u16(status).expect("a status"), [(header::ETAG, "\"1\"")], body).into_response()
}

/// The API `crm` at a server of the test's own.
struct World {
    apis: Apis,
    script: Script,
    _folder: tempfile::TempDir,
}

impl World {
    async fn start(settings: &str, script: Script) -> Self {
        install_tls();
        let tasks = Tasks::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(answer).with_state(script.clone());
        drop(tasks.spawn_job(async move { axum::serve(listener, router).await }));
        let text = format!("[api.crm]\nbase_url = {url:?}\nretry = {{ attempts = 3, base = \"1ms\" }}\n{settings}\n");
        let config = Config::parse("test.toml", &text, &|_| None).expect("the configuration is right");
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let queue = EmbeddedQueue::open(store.clone(), config.topology(), &tasks).await.expect("a queue");
        let parts = Parts::embedded(queue, store);
        let apis = Apis::start(&config, &parts, &tasks).expect("the APIs start");
        Self { apis, script, _folder: folder }
    }

    fn api(&self) -> &Api {
        self.apis.get("crm").expect("it is configured")
    }

    async fn get(&self) -> Result<Answer<Contact>, ApiError> {
        self.api().call(Call::get("/contact")).await
    }
}

#[derive(Debug, PartialEq, serde::Deserialize)]
struct Contact {
    id: u32,
}

fn contact(id: u32) -> (u16, Value) {
    (200, json!({ "id": id }))
}

#[tokio::test]
async fn a_write_without_a_key_is_made_once_and_one_with_a_key_again() {
    let world = World::start("", Script::of([(500, Value::Null)])).await;
    let refused = world.api().call::<Value>(Call::post("/contacts").json(&json!({ "name": "Ada" }))).await;
    assert_eq!(refused.expect_err("it fails").status(), Some(StatusCode::INTERNAL_SERVER_ERROR));
    assert_eq!(world.script.asked(), 1);
    let refused = world.api().call::<Value>(Call::post("/contacts").idempotency_key("k-1")).await;
    assert!(refused.is_err());
    assert_eq!(world.script.asked(), 4, "three attempts");
    let keys = lock(&world.script.asked).iter().filter(|(_, headers)| headers.contains_key("idempotency-key")).count();
    assert_eq!(keys, 3);
}

#[tokio::test]
async fn an_answer_to_a_write_is_never_kept() {
    let world = World::start("cache = \"1h\"", Script::of([contact(1), contact(2)])).await;
    for id in [1, 2] {
        let answer = world.api().call::<Contact>(Call::put("/contact")).await.expect("it works");
        assert_eq!((answer.value.id, answer.source), (id, Source::Api));
    }
}

#[tokio::test]
async fn only_what_the_caller_can_read_is_kept() {
    let wrong = (200, json!({ "error": "not today" }));
    let world = World::start("cache = \"1h\"", Script::of([wrong.clone(), wrong.clone(), wrong, contact(7)])).await;
    let error = world.get().await.expect_err("three wrong answers");
    assert!(matches!(error.failure, CallFailure::Malformed(_)), "{error}");
    assert_eq!(world.get().await.expect("the fourth").value, Contact { id: 7 });
    assert_eq!(world.get().await.expect("kept").source, Source::Cache);
    assert_eq!(world.script.asked(), 4);
}

#[tokio::test]
async fn what_is_gone_is_forgotten() {
    let world = World::start("cache = \"1ms\"\nstale_if_error = \"1h\"", Script::of([contact(1)])).await;
    world.get().await.expect("it is there");
    tokio::time::sleep(Duration::from_millis(5)).await;
    world.script.then([(404, Value::Null)]);
    assert_eq!(world.get().await.expect_err("it is gone").status(), Some(StatusCode::NOT_FOUND));
    world.script.then([(500, Value::Null)]);
    assert!(world.get().await.is_err(), "no stale answer of what is gone");
}

#[tokio::test]
async fn a_stale_answer_is_given_while_a_new_one_is_fetched() {
    let settings = "cache = \"300ms\"\nstale_while_revalidate = \"1h\"";
    let world = World::start(settings, Script::of([contact(1), contact(2)])).await;
    assert_eq!(world.get().await.expect("the first").source, Source::Api);
    tokio::time::sleep(Duration::from_millis(310)).await;
    let stale = world.get().await.expect("the old one, at once");
    assert_eq!((stale.value.id, stale.source), (1, Source::Stale));
    let mut fresh = world.get().await.expect("an answer");
    for _ in 0..1_000 {
        if fresh.value.id == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        fresh = world.get().await.expect("an answer");
    }
    assert_eq!((fresh.value.id, fresh.source), (2, Source::Cache));
    assert_eq!(world.script.asked(), 2);
}

#[tokio::test]
async fn a_call_chooses_how_old_an_answer_may_be() {
    let world = World::start("cache = \"1ms\"\nstale_if_error = \"off\"", Script::of([contact(1)])).await;
    world.get().await.expect("it is there");
    tokio::time::sleep(Duration::from_millis(5)).await;
    world.script.then([(503, Value::Null)]);
    assert!(world.get().await.is_err(), "as the configuration says");
    let old = world.api().call::<Contact>(Call::get("/contact").stale_up_to(Duration::from_secs(3_600))).await;
    assert_eq!(old.expect("the call takes an old one").source, Source::Stale);
    let default = world.get().await.or_default(Contact { id: 0 });
    assert_eq!((default.value.id, default.source), (0, Source::Default));
    assert!(matches!(world.get().await.or_retry(), Err(crate::Outcome::Retry { .. })));
}

#[tokio::test]
async fn every_attempt_is_in_the_trace_of_its_event() {
    let world = World::start("", Script::of([(500, Value::Null), contact(1)])).await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    world.api().traced(Some(parent)).call::<Contact>(Call::get("/contact")).await.expect("the second works");
    let asked = lock(&world.script.asked);
    let traces: Vec<&str> = asked.iter().filter_map(|(_, headers)| headers["traceparent"].to_str().ok()).collect();
    assert_eq!(traces.len(), 2);
    assert!(traces.iter().all(|trace| trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-")), "{traces:?}");
    assert_ne!(traces[0], traces[1], "each attempt is a span of its own");
}

#[tokio::test]
async fn a_call_of_nobody_begins_one_trace_for_all_its_attempts() {
    let world = World::start("", Script::of([(500, Value::Null), contact(1)])).await;
    world.get().await.expect("the second works");
    let asked = lock(&world.script.asked);
    let traces: std::collections::BTreeSet<&str> =
        asked.iter().filter_map(|(_, headers)| headers["traceparent"].to_str().ok()?.split('-').nth(1)).collect();
    assert_eq!((asked.len(), traces.len()), (2, 1));
}

/// Some APIs, and proxies before them, repeat what they were asked.
#[tokio::test]
async fn a_refusal_that_repeats_the_key_does_not_give_it_away() {
    const KEY: &str = "canary/key+that=must never be shown";
    let escaped: String = url::form_urlencoded::byte_serialize(KEY.as_bytes()).collect();
    for auth in ["query:appid", "header:x-key", "bearer", "basic"] {
        let echo = format!("bad request: {KEY} in /contact?appid={escaped} {}", "x".repeat(150));
        let settings = format!("auth = {auth:?}\nkey = {KEY:?}");
        let world = World::start(&settings, Script::of([(400, Value::String(echo))])).await;
        let error = world.get().await.expect_err("it is refused").to_string();
        assert!(error.contains("***") && error.contains("400"), "{auth}: {error}");
        assert!(!error.contains("canary"), "{auth}: {error}");
    }
}

/// What is kept is known by its path: a call that says more than its path must not get another's answer.
#[tokio::test]
async fn only_a_call_that_is_all_in_its_path_is_kept() {
    let world = World::start("cache = \"1h\"", Script::of([contact(1), contact(2), contact(3), contact(4)])).await;
    let plain = || Call::get("/contact");
    let tenant = header::HeaderName::from_static("x-tenant");
    let ids = [plain(), plain().header(tenant, "b"), plain().json(&1), plain().uncached(), plain()];
    let mut found = Vec::new();
    for call in ids {
        let answer = world.api().call::<Contact>(call).await.expect("an answer");
        found.push((answer.value.id, answer.source));
    }
    let expected = [(1, Source::Api), (2, Source::Api), (3, Source::Api), (4, Source::Api), (1, Source::Cache)];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn health_says_what_is_wrong_in_our_own_words() {
    let world = World::start("breaker = { minimum = 3 }", Script::of([(500, json!("the API's own words"))])).await;
    assert!(world.get().await.is_err());
    let (state, reason) = world.api().state();
    assert_eq!(state, "open");
    let reason = reason.expect("a reason");
    assert!(world.get().await.is_err_and(|error| matches!(error.failure, CallFailure::BreakerOpen { .. })));
    assert!(reason.contains("500") && !reason.contains("own words"), "{reason}");
    assert!(world.api().state().1.is_some_and(|reason| reason.contains("500")), "the cause stays the cause");
    let refused = World::start("", Script::of([(401, Value::Null)])).await;
    assert!(refused.get().await.is_err());
    assert_eq!(refused.api().state().0, "degraded", "an expired key is for an operator to see");
}
