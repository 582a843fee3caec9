use ratebus_sdk::{Factory, Source};
use ratebus_test_exchange::{Asked, HttpExchange, Reply};
use serde_json::{Value, json};

use crate::{Plugin, Running};

/// A symbol with its bid and its ask, in the texts that go onto the wire.
pub type Listed = (&'static str, &'static str, &'static str);

/// An exchange that is asked over HTTP, as its suite sees it.
pub struct HttpVenue {
    /// Answers a request as the exchange does that trades just these.
    pub answer: fn(&Asked, &[Listed]) -> Reply,
    /// Two pairs and its names for them. The last one is not listed.
    pub pairs: [(&'static str, &'static str); 2],
    /// What the health says of the one that is not listed.
    pub unlisted: &'static str,
    /// Whether its prices have two sides; else the bid is the price.
    pub two_sided: bool,
    /// What the source's config needs beside pairs and endpoint, as JSON.
    pub config: &'static str,
}

impl HttpVenue {
    /// A source of it, as a plugin like any other.
    pub fn plugin(&self) -> Plugin {
        let (pair, config) = (self.pairs[0].0, self.config(&json!({})));
        Plugin::new(move |peer| {
            let mut config = config.clone();
            config["endpoint"] = format!("http://{peer}").into();
            config["pairs"] = json!([pair]);
            config
        })
    }

    /// `more` beside what the config needs anyway.
    fn config(&self, more: &Value) -> Value {
        let mut config = json!({"interval": "50ms", "max_jump_percent": 0, "stale_after": "1s", "dead_after": "1m"});
        for more in [&serde_json::from_str(self.config).unwrap(), more] {
            config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        }
        config
    }

    /// The exchange, which trades the first pair at this price, and a source that serves as many of the pairs.
    async fn start<S: Factory + Source + 'static>(
        &self,
        price: (&'static str, &'static str),
        pairs: usize,
        more: &Value,
    ) -> (HttpExchange, Running) {
        let exchange = HttpExchange::start(self.script(price)).await;
        let mut config = self.config(more);
        config["endpoint"] = exchange.url().into();
        config["pairs"] = self.pairs.iter().take(pairs).map(|(pair, _)| *pair).collect();
        (exchange, Running::with::<S>(config))
    }

    /// What it answers while the first pair has this price.
    fn script(&self, (bid, ask): (&'static str, &'static str)) -> impl FnMut(&Asked) -> Reply + Send + use<> {
        let (answer, symbol) = (self.answer, self.pairs[0].1);
        move |asked| answer(asked, &[(symbol, bid, ask)])
    }
}

/// The tests, each of any source.
pub mod cases {
    use std::time::Duration;

    use ratebus_model::Status;
    use ratebus_sdk::{Factory, Source};
    use ratebus_test_exchange::Reply;
    use serde_json::json;

    use super::HttpVenue;

    const FIRST: (&str, &str) = ("81413.20", "81413.30");
    const NEXT: (&str, &str) = ("81414.00", "81414.10");

    /// Prices are what the exchange wrote, to the last digit.
    pub async fn prices_come_digit_for_digit<S: Factory + Source + 'static>(venue: &HttpVenue) {
        let (exchange, source) = venue.start::<S>(FIRST, 1, &json!({})).await;
        let pair = venue.pairs[0].0;
        for (bid, ask) in [
            FIRST,
            ("81414.10000000", "81414.20"),
            ("0.00000001230", "12345678901234567890.12345678"),
            ("9007199254740993.000000001", "9007199254740993.000000002"),
        ] {
            exchange.script(venue.script((bid, ask)));
            let other = if venue.two_sided { ask } else { bid };
            assert_eq!(source.until_bid(pair, bid).await.value.ask().to_string(), other);
        }
        source.stop().await;
    }

    /// One pair's trouble is its own, and has a name.
    pub async fn an_unknown_pair_is_named_and_costs_the_others_nothing<S: Factory + Source + 'static>(
        venue: &HttpVenue,
    ) {
        let (_exchange, source) = venue.start::<S>(FIRST, 2, &json!({})).await;
        let [(pair, _), (unlisted, _)] = venue.pairs;
        source.until_bid(pair, FIRST.0).await;
        source.until_health(&format!("{unlisted} ({}", venue.unlisted)).await;
        assert!(source.ctx.health().state().is_ready());
        source.stop().await;
    }

    /// Whatever it answers instead of prices is named; the last good price stays, grows old, and is replaced.
    pub async fn a_useless_answer_is_named_and_the_next_good_one_is_taken<S: Factory + Source + 'static>(
        venue: &HttpVenue,
    ) {
        let (exchange, source) = venue.start::<S>(FIRST, 1, &json!({})).await;
        let pair = venue.pairs[0].0;
        source.until_ready().await;
        for (reply, words) in [
            (Reply::status(500, ""), "HTTP 500"),
            (Reply::status(200, "<html>Just a moment</html>"), "is a page"),
            (Reply::status(200, "[".repeat(10_000)), ""),
            (Reply::BreakOff("{"), ""),
            (Reply::Endless, "is larger than"),
        ] {
            exchange.script(move |_| reply.clone());
            source.until_health("it keeps trying").await;
            source.until_health(words).await;
            assert_eq!(source.rate(pair).value.bid().to_string(), FIRST.0);
            exchange.script(venue.script(FIRST));
            source.until_ready().await;
        }
        exchange.script(|_| Reply::Hang);
        source.until_status(pair, Status::Stale).await;
        source.stop().await;
    }

    /// An answer has its time, and no more: whether it does not begin or does not end.
    pub async fn an_answer_that_takes_too_long_is_given_up<S: Factory + Source + 'static>(venue: &HttpVenue) {
        let (exchange, source) = venue.start::<S>(FIRST, 1, &json!({"timeout": "1s"})).await;
        for reply in [Reply::Hang, Reply::Trickle] {
            source.until_ready().await;
            exchange.script(move |_| reply.clone());
            source.until_health("no complete answer within").await;
            exchange.script(venue.script(NEXT));
        }
        source.until_bid(venue.pairs[0].0, NEXT.0).await;
        source.until_ready().await;
        source.stop().await;
    }

    /// It keeps trying, says so, and is well by itself when the exchange is: when it is down at first, and when it restarts.
    pub async fn an_exchange_that_is_down_is_found_again<S: Factory + Source + 'static>(venue: &HttpVenue) {
        let (mut exchange, source) = venue.start::<S>(FIRST, 1, &json!({})).await;
        let pair = venue.pairs[0].0;
        for price in [FIRST, NEXT] {
            exchange.go_down().await;
            source.until_health("it keeps trying").await;
            exchange.script(venue.script(price));
            exchange.come_back().await;
            source.until_bid(pair, price.0).await;
            source.until_ready().await;
        }
        source.stop().await;
    }

    /// The pause that is asked for is kept.
    pub async fn the_pause_that_is_asked_for_is_kept<S: Factory + Source + 'static>(venue: &HttpVenue) {
        let (exchange, source) = venue.start::<S>(FIRST, 1, &json!({})).await;
        for (status, price) in [(429, NEXT), (503, FIRST)] {
            source.until_ready().await;
            let before = exchange.asked().len();
            exchange.script(move |_| Reply::Raw(status, vec![("retry-after", "1".to_owned())], Vec::new()));
            source.until_health(&format!("HTTP {status}")).await;
            exchange.script(venue.script(price));
            source.until_ready().await;
            let asked = &exchange.asked()[before..];
            let pauses = asked.windows(2).map(|two| two[1].at.saturating_duration_since(two[0].at));
            let longest = pauses.max().unwrap_or_default();
            assert!(longest >= Duration::from_secs(1), "HTTP {status}: {longest:?}");
        }
        source.stop().await;
    }

    /// Empty sides, crossed books and what is no number never become a rate.
    pub async fn what_is_no_price_is_refused_and_the_last_good_one_stays<S: Factory + Source + 'static>(
        venue: &HttpVenue,
    ) {
        let (exchange, source) = venue.start::<S>(FIRST, 1, &json!({})).await;
        let pair = venue.pairs[0].0;
        source.until_ready().await;
        let (answer, symbol) = (venue.answer, venue.pairs[0].1);
        let bad = [("0", "1"), ("-1", "1"), ("null", "1"), ("1e308", "1e308"), ("1e-400", "1")];
        let sides: &[(&str, &str)] = if venue.two_sided { &[("1", "0.00"), ("2", "1")] } else { &[] };
        // Each twice: of two questions one may be for something else than prices.
        let mut prices = bad.into_iter().chain(sides.iter().copied()).flat_map(|price| [price; 2]);
        exchange.script(move |asked| {
            let (bid, ask) = prices.next().unwrap_or(NEXT);
            answer(asked, &[(symbol, bid, ask)])
        });
        source.until_bid(pair, NEXT.0).await;
        let is_good = |bid: String| [FIRST.0, NEXT.0].contains(&&*bid);
        assert!(source.host.rates().iter().all(|rate| is_good(rate.value.bid().to_string())));
        source.stop().await;
    }

    /// Readers without room cost it nothing: all others have the newest price.
    pub async fn prices_go_on_while_the_bus_is_full<S: Factory + Source + 'static>(venue: &HttpVenue) {
        let (exchange, source) = venue.start::<S>(FIRST, 1, &json!({})).await;
        source.host.set_full(true);
        source.until_ready().await;
        exchange.script(venue.script(NEXT));
        source.until_bid(venue.pairs[0].0, NEXT.0).await;
        source.stop().await;
    }

    /// At work, while an answer does not come, and while nobody is there.
    pub async fn it_stops_at_once_whatever_it_is_doing<S: Factory + Source + 'static>(venue: &HttpVenue) {
        for trouble in ["none", "hangs", "down"] {
            let (mut exchange, source) = venue.start::<S>(FIRST, 1, &json!({})).await;
            source.until_ready().await;
            match trouble {
                "hangs" => {
                    exchange.script(|_| Reply::Hang);
                    exchange.wait_more("", 1).await;
                }
                "down" => {
                    exchange.go_down().await;
                    source.until_health("it keeps trying").await;
                }
                _ => {}
            }
            source.stop().await;
        }
    }
}
