use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, Message, protocol::WebSocketConfig},
};

use crate::harness::within;

/// How long a poll waits that is to be given up.
const PATIENCE: Duration = Duration::from_millis(5);
/// How many polls are given up at most.
const POLLS: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    WebSocket,
    Events,
    SocketIo,
    Polling,
}

pub(super) const TRANSPORTS: [Transport; 4] =
    [Transport::WebSocket, Transport::Events, Transport::SocketIo, Transport::Polling];

/// Something that a client is told.
pub(super) enum Told {
    /// The quotes of all pairs, or of some.
    Snapshot(Vec<Value>),
    Quote(Value),
    /// Of `rates:live`.
    Map(Value),
}

/// How a client leaves.
#[derive(Debug, Clone, Copy)]
pub(super) enum Leave {
    /// As the protocol wants it.
    Politely,
    /// The connection ends.
    Silently,
    /// The connection is reset.
    Rudely,
    /// In the middle of something.
    HalfWay,
}

/// It was not let in.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) retry_after: Option<u64>,
}

/// One connection.
pub(super) enum Client {
    WebSocket(Quotes),
    Events(Events),
    SocketIo(WebSocketStream<TcpStream>),
    Polling(Polling),
}

impl Client {
    /// Connects; `last` is the last position of an earlier connection, to go on from there.
    pub(super) async fn connect(
        address: SocketAddr,
        transport: Transport,
        last: Option<&str>,
    ) -> Result<Self, Refused> {
        if transport == Transport::Polling {
            return within("a session", Polling::open(address)).await.map(Self::Polling);
        }
        let stream = within("a connection", TcpStream::connect(address)).await.unwrap();
        Self::over(stream, transport, last).await
    }

    /// With so small a receive buffer that not reading is felt soon.
    pub(super) async fn connect_narrow(address: SocketAddr, transport: Transport) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 * 1024).unwrap();
        let stream = within("a connection", socket.connect(address)).await.unwrap();
        Self::over(stream, transport, None).await.unwrap()
    }

    async fn over(stream: TcpStream, transport: Transport, last: Option<&str>) -> Result<Self, Refused> {
        match transport {
            Transport::WebSocket => Ok(Self::WebSocket(Quotes::open(stream, last).await?)),
            Transport::Events => Ok(Self::Events(Events::open(stream, last).await?)),
            Transport::SocketIo | Transport::Polling => {
                let mut socket = websocket(stream, "/socket.io/?EIO=4&transport=websocket").await?;
                socket.send(Message::text("40")).await.unwrap();
                Ok(Self::SocketIo(socket))
            }
        }
    }

    /// What it is told next, whenever that is; none when the server has ended the connection.
    pub(super) async fn next(&mut self) -> Option<Told> {
        match self {
            Self::WebSocket(quotes) => quotes.next().await,
            Self::Events(events) => events.next().await,
            Self::SocketIo(socket) => loop {
                let packet = text(socket).await?;
                if packet == "2" {
                    socket.send(Message::text("3")).await.ok()?;
                } else if let Some(map) = map_of(&packet) {
                    return Some(map);
                }
            },
            Self::Polling(session) => session.next().await,
        }
    }

    /// The last position.
    pub(super) fn last(&self) -> Option<&str> {
        match self {
            Self::WebSocket(quotes) => quotes.last.as_deref(),
            Self::Events(events) => events.last.as_deref(),
            Self::SocketIo(_) | Self::Polling(_) => None,
        }
    }

    pub(super) async fn leave(self, how: Leave) {
        match self {
            Self::WebSocket(Quotes { mut socket, .. }) | Self::SocketIo(mut socket) => {
                if matches!(how, Leave::Politely) && socket.close(None).await.is_ok() {
                    within("a close frame", async { while let Some(Ok(_)) = socket.next().await {} }).await;
                    return;
                }
                // The head of a masked frame of five bytes, and two of them.
                end(socket.into_inner(), how, &[0x81, 0x85, 1, 2, 3, 4, 5, 6]).await;
            }
            Self::Events(events) => end(events.stream.into_inner(), how, b"GET /v1/rates HTTP/1.1\r\nHo").await,
            Self::Polling(session) => session.leave(how).await,
        }
    }
}

/// A request that goes no further than this.
pub(super) async fn ask_by_halves(address: SocketAddr) {
    let mut stream = within("a connection", TcpStream::connect(address)).await.unwrap();
    let _ = stream.write_all(b"GET /v1/ws HTTP/1.1\r\nHost: crowd\r\nUpgrade: webs").await;
}

async fn end(mut stream: TcpStream, how: Leave, half: &[u8]) {
    match how {
        // The server may have ended it first.
        Leave::HalfWay => _ = stream.write_all(half).await,
        Leave::Rudely => stream.set_zero_linger().unwrap(),
        Leave::Politely | Leave::Silently => {}
    }
}

async fn websocket(stream: TcpStream, path: &str) -> Result<WebSocketStream<TcpStream>, Refused> {
    // A buffer of the usual size for each of ten thousand would be a gigabyte.
    let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
    let url = format!("ws://{}{path}", stream.peer_addr().unwrap());
    match within("a WebSocket", client_async_with_config(url, stream, Some(config))).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) => {
            let retry_after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().parse().unwrap());
            Err(Refused { status: answer.status().as_u16(), retry_after })
        }
        Err(error) => panic!("{error}"),
    }
}

async fn text(socket: &mut WebSocketStream<TcpStream>) -> Option<String> {
    loop {
        match socket.next().await?.ok()? {
            Message::Text(text) => return Some(text.as_str().to_owned()),
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

fn map_of(packet: &str) -> Option<Told> {
    let event: Value = serde_json::from_str(packet.strip_prefix("42")?).unwrap();
    assert_eq!(event[0], "rates:live");
    Some(Told::Map(event[1].clone()))
}

/// The plain WebSocket.
pub(super) struct Quotes {
    socket: WebSocketStream<TcpStream>,
    last: Option<String>,
}

impl Quotes {
    async fn open(stream: TcpStream, last: Option<&str>) -> Result<Self, Refused> {
        let since = last.map(|position| format!("?since={position}")).unwrap_or_default();
        let socket = websocket(stream, &format!("/v1/ws{since}")).await?;
        Ok(Self { socket, last: last.map(str::to_owned) })
    }

    async fn next(&mut self) -> Option<Told> {
        loop {
            let frame: Value = serde_json::from_str(&text(&mut self.socket).await?).unwrap();
            if let Some(position) = frame["position"].as_str() {
                self.last = Some(position.to_owned());
            }
            match frame["type"].as_str() {
                Some("snapshot") => return Some(Told::Snapshot(frame["quotes"].as_array().unwrap().clone())),
                Some("quote") => return Some(Told::Quote(frame["quote"].clone())),
                _ => {}
            }
        }
    }
}

/// Server-sent events.
pub(super) struct Events {
    stream: BufReader<TcpStream>,
    text: String,
    last: Option<String>,
}

impl Events {
    async fn open(stream: TcpStream, last: Option<&str>) -> Result<Self, Refused> {
        let mut stream = BufReader::with_capacity(4096, stream);
        let resume = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let request = format!("GET /v1/rates/stream HTTP/1.1\r\nHost: crowd\r\n{resume}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let length = within("a head", stream.read_line(&mut head)).await.unwrap();
            assert!(length > 0, "ended after {head:?}");
        }
        let head = head.to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let retry_after = head.split("retry-after: ").nth(1).map(|rest| rest.lines().next().unwrap().parse().unwrap());
        if status == 200 {
            Ok(Self { stream, text: String::new(), last: last.map(str::to_owned) })
        } else {
            Err(Refused { status, retry_after })
        }
    }

    async fn next(&mut self) -> Option<Told> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let rest = self.text.split_off(end + 2);
                let event = std::mem::replace(&mut self.text, rest);
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let (name, data, id) = (field("event: "), field("data: "), field("id: "));
                self.last = id.or(self.last.take());
                let Some((name, data)) = name.zip(data) else { continue };
                let data: Value = serde_json::from_str(&data).unwrap();
                match name.as_str() {
                    "snapshot" => return Some(Told::Snapshot(data["quotes"].as_array().unwrap().clone())),
                    "quote" => return Some(Told::Quote(data)),
                    _ => {}
                }
            }
            self.chunk().await?;
        }
    }

    /// One of the chunked transfer coding (RFC 9112, section 7.1).
    async fn chunk(&mut self) -> Option<()> {
        let mut size = String::new();
        self.stream.read_line(&mut size).await.ok()?;
        let size = usize::from_str_radix(size.trim_end(), 16).ok().filter(|&size| size > 0)?;
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).await.ok()?;
        self.text.push_str(std::str::from_utf8(&chunk[..size]).unwrap());
        Some(())
    }
}

/// Socket.IO by long-polling alone.
pub(super) struct Polling {
    client: reqwest::Client,
    url: String,
    packets: VecDeque<String>,
}

impl Polling {
    async fn open(address: SocketAddr) -> Result<Self, Refused> {
        let client = reqwest::Client::new();
        let url = format!("http://{address}/socket.io/?EIO=4&transport=polling");
        let answer = client.get(&url).send().await.unwrap();
        if answer.status() != 200 {
            let retry_after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().parse().unwrap());
            return Err(Refused { status: answer.status().as_u16(), retry_after });
        }
        let open = answer.text().await.unwrap();
        let open: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
        let url = format!("{url}&sid={}", open["sid"].as_str().unwrap());
        let session = Self { client, url, packets: VecDeque::new() };
        session.post("40").await.unwrap();
        Ok(session)
    }

    async fn post(&self, packet: &'static str) -> Option<()> {
        let answer = self.client.post(&self.url).body(packet).send().await.ok()?;
        (answer.status() == 200).then_some(())
    }

    async fn next(&mut self) -> Option<Told> {
        loop {
            while let Some(packet) = self.packets.pop_front() {
                match packet.as_str() {
                    "1" => return None,
                    "2" => self.post("3").await?,
                    packet => {
                        if let Some(map) = map_of(packet) {
                            return Some(map);
                        }
                    }
                }
            }
            let answer = self.client.get(&self.url).send().await.ok()?;
            if answer.status() != 200 {
                return None;
            }
            self.packets = answer.text().await.ok()?.split('\x1e').map(str::to_owned).collect();
        }
    }

    /// Silence would keep the session until its next heartbeat: who leaves in another way gives up polls. A slow machine may
    /// not notice one of them: each ends before it is heard, or when it is answered already.
    async fn leave(self, how: Leave) {
        let polls = if matches!(how, Leave::Politely) { 0 } else { POLLS };
        for _ in 0..polls {
            let poll = timeout(PATIENCE, self.client.get(&self.url).send()).await;
            if poll.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status() == 400)) {
                return;
            }
        }
        // Refused if it is gone.
        within("the end of a session", self.post("1")).await;
    }
}
