//! Raw rates: the `exchange-rate` role's routes.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use ratebus_model::{AgeView, Pair, Payload, Price, Rate, RateView, SourceName, Status, Version};
use ratebus_sdk::Context;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    envelope::{Failed, Failure, Success, success},
    openapi::{original, v1},
    pair::{self, PairParam, PairPath, PairsView},
    problem::Problem,
    state::{App, Shared},
    waiting::{self, Known, Wait},
};

/// The last rates of all sources.
pub(crate) fn all(ctx: &Context) -> Vec<Arc<Rate>> {
    pair::last(ctx, "rates.*.*", rate)
}

/// The last rates of one pair.
pub(crate) fn of(ctx: &Context, pair: Pair) -> Vec<Arc<Rate>> {
    pair::last(ctx, &format!("rates.*.{pair}"), rate)
}

fn rate(payload: &Payload) -> Option<Arc<Rate>> {
    match payload {
        Payload::Rate(rate) => Some(Arc::clone(rate)),
        _ => None,
    }
}

/// The one rate that is shown of a pair.
fn best(app: &App, pair: Pair, now: Instant) -> Option<Arc<Rate>> {
    of(&app.ctx, pair).into_iter().fold(None, |best, rate| better(app, best, rate, now))
}

/// The one rate of each pair.
fn best_of_each(app: &App, now: Instant) -> BTreeMap<Pair, Arc<Rate>> {
    let mut best = BTreeMap::new();
    for rate in all(&app.ctx) {
        let (pair, known) = (rate.pair, best.remove(&rate.pair));
        best.extend(better(app, known, rate, now).map(|rate| (pair, rate)));
    }
    best
}

fn better(app: &App, known: Option<Arc<Rate>>, rate: Arc<Rate>, now: Instant) -> Option<Arc<Rate>> {
    let ranked = known.into_iter().chain([rate]).filter_map(|rate| Some((rank(app, &rate, now)?, rate)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, rate)| rate)
}

/// Where a rate stands among those of its pair, lowest first: the freshest, of these the source that the config prefers,
/// of these the first by name. `None` for a source that may not price the pair.
fn rank(app: &App, rate: &Rate, now: Instant) -> Option<(Status, usize, SourceName)> {
    let pairs = app.env.pairs_now();
    let sources = pairs.get(&rate.pair).map(|settings| settings.sources.as_slice()).unwrap_or_default();
    let place = match sources {
        [] => 0,
        sources => sources.iter().position(|&source| source == rate.source)?,
    };
    Some((rate.status(now), place, rate.source))
}

#[derive(Serialize, ToSchema)]
struct CurrentRate {
    pair: Pair,
    /// The ask, with the decimals it was received with.
    rate: Price,
}

/// The ask of a pair
#[utoipa::path(get, path = "/rates/{pair}", operation_id = "getOriginalRate", tag = "rates",
    params(PairParam),
    responses(
        (status = 200, description = "The ask, with the decimals it was received with.", body = Success<CurrentRate>,
            example = json!({ "state": "success", "statusCode": 200, "message": "Current rate for BTC_USD",
                "data": { "pair": "BTC_USD", "rate": "20249.00000" } })),
        (status = 406, description = "Nobody serves the pair.", body = Failed),
        original::NoRate,
    ))]
pub(crate) async fn original_one(State(app): State<Shared>, path: PairPath) -> Result<Response, Failure> {
    let pair = pair::original(&app.ctx, path)?;
    let now = app.ctx.clock().now();
    match best(&app, pair, now) {
        Some(rate) if rate.status(now) != Status::Dead => {
            Ok(success(&format!("Current rate for {pair}"), CurrentRate { pair, rate: rate.value.ask() }))
        }
        _ => Err(pair::original_unavailable(pair)),
    }
}

/// Sorted by pair; dead ones are listed with `null` prices.
#[derive(Serialize, ToSchema)]
#[schema(as = Rates)]
struct RatesView {
    rates: Vec<RateView>,
}

fn view(app: &App, rate: &Rate, now: Instant) -> RateView {
    let age = AgeView::new(rate.recv_time.age_at(app.ctx.clock().wall()), rate.feed_age(now));
    rate.view(rate.status(now)).with_age(age)
}

/// The market's price of every pair
#[utoipa::path(get, path = "/v1/rates", operation_id = "listRates", tag = "rates",
    params(Wait, Known),
    responses(
        (status = 200, description = "Where several sources have a rate of a pair, the freshest one's.", body = RatesView,
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
        let (mut best, known) = (best_of_each(&app, now), pair::known(&app.ctx));
        best.retain(|pair, _| known.contains(pair));
        let versions: Vec<_> = best.values().map(|rate| version(rate, now)).collect();
        let app = &app;
        let show =
            move || Json(RatesView { rates: best.values().map(|rate| view(app, rate, now)).collect() }).into_response();
        Ok((waiting::tag(&versions.concat()), show))
    };
    waiting::answer(&app, &known, wait, look).await
}

/// What tells a rate from another one of its pair, and how fresh it is.
fn version(rate: &Rate, now: Instant) -> String {
    let Version { epoch, sequence } = rate.version;
    format!("{} {} {epoch} {sequence} {:?}\n", rate.pair, rate.source, rate.status(now))
}

/// The market's price of a pair
#[utoipa::path(get, path = "/v1/rates/{pair}", operation_id = "getRate", tag = "rates",
    params(PairParam, Wait, Known),
    responses(
        (status = 200, description = "The freshest rate.", body = RateView,
            headers(("ETag" = String, description = "Of all but the ages."))),
        (status = 304, description = "The client has it, and nothing changed for as long as it waited."),
        v1::Query,
        v1::UnknownPair,
        v1::NoRate,
    ))]
pub(crate) async fn one(
    State(app): State<Shared>,
    path: PairPath,
    known: Known,
    wait: Result<Query<Wait>, QueryRejection>,
) -> Result<Response, Problem> {
    let pair = pair::v1(&app.ctx, path)?;
    let wait = waiting::checked(wait)?;
    let look = |now| {
        let rate = best(&app, pair, now).filter(|rate| rate.status(now) != Status::Dead);
        let rate = rate.ok_or_else(|| pair::unavailable(pair))?;
        let (tag, app) = (waiting::tag(&version(&rate, now)), &app);
        Ok((tag, move || Json(view(app, &rate, now)).into_response()))
    };
    waiting::answer(&app, &known, wait, look).await
}

/// The pairs that are served
///
/// `priceStep` is the configured one or `null`: raw rates are not rounded.
#[utoipa::path(get, path = "/v1/pairs", operation_id = "listPairs", tag = "rates",
    responses((status = 200, description = "Every pair, with its sources.", body = PairsView)))]
pub(crate) async fn pairs(State(app): State<Shared>) -> Response {
    let now = app.ctx.clock().now();
    let best = best_of_each(&app, now);
    let settings = app.env.pairs_now();
    pair::list(&app.ctx, |pair| {
        let step = settings.get(&pair).and_then(|settings| settings.price_step);
        (step, best.get(&pair).map(|rate| rate.status(now)))
    })
}
