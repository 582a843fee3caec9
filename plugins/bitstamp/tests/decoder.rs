//! The decoder against recorded frames, the documented ones, and what a frame may become on its way.
#![allow(clippy::panic, clippy::unwrap_used, reason = "what fails must fail the test")]

use ratebus_bitstamp::{Bitstamp, DECODER};
use ratebus_conformance::{decoded, recorded, text_after, withstands};
use ratebus_model::{Pair, Tick, Timestamp};
use ratebus_sdk::{
    feed::{Decode, FeedEvent},
    stream::Exchange,
};

/// The pairs of the recording, and one for the examples.
const PAIRS: [&str; 11] = [
    "ADA_EUR", "BAT_BTC", "BAT_EUR", "ETH_USD", "GALA_EUR", "SGB_EUR", "USDT_EUR", "USDT_USD", "XLM_GBP", "XRP_EUR",
    "BTC_USD",
];

fn pair(text: &str) -> Pair {
    text.parse().unwrap()
}

fn decoder() -> Box<dyn Decode> {
    (DECODER.make)(&PAIRS.map(pair))
}

#[test]
fn recorded_frames_are_all_understood() {
    let mut decoder = decoder();
    for frame in recorded("bitstamp/ws_20220105.jsonl.gz") {
        let events = decoded(&mut *decoder, &frame).unwrap_or_else(|error| panic!("{error}: {frame}"));
        assert_eq!(events, [FeedEvent::Unused("channel")], "{frame}");
    }
}

/// What was recorded is the channel of changes, whose rows have the same form as those of the books.
#[test]
fn recorded_rows_keep_their_digits() {
    let (mut decoder, mut ticks) = (decoder(), 0);
    for frame in recorded("bitstamp/ws_20220105.jsonl.gz") {
        let frame = frame.replace("diff_order_book_", "order_book_");
        let Some(symbol) =
            text_after(&frame, r#""channel":"order_book_"#).filter(|_| frame.contains(r#""event":"data""#))
        else {
            continue;
        };
        let pair = PAIRS.map(pair).into_iter().find(|&pair| Bitstamp {}.symbol(pair) == symbol).unwrap();
        let micros = text_after(&frame, r#""microtimestamp":"#).unwrap().parse().unwrap();
        let expected = Tick {
            pair,
            bid: text_after(&frame, r#""bids":[["#).or(Some("")),
            ask: text_after(&frame, r#""asks":[["#).or(Some("")),
            reference: None,
            event_time: Some(Timestamp::from_micros(micros)),
            snapshot: false,
        };
        assert_eq!(decoded(&mut *decoder, &frame), Ok(vec![FeedEvent::Tick(expected)]), "{frame}");
        ticks += 1;
    }
    eprintln!("{ticks} recorded rows");
}

const BOOK: &str = r#"{"data":{"timestamp":"1789457617","microtimestamp":"1789457617906487","bids":[["77188.10","0.41122"],["77183","0.32386"]],"asks":[["77189","0.10000"]]},"channel":"order_book_btcusd","event":"data"}"#;
const SUBSCRIBED: &str = r#"{"event":"bts:subscription_succeeded","channel":"order_book_btcusd","data":{}}"#;

#[test]
fn each_kind_of_frame_is_told_apart() {
    let tick = Tick {
        pair: pair("BTC_USD"),
        bid: Some("77188.10"),
        ask: Some("77189"),
        reference: None,
        event_time: Some(Timestamp::from_micros(1_789_457_617_906_487)),
        snapshot: false,
    };
    let words = "Bad subscription string.";
    let refused = FeedEvent::Refused { request: None, symbol: None, reason: words.into(), permanent: false };
    let cases = [
        (BOOK, FeedEvent::Tick(tick)),
        (SUBSCRIBED, FeedEvent::Subscribed { request: None, symbol: "btcusd".into() }),
        (r#"{"event":"bts:heartbeat","channel":"","data":{"status":"success"}}"#, FeedEvent::Pong),
        (r#"{"event":"bts:request_reconnect","channel":"","data":null}"#, FeedEvent::Reconnect),
        (r#"{"event":"bts:request_reconnect","channel":"","data":""}"#, FeedEvent::Reconnect),
        (r#"{"event":"bts:error","channel":"","data":{"code":null,"message":"Bad subscription string."}}"#, refused),
        (
            r#"{"event":"bts:unsubscription_succeeded","channel":"order_book_btcusd","data":{}}"#,
            FeedEvent::Unused("event"),
        ),
        (r#"{"event":"trade","channel":"live_trades_btcusd","data":{"price":3805.44}}"#, FeedEvent::Unused("channel")),
    ];
    for (frame, expected) in cases {
        assert_eq!(decoded(&mut *decoder(), frame), Ok(vec![expected]), "{frame}");
    }
}

#[test]
fn a_book_without_a_side_is_no_price() {
    let frame = BOOK.replace(r#"["77189","0.10000"]"#, "");
    match decoded(&mut *decoder(), &frame).as_deref() {
        Ok([FeedEvent::Tick(tick)]) => assert_eq!((tick.bid, tick.ask), (Some("77188.10"), Some(""))),
        other => panic!("{other:?}"),
    }
}

#[test]
fn broken_frames_are_no_price_and_no_panic() {
    withstands(&mut *decoder(), &[BOOK, SUBSCRIBED]);
    let rows = r#"{"data":{"bids":[]},"channel":"order_book_btcusd","event":"data"}"#;
    for frame in ["null", "[]", "{}", r#"{"event":5}"#, r#"{"event":"data","channel":"order_book_btcusd"}"#, rows] {
        assert!(decoded(&mut *decoder(), frame).is_err(), "{frame}");
    }
}
