//! What others say of a price.

use std::{borrow::Cow, time::Duration};

use ratebus_model::{Arrival, Limits, Pair, RateKind, Status, Tick, Timestamp};
use serde::Deserialize;

use crate::document::VERSION;

/// A document that was read: a pair's price and how far it may be trusted, in its publisher's words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report<'d> {
    pub(crate) pair: Pair,
    /// `None` for a price that is dead.
    price: Option<Price<'d>>,
    status: Status,
    /// When the price came into being.
    event_time: Option<Timestamp>,
    /// When its feed last vouched for it.
    confirmed_time: Timestamp,
    /// Whether documents of this form are ordered by their event time.
    ordered: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Price<'d> {
    TwoSided { bid: Cow<'d, str>, ask: Cow<'d, str> },
    Reference(Cow<'d, str>),
}

/// Why a document was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is longer than any document.
    TooLarge,
    /// It is no JSON of a known form.
    Malformed,
    /// Its `v` is not ours.
    Version,
    /// It is about a pair that was not asked for.
    UnknownPair,
    /// Its time is further ahead than clocks may differ.
    Future,
}

impl Refused {
    /// The reason as a metric label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::UnknownPair => "unknown_pair",
            Self::Future => "future",
        }
    }
}

/// What a document makes of the pair's rate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning<'r> {
    /// A price that was vouched for so long ago.
    Tick(Tick<'r>, Duration),
    /// There is none that can be trusted.
    Dead,
}

impl<'d> Report<'d> {
    /// Reads a document of either form: what `sink/redis` publishes, which has `v`, and the simple one.
    pub(crate) fn read(document: &'d [u8]) -> Result<Self, Refused> {
        let members: Members<'d> = serde_json::from_slice(document).map_err(|_| Refused::Malformed)?;
        match members.v {
            Some(VERSION) => members.full(),
            Some(_) => return Err(Refused::Version),
            None => members.simple(),
        }
        .ok_or(Refused::Malformed)
    }

    /// What it says at `arrival`. What its publisher calls stale is not fresh here, whatever `limits` say.
    pub(crate) fn meaning(&self, arrival: Arrival, limits: Limits) -> Result<Meaning<'_>, Refused> {
        if self.confirmed_time > arrival.time.plus(limits.stale_after) {
            return Err(Refused::Future);
        }
        let Some(price) = &self.price else { return Ok(Meaning::Dead) };
        let age = self.confirmed_time.age_at(arrival.time);
        let least = match self.status {
            Status::Fresh => Duration::ZERO,
            Status::Stale => limits.stale_after + Duration::from_millis(1),
            Status::Dead => return Ok(Meaning::Dead),
        };
        let (bid, ask, reference) = match price {
            Price::TwoSided { bid, ask } => (Some(&**bid), Some(&**ask), None),
            Price::Reference(price) => (None, None, Some(&**price)),
        };
        let (pair, event_time) = (self.pair, self.event_time);
        let tick = Tick { pair, bid, ask, reference, event_time, snapshot: !self.ordered };
        Ok(Meaning::Tick(tick, age.max(least)))
    }
}

/// The members of both forms. Others are left alone: there may be more of them one day.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members<'d> {
    v: Option<u32>,
    pair: Pair,
    kind: Option<RateKind>,
    status: Option<Status>,
    #[serde(borrow)]
    original: Option<Original<'d>>,
    event_time: Option<Timestamp>,
    confirmed_time: Option<Timestamp>,
    bid: Option<Cow<'d, str>>,
    ask: Option<Cow<'d, str>>,
    time: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Original<'d> {
    buy: Cow<'d, str>,
    sell: Cow<'d, str>,
}

impl<'d> Members<'d> {
    fn full(self) -> Option<Report<'d>> {
        let kind = self.kind?;
        let price = self.original.map(|Original { buy, sell }| match kind {
            RateKind::TwoSided => Price::TwoSided { bid: sell, ask: buy },
            RateKind::Reference => Price::Reference(buy),
        });
        Some(Report {
            pair: self.pair,
            price,
            status: self.status?,
            event_time: self.event_time,
            confirmed_time: self.confirmed_time?,
            // The publisher put them in order, and the exchange's time may step back where a feed was made anew.
            ordered: false,
        })
    }

    fn simple(self) -> Option<Report<'d>> {
        let time = self.time?;
        Some(Report {
            pair: self.pair,
            price: Some(Price::TwoSided { bid: self.bid?, ask: self.ask? }),
            status: Status::Fresh,
            event_time: Some(time),
            confirmed_time: time,
            ordered: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use ratebus_sdk::Clock;

    use super::*;

    const FULL: &str = r#"{"v":1,"type":"rate","confirmedTime":"2026-09-19T18:57:46.9Z","pair":"BTC_USD","source":"kraken",
        "kind":"two_sided","status":"fresh","market":"online","original":{"buy":"81413.30","sell":"81413.2"},
        "epoch":"5f0c1d2e3b4a5968","sequence":17,"eventTime":null,"receivedTime":"2026-09-19T18:57:46.9Z","more":[]}"#;
    const SIMPLE: &str = r#"{"pair":"BTC/USD","bid":"1.10","ask":"1.2","time":"2026-09-19T20:57:46+02:00"}"#;

    /// At so many seconds after the documents' time.
    fn at(seconds: u64) -> Arrival {
        let time: Timestamp = "2026-09-19T18:57:46.9Z".parse().unwrap();
        Arrival { time: time.plus(Duration::from_secs(seconds)), ..Clock.arrival() }
    }

    /// Bid, ask or reference, and age in seconds; or the reason against it.
    fn said(document: &str, at: Arrival) -> String {
        let report = match Report::read(document.as_bytes()) {
            Ok(report) => report,
            Err(refused) => return refused.as_str().to_owned(),
        };
        match report.meaning(at, Limits::STREAM) {
            Ok(Meaning::Tick(Tick { bid, ask, reference, .. }, age)) => {
                format!(
                    "{:?} {}",
                    bid.zip(ask).map(|(bid, ask)| [bid, ask].join("/")).as_deref().or(reference),
                    age.as_millis()
                )
            }
            Ok(Meaning::Dead) => "dead".to_owned(),
            Err(refused) => refused.as_str().to_owned(),
        }
    }

    #[test]
    fn both_forms_are_read_digit_by_digit() {
        assert_eq!(said(FULL, at(2)), r#"Some("81413.2/81413.30") 2000"#);
        assert_eq!(said(&FULL.replace("two_sided", "reference"), at(0)), r#"Some("81413.30") 0"#);
        assert_eq!(said(SIMPLE, at(1)), r#"Some("1.10/1.2") 1900"#);
    }

    #[test]
    fn what_its_publisher_does_not_call_fresh_is_not() {
        let stale = FULL.replace("fresh", "stale");
        assert_eq!(said(&stale, at(2)), r#"Some("81413.2/81413.30") 10001"#);
        assert_eq!(said(&stale, at(20)), r#"Some("81413.2/81413.30") 20000"#);
        assert_eq!(said(&FULL.replace("fresh", "dead"), at(2)), "dead");
        let without = FULL.replace(r#"{"buy":"81413.30","sell":"81413.2"}"#, "null");
        assert_eq!(said(&without, at(2)), "dead");
    }

    #[test]
    fn what_cannot_be_trusted_is_left_out() {
        for (document, from, to, expected) in [
            (FULL, "\"v\":1", "\"v\":2", "version"),
            (FULL, "\"v\":1", "\"v\":\"1\"", "malformed"),
            (FULL, "confirmedTime", "confirmed", "malformed"),
            (FULL, "fresh", "rotten", "malformed"),
            (FULL, "\"kind\"", "\"kin\"", "malformed"),
            (FULL, "BTC_USD", "BTCUSD", "malformed"),
            (FULL, "\"81413.2\"", "81413.2", "malformed"),
            (FULL, "2026-09-19", "2026-09-20", "future"),
            (SIMPLE, "2026", "2027", "future"),
            (SIMPLE, "\"1.10\"", "1.10", "malformed"),
            (SIMPLE, ",\"ask\":\"1.2\"", "", "malformed"),
            (SIMPLE, "time", "when", "malformed"),
            (SIMPLE, "}", "", "malformed"),
            (SIMPLE, "{", "[{", "malformed"),
        ] {
            let document = document.replace(from, to);
            assert_eq!(said(&document, at(0)), expected, "{document}");
        }
    }
}
