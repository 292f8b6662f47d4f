//! Calls to the outside world: kept, repeated, held back and given up as the configuration says.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tidegate_tests::eventually::eventually;
use tidegate_tests::sender::client;
use tidegate_tests::stack::{Backend, SOON, SOURCES, Stack};
use tidegate_tests::upstream::{Asked, Does, Upstream};

use crate::on_both_backends;

on_both_backends!(
    a_thousand_callers_of_a_cold_cache_make_one_call,
    a_dead_api_is_answered_for_from_what_is_kept_and_health_says_so,
    an_answer_that_did_not_change_is_not_sent_again,
    what_is_invalidated_is_asked_for_again,
    each_failure_of_an_api_has_its_status,
    retries_keep_to_their_intervals_and_their_budget,
    retry_after_of_an_api_is_waited_for,
    the_breaker_opens_and_lets_one_probe_through,
    an_api_that_asks_for_quiet_gets_it,
    a_key_is_never_shown,
);

const KEY: &str = "canary-key-that-must-never-be-shown";

/// The three public APIs, all at one upstream.
fn config(upstream: &Upstream, settings: &str) -> String {
    let url = upstream.url();
    format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n\
         [api.openweathermap]\nbase_url = {url:?}\nkey = {KEY:?}\n{settings}\n\
         [api.open-er-api]\nbase_url = {url:?}\n{settings}\n\
         [api.github]\nbase_url = {url:?}\n{settings}\n\
         {SOURCES}[[handler]]\nname = \"archive\"\non = [\"**\"]\nrun = \"archive\"\n"
    )
}

const NO_RETRY: &str = "retry = { attempts = 1 }";

fn weather(city: &str, temperature: f64) -> Value {
    json!({
        "coord": { "lon": -0.13, "lat": 51.51 }, "weather": [{ "id": 300, "main": "Drizzle", "description": "light drizzle", "icon": "09d" }],
        "base": "stations", "main": { "temp": temperature, "feels_like": temperature, "pressure": 1012, "humidity": 81 },
        "dt": 1_485_789_600, "sys": { "country": "GB" }, "timezone": 0, "id": 2_643_743, "name": city, "cod": 200
    })
}

fn repository(name: &str) -> Value {
    json!({
        "id": 1, "name": name, "full_name": format!("o/{name}"), "private": false, "html_url": format!("https://github.com/o/{name}"),
        "description": null, "fork": false, "stargazers_count": 3, "forks_count": 2, "open_issues_count": 1, "language": "Rust",
        "default_branch": "main", "pushed_at": "2026-11-01T00:00:00Z"
    })
}

/// Building a client takes longer than a call.
static CLIENT: LazyLock<Client> = LazyLock::new(client);

async fn get(stack: &Stack, path: &str) -> Result<(StatusCode, Value)> {
    let answer = CLIENT.get(stack.api_url(path)).send().await?;
    read(answer).await
}

async fn read(answer: Response) -> Result<(StatusCode, Value)> {
    let status = answer.status();
    Ok((status, answer.json().await?))
}

async fn component(stack: &Stack, name: &str) -> Result<Value> {
    let (_, health) = get(stack, "/health").await?;
    Ok(health["components"][name].clone())
}

fn paths(asked: &[Asked]) -> Vec<&str> {
    asked.iter().map(|asked| asked.path.as_str()).collect()
}

async fn a_thousand_callers_of_a_cold_cache_make_one_call(backend: Backend) -> Result<()> {
    let upstream = Upstream::start(|_| Does::json(&weather("London", 7.17)).after(Duration::from_millis(200))).await?;
    let stack = Stack::start(backend, &config(&upstream, "")).await?;
    let answers = join_all((0..1_000).map(|_| get(&stack, "/weather/London"))).await;
    for answer in answers {
        let (status, body) = answer?;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!((body["city"].as_str(), body["temperature"].as_f64()), (Some("London"), Some(7.17)));
        assert_eq!(body["description"], "light drizzle");
        assert!(matches!(body["source"].as_str(), Some("api" | "cache")), "{body}");
    }
    assert_eq!(upstream.asked().len(), 1);
    let (_, again) = get(&stack, "/weather/London").await?;
    assert_eq!(again["source"], "cache");
    assert_eq!(upstream.asked().len(), 1);
    stack.finish().await
}

async fn a_dead_api_is_answered_for_from_what_is_kept_and_health_says_so(backend: Backend) -> Result<()> {
    let upstream = Upstream::start(|_| Does::json(&weather("London", 7.17))).await?;
    let settings = "cache = \"1s\"\nstale_if_error = \"1h\"\nretry = { attempts = 2, base = \"10ms\" }";
    let mut stack = Stack::start(backend, &config(&upstream, settings)).await?;
    assert_eq!(get(&stack, "/weather/London").await?.1["source"], "api");
    assert_eq!(component(&stack, "api.openweathermap").await?["state"], "up");
    upstream.stop().await;
    let stale = async |stack: &Stack| {
        let answer = eventually("a stale answer", SOON, || async {
            let (status, body) = get(stack, "/weather/London").await.map_err(|error| error.to_string())?;
            if status == StatusCode::OK && body["source"] == "stale" { Ok(body) } else { Err(body.to_string()) }
        });
        answer.await
    };
    assert_eq!(stale(&stack).await?["temperature"], 7.17);
    let health = component(&stack, "api.openweathermap").await?;
    assert_eq!(health["state"], "degraded", "{health}");
    assert!(health["reason"].as_str().is_some_and(|reason| reason.contains("stale")), "{health}");
    // What is kept outlives the process.
    stack.crash_handlers().await?;
    stack.until_ready().await?;
    assert!(stale(&stack).await?["age"].as_f64().is_some_and(|age| age >= 1.0));
    let (status, unknown) = get(&stack, "/weather/Paris").await?;
    assert_eq!((status, &unknown["error"]["code"]), (StatusCode::BAD_GATEWAY, &json!("upstream_error")));
    stack.finish().await
}

async fn an_answer_that_did_not_change_is_not_sent_again(backend: Backend) -> Result<()> {
    let upstream = Upstream::start(|asked| {
        let known = asked.headers.get("if-none-match").is_some_and(|tag| tag == "\"v1\"");
        let answer = if known { Does::status(304) } else { Does::json(&repository("tide")) };
        answer.with("etag", "\"v1\"")
    })
    .await?;
    let stack = Stack::start(backend, &config(&upstream, "cache = \"1s\"")).await?;
    let first = get(&stack, "/github/repos/o/tide").await?.1;
    assert_eq!(first["source"], "api");
    eventually("the answer is confirmed", SOON, || async {
        let (_, body) = get(&stack, "/github/repos/o/tide").await.map_err(|error| error.to_string())?;
        if upstream.asked().len() == 2 && body["stars"] == first["stars"] { Ok(()) } else { Err(body.to_string()) }
    })
    .await?;
    let asked = upstream.asked();
    assert!(asked[0].headers.get("if-none-match").is_none());
    assert!(asked[1].headers.get("if-none-match").is_some());
    assert_eq!(get(&stack, "/github/repos/o/tide").await?.1["source"], "cache", "confirmed is fresh");
    stack.finish().await
}

async fn what_is_invalidated_is_asked_for_again(backend: Backend) -> Result<()> {
    let upstream = Upstream::start(|asked| {
        let rates = json!({ "result": "success", "base_code": "EUR", "rates": { "EUR": 1, "USD": 1.1 } });
        if asked.path.starts_with("/v6") { Does::json(&rates) } else { Does::json(&repository("tide")) }
    })
    .await?;
    let stack = Stack::start(backend, &config(&upstream, "")).await?;
    for _ in 0..3 {
        get(&stack, "/rates/EUR").await?;
        get(&stack, "/github/repos/o/tide").await?;
    }
    assert_eq!(upstream.asked().len(), 2);
    for path in ["/cache/open-er-api/v6/latest/EUR", "/cache/github/repos/o/tide"] {
        let answer = CLIENT.delete(stack.api_url(path)).send().await?;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
    assert_eq!(get(&stack, "/rates/eur").await?.1["source"], "api");
    assert_eq!(get(&stack, "/github/repos/o/tide").await?.1["source"], "api");
    assert_eq!(
        paths(&upstream.asked()),
        ["/v6/latest/EUR", "/repos/o/tide", "/v6/latest/EUR", "/repos/o/tide"],
        "one call each time"
    );
    let unknown = CLIENT.delete(stack.api_url("/cache/nothing/x")).send().await?;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    stack.finish().await
}

async fn each_failure_of_an_api_has_its_status(backend: Backend) -> Result<()> {
    let upstream = Upstream::start(|_| Does::status(500)).await?;
    let settings = format!("timeout = \"300ms\"\n{NO_RETRY}\nbreaker = {{ minimum = 1000 }}");
    let stack = Stack::start(backend, &config(&upstream, &settings)).await?;
    let table = [
        (Does::answer(404, &json!({ "cod": "404", "message": "city not found" })), 404, "not_found"),
        (Does::hangs(), 504, "upstream_timeout"),
        (Does::status(500), 502, "upstream_error"),
        (Does::garbage(), 502, "upstream_error"),
        (Does::json(&json!({ "cod": 200 })), 502, "upstream_error"),
        (Does::breaks(), 502, "upstream_error"),
        (Does::status(302).with("location", "http://127.0.0.1:1/"), 502, "upstream_error"),
        (Does::answer(401, &json!({ "cod": 401, "message": "Invalid API key" })), 502, "upstream_refused"),
    ];
    for (number, (does, status, code)) in table.into_iter().enumerate() {
        upstream.first([does.clone()]);
        let answer = CLIENT.get(stack.api_url(&format!("/weather/City{number}"))).send().await?;
        assert!(answer.headers().contains_key("x-request-id"));
        let (found, body) = read(answer).await?;
        assert_eq!((found.as_u16(), body["error"]["code"].as_str()), (status, Some(code)), "{does:?}: {body}");
        assert!(body["error"]["request_id"].is_string() && body["error"]["timestamp"].is_string());
    }
    stack.finish().await
}

/// One call in three fails twice before it works, 1,000 in all; then all fail for good.
async fn retries_keep_to_their_intervals_and_their_budget(backend: Backend) -> Result<()> {
    const TRIALS: usize = 1_000;
    const CALLS: usize = 3 * TRIALS;
    let made = Mutex::new(BTreeMap::<String, u32>::new());
    let fails_twice = move |asked: &Asked| {
        let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
        let made = made.entry(asked.path.clone()).or_default();
        *made += 1;
        if *made < 3 && asked.path.ends_with("twice") { Does::status(500) } else { Does::json(&repository("tide")) }
    };
    let upstream = Upstream::start(fails_twice).await?;
    let settings = "breaker = { minimum = 1000000 }\nwait = \"30s\"\n\
                    retry = { attempts = 3, base = \"20ms\", cap = \"30ms\", budget = 1.0 }";
    let stack = Stack::start(backend, &config(&upstream, settings)).await?;
    let all = |calls: usize, phase: &'static str| {
        let stack = &stack;
        let call = move |number: usize| async move {
            let end = if number % 3 == 2 { "twice" } else { "well" };
            get(stack, &format!("/github/repos/{phase}/{number}-{end}")).await
        };
        // So few at once that their retries never need more than the reserve.
        stream::iter(0..calls).map(call).buffer_unordered(4).collect::<Vec<_>>()
    };
    let answers = all(CALLS, "first").await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok((StatusCode::OK, _)))), "the budget is enough for them");
    let mut times: BTreeMap<String, Vec<Instant>> = BTreeMap::new();
    upstream.asked().into_iter().for_each(|asked| times.entry(asked.path).or_default().push(asked.at));
    assert_eq!(upstream.asked().len(), CALLS + 2 * TRIALS);
    for (retry, bound) in [(0, 20), (1, 30)] {
        let bound = Duration::from_millis(bound);
        let gaps = times.values().filter_map(|times| Some(*times.get(retry + 1)? - times[retry]));
        let gaps: Vec<Duration> = gaps.collect();
        assert_eq!(gaps.len(), TRIALS);
        // What stands on top of the interval is the machine's own time.
        let within = gaps.iter().filter(|gap| **gap <= bound + Duration::from_millis(150)).count();
        assert!(within >= TRIALS - TRIALS / 100, "retry {retry}: {within}");
        let early = gaps.iter().filter(|gap| **gap < bound / 2).count();
        assert!((TRIALS / 10..TRIALS * 9 / 10).contains(&early), "retry {retry}: spread over the interval, {early}");
    }
    upstream.always(|_| Does::status(503));
    let before = upstream.asked().len();
    assert!(all(TRIALS, "down").await.iter().all(|answer| matches!(answer, Ok((StatusCode::BAD_GATEWAY, _)))));
    let made = upstream.asked().len() - before;
    assert!(made <= 2 * TRIALS + 10, "an outage is asked no more than the budget and its reserve allow: {made}");
    stack.finish().await
}

async fn retry_after_of_an_api_is_waited_for(backend: Backend) -> Result<()> {
    let upstream = Upstream::start(|_| Does::json(&repository("tide"))).await?;
    let settings = "retry = { attempts = 4, base = \"10ms\", cap = \"2s\" }";
    let stack = Stack::start(backend, &config(&upstream, settings)).await?;
    upstream.first([Does::status(503).with("retry-after", "1"), Does::status(500), Does::breaks()]);
    let (status, body) = get(&stack, "/github/repos/o/tide").await?;
    assert_eq!(status, StatusCode::OK, "{body}");
    let at: Vec<Instant> = upstream.asked().iter().map(|asked| asked.at).collect();
    assert_eq!(at.len(), 4);
    assert!(at[1] - at[0] >= Duration::from_secs(1), "{:?}", at[1] - at[0]);
    // A wish that is longer than the cap is not waited for: whoever asked is told it instead.
    upstream.first([Does::status(503).with("retry-after", "60")]);
    let answer = CLIENT.get(stack.api_url("/github/repos/o/other")).send().await?;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let after: u64 = answer.headers()["retry-after"].to_str()?.parse()?;
    assert!((50..=60).contains(&after), "{after}");
    assert_eq!(upstream.asked().len(), 5);
    stack.finish().await
}

async fn the_breaker_opens_and_lets_one_probe_through(backend: Backend) -> Result<()> {
    let upstream = Upstream::start(|_| Does::status(500)).await?;
    let settings = format!(
        "{NO_RETRY}\nbreaker = {{ failure_rate = 0.5, minimum = 5, window = \"30s\", open_for = \"2s\", probes = 1 }}"
    );
    let stack = Stack::start(backend, &config(&upstream, &settings)).await?;
    let mut refused = 0;
    for number in 0..20 {
        let answer = CLIENT.get(stack.api_url(&format!("/github/repos/o/r{number}"))).send().await?;
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            refused += 1;
            assert!(answer.headers().contains_key("retry-after"));
        }
    }
    assert_eq!((upstream.asked().len(), refused), (5, 15), "five failures open it, and then it answers by itself");
    assert_eq!(component(&stack, "api.github").await?["state"], "open");
    // While it is probed, only the probe gets through.
    upstream.always(|_| Does::json(&repository("tide")).after(Duration::from_millis(500)));
    eventually("the breaker lets a probe through", SOON, || async {
        let answers =
            join_all((0..10).map(async |number| get(&stack, &format!("/github/repos/o/p{number}")).await)).await;
        let well = answers.iter().filter(|answer| matches!(answer, Ok((StatusCode::OK, _)))).count();
        if well == 0 { Err(format!("{} calls", upstream.asked().len())) } else { Ok(well) }
    })
    .await?;
    assert_eq!(upstream.asked().len(), 6, "one probe");
    assert_eq!(get(&stack, "/github/repos/o/after").await?.0, StatusCode::OK);
    assert_eq!(component(&stack, "api.github").await?["state"], "up");
    stack.finish().await
}

async fn an_api_that_asks_for_quiet_gets_it(backend: Backend) -> Result<()> {
    let upstream = Upstream::start(|_| Does::json(&repository("tide"))).await?;
    let stack = Stack::start(backend, &config(&upstream, &format!("{NO_RETRY}\nwait = \"100ms\""))).await?;
    upstream.first([Does::status(429).with("retry-after", "2")]);
    for number in 0..5 {
        let answer = CLIENT.get(stack.api_url(&format!("/github/repos/o/q{number}"))).send().await?;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key("retry-after"));
    }
    assert_eq!(upstream.asked().len(), 1, "only the call that was told");
    eventually("it is asked again", SOON, || async {
        let (status, _) = get(&stack, "/github/repos/o/later").await.map_err(|error| error.to_string())?;
        if status == StatusCode::OK { Ok(()) } else { Err(status.to_string()) }
    })
    .await?;
    let at: Vec<Instant> = upstream.asked().iter().map(|asked| asked.at).collect();
    assert!(at[1] - at[0] >= Duration::from_millis(1_900), "{:?}", at[1] - at[0]);
    stack.finish().await
}

/// The key goes to the API and nowhere else, whatever goes wrong.
async fn a_key_is_never_shown(backend: Backend) -> Result<()> {
    let upstream = Upstream::start(|_| Does::json(&weather("London", 1.0))).await?;
    let stack = Stack::start(backend, &config(&upstream, &format!("timeout = \"300ms\"\n{NO_RETRY}"))).await?;
    let mut seen = String::new();
    for (number, does) in [Does::status(500), Does::hangs(), Does::breaks(), Does::garbage()].into_iter().enumerate() {
        upstream.first([does]);
        seen += &get(&stack, &format!("/weather/City{number}")).await?.1.to_string();
    }
    assert_eq!(get(&stack, "/weather/London").await?.0, StatusCode::OK);
    assert!(upstream.asked().iter().all(|asked| asked.path.contains(KEY)), "it must reach the API");
    upstream.stop().await;
    seen += &get(&stack, "/weather/Paris").await?.1.to_string();
    seen += &get(&stack, "/health").await?.1.to_string();
    for program in stack.ingests.iter().chain(&stack.workers) {
        seen += &program.log_text();
        seen += &stack.metrics(program).await?;
    }
    assert!(!seen.contains(KEY));
    stack.finish().await
}
