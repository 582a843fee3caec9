//! A real listener and real sockets. Time is paused where something has to take long: it passes once everybody waits.

mod edge;

use std::net::IpAddr;

use axum::{body::Bytes, routing::get};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep},
};

use super::*;
use crate::health::Readiness;

const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A listener that is served until it is dropped.
struct Served {
    address: SocketAddr,
    cancel: CancellationToken,
    tracker: TaskTracker,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn serve(settings: config::Listener, router: Router) -> Served {
    let mounts = Mounts::fixed("test", router, Readiness::default());
    let listener = Listener::bind("test", settings, mounts).unwrap();
    let (address, cancel, tracker) = (listener.address(), CancellationToken::new(), TaskTracker::new());
    tracker.spawn(listener.serve(cancel.clone(), tracker.clone()));
    Served { address, cancel, tracker }
}

fn plain(router: Router) -> Served {
    serve(config::Listener::plain(LOCAL, 1000), router)
}

/// `[listener.x]` with these keys beside the address.
fn with(keys: &str, router: Router) -> Served {
    use figment::providers::{Format, Toml};
    let settings = figment::Figment::from(Toml::string(&format!("listen = \"127.0.0.1:0\"\n{keys}")));
    serve(settings.extract().unwrap(), router)
}

/// Everything that comes back for `request` until the server closes.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    rest(&mut stream).await
}

/// What a connection brings until its end; a reset is one too.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// Sends a request that leaves the connection open, and reads the answer, which has a length.
async fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let length = |head: &str| head.split("content-length: ").nth(1)?.split("\r\n").next()?.parse::<usize>().ok();
    loop {
        let complete = answer.split_once("\r\n\r\n").is_some_and(|(head, body)| length(head) == Some(body.len()));
        if complete {
            return answer;
        }
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        answer.push(char::from(byte[0]));
    }
}

fn echo() -> Router {
    Router::new().route("/", get(async || "got").post(async |body: Bytes| body))
}

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const LAST: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// Sends `request`, then stops the listener: what came back, and how long the stop took.
async fn stopped_after(request: &str, read: bool) -> (String, Duration) {
    let slow = async || {
        sleep(Duration::from_secs(8)).await;
        "done"
    };
    let large = async || "x".repeat(32 << 20);
    let served = plain(Router::new().route("/slow", get(slow)).route("/large", get(large)));
    let mut client = TcpStream::connect(served.address).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    while served.tracker.len() < 2 {
        tokio::task::yield_now().await;
    }
    sleep(Duration::from_secs(1)).await;
    let started = Instant::now();
    served.cancel.cancel();
    served.tracker.close();
    served.tracker.wait().await;
    let took = started.elapsed();
    let answer = if read { rest(&mut client).await } else { String::new() };
    (answer, took)
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_handlers_and_not_for_clients() {
    let (answer, took) = stopped_after("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n", true).await;
    assert!(answer.ends_with("done"), "{answer}");
    assert!(took >= Duration::from_secs(7), "{took:?}");
    for (request, read) in [("GET / HTTP/1.1\r\nhos", true), ("GET /large HTTP/1.1\r\nhost: x\r\n\r\n", false)] {
        let (answer, took) = stopped_after(request, read).await;
        assert_eq!(answer, "");
        assert!(took <= LEAVE_TIMEOUT + Duration::from_millis(10), "{request}: {took:?}");
    }
}

/// Sends `start`, then a byte every three seconds for as long as the connection takes it: how long that was.
async fn dribble(address: SocketAddr, start: &'static str) -> Duration {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let started = Instant::now();
    stream.write_all(start.as_bytes()).await.unwrap();
    let (mut from, mut to) = stream.split();
    let writes = async {
        while to.write_all(b"x").await.is_ok() {
            sleep(Duration::from_secs(3)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    tokio::select! {
        _ = from.read_to_end(&mut answer) => {}
        () = writes => {}
    }
    started.elapsed()
}

#[tokio::test(start_paused = true)]
async fn slow_clients_are_closed_while_others_are_served() {
    let served = plain(echo());
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..50 {
        slow.spawn(dribble(served.address, "GET / HTTP/1.1\r\nhost: x\r\nx-slow: "));
        slow.spawn(dribble(served.address, "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n"));
    }
    for _ in 0..9 {
        assert!(exchange(served.address, LAST.as_bytes()).await.ends_with("got"));
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(slow.len(), 100);
    assert!(slow.try_join_next().is_none(), "they had some seconds left");
    while let Some(took) = slow.join_next().await {
        let took = took.unwrap();
        assert!(took >= Duration::from_secs(9) && took <= Duration::from_secs(11), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed() {
    let served = plain(echo());
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    for _ in 0..2 {
        assert!(ask(&mut stream, GET).await.ends_with("got"));
        sleep(HEADER_TIMEOUT / 2).await;
    }
    let since = Instant::now();
    assert_eq!(rest(&mut stream).await, "");
    assert!(since.elapsed() <= HEADER_TIMEOUT, "{:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_reads_holds_nothing_up() {
    let served = plain(Router::new().route("/", get(async || "got").post(async || "unread")));
    let started = Instant::now();
    for method in ["GET", "POST", "PUT"] {
        let head = format!("{method} / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nx");
        let answer = exchange(served.address, head.as_bytes()).await;
        assert!(answer.starts_with(if method == "PUT" { "HTTP/1.1 405" } else { "HTTP/1.1 200" }), "{answer}");
    }
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

/// What each request is answered with, its status alone, and then the connection is closed.
#[tokio::test]
async fn malformed_and_outsized_requests() {
    let served = plain(echo().route("/long", get(async || "got")));
    let fields = |number: usize| {
        let more = "x: 1\r\n".repeat(number);
        format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n")
    };
    let target = |length: usize| {
        format!("GET /long?{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "x".repeat(length - "/long?".len()))
    };
    let with_field = |field: &str| format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{field}\r\n\r\n");
    let post = |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nhost: x\r\n{fields}\r\n\r\n{body}");
    let smuggled = format!("4\r\nbody\r\n0\r\n\r\n{GET}");
    for (name, request, statuses) in [
        ("64 fields", fields(62), &[200][..]),
        ("65 fields", fields(63), &[431]),
        ("200 fields", fields(200), &[431]),
        ("a head of nearly 16 KiB", with_field(&format!("x: {}", "x".repeat(16_000))), &[200]),
        ("a head of more than 16 KiB", with_field(&format!("x: {}", "x".repeat(17_000))), &[431]),
        ("a target of 2 KiB", target(2048), &[200]),
        ("a longer target", target(2049), &[414]),
        ("no host", "GET / HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned(), &[400]),
        ("two hosts", with_field("host: y"), &[400]),
        ("HTTP/1.0", "GET / HTTP/1.0\r\n\r\n".to_owned(), &[200]),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), &[]),
        ("no HTTP", "hello\r\n\r\n".to_owned(), &[400]),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}".to_owned(), &[400]),
        ("a folded field", with_field("x: a\r\n b"), &[400]),
        ("a space before the colon", with_field("x : a"), &[400]),
        ("a control character", with_field("x: a\u{0}b"), &[400]),
        ("line feeds alone", "GET / HTTP/1.1\nhost: x\nconnection: close\n\n".to_owned(), &[200]),
        ("a carriage return alone", with_field("x: a\rb"), &[400]),
        ("TRACE", "TRACE / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(), &[405]),
        ("CONNECT", "CONNECT x:80 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(), &[404]),
        ("OPTIONS *", "OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(), &[404]),
        ("two lengths", post("content-length: 4\r\ncontent-length: 5", "body"), &[400]),
        ("a negative length", post("content-length: -1", ""), &[400]),
        ("a length in words", post("content-length: 4x", "body"), &[400]),
        // RFC 9112, section 6.1: read as chunked, and nothing after it is a request.
        ("length and encoding", post("content-length: 4\r\ntransfer-encoding: chunked", &smuggled), &[200]),
        ("encoding and length", post("transfer-encoding: chunked\r\ncontent-length: 4", &smuggled), &[200]),
        ("an unknown encoding", post("transfer-encoding: gzip", "body"), &[400]),
        ("chunked and another", post("transfer-encoding: chunked, identity", "body"), &[400]),
        ("encoding in HTTP/1.0", "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), &[400]),
        (
            "a chunk extension",
            post("transfer-encoding: chunked\r\nconnection: close", "4;a=b\r\nbody\r\n0\r\n\r\n"),
            &[200],
        ),
        ("a chunk without a size", post("transfer-encoding: chunked", "x\r\n"), &[400]),
        ("a chunk that is too long", post("transfer-encoding: chunked", "4\r\nbody!\r\n0\r\n\r\n"), &[400]),
        ("a chunk ended by a line feed", post("transfer-encoding: chunked", "4\nbody\r\n0\r\n\r\n"), &[400]),
        ("a chunk of 2^64 bytes", post("transfer-encoding: chunked", "10000000000000000\r\n"), &[400]),
    ] {
        let answer = exchange(served.address, request.as_bytes()).await;
        let found: Vec<u16> = answer.split("HTTP/1.1 ").skip(1).map(|one| one[..3].parse().unwrap()).collect();
        let found = if answer.starts_with("HTTP/1.0 ") { vec![answer[9..12].parse().unwrap()] } else { found };
        assert_eq!(found, statuses, "{name}: {answer}");
        assert!(!answer.to_lowercase().contains("\r\nserver:"), "{name}: {answer}");
    }
}
