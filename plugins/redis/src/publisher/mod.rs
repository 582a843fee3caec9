//! The sink: rates or quotes, out to a channel, a hash and keys of Redis.

mod board;
mod config;
mod places;

use std::{convert::Infallible, time::Duration};

use async_trait::async_trait;
use futures_util::FutureExt;
use metrics::counter;
use ratebus_model::{Arrival, Message, Payload};
use ratebus_sdk::{Backoff, ConfigError, Context, Env, Error, ErrorKind, Factory, Inbox, Interest, Sink};
use redis::{Pipeline, RedisResult, aio::MultiplexedConnection};
use tokio::{
    select,
    time::{sleep, sleep_until},
};

pub use self::config::RedisPublisherConfig;
use self::{
    board::{Board, Due},
    config::Published,
    places::Places,
};
use crate::{
    document::Value,
    server::{self, LONGEST_WAIT, Server, failed},
};

/// The Redis publisher: `use = "sink/redis"`.
pub struct RedisPublisher {
    server: Server,
    places: Places,
    from: Published,
}

impl Factory for RedisPublisher {
    type Config = RedisPublisherConfig;

    const TYPE: &'static str = "sink/redis";

    fn build(config: RedisPublisherConfig, _: &Env) -> Result<Self, ConfigError> {
        let mut error = ConfigError::default();
        let [password, authorities] = [&config.password_file, &config.ca_file].map(Option::as_deref);
        let server = error.take(Server::new(&config.url, password, authorities, config.allow_insecure));
        let places = error.take(config.places());
        let (Some(server), Some(places)) = (server, places) else { return Err(error) };
        error.or(Self { server, places, from: config.from })
    }
}

#[async_trait]
impl Sink for RedisPublisher {
    fn interests(&self) -> Vec<Interest> {
        vec![Interest::latest(self.from.pattern())]
    }

    /// Never fails: while Redis is away the inbox keeps the newest value of each pair.
    async fn run(self: Box<Self>, inbox: Inbox, ctx: Context) -> Result<(), Error> {
        let stop = ctx.cancel_token().clone();
        self.server.warn();
        let work = Work { server: self.server, places: self.places, inbox, board: Board::default(), ctx };
        // Boxed, because connecting makes it a large one.
        stop.run_until_cancelled(Box::pin(work.stay_connected())).await;
        Ok(())
    }
}

/// How many documents go out before their answers are waited for.
const BATCH: usize = 256;
/// How long nothing is said before Redis is asked whether it is there.
const QUIET: Duration = Duration::from_secs(2);

/// Why publishing over a connection ended.
enum Ended {
    /// Nothing more will come: ratebus stops.
    Closed,
    Lost(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Lost(error)
    }
}

struct Work {
    server: Server,
    places: Places,
    inbox: Inbox,
    board: Board,
    ctx: Context,
}

impl Work {
    /// Until the inbox closes.
    async fn stay_connected(mut self) {
        let mut backoff = Backoff::up_to(LONGEST_WAIT);
        loop {
            let Err(ended) = self.publish(&mut backoff).await;
            let Ended::Lost(error) = ended else { return };
            self.count_failure(error.kind().as_str());
            self.ctx.health().degraded(format!("nothing is published: {error}; it keeps trying"));
            sleep(backoff.next_delay()).await;
        }
    }

    /// Over one connection, until it ends.
    async fn publish(&mut self, backoff: &mut Backoff) -> Result<Infallible, Ended> {
        let mut connection = self.server.connect(|_| ()).await?;
        self.board.forget_sent();
        self.ctx.health().ready();
        loop {
            self.listen().await?;
            let now = self.ctx.clock().arrival();
            let due = self.board.take_due(now.at, BATCH);
            if due.is_empty() {
                server::ping(&mut connection).await?;
            } else {
                match self.send(&due, now, &mut connection).await? {
                    None => self.ctx.health().ready(),
                    Some(why) => self.ctx.health().degraded(format!("Redis refuses what is published: {why}")),
                }
            }
            backoff.succeeded();
        }
    }

    /// Takes what there is to hear, until something is due or it was quiet for long.
    async fn listen(&mut self) -> Result<(), Ended> {
        let quiet_until = self.ctx.clock().now() + QUIET;
        self.hear_what_is_there()?;
        loop {
            let wake = self.board.due_at().map_or(quiet_until, |due| due.min(quiet_until));
            if wake <= self.ctx.clock().now() {
                return Ok(());
            }
            select! {
                () = sleep_until(wake.into()) => return Ok(()),
                message = self.inbox.recv() => self.hear(message.as_deref())?,
            }
        }
    }

    /// Values that came together go out together.
    fn hear_what_is_there(&mut self) -> Result<(), Ended> {
        for _ in 0..BATCH {
            let Some(message) = self.inbox.recv().now_or_never() else { break };
            self.hear(message.as_deref())?;
        }
        Ok(())
    }

    fn hear(&mut self, message: Option<&Message>) -> Result<(), Ended> {
        let message = message.ok_or(Ended::Closed)?;
        if let Some(value) = Value::of(&message.payload) {
            self.board.hear(&message.subject, value);
        } else if let Payload::Gone = message.payload {
            self.board.end(&message.subject);
        }
        Ok(())
    }

    /// Answers why Redis refused some of it, if it did.
    async fn send(
        &mut self,
        due: &[Due],
        now: Arrival,
        connection: &mut MultiplexedConnection,
    ) -> Result<Option<String>, Error> {
        let mut pipeline = Pipeline::new();
        // A full Redis does not keep, and still tells everybody.
        pipeline.ignore_errors();
        for due in due {
            let put = self.places.put(due, now, &mut pipeline);
            put.map_err(|error| Error::new(ErrorKind::Internal, "JSON").because(error))?;
        }
        let answers: Vec<RedisResult<redis::Value>> = pipeline.query_async(connection).await.map_err(failed)?;
        self.board.forget_ended();
        let mut refused = None;
        for answers in answers.chunks(self.places.commands()) {
            for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
                self.count_failure("refused");
                refused.get_or_insert_with(|| error.to_string());
            }
            if answers.last().is_some_and(Result::is_ok) {
                counter!("ratebus_redis_published_total", "plugin" => self.ctx.name().to_string()).increment(1);
            }
        }
        Ok(refused)
    }

    fn count_failure(&self, kind: &'static str) {
        let plugin = self.ctx.name().to_string();
        counter!("ratebus_redis_failures_total", "plugin" => plugin, "kind" => kind).increment(1);
    }
}
