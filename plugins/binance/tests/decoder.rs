//! The decoder against recorded frames, the documented ones, and what a frame may become on its way.
#![allow(clippy::panic, clippy::unwrap_used, reason = "what fails must fail the test")]

use std::collections::HashMap;

use ratebus_binance::{Binance, DECODER};
use ratebus_conformance::{decoded, recorded, text_after, withstands};
use ratebus_model::{Pair, Tick};
use ratebus_sdk::{
    Factory,
    feed::{Decode, FeedEvent},
    stream::{Exchange, Stream},
    testkit::env,
};
use serde_json::json;

/// The pairs of the recordings.
const PAIRS: [&str; 15] = [
    "BTC_AUD",
    "MANA_USDT",
    "ETH_BRL",
    "DENT_USDT",
    "ZIL_USDT",
    "RENBTC_ETH",
    "BTCST_USDT",
    "QTUM_ETH",
    "AXS_BNB",
    "NEO_USDC",
    "NKN_USDT",
    "BLZ_ETH",
    "LRC_BTC",
    "RUNE_EUR",
    "BTC_USDT",
];

fn pair(text: &str) -> Pair {
    text.parse().unwrap()
}

fn decoder() -> Box<dyn Decode> {
    (DECODER.make)(&PAIRS.map(pair))
}

#[test]
fn recorded_frames_keep_their_digits_and_their_order() {
    let by_symbol: HashMap<String, Pair> = PAIRS.iter().map(|text| (text.replace('_', ""), pair(text))).collect();
    let mut ticks = 0;
    for name in ["ws_combined_20210405.jsonl.gz", "ws_combined_20211012.jsonl"] {
        let mut decoder = decoder();
        let mut newest: HashMap<String, u64> = HashMap::new();
        for frame in recorded(&format!("binance/{name}")) {
            let events = decoded(&mut *decoder, &frame).unwrap_or_else(|error| panic!("{error}: {frame}"));
            let expected = if frame.contains("@bookTicker\"") {
                let symbol = text_after(&frame, r#""s":"#).unwrap();
                let update: u64 = text_after(&frame, r#""u":"#).unwrap().parse().unwrap();
                let last = newest.entry(symbol.to_owned()).or_default();
                if update <= *last {
                    FeedEvent::Unused("older")
                } else {
                    *last = update;
                    ticks += 1;
                    FeedEvent::Tick(Tick {
                        pair: by_symbol[symbol],
                        bid: text_after(&frame, r#""b":"#),
                        ask: text_after(&frame, r#""a":"#),
                        reference: None,
                        event_time: None,
                        snapshot: false,
                    })
                }
            } else {
                FeedEvent::Unused("channel")
            };
            assert_eq!(events, [expected], "{frame}");
        }
    }
    eprintln!("{ticks} recorded tickers");
}

const TICKER: &str = r#"{"stream":"btcusdt@bookTicker","data":{"u":400900217,"s":"BTCUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"}}"#;

#[test]
fn a_frame_that_is_not_newer_is_dropped_until_there_is_another_connection() {
    let mut decoder = decoder();
    let mut is_tick = |frame: &str| matches!(decoded(&mut *decoder, frame).as_deref(), Ok([FeedEvent::Tick(_)]));
    assert!(is_tick(TICKER));
    assert!(!is_tick(TICKER));
    assert!(!is_tick(&TICKER.replace("400900217", "400900216")));
    assert!(is_tick(&TICKER.replace("400900217", "18446744073709551615")));
    decoder.connected();
    assert!(matches!(decoded(&mut *decoder, TICKER).as_deref(), Ok([FeedEvent::Tick(_)])));
}

#[test]
fn each_kind_of_frame_is_told_apart() {
    let error = r#"{"code":2,"msg":"Invalid request: unknown variant"}"#;
    let cases = [
        (r#"{"result":null,"id":7}"#.to_owned(), FeedEvent::Accepted { request: 7 }),
        (
            r#"{"result":["btcusdt@bookTicker","btcusdt@depth"],"id":8}"#.to_owned(),
            FeedEvent::Held { symbols: vec!["BTCUSDT".into()] },
        ),
        (
            format!(r#"{{"error":{error},"id":9}}"#),
            FeedEvent::Refused { request: Some(9), symbol: None, reason: error.into(), permanent: false },
        ),
        (
            r#"{"code":3,"msg":"Invalid JSON","id":10}"#.to_owned(),
            FeedEvent::Refused {
                request: Some(10),
                symbol: None,
                reason: r#""Invalid JSON""#.into(),
                permanent: false,
            },
        ),
        (r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}"#.to_owned(), FeedEvent::Reconnect),
        (r#"{"e":"serverShutdown","E":1770123456789}"#.to_owned(), FeedEvent::Reconnect),
        (TICKER.replace("BTCUSDT", "ETHUSDT"), FeedEvent::Unused("unknown_symbol")),
    ];
    for (frame, expected) in &cases {
        assert_eq!(decoded(&mut *decoder(), frame).as_deref(), Ok(std::slice::from_ref(expected)), "{frame}");
    }
}

#[test]
fn the_bare_form_of_the_other_endpoint_is_read_too() {
    let bare = text_after_data(TICKER);
    assert!(matches!(decoded(&mut *decoder(), bare).as_deref(), Ok([FeedEvent::Tick(_)])));
}

fn text_after_data(frame: &str) -> &str {
    frame.split_once(r#""data":"#).unwrap().1.strip_suffix('}').unwrap()
}

#[test]
fn broken_frames_are_no_price_and_no_panic() {
    withstands(&mut *decoder(), &[TICKER]);
    for frame in ["null", "[]", "{}", r#"{"data":[]}"#, r#"{"data":{"s":"BTCUSDT","b":"1","a":"2"}}"#, r#"{"id":"x"}"#]
    {
        assert!(decoded(&mut *decoder(), frame).is_err(), "{frame}");
    }
}

/// Larger ones are not answered.
#[test]
fn no_message_is_larger_than_binance_reads() {
    let name = "1000000000MOGUSDT";
    let most = Binance {}.rules().symbols_per_message;
    assert!(Binance {}.subscribe(u64::MAX, &vec![name; most]).len() <= 4088);
}

#[test]
fn more_pairs_than_a_connection_carries_are_refused_by_their_key() {
    let pairs: Vec<String> = (0..1025).map(|index| format!("C{index}_USDT")).collect();
    let config = serde_json::from_value(json!({"pairs": pairs})).unwrap();
    let error = Stream::<Binance>::build(config, &env("binance", &[])).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "pairs: a connection may carry 1024 at most");
}
