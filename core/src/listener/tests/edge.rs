//! Who is on the other end, and which pages may read the answers.

use axum::{
    extract::Request as AnyRequest,
    http::{
        HeaderMap, StatusCode,
        header::{CONNECTION, UPGRADE},
    },
    response::{Html, IntoResponse, Response},
};
use ratebus_sdk::ProblemDocument;
use tokio::net::TcpSocket;

use super::*;

/// Answers with the client's address.
fn who() -> Router {
    Router::new().route("/", get(async |ConnectInfo(client): ConnectInfo<SocketAddr>| client.to_string()))
}

async fn who_with(served: &Served, fields: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{fields}\r\n");
    let answer = exchange(served.address, request.as_bytes()).await;
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[tokio::test]
async fn only_a_trusted_proxy_says_who_the_client_is() {
    let open = plain(who());
    for fields in ["x-forwarded-for: 192.0.2.1\r\n", "x-real-ip: 192.0.2.1\r\nforwarded: for=192.0.2.1\r\n"] {
        assert!(who_with(&open, fields).await.starts_with("127.0.0.1:"));
    }
    let behind = with("trusted_proxies = [\"127.0.0.0/8\"]", who());
    assert_eq!(who_with(&behind, "x-forwarded-for: 198.51.100.7, 192.0.2.1\r\n").await, "192.0.2.1:0");
    assert!(who_with(&behind, "x-forwarded-for: nonsense\r\n").await.starts_with("127.0.0.1:"));
    assert!(who_with(&behind, "").await.starts_with("127.0.0.1:"));
}

/// A connection from another address of this machine.
async fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    socket.connect(to).await.unwrap()
}

/// Leaves HTTP, and keeps the connection until the client closes it.
async fn upgrade(mut request: AnyRequest) -> Response {
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut connection = TokioIo::new(upgraded.await.unwrap());
        let _ = connection.read_to_end(&mut Vec::new()).await;
    });
    let headers = [(CONNECTION, "upgrade"), (UPGRADE, "test")];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_others_have_theirs() {
    let served = with("max_connections_per_address = 3", echo().route("/up", get(upgrade)));
    let to = served.address;
    let mut first = TcpStream::connect(to).await.unwrap();
    assert!(ask(&mut first, GET).await.ends_with("got"));
    let silent = TcpStream::connect(to).await.unwrap();
    let mut upgraded = TcpStream::connect(to).await.unwrap();
    let switch = "GET /up HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n";
    upgraded.write_all(switch.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    upgraded.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");

    for _ in 0..3 {
        let refused = exchange(to, GET.as_bytes()).await;
        assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
        for part in ["retry-after: 1\r\n", "connection: close\r\n", "application/problem+json", "\"requestId\":\""] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
    }
    let mut other = connect_from("127.0.0.2", to).await;
    assert!(ask(&mut other, GET).await.ends_with("got"));

    // Whichever ends makes room, and one that became something else too.
    drop(upgraded);
    let mut fourth = seated(to).await;
    assert!(exchange(to, GET.as_bytes()).await.starts_with("HTTP/1.1 503"));
    drop((silent, first));
    seated(to).await;
    assert!(ask(&mut fourth, GET).await.ends_with("got"));
}

/// Leaves HTTP for a protocol in which the server speaks first.
async fn greet(mut request: AnyRequest) -> Response {
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move { TokioIo::new(upgraded.await.unwrap()).write_all(b"welcome").await });
    let headers = [(CONNECTION, "upgrade"), (UPGRADE, "test")];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

#[tokio::test]
async fn what_a_new_protocol_says_first_comes_with_the_answer() {
    let served = plain(Router::new().route("/", get(greet)));
    let mut client = TcpStream::connect(served.address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n").await.unwrap();
    let mut buffer = [0; 1024];
    let length = client.read(&mut buffer).await.unwrap();
    let answer = String::from_utf8_lossy(&buffer[..length]);
    assert!(answer.starts_with("HTTP/1.1 101") && answer.ends_with("\r\n\r\nwelcome"), "{answer}");
}

#[tokio::test]
async fn who_asked_for_a_new_protocol_has_an_answer_though_nobody_speaks_it() {
    let forget = async |mut request: AnyRequest| {
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move { drop(upgraded.await.unwrap()) });
        (StatusCode::SWITCHING_PROTOCOLS, [(CONNECTION, "upgrade"), (UPGRADE, "test")]).into_response()
    };
    let served = plain(Router::new().route("/", get(forget)));
    let mut client = TcpStream::connect(served.address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 101") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn accepted_connections_have_the_options_of_the_listener() {
    let settings = config::Listener::plain(LOCAL, 1);
    let listener = Listener::bind("test", settings, Mounts::fixed("test", echo(), Readiness::default())).unwrap();
    let _client = TcpStream::connect(listener.address()).await.unwrap();
    let (stream, _) = listener.socket.accept().await.unwrap();
    let options = socket2::SockRef::from(&stream);
    assert!(options.tcp_nodelay().unwrap());
    assert_eq!(options.tcp_notsent_lowat().unwrap(), UNSENT);
    assert_eq!(options.tcp_user_timeout().unwrap(), Some(STALL_TIMEOUT));
}

/// A connection that was not refused, as soon as there is one.
async fn seated(to: SocketAddr) -> TcpStream {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut stream = TcpStream::connect(to).await.unwrap();
        if ask(&mut stream, GET).await.ends_with("got") {
            return stream;
        }
        assert!(Instant::now() < deadline, "no room came free");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_proxy_may_have_all_connections() {
    let keys = "max_connections_per_address = 1\ntrusted_proxies = [\"127.0.0.2\"]";
    let served = with(keys, echo());
    let mut connections = Vec::new();
    for _ in 0..5 {
        let mut stream = connect_from("127.0.0.2", served.address).await;
        assert!(ask(&mut stream, GET).await.ends_with("got"));
        connections.push(stream);
    }
}

/// Status and headers of the answer to `method` for `path` from a page of `origin`.
async fn from_page(served: &Served, method: &str, path: &str, fields: &str) -> (u16, HeaderMap) {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{fields}\r\n");
    let answer = exchange(served.address, request.as_bytes()).await;
    let (head, _) = answer.split_once("\r\n\r\n").unwrap();
    let mut headers = HeaderMap::new();
    for line in head.split("\r\n").skip(1) {
        let (name, value) = line.split_once(": ").unwrap();
        headers.append(name.parse::<axum::http::HeaderName>().unwrap(), value.parse().unwrap());
    }
    (head[9..12].parse().unwrap(), headers)
}

fn says<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

const PREFLIGHT: &str =
    "access-control-request-method: POST\r\naccess-control-request-headers: x-evil, content-type\r\n";

#[tokio::test]
async fn without_listed_origins_no_other_page_reads_anything() {
    let served = with("", echo());
    for fields in ["origin: https://good.example\r\n", "origin: null\r\n", "origin: http://x\r\n"] {
        let (status, headers) = from_page(&served, "GET", "/", fields).await;
        assert_eq!((status, says(&headers, "access-control-allow-origin")), (200, None));
        let (status, headers) = from_page(&served, "OPTIONS", "/", &format!("{fields}{PREFLIGHT}")).await;
        assert_eq!((status, says(&headers, "access-control-allow-origin")), (405, None));
    }
}

#[tokio::test]
async fn pages_of_listed_origins_and_no_others_read_answers() {
    let served = with("origins = [\"https://good.example\", \"http://localhost:5173\"]", echo());
    for (origin, allowed) in [
        ("https://good.example", true),
        ("http://localhost:5173", true),
        ("https://good.example.evil", false),
        ("https://sub.good.example", false),
        ("https://good.example:444", false),
        ("https://good.example:443", false),
        ("http://good.example", false),
        ("HTTPS://GOOD.EXAMPLE", false),
        ("http://localhost", false),
        ("null", false),
        ("*", false),
    ] {
        let fields = format!("origin: {origin}\r\n");
        for (method, path, status) in [("GET", "/", 200), ("GET", "/nothing", 404)] {
            let (found, headers) = from_page(&served, method, path, &fields).await;
            assert_eq!(found, status, "{origin}");
            assert_eq!(says(&headers, "access-control-allow-origin"), allowed.then_some(origin));
            assert_eq!(says(&headers, "vary"), Some("origin"));
            assert_eq!(says(&headers, "access-control-allow-credentials"), None);
            let exposed = says(&headers, "access-control-expose-headers").unwrap_or_default();
            assert_eq!(exposed.contains("etag, retry-after"), allowed, "{exposed}");
        }
        let (status, headers) = from_page(&served, "OPTIONS", "/", &format!("{fields}{PREFLIGHT}")).await;
        assert_eq!(status, if allowed { 204 } else { 405 }, "{origin}");
        assert_eq!(says(&headers, "access-control-allow-origin"), allowed.then_some(origin));
        assert_eq!(says(&headers, "access-control-allow-methods"), allowed.then_some("GET,HEAD,POST"));
        assert_eq!(says(&headers, "access-control-allow-credentials"), None);
        let asked = says(&headers, "access-control-allow-headers").unwrap_or_default();
        assert_eq!((asked.contains("authorization"), asked.contains("x-evil")), (allowed, false));
    }
    // A preflight of what is not there, and OPTIONS from no page.
    let good = "origin: https://good.example\r\n";
    assert_eq!(from_page(&served, "OPTIONS", "/nothing", &format!("{good}{PREFLIGHT}")).await.0, 404);
    let (status, headers) = from_page(&served, "OPTIONS", "/", "").await;
    assert_eq!((status, says(&headers, "allow"), says(&headers, "vary")), (405, Some("GET,HEAD,POST"), Some("origin")));
    let two = "origin: https://good.example\r\norigin: https://evil.example\r\n";
    assert_eq!(says(&from_page(&served, "GET", "/", two).await.1, "access-control-allow-origin"), None);
}

#[tokio::test]
async fn every_origin_is_answered_without_naming_it() {
    let served = with("origins = [\"*\"]", echo());
    for origin in ["https://good.example", "null"] {
        let (_, headers) = from_page(&served, "GET", "/", &format!("origin: {origin}\r\n")).await;
        assert_eq!(says(&headers, "access-control-allow-origin"), Some("*"));
        assert_eq!((says(&headers, "vary"), says(&headers, "access-control-allow-credentials")), (None, None));
    }
}

#[tokio::test]
async fn what_every_answer_says() {
    async fn panics() -> &'static str {
        panic!("/etc/secret")
    }
    let own = ([("content-security-policy", "default-src 'self'"), ("cache-control", "no-cache")], Html("own"));
    let router = Router::new()
        .route("/", get(async || "plain"))
        .route("/html", get(async || Html("page")))
        .route("/own", get(async move || own))
        .route("/refused", get(async || ProblemDocument::new(StatusCode::CONFLICT, "No.")))
        .route("/panic", get(panics));
    let served = with("trusted_proxies = [\"127.0.0.1\"]", router);
    for (path, expected, policy, cache) in [
        ("/", 200, None, "no-store"),
        ("/html", 200, Some("default-src 'none'; frame-ancestors 'none'"), "no-store"),
        ("/own", 200, Some("default-src 'self'"), "no-cache"),
        ("/refused", 409, None, "no-store"),
        ("/panic", 500, None, "no-store"),
    ] {
        for (fields, hsts) in [("", None), ("x-forwarded-proto: https\r\n", Some("max-age=31536000"))] {
            let (status, headers) = from_page(&served, "GET", path, fields).await;
            assert_eq!(status, expected, "{path}");
            assert_eq!(says(&headers, "content-security-policy"), policy, "{path}");
            assert_eq!(says(&headers, "cache-control"), Some(cache), "{path}");
            assert_eq!(says(&headers, "x-content-type-options"), Some("nosniff"), "{path}");
            assert_eq!(says(&headers, "strict-transport-security"), hsts, "{path}");
            assert_eq!(says(&headers, "server"), None, "{path}");
        }
    }
    for path in ["/refused", "/panic"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = exchange(served.address, request.as_bytes()).await;
        let id = answer.split("x-request-id: ").nth(1).unwrap().split("\r\n").next().unwrap();
        assert!(answer.contains(&format!("\"requestId\":\"{id}\"")), "{answer}");
        assert!(answer.contains("application/problem+json") && !answer.contains("secret"), "{answer}");
    }
    assert_eq!(from_page(&served, "HEAD", "/", "").await.0, 200);
    for method in ["TRACE", "POST", "OPTIONS"] {
        let (status, headers) = from_page(&served, method, "/", "").await;
        assert_eq!((status, says(&headers, "allow")), (405, Some("GET,HEAD")));
        assert_eq!(says(&headers, "content-type"), Some("application/problem+json"));
    }
}
