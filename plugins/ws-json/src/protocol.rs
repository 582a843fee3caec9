use std::time::Duration;

use ratebus_model::Pair;
use ratebus_sdk::{
    ConfigError, duration,
    feed::{
        Decode, SymbolName,
        json::{Pointer, TimeFormat},
    },
    stream::{Exchange, Liveness, Rules, Symbols},
};
use serde::Deserialize;

use crate::{Filter, Message, decoder::Decoder};

/// The table `protocol` of a `source/ws-json`: how the exchange speaks.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WsJson {
    /// How it names pairs, unless `symbols` says otherwise: by default `{BASE}-{QUOTE}`.
    #[serde(default)]
    pub symbol: SymbolName,
    /// The message that asks for prices.
    pub subscribe: Message,
    /// The message that ends that. With it, pairs that are silent for `audit_after` are asked for anew.
    pub unsubscribe: Option<Message>,
    /// How many names `{symbols}` may hold: 100 unless it says otherwise.
    pub symbols_per_message: Option<usize>,
    /// Which frames are prices, and where in them.
    pub price: PriceFrame,
    /// Which frames say that the feed lives and all is as it was. Without it prices alone do, and in a quiet market rates
    /// become stale.
    pub heartbeat: Option<Filter>,
    /// A message to send all the time, whose answer `heartbeat` describes.
    pub keepalive: Option<String>,
    /// How often; by default every half `stall_after`.
    #[serde(default, with = "duration::option")]
    pub keepalive_every: Option<Duration>,
}

/// Where in a frame a price is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceFrame {
    /// Which frames; by default those that have the symbol and a side.
    #[serde(default)]
    pub when: Filter,
    /// The exchange's name of the pair.
    pub symbol: Pointer,
    /// The best bid: a number, a string with one, or an order book's levels with the best one first.
    pub bid: Pointer,
    /// The best ask.
    pub ask: Pointer,
    /// The exchange's own time.
    pub time: Option<Pointer>,
    /// How that is written.
    #[serde(default)]
    pub time_format: TimeFormat,
}

impl Exchange for WsJson {
    const TYPE: &'static str = "source/ws-json";
    const ENDPOINT: Option<&'static str> = None;

    fn check(&self) -> Result<(), ConfigError> {
        let mut error = ConfigError::default();
        if self.subscribe.is_missing() {
            error.add("protocol", "missing: how the exchange speaks");
        }
        if matches!(self.price.when, Filter::Text(_)) {
            error.add(
                "protocol.price.when",
                "expected a table such as { \"/type\" = \"ticker\" }: a price is no whole frame",
            );
        }
        if self.symbols_per_message == Some(0) {
            error.add("protocol.symbols_per_message", "must be at least 1");
        }
        if self.keepalive_every.is_some() && self.keepalive.is_none() {
            error.add("protocol.keepalive_every", "there is no keepalive");
        }
        if self.keepalive.is_some() && self.heartbeat.is_none() {
            error.add("protocol.keepalive", "its answer must be described by heartbeat");
        }
        error.or(())
    }

    fn rules(&self) -> Rules {
        let usual = Rules::default();
        let of_one = self.subscribe.is_of_one() || self.unsubscribe.as_ref().is_some_and(Message::is_of_one);
        let at_most = self.symbols_per_message.unwrap_or(usual.symbols_per_message);
        Rules {
            liveness: if self.keepalive.is_some() { Liveness::Answers } else { Liveness::Heartbeats },
            keepalive_every: self.keepalive_every,
            symbols_per_message: if of_one { 1 } else { at_most },
            audit_every: usual.audit_every.filter(|_| self.unsubscribe.is_some()),
            first_tick_is_snapshot: true,
            acknowledged_by_data: true,
            ..usual
        }
    }

    fn symbol(&self, pair: Pair) -> String {
        self.symbol.of(pair)
    }

    fn decoder(&self, symbols: Symbols) -> Box<dyn Decode> {
        Box::new(Decoder { symbols, price: self.price.clone(), heartbeat: self.heartbeat.clone() })
    }

    fn subscribe(&self, request: u64, symbols: &[&str]) -> String {
        self.subscribe.fill_in(request, symbols)
    }

    fn unsubscribe(&self, request: u64, symbols: &[&str]) -> Option<String> {
        Some(self.unsubscribe.as_ref()?.fill_in(request, symbols))
    }

    fn keepalive(&self, request: u64) -> Option<String> {
        Some(self.keepalive.as_ref()?.replace("{request}", &request.to_string()))
    }
}
