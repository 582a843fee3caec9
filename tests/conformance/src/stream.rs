use std::time::Duration;

use ratebus_test_exchange::Protocol;
use serde_json::{Value, json};

use crate::Plugin;

/// An exchange as the suite sees it.
pub struct Venue {
    /// How it speaks.
    pub protocol: &'static dyn Protocol,
    /// Three pairs and its names for them. The last one is not listed.
    pub pairs: [(&'static str, &'static str); 3],
    /// What the health says of the one that is not listed; empty where nothing can be known of it.
    pub unlisted: &'static str,
    /// What the source's config needs beside pairs and endpoint, as JSON.
    pub config: &'static str,
}

impl Venue {
    /// A source of it, as a plugin like any other.
    pub fn plugin(&self) -> Plugin {
        let (path, pair, config) = (self.protocol.path(), self.pairs[0].0, self.config(&json!({})));
        Plugin::new(move |peer| {
            let mut config = config.clone();
            config["endpoint"] = format!("ws://{peer}{path}").into();
            config["pairs"] = json!([pair]);
            config
        })
    }

    /// `more` beside what the config needs anyway. Unless it says so a connection is not given up for being silent, which
    /// a slow machine may be too.
    fn config(&self, more: &Value) -> Value {
        let mut config: Value = serde_json::from_str(self.config).unwrap();
        config["stall_after"] = "5s".into();
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    }
}

/// Short enough for tests, long against the heartbeats of the scripted exchange.
const BEAT: Duration = Duration::from_millis(50);

/// The tests, each of any source.
pub mod cases {
    use std::time::{Duration, Instant};

    use ratebus_model::Status;
    use ratebus_sdk::{Factory, HealthState, Source, testkit::eventually};
    use ratebus_test_exchange::{Answer, DEADLINE, Exchange};
    use serde_json::{Value, json};

    use super::{BEAT, Venue};
    use crate::Running;

    /// The exchange, which lists two pairs.
    async fn exchange(venue: &Venue) -> Exchange {
        let exchange = Exchange::start_as(venue.protocol).await;
        exchange.heartbeats(Some(BEAT));
        let [(_, btc), (_, eth), _] = venue.pairs;
        exchange.list(btc, "81413.20", "81413.30");
        exchange.list(eth, "3001.00", "3001.10");
        exchange
    }

    /// Waits until the newest connection asked for both, and lets both have a price where a subscription brings none.
    async fn until_served(venue: &Venue, exchange: &Exchange, (bid, ask): (&str, &str)) {
        let [(_, btc), (_, eth), _] = venue.pairs;
        exchange.wait_subscribed(&[btc, eth], DEADLINE).await;
        if !venue.protocol.has_snapshots() {
            exchange.tick(btc, bid, ask);
            exchange.tick(eth, "3001.00", "3001.10");
        }
    }

    const FIRST: (&str, &str) = ("81413.20", "81413.30");

    /// The exchange and a source that has both its pairs.
    async fn begin<S: Factory + Source + 'static>(venue: &Venue, more: &Value) -> (Exchange, Running) {
        let exchange = exchange(venue).await;
        let source = start::<S>(venue, &exchange, more);
        until_served(venue, &exchange, FIRST).await;
        source.until_ready().await;
        (exchange, source)
    }

    fn start<S: Factory + Source + 'static>(venue: &Venue, exchange: &Exchange, more: &Value) -> Running {
        let [(btc, _), (eth, _), _] = venue.pairs;
        Running::start::<S>(&exchange.url(), &[btc, eth], &venue.config(more))
    }

    /// Prices are what the exchange wrote, to the last digit.
    pub async fn the_first_rates_come_digit_for_digit<S: Factory + Source + 'static>(venue: &Venue) {
        let (exchange, source) = begin::<S>(venue, &json!({"max_jump_percent": 0})).await;
        let [(btc, symbol), (eth, _), _] = venue.pairs;
        assert_eq!(source.until_bid(btc, "81413.20").await.value.ask().to_string(), "81413.30");
        source.until_bid(eth, "3001.00").await;
        for (bid, ask) in [
            ("81414.10000000", "81414.20"),
            ("0.00000001230", "12345678901234567890.12345678"),
            ("9007199254740993.000000001", "9007199254740993.000000002"),
        ] {
            exchange.tick(symbol, bid, ask);
            assert_eq!(source.until_bid(btc, bid).await.value.ask().to_string(), ask);
        }
        assert!(source.counted(&["ratebus_feed_connects_total", "outcome=\"ok\""], 1));
        assert!(source.counted(&["ratebus_feed_connected"], 1));
        source.stop().await;
    }

    /// However a connection ends, there is another with everything on it.
    pub async fn every_kind_of_end_leads_to_a_new_connection_with_all_pairs<S: Factory + Source + 'static>(
        venue: &Venue,
    ) {
        type End = (fn(&Exchange), &'static str);
        let ends: [End; 4] = [
            (|exchange| exchange.close(1000), "closed"),
            (|exchange| exchange.close(1012), "closed"),
            (Exchange::reset, "lost"),
            (|exchange| exchange.send_raw_text(&[0xff, 0xfe]), "protocol"),
        ];
        let [(btc, symbol), ..] = venue.pairs;
        for (end, reason) in ends {
            let (exchange, source) = begin::<S>(venue, &json!({})).await;
            exchange.list(symbol, "81420.00", "81420.10");
            end(&exchange);
            exchange.wait_attempts(2, DEADLINE).await;
            until_served(venue, &exchange, ("81420.00", "81420.10")).await;
            source.until_bid(btc, "81420.00").await;
            source.until_ready().await;
            assert!(source.counted(&["ratebus_feed_reconnects_total", &format!("reason=\"{reason}\"")], 1), "{reason}");
            assert_eq!(exchange.attempts(), 2);
            source.stop().await;
        }
    }

    /// It keeps trying, says so, and is well by itself when the exchange is.
    pub async fn an_exchange_that_is_down_is_found_again<S: Factory + Source + 'static>(venue: &Venue) {
        let mut exchange = exchange(venue).await;
        exchange.go_down().await;
        let source = start::<S>(venue, &exchange, &json!({}));
        source.until_health("it keeps trying").await;
        assert!(matches!(source.ctx.health().state(), HealthState::NotReady(_)));
        exchange.come_back().await;
        until_served(venue, &exchange, FIRST).await;
        source.until_ready().await;
        source.stop().await;
    }

    /// Silence is no price: rates age, and the connection is given up.
    pub async fn a_connection_that_hangs_is_replaced_and_its_rates_age_meanwhile<S: Factory + Source + 'static>(
        venue: &Venue,
    ) {
        let (exchange, source) = begin::<S>(venue, &json!({"stale_after": "400ms", "stall_after": "400ms"})).await;
        let [(btc, symbol), ..] = venue.pairs;
        // No other connection yet, or its first price would come before anybody looks.
        exchange.refuse_handshakes(Some((503, None)));
        exchange.hang();
        source.until_counted(&["ratebus_feed_reconnects_total", "stalled"], 1).await;
        source.until_status(btc, Status::Stale).await;
        exchange.refuse_handshakes(None);
        // The one that hangs counts as subscribed until it is gone, so that is no sign of another.
        eventually("a price of the new connection", DEADLINE, || {
            exchange.tick(symbol, "81421.00", "81421.10");
            source.rate(btc).value.bid().to_string() == "81421.00"
        })
        .await;
        source.until_status(btc, Status::Fresh).await;
        source.stop().await;
    }

    /// Where nothing changes, signs of life keep the rates fresh.
    pub async fn a_quiet_market_stays_fresh_on_one_connection<S: Factory + Source + 'static>(venue: &Venue) {
        let (exchange, source) = begin::<S>(venue, &json!({})).await;
        let [(btc, _), (eth, _), _] = venue.pairs;
        let before = (source.rate(btc), source.rate(eth));
        let younger = |pair: &str, than: Instant| source.rate(pair).confirmed_at > than + Duration::from_secs(1);
        eventually("both rates are vouched for", DEADLINE, || {
            younger(btc, before.0.confirmed_at) && younger(eth, before.1.confirmed_at)
        })
        .await;
        assert_eq!(source.rate(btc).version, before.0.version);
        assert_eq!(exchange.attempts(), 1);
        source.stop().await;
    }

    /// What cannot be read is counted, and costs nothing else.
    pub async fn garbage_is_dropped_and_counted_and_the_feed_goes_on<S: Factory + Source + 'static>(venue: &Venue) {
        let (exchange, source) = begin::<S>(venue, &json!({})).await;
        let [(btc, symbol), ..] = venue.pairs;
        let garbage = [
            "nonsense".to_owned(),
            String::new(),
            r#"{"data":{"bid":"1""#.to_owned(),
            "<html>502 Bad Gateway</html>".to_owned(),
            "[".repeat(10_000),
            format!("{}{}", r#"{"data":"#.repeat(10_000), "}".repeat(10_000)),
        ];
        for frame in &garbage {
            exchange.send_text(frame);
        }
        exchange.send_binary(b"\x1f\x8b\x08compressed");
        exchange.tick(symbol, "81414.00", "81414.10");
        source.until_bid(btc, "81414.00").await;
        assert!(source.counted(&["ratebus_feed_frames_total", "malformed"], garbage.len() as u64));
        assert!(source.counted(&["ratebus_feed_frames_total", "binary"], 1));
        assert_eq!(exchange.attempts(), 1);
        source.stop().await;
    }

    /// Empty sides, crossed books and what is no number never become a rate.
    pub async fn what_is_no_price_is_refused_and_the_last_good_one_stays<S: Factory + Source + 'static>(venue: &Venue) {
        let (exchange, source) = begin::<S>(venue, &json!({"max_jump_percent": 0})).await;
        let [(btc, symbol), (eth, other), _] = venue.pairs;
        for (bid, ask) in [
            ("0", "81413.3"),
            ("81413.2", "0.00000"),
            ("null", "81413.3"),
            ("-1", "81413.3"),
            ("81413.4", "81413.3"),
            ("1e308", "1e308"),
            ("1e-400", "1"),
            ("1", "123456789012345678901234567890123456789012345678901234567890"),
            ("0.00000000000000000000000000001", "1"),
        ] {
            exchange.tick(symbol, bid, ask);
        }
        exchange.tick(other, "3002.00", "3002.10");
        source.until_bid(eth, "3002.00").await;
        assert_eq!(source.rate(btc).value.bid().to_string(), "81413.20");
        for (reason, count) in [("empty_side", 2), ("crossed", 1), ("not_a_price", 6)] {
            assert!(source.counted(&["ratebus_ticks_refused_total", reason], count), "{reason}");
        }
        assert_eq!(exchange.attempts(), 1);
        source.stop().await;
    }

    /// A price of another pair is nobody's.
    pub async fn symbols_we_did_not_ask_for_are_dropped<S: Factory + Source + 'static>(venue: &Venue) {
        let (exchange, source) = begin::<S>(venue, &json!({})).await;
        let [(btc, _), (eth, symbol), (_, foreign)] = venue.pairs;
        exchange.shout(foreign, "1", "2");
        exchange.tick(symbol, "3003.00", "3003.10");
        source.until_bid(eth, "3003.00").await;
        assert!(source.counted(&["ratebus_feed_frames_total", "unknown_symbol"], 1));
        assert_eq!(source.rate(btc).value.bid().to_string(), "81413.20");
        source.stop().await;
    }

    /// What is not answered is asked for again.
    pub async fn an_unanswered_request_is_repeated<S: Factory + Source + 'static>(venue: &Venue) {
        let exchange = exchange(venue).await;
        let [_, (_, symbol), _] = venue.pairs;
        exchange.answer(symbol, Answer::Ignore);
        let source = start::<S>(venue, &exchange, &json!({"stall_after": "400ms"}));
        let asks = |text: &str| text.to_lowercase().contains(&symbol.to_lowercase());
        exchange.wait_received(2, asks, DEADLINE).await;
        exchange.answer(symbol, Answer::Acknowledge);
        until_served(venue, &exchange, FIRST).await;
        source.until_ready().await;
        source.stop().await;
    }

    /// One pair's trouble is its own, and has a name.
    pub async fn an_unknown_pair_is_named_and_costs_the_others_nothing<S: Factory + Source + 'static>(venue: &Venue) {
        if venue.unlisted.is_empty() {
            return;
        }
        let exchange = exchange(venue).await;
        let [(btc, symbol), _, (unlisted, _)] = venue.pairs;
        let source =
            Running::start::<S>(&exchange.url(), &[btc, unlisted], &venue.config(&json!({"stall_after": "400ms"})));
        exchange.wait_subscribed(&[symbol], DEADLINE).await;
        exchange.tick(symbol, "81422.00", "81422.10");
        source.until_bid(btc, "81422.00").await;
        source.until_health(&format!("{unlisted} ({}", venue.unlisted)).await;
        assert!(source.ctx.health().state().is_ready());
        source.stop().await;
    }

    /// Nothing waits for whoever reads the rates, and nothing is lost that is still true.
    pub async fn a_burst_ends_at_the_newest_price<S: Factory + Source + 'static>(venue: &Venue) {
        let (exchange, source) = begin::<S>(venue, &json!({})).await;
        let [(btc, symbol), ..] = venue.pairs;
        for tick in 0..5000 {
            exchange.tick(symbol, &format!("81414.{tick:04}"), "81415");
        }
        source.until_bid(btc, "81414.4999").await;
        assert!(source.counted(&["ratebus_ticks_total"], 5000));
        assert_eq!(exchange.attempts(), 1);
        source.stop().await;
    }

    /// Readers without room cost the feed nothing: all others have the newest price.
    pub async fn prices_go_on_while_the_bus_is_full<S: Factory + Source + 'static>(venue: &Venue) {
        let (exchange, source) = begin::<S>(venue, &json!({})).await;
        let [(btc, symbol), ..] = venue.pairs;
        source.host.set_full(true);
        for tick in 0..1000 {
            exchange.tick(symbol, &format!("81414.{tick:03}"), "81415");
        }
        source.until_bid(btc, "81414.999").await;
        source.host.set_full(false);
        exchange.tick(symbol, "81416.00", "81417");
        source.until_bid(btc, "81416.00").await;
        assert_eq!(exchange.attempts(), 1);
        source.stop().await;
    }

    /// At work, while it waits for its next attempt, and on a connection that hangs.
    pub async fn it_stops_at_once_whatever_it_is_doing<S: Factory + Source + 'static>(venue: &Venue) {
        for trouble in ["none", "down", "hangs"] {
            let (mut exchange, source) = begin::<S>(venue, &json!({})).await;
            match trouble {
                "down" => {
                    exchange.go_down().await;
                    source.until_counted(&["ratebus_feed_connects_total", "connect"], 2).await;
                }
                "hangs" => exchange.hang(),
                _ => {}
            }
            source.stop().await;
        }
    }
}
