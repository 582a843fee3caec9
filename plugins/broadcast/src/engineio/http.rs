//! The requests that sessions are made of.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Query, Request as HttpRequest},
    http::{Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use bytes::Bytes;
use ratebus_sdk::{BodyError, ProblemDocument, read_body};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::{App, Call, Newcomer, Over, Payload, Request, Rules, Session, Version, sid};
use crate::{
    door::{Guest, Refusal, Visitor},
    handshake::Handshake,
    hub::Hub,
    loops::Loops,
    metrics::Meter,
};

/// The query of every request.
#[derive(Deserialize)]
struct Parameters {
    #[serde(rename = "EIO")]
    version: String,
    transport: TransportName,
    sid: Option<String>,
    /// A client of version 3 that cannot take bytes when it polls.
    b64: Option<String>,
    /// One that would have a script for an answer.
    j: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum TransportName {
    Polling,
    Websocket,
}

struct Entrance<A: App> {
    hub: Arc<Hub>,
    loops: Loops<Session<A>>,
    meter: Meter,
    rules: Rules,
}

/// The handler of the route, and so many loops for those who come.
pub(crate) fn route<A: App>(
    hub: Arc<Hub>,
    loops: usize,
    rules: Rules,
    meter: Meter,
    common: &A::Common,
) -> MethodRouter {
    let loops = Loops::start(loops, &hub, &meter, || (rules, common.clone()));
    let entrance = Arc::new(Entrance::<A> { hub, loops, meter, rules });
    let handler = async move |request: HttpRequest| entrance.answer(request).await.unwrap_or_else(|refusal| refusal);
    get(handler.clone()).post(handler)
}

impl<A: App> Entrance<A> {
    async fn answer(self: Arc<Self>, request: HttpRequest) -> Result<Response, Response> {
        let (mut parts, body) = request.into_parts();
        let parameters = Query::<Parameters>::from_request_parts(&mut parts, &()).await;
        let Query(parameters) = parameters.map_err(|error| bad(error.body_text()))?;
        let version = self.version(&parameters).map_err(bad)?;
        let mut visitor = Visitor::of(&parts.headers, &parts.extensions);
        if version != Version::V4 {
            visitor = visitor.at_once();
        }
        match (parameters.transport, parameters.sid) {
            (TransportName::Polling, None) if parts.method == Method::GET => {
                self.open(visitor, version, &mut parts).await
            }
            (TransportName::Polling, Some(sid)) => {
                self.hub.door.knows(&visitor).map_err(Refusal::into_response)?;
                match parts.method {
                    Method::GET => self.poll(sid).await,
                    Method::POST => self.post(sid, HttpRequest::from_parts(parts, body)).await,
                    _ => Err(bad("GET or POST was expected")),
                }
            }
            (TransportName::Polling, None) => Err(bad("a session begins with GET")),
            (TransportName::Websocket, sid) => self.websocket(visitor, version, sid, &mut parts).await,
        }
    }

    fn version(&self, parameters: &Parameters) -> Result<Version, &'static str> {
        match (&*parameters.version, self.rules.takes_v3) {
            _ if parameters.j.is_some() => Err("j: JSONP is not spoken"),
            ("4", _) => Ok(Version::V4),
            ("3", true) => Ok(Version::V3 { base64: parameters.b64.is_some() }),
            ("3", false) => Err("EIO: 4 was expected; clients of version 3 are not served here"),
            _ => Err("EIO: 4 was expected"),
        }
    }

    /// Lets somebody in, with a secret of their own.
    async fn enter(&self, visitor: Visitor) -> Result<([u8; 16], Guest), Response> {
        let guest = self.hub.door.enter(visitor, &self.meter).await.map_err(Refusal::into_response)?;
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())?;
        Ok((secret, guest))
    }

    /// A session that begins with polling.
    async fn open(&self, visitor: Visitor, version: Version, parts: &mut Parts) -> Result<Response, Response> {
        let wish = wish::<A>(parts).await?;
        let (secret, guest) = self.enter(visitor).await?;
        let (answer, opened) = oneshot::channel();
        self.loops.join(Newcomer { secret, guest, over: Over::Polling(answer), version, wish }).await;
        opened.await.map(packets).map_err(|_| Refusal::Stopping.into_response())
    }

    async fn poll(&self, sid: String) -> Result<Response, Response> {
        let (answer, polled) = oneshot::channel();
        self.call(sid, Request::Poll(answer)).await;
        polled.await.map(packets).map_err(|_| unknown())
    }

    async fn post(&self, sid: String, request: HttpRequest) -> Result<Response, Response> {
        let body = match read_body(request, self.rules.max_payload).await {
            Ok(body) => body,
            Err(error) => {
                self.call(sid, Request::Unread(error)).await;
                let detail = match error {
                    BodyError::TooLarge => format!("At most {} bytes are taken at once.", self.rules.max_payload),
                    BodyError::Slow | BodyError::Broken => format!("{error}."),
                };
                return Err(ProblemDocument::new(error.status(), detail).into_response());
            }
        };
        let (told, is_readable) = oneshot::channel();
        self.call(sid, Request::Post(body, told)).await;
        match is_readable.await {
            Ok(true) => Ok(packets(Payload { body: Bytes::from_static(b"ok"), is_binary: false })),
            Ok(false) => Err(bad("That is no packet.")),
            Err(_) => Err(unknown()),
        }
    }

    async fn websocket(
        self: Arc<Self>,
        visitor: Visitor,
        version: Version,
        sid: Option<String>,
        parts: &mut Parts,
    ) -> Result<Response, Response> {
        let handshake = Handshake::from_request_parts(parts, &()).await?;
        let for_whom = match sid {
            None => {
                let wish = wish::<A>(parts).await?;
                Ok((self.enter(visitor).await?, wish))
            }
            Some(sid) => {
                self.hub.door.knows(&visitor).map_err(Refusal::into_response)?;
                Err(sid)
            }
        };
        let (response, on_upgrade) = handshake.accept();
        tokio::spawn(async move {
            match (on_upgrade.await, for_whom) {
                (Ok(io), Ok(((secret, guest), wish))) => {
                    self.loops.join(Newcomer { secret, guest, over: Over::WebSocket(io), version, wish }).await;
                }
                (Ok(io), Err(sid)) => self.call(sid, Request::Upgrade(io)).await,
                (Err(error), _) => tracing::trace!(%error, "gone before it was upgraded"),
            }
        });
        Ok(response)
    }

    async fn call(&self, sid: String, request: Request) {
        if let Some((shard, index)) = sid::place(&sid) {
            self.loops.call(shard, index, Call { sid, request }).await;
        }
    }
}

async fn wish<A: App>(parts: &mut Parts) -> Result<A::Wish, Response> {
    A::Wish::from_request_parts(parts, &()).await.map_err(IntoResponse::into_response)
}

fn packets(Payload { body, is_binary }: Payload) -> Response {
    let content_type = if is_binary { "application/octet-stream" } else { "text/plain; charset=utf-8" };
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")], body).into_response()
}

fn bad(detail: impl Into<String>) -> Response {
    ProblemDocument::new(StatusCode::BAD_REQUEST, detail).into_response()
}

/// There is no such session, or it ended instead of giving an answer.
fn unknown() -> Response {
    bad("There is no such session.")
}
