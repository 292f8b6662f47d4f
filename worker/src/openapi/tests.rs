use std::collections::BTreeSet;

use jiff::Timestamp;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tidegate_shared::cache::Cache;
use tidegate_shared::cache::embedded::EmbeddedCache;
use tidegate_shared::config::Config;
use tidegate_shared::ledger::embedded::EmbeddedLedger;
use tidegate_shared::ledger::{self, Ledger, Status};
use tidegate_shared::problem::Problem;
use tidegate_shared::queue::Queue;
use tidegate_shared::queue::embedded::EmbeddedQueue;
use tidegate_shared::store::Store;
use tidegate_shared::tasks::Tasks;

use super::*;
use crate::Parts;
use crate::admin::Admin;
use crate::api::Apis;
use crate::http::login::LoginState;

fn document_json() -> Value {
    serde_json::to_value(document()).expect("it is JSON")
}

/// The paths of a router, which axum shows in no other way.
fn paths(router: &Router) -> BTreeSet<String> {
    let text = format!("{router:?}");
    let words = text.split('"').filter(|word| word.starts_with('/'));
    // The fallback is kept under two paths of axum's own.
    let own = words.filter(|path| *path != "/" && !path.contains("__private__axum"));
    own.map(|path| path.replace("{*", "{")).collect()
}

/// Goal: no route without its description. Method: ask both routers, as they are served, for their paths.
#[tokio::test]
async fn every_route_is_documented() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("a store");
    let config = Config::development();
    let tasks = Tasks::new();
    let queue = EmbeddedQueue::open(store.clone(), config.topology(), &tasks).await.expect("a queue");
    let ledger = Ledger::Embedded(EmbeddedLedger::new(store.clone()));
    let cache = Cache::Embedded(EmbeddedCache::new(store));
    let parts = Parts { queue: Queue::Embedded(queue), ledger, cache };
    let http = config.serving_http(Some(([127, 0, 0, 1], 0).into())).expect("a configuration");
    let http_config = http.http.clone().expect("[http] is there");
    let http_state =
        Arc::new(worker_api::Http::new(&http_config, Apis::default(), parts.ledger.clone(), tasks.clone()));
    let admin = Arc::new(Admin::new(&http, parts, Apis::default(), tasks.clone()));
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let state = admin::state_routes(Arc::clone(&admin));
    let routers =
        [admin::router(admin, metrics, None), worker_api::router(http_state, state, LoginState::new([], &[]))];

    let routed = routers.iter().flat_map(paths);
    let routed: BTreeSet<_> = routed.filter(|path| !path.starts_with("/docs")).collect();
    let document = document_json();
    let documented: BTreeSet<_> = document["paths"].as_object().expect("paths").keys().cloned().collect();
    assert_eq!(routed, documented);
    assert!(routed.contains("/v1/events") && routed.contains("/cache/{api}/{path}"), "{routed:?}");
    tasks.shutdown().cancel();
}

#[test]
fn it_is_openapi_3_1_and_every_reference_leads_somewhere() {
    let document = document_json();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1.")));
    let text = document.to_string();
    let references: BTreeSet<&str> =
        text.split("\"$ref\":\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(references.contains("#/components/schemas/Problem"));
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("a reference within the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn every_operation_is_described_with_its_errors_and_its_security() {
    let document = document_json();
    let operations = document["paths"].as_object().expect("paths").iter().flat_map(|(path, item)| {
        let item = item.as_object().expect("a path's item");
        item.iter().map(move |(method, operation)| (format!("{method} {path}"), operation))
    });
    let mut ids = BTreeSet::new();
    for (name, operation) in operations {
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{name} has no summary");
        assert!(ids.insert(operation["operationId"].to_string()), "{name}: its operationId is taken");
        let tag = operation["tags"][0].as_str().expect("a tag");
        let token = match tag {
            "api" => "caller_token",
            "admin" => "admin_token",
            _ => continue,
        };
        assert_eq!(operation["security"], json!([{}, { token: [] }]), "{name}");
        for (status, response) in operation["responses"].as_object().expect("responses") {
            let is_problem =
                response["content"]["application/json"]["schema"]["$ref"] == "#/components/schemas/Problem";
            assert_eq!(is_problem, status.as_str() >= "400", "{name} {status}");
        }
        assert!(operation["responses"].get("401").is_some(), "{name}");
        for parameter in path_parameters(&name) {
            let parameters = operation["parameters"].as_array().expect("parameters");
            assert!(parameters.iter().any(|p| p["name"] == parameter && p["in"] == "path"), "{name}: {parameter}");
        }
    }
}

fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| rest.split('}').next())
}

/// The names of a schema's properties, with those of the schemas it is made of.
fn properties(document: &Value, schema: &Value) -> BTreeSet<String> {
    let mut names: BTreeSet<String> =
        schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    for part in schema["allOf"].as_array().into_iter().flatten() {
        names.extend(properties(document, part));
    }
    if let Some(target) = schema["$ref"].as_str().and_then(|target| document.pointer(target.strip_prefix('#')?)) {
        names.extend(properties(document, target));
    }
    names
}

#[test]
fn the_shapes_are_those_that_are_answered() {
    let document = document_json();
    let check = |schema: &str, value: &dyn erased::Named| {
        let documented = properties(&document, &document["components"]["schemas"][schema]);
        assert_eq!(documented, value.names(), "{schema}");
    };
    check("Problem", &Problem::new("x", String::new(), "id"));
    check("ProblemDetail", &Problem::new("x", String::new(), "id").error);
    let now = Timestamp::UNIX_EPOCH;
    let attempt = ledger::AttemptRow { attempt: 1, at: now, error: String::new() };
    check("AttemptRow", &attempt);
    check("HandlerAttempts", &ledger::HandlerAttempts { handler: String::new(), attempts: vec![attempt] });
    let part = ledger::HandlerStatus { handler: String::new(), status: Status::Dead, attempts: 1 };
    check("HandlerStatus", &part);
    let row = ledger::EventRow {
        event_id: String::new(),
        source: String::new(),
        event_type: String::new(),
        received_at: now,
        status: Status::Accepted,
        handlers: vec![part],
        key: String::new(),
        request_id: String::new(),
        cursor: 0,
    };
    check("EventRow", &row);
    let steps = ledger::HandlerSteps { handler: String::new(), steps: Vec::new() };
    check("HandlerSteps", &steps);
    let done = ledger::StepOutcome::Done { result: Value::Null };
    let rejected = ledger::StepOutcome::Rejected { reason: String::new() };
    let [done, rejected] = [done, rejected].map(|outcome| ledger::StepRecord {
        step: "a".into(),
        undo: false,
        outcome,
        at: now,
        attempt: 1,
    });
    check("StepRecord", &(done, rejected));
    let (failed_attempts, steps) = (Vec::new(), vec![steps]);
    check("EventDetail", &ledger::EventDetail { row, failed_attempts, steps, content_type: None, content: None });
    check("DeadLetterCount", &ledger::DeadLetterCount { handler: String::new(), source: None, count: 1 });
    check(
        "DeadLetterRow",
        &ledger::DeadLetterRow {
            id: String::new(),
            handler: String::new(),
            source: None,
            event_id: None,
            event_type: String::new(),
            reason: String::new(),
            attempts: 1,
            dead_at: now,
            cursor: 0,
        },
    );
}

#[test]
fn the_words_of_a_status_are_those_that_are_answered() {
    let document = document_json();
    let documented = &document["components"]["schemas"]["Status"]["enum"];
    assert_eq!(*documented, json!(Status::ALL.map(Status::as_str)));
}

mod erased {
    use super::*;

    /// The names that a value, or either of two values, is answered with.
    pub(super) trait Named {
        fn names(&self) -> BTreeSet<String>;
    }

    fn names(value: &impl Serialize) -> BTreeSet<String> {
        let value = serde_json::to_value(value).expect("it is JSON");
        value.as_object().expect("an object").keys().cloned().collect()
    }

    impl<T: Serialize> Named for T {
        fn names(&self) -> BTreeSet<String> {
            let value = serde_json::to_value(self).expect("it is JSON");
            value.as_array().map_or_else(|| names(&value), |either| either.iter().flat_map(names).collect())
        }
    }
}
