//! Rates with the spread: the `user-api` role's routes.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use ratebus_model::{
    AgeView, Explanation, Message, Pair, Payload, Quote, QuoteView, Status, Subject, Version, compat, compat::LiveEntry,
};
use ratebus_sdk::{Context, RequestError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    envelope::{Failed, Failure, Success, success},
    openapi::{original, v1},
    pair::{self, PairParam, PairPath, PairsView},
    problem::Problem,
    state::{App, Shared},
    waiting::{self, Known, Wait},
};

/// The last quotes, sorted by pair.
pub(crate) fn all(ctx: &Context) -> Vec<Arc<Quote>> {
    let mut quotes = pair::last(ctx, "quotes.*", quote);
    quotes.sort_by_key(|quote| quote.pair);
    quotes
}

/// The last quote of a pair.
pub(crate) fn get(ctx: &Context, pair: Pair) -> Option<Arc<Quote>> {
    let message: Arc<Message> = ctx.last_value(&Subject::quote(pair))?;
    quote(&message.payload)
}

fn quote(payload: &Payload) -> Option<Arc<Quote>> {
    match payload {
        Payload::Quote(quote) => Some(Arc::clone(quote)),
        _ => None,
    }
}

/// The map of `rates:live`.
#[derive(Serialize, ToSchema)]
struct LiveMap(BTreeMap<Pair, LiveEntry>);

/// All rates, as `rates:live` sends them
///
/// Pairs that are dead or have no customer price are left out.
#[utoipa::path(get, path = "/rates", operation_id = "listOriginalRates", tag = "rates",
    responses((status = 200, description = "By pair.", body = Success<LiveMap>)))]
pub(crate) async fn original_list(State(app): State<Shared>) -> Response {
    let (now, quotes) = (app.ctx.clock().now(), all(&app.ctx));
    let entry = |quote: &Arc<Quote>| Some((quote.pair, compat::live_entry(quote, quote.status(now))?));
    success("Current rates", LiveMap(quotes.iter().filter_map(entry).collect()))
}

/// The rate of a pair, as `rates:live` sends it
#[utoipa::path(get, path = "/rates/{pair}", operation_id = "getOriginalRate", tag = "rates",
    params(PairParam),
    responses(
        (status = 200, description = "One entry of the map.", body = Success<LiveEntry>),
        (status = 406, description = "Nobody serves the pair.", body = Failed),
        original::NoRate,
    ))]
pub(crate) async fn original_one(State(app): State<Shared>, path: PairPath) -> Result<Response, Failure> {
    let pair = pair::original(&app.ctx, path)?;
    let now = app.ctx.clock().now();
    let entry = get(&app.ctx, pair).and_then(|quote| compat::live_entry(&quote, quote.status(now)));
    Ok(success(&format!("Current rate for {pair}"), entry.ok_or_else(|| pair::original_unavailable(pair))?))
}

/// Sorted by pair; dead ones are listed with `null` prices.
#[derive(Serialize, ToSchema)]
#[schema(as = Quotes)]
struct QuotesView<'a> {
    rates: Vec<QuoteView<'a>>,
}

fn view<'a>(app: &App, quote: &'a Quote, now: Instant) -> QuoteView<'a> {
    let age = AgeView::new(quote.recv_time.age_at(app.ctx.clock().wall()), quote.feed_age(now));
    quote.view(quote.status(now)).with_age(age)
}

/// The quote of every pair
#[utoipa::path(get, path = "/v1/rates", operation_id = "listQuotes", tag = "rates",
    params(Wait, Known),
    responses(
        (status = 200, description = "The market's price, the customer's, and what lies between.", body = QuotesView,
            headers(("ETag" = String, description = "Of all but the ages."))),
        (status = 304, description = "The client has it, and nothing changed for as long as it waited."),
        v1::Query,
    ))]
pub(crate) async fn list(
    State(app): State<Shared>,
    known: Known,
    wait: Result<Query<Wait>, QueryRejection>,
) -> Result<Response, Problem> {
    let wait = waiting::checked(wait)?;
    let look = |now| {
        let (mut quotes, known) = (all(&app.ctx), pair::known(&app.ctx));
        quotes.retain(|quote| known.contains(&quote.pair));
        let versions: Vec<_> = quotes.iter().map(|quote| version(quote, now)).collect();
        let app = &app;
        let show = move || {
            Json(QuotesView { rates: quotes.iter().map(|quote| view(app, quote, now)).collect() }).into_response()
        };
        Ok((waiting::tag(&versions.concat()), show))
    };
    waiting::answer(&app, &known, wait, look).await
}

/// What tells a quote from another one of its pair, and how fresh it is.
fn version(quote: &Quote, now: Instant) -> String {
    let Version { epoch, sequence } = quote.version;
    format!("{} {epoch} {sequence} {:?}\n", quote.pair, quote.status(now))
}

/// How a pair's quote is to be shown.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Show {
    /// Instead of the quote an explanation of it: which sources are used, which are not and why, and each step from their
    /// prices to the customer's. There is one without a price too.
    #[param(default = false)]
    explain: bool,
    /// With `If-None-Match`: how long to wait for another version, `1s` to `60s`, before the answer is 304. An explanation is
    /// of now, and waits for nothing.
    #[param(nullable = false, pattern = "^([1-9]|[1-5][0-9]|60)s$", example = "20s")]
    wait: Option<String>,
}

/// What is shown of a quote.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = QuoteOrExplanation)]
enum Shown<'a> {
    Quote(Box<QuoteView<'a>>),
    Explanation(Box<Explanation>),
}

/// The quote of a pair
#[utoipa::path(get, path = "/v1/rates/{pair}", operation_id = "getQuote", tag = "rates",
    params(PairParam, Show, Known),
    responses(
        (status = 200, description = "The market's price, the customer's, and what lies between.", body = Shown,
            headers(("ETag" = String, description = "Of all but the ages; not of an explanation."))),
        (status = 304, description = "The client has it, and nothing changed for as long as it waited."),
        v1::Query,
        v1::UnknownPair,
        v1::NoRate,
    ))]
pub(crate) async fn one(
    State(app): State<Shared>,
    path: PairPath,
    known: Known,
    show: Result<Query<Show>, QueryRejection>,
) -> Result<Response, Problem> {
    let pair = pair::v1(&app.ctx, path)?;
    let Query(Show { explain, wait }) = show.map_err(|rejection| Problem::invalid(rejection.body_text()))?;
    let wait = Wait { wait }.checked()?;
    if explain {
        return Ok(Json(Shown::Explanation(explanation(&app, pair).await?.into())).into_response());
    }
    let look = |now| {
        let quote = get(&app.ctx, pair).filter(|quote| quote.status(now) != Status::Dead);
        let quote = quote.ok_or_else(|| pair::unavailable(pair))?;
        let (tag, app) = (waiting::tag(&version(&quote, now)), &app);
        Ok((tag, move || Json(Shown::Quote(view(app, &quote, now).into())).into_response()))
    };
    waiting::answer(&app, &known, wait, look).await
}

/// How long whoever makes the quotes may take to explain one.
const PATIENCE: Duration = Duration::from_secs(1);

/// There is no `sink/spread` that could be asked.
const NOBODY_EXPLAINS: &str = "the price cannot be explained: nothing that makes prices runs here, or in a process that the bus \
    joins this one with and lets `explain.>` through";

/// Asks whoever makes the quotes, in this process or, where the bus carries `explain.>`, in another.
async fn explanation(app: &App, pair: Pair) -> Result<Explanation, Problem> {
    let answer = app.ctx.request(&Subject::explanation(pair), Bytes::new(), PATIENCE).await;
    let answer = answer.map_err(|error| match error {
        RequestError::NoResponders => Problem::unavailable(NOBODY_EXPLAINS),
        error => Problem::unavailable(format!("the price cannot be explained: {error}")),
    })?;
    let explanation = match &answer.payload {
        Payload::Bytes(json) => serde_json::from_slice::<Option<Explanation>>(json).map_err(|error| error.to_string()),
        _ => Err("it is no text".to_owned()),
    };
    match explanation {
        Ok(Some(explanation)) => Ok(explanation),
        Ok(None) => Err(pair::unavailable(pair)),
        Err(error) => {
            tracing::warn!(%pair, error, "an explanation cannot be read");
            Err(Problem::unavailable("the price cannot be explained: the answer cannot be read"))
        }
    }
}

/// The pairs that are served
#[utoipa::path(get, path = "/v1/pairs", operation_id = "listPairs", tag = "rates",
    responses((status = 200, description = "Every pair, with its sources.", body = PairsView)))]
pub(crate) async fn pairs(State(app): State<Shared>) -> Response {
    let now = app.ctx.clock().now();
    pair::list(&app.ctx, |pair| {
        let quote = get(&app.ctx, pair);
        (quote.as_ref().map(|quote| quote.step), quote.map(|quote| quote.status(now)))
    })
}
