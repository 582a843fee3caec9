//! The OpenAPI document of a listener: what its plugins mounted, and what the engine does for each of their routes.

use axum::body::Bytes;
use ratebus_sdk::{
    FieldProblem, ProblemDocument,
    openapi::{answers, operations},
};
use utoipa::{
    OpenApi,
    openapi::{
        self, Content, Header, Ref, RefOr, Response,
        content::ContentBuilder,
        header::HeaderBuilder,
        path::Operation,
        response::ResponseBuilder,
        schema::{ObjectBuilder, Type},
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

/// What each listener has.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "ratebus",
        description = "Live exchange rates with the spread that an administrator sets. The routes under `/v1` answer \
            the object itself, prices as strings, and RFC 9457 problem documents for what they refuse; the others are \
            those of the original project and answer its envelope. What goes over Socket.IO, WebSocket and Server-Sent \
            Events is in `/asyncapi.json`, and `docs/api.md` says in prose what holds for all of it.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    components(schemas(ProblemDocument, FieldProblem)),
    tags((name = "service", description = "How the service itself is, and what it serves.")),
)]
struct Every;

/// The document of a listener that serves `mounted` beside what the engine does, as JSON.
pub(crate) fn document<'a>(listener: &str, mounted: impl Iterator<Item = &'a openapi::OpenApi>) -> Bytes {
    let mut document = Every::openapi();
    document.info.title = format!("ratebus, {listener}");
    for routes in mounted {
        document.merge(routes.clone());
    }
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document.components.get_or_insert_default().add_security_scheme("bearer", bearer);
    for operation in operations(&mut document.paths) {
        add_refusals(operation);
        for (status, answer) in answers(operation) {
            answer.headers.extend(headers(status, answer));
        }
    }
    document.to_json().unwrap_or_default().into()
}

const PROBLEM: &str = "application/problem+json";

/// What any request may be answered.
const REFUSALS: &[(&str, &str)] = &[
    ("400", "There is not one header field `Host`."),
    ("414", "The path and query are longer than 2 KiB."),
    ("431", "There are more than 64 header fields."),
    ("500", "The request failed, and the fault is ours."),
    ("503", "Not now: there are too many connections from this address."),
];

fn add_refusals(operation: &mut Operation) {
    for (status, description) in REFUSALS {
        let refusal = || ResponseBuilder::new().description(*description).build().into();
        let answer = operation.responses.responses.entry((*status).to_owned()).or_insert_with(refusal);
        if let RefOr::T(answer) = answer {
            answer.content.entry(PROBLEM.to_owned()).or_insert_with(|| problem().into());
        }
    }
}

fn problem() -> Content {
    ContentBuilder::new().schema(Some(Ref::from_schema_name("ProblemDocument"))).build()
}

/// What every answer of a status carries; see also [`ProblemDocument`].
fn headers(status: &str, answer: &Response) -> Vec<(String, RefOr<Header>)> {
    let id = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9a-f]{32}$"));
    let mut headers = vec![header("X-Request-Id", "Names the request in our log.", id)];
    match status {
        "401" if answer.content.contains_key(PROBLEM) => {
            let scheme = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^Bearer$"));
            headers.push(header("WWW-Authenticate", "How to say who one is.", scheme));
        }
        "429" | "503" => {
            let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
            headers.push(header("Retry-After", "In how many seconds to try again.", seconds));
        }
        _ => {}
    }
    headers
}

fn header(name: &str, description: &str, schema: ObjectBuilder) -> (String, RefOr<Header>) {
    let header = HeaderBuilder::new().schema(Some(schema.build())).description(Some(description));
    (name.to_owned(), header.build().into())
}
