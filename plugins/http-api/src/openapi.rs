//! Answers that many routes have in common, for their `#[utoipa::path]`: said once.

use std::collections::BTreeMap;

use utoipa::{
    IntoResponses, ToSchema,
    openapi::{Ref, RefOr, Response, content::ContentBuilder, response::ResponseBuilder},
};

type Responses = BTreeMap<String, RefOr<Response>>;

/// Declares sets of answers of one family: its content type, the schema of its refusals, and what each set has in it.
macro_rules! answers {
    ($content_type:literal, $schema:ty; $($(#[$doc:meta])* $name:ident { $($status:literal: $description:literal,)+ })+) => {$(
        $(#[$doc])*
        pub(crate) enum $name {}

        impl IntoResponses for $name {
            fn responses() -> Responses {
                let schema = <$schema as ToSchema>::name();
                let answer = |(status, description)| (status, refusal(description, $content_type, &schema));
                [$(($status, $description)),+].map(answer).map(|(status, answer)| (status.to_string(), answer)).into()
            }
        }
    )+};
}

/// Under `/v1`: problem documents.
pub(crate) mod v1 {
    use ratebus_sdk::ProblemDocument;

    use super::{IntoResponses, Responses, ToSchema, refusal};

    answers! { "application/problem+json", ProblemDocument;
        /// Of what shows the price of one pair.
        NoRate {
            503: "There is no rate now: none has come yet, or it is dead.",
        }
        /// Of what takes parameters in its query.
        Query {
            422: "A parameter of the query is wrong; `errors` names it.",
        }
        /// Of what names a pair.
        UnknownPair {
            404: "Nobody serves the pair.",
        }
        /// Of what needs the database.
        Stored {
            503: "Not now: the database is away.",
        }
        /// Of what needs a session.
        Session {
            401: "No valid bearer token.",
            503: "Not now: the database is away.",
        }
        /// Of what needs an administrator's session.
        Admin {
            401: "No valid bearer token.",
            403: "Not an administrator's.",
            503: "Not now: the database is away.",
        }
        /// Of what reads a body.
        Body {
            400: "The body ended early.",
            408: "The body took longer than 10 s.",
            413: "The body is longer than 16 KiB.",
            415: "The body is not declared as `application/json`.",
            422: "The body is wrong; `errors` names the fields.",
        }
        /// Of what takes a password.
        Throttled {
            429: "Too many attempts.",
        }
    }
}

/// The original project's routes: its envelope.
pub(crate) mod original {
    use super::{IntoResponses, Responses, ToSchema, refusal};
    use crate::envelope::Failed;

    answers! { "application/json", Failed;
        /// Of what shows the price of one pair.
        NoRate {
            503: "There is no rate now: none has come yet, or it is dead.",
        }
        /// Of what needs the database.
        Stored {
            503: "Not now: the database is away.",
        }
        /// Of what reads a body.
        Body {
            400: "The body ended early.",
            408: "The body took longer than 10 s.",
            413: "The body is longer than 16 KiB.",
            415: "The body is not declared as `application/json`.",
            422: "The body is wrong; `data.errors` names the fields.",
        }
        /// Of what takes a password, or makes an account.
        Throttled {
            429: "Too many attempts.",
        }
    }
}

fn refusal(description: &str, content_type: &str, schema: &str) -> RefOr<Response> {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    ResponseBuilder::new().description(description).content(content_type, content).build().into()
}
