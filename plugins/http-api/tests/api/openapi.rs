//! The OpenAPI document and the routes are one list: what is mounted is described, and the other way round.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::harness::Api;

/// Paths that serve files and no API.
const FILES: [&str; 2] = ["/ws-test", "/docs"];

#[tokio::test]
async fn every_route_is_described_and_every_description_is_served() {
    for groups in [&["rates", "health", "docs"][..], &["quotes", "accounts", "spreads", "page", "docs"]] {
        let api = Api::start(groups).await;
        let document = api.get("/openapi.json").await.json();
        let described = described(&document);
        let routes: BTreeSet<String> = api.host.paths("http").into_iter().filter(|path| !is_file(path)).collect();
        assert_eq!(described.keys().cloned().collect::<BTreeSet<_>>(), routes);
        for (path, operations) in &described {
            let asked: Vec<&str> = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect();
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
                let is_there = api.call(method, &asked.join("/"), &[], "").await.status != 405;
                assert_eq!(is_there, operations.contains(method), "{method} {path}: is it served, is it described?");
            }
        }
    }
}

#[tokio::test]
async fn operations_have_names_of_their_own_and_say_what_they_are() {
    let api = Api::start(&["quotes", "accounts", "spreads", "page", "docs"]).await;
    let document = api.get("/openapi.json").await.json();
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} is there twice");
            assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{method} {path}");
            let answers = operation["responses"].as_object().unwrap();
            let takes_a_body = operation.get("requestBody").is_some();
            let is_protected = operation.get("security").is_some();
            for (status, holds) in [("415", takes_a_body), ("422", takes_a_body)] {
                assert!(!holds || answers.contains_key(status), "{method} {path} takes a body: {status} is missing");
            }
            let refusals = ["401", "400"].iter().any(|status| answers.contains_key(*status));
            assert!(!is_protected || (refusals && answers.contains_key("503")), "{method} {path} needs a session");
        }
    }
}

/// The fuzzer's find: the schema of a spread forbade its own members.
#[tokio::test]
async fn spreads_are_as_their_schema_says() {
    let api = Api::start(&["quotes", "accounts", "spreads", "docs"]).await;
    api.quote("BTC_USD", "20249", "20249", None);
    let (document, admin) = (api.get("/openapi.json").await.json(), api.admin().await);
    let spread = Some(r#"{"buy":{"value":"450"},"sell":{"unit":"bps","value":"25"},"reason":"a test"}"#);
    for (method, path, body, status, schema) in [
        ("PUT", "/v1/spreads/BTC_USD", spread, 201, "Spread"),
        ("GET", "/v1/spreads/BTC_USD", None, 200, "Spread"),
        ("GET", "/v1/spreads", None, 200, "Spreads"),
        ("POST", "/v1/spreads/BTC_USD/preview", spread, 200, "Preview"),
        ("GET", "/v1/spreads/BTC_USD/history", None, 200, "History"),
    ] {
        let answer = api.authed(&admin, method, path, body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        let schema = json!({ "$ref": format!("#/components/schemas/{schema}"), "components": document["components"] });
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let errors: Vec<String> = validator.iter_errors(&answer.json()).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{method} {path}: {errors:?} in {}", answer.text);
    }
}

/// The methods of each path.
fn described(document: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let methods = |item: &Value| item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
    let paths = document["paths"].as_object().unwrap();
    paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

fn is_file(path: &str) -> bool {
    FILES.iter().any(|folder| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}
