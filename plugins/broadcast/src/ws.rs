//! Quotes over a plain WebSocket, `/v1/ws`.

mod client;

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use ratebus_sdk::ProblemDocument;
use utoipa_axum::{
    router::{UtoipaMethodRouter, UtoipaMethodRouterExt},
    routes,
};

use self::client::{Client, Common, Newcomer};
use crate::{
    door::{Refusal, Visitor},
    handshake::Handshake,
    hub::Hub,
    loops::Loops,
    metrics::Meter,
    request::{Parameters, Selection},
};

/// The route, and so many loops for those who come.
pub(crate) fn route(hub: Arc<Hub>, loops: usize) -> UtoipaMethodRouter {
    let meter = Meter::new("websocket");
    let loops = Loops::start(loops, &hub, &meter, Common::default);
    routes!(upgrade).with_state(Arc::new(Entrance { hub, loops, meter }))
}

struct Entrance {
    hub: Arc<Hub>,
    loops: Loops<Client>,
    meter: Meter,
}

/// Quotes over a WebSocket
///
/// An upgrade (RFC 6455): a client subscribes and unsubscribes with messages of its own. `/asyncapi.json` has them.
#[utoipa::path(get, path = "/v1/ws", operation_id = "openWebSocket", tag = "rates", params(Parameters),
    security((), ("bearer" = [])), responses(
    (status = 101, description = "From here on WebSocket frames."),
    (status = 400, description = "It is no handshake, or the query cannot be read.", body = ProblemDocument,
        content_type = "application/problem+json"),
    (status = 401, description = "The streams are for people who are logged in, and the token is not good.",
        body = ProblemDocument, content_type = "application/problem+json"),
    (status = 403, description = "A page of this origin may not use the streams.", body = ProblemDocument,
        content_type = "application/problem+json"),
    (status = 422, description = "A parameter of the query is wrong.", body = ProblemDocument,
        content_type = "application/problem+json"),
    (status = 426, description = "It is another version of WebSocket, or the connection cannot be upgraded.", body = ProblemDocument,
        content_type = "application/problem+json"),
    (status = 503, description = "As many clients as are allowed are connected, tokens cannot be checked, or the service \
        is stopping.", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn upgrade(
    State(entrance): State<Arc<Entrance>>,
    visitor: Visitor,
    selection: Selection,
    handshake: Handshake,
) -> Result<Response, Response> {
    let guest = entrance.hub.door.enter(visitor, &entrance.meter).await.map_err(Refusal::into_response)?;
    let (response, on_upgrade) = handshake.accept();
    tokio::spawn(async move {
        match on_upgrade.await {
            Ok(io) => entrance.loops.join(Newcomer { io, guest, selection }).await,
            Err(error) => tracing::trace!(%error, "gone before it was upgraded"),
        }
    });
    Ok(response)
}
