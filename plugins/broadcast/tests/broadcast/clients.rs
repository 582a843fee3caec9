//! One client for each transport, each as small as its protocol allows.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest},
};

use crate::server::{DEADLINE, SOCKET_BUFFER, Server};

/// A connection whose receive buffer is small, so that not reading is felt soon.
pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    connect_from([127, 0, 0, 1], address).await
}

/// As [`connect`], from an address of the loopback network.
pub(crate) async fn connect_from(from: [u8; 4], address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.set_recv_buffer_size(u32::try_from(SOCKET_BUFFER).unwrap()).unwrap();
    socket.connect(address).await.unwrap()
}

/// A plain WebSocket client.
pub(crate) struct Ws(pub(crate) WebSocketStream<TcpStream>);

impl Ws {
    /// Connects to `/v1/ws` and takes the snapshot.
    pub(crate) async fn open(server: &Server) -> (Self, Value) {
        let mut client = Self::to(server, "/v1/ws").await;
        let snapshot = client.next().await;
        assert_eq!(snapshot["type"], "snapshot", "{snapshot}");
        (client, snapshot)
    }

    pub(crate) async fn to(server: &Server, path: &str) -> Self {
        Self::try_to(server, path).await.unwrap()
    }

    pub(crate) async fn try_to(server: &Server, path: &str) -> Result<Self, tungstenite::Error> {
        Self::try_with(server, path, &[], connect(server.address).await).await
    }

    /// With headers of its own, over this connection.
    pub(crate) async fn try_with(
        server: &Server,
        path: &str,
        headers: &[(&'static str, &str)],
        stream: TcpStream,
    ) -> Result<Self, tungstenite::Error> {
        let mut request = format!("ws://{}{path}", server.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, _) = client_async(request, stream).await?;
        Ok(Self(socket))
    }

    pub(crate) async fn send(&mut self, message: impl Into<Message>) {
        self.0.send(message.into()).await.unwrap();
    }

    /// Asks and takes the answer.
    pub(crate) async fn ask(&mut self, request: Value) -> Value {
        self.send(request.to_string()).await;
        self.next().await
    }

    /// The next text.
    pub(crate) async fn text(&mut self) -> String {
        loop {
            let message =
                timeout(DEADLINE, self.0.next()).await.expect("a message in time").expect("an open connection");
            match message.unwrap() {
                Message::Text(text) => return text.as_str().to_owned(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Value {
        serde_json::from_str(&self.text().await).unwrap()
    }

    /// The next quote.
    pub(crate) async fn quote(&mut self) -> Value {
        let mut message = self.next().await;
        assert_eq!(message["type"], "quote", "{message}");
        message["quote"].take()
    }

    /// Reads to the end and returns the close frame's code; 0 when there was none.
    pub(crate) async fn close_code(&mut self) -> u16 {
        self.rest().await.0
    }

    /// Reads to the end: the close frame's code, and the texts before.
    pub(crate) async fn rest(&mut self) -> (u16, Vec<String>) {
        let mut texts = Vec::new();
        loop {
            match timeout(DEADLINE, self.0.next()).await.expect("the end in time") {
                Some(Ok(Message::Close(frame))) => return (frame.map_or(0, |frame| frame.code.into()), texts),
                Some(Ok(Message::Text(text))) => texts.push(text.as_str().to_owned()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return (0, texts),
            }
        }
    }
}

/// A client of `rates:live` over Engine.IO's WebSocket transport.
pub(crate) struct Sio(pub(crate) Ws);

impl Sio {
    /// Connects and takes the first map.
    pub(crate) async fn open(server: &Server) -> (Self, Value) {
        Self::open_with(server, "").await
    }

    /// With more in the query: `&pairs=…`.
    pub(crate) async fn open_with(server: &Server, query: &str) -> (Self, Value) {
        let mut client = Self::to(server, query).await;
        client.0.send("40").await;
        let joined = client.packet().await;
        assert!(joined.starts_with("40{\"sid\":"), "{joined}");
        let map = client.map().await;
        (client, map)
    }

    /// Connects, and has not joined.
    pub(crate) async fn to(server: &Server, query: &str) -> Self {
        let mut client = Self(Ws::to(server, &format!("/socket.io/?EIO=4&transport=websocket{query}")).await);
        let open = client.0.text().await;
        assert!(open.starts_with("0{"), "{open}");
        client
    }

    /// Emits an event, and takes its acknowledgement, which comes before anything else that it brings.
    pub(crate) async fn emit(&mut self, event: &Value) -> Value {
        self.0.send(format!("427{event}")).await;
        let answer = self.packet().await;
        serde_json::from_str::<Value>(answer.strip_prefix("437").expect("an acknowledgement")).unwrap()[0].take()
    }

    /// The next packet that is no ping.
    pub(crate) async fn packet(&mut self) -> String {
        loop {
            let packet = self.0.text().await;
            if packet != "2" {
                return packet;
            }
            self.0.send("3").await;
        }
    }

    /// The next map.
    pub(crate) async fn map(&mut self) -> Value {
        event(&self.packet().await)
    }
}

/// The argument of a `rates:live` packet.
pub(crate) fn event(packet: &str) -> Value {
    let event: Value = serde_json::from_str(packet.strip_prefix("42").unwrap_or_else(|| panic!("{packet}"))).unwrap();
    assert_eq!(event[0], "rates:live");
    event[1].clone()
}

/// Where polling clients of Engine.IO 4 ask.
pub(crate) const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// Opens a session that polls, with a query of its own if it begins with `&`, and returns the path of its requests.
pub(crate) async fn open_polling(server: &Server, query: &str) -> String {
    let open = http(server, &format!("GET {POLLING}{query}"), "").await;
    let open: Value = serde_json::from_str(open.body.strip_prefix('0').unwrap()).unwrap();
    format!("{POLLING}&sid={}", open["sid"].as_str().unwrap())
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case, without the status line.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// One request on a connection of its own.
pub(crate) async fn http(server: &Server, request: &str, body: &str) -> Answer {
    http_with(server, request, "", body).await
}

/// With more headers, each with its line's end.
pub(crate) async fn http_with(server: &Server, request: &str, headers: &str, body: &str) -> Answer {
    let mut stream = connect(server.address).await;
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: test\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer { status: status(head), head: head.to_lowercase(), body: body.to_owned() }
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// A reader of server-sent events.
pub(crate) struct Sse {
    stream: BufReader<TcpStream>,
    pub(crate) head: String,
    rest: String,
}

impl Sse {
    /// Connects and takes the snapshot.
    pub(crate) async fn open(server: &Server) -> (Self, Value) {
        let mut client = Self::to(server, "/v1/rates/stream").await;
        let (_, snapshot) = client.event("snapshot").await;
        (client, snapshot)
    }

    pub(crate) async fn to(server: &Server, path: &str) -> Self {
        Self::with(server, path, "").await
    }

    /// With more headers, each with its line's end.
    pub(crate) async fn with(server: &Server, path: &str, headers: &str) -> Self {
        let mut stream = BufReader::new(connect(server.address).await);
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            timeout(DEADLINE, stream.read_line(&mut head)).await.unwrap().unwrap();
        }
        Self { stream, head: head.to_lowercase(), rest: String::new() }
    }

    /// The next block of lines; `None` at the end of the stream.
    pub(crate) async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.rest.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.rest = rest;
                return Some(block);
            }
            let part = timeout(DEADLINE, self.chunk()).await.expect("an event in time")?;
            self.rest.push_str(&part);
        }
    }

    /// As [`Sse::block`], or `None` when there is nothing for as long as a test waits.
    pub(crate) async fn try_block(&mut self) -> Option<String> {
        timeout(DEADLINE, self.chunk()).await.ok().flatten()
    }

    /// The next event, which must have this name: its id and data.
    pub(crate) async fn event(&mut self, name: &str) -> (String, Value) {
        let block = self.block().await.expect("an open stream");
        let field = |key: &str| block.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().to_owned();
        assert_eq!(field("event: "), name, "{block}");
        (field("id: "), serde_json::from_str(&field("data: ")).unwrap())
    }

    pub(crate) async fn quote(&mut self) -> Value {
        self.event("quote").await.1
    }

    /// One chunk of the chunked transfer coding (RFC 9112, section 7.1).
    async fn chunk(&mut self) -> Option<String> {
        let mut size = String::new();
        self.stream.read_line(&mut size).await.ok()?;
        let size = usize::from_str_radix(size.trim_end(), 16).ok().filter(|&size| size > 0)?;
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).await.ok()?;
        chunk.truncate(size);
        Some(String::from_utf8(chunk).unwrap())
    }
}
