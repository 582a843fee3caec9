//! Quotes to every connected client, over Socket.IO, WebSocket and SSE.
//!
//! One task puts the newest quote of each pair on a board, encoded once. What has changed since is sent to each client
//! by whoever owns its connection, a loop for many sockets or a task: a client that falls behind gets the newest quote
//! of each pair when it can take it, and costs the others nothing.

mod admin;
mod batches;
mod board;
mod codec;
mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
mod cursor;
mod door;
mod ending;
mod engineio;
mod frame;
mod handshake;
mod heartbeat;
mod hub;
mod knocks;
mod leave;
mod link;
mod loops;
mod metrics;
mod pace;
mod places;
#[cfg(test)]
#[path = "../tests/broadcast/quotes.rs"]
#[allow(dead_code, reason = "the tests on a listener use all of it")]
mod quotes;
mod request;
mod resume;
mod roll;
mod socketio;
mod sse;
mod wanted;
mod wheel;
mod ws;

use std::{future::pending, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::FutureExt;
use ratebus_model::{Message, Pattern, Payload};
use ratebus_sdk::{ConfigError, Context, Env, Error, ErrorKind, Factory, Inbox, Interest, Routes, Sink};
use tokio::{
    task::yield_now,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

pub use crate::config::Config;
use crate::{board::Board, door::Door, hub::Hub, leave::Leave};

/// The version of this plugin.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How many messages are taken before clients are woken for them.
const BATCH: usize = 256;
/// How often quotes are checked for having aged without their publisher saying so.
const REVIEW_INTERVAL: Duration = Duration::from_secs(1);
/// How long the last clients may take to leave when the server stops.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends quotes to everybody who is connected. See `docs/api.md`, "Live rates".
#[derive(Debug)]
pub struct Broadcast {
    config: Config,
}

impl Factory for Broadcast {
    type Config = Config;

    const TYPE: &'static str = "sink/broadcast";

    fn build(config: Config, env: &Env) -> Result<Self, ConfigError> {
        env.keeps_clients();
        config.check(env).map(|config| Self { config })
    }
}

#[async_trait]
impl Sink for Broadcast {
    fn interests(&self) -> Vec<Interest> {
        vec![Interest::latest(Pattern::pairs()), Interest::latest(Pattern::quotes())]
    }

    async fn run(self: Box<Self>, mut inbox: Inbox, ctx: Context) -> Result<(), Error> {
        let stop = CancellationToken::new();
        // However this ends, no client outlives it.
        let _stop = stop.clone().drop_guard();
        let Config { access, stall_timeout, max_rate, drain, .. } = self.config;
        let door = Door::new(ctx.clone(), access, self.config.places(), stop.clone());
        let hub = Arc::new(Hub {
            board: Board::new(),
            door,
            stall_timeout,
            max_rate,
            stop: stop.clone(),
            leave: Leave::default(),
        });
        // Nobody is to be told that a pair does not exist because we have just started.
        for message in [Pattern::pairs(), Pattern::quotes()].iter().flat_map(|pattern| ctx.last_values(pattern)) {
            apply(&hub, &message, &ctx);
        }
        hub.board.announce();
        ctx.mount(&self.config.listener, routes(&hub, &self.config))?;
        ctx.health().ready();

        let ended = tokio::select! {
            biased;
            () = ctx.cancelled() => Ok(()),
            () = publish(&hub, &mut inbox, &ctx) => Ok(()),
            // Nobody else stops what we have not stopped.
            () = stop.cancelled() => Err(Error::new(ErrorKind::Internal, "a loop that serves clients broke")),
        };
        let clients = hub.door.guests();
        let time = hub.leave.begin(clients, drain);
        if clients > 0 {
            tracing::info!(clients, over = ?time, "clients are told to come again");
        }
        stop.cancel();
        let left = timeout(time + LEAVE_TIMEOUT, hub.door.empty());
        // Those whose turn has not come go on as before.
        let all_left = tokio::select! {
            left = left => left.is_ok(),
            never = async { publish(&hub, &mut inbox, &ctx).await; pending().await } => never,
        };
        if !all_left {
            tracing::debug!("some clients did not leave in time");
        }
        ended
    }
}

/// Puts what arrives on the board, until the bus has closed. Cancel-safe.
async fn publish(hub: &Hub, inbox: &mut Inbox, ctx: &Context) {
    let mut review = interval(REVIEW_INTERVAL);
    review.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = review.tick() => hub.board.review(ctx.clock().now()),
            message = inbox.recv() => {
                let Some(message) = message else { return };
                apply(hub, &message, ctx);
                for _ in 1..BATCH {
                    let Some(Some(message)) = inbox.recv().now_or_never() else { break };
                    apply(hub, &message, ctx);
                }
            }
        }
        hub.board.announce();
        // Clients first: what arrives while they are served goes out together the next time.
        yield_now().await;
    }
}

fn apply(hub: &Hub, message: &Message, ctx: &Context) {
    match &message.payload {
        Payload::Quote(quote) => hub.board.publish(quote, ctx.clock().now()),
        Payload::Pairs(pairs) => hub.board.serve(pairs),
        Payload::Gone => {
            if let Some(pair) = message.subject.as_quote() {
                hub.board.remove(pair, ctx.clock().now());
            }
        }
        _ => {}
    }
}

fn routes(hub: &Arc<Hub>, config: &Config) -> Routes {
    let loops = config.loops;
    let routes = Routes::new()
        .documented(admin::route(Arc::clone(hub)))
        .documented(sse::route(Arc::clone(hub)))
        .documented(ws::route(Arc::clone(hub), loops));
    if !config.socketio {
        return routes;
    }
    let live = socketio::route(Arc::clone(hub), config);
    routes.route(socketio::PATH, live.clone()).route(&format!("{}/", socketio::PATH), live)
}
