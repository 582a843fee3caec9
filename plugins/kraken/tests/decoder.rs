//! The decoder against recorded frames, against garbage, and against what a frame may become on its way.
#![allow(clippy::panic, clippy::unwrap_used, reason = "what fails must fail the test")]

use std::{fs, path::Path};

use proptest::prelude::*;
use ratebus_kraken::DECODER;
use ratebus_model::{Market, Pair, Price, Tick};
use ratebus_sdk::feed::{DecodeError, FeedEvent};

fn pair(text: &str) -> Pair {
    text.parse().unwrap()
}

fn decode(frame: &str) -> Result<Vec<FeedEvent<'_>>, DecodeError> {
    let mut events = Vec::new();
    (DECODER.make)(&[pair("BTC_USD"), pair("ETH_USD")]).decode(frame, &mut events).map(|()| events)
}

fn tick(frame: &str) -> Tick<'_> {
    match decode(frame).as_deref() {
        Ok([FeedEvent::Tick(tick)]) => tick.clone(),
        other => panic!("{frame}: {other:?}"),
    }
}

/// The text after `"key":` in a frame, up to what ends a number or string.
fn raw<'f>(frame: &'f str, key: &str) -> Option<&'f str> {
    let (_, rest) = frame.split_once(&format!("\"{key}\":"))?;
    Some(rest.split([',', '}']).next().unwrap().trim_matches('"'))
}

#[test]
fn recorded_frames_keep_their_digits() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/kraken");
    let mut ticks = 0;
    for name in ["ws_v2_session_20260919.jsonl", "ws_v2_frames_2024.jsonl", "ws_v2_ack_and_reject_20260707.jsonl"] {
        let Ok(text) = fs::read_to_string(folder.join(name)) else {
            eprintln!("SKIPPED: the recording {name} is not here");
            continue;
        };
        for frame in text.lines() {
            let events = decode(frame).unwrap_or_else(|error| panic!("{error}: {frame}"));
            assert!(!events.is_empty(), "{frame}");
            if frame.starts_with(r#"{"channel":"ticker""#) {
                let tick = tick(frame);
                assert_eq!((tick.bid, tick.ask), (raw(frame, "bid"), raw(frame, "ask")));
                assert_eq!(tick.event_time, raw(frame, "timestamp").map(|text| text.parse().unwrap()));
                assert_eq!(tick.snapshot, raw(frame, "type") == Some("snapshot"));
                let price: Price = tick.bid.unwrap().parse().unwrap();
                assert_eq!(price.to_string(), tick.bid.unwrap());
                ticks += 1;
            }
        }
    }
    eprintln!("{ticks} recorded tickers");
}

#[test]
fn a_recorded_refusal_is_permanent_and_its_neighbour_is_acknowledged() {
    let refused = r#"{"error":"Currency pair not supported BOGUS/NOPE","method":"subscribe","req_id":7,"success":false,"symbol":"BOGUS/NOPE","time_in":"2026-07-07T17:23:59.172238Z","time_out":"2026-07-07T17:23:59.172284Z"}"#;
    assert_eq!(
        decode(refused).unwrap(),
        [FeedEvent::Refused {
            request: Some(7),
            symbol: Some("BOGUS/NOPE".into()),
            reason: "Currency pair not supported BOGUS/NOPE".into(),
            permanent: true
        }]
    );
    let acknowledged = r#"{"method":"subscribe","req_id":7,"result":{"channel":"ticker","event_trigger":"trades","snapshot":true,"symbol":"BTC/USD","warnings":["new"]},"success":true}"#;
    let expected = FeedEvent::Subscribed { request: Some(7), symbol: "BTC/USD".into() };
    assert_eq!(decode(acknowledged).unwrap(), [expected]);
}

#[test]
fn each_kind_of_answer_is_told_apart() {
    let refused = |reason: &'static str, permanent| FeedEvent::Refused {
        request: None,
        symbol: Some("BTC/USD".into()),
        reason: reason.into(),
        permanent,
    };
    let cases = [
        (r#"{"channel":"heartbeat"}"#, FeedEvent::Heartbeat),
        (r#" { "new":{"channel":1}, "channel":"heartbeat" } "#, FeedEvent::Heartbeat),
        (r#"{"method":"pong","req_id":1}"#, FeedEvent::Pong),
        (r#"{"Error":"Exceeded msg rate"}"#, FeedEvent::Throttled),
        (r#"{"Error":"something else"}"#, FeedEvent::Unused("other")),
        ("CloudFlare WebSocket proxy restarting", FeedEvent::Reconnect),
        (r#"{"channel":"trade","data":[{"price":1}]}"#, FeedEvent::Unused("channel")),
        (r#"{"method":"unsubscribe","success":true}"#, FeedEvent::Unused("method")),
        (
            r#"{"method":"unsubscribe","req_id":2,"result":{"channel":"ticker","event_trigger":"bbo","symbol":"BTC/USD"},"success":true}"#,
            FeedEvent::Unused("method"),
        ),
        (
            r#"{"error":"Subscription Not Found","method":"unsubscribe","req_id":2,"success":false,"symbol":"BTC/USD"}"#,
            FeedEvent::Unused("method"),
        ),
        (r#"{"method":"ping","success":false,"error":"Unsupported field"}"#, FeedEvent::Unused("method")),
        (r#"{"method":"subscribe","success":true,"result":{"channel":"instrument"}}"#, FeedEvent::Unused("ack")),
        (
            r#"{"method":"subscribe","success":false,"symbol":"BTC/USD","error":"Already subscribed"}"#,
            FeedEvent::Subscribed { request: None, symbol: "BTC/USD".into() },
        ),
        (
            r#"{"method":"subscribe","success":false,"symbol":"BTC/USD","error":"Currency pair not in ISO 4217-A3 format BTCUSD"}"#,
            refused("Currency pair not in ISO 4217-A3 format BTCUSD", true),
        ),
        (
            r#"{"method":"subscribe","success":false,"symbol":"BTC/USD","error":"EService:Busy"}"#,
            refused("EService:Busy", false),
        ),
        (r#"{"channel":"status","data":[{"system":"online"}]}"#, FeedEvent::Market(Market::Online)),
        (r#"{"channel":"status","data":[{"system":"maintenance"}]}"#, FeedEvent::Market(Market::Maintenance)),
        (r#"{"channel":"status","data":[{"system":"cancel_only"}]}"#, FeedEvent::Market(Market::NotMatching)),
        (r#"{"channel":"status","data":[{"system":"post_only"}]}"#, FeedEvent::Market(Market::NotMatching)),
        (r#"{"channel":"status","data":[{"system":"limit_only"}]}"#, FeedEvent::Market(Market::Unknown)),
        (r#"{"channel":"ticker","data":[{"symbol":"XBT/USD","bid":1,"ask":2}]}"#, FeedEvent::Unused("unknown_symbol")),
    ];
    for (frame, expected) in cases {
        assert_eq!(decode(frame), Ok(vec![expected]), "{frame}");
    }
    let large =
        r#"{"channel":"status","data":[{"system":"online","connection_id":12525851468308464523,"emergency":[]}]}"#;
    assert_eq!(decode(large), Ok(vec![FeedEvent::Market(Market::Online)]));
    assert_eq!(decode(r#"{"channel":"status","data":[]}"#), Ok(vec![]));
}

#[test]
fn numbers_and_times_are_taken_as_they_stand() {
    let frame = |row: &str| format!(r#"{{"data":[{{"symbol":"BTC\/USD",{row}}}],"type":"update","channel":"ticker"}}"#);
    let text = frame(r#""ask":0.10000000,"bid":5.1e-05,"timestamp":"1970""#);
    let read = tick(&text);
    assert_eq!((read.bid, read.ask, read.event_time), (Some("5.1e-05"), Some("0.10000000"), None));
    // Each of these is a value, so that it is refused; none is taken for "unchanged".
    for (row, bid, ask) in [
        (r#""bid":null,"ask":2"#, "null", "2"),
        (r#""bid":"1","ask":2"#, "\"1\"", "2"),
        (r#""ask":2"#, "null", "2"),
        (r#""bid":[1],"ask":{"a":1},"timestamp":5"#, "[1]", r#"{"a":1}"#),
        (r#""bid":-0,"ask":1e308,"timestamp":"yesterday""#, "-0", "1e308"),
    ] {
        let text = frame(row);
        let read = tick(&text);
        assert_eq!((read.bid, read.ask, read.event_time), (Some(bid), Some(ask), None), "{row}");
    }
}

#[test]
fn one_bad_row_leaves_the_others() {
    let frame = r#"{"channel":"ticker","type":"snapshot","data":[{"symbol":"BTC/USD","bid":1,"ask":2},{"symbol":5},{"symbol":"ETH/USD","bid":3,"ask":4}]}"#;
    let mut events = Vec::new();
    let result = (DECODER.make)(&[pair("BTC_USD"), pair("ETH_USD")]).decode(frame, &mut events);
    assert!(result.is_err());
    let pairs = events.iter().map(|event| match event {
        FeedEvent::Tick(tick) => tick.pair.to_string(),
        other => panic!("{other:?}"),
    });
    assert_eq!(pairs.collect::<Vec<_>>(), ["BTC_USD", "ETH_USD"]);
}

#[test]
fn garbage_is_an_error_and_nothing_else() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(10_000), close.repeat(10_000));
    let corpus = [
        String::new(),
        "nonsense".to_owned(),
        "<html>502 Bad Gateway</html>".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        // An array by position and Kraken's older API: neither may pass for an object.
        r#"["ticker","update",[{"symbol":"BTC/USD","bid":1,"ask":2}]]"#.to_owned(),
        r#"[340,{"b":["1"]},"ticker","XBT/USD"]"#.to_owned(),
        r#"{"channel":"ticker","data":[["BTC/USD",1,2]]}"#.to_owned(),
        r#"{"channel":"ticker","data":{"symbol":"BTC/USD","bid":1,"ask":2}}"#.to_owned(),
        r#"{"channel":"ticker"}"#.to_owned(),
        r#"{"channel":"ticker","data":null}"#.to_owned(),
        r#"{"channel":"ticker","data":[{"symbol":"BTC/USD","bid":NaN,"ask":2}]}"#.to_owned(),
        r#"{"channel":"ticker","data":[{"symbol":"BTC/USD","bid":Infinity,"ask":2}]}"#.to_owned(),
        r#"{"channel":"ticker","data":[{"symbol":"BTC/USD","bid":1,"bid":2,"ask":3}]}"#.to_owned(),
        r#"{"channel":"ticker","data":[{"symbol":"BTC/USD","bid":1,"ask":2}"#.to_owned(),
        r#"{"channel":5}"#.to_owned(),
        r#"{"channel":"heartbeat"}{"channel":"heartbeat"}"#.to_owned(),
        r#"{"method":"subscribe","success":true}"#.to_owned(),
        deep("[", "]"),
        deep(r#"{"channel":"#, "}"),
        "[".repeat(1_000_000),
    ];
    for frame in &corpus {
        assert!(decode(frame).is_err(), "{frame:.80}");
    }
    // Depth where nothing is read costs nothing.
    let unused = format!(r#"{{"channel":"ticker","data":[],"new":{}}}"#, deep("[", "]"));
    assert_eq!(decode(&unused), Ok(vec![]));
}

fn json_like() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\"channel\"",
        "\"ticker\"",
        "\"data\"",
        "\"symbol\"",
        "\"BTC/USD\"",
        "\"bid\"",
        "\"ask\"",
        "1",
        "-",
        ".5",
        "e9",
        "null",
        "true",
        "\\u0000",
        "\"method\"",
        "\"subscribe\"",
        "\"status\"",
        "\"system\"",
        "\"upcoming_maintenance\"",
        " ",
        "\u{e9}",
    ]);
    prop::collection::vec(words, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_text_is_a_panic(text in prop_oneof![any::<String>(), json_like()]) {
        let _ = decode(&text);
    }

    #[test]
    fn a_cut_frame_is_never_a_tick(cut in 0..88_usize) {
        let frame = r#"{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":81413.2,"ask":81413.3}]}"#;
        prop_assert!(decode(&frame[..cut]).is_err());
    }

    #[test]
    fn exact_decimals_survive(whole in 0..1_000_000_000_000_u64, digits in "[0-9]{1,12}") {
        let number = format!("{whole}.{digits}");
        let frame = format!(r#"{{"channel":"ticker","data":[{{"symbol":"BTC/USD","bid":{number},"ask":{number}}}]}}"#);
        let text = tick(&frame).bid.unwrap();
        prop_assert_eq!(text, &number);
        if let Ok(price) = text.parse::<Price>() {
            prop_assert_eq!(price.to_string(), number);
        }
    }

    #[test]
    fn the_order_of_keys_means_nothing(
        outer in Just(vec![r#""channel":"ticker""#, r#""type":"snapshot""#, r#""new":{"channel":"x"}"#]).prop_shuffle(),
        inner in Just(vec![
            r#""symbol":"ETH/USD""#, r#""bid":1.10"#, r#""ask":1.20"#, r#""trades":18446744073709551615"#,
            r#""timestamp":"2026-09-19T18:57:46.109637Z""#,
        ]).prop_shuffle(),
        at in 0..4_usize,
    ) {
        let data = format!(r#""data":[{{{}}}]"#, inner.join(","));
        let mut keys: Vec<&str> = outer;
        keys.insert(at, &data);
        let frame = format!("{{{}}}", keys.join(","));
        let expected = Tick {
            pair: pair("ETH_USD"),
            bid: Some("1.10"),
            ask: Some("1.20"),
            reference: None,
            event_time: Some("2026-09-19T18:57:46.109637Z".parse().unwrap()),
            snapshot: true,
        };
        prop_assert_eq!(tick(&frame), expected);
    }
}
