//! `Idempotency-Key` on the worker's API: one effect and one answer for each key, whatever fails between them.

use anyhow::Result;
use futures_util::future::join_all;
use http::StatusCode;
use reqwest::Client;
use serde_json::{Value, json};
use tidegate_tests::sender::client;
use tidegate_tests::stack::{Backend, SOON, SOURCES, Servers, Stack};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::on_both_backends;

on_both_backends!(
    many_requests_with_one_key_have_one_effect_and_one_answer,
    an_answer_that_was_never_read_is_replayed_after_a_crash,
    a_key_belongs_to_one_request_and_one_caller,
    each_bad_key_has_its_status,
    a_refused_request_leaves_its_key_free,
);

const SHOP: &str = "shop-token-of-32-characters-long";
const DESK: &str = "desk-token-of-32-characters-long";

fn config() -> String {
    let callers = format!("callers = {{ shop = {SHOP:?}, desk = {DESK:?} }}");
    let handler = "[[handler]]\nname = \"archive\"\non = [\"**\"]\nrun = \"archive\"\n";
    format!("[http]\nlisten = \"127.0.0.1:0\"\n{callers}\n{SOURCES}{handler}")
}

/// What was answered: status, body, and whether it was kept from before.
type Answered = (StatusCode, Value, bool);

async fn pay(http: &Client, url: &str, token: &str, key: &str, body: &Value) -> Result<Answered> {
    let answer = http.post(url).bearer_auth(token).header("idempotency-key", key).json(body).send().await?;
    let replayed = answer.headers().get("idempotency-replayed").is_some_and(|value| value == "true");
    Ok((answer.status(), answer.json().await?, replayed))
}

/// Pays until there is an answer that is not "still running".
async fn pay_in_the_end(stack: &Stack, key: &str, body: &Value) -> Result<Answered> {
    tidegate_tests::eventually::eventually("the payment is answered", SOON, || async {
        let answered = pay(&client(), &stack.api_url("/payments"), SHOP, key, body).await;
        match answered {
            Ok(answered) if answered.0 != StatusCode::CONFLICT => Ok(answered),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

fn payment(amount: i64) -> Value {
    json!({ "amount": amount, "currency": "eur" })
}

async fn balance(stack: &Stack) -> Result<i64> {
    stack.number("SELECT CAST(coalesce(sum(amount), 0) AS BIGINT) FROM balances").await.or_else(|_| Ok(0))
}

async fn many_requests_with_one_key_have_one_effect_and_one_answer(backend: Backend) -> Result<()> {
    let mut stack = Stack::start(backend, &config()).await?;
    stack.start_worker().await?;
    stack.until_ready().await?;
    let workers = stack.workers.len().max(1);
    let http = client();
    let urls: Vec<String> = (0..workers).map(|number| stack.api_url_of(number, "/payments")).collect();
    let body = payment(700);
    let answers = join_all((0..50).map(|number| pay(&http, &urls[number % workers], SHOP, "k-1", &body))).await;
    let answers: Vec<Answered> = answers.into_iter().collect::<Result<_>>()?;
    let created: Vec<&Answered> = answers.iter().filter(|(status, ..)| *status == StatusCode::CREATED).collect();
    assert!(answers.iter().all(|(status, ..)| matches!(*status, StatusCode::CREATED | StatusCode::CONFLICT)));
    assert_eq!(created.iter().filter(|(_, _, replayed)| !replayed).count(), 1, "{answers:?}");
    assert!(created.iter().all(|(_, body, _)| *body == created[0].1), "one answer: {created:?}");
    let (status, again, replayed) = pay_in_the_end(&stack, "k-1", &body).await?;
    assert_eq!((status, &again, replayed), (StatusCode::CREATED, &created[0].1, true));
    assert_eq!((stack.number("SELECT count(*) FROM payments").await?, balance(&stack).await?), (1, 700));
    stack.finish().await
}

/// The caller's request is applied, and the worker killed before the caller has read a byte.
async fn an_answer_that_was_never_read_is_replayed_after_a_crash(backend: Backend) -> Result<()> {
    let mut stack = Stack::start(backend, &config()).await?;
    for number in 1..=5 {
        let (key, body) = (format!("crash-{number}"), payment(100));
        let text = body.to_string();
        let url = stack.api_url("/payments").replace("http://", "");
        let address = url.trim_end_matches("/payments");
        let mut caller = TcpStream::connect(address).await?;
        let request = format!(
            "POST /payments HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {SHOP}\r\nidempotency-key: {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        );
        caller.write_all(request.as_bytes()).await?;
        stack.until_number("SELECT count(*) FROM payments", number, SOON).await?;
        stack.crash_handlers().await?;
        stack.until_ready().await?;
        drop(caller);
        let (status, answer, replayed) = pay_in_the_end(&stack, &key, &body).await?;
        assert_eq!((status, answer["status"].as_str(), replayed), (StatusCode::CREATED, Some("succeeded"), true));
        assert_eq!(balance(&stack).await?, 100 * number);
    }
    stack.finish().await
}

async fn a_key_belongs_to_one_request_and_one_caller(backend: Backend) -> Result<()> {
    let stack = Stack::start(backend, &config()).await?;
    let (http, url) = (client(), stack.api_url("/payments"));
    let first = pay(&http, &url, SHOP, "k", &payment(1)).await?;
    assert_eq!((first.0, first.2), (StatusCode::CREATED, false));
    let (status, body, _) = pay(&http, &url, SHOP, "k", &payment(2)).await?;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("idempotency_key_reused")));
    let other = pay(&http, &url, DESK, "k", &payment(2)).await?;
    assert_eq!((other.0, other.2), (StatusCode::CREATED, false), "another caller's key is another key");
    assert_ne!(first.1["payment_id"], other.1["payment_id"]);
    let (status, body, _) = pay(&http, &url, "nobody's token of this length", "k", &payment(1)).await?;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::UNAUTHORIZED, &json!("unauthorized")));
    assert_eq!(balance(&stack).await?, 3);
    stack.finish().await
}

async fn each_bad_key_has_its_status(backend: Backend) -> Result<()> {
    let stack = Stack::start(backend, &config()).await?;
    let (http, url) = (client(), stack.api_url("/payments"));
    let missing = http.post(&url).bearer_auth(SHOP).json(&payment(1)).send().await?;
    let (status, body) = (missing.status(), missing.json::<Value>().await?);
    assert_eq!((status, &body["error"]["code"]), (StatusCode::BAD_REQUEST, &json!("idempotency_key_missing")));
    for bad in ["", " ", &"k".repeat(256)] {
        assert_eq!(pay(&http, &url, SHOP, bad, &payment(1)).await?.0, StatusCode::BAD_REQUEST, "{bad:?}");
    }
    let twice = http.post(&url).bearer_auth(SHOP).header("idempotency-key", "a").header("idempotency-key", "b");
    assert_eq!(twice.json(&payment(1)).send().await?.status(), StatusCode::BAD_REQUEST);
    assert_eq!(balance(&stack).await?, 0);
    stack.finish().await
}

async fn a_refused_request_leaves_its_key_free(backend: Backend) -> Result<()> {
    let stack = Stack::start(backend, &config()).await?;
    let (http, url) = (client(), stack.api_url("/payments"));
    for bad in [json!({ "amount": 0, "currency": "eur" }), json!({ "amount": 1, "currency": "euro" }), json!({})] {
        assert_eq!(pay(&http, &url, SHOP, "k", &bad).await?.0, StatusCode::BAD_REQUEST, "{bad}");
    }
    assert_eq!(pay(&http, &url, SHOP, "k", &payment(5)).await?.0, StatusCode::CREATED);
    assert_eq!(balance(&stack).await?, 5);
    stack.finish().await
}

/// A ledger that is away is nobody's answer: the same key finds out what happened.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_during_an_outage_of_postgres_happens_once() -> Result<()> {
    let servers = Servers::own().await?;
    let stack = Stack::start_on(std::sync::Arc::clone(&servers), &config()).await?;
    assert_eq!(pay_in_the_end(&stack, "before", &payment(1)).await?.0, StatusCode::CREATED);
    servers.postgres.kill().await?;
    let answer = pay(&client(), &stack.api_url("/payments"), SHOP, "during", &payment(10)).await?;
    assert_eq!(answer.0, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    servers.postgres.start().await?;
    stack.until_ready().await?;
    assert_eq!(pay_in_the_end(&stack, "during", &payment(10)).await?.0, StatusCode::CREATED);
    assert!(pay_in_the_end(&stack, "before", &payment(1)).await?.2);
    assert_eq!(balance(&stack).await?, 11);
    stack.finish().await
}
