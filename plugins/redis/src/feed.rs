//! The source: rates that others publish on a channel of Redis.

use std::{
    convert::Infallible,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use metrics::counter;
use ratebus_model::{Arrival, FoldLimits, Limits, Pair, PairState, Status};
use ratebus_sdk::{
    Backoff, ConfigError, Context, Env, Error, ErrorKind, Factory, LogLimit, Source, duration,
    feed::{self, RateBook},
};
use redis::{Msg, PushInfo, PushKind, aio::MultiplexedConnection};
use secrecy::SecretString;
use serde::Deserialize;
use tokio::{
    select,
    sync::mpsc,
    time::{Instant, interval_at, sleep},
};

use crate::{
    report::{Meaning, Refused, Report},
    server::{self, LONGEST_WAIT, Server, failed},
};

/// The longest document that is read; one of ours has less than 1 KiB.
const LONGEST: usize = 8 * 1024;
/// How many documents may wait to be read. When they are more, the connection is given up.
const BACKLOG: usize = 4096;
/// How often the health is looked at, and a silent server asked whether it is there.
const SECOND: Duration = Duration::from_secs(1);
/// How many pairs are named in the health before the rest is a number.
const NAMED: usize = 5;

/// The `config` table of a `source/redis`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisFeedConfig {
    /// Where the server is: `redis://` or `rediss://`, with user, password and database.
    pub url: SecretString,
    /// A file with the password, if the URL has none; readable by its owner alone.
    pub password_file: Option<PathBuf>,
    /// A PEM file of the only certificate authorities to trust; without it the public ones hold.
    pub ca_file: Option<PathBuf>,
    /// Whether a server on another machine may do without a password.
    #[serde(default)]
    pub allow_insecure: bool,
    /// The channel, or a pattern of channels: with `*`, `?` or `[…]`.
    pub channel: String,
    /// The pairs to take, `BTC_USD`; at least one.
    pub pairs: Vec<String>,
    /// How long a rate stays fresh when nobody vouches for it.
    #[serde(default = "default_stale_after", with = "duration")]
    pub stale_after: Duration,
    /// How long it is shown then.
    #[serde(default = "default_dead_after", with = "duration")]
    pub dead_after: Duration,
}

fn default_stale_after() -> Duration {
    Limits::STREAM.stale_after
}

fn default_dead_after() -> Duration {
    Limits::STREAM.dead_after
}

impl RedisFeedConfig {
    fn limits(&self) -> Result<Limits, ConfigError> {
        let Self { stale_after, dead_after, .. } = *self;
        if stale_after.is_zero() || stale_after >= dead_after {
            return Err(ConfigError::new("stale_after", "must be above zero and shorter than dead_after"));
        }
        Ok(Limits { stale_after, dead_after })
    }
}

/// Rates from a channel of Redis: `use = "source/redis"`.
pub struct RedisFeed {
    server: Server,
    channel: String,
    pairs: Vec<Pair>,
    limits: Limits,
}

impl Factory for RedisFeed {
    type Config = RedisFeedConfig;

    const TYPE: &'static str = "source/redis";

    fn build(config: RedisFeedConfig, _: &Env) -> Result<Self, ConfigError> {
        let mut error = ConfigError::default();
        let [password, authorities] = [&config.password_file, &config.ca_file].map(Option::as_deref);
        let server = error.take(Server::new(&config.url, password, authorities, config.allow_insecure));
        let pairs = error.take(feed::pairs(&config.pairs));
        let limits = error.take(config.limits());
        if config.channel.is_empty() {
            error.add("channel", "must not be empty");
        }
        let (Some(server), Some(pairs), Some(limits)) = (server, pairs, limits) else { return Err(error) };
        error.or(Self { server, channel: config.channel, pairs, limits })
    }
}

#[async_trait]
impl Source for RedisFeed {
    /// Never fails: whatever happens to a connection, another one is made.
    async fn run(self: Box<Self>, ctx: Context) -> Result<(), Error> {
        let stop = ctx.cancel_token().clone();
        let Self { server, channel, pairs, limits } = *self;
        server.warn();
        let book = RateBook::new(ctx.clone(), &pairs, FoldLimits::new(limits));
        let feed = Feed { server, channel, pairs, limits, book, complaints: LogLimit::default(), ctx };
        // Boxed, because connecting makes it a large one.
        stop.run_until_cancelled(Box::pin(feed.stay_connected())).await;
        Ok(())
    }
}

struct Feed {
    server: Server,
    channel: String,
    pairs: Vec<Pair>,
    limits: Limits,
    book: RateBook,
    complaints: LogLimit,
    ctx: Context,
}

impl Feed {
    async fn stay_connected(mut self) {
        let mut backoff = Backoff::up_to(LONGEST_WAIT);
        loop {
            let Err(error) = self.follow(&mut backoff).await;
            self.book.disconnected();
            self.ctx.health().not_ready(format!("nothing is heard: {error}; it keeps trying"));
            sleep(backoff.next_delay()).await;
        }
    }

    /// Over one connection, until it ends.
    async fn follow(&mut self, backoff: &mut Backoff) -> Result<Infallible, Error> {
        let (backlog, mut documents) = Backlog::new();
        let mut connection = self.server.connect(move |push| backlog.add(push)).await?;
        self.subscribe(&mut connection).await?;
        for &pair in &self.pairs {
            self.book.set_state(pair, PairState::Subscribed);
        }
        // The first rates have that long to come before they are missed.
        let mut second = interval_at(Instant::now() + SECOND, SECOND);
        let mut heard = true;
        loop {
            select! {
                document = documents.recv() => {
                    let lost = || Error::new(ErrorKind::Connect, "the connection to Redis is lost");
                    self.take(document.ok_or_else(lost)?);
                    heard = true;
                    backoff.succeeded();
                }
                _ = second.tick() => {
                    // A connection that leads nowhere is silent too.
                    if !heard {
                        server::ping(&mut connection).await?;
                    }
                    heard = false;
                    self.report();
                }
            }
        }
    }

    async fn subscribe(&self, connection: &mut MultiplexedConnection) -> Result<(), Error> {
        if self.channel.contains(['*', '?', '[']) {
            connection.psubscribe(&self.channel).await
        } else {
            connection.subscribe(&self.channel).await
        }
        .map_err(failed)
    }

    /// Each document vouches for its rate as of its own time, and nothing else does.
    fn take(&mut self, document: Result<Bytes, Refused>) {
        let arrival = self.ctx.clock().arrival();
        if let Err(refused) = document.and_then(|document| self.heed(&document, arrival)) {
            let (source, reason) = (self.ctx.name().to_string(), refused.as_str());
            counter!("ratebus_redis_documents_refused_total", "source" => source, "reason" => reason).increment(1);
            if refused != Refused::UnknownPair && self.complaints.allows(arrival.at) {
                tracing::warn!(channel = self.channel, reason, "a document cannot be used; more are only counted");
            }
        }
    }

    fn heed(&mut self, document: &[u8], arrival: Arrival) -> Result<(), Refused> {
        let report = Report::read(document)?;
        if self.book.state(report.pair).is_none() {
            return Err(Refused::UnknownPair);
        }
        match report.meaning(arrival, self.limits)? {
            Meaning::Tick(tick, age) => self.book.relay(&tick, arrival, age),
            Meaning::Dead => self.book.dead(report.pair, arrival.at),
        }
        Ok(())
    }

    /// Keeps the health true.
    fn report(&self) {
        let (health, now) = (self.ctx.health(), self.ctx.clock().now());
        let fresh = |pair: Pair| self.book.rate(pair).is_some_and(|rate| rate.status(now) == Status::Fresh);
        let missing: Vec<String> = self.pairs.iter().filter(|&&pair| !fresh(pair)).map(ToString::to_string).collect();
        let named = missing[..missing.len().min(NAMED)].join(", ");
        let reason = match missing.len().saturating_sub(NAMED) {
            0 => format!("without a fresh rate: {named}"),
            more => format!("without a fresh rate: {named} and {more} more"),
        };
        if missing.is_empty() {
            health.ready();
        } else if missing.len() < self.pairs.len() {
            health.degraded(reason);
        } else {
            health.not_ready(reason);
        }
    }
}

/// What was sent to us and is not read yet. It closes with the connection, and when it is full.
struct Backlog(Mutex<Option<mpsc::Sender<Result<Bytes, Refused>>>>);

impl Backlog {
    fn new() -> (Self, mpsc::Receiver<Result<Bytes, Refused>>) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        (Self(Mutex::new(Some(sender))), receiver)
    }

    /// Called by the connection, so it does not wait.
    fn add(&self, push: PushInfo) {
        let mut sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if push.kind == PushKind::Disconnection {
            *sender = None;
        }
        let (Some(open), Some(message)) = (&*sender, Msg::from_push_info(push)) else { return };
        let document = message.get_payload_bytes();
        let document =
            if document.len() > LONGEST { Err(Refused::TooLarge) } else { Ok(Bytes::copy_from_slice(document)) };
        if open.try_send(document).is_err() {
            counter!("ratebus_redis_overflows_total").increment(1);
            *sender = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use redis::Value;
    use tokio::sync::mpsc::error::TryRecvError;

    use super::*;

    fn message() -> PushInfo {
        let text = |text: &str| Value::BulkString(text.into());
        PushInfo { kind: PushKind::Message, data: vec![text("rates"), text("{}")] }
    }

    #[test]
    fn a_backlog_that_is_full_is_counted_and_gives_the_connection_up() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = recorder.handle();
        let (backlog, mut documents) = Backlog::new();
        metrics::with_local_recorder(&recorder, || (0..BACKLOG + 2).for_each(|_| backlog.add(message())));
        assert!(metrics.render().contains("ratebus_redis_overflows_total 1"));
        assert!((0..BACKLOG).all(|_| documents.try_recv().is_ok()));
        assert_eq!(documents.try_recv().unwrap_err(), TryRecvError::Disconnected);
    }

    #[test]
    fn a_backlog_ends_with_its_connection() {
        let (backlog, mut documents) = Backlog::new();
        backlog.add(message());
        backlog.add(PushInfo { kind: PushKind::Disconnection, data: Vec::new() });
        backlog.add(message());
        assert!(documents.try_recv().is_ok());
        assert_eq!(documents.try_recv().unwrap_err(), TryRecvError::Disconnected);
    }
}
