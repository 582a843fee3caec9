use ratebus_sdk::{Factory, Source};
use ratebus_test_exchange::{Asked, HttpExchange, Reply};
use serde_json::{Value, json};

use crate::Running;

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
    /// What the source's config needs beside pairs and endpoint, as JSON.
    pub config: &'static str,
}

impl HttpVenue {
    /// The exchange, which trades the first pair at this price, and a source that serves as many of the pairs.
    async fn start<S: Factory + Source + 'static>(
        &self,
        price: (&'static str, &'static str),
        pairs: usize,
    ) -> (HttpExchange, Running) {
        let exchange = HttpExchange::start(self.script(price)).await;
        let served: Vec<&str> = self.pairs.iter().take(pairs).map(|(pair, _)| *pair).collect();
        let mut config = json!({
            "endpoint": exchange.url(), "pairs": served, "interval": "50ms", "max_jump_percent": 0,
            "stale_after": "1s", "dead_after": "1m",
        });
        let more: Value = serde_json::from_str(self.config).unwrap();
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
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
    use ratebus_model::Status;
    use ratebus_sdk::{Factory, Source};
    use ratebus_test_exchange::{DEADLINE, Reply};
    use tokio::time::timeout;

    use super::HttpVenue;

    const FIRST: (&str, &str) = ("81413.20", "81413.30");

    /// Prices are what the exchange wrote, to the last digit.
    pub async fn prices_come_digit_for_digit<S: Factory + Source + 'static>(venue: &HttpVenue) {
        let (exchange, source) = venue.start::<S>(FIRST, 1).await;
        let pair = venue.pairs[0].0;
        assert_eq!(source.until_bid(pair, FIRST.0).await.value.ask().to_string(), FIRST.1);
        for (bid, ask) in [
            ("81414.10000000", "81414.20"),
            ("0.00000001230", "12345678901234567890.12345678"),
            ("9007199254740993.000000001", "9007199254740993.000000002"),
        ] {
            exchange.script(venue.script((bid, ask)));
            assert_eq!(source.until_bid(pair, bid).await.value.ask().to_string(), ask);
        }
        source.stop().await;
    }

    /// One pair's trouble is its own, and has a name.
    pub async fn an_unknown_pair_is_named_and_costs_the_others_nothing<S: Factory + Source + 'static>(
        venue: &HttpVenue,
    ) {
        let (_exchange, source) = venue.start::<S>(FIRST, 2).await;
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
        let (exchange, source) = venue.start::<S>(FIRST, 1).await;
        let pair = venue.pairs[0].0;
        source.until_ready().await;
        for (reply, words) in [
            (Reply::status(500, ""), "HTTP 500"),
            (Reply::status(200, "<html>Just a moment</html>"), "is a page"),
            (Reply::status(200, "[".repeat(10_000)), ""),
            (Reply::BreakOff("{"), ""),
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

    /// Empty sides, crossed books and what is no number never become a rate.
    pub async fn what_is_no_price_is_refused_and_the_last_good_one_stays<S: Factory + Source + 'static>(
        venue: &HttpVenue,
    ) {
        let (exchange, source) = venue.start::<S>(FIRST, 1).await;
        let pair = venue.pairs[0].0;
        source.until_ready().await;
        let (answer, symbol) = (venue.answer, venue.pairs[0].1);
        let bad =
            [("0", "1"), ("1", "0.00"), ("2", "1"), ("-1", "1"), ("null", "1"), ("1e308", "1e308"), ("1e-400", "1")];
        let mut prices = bad.into_iter();
        exchange.script(move |asked| {
            let (bid, ask) = prices.next().unwrap_or(("81414.00", "81414.10"));
            answer(asked, &[(symbol, bid, ask)])
        });
        source.until_bid(pair, "81414.00").await;
        let is_good = |bid: String| [FIRST.0, "81414.00"].contains(&&*bid);
        assert!(source.host.rates().iter().all(|rate| is_good(rate.value.bid().to_string())));
        source.stop().await;
    }

    /// At work, and while an answer does not come.
    pub async fn it_stops_at_once_whatever_it_is_doing<S: Factory + Source + 'static>(venue: &HttpVenue) {
        for hangs in [false, true] {
            let (exchange, source) = venue.start::<S>(FIRST, 1).await;
            source.until_ready().await;
            if hangs {
                exchange.script(|_| Reply::Hang);
                exchange.wait_more("", 1).await;
            }
            assert!(timeout(DEADLINE, source.stop()).await.is_ok(), "hangs: {hangs}");
        }
    }
}
