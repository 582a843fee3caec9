//! The edge of the process: who is asked for, what every answer says, and what the public ports do not have.

use std::collections::BTreeSet;

use reqwest::{Client, Method, StatusCode, header::HeaderMap};
use serde_json::json;

use crate::harness::{Admin, EMAIL, Launch, Ratebus, WebSocket, eventually, in_project};

/// A login with a wrong password that says it comes from `forwarded`.
async fn wrong_login(ratebus: &Ratebus, forwarded: &str) -> StatusCode {
    let credentials = json!({ "email": EMAIL, "password": "a wrong password" });
    let request = Client::new().post(format!("{}/login", ratebus.url("user-api"))).json(&credentials);
    request.header("x-forwarded-for", forwarded).header("x-real-ip", forwarded).send().await.unwrap().status()
}

/// Everything, without an exchange.
fn demo() -> Launch {
    Launch::new().set("runtime.role=demo")
}

async fn with_admin(launch: Launch) -> Ratebus {
    Admin::create(&launch).await;
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    ratebus
}

#[tokio::test]
async fn who_invents_addresses_is_one_client_all_the_same() {
    let ratebus = with_admin(demo()).await;
    for attempt in 0..5 {
        assert_eq!(wrong_login(&ratebus, &format!("192.0.2.{attempt}")).await, 401);
    }
    assert_eq!(wrong_login(&ratebus, "192.0.2.77").await, 429);
}

#[tokio::test]
async fn behind_a_proxy_each_client_is_one() {
    let ratebus = with_admin(demo().set("listener.user-api.trusted_proxies=[\"127.0.0.1\"]")).await;
    // The proxy adds the last one; what stands before it came with the request.
    for attempt in 0..5 {
        assert_eq!(wrong_login(&ratebus, &format!("198.51.100.{attempt}, 192.0.2.1")).await, 401);
    }
    assert_eq!(wrong_login(&ratebus, "198.51.100.77, 192.0.2.1").await, 429);
    assert_eq!(wrong_login(&ratebus, "192.0.2.2").await, 401);
    let line = ratebus.logged("192.0.2.2:0").await;
    assert!(line.contains("\"event\":\"login\""), "{line}");
}

#[tokio::test]
async fn a_websocket_is_a_connection_of_its_address() {
    let ratebus = demo().set("listener.user-api.max_connections_per_address=2").start().await;
    ratebus.ready("user-api").await;
    let open = async || ratebus.metric("ratebus_open_connections").await;
    eventually("the question itself to be the only connection", || async { (open().await == 1).then_some(()) }).await;
    let url = ratebus.url("user-api");
    let alone = Client::builder().pool_max_idle_per_host(0).build().unwrap();
    let status = async || alone.get(format!("{url}/livez")).send().await.unwrap().status();
    let (first, second) = (WebSocket::connect(&url, "").await, WebSocket::connect(&url, "").await);
    assert_eq!(status().await, 503);
    assert_eq!(ratebus.metric("ratebus_connections_refused_total").await, 1);
    drop(first);
    eventually("room for another", || async { (status().await == 200).then_some(()) }).await;
    drop(second);
}

/// The requests without a body that docs/api.md names for each of the listeners.
fn documented(listener: &str) -> BTreeSet<(Method, String)> {
    let text = std::fs::read_to_string(in_project("docs/api.md")).unwrap();
    let is_raw = listener == "exchange-rate";
    let section = if is_raw { text.split("## exchange-rate").nth(1) } else { text.split("## user-api").nth(1) };
    let section = section.unwrap().split("\n## user-api").next().unwrap();
    let mut found = BTreeSet::new();
    for named in section.split('`').filter(|code| code.split_once(' ').is_some_and(|(_, path)| path.starts_with('/'))) {
        let (method, path) = named.split_once(' ').unwrap();
        let path = path.split([' ', '?']).next().unwrap();
        let path = path.replace("{PAIR}", "BTC_USD").replace("{pair}", "BTC_USD").replace("{scope}", "*");
        if let Ok(method) = method.parse::<Method>() {
            found.insert((method, path.replace("{id}", "nobody")));
        }
    }
    found
}

fn says<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// Whatever is asked of whatever is there.
#[tokio::test]
async fn every_answer_says_what_it_is_and_nothing_about_us() {
    let ratebus = with_admin(demo().set("listener.user-api.trusted_proxies=[\"127.0.0.1\"]")).await;
    let admin = Admin::login(&ratebus).await;
    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    for listener in ["exchange-rate", "user-api"] {
        let mut requests = documented(listener);
        let own = ["/", "/livez", "/readyz", "/nothing", "/v1/nothing"];
        let pages = ["/ws-test", "/ws-test/", "/ws-test/app.js", "/docs", "/docs/", "/openapi.json", "/asyncapi.json"];
        let live = ["/socket.io/", "/socket.io/?EIO=4&transport=polling", "/v1/rates/stream", "/v1/ws"];
        requests.extend(own.iter().chain(&pages).chain(&live).map(|&path| (Method::GET, path.to_owned())));
        let paths: BTreeSet<String> = requests.iter().map(|(_, path)| path.clone()).collect();
        for method in [Method::HEAD, Method::OPTIONS, Method::TRACE, Method::from_bytes(b"BREW").unwrap()] {
            requests.extend(paths.iter().map(|path| (method.clone(), path.clone())));
        }
        assert!(requests.len() > if listener == "user-api" { 100 } else { 40 }, "{requests:?}");
        for (method, path) in requests {
            let name = format!("{listener}: {method} {path}");
            let mut request = client.request(method.clone(), format!("{}{path}", ratebus.url(listener)));
            if !path.contains("logout") {
                request = request.bearer_auth(admin.token());
            }
            let answer = request.header("x-forwarded-proto", "https").send().await.unwrap();
            let (status, headers) = (answer.status(), answer.headers());
            assert!(status.as_u16() < 500 || status == 503, "{name}: {status}");
            assert_eq!(says(headers, "x-request-id").len(), 32, "{name}");
            assert_eq!(says(headers, "x-content-type-options"), "nosniff", "{name}");
            assert_eq!(says(headers, "server"), "", "{name}");
            assert_eq!(says(headers, "x-powered-by"), "", "{name}");
            let https = if listener == "user-api" { "max-age=31536000" } else { "" };
            assert_eq!(says(headers, "strict-transport-security"), https, "{name}");
            let (kind, cache) = (says(headers, "content-type"), says(headers, "cache-control"));
            assert!(["no-store", "no-cache"].contains(&cache), "{name}: {cache}");
            assert!(cache == "no-store" || path == "/" || pages.contains(&&*path), "{name}: {cache}");
            let is_html = kind.starts_with("text/html");
            assert!(!is_html || says(headers, "content-security-policy").contains("frame-ancestors 'none'"), "{name}");
            if [Method::OPTIONS, Method::TRACE].contains(&method) || method.as_str() == "BREW" {
                assert!(status == 404 || (status == 405 && !says(headers, "allow").is_empty()), "{name}: {status}");
            }
            if status.as_u16() >= 400 && path.starts_with("/v1/") {
                assert_eq!(kind, "application/problem+json", "{name}");
                let id = says(headers, "x-request-id").to_owned();
                let body = answer.text().await.unwrap();
                assert!(method == Method::HEAD || body.contains(&format!("\"requestId\":\"{id}\"")), "{name}: {body}");
            }
        }
    }
}

#[tokio::test]
async fn operators_have_a_listener_of_their_own() {
    let ratebus = demo().start().await;
    ratebus.ready("user-api").await;
    let status = async |listener: &str, path: &str| {
        reqwest::get(format!("{}{path}", ratebus.url(listener))).await.unwrap().status().as_u16()
    };
    for path in
        ["/metrics", "/metrics/", "//metrics", "/Metrics", "/health/", "/health/live", "/debug/pprof", "/config"]
    {
        assert_eq!(status("user-api", path).await, 404, "{path}");
        assert_eq!(status("exchange-rate", path).await, 404, "{path}");
    }
    assert_eq!(status("user-api", "/health").await, 404);
    assert_eq!((status("metrics", "/metrics").await, status("metrics", "/health").await), (200, 200));
    let health = reqwest::get(format!("{}/health", ratebus.url("exchange-rate"))).await.unwrap().text().await.unwrap();
    assert!(!health.contains("ws://") && !health.contains('/'), "names of checks only: {health}");
}
