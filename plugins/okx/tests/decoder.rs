//! The decoder against recorded frames, the documented ones, and what a frame may become on its way.
#![allow(clippy::panic, clippy::unwrap_used, reason = "what fails must fail the test")]

use ratebus_conformance::{decoded, recorded, text_after, withstands};
use ratebus_model::{Pair, Tick, Timestamp};
use ratebus_okx::{Channel, Okx};
use ratebus_sdk::{
    feed::{Decode, FeedEvent},
    stream::Exchange,
};

/// The instruments of the recording, two of which are no pairs, and what they are called here.
const INSTRUMENTS: [(&str, &str); 3] =
    [("BTC-USDT", "BTC_USDT"), ("BTC-USD-220527", "BTC_USD"), ("UNI-USD-SWAP", "UNI_USD")];

fn pair(text: &str) -> Pair {
    text.parse().unwrap()
}

fn decoder() -> Box<dyn Decode> {
    Okx::default().decoder(INSTRUMENTS.iter().map(|&(symbol, text)| (symbol.to_owned(), pair(text))).collect())
}

#[test]
fn recorded_frames_keep_their_digits() {
    let (mut decoder, mut ticks) = (decoder(), 0);
    for frame in recorded("okx/ws_20220513.jsonl.gz") {
        let events = decoded(&mut *decoder, &frame).unwrap_or_else(|error| panic!("{error}: {frame}"));
        let symbol = text_after(&frame, r#""instId":"#).unwrap();
        let of_tickers = frame.contains(r#""channel":"tickers""#);
        let expected = if frame.starts_with(r#"{"event":"subscribe""#) && of_tickers {
            FeedEvent::Subscribed { request: None, symbol: symbol.into() }
        } else if of_tickers {
            ticks += 1;
            let millis: i64 = text_after(&frame, r#""ts":"#).unwrap().parse().unwrap();
            FeedEvent::Tick(Tick {
                pair: pair(INSTRUMENTS.iter().find(|(known, _)| *known == symbol).unwrap().1),
                bid: text_after(&frame, r#""bidPx":"#),
                ask: text_after(&frame, r#""askPx":"#),
                reference: None,
                event_time: Some(Timestamp::from_micros(millis * 1000)),
                snapshot: false,
            })
        } else {
            FeedEvent::Unused("other")
        };
        assert_eq!(events, [expected], "{frame}");
    }
    eprintln!("{ticks} recorded tickers");
}

const BBO: &str = r#"{"arg":{"channel":"bbo-tbt","instId":"BTC-USDT"},"data":[{"asks":[["8476.98","415","0","13"]],"bids":[["8476.97","256","0","12"]],"ts":"1597026383085","seqId":123456}]}"#;
const TICKER: &str = r#"{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"instType":"SPOT","instId":"BTC-USDT","last":"9999.99","askPx":"9999.990","askSz":"11","bidPx":"8888.88","bidSz":"5","ts":"1597026383085"}]}"#;

#[test]
fn both_channels_are_read() {
    for (frame, bid, ask) in [(BBO, "8476.97", "8476.98"), (TICKER, "8888.88", "9999.990")] {
        match decoded(&mut *decoder(), frame).as_deref() {
            Ok([FeedEvent::Tick(tick)]) => {
                assert_eq!((tick.bid, tick.ask), (Some(bid), Some(ask)));
                assert_eq!(tick.event_time, Some("2020-08-10T02:26:23.085Z".parse().unwrap()));
            }
            other => panic!("{other:?}"),
        }
    }
    // An empty side is no price, and no "unchanged" either.
    let empty = BBO.replace(r#"["8476.98","415","0","13"]"#, "");
    match decoded(&mut *decoder(), &empty).as_deref() {
        Ok([FeedEvent::Tick(tick)]) => assert_eq!((tick.bid, tick.ask), (Some("8476.97"), Some(""))),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_kind_of_frame_is_told_apart() {
    let unknown = "Wrong URL or channel:bbo-tbt,instId:NOPE-USDT doesn't exist. Please use the correct URL, channel and parameters referring to API document.";
    let refusal = format!(r#"{{"event":"error","code":"60018","msg":"{unknown}","connId":"a4d3ae55"}}"#);
    let busy = r#"{"event":"error","code":"60014","msg":"Requests too frequent"}"#;
    let refused = |symbol: Option<&'static str>, reason: &str| FeedEvent::Refused {
        request: None,
        symbol: symbol.map(Into::into),
        reason: reason.to_owned().into(),
        permanent: symbol.is_some(),
    };
    let cases = [
        ("pong", FeedEvent::Pong),
        (
            r#"{"event":"subscribe","arg":{"channel":"bbo-tbt","instId":"BTC-USDT"},"connId":"a"}"#,
            FeedEvent::Subscribed { request: None, symbol: "BTC-USDT".into() },
        ),
        (r#"{"event":"unsubscribe","arg":{"channel":"bbo-tbt","instId":"BTC-USDT"}}"#, FeedEvent::Unused("other")),
        (&refusal, refused(Some("NOPE-USDT"), unknown)),
        (busy, refused(None, "Requests too frequent")),
        (r#"{"event":"notice","code":"64008","msg":"The connection will soon be closed"}"#, FeedEvent::Reconnect),
        (r#"{"event":"notice","code":"1","msg":""}"#, FeedEvent::Unused("other")),
        (r#"{"event":"channel-conn-count","channel":"x","connCount":"1"}"#, FeedEvent::Unused("other")),
    ];
    for (frame, expected) in cases {
        assert_eq!(decoded(&mut *decoder(), frame), Ok(vec![expected]), "{frame}");
    }
}

#[test]
fn the_channel_of_the_config_is_asked_for() {
    let asked = |okx: Okx| okx.subscribe(1, &["BTC-USDT"]);
    assert_eq!(asked(Okx::default()), r#"{"args":[{"channel":"bbo-tbt","instId":"BTC-USDT"}],"op":"subscribe"}"#);
    let tickers = asked(Okx { channel: Channel::Tickers });
    assert_eq!(tickers, r#"{"args":[{"channel":"tickers","instId":"BTC-USDT"}],"op":"subscribe"}"#);
}

#[test]
fn broken_frames_are_no_price_and_no_panic() {
    withstands(&mut *decoder(), &[BBO, TICKER]);
    let no_rows = r#"{"arg":{"channel":"tickers","instId":"BTC-USDT"}}"#;
    for frame in ["null", "[]", "ping", "pongs", no_rows] {
        assert!(decoded(&mut *decoder(), frame).is_err(), "{frame}");
    }
}
