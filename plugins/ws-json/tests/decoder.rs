//! The decoder that a config describes, against recorded frames and the decoder that was written for them.
#![allow(clippy::unwrap_used, reason = "what fails must fail the test")]

use ratebus_coinbase::Coinbase;
use ratebus_conformance::{decoded, recorded, withstands};
use ratebus_model::Pair;
use ratebus_sdk::{
    feed::{Decode, FeedEvent},
    stream::{Exchange, Symbols},
};
use ratebus_ws_json::WsJson;
use serde_json::json;

fn coinbase() -> WsJson {
    let price = json!({"when": {"/type": "ticker"}, "symbol": "/product_id", "bid": "/best_bid", "ask": "/best_ask", "time": "/time"});
    serde_json::from_value(json!({"subscribe": "{symbols}", "price": price, "heartbeat": {"/type": "heartbeat"}}))
        .unwrap()
}

fn symbols() -> Symbols {
    let products = ["BTC-USD", "BAND-GBP", "BAND-BTC", "YFI-BTC", "NU-GBP", "CRV-EUR", "SKL-GBP", "SKL-USD", "SKL-BTC"];
    products.iter().map(|product| ((*product).to_owned(), product.replace('-', "_").parse::<Pair>().unwrap())).collect()
}

fn ticks<'f>(decoder: &mut dyn Decode, frame: &'f str) -> Vec<FeedEvent<'f>> {
    let events = decoded(decoder, frame).unwrap();
    events.into_iter().filter(|event| matches!(event, FeedEvent::Tick(_))).collect()
}

#[test]
fn by_config_alone_coinbase_reads_as_by_its_own_decoder() {
    let (mut described, mut written) = (coinbase().decoder(symbols()), Coinbase {}.decoder(symbols()));
    let mut count = 0;
    for name in ["exchange_ws_session_20260919.jsonl", "exchange_ws_ticker_20210417.jsonl"] {
        for frame in recorded(&format!("coinbase/{name}")) {
            let expected = ticks(&mut *written, &frame);
            assert_eq!(ticks(&mut *described, &frame), expected, "{frame}");
            count += expected.len();
        }
    }
    eprintln!("{count} recorded tickers");
}

#[test]
fn broken_frames_are_no_price_and_no_panic() {
    let ticker = r#"{"type":"ticker","product_id":"BTC-USD","best_bid":"81414.79","best_ask":"81414.80","time":"2026-09-19T18:57:40Z"}"#;
    let mut decoder = coinbase().decoder(symbols());
    assert_eq!(ticks(&mut *decoder, ticker).len(), 1);
    withstands(&mut *decoder, &[ticker]);
}

#[test]
fn an_absent_side_is_no_price_and_two_are_no_price_frame() {
    let mut decoder = coinbase().decoder(symbols());
    match decoded(&mut *decoder, r#"{"type":"ticker","product_id":"BTC-USD","best_bid":"1"}"#).unwrap().as_slice() {
        [FeedEvent::Tick(tick)] => assert_eq!((tick.bid, tick.ask), (Some("1"), Some("null"))),
        other => unreachable!("{other:?}"),
    }
    let neither = decoded(&mut *decoder, r#"{"type":"ticker","product_id":"BTC-USD"}"#);
    assert_eq!(neither, Ok(vec![FeedEvent::Unused("other")]));
}
