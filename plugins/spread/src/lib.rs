//! Rates and spreads in, quotes out: the processor `sink/spread`.
//!
//! For each pair it picks the source, adds the spread that holds, and publishes the result as `quotes.<PAIR>`: at once
//! when a rate or a spread changes, and when a quote becomes stale or dead because nothing came. The decisions are made
//! in `desk`, which knows neither tasks nor clocks.

mod config;
mod desk;
mod market;
mod readiness;

use std::{collections::HashSet, future, time::Instant};

use async_trait::async_trait;
use metrics::{counter, histogram};
use ratebus_sdk::{
    Compat, ConfigError, Context, Env, Error, Factory, Inbox, Interest, PairSettings, Policy, Sink,
    model::{Message, Pair, PairList, PairState, Pattern, Payload, Subject, cross},
};
use tokio::{select, time::sleep_until};

use crate::{
    config::Config,
    desk::{Desk, Dropped, Publication, Settings},
    readiness::Readiness,
};

/// The version of this plugin.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

const RATES_DROPPED: &str = "ratebus_rates_dropped_total";

/// Turns rates and spreads into quotes.
pub struct Spread {
    settings: Settings,
}

impl Factory for Spread {
    type Config = Config;

    const TYPE: &'static str = "sink/spread";

    fn build(config: Config, env: &Env) -> Result<Self, ConfigError> {
        let default = config.default.as_ref().map(config::default_rule).transpose()?;
        let pairs = env.pairs();
        PairSettings::check(&pairs)?;
        let crosses = PairSettings::crosses(&pairs).unwrap_or_default();
        let Compat { reference, .. } = *env.compat;
        Ok(Self { settings: Settings { default, stored: config.stored, pairs, crosses, reference } })
    }
}

#[async_trait]
impl Sink for Spread {
    fn interests(&self) -> Vec<Interest> {
        // Who asks waits a second: more questions than can be answered in that need no place. One of several processes
        // answers, the one that is asked if it can.
        let questions = Interest {
            pattern: Pattern::explanations(),
            policy: Policy::DropNewest,
            capacity: 64,
            queue: Some("explain".to_owned()),
            replay: false,
        };
        let rates = Interest { replay: false, ..Interest::latest(Pattern::rates()) };
        vec![rates, Interest::latest(Pattern::pairs()), Interest::latest(Pattern::spreads()), questions]
    }

    async fn run(self: Box<Self>, mut inbox: Inbox, ctx: Context) -> Result<(), Error> {
        announce(&self.settings.crosses, &ctx);
        let mut desk = Desk::new(self.settings, ctx.epoch());
        let mut readiness = Readiness::new(ctx.health().clone());
        begin(&mut desk, &ctx);
        loop {
            readiness.update(&desk, ctx.clock().now());
            let wake = [desk.wake_at(), readiness.wake_at()].into_iter().flatten().min();
            let publications = select! {
                biased;
                () = ctx.cancelled() => return Ok(()),
                () = at(wake) => desk.wake(ctx.clock().arrival()),
                message = inbox.recv() => match message {
                    Some(message) if message.reply.is_some() => {
                        answer(&desk, &message, &ctx).await;
                        Vec::new()
                    }
                    Some(message) => take(&mut desk, &message, &ctx),
                    None => return Ok(()),
                },
            };
            for publication in publications {
                publish(&ctx, publication);
            }
        }
    }
}

/// Goes on from what is there.
fn begin(desk: &mut Desk, ctx: &Context) {
    // The inbox takes turns; no rate may be priced before the spreads that are already there. They come in no order, and
    // that all are known is to be believed only after them.
    let mut spreads = ctx.last_values(&Pattern::spreads());
    spreads.sort_by_key(|message| message.subject == Subject::spreads_known());
    for message in spreads {
        take(desk, &message, ctx);
    }
    let now = ctx.clock().arrival();
    for message in ctx.last_values(&Pattern::rates()) {
        let Payload::Rate(rate) = &message.payload else { continue };
        if let Err(reason) = desk.hear(&message, rate, now) {
            count_dropped(RATES_DROPPED, reason, &message);
        }
    }
    // All at once: none is quoted from a source before which another goes.
    let publications = desk.quote_all(now);
    // What an earlier run has quoted and this one cannot: the config has changed.
    let quoted: HashSet<Subject> = publications.iter().map(|publication| publication.subject.clone()).collect();
    let others = ctx.own_subjects(&Pattern::quotes()).into_iter().filter(|subject| !quoted.contains(subject));
    let gone = others.map(|subject| Publication { subject, quote: None, news: None });
    for publication in publications.into_iter().chain(gone.collect::<Vec<_>>()) {
        publish(ctx, publication);
    }
}

/// Says that these pairs are served: no source does.
fn announce(crosses: &[Pair], ctx: &Context) {
    let Ok(source) = cross::NAME.parse() else { return };
    let subject = Subject::pairs(source);
    // With none there may have been some, before the config changed.
    if crosses.is_empty() && ctx.last_value(&subject).is_none() {
        return;
    }
    let list = PairList { source, pairs: crosses.iter().map(|&pair| (pair, PairState::Subscribed)).collect() };
    if let Err(error) = ctx.try_publish(&subject, list) {
        tracing::debug!(%subject, %error, "list not delivered to everybody");
    }
}

/// Resolves at `wake`, or never. Cancel-safe.
async fn at(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake.into()).await,
        None => future::pending().await,
    }
}

/// Explains the price of the pair that a request names.
async fn answer(desk: &Desk, request: &Message, ctx: &Context) {
    let pair = request.subject.tokens().nth(1).and_then(|pair| pair.parse().ok());
    let explanation = pair.and_then(|pair| desk.explain(pair, ctx.clock().arrival()));
    let answer = serde_json::to_vec(&explanation).unwrap_or_else(|_| b"null".to_vec());
    if let Err(error) = ctx.respond(request, Payload::Bytes(answer.into())).await {
        tracing::debug!(subject = %request.subject, %error, "an explanation was not delivered");
    }
}

/// Shows a message to the desk. What it leaves out is counted.
fn take(desk: &mut Desk, message: &Message, ctx: &Context) -> Vec<Publication> {
    let now = ctx.clock().arrival();
    let (dropped, answer) = match &message.payload {
        Payload::Rate(rate) => (RATES_DROPPED, desk.rate(message, rate, now)),
        Payload::Gone => (RATES_DROPPED, desk.gone(message, now)),
        Payload::Pairs(list) => return desk.list(list, now),
        Payload::Bytes(_) if message.subject == Subject::spreads_known() => return desk.spreads_known(now),
        Payload::Spread(spread) => ("ratebus_spreads_dropped_total", desk.spread(message, spread, now)),
        _ => return Vec::new(),
    };
    answer.unwrap_or_else(|reason| {
        count_dropped(dropped, reason, message);
        Vec::new()
    })
}

fn count_dropped(counter: &'static str, reason: Dropped, message: &Message) {
    counter!(counter, "reason" => reason.as_str()).increment(1);
    tracing::debug!(subject = %message.subject, reason = reason.as_str(), "message dropped");
}

fn publish(ctx: &Context, Publication { subject, quote, news }: Publication) {
    if let (Some(quote), Some(news)) = (&quote, news) {
        counter!("ratebus_quotes_total").increment(1);
        if let Err(reason) = quote.customer {
            counter!("ratebus_quotes_withheld_total", "reason" => reason.as_str()).increment(1);
        }
        if let Some(arrived) = news.tick {
            // Seconds on a clock, not money.
            let waited = arrived.age_at(quote.published_time).as_secs_f64();
            histogram!("ratebus_tick_to_quote_seconds").record(waited);
        }
    }
    if let Err(error) = ctx.try_publish(&subject, quote.map_or(Payload::Gone, Payload::Quote)) {
        tracing::debug!(%subject, %error, "quote not delivered to everybody");
    }
}
