use crate::harness::Api;

const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");

#[tokio::test]
async fn the_page_is_served() {
    let api = Api::start(&["quotes", "page"]).await;
    let page = api.get("/ws-test/").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!(page.header("cache-control"), "no-cache");
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    let known = [("if-none-match", page.header("etag"))];
    let unchanged = api.call("GET", "/ws-test/", &known, "").await;
    assert_eq!((unchanged.status, unchanged.text.as_str(), unchanged.header("etag")), (304, "", page.header("etag")));
    assert_eq!(api.call("GET", "/ws-test/", &[("if-none-match", "\"x\"")], "").await.status, 200);

    let moved = api.get("/ws-test").await;
    assert_eq!((moved.status, moved.header("location")), (308, "/ws-test/"));
    let script = api.get("/ws-test/app.js").await;
    assert_eq!((script.status, script.header("content-type")), (200, "text/javascript; charset=utf-8"));
    api.get("/ws-test/nothing.js").await.envelope(404, "We couldn't find what you're looking for.");
    api.get("/ws-test/..%2fapp.js").await.envelope(404, "We couldn't find what you're looking for.");
    assert_eq!(api.call("POST", "/ws-test/", &[], "").await.status, 405);

    // Everything the page loads is here.
    for part in page.text.split(['"', '\'']).filter(|part| part.starts_with("/ws-test/")) {
        assert_eq!(api.get(part).await.status, 200, "{part}");
    }
}

#[tokio::test]
async fn the_documentation_is_served_strictly_and_kept_until_it_changes() {
    let api = Api::start(&["quotes", "docs"]).await;
    for (path, kind) in [
        ("/docs/", "text/html; charset=utf-8"),
        ("/openapi.json", "application/json"),
        ("/asyncapi.json", "application/json"),
    ] {
        let answer = api.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, kind), "{path}");
        assert_eq!(answer.header("cache-control"), "no-cache", "{path}");
        let known = [("if-none-match", answer.header("etag"))];
        assert_eq!(api.call("GET", path, &known, "").await.status, 304, "{path}");
    }
    let policy = api.get("/docs/").await.header("content-security-policy").to_owned();
    assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    let script = api.get("/docs/vendor/swagger-ui-bundle.js").await;
    assert_eq!((script.status, script.header("content-encoding")), (200, "gzip"));

    let without = Api::start(&["quotes"]).await;
    without.get("/openapi.json").await.envelope(404, "We couldn't find what you're looking for.");
    let raw = Api::start(&["rates", "docs"]).await;
    raw.get("/asyncapi.json").await.envelope(404, "We couldn't find what you're looking for.");
}

#[tokio::test]
async fn a_browser_gets_the_page_at_the_root() {
    let api = Api::start(&["quotes", "page"]).await;
    let page = api.call("GET", "/", &[BROWSER], "").await;
    assert_eq!((page.header("content-type"), page.header("vary")), ("text/html; charset=utf-8", "accept"));
    for accept in [None, Some("*/*"), Some("application/json"), Some("application/json, text/html")] {
        let headers: Vec<_> = accept.map(|accept| ("accept", accept)).into_iter().collect();
        assert_eq!(api.call("GET", "/", &headers, "").await.text, r#"{"service":"User Api"}"#, "{accept:?}");
    }
    let without = Api::start(&["quotes"]).await;
    assert_eq!(without.call("GET", "/", &[BROWSER], "").await.text, r#"{"service":"User Api"}"#);
    without.get("/ws-test/").await.envelope(404, "We couldn't find what you're looking for.");
}
