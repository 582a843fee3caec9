use std::{io, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use rustls::ClientConfig;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{
        self, Message, Utf8Bytes,
        handshake::client::Response,
        http::{StatusCode, header::RETRY_AFTER},
        protocol::WebSocketConfig,
    },
};

use super::ending::Ending;
use crate::{Error, ErrorKind, Retry};

/// Where to connect, and how the server must prove itself.
pub(crate) struct Endpoint {
    pub(crate) url: String,
    pub(crate) tls: Arc<ClientConfig>,
}

impl Endpoint {
    /// Name resolution, TCP, TLS and the WebSocket handshake together.
    const CONNECT_WITHIN: Duration = Duration::from_secs(10);
    /// The largest that is known, Kraken's snapshot of all its instruments, has some 400 KB.
    const LARGEST_FRAME: usize = 4 << 20;
    /// How much is read at once. Ticks have hundreds of bytes, and before each read all of this is zeroed.
    const READ_AT_ONCE: usize = 8 << 10;

    /// Its address for people: without the query, where a key may stand.
    pub(crate) fn shown(&self) -> &str {
        self.url.split('?').next().unwrap_or_default()
    }

    pub(crate) async fn connect(&self) -> Result<Connection, Error> {
        let limits = WebSocketConfig::default()
            .read_buffer_size(Self::READ_AT_ONCE)
            .max_frame_size(Some(Self::LARGEST_FRAME))
            .max_message_size(Some(Self::LARGEST_FRAME));
        let tls = Connector::Rustls(Arc::clone(&self.tls));
        match timeout(Self::CONNECT_WITHIN, connect_async_tls_with_config(&self.url, Some(limits), true, Some(tls)))
            .await
        {
            Ok(Ok((socket, _))) => Ok(Connection { socket }),
            Ok(Err(error)) => Err(refusal(error)),
            Err(_) => Err(Error::new(ErrorKind::Connect, format!("no connection within {:?}", Self::CONNECT_WITHIN))),
        }
    }
}

/// Why a connection could not be made: was it the network, the certificate, or an answer that is no WebSocket?
fn refusal(error: tungstenite::Error) -> Error {
    match error {
        tungstenite::Error::Http(response) => http_refusal(&response),
        tungstenite::Error::Io(error) if is_bad_certificate(&error) => {
            Error::new(ErrorKind::Auth, "the server's certificate is refused").because(error)
        }
        tungstenite::Error::Io(error) => Error::new(ErrorKind::Connect, error.to_string()),
        error => Error::new(ErrorKind::Connect, error.to_string()),
    }
}

fn is_bad_certificate(error: &io::Error) -> bool {
    let below = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(below, Some(rustls::Error::InvalidCertificate(_)))
}

fn http_refusal(response: &Response) -> Error {
    let status = response.status();
    let limited = status == StatusCode::TOO_MANY_REQUESTS;
    let kind = if limited { ErrorKind::RateLimited } else { ErrorKind::Connect };
    let error = Error::new(kind, format!("the server answered with HTTP {status}"));
    // Seconds; the header's other form, a date, is left to the ordinary backoff (RFC 9110, section 10.2.3).
    let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    match wait {
        Some(seconds) if limited || status == StatusCode::SERVICE_UNAVAILABLE => {
            error.with_retry(Retry::After(Duration::from_secs(seconds)))
        }
        _ => error,
    }
}

/// One WebSocket. Dropping it closes the connection, and with it goes every frame that was still under way: none can
/// reach the session of a later one.
pub(crate) struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// A message of the exchange's. The protocol's own pings are answered below and prove nothing about the feed.
pub(crate) enum Frame {
    Text(Utf8Bytes),
    Binary,
}

impl Connection {
    const SEND_WITHIN: Duration = Duration::from_secs(5);

    /// The next frame. Cancel-safe.
    pub(crate) async fn receive(&mut self) -> Result<Frame, Ending> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(Frame::Text(text)),
                Some(Ok(Message::Binary(_))) => return Ok(Frame::Binary),
                Some(Ok(Message::Close(frame))) => {
                    let why = frame.map(|frame| format!("{} {}", frame.code, frame.reason)).unwrap_or_default();
                    return Err(Ending::Closed(why.trim_end().to_owned()));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err(Ending::Closed(String::new())),
            }
        }
    }

    /// Sends a text. Not cancel-safe.
    pub(crate) async fn send(&mut self, text: String) -> Result<(), Ending> {
        match timeout(Self::SEND_WITHIN, self.socket.send(Message::text(text))).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(Ending::Stalled("does not take what we send")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls;

    #[test]
    fn a_key_in_the_address_is_shown_to_nobody() {
        let tls = tls::client_config(None).unwrap();
        for (url, shown) in
            [("wss://a.example/v2?key=s3cret", "wss://a.example/v2"), ("wss://a.example", "wss://a.example")]
        {
            assert_eq!(Endpoint { url: url.to_owned(), tls: Arc::clone(&tls) }.shown(), shown);
        }
    }
}
