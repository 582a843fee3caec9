//! The documented API against the built binary: what is described is served, the page shows it, the collection works.

use std::{collections::BTreeSet, ffi::OsStr, process::Stdio};

use reqwest::{Client, Method};
use serde_json::Value;
use tokio::process::Command;

use crate::harness::{Admin, EMAIL, Launch, PASSWORD, Ratebus, in_project, within};

/// The live events, which have a document of their own.
const SOCKETIO: &str = "/socket.io";

async fn demo() -> Ratebus {
    let launch = Launch::new().set("runtime.role=demo");
    Admin::create(&launch).await;
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    ratebus
}

async fn document(url: &str) -> Value {
    reqwest::get(format!("{url}/openapi.json")).await.unwrap().json().await.unwrap()
}

/// Node on one of the programs of `tests/clients`, to its end.
async fn node(program: &str, args: &[&OsStr]) {
    let mut command = Command::new("node");
    command.arg(in_project("tests/clients").join(program)).args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = within(program, command.stdout(Stdio::piped()).stderr(Stdio::piped()).output()).await.unwrap();
    let text = String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
}

#[tokio::test]
async fn each_listener_describes_what_it_serves() {
    let ratebus = demo().await;
    let client = Client::new();
    for (listener, own) in [("user-api", "/v1/ws"), ("exchange-rate", "/health")] {
        let (url, document) = (ratebus.url(listener), document(&ratebus.url(listener)).await);
        let paths = document["paths"].as_object().unwrap();
        for expected in [own, "/livez", "/readyz", "/v1/rates/{pair}", "/openapi.json"] {
            assert!(paths.contains_key(expected), "{listener} lacks {expected}");
        }
        assert_eq!(paths.contains_key("/asyncapi.json"), listener == "user-api");
        for (path, item) in paths {
            let asked: Vec<&str> = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect();
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
                let described = item.get(method.to_lowercase()).is_some();
                let request = client.request(method.parse::<Method>().unwrap(), format!("{url}{}", asked.join("/")));
                let status = within(path, request.send()).await.unwrap().status();
                assert_eq!(status != 405, described, "{listener}: {method} {path} is answered {status}");
            }
        }
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let referred = text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next());
        for name in referred.collect::<BTreeSet<_>>() {
            assert!(schemas.contains_key(name), "{listener}: there is no schema {name}");
        }
        assert!(!text.contains(SOCKETIO));
    }
}

#[tokio::test]
async fn the_page_shows_every_operation_and_asks_nobody_else() {
    let ratebus = demo().await;
    for listener in ["user-api", "exchange-rate"] {
        node("docs.mjs", &["--url".as_ref(), ratebus.url(listener).as_ref()]).await;
    }
}

#[tokio::test]
async fn the_event_stream_goes_on_where_it_was_left() {
    let ratebus = demo().await;
    node("events.mjs", &["--url".as_ref(), ratebus.url("user-api").as_ref()]).await;
}

#[tokio::test]
async fn the_postman_collection_is_the_documents_and_works() {
    let ratebus = demo().await;
    let url = ratebus.url("user-api");
    node("postman.mjs", &["--url".as_ref(), url.as_ref()]).await;
    let collection = in_project("docs/postman_collection.json");
    let variables = [format!("baseUrl={url}"), format!("adminEmail={EMAIL}"), format!("adminPassword={PASSWORD}")];
    let variables = variables.iter().flat_map(|variable| ["--env-var".as_ref(), variable.as_ref()]);
    let args: Vec<&OsStr> = ["run".as_ref(), collection.as_os_str()].into_iter().chain(variables).collect();
    node("node_modules/newman/bin/newman.js", &args).await;
}
