use std::collections::BTreeSet;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tidegate_shared::config::Config;
use tidegate_shared::ledger::Status;
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
    let parts = Parts::embedded(queue, store);
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

#[test]
fn the_words_of_a_status_are_those_that_are_answered() {
    let document = document_json();
    let documented = &document["components"]["schemas"]["Status"]["enum"];
    assert_eq!(*documented, json!(Status::ALL.map(Status::as_str)));
}
