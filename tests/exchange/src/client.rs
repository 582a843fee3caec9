use std::{future::pending, time::Duration};

use futures_util::{SinkExt, StreamExt};
use socket2::Socket;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    select,
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        http,
        protocol::{
            CloseFrame,
            frame::{Frame, coding::Data, coding::OpCode},
        },
    },
};

use crate::{
    protocol,
    state::{Client, Command, Shared},
};

/// One connection, from the handshake to its end. `control` is the same socket, below any TLS.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, control: Socket, shared: &Shared) {
    let refusal = shared.read(|state| state.refusal);
    #[expect(clippy::result_large_err, reason = "the library's type")]
    let check = |_: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let Some((status, retry_after)) = refusal else { return Ok(response) };
        let mut refused = http::Response::builder().status(status);
        if let Some(seconds) = retry_after {
            refused = refused.header("Retry-After", seconds);
        }
        Err(refused.body(None).unwrap())
    };
    let Ok(mut socket) = accept_hdr_async(stream, check).await else { return };
    let (orders, ordered) = mpsc::unbounded_channel();
    let number = shared.change(|state| {
        let client = Client { subscribed: [].into(), orders };
        if let Some(greeting) = state.protocol.greeting(&state.system) {
            client.order(Command::Text(greeting));
        }
        state.next_client += 1;
        state.clients.insert(state.next_client, client);
        state.next_client
    });
    // An error is the client's going away.
    let _ = converse(&mut socket, ordered, number, shared, &control).await;
    shared.change(|state| state.clients.remove(&number));
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    mut ordered: mpsc::UnboundedReceiver<Command>,
    number: usize,
    shared: &Shared,
    control: &Socket,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut last_beat = Instant::now();
    loop {
        let (beat, beats) = shared.read(|state| {
            let subscribed = state.clients.get(&number).map(|client| state.protocol.heartbeats(&client.subscribed));
            let beats = subscribed.unwrap_or_default();
            (state.heartbeat.filter(|_| !beats.is_empty()), beats)
        });
        select! {
            order = ordered.recv() => match order {
                None => return Ok(()),
                Some(Command::Look) => {}
                Some(Command::Text(text)) => socket.send(Message::text(text)).await?,
                Some(Command::Binary(bytes)) => socket.send(Message::binary(bytes)).await?,
                Some(Command::RawText(bytes)) => {
                    let frame = Frame::message(bytes, OpCode::Data(Data::Text), true);
                    socket.send(Message::Frame(frame)).await?;
                }
                Some(Command::Close(code)) => {
                    let frame = CloseFrame { code: code.into(), reason: "scripted".into() };
                    socket.send(Message::Close(Some(frame))).await?;
                    return Ok(());
                }
                Some(Command::Reset) => {
                    control.set_linger(Some(Duration::ZERO))?;
                    return Ok(());
                }
                Some(Command::Hang) => pending::<()>().await,
            },
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    // One step, so that a price set later is an update and one set before is in the snapshot.
                    let frames = shared.change(|state| {
                        state.received.push(text.to_string());
                        let mut client = state.clients.remove(&number)?;
                        let frames = protocol::answers(state, &mut client.subscribed, &text);
                        state.clients.insert(number, client);
                        Some(frames)
                    });
                    for frame in frames.into_iter().flatten() {
                        socket.send(Message::text(frame)).await?;
                    }
                }
                Some(Ok(Message::Close(_))) | None => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
            },
            () = next_beat(last_beat, beat) => {
                last_beat = Instant::now();
                for beat in beats {
                    socket.send(Message::text(beat)).await?;
                }
            }
        }
    }
}

async fn next_beat(last: Instant, every: Option<Duration>) {
    match every {
        Some(every) => sleep_until(last + every).await,
        None => pending().await,
    }
}
