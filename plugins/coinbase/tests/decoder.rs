//! The decoder against recorded frames, the documented ones, and what a frame may become on its way.
#![allow(clippy::panic, clippy::unwrap_used, reason = "what fails must fail the test")]

use ratebus_coinbase::DECODER;
use ratebus_conformance::{decoded, recorded, text_after, withstands};
use ratebus_model::{Pair, Tick};
use ratebus_sdk::feed::{Decode, FeedEvent};

/// The products of the recordings.
const PRODUCTS: [&str; 11] = [
    "BTC-USD", "BAND-GBP", "BAND-BTC", "YFI-BTC", "NU-GBP", "CRV-EUR", "SKL-GBP", "SKL-USD", "SKL-BTC", "NMR-EUR",
    "DASH-BTC",
];

fn pair(product: &str) -> Pair {
    product.replace('-', "_").parse().unwrap()
}

fn decoder() -> Box<dyn Decode> {
    (DECODER.make)(&PRODUCTS.map(pair))
}

#[test]
fn recorded_frames_keep_their_digits() {
    let mut ticks = 0;
    for name in [
        "exchange_ws_session_20260919.jsonl",
        "exchange_ws_ticker_20210417.jsonl",
        "exchange_ws_mixed_20210417.jsonl.gz",
    ] {
        let mut decoder = decoder();
        for frame in recorded(&format!("coinbase/{name}")) {
            let events = decoded(&mut *decoder, &frame).unwrap_or_else(|error| panic!("{error}: {frame}"));
            if frame.starts_with(r#"{"type":"ticker""#) {
                let expected = Tick {
                    pair: pair(text_after(&frame, r#""product_id":"#).unwrap()),
                    bid: text_after(&frame, r#""best_bid":"#),
                    ask: text_after(&frame, r#""best_ask":"#),
                    reference: None,
                    event_time: text_after(&frame, r#""time":"#).map(|time| time.parse().unwrap()),
                    snapshot: false,
                };
                assert_eq!(events, [FeedEvent::Tick(expected)], "{frame}");
                ticks += 1;
            } else {
                assert!(!events.iter().any(|event| matches!(event, FeedEvent::Tick(_))), "{frame}");
            }
        }
    }
    eprintln!("{ticks} recorded tickers");
}

const TICKER: &str = r#"{"new":{},"type":"ticker","product_id":"BTC-USD","price":"81414.8","best_bid":"81414.79","best_ask":"81414.80","sequence":18446744073709551615,"time":"2026-09-19T18:57:40.563048Z"}"#;
const SUBSCRIPTIONS: &str = r#"{"type":"subscriptions","channels":[{"name":"heartbeat","product_ids":["YFI-BTC"],"account_ids":null},{"name":"ticker","product_ids":["BTC-USD","NU-GBP"],"account_ids":null}]}"#;

#[test]
fn each_kind_of_frame_is_told_apart() {
    let subscribed = |symbol: &'static str| FeedEvent::Subscribed { request: None, symbol: symbol.into() };
    let refused = |symbol: Option<&'static str>, reason: &'static str| FeedEvent::Refused {
        request: None,
        symbol: symbol.map(Into::into),
        reason: reason.into(),
        permanent: symbol.is_some(),
    };
    let cases = [
        (SUBSCRIPTIONS, vec![subscribed("BTC-USD"), subscribed("NU-GBP")]),
        (r#"{"type":"subscriptions","channels":[]}"#, vec![]),
        (r#"{"type":"heartbeat","product_id":"BTC-USD","sequence":90}"#, vec![FeedEvent::Alive(pair("BTC-USD"))]),
        (r#"{"type":"heartbeat","product_id":"ETH-USD"}"#, vec![FeedEvent::Unused("unknown_symbol")]),
        (
            r#"{"type":"l2update","product_id":"BTC-USD","changes":[["buy","1","2"]]}"#,
            vec![FeedEvent::Unused("channel")],
        ),
        (
            r#"{"type":"error","message":"Failed to subscribe","reason":"NOPE-USD is not a valid product"}"#,
            vec![refused(Some("NOPE-USD"), "NOPE-USD is not a valid product")],
        ),
        (r#"{"type":"error","message":"rate limit exceeded"}"#, vec![refused(None, "rate limit exceeded")]),
    ];
    for (frame, expected) in cases {
        assert_eq!(decoded(&mut *decoder(), frame), Ok(expected), "{frame}");
    }
}

#[test]
fn an_absent_side_is_no_price() {
    let frame = TICKER.replace(r#""best_ask":"81414.80","#, "");
    match decoded(&mut *decoder(), &frame).as_deref() {
        Ok([FeedEvent::Tick(tick)]) => assert_eq!((tick.bid, tick.ask), (Some("81414.79"), Some("null"))),
        other => panic!("{other:?}"),
    }
}

#[test]
fn broken_frames_are_no_price_and_no_panic() {
    withstands(&mut *decoder(), &[TICKER, SUBSCRIPTIONS]);
    for frame in
        ["null", "[]", r#"["ticker"]"#, r#"{"type":5}"#, r#"{"product_id":"BTC-USD"}"#, r#"{"type":"subscriptions"}"#]
    {
        assert!(decoded(&mut *decoder(), frame).is_err(), "{frame}");
    }
}
