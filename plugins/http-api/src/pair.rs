//! Which pairs there are: those the sources announce, and those that have a price.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use axum::{
    Json,
    extract::{Path, rejection::PathRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use ratebus_model::{Pair, PairList, PairState, Pattern, Payload, Price, Quote, Rate, SourceName, Status};
use ratebus_sdk::Context;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::{envelope::Failure, problem::Problem, quotes, rates};

/// A pair out of the path. What cannot be one is a pair nobody serves, not a malformed request.
pub(crate) type PairPath = Result<Path<String>, PathRejection>;

/// What [`PairPath`] is in the document.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "a `PairPath` is read, so that what cannot be a pair is one nobody serves")]
pub(crate) struct PairParam {
    /// `BTC_USD`, or as somebody else would write it: `xbt-usd`.
    #[param(pattern = r"^[A-Za-z0-9]{1,15}[-_/][A-Za-z0-9]{1,15}$", example = "BTC_USD")]
    pair: String,
}

/// What a [`PairPath`] is in the document where it may be every pair.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "as above")]
pub(crate) struct ScopeParam {
    /// A pair, or `*` for every pair without a spread of its own.
    #[param(pattern = r"^(\*|[A-Za-z0-9]{1,15}[-_/][A-Za-z0-9]{1,15})$", example = "BTC_USD")]
    scope: String,
}

/// The payloads of all last values under `pattern` that `pick` takes.
pub(crate) fn last<T>(ctx: &Context, pattern: &str, pick: impl Fn(&Payload) -> Option<Arc<T>>) -> Vec<Arc<T>> {
    let Ok(pattern) = pattern.parse::<Pattern>() else { return Vec::new() };
    ctx.last_values(&pattern).iter().filter_map(|message| pick(&message.payload)).collect()
}

/// What the sources list.
struct Listed {
    pairs: BTreeSet<Pair>,
    sources: BTreeSet<SourceName>,
}

impl Listed {
    fn new(ctx: &Context) -> Self {
        let lists = lists(ctx);
        let pairs = lists.iter().flat_map(|list| list.pairs.iter().map(|(pair, _)| *pair)).collect();
        Self { pairs, sources: lists.iter().map(|list| list.source).collect() }
    }

    /// Whether a pair with such a price is served. A dead price that nobody lists is none, if it is `told` what its sources list:
    /// they serve the pair no more.
    fn serves(&self, pair: Pair, status: Status, told: bool) -> bool {
        status != Status::Dead || self.pairs.contains(&pair) || !told
    }

    fn serves_quote(&self, quote: &Quote, now: Instant) -> bool {
        // A cross is listed as such, a median by those it is made from.
        let all = || quote.sources.iter().all(|source| self.sources.contains(source));
        self.serves(quote.pair, quote.status(now), self.sources.contains(&quote.source) || all())
    }

    fn serves_rate(&self, rate: &Rate, now: Instant) -> bool {
        self.serves(rate.pair, rate.status(now), self.sources.contains(&rate.source))
    }
}

/// Whether a pair is [`known`].
pub(crate) fn is_known(ctx: &Context, pair: Pair) -> bool {
    let (quote, now) = (quotes::get(ctx, pair), ctx.clock().now());
    // Nearly every request is for a pair with a live price: the lists are long.
    if quote.as_ref().is_some_and(|quote| quote.status(now) != Status::Dead) {
        return true;
    }
    let rates = rates::of(ctx, pair);
    if rates.iter().any(|rate| rate.status(now) != Status::Dead) {
        return true;
    }
    let listed = Listed::new(ctx);
    let quoted = quote.is_some_and(|quote| listed.serves_quote(&quote, now));
    quoted || listed.pairs.contains(&pair) || rates.iter().any(|rate| listed.serves_rate(rate, now))
}

/// Every pair that is served: those that sources list, and those that have a price.
pub(crate) fn known(ctx: &Context) -> BTreeSet<Pair> {
    let (listed, now) = (Listed::new(ctx), ctx.clock().now());
    let with_quote = quotes::all(ctx).into_iter().filter(|quote| listed.serves_quote(quote, now));
    let with_rate = rates::all(ctx).into_iter().filter(|rate| listed.serves_rate(rate, now));
    let priced: Vec<Pair> = with_quote.map(|quote| quote.pair).chain(with_rate.map(|rate| rate.pair)).collect();
    listed.pairs.into_iter().chain(priced).collect()
}

/// The pair of a path, or 406 as the original answered.
pub(crate) fn original(ctx: &Context, path: PairPath) -> Result<Pair, Failure> {
    find(ctx, path).ok_or_else(|| Failure::new(StatusCode::NOT_ACCEPTABLE, "Invalid pair!"))
}

/// 503 in the original's form: there is no price now.
pub(crate) fn original_unavailable(pair: Pair) -> Failure {
    Failure::unavailable(format!("No current rate for {pair}"))
}

/// The pair of a path, or 404.
pub(crate) fn v1(ctx: &Context, path: PairPath) -> Result<Pair, Problem> {
    find(ctx, path).ok_or_else(unknown)
}

/// 404: nobody serves the pair.
pub(crate) fn unknown() -> Problem {
    Problem::not_found("no source serves this pair")
}

/// 503: there is no price now.
pub(crate) fn unavailable(pair: Pair) -> Problem {
    Problem::unavailable(format!("there is no current rate of {pair}"))
}

fn find(ctx: &Context, path: PairPath) -> Option<Pair> {
    let pair = path.ok()?.0.parse().ok()?;
    is_known(ctx, pair).then_some(pair)
}

fn lists(ctx: &Context) -> Vec<Arc<PairList>> {
    let mut lists = last(ctx, "pairs.*", |payload| match payload {
        Payload::Pairs(list) => Some(Arc::clone(list)),
        _ => None,
    });
    lists.sort_by_key(|list| list.source);
    lists
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PairInfo)]
struct PairView {
    pair: Pair,
    /// Prices are multiples of it.
    #[schema(required)]
    price_step: Option<Price>,
    sources: Vec<SourceView>,
    /// `null` before the first rate.
    #[schema(required)]
    status: Option<Status>,
}

/// How a pair's subscription at a source stands.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = PairSource)]
struct SourceView {
    source: SourceName,
    #[serde(flatten)]
    state: PairState,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Pairs)]
pub(crate) struct PairsView {
    pairs: Vec<PairView>,
}

/// The answer of `GET /v1/pairs`; `price` gives a pair's price step and status, where it has them.
pub(crate) fn list(ctx: &Context, price: impl Fn(Pair) -> (Option<Price>, Option<Status>)) -> Response {
    let mut sources: BTreeMap<Pair, Vec<SourceView>> = BTreeMap::new();
    for list in lists(ctx) {
        for (pair, state) in &list.pairs {
            sources.entry(*pair).or_default().push(SourceView { source: list.source, state: state.clone() });
        }
    }
    let view = |pair| {
        let (price_step, status) = price(pair);
        PairView { pair, price_step, sources: sources.remove(&pair).unwrap_or_default(), status }
    };
    Json(PairsView { pairs: known(ctx).into_iter().map(view).collect() }).into_response()
}
