//! Rates with the spread: the `user-api` role's routes.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use ratebus_model::{AgeView, Message, Pair, Payload, Quote, QuoteView, Status, Subject, compat};
use ratebus_sdk::Context;
use serde::Serialize;

use crate::{
    envelope::{Failure, success},
    pair::{self, PairPath},
    problem::Problem,
    state::{App, Shared},
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

/// `GET /rates`: the map of `rates:live`.
pub(crate) async fn original_list(State(app): State<Shared>) -> Response {
    let (now, quotes) = (app.ctx.clock().now(), all(&app.ctx));
    let entry = |quote: &Arc<Quote>| Some((quote.pair, compat::live_entry(quote, quote.status(now))?));
    success("Current rates", quotes.iter().filter_map(entry).collect::<BTreeMap<_, _>>())
}

/// `GET /rates/{pair}`: one entry of that map.
pub(crate) async fn original_one(State(app): State<Shared>, path: PairPath) -> Result<Response, Failure> {
    let pair = pair::original(&app.ctx, path)?;
    let now = app.ctx.clock().now();
    let entry = get(&app.ctx, pair).and_then(|quote| compat::live_entry(&quote, quote.status(now)));
    Ok(success(&format!("Current rate for {pair}"), entry.ok_or_else(|| pair::original_unavailable(pair))?))
}

#[derive(Serialize)]
struct QuotesView<'a> {
    rates: Vec<QuoteView<'a>>,
}

fn view<'a>(app: &App, quote: &'a Quote, now: Instant) -> QuoteView<'a> {
    let age = AgeView::new(quote.recv_time.age_at(app.ctx.clock().wall()), quote.feed_age(now));
    quote.view(quote.status(now)).with_age(age)
}

/// `GET /v1/rates`.
pub(crate) async fn list(State(app): State<Shared>) -> Response {
    let (now, quotes) = (app.ctx.clock().now(), all(&app.ctx));
    Json(QuotesView { rates: quotes.iter().map(|quote| view(&app, quote, now)).collect() }).into_response()
}

/// `GET /v1/rates/{pair}`.
pub(crate) async fn one(State(app): State<Shared>, path: PairPath) -> Result<Response, Problem> {
    let pair = pair::v1(&app.ctx, path)?;
    let now = app.ctx.clock().now();
    match get(&app.ctx, pair) {
        Some(quote) if quote.status(now) != Status::Dead => Ok(Json(view(&app, &quote, now)).into_response()),
        _ => Err(pair::unavailable(pair)),
    }
}

/// `GET /v1/pairs`.
pub(crate) async fn pairs(State(app): State<Shared>) -> Response {
    let now = app.ctx.clock().now();
    pair::list(&app.ctx, |pair| {
        let quote = get(&app.ctx, pair);
        (quote.as_ref().map(|quote| quote.step), quote.map(|quote| quote.status(now)))
    })
}
