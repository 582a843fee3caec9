use std::time::{Duration, Instant};

use async_trait::async_trait;
use ratebus_model::{FoldLimits, Pair, PairState, Tick, Timestamp};
use ratebus_sdk::{
    ConfigError, Context, Env, Error, Factory, HealthState, Source,
    feed::{self, Decode, FeedEvent, RateBook},
};
use tokio::{task::yield_now, time::sleep_until};

use crate::{ReplayConfig, recording::Recording};

/// A recording: `use = "source/replay"`.
pub struct Replay {
    recording: Recording,
    decoder: Box<dyn Decode>,
    pairs: Vec<Pair>,
    limits: FoldLimits,
    speed: Speed,
    repeat: bool,
}

impl Factory for Replay {
    type Config = ReplayConfig;

    const TYPE: &'static str = "source/replay";

    fn build(config: ReplayConfig, env: &Env) -> Result<Self, ConfigError> {
        let mut error = ConfigError::default();
        let pairs = error.take(feed::pairs(&config.pairs)).unwrap_or_default();
        let limits = error.take(config.limits());
        let recording = error.take(Recording::open(&config.file).map_err(|why| ConfigError::new("file", why)));
        let decoder = env.decoders.iter().find(|decoder| decoder.exchange == config.exchange);
        if decoder.is_none() {
            let known: Vec<_> = env.decoders.iter().map(|decoder| decoder.exchange).collect();
            error.add("exchange", format!("{:?} is not known; there are: {}", config.exchange, known.join(", ")));
        }
        let speed = Speed { percent: config.speed_percent };
        let repeat = config.repeat.unwrap_or(config.file.starts_with("builtin:"));
        if let Some(recording) = &recording {
            if recording.exchange != config.exchange {
                error.add("exchange", format!("the recording is of {:?}", recording.exchange));
            }
            if repeat && recording.length().is_zero() {
                error.add("loop", "a recording whose frames all came at once cannot be repeated");
            }
        }
        let (Some(limits), Some(recording), Some(decoder)) = (limits, recording, decoder) else { return Err(error) };
        let decoder = (decoder.make)(&pairs);
        error.or(Self { recording, decoder, pairs, limits: FoldLimits::new(limits), speed, repeat })
    }
}

#[async_trait]
impl Source for Replay {
    /// Ends at the recording's end, unless that is repeated; the last rates then age as those of any silent feed.
    async fn run(self: Box<Self>, ctx: Context) -> Result<(), Error> {
        let stop = ctx.cancel_token().clone();
        stop.run_until_cancelled(self.play(ctx)).await;
        Ok(())
    }
}

impl Replay {
    async fn play(mut self, ctx: Context) {
        let mut book = RateBook::new(ctx.clone(), &self.pairs, self.limits);
        ctx.health().ready();
        loop {
            self.play_once(&ctx, &mut book).await;
            if !self.repeat {
                break;
            }
        }
        tracing::info!("the recording has ended");
        ctx.health().set(HealthState::Finished);
    }

    async fn play_once(&mut self, ctx: &Context, book: &mut RateBook) {
        let clock = ctx.clock();
        let (start, start_wall) = (clock.now(), clock.wall());
        let source = ctx.name().to_string();
        let count = |kind| metrics::counter!("ratebus_feed_frames_total", "source" => source.clone(), "kind" => kind);
        let (frames, malformed) = (count("replayed"), count("malformed"));
        self.decoder.connected();
        for recorded in &self.recording.frames {
            match self.speed.moment(start, recorded.at) {
                Some(moment) => sleep_until(moment.into()).await,
                None => yield_now().await,
            }
            frames.increment(1);
            let arrival = clock.arrival();
            let mut events = Vec::new();
            if let Err(error) = self.decoder.decode(&recorded.text, &mut events) {
                malformed.increment(1);
                tracing::debug!(%error, at = ?recorded.at, "a recorded frame that cannot be read");
            }
            for event in events {
                match event {
                    FeedEvent::Tick(tick) => {
                        // A recording may begin after the acknowledgement; a price shows that there was one.
                        book.set_state(tick.pair, PairState::Subscribed);
                        let event_time =
                            tick.event_time.and_then(|at| self.speed.shift(at, self.recording.started, start_wall));
                        book.tick(&Tick { event_time, ..tick }, arrival);
                    }
                    FeedEvent::Heartbeat => book.heartbeat(arrival),
                    FeedEvent::Alive(pair) => book.alive(pair, arrival),
                    FeedEvent::Market(market) => book.market(market),
                    _ => {}
                }
            }
        }
    }
}

/// How fast time passes, in percent of the recording's; at 0 it does not matter.
#[derive(Debug, Clone, Copy)]
struct Speed {
    percent: u32,
}

impl Speed {
    /// When something is due that was recorded `at` after the beginning.
    fn moment(self, start: Instant, at: Duration) -> Option<Instant> {
        let after = at.saturating_mul(100).checked_div(self.percent)?;
        start.checked_add(after)
    }

    /// An exchange's time moved into the present: as far from `start` as it was from the recording's own, at this speed.
    fn shift(self, at: Timestamp, started: Timestamp, start: Timestamp) -> Option<Timestamp> {
        let after = (i128::from(at.micros()) - i128::from(started.micros())) * 100;
        let shifted = i128::from(start.micros()) + after.checked_div(i128::from(self.percent))?;
        i64::try_from(shifted).ok().map(Timestamp::from_micros)
    }
}
