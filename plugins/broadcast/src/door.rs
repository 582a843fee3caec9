//! Who may connect: what is asked of every client before it is served, whatever its transport.

use std::{
    convert::Infallible,
    future::pending,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{
        Extensions, HeaderMap, StatusCode,
        header::{AUTHORIZATION, RETRY_AFTER},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use ratebus_sdk::{Clock, Context, NoSession, Origins, ProblemDocument, SessionPass, bearer, network};
use serde::Deserialize;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::Meter,
    places::{Full, Place, Places},
    roll::{Line, Roll},
};

/// How long a client may take to say who it is.
pub(crate) const AUTH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a token may take to check, whoever does; after that nobody can tell.
const CHECK_TIMEOUT: Duration = Duration::from_secs(8);
/// How long those who are refused or sent away are asked to wait.
const WAIT: RangeInclusive<u64> = 500..=5000;

/// Whom the streams are for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Access {
    /// Everybody.
    #[default]
    Public,
    /// People who are logged in.
    Accounts,
}

/// What everybody passes who connects.
pub(crate) struct Door {
    ctx: Context,
    access: Access,
    places: Arc<Places>,
    /// Those who were let in.
    pub(crate) roll: Arc<Roll>,
    /// The end of the run that this is the door of.
    stop: CancellationToken,
}

/// What a request says of who sends it. No `Debug`: a token is a secret.
pub(crate) struct Visitor {
    address: Option<IpAddr>,
    page: Page,
    shown: Shown,
}

/// The page that a request comes from.
enum Page {
    /// None, one of ours, or of an origin that the listener names.
    Known,
    /// Any other, where the listener allows every one.
    Any,
    Foreign,
}

/// The `Authorization` header. Tokens in URLs are not looked at: URLs are logged.
enum Shown {
    Nothing,
    /// No bearer token, and none may follow.
    Other,
    Token(String),
}

/// Who was let in, for as long as this is kept.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) view: View,
    meter: Meter,
    line: Line,
    _place: Place,
}

/// What somebody may see.
#[derive(Debug, Clone)]
pub(crate) enum View {
    /// The rates: they are for everybody.
    Open,
    /// Nothing yet: a token has to be shown.
    Awaited,
    /// The rates, until this is over.
    Session(SessionPass),
}

/// Why somebody was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The server stops.
    Stopping,
    /// A page of this origin may not.
    Origin,
    /// There is no place.
    Full(Full),
    /// The token that was shown, or none.
    Session(NoSession),
}

impl Door {
    pub(crate) fn new(ctx: Context, access: Access, places: Arc<Places>, stop: CancellationToken) -> Self {
        Self { ctx, access, places, roll: Roll::new(), stop }
    }

    /// Lets a visitor in, or says why not. Who shows no token at a door that asks for one may do so later.
    pub(crate) async fn enter(&self, visitor: Visitor, meter: &Meter) -> Result<Guest, Refusal> {
        let guest = self.try_enter(visitor, meter).await;
        if let Err(refusal) = &guest {
            meter.refused(refusal.as_str());
        }
        guest
    }

    /// Whether the page that a request comes from may use the streams: browsers let any page try. Where every page may, it
    /// may read what is public, and nothing that is somebody's own.
    pub(crate) fn knows(&self, visitor: &Visitor) -> Result<(), Refusal> {
        match (&visitor.page, self.access) {
            (Page::Known, _) | (Page::Any, Access::Public) => Ok(()),
            (Page::Any, Access::Accounts) | (Page::Foreign, _) => Err(Refusal::Origin),
        }
    }

    async fn try_enter(&self, visitor: Visitor, meter: &Meter) -> Result<Guest, Refusal> {
        self.knows(&visitor)?;
        let Visitor { address, shown, .. } = visitor;
        if self.stop.is_cancelled() {
            return Err(Refusal::Stopping);
        }
        // First: checking a token costs more, and so is limited to those who have a place.
        let place = self.places.take(address, Clock.now()).map_err(Refusal::Full)?;
        let view = match (self.access, shown) {
            (Access::Public, _) => View::Open,
            (Access::Accounts, Shown::Nothing) => View::Awaited,
            (Access::Accounts, Shown::Other) => return Err(Refusal::Session(NoSession::Refused)),
            (Access::Accounts, Shown::Token(token)) => {
                View::Session(self.check(&token).await.map_err(Refusal::Session)?)
            }
        };
        meter.came();
        let line = self.roll.add(meter.transport(), address);
        Ok(Guest { view, meter: meter.clone(), line, _place: place })
    }

    /// The session of a token. Nobody is let in while nobody can tell, or not in time.
    pub(crate) async fn check(&self, token: &str) -> Result<SessionPass, NoSession> {
        let sessions = self.ctx.sessions().ok_or(NoSession::Unavailable)?;
        timeout(CHECK_TIMEOUT, sessions.check(token)).await.unwrap_or(Err(NoSession::Unavailable))
    }

    /// A newer token of somebody who was let in: what they may see from now on. The better of both counts.
    pub(crate) async fn renew(&self, held: &View, token: &str) -> Result<SessionPass, ProblemDocument> {
        let View::Session(held) = held else {
            return Err(ProblemDocument::new(
                StatusCode::BAD_REQUEST,
                "The rates are public here: no token is needed.",
            ));
        };
        let shown = self.check(token).await.map_err(problem)?;
        if !shown.is_same_session(held) {
            let detail = "The token is of another session: connect with it.";
            return Err(ProblemDocument::new(StatusCode::FORBIDDEN, detail));
        }
        Ok(if shown.expires_at() > held.expires_at() { shown } else { held.clone() })
    }

    /// Lets an administrator see what is theirs to see, by this token.
    pub(crate) async fn admit_admin(&self, token: Option<&str>) -> Result<(), ProblemDocument> {
        let token = token.ok_or_else(|| problem(NoSession::Refused))?;
        let sessions = self.ctx.sessions().ok_or_else(|| problem(NoSession::Unavailable))?;
        match timeout(CHECK_TIMEOUT, sessions.is_admin(token)).await.unwrap_or(Err(NoSession::Unavailable)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(ProblemDocument::new(StatusCode::FORBIDDEN, "only an administrator may do this")),
            Err(error) => Err(problem(error)),
        }
    }

    /// How many guests there are.
    pub(crate) fn guests(&self) -> usize {
        self.places.taken()
    }

    /// Resolves when the last guest is gone.
    pub(crate) async fn empty(&self) {
        self.places.empty().await;
    }
}

/// What somebody is told who has no good token, or whose token cannot be checked.
pub(crate) fn problem(error: NoSession) -> ProblemDocument {
    let status = match error {
        NoSession::Refused => StatusCode::UNAUTHORIZED,
        NoSession::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    ProblemDocument::new(status, error.to_string())
}

impl Visitor {
    /// Reads a request.
    pub(crate) fn of(headers: &HeaderMap, extensions: &Extensions) -> Self {
        let peer = extensions.get::<ConnectInfo<SocketAddr>>();
        let origins = extensions.get::<Origins>().cloned().unwrap_or_default();
        let page = match origins.allows(headers) {
            false => Page::Foreign,
            true if origins.is_any() && !Origins::default().allows(headers) => Page::Any,
            true => Page::Known,
        };
        let shown = match bearer(headers) {
            Some(token) => Shown::Token(token.to_owned()),
            None if headers.contains_key(AUTHORIZATION) => Shown::Other,
            None => Shown::Nothing,
        };
        Self { address: peer.map(|peer| network(peer.0.ip())), page, shown }
    }

    /// For transports in which a token can be shown with the request only.
    pub(crate) fn at_once(self) -> Self {
        let shown = if let Shown::Nothing = self.shown { Shown::Other } else { self.shown };
        Self { shown, ..self }
    }
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers, &parts.extensions))
    }
}

impl View {
    /// Resolves when nothing may be seen any more. Cancel-safe.
    pub(crate) async fn over(&self) {
        match self {
            Self::Open | Self::Awaited => pending().await,
            Self::Session(pass) => pass.over().await,
        }
    }

    /// Whether nothing may be seen any more. Who waited for the end of a session may hear of it when there is a newer pass.
    pub(crate) fn is_over(&self) -> bool {
        self.over().now_or_never().is_some()
    }
}

impl Guest {
    /// So many quotes (or maps) went out; so many others gave way to newer ones before they could.
    pub(crate) fn sent(&self, deliveries: usize, conflated: u64) {
        self.line.sent(deliveries, conflated);
    }

    /// So many bytes have not been taken by the connection yet.
    pub(crate) fn owes(&mut self, bytes: usize, now: Instant) {
        self.line.owes(bytes, now);
    }

    /// Looks at what [`Guest::sent`] will need.
    pub(crate) fn glance(&self) {
        self.line.glance();
    }

    /// For how long nothing of what it owes has been taken.
    pub(crate) fn stalled(&self, now: Instant) -> Duration {
        self.line.stalled(now)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.meter.gone();
    }
}

impl Refusal {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::Origin => "origin",
            Self::Full(Full::Total) => "full",
            Self::Full(Full::Address) => "address_full",
            Self::Full(Full::TooOften) => "address_too_often",
            Self::Full(Full::TooFast) => "too_fast",
            Self::Session(NoSession::Refused) => "unauthenticated",
            Self::Session(NoSession::Unavailable) => "unavailable",
        }
    }

    fn problem(self) -> ProblemDocument {
        let (status, detail) = match self {
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "The service is stopping."),
            Self::Origin => (StatusCode::FORBIDDEN, "Pages of this origin may not use the streams."),
            Self::Full(full) => (StatusCode::SERVICE_UNAVAILABLE, full.as_str()),
            Self::Session(error) => return problem(error),
        };
        ProblemDocument::new(status, detail)
    }
}

/// How long somebody is asked to wait before coming again, in whole milliseconds: each another time, so that they do not
/// come together.
pub(crate) fn wait() -> Duration {
    let spread = WAIT.end() - WAIT.start() + 1;
    Duration::from_millis(WAIT.start() + getrandom::u64().unwrap_or_default() % spread)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.problem().into_response();
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            let seconds = wait().as_millis().div_ceil(1000);
            response.headers_mut().insert(RETRY_AFTER, u64::try_from(seconds).unwrap_or(1).into());
        }
        response
    }
}
