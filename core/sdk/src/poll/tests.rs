//! The client against a scripted server over real sockets, and the rounds in paused time.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use axum::http::{HeaderMap, HeaderValue};
use ratebus_model::{FoldLimits, Limits, Market, Message, Pair, RateKind, Status, Tick, Timestamp};
use ratebus_test_exchange::{HttpExchange, Reply, TestCa};
use serde_json::{Value, json};

use super::{Answer, Client, ClientLimits, Exchange, Feed, NoKeys, Poll};
use crate::{
    AttemptBudget, Clock, ConfigError, Context, Error, ErrorKind, HealthState, Retry, Source, testkit::RecordingHost,
    tls,
};

const SECOND: Duration = Duration::from_secs(1);

fn client_with(limits: ClientLimits) -> Client {
    let mut key = HeaderValue::from_static("top secret");
    key.set_sensitive(true);
    let headers = HeaderMap::from_iter([("x-key".parse().unwrap(), key)]);
    Client::new(&tls::client_config(None).unwrap(), headers, limits)
}

fn limits() -> ClientLimits {
    ClientLimits { timeout: 20 * SECOND, largest: 64 << 10, budget: AttemptBudget::new(100, SECOND) }
}

async fn ask(exchange: &HttpExchange) -> Result<Answer, Error> {
    client_with(limits()).get(&format!("{}/ticker?a=b", exchange.url())).await
}

#[tokio::test]
async fn an_answer_is_unpacked_and_its_numbers_stay_text() {
    // gzip of {"price":0.10000000}
    let packed = [
        31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 42, 40, 202, 76, 78, 85, 178, 50, 208, 51, 52, 128, 128, 90, 0, 33,
        79, 125, 166, 20, 0, 0, 0,
    ];
    let reply = Reply::Raw(200, vec![("content-encoding", "gzip".to_owned())], packed.to_vec());
    let exchange = HttpExchange::start(move |_| reply.clone()).await;
    let answer = ask(&exchange).await.unwrap();
    let document: &serde_json::value::RawValue = answer.json().unwrap();
    assert_eq!(document.get(), r#"{"price":0.10000000}"#);
    let asked = exchange.asked();
    assert_eq!(asked[0].target, "/ticker?a=b");
    for (name, value) in [("x-key", "top secret"), ("accept", "application/json"), ("accept-encoding", "gzip")] {
        assert_eq!(asked[0].headers[name], value);
    }
    assert!(asked[0].headers["user-agent"].to_str().unwrap().starts_with("ratebus/"));
    assert!(!format!("{:?}", client_with(limits())).contains("top secret"));
}

#[tokio::test]
async fn an_answer_has_an_end() {
    // gzip of 100000 spaces
    let bomb = [
        31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 237, 193, 49, 1, 0, 0, 0, 194, 160, 42, 235, 159, 210, 26, 30, 64, 1, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 175, 6, 45, 240, 121, 202, 160, 134, 1, 0,
    ];
    let packed = Reply::Raw(200, vec![("content-encoding", "gzip".to_owned())], bomb.to_vec());
    for (reply, kind) in [
        (Reply::Endless, ErrorKind::Protocol),
        (packed, ErrorKind::Protocol),
        (Reply::BreakOff("{\"a\":"), ErrorKind::Connect),
    ] {
        let exchange = HttpExchange::start(move |_| reply.clone()).await;
        assert_eq!(ask(&exchange).await.unwrap_err().kind(), kind);
    }
    let exchange = HttpExchange::start(|_| Reply::Hang).await;
    let mut client = client_with(ClientLimits { timeout: Duration::from_millis(50), ..limits() });
    assert_eq!(client.get(&exchange.url()).await.unwrap_err().kind(), ErrorKind::Stalled);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = client_with(limits()).get(&format!("http://{nobody}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = HttpExchange::start(|_| Reply::Json("{}".to_owned())).await;
    let reply = Reply::Raw(302, vec![("location", elsewhere.url())], Vec::new());
    let exchange = HttpExchange::start(move |_| reply.clone()).await;
    let error = ask(&exchange).await.unwrap().json::<Value>().unwrap_err();
    assert!(error.to_string().contains("HTTP 302"), "{error}");
    assert_eq!(elsewhere.count(""), 0);
}

#[tokio::test]
async fn only_a_certificate_of_a_trusted_authority_will_do() {
    let (ours, foreign) = (TestCa::new(), TestCa::new());
    let mut ca_file = tempfile::NamedTempFile::new().unwrap();
    ca_file.write_all(ours.pem().as_bytes()).unwrap();
    for (ca, name, trusted) in
        [(&ours, "127.0.0.1", true), (&foreign, "127.0.0.1", false), (&ours, "other.example", false)]
    {
        let exchange = HttpExchange::start_tls(ca, &[name], |_| Reply::Json("{}".to_owned())).await;
        let tls = tls::client_config(Some(ca_file.path())).unwrap();
        let asked = Client::new(&tls, HeaderMap::new(), limits()).get(&exchange.url()).await;
        match asked {
            Ok(answer) => assert!(trusted && answer.json::<Value>().is_ok()),
            Err(error) => assert!(!trusted && error.kind() == ErrorKind::Auth, "{error}"),
        }
        assert_eq!(exchange.count(""), usize::from(trusted));
    }
}

#[tokio::test]
async fn requests_keep_to_their_budget() {
    let exchange = HttpExchange::start(|_| Reply::Json("{}".to_owned())).await;
    let window = Duration::from_millis(100);
    let mut client = client_with(ClientLimits { budget: AttemptBudget::new(2, window), ..limits() });
    let started = Instant::now();
    for _ in 0..5 {
        client.get(&exchange.url()).await.unwrap();
    }
    assert!(started.elapsed() >= 2 * window);
}

/// What a scripted round does; the default is a failure.
type Round = Box<dyn FnMut(usize, &mut Feed) -> Result<(), Error> + Send>;

struct Scripted {
    rounds: Arc<Mutex<Vec<Instant>>>,
    script: Round,
}

#[async_trait]
impl Exchange for Scripted {
    const TYPE: &'static str = "source/scripted";
    const ENDPOINT: Option<&'static str> = None;
    type Protocol = NoKeys;

    fn new(_: NoKeys) -> Result<Self, ConfigError> {
        unreachable!("the tests make it")
    }

    async fn round(&mut self, feed: &mut Feed) -> Result<(), Error> {
        let round = {
            let mut rounds = self.rounds.lock().unwrap();
            rounds.push(Clock.now());
            rounds.len()
        };
        (self.script)(round, feed)
    }
}

struct Running {
    host: Arc<RecordingHost>,
    ctx: Context,
    rounds: Arc<Mutex<Vec<Instant>>>,
    task: tokio::task::JoinHandle<Result<(), Error>>,
}

impl Running {
    /// Rounds every minute of a source whose rates are fresh for two and shown for four.
    fn start(script: impl FnMut(usize, &mut Feed) -> Result<(), Error> + Send + 'static) -> Self {
        let rounds = Arc::<Mutex<Vec<Instant>>>::default();
        let exchange = Scripted { rounds: Arc::clone(&rounds), script: Box::new(script) };
        Self { rounds, ..Self::of(exchange) }
    }

    fn of(exchange: impl Exchange) -> Self {
        Self::asking(exchange, "https://exchange.example".to_owned(), limits())
    }

    fn asking(exchange: impl Exchange, endpoint: String, limits: ClientLimits) -> Self {
        let host = RecordingHost::new();
        let ctx = host.context("polled");
        let freshness = Limits { stale_after: 120 * SECOND, dead_after: 240 * SECOND };
        let source = Box::new(Poll {
            exchange,
            endpoint,
            client: client_with(limits),
            interval: 60 * SECOND,
            symbols: ["BTC_USD", "ETH_USD"].map(|text| (pair(text), text.to_owned())).to_vec(),
            limits: FoldLimits::new(freshness),
        });
        let task = tokio::spawn(source.run(ctx.clone()));
        Self { host, ctx, rounds: Arc::default(), task }
    }

    fn waits(&self) -> Vec<Duration> {
        self.rounds.lock().unwrap().windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    fn health(&self) -> HealthState {
        self.ctx.health().state()
    }
}

fn pair(text: &str) -> Pair {
    text.parse().unwrap()
}

fn reference(pair: Pair, price: &str) -> Tick<'_> {
    Tick { pair, bid: None, ask: None, reference: Some(price), event_time: None, snapshot: false }
}

/// An answer that took two seconds.
fn answer() -> Answer {
    Answer {
        status: axum::http::StatusCode::OK,
        headers: HeaderMap::new(),
        body: axum::body::Bytes::new(),
        arrival: Clock.arrival(),
        took: 2 * SECOND,
    }
}

fn both(feed: &mut Feed) {
    for pair in [pair("BTC_USD"), pair("ETH_USD")] {
        feed.tick(&reference(pair, "100.50"), &answer());
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_round_is_at_once_and_the_others_keep_the_interval() {
    let source = Running::start(|_, feed| {
        both(feed);
        Ok(())
    });
    tokio::time::sleep(301 * SECOND).await;
    let waits = source.waits();
    assert!(waits[0] >= 30 * SECOND && waits[0] <= 60 * SECOND, "{waits:?}");
    assert!(waits.len() >= 4 && waits[1..].iter().all(|&wait| wait == 60 * SECOND), "{waits:?}");
    assert_eq!(source.health(), HealthState::Ready);
    let rate = source.host.rate("polled", pair("BTC_USD")).unwrap();
    assert_eq!((rate.value.kind(), rate.value.bid()), (RateKind::Reference, rate.value.ask()));
    source.ctx.cancel_token().cancel();
    source.task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_as_old_as_what_was_asked_for() {
    let source = Running::start(|round, feed| {
        // The exchange's clock stands still, a year ago.
        let time: Timestamp = "2025-09-19T18:55:00Z".parse().unwrap();
        let dated = Tick { event_time: Some(time), ..reference(pair("BTC_USD"), "1") };
        feed.dated(&dated, &answer(), time.plus(117 * SECOND));
        feed.tick(&reference(pair("ETH_USD"), "1"), &answer());
        feed.market(if round == 1 { Market::Online } else { Market::Maintenance });
        Ok(())
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(source.health(), HealthState::Ready);
    tokio::time::sleep(6 * SECOND).await;
    // Two seconds on the way and the age that the exchange itself told: older than two minutes now.
    let status = |text| source.host.rate("polled", pair(text)).unwrap().status(Clock.now());
    assert_eq!((status("BTC_USD"), status("ETH_USD")), (Status::Stale, Status::Fresh));
    assert_eq!(source.health(), HealthState::Degraded("without a fresh rate: BTC_USD (no longer fresh)".to_owned()));
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!((status("BTC_USD"), status("ETH_USD")), (Status::Stale, Status::Stale));
}

#[tokio::test(start_paused = true)]
async fn failures_wait_and_show_and_pass() {
    let source = Running::start(|round, feed| match round {
        2..=4 => Err(Error::new(ErrorKind::Connect, "nobody there")),
        5 => Err(Error::new(ErrorKind::RateLimited, "too many").with_retry(Retry::After(600 * SECOND))),
        _ => {
            both(feed);
            Ok(())
        }
    });
    let until = async |round: usize| {
        while source.rounds.lock().unwrap().len() < round {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    until(5).await;
    assert!(matches!(source.health(), HealthState::Degraded(reason) if reason.contains("too many; it keeps trying")));
    tokio::time::sleep(300 * SECOND).await;
    assert!(matches!(source.health(), HealthState::NotReady(reason) if reason.contains("too many")));
    until(6).await;
    assert_eq!(source.health(), HealthState::Ready);
    let waits = source.waits();
    assert!(waits[1] < SECOND && waits[4] >= 600 * SECOND, "{waits:?}");
}

#[tokio::test]
async fn it_stops_while_it_waits_for_its_budget() {
    struct Eager;
    #[async_trait]
    impl Exchange for Eager {
        const TYPE: &'static str = "source/eager";
        const ENDPOINT: Option<&'static str> = None;
        type Protocol = NoKeys;

        fn new(_: NoKeys) -> Result<Self, ConfigError> {
            Ok(Self)
        }

        async fn round(&mut self, feed: &mut Feed) -> Result<(), Error> {
            feed.get("/first").await?;
            feed.refuse(pair("ETH_USD"), "the first one is answered");
            feed.get("/second").await?;
            Ok(())
        }
    }
    let exchange = HttpExchange::start(|_| Reply::Json("{}".to_owned())).await;
    let budget = AttemptBudget::new(1, 3600 * SECOND);
    let source = Running::asking(Eager, exchange.url(), ClientLimits { budget, ..limits() });
    let answered = |message: &Message| format!("{:?}", message.payload).contains("the first one is answered");
    source.host.wait_for(answered, 20 * SECOND).await;
    source.ctx.cancel_token().cancel();
    tokio::time::timeout(20 * SECOND, source.task).await.unwrap().unwrap().unwrap();
    assert_eq!(exchange.count("/second"), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_long_round_has_brought_already_counts() {
    struct Slow;
    #[async_trait]
    impl Exchange for Slow {
        const TYPE: &'static str = "source/slow";
        const ENDPOINT: Option<&'static str> = None;
        type Protocol = NoKeys;

        fn new(_: NoKeys) -> Result<Self, ConfigError> {
            Ok(Self)
        }

        async fn round(&mut self, feed: &mut Feed) -> Result<(), Error> {
            feed.tick(&reference(pair("BTC_USD"), "1"), &answer());
            tokio::time::sleep(30 * SECOND).await;
            feed.tick(&reference(pair("ETH_USD"), "1"), &answer());
            Ok(())
        }
    }
    let source = Running::of(Slow);
    tokio::time::sleep(SECOND).await;
    assert_eq!(source.health(), HealthState::Degraded("waiting for the rates of the other pairs".to_owned()));
    tokio::time::sleep(30 * SECOND).await;
    assert_eq!(source.health(), HealthState::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_pair_without_a_price_leaves_the_others_and_may_come_back() {
    let source = Running::start(|round, feed| {
        feed.tick(&reference(pair("BTC_USD"), "1"), &answer());
        match round {
            1 => feed.refuse(pair("ETH_USD"), "not listed"),
            _ => feed.tick(&reference(pair("ETH_USD"), "1"), &answer()),
        }
        Ok(())
    });
    tokio::time::sleep(SECOND).await;
    assert_eq!(source.health(), HealthState::Degraded("without a fresh rate: ETH_USD (not listed)".to_owned()));
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(source.health(), HealthState::Ready);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_get_better_ends_the_source() {
    let source = Running::start(|_, _| Err(Error::new(ErrorKind::Auth, "no such key").with_retry(Retry::Never)));
    let error = source.task.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Auth, Retry::Never));
    assert_eq!(json!(error.to_string()), "no such key");
}
