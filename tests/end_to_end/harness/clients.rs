use std::{collections::HashMap, future::ready, process::Stdio};

use futures_util::{SinkExt, Stream, StreamExt};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

use super::{ratebus::in_project, within};

/// Official Socket.IO clients in a Node process: every `rates:live` argument's JSON is a line.
pub(crate) struct SocketIo {
    /// The last line.
    last: String,
    lines: Lines<BufReader<ChildStdout>>,
    child: Child,
}

impl SocketIo {
    /// One client of the given major version over `polling`, `websocket` or `upgrade`.
    pub(crate) fn connect(url: &str, version: &str, transport: &str) -> Self {
        Self::spawn(&["--url", url, "--client", version, "--transport", transport])
    }

    /// As [`SocketIo::connect`], with more in the query: `rates=changes`.
    pub(crate) fn choose(url: &str, version: &str, transport: &str, query: &str) -> Self {
        Self::spawn(&["--url", url, "--client", version, "--transport", transport, "--query", query])
    }

    /// As [`SocketIo::connect`], with a token. What becomes of the client is a line too: `{"refused":"why"}` or
    /// `{"disconnected":"why"}`.
    pub(crate) fn connect_with(url: &str, version: &str, transport: &str, token: &str) -> Self {
        Self::spawn(&["--url", url, "--client", version, "--transport", transport, "--token", token])
    }

    /// Shows a newer token; the answer is a line, `{"answered":{…}}`.
    pub(crate) async fn renew(&mut self, token: &str) {
        self.child.stdin.as_mut().unwrap().write_all(format!("{token}\n").as_bytes()).await.unwrap();
    }

    /// `count` clients of version 4; their lines are `{"client":…,"event":…}`.
    pub(crate) fn connect_many(url: &str, count: usize, transport: &str) -> Self {
        Self::spawn(&["--url", url, "--client", "4", "--transport", transport, "--count", &count.to_string()])
    }

    fn spawn(args: &[&str]) -> Self {
        let mut command = Command::new("node");
        command.arg(in_project("tests/clients/follow.mjs")).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("node starts; tests/run installs it");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { last: String::new(), lines, child }
    }

    /// Ends the clients. They fail here if one was not connected by the transport it was to use.
    pub(crate) async fn leave(mut self) {
        drop(self.child.stdin.take());
        let drain = async { while let Ok(Some(_)) = self.lines.next_line().await {} };
        let (status, ()) = within("the clients' end", async { tokio::join!(self.child.wait(), drain) }).await;
        assert!(status.unwrap().success(), "a client did not use its transport");
    }

    /// The next event's raw JSON, digits as they came.
    pub(crate) async fn next(&mut self) -> String {
        let line = within("a rates:live event", self.lines.next_line()).await.unwrap();
        self.last = line.expect("the client's process ended");
        self.last.clone()
    }

    /// Waits until the last event contains `text`, which it may do already.
    pub(crate) async fn see(&mut self, text: &str) {
        while !self.last.contains(text) {
            self.next().await;
        }
    }

    /// The first event for which `wanted` holds.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> String {
        loop {
            let line = self.next().await;
            if wanted(&serde_json::from_str(&line).unwrap()) {
                return line;
            }
        }
    }
}

/// A client of `/v1/ws`.
pub(crate) struct WebSocket {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    table: Table,
    /// Why the server closed the connection.
    reason: String,
}

/// The last quote of each pair that a client was sent.
#[derive(Default)]
struct Table(HashMap<String, Value>);

impl Table {
    fn has(&self, pair: &str, wanted: impl Fn(&Value) -> bool) -> bool {
        self.0.get(pair).is_some_and(wanted)
    }

    /// Takes quotes in; that of `pair`, if it is among them and `wanted`.
    fn take(&mut self, quotes: Vec<Value>, pair: &str, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        let found = quotes.iter().find(|quote| quote["pair"] == pair && wanted(quote)).cloned();
        self.0.extend(quotes.into_iter().map(|quote| (quote["pair"].as_str().unwrap().to_owned(), quote)));
        found
    }
}

impl WebSocket {
    /// Connects; `query` may be empty or `?pairs=…`.
    pub(crate) async fn connect(url: &str, query: &str) -> Self {
        let url = format!("{}/v1/ws{query}", url.replace("http://", "ws://"));
        let connecting = Box::pin(tokio_tungstenite::connect_async(url));
        let (socket, _) = within("a WebSocket", connecting).await.unwrap();
        Self { socket, table: Table::default(), reason: String::new() }
    }

    /// The next text frame.
    pub(crate) async fn next(&mut self) -> Value {
        within("a text frame", self.try_next()).await.expect("the connection goes on")
    }

    /// The next text frame but for heartbeats, whenever it comes; none when the connection has ended.
    pub(crate) async fn try_next(&mut self) -> Option<Value> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    if frame["type"] != "heartbeat" {
                        return Some(frame);
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(frame))) => {
                    self.reason = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                    return None;
                }
                _ => return None,
            }
        }
    }

    /// In how many milliseconds it may come again, if the server has said so.
    pub(crate) fn retry(&self) -> Option<u64> {
        self.reason.split_once("come again in ")?.1.strip_suffix(" ms")?.parse().ok()
    }

    /// The close frame's code, once it comes.
    pub(crate) async fn closed(&mut self) -> u16 {
        loop {
            match within("a close frame", self.socket.next()).await {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                Some(Ok(_)) => {}
                other => panic!("no close frame: {other:?}"),
            }
        }
    }

    /// Sends a text frame.
    pub(crate) async fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next quote of `pair` for which `wanted` holds, from a snapshot or a quote frame.
    pub(crate) async fn until(&mut self, pair: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let frame = self.next().await;
            let quotes = match frame["type"].as_str() {
                Some("snapshot") => frame["quotes"].as_array().unwrap().clone(),
                Some("quote") => vec![frame["quote"].clone()],
                _ => Vec::new(),
            };
            if let Some(quote) = self.table.take(quotes, pair, &wanted) {
                return quote;
            }
        }
    }

    /// Waits until the last quote of `pair` is `wanted`, which it may be already.
    pub(crate) async fn see(&mut self, pair: &str, wanted: impl Fn(&Value) -> bool) {
        if !self.table.has(pair, &wanted) {
            self.until(pair, wanted).await;
        }
    }
}

/// A client of `/v1/rates/stream`.
pub(crate) struct Sse {
    chunks: std::pin::Pin<Box<dyn Stream<Item = Vec<u8>> + Send>>,
    buffer: String,
    table: Table,
    retry: Option<u64>,
}

impl Sse {
    /// Connects.
    pub(crate) async fn connect(url: &str) -> Self {
        Self::open(reqwest::Client::new().get(format!("{url}/v1/rates/stream"))).await
    }

    /// Connects with a token.
    pub(crate) async fn connect_with(url: &str, token: &str) -> Self {
        Self::open(reqwest::Client::new().get(format!("{url}/v1/rates/stream")).bearer_auth(token)).await
    }

    async fn open(request: reqwest::RequestBuilder) -> Self {
        let answer = within("an event stream", request.send()).await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let chunks = answer
            .bytes_stream()
            .take_while(|chunk| ready(chunk.is_ok()))
            .filter_map(|chunk| ready(chunk.ok().map(|chunk| chunk.to_vec())));
        Self { chunks: Box::pin(chunks), buffer: String::new(), table: Table::default(), retry: None }
    }

    /// In how many milliseconds it may come again, if the server has said so.
    pub(crate) fn retry(&self) -> Option<u64> {
        self.retry
    }

    /// Waits for the end of the stream.
    pub(crate) async fn ended(&mut self) {
        while within("the end", self.chunks.next()).await.is_some() {}
    }

    /// The next event's name and data.
    pub(crate) async fn next(&mut self) -> (String, Value) {
        within("an event", self.try_next()).await.expect("the stream goes on")
    }

    /// The next event's name and data, whenever it comes; none when the stream has ended.
    pub(crate) async fn try_next(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some((event, rest)) = split_event(&self.buffer) {
                let field = |name| event.lines().find_map(|line: &str| line.strip_prefix(name)).map(str::trim);
                self.retry = field("retry:").and_then(|millis| millis.parse().ok()).or(self.retry);
                let found = field("event:").map(str::to_owned).zip(field("data:").map(str::to_owned));
                self.buffer = rest;
                if let Some((event, data)) = found {
                    return Some((event, serde_json::from_str(&data).unwrap()));
                }
            }
            self.buffer.push_str(&String::from_utf8(self.chunks.next().await?).unwrap());
        }
    }

    /// The next quote of `pair` for which `wanted` holds.
    pub(crate) async fn until(&mut self, pair: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let (event, data) = self.next().await;
            let quotes = match event.as_str() {
                "snapshot" => data["quotes"].as_array().unwrap().clone(),
                "quote" => vec![data],
                _ => Vec::new(),
            };
            if let Some(quote) = self.table.take(quotes, pair, &wanted) {
                return quote;
            }
        }
    }

    /// Waits until the last quote of `pair` is `wanted`, which it may be already.
    pub(crate) async fn see(&mut self, pair: &str, wanted: impl Fn(&Value) -> bool) {
        if !self.table.has(pair, &wanted) {
            self.until(pair, wanted).await;
        }
    }
}

/// The first event and what follows it.
fn split_event(buffer: &str) -> Option<(String, String)> {
    buffer.split_once("\n\n").map(|(event, rest)| (event.to_owned(), rest.to_owned()))
}
