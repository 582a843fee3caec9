use std::{error::Error as StdError, fmt, io, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    http::{HeaderMap, Request, header, response::Parts},
};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;
use tower_http::decompression::Decompression;

use super::Answer;
use crate::{AttemptBudget, Clock, Error, ErrorKind};

/// Asks an exchange over HTTP/1.1. Every answer has an end: in time, and in size after decompression.
///
/// Redirects are not followed, so that a key in a header is shown to nobody but the host that it was meant for.
pub struct Client {
    http: Decompression<Pool<HttpsConnector<HttpConnector>, Empty<Bytes>>>,
    headers: HeaderMap,
    timeout: Duration,
    largest: usize,
    budget: AttemptBudget,
}

/// What a [`Client`] holds itself to.
#[derive(Debug, Clone)]
pub struct ClientLimits {
    /// How long an answer may take from the look-up of the name to its last byte.
    pub timeout: Duration,
    /// The most bytes of a body.
    pub largest: usize,
    /// How many requests may be made in any window of so long; more wait.
    pub budget: AttemptBudget,
}

impl Client {
    /// A client that proves servers by `tls` and sends `headers` with every request. Mark those that are secret with
    /// [`set_sensitive`](axum::http::HeaderValue::set_sensitive).
    pub fn new(tls: &Arc<ClientConfig>, mut headers: HeaderMap, limits: ClientLimits) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(ClientConfig::clone(tls))
            .https_or_http()
            .enable_http1()
            .build();
        let pool = Pool::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        for (name, value) in [(header::ACCEPT, "application/json"), (header::USER_AGENT, USER_AGENT)] {
            headers.entry(name).or_insert(header::HeaderValue::from_static(value));
        }
        let ClientLimits { timeout, largest, budget } = limits;
        Self { http: Decompression::new(pool), headers, timeout, largest, budget }
    }

    /// Asks, whatever the status of the answer. Waits first if it would be one request too many. Cancel-safe.
    ///
    /// # Errors
    /// `Connect`, `Auth` for a certificate that is refused, `Stalled` for an answer that is not complete in time, `Protocol`
    /// for one that is too large.
    pub async fn get(&mut self, url: &str) -> Result<Answer, Error> {
        while let Err(wait) = self.budget.take(Clock.now()) {
            sleep(wait).await;
        }
        let mut request = Request::get(url)
            .body(Empty::new())
            .map_err(|error| Error::new(ErrorKind::Internal, "no address to ask at").because(error))?;
        *request.headers_mut() = self.headers.clone();
        let asked = Clock.now();
        let (head, body) = timeout(self.timeout, self.exchange(request))
            .await
            .map_err(|_| Error::new(ErrorKind::Stalled, format!("no complete answer within {:?}", self.timeout)))??;
        let arrival = Clock.arrival();
        let took = arrival.at.saturating_duration_since(asked);
        Ok(Answer { status: head.status, headers: head.headers, body, arrival, took })
    }

    async fn exchange(&self, request: Request<Empty<Bytes>>) -> Result<(Parts, Bytes), Error> {
        let answer = self.http.clone().oneshot(request).await.map_err(unreachable)?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, self.largest).collect().await.map_err(|error| self.unreadable(error))?;
        Ok((head, body.to_bytes()))
    }

    fn unreadable(&self, error: Box<dyn StdError + Send + Sync>) -> Error {
        if error.is::<LengthLimitError>() {
            return Error::new(ErrorKind::Protocol, format!("the answer is larger than {} bytes", self.largest));
        }
        Error::new(ErrorKind::Connect, "the answer broke off").because(error)
    }
}

impl fmt::Debug for Client {
    /// Without the headers' values where they are secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("headers", &self.headers).finish_non_exhaustive()
    }
}

/// Some exchanges refuse requests without one.
const USER_AGENT: &str = concat!("ratebus/", env!("CARGO_PKG_VERSION"));

fn unreachable(error: impl StdError + Send + Sync + 'static) -> Error {
    if is_bad_certificate(&error) {
        return Error::new(ErrorKind::Auth, "the server's certificate is refused").because(error);
    }
    Error::new(ErrorKind::Connect, "no answer").because(error)
}

/// An [`io::Error`] does not name the error it wraps as its source.
fn is_bad_certificate(error: &(dyn StdError + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return matches!(error, rustls::Error::InvalidCertificate(_));
    }
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.is_some_and(|inner| is_bad_certificate(inner)) || error.source().is_some_and(is_bad_certificate)
}
