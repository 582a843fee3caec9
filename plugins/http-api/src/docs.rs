//! The documentation: what the listener serves, for machines and on a page.

use axum::{body::Bytes, extract::State, http::HeaderMap, response::Response};
use ratebus_sdk::{Context, Routes};
use utoipa_axum::{
    router::{UtoipaMethodRouter, UtoipaMethodRouterExt},
    routes,
};

use crate::{
    asset::{self, Asset, Folder, asset},
    envelope,
};

/// What `/docs/` has. Swagger UI shows pictures that are within its style sheet, as `data:`.
pub(crate) static FOLDER: Folder = Folder {
    path: "/docs",
    files: &[
        asset!("docs", "index.html", "text/html; charset=utf-8"),
        asset!("docs", "start.js", "text/javascript; charset=utf-8"),
        asset!("docs", "style.css", "text/css; charset=utf-8"),
        asset!("docs", "vendor/swagger-ui-bundle.js.gz", "text/javascript; charset=utf-8"),
        asset!("docs", "vendor/swagger-ui.css.gz", "text/css; charset=utf-8"),
    ],
    policy: "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; \
             frame-ancestors 'none'",
};

/// Whose document it is.
#[derive(Clone)]
struct Listener {
    ctx: Context,
    name: String,
}

/// Adds `/docs/`, `/openapi.json` and, where live events may be, `/asyncapi.json`.
pub(crate) fn mount(routes: Routes, ctx: &Context, listener: &str, live: bool) -> Routes {
    let listener = Listener { ctx: ctx.clone(), name: listener.to_owned() };
    let routes = FOLDER.mount(routes).documented(family(routes!(openapi).with_state(listener)));
    if live { routes.documented(family(routes!(asyncapi))) } else { routes }
}

fn family(methods: UtoipaMethodRouter) -> UtoipaMethodRouter {
    methods.map(envelope::family)
}

/// This document
///
/// OpenAPI 3.1, of what this listener serves now.
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "service",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` that the client has.")),
    responses(
        (status = 200, description = "As it is.", body = inline(serde_json::Map<String, serde_json::Value>),
            headers(("ETag" = String, description = "Changes with it."))),
        (status = 304, description = "It is the one of `If-None-Match`."),
    ))]
async fn openapi(State(listener): State<Listener>, headers: HeaderMap) -> Response {
    asset::answer("application/json", listener.ctx.api(&listener.name), &headers)
}

/// The live events
///
/// AsyncAPI 3.0: Socket.IO, WebSocket and Server-Sent Events.
#[utoipa::path(get, path = "/asyncapi.json", operation_id = "asyncapi", tag = "service",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` that the client has.")),
    responses(
        (status = 200, description = "As it is.", body = inline(serde_json::Map<String, serde_json::Value>),
            headers(("ETag" = String, description = "Changes with it."))),
        (status = 304, description = "It is the one of `If-None-Match`."),
    ))]
async fn asyncapi(headers: HeaderMap) -> Response {
    const DOCUMENT: &[u8] = include_bytes!("../../../docs/asyncapi.json");
    asset::answer("application/json", Bytes::from_static(DOCUMENT), &headers)
}
