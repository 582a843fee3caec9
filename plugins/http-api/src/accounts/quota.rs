//! How often a client may still try, told before it is refused: the headers `RateLimit-Policy` and `RateLimit`
//! (draft-ietf-httpapi-ratelimit-headers-10).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue},
    middleware::{Next, from_fn},
};
use ratebus_sdk::openapi::{answers, operations};
use utoipa::openapi::{
    Object, Type,
    header::{Header, HeaderBuilder},
};
use utoipa_axum::router::{UtoipaMethodRouter, UtoipaMethodRouterExt};

use crate::headers::in_seconds;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// What is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quota {
    /// Which limit it is.
    pub(super) policy: &'static str,
    /// How many attempts there are at first,
    pub(super) free: u32,
    /// how long one counts,
    pub(super) window: Duration,
    /// and how many are left.
    pub(super) remaining: u32,
    /// Until there is more, or all is forgotten; `None` where nothing is used up.
    pub(super) reset: Option<Duration>,
}

impl Quota {
    /// As structured fields (RFC 9651).
    fn headers(self) -> [(HeaderName, String); 2] {
        let Self { policy, free, window, remaining, reset } = self;
        let reset = reset.map(|reset| format!(";t={}", in_seconds(reset))).unwrap_or_default();
        [
            (POLICY, format!("\"{policy}\";q={free};w={}", in_seconds(window))),
            (STATE, format!("\"{policy}\";r={remaining}{reset}")),
        ]
    }
}

/// Where a request's handler leaves its quota for the answer, whatever that will be.
#[derive(Clone, Default)]
pub(crate) struct QuotaSlot(Arc<Mutex<Option<Quota>>>);

impl QuotaSlot {
    pub(super) fn set(&self, quota: Option<Quota>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = quota;
    }

    fn take(&self) -> Option<Quota> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Makes the answers of a path tell the quota that their request left.
pub(crate) fn limited(mut methods: UtoipaMethodRouter) -> UtoipaMethodRouter {
    for (_, answer) in operations(&mut methods.1).flat_map(answers) {
        let policy = header("How many attempts there are in how many seconds.", "\"login\";q=5;w=86400");
        answer.headers.insert("RateLimit-Policy".to_owned(), policy.into());
        let state = header("How many are left, and until when, if the request was counted.", "\"login\";r=4;t=86400");
        answer.headers.insert("RateLimit".to_owned(), state.into());
    }
    methods.layer(from_fn(async |mut request: Request, next: Next| {
        let slot = QuotaSlot::default();
        request.extensions_mut().insert(slot.clone());
        let mut response = next.run(request).await;
        for (name, value) in slot.take().into_iter().flat_map(Quota::headers) {
            response.headers_mut().extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
        }
        response
    }))
}

fn header(description: &str, example: &str) -> Header {
    let schema = Object::with_type(Type::String);
    HeaderBuilder::new().schema(Some(schema)).description(Some(description)).example(Some(example.into())).build()
}
