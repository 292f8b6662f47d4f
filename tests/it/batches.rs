//! Requests that hold several events: each becomes one of its own, and all are durable before the sender hears so.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tidegate_tests::eventually::eventually;
use tidegate_tests::sender::{Answer, SECRET, Signed, client, hmac_hex, send};
use tidegate_tests::stack::{Backend, SOON, Servers, Stack};

use crate::on_both_backends;

on_both_backends!(a_batch_becomes_its_events_and_none_twice);

/// LINE's requests hold a list, and are split.
const LINE: &str = r#"
[[source]]
name = "line"
provider = "line"
split = true
secrets = ["tidegate-test-secret-of-32-bytes"]
[[handler]]
name = "archive"
on = ["**"]
run = "archive"
retry = ["1s"]
"#;

fn line(events: &[Value]) -> Signed {
    let body = json!({"destination": "U1", "events": events}).to_string();
    let signature = STANDARD.encode(hex::decode(hmac_hex(SECRET, &[body.as_bytes()])).expect("hexadecimal digits"));
    let signature = HeaderValue::from_str(&signature).expect("a header's value");
    let headers = HeaderMap::from_iter([(HeaderName::from_static("x-line-signature"), signature)]);
    Signed { headers, body: body.into_bytes() }
}

async fn a_batch_becomes_its_events_and_none_twice(backend: Backend) -> Result<()> {
    let stack = Stack::start(backend, LINE).await?;
    let event = |id: &str, text: &str, again: bool| json!({"type": "message", "webhookEventId": id, "text": text, "deliveryContext": {"isRedelivery": again}});
    let sent = async |events: &[Value]| -> Result<Answer> { send(&client(), &stack.url("line"), &line(events)).await };
    let answer = sent(&[event("e1", "ä", false), event("e2", "b", false)]).await?;
    assert_eq!((answer.status, answer.outcome(), &answer.body["events"]), (200, "accepted", &json!(2)), "{answer:?}");
    let again = sent(&[event("e2", "b", true), event("e1", "ä", true)]).await?;
    assert_eq!((again.outcome(), &again.body["events"]), ("duplicate", &json!(2)), "{again:?}");
    let more = sent(&[event("e2", "b", true), event("e3", "c", false)]).await?;
    assert_eq!(more.outcome(), "accepted", "{more:?}");
    let many: Vec<_> = (10..110).map(|number| event(&format!("e{number}"), "x", false)).collect();
    assert_eq!(sent(&many).await?.body["events"], 100);
    // The verify button of the console: no event.
    assert_eq!(sent(&[]).await?.status, 200);
    for id in ["e1", "e2", "e3", "e109"] {
        let row = stack.until_status(id, "applied").await?;
        assert_eq!(row["event_type"], "message");
    }
    let row = stack.until_status("e1", "applied").await?;
    let item = r#"{"deliveryContext":{"isRedelivery":false},"text":"ä","type":"message","webhookEventId":"e1"}"#;
    assert_eq!(row["body"], item, "byte for byte as it stood in the list");
    stack.until_number("SELECT COUNT(*) FROM events", 103, SOON).await?;
    stack.finish().await
}

/// One event of the batch is too large for the broker: whatever became of the others, the answer is no 2xx, and none of
/// them is stuck when the batch comes again.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_not_accepted_before_every_event_of_it_is() -> Result<()> {
    let servers = Servers::own().await?;
    servers.rabbitmq.limit_messages(100_000).await?;
    let mut stack = Stack::start_on(servers.clone(), LINE).await?;
    let event = |id: &str, text: &str| json!({"type": "message", "webhookEventId": id, "text": text});
    let batch = line(&[event("e1", "a"), event("e2", &"b".repeat(200_000)), event("e3", "c")]);
    for _ in 0..2 {
        let answer = send(&client(), &stack.url("line"), &batch).await?;
        assert_eq!((answer.status, answer.outcome()), (503, "unavailable"), "{answer:?}");
    }
    servers.rabbitmq.limit_messages(16 << 20).await?;
    // The door remembers the limit for as long as its connection lives.
    stack.crash_ingest(0).await?;
    stack.until_ready().await?;
    let answer = eventually("the batch is accepted", SOON, || async {
        let answer = send(&client(), &stack.url("line"), &batch).await.map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(answer) } else { Err(format!("{answer:?}")) }
    })
    .await?;
    assert_eq!((answer.outcome(), &answer.body["events"]), ("accepted", &json!(3)), "{answer:?}");
    for id in ["e1", "e2", "e3"] {
        stack.until_status(id, "applied").await?;
    }
    stack.until_number("SELECT COUNT(*) FROM inbox", 3, SOON).await?;
    stack.finish().await
}
