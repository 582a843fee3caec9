//! An administrator's spread: at once, everywhere, and for good.

use std::{
    collections::hash_map::DefaultHasher,
    env,
    hash::{Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use ratebus_sdk::model::Timestamp;
use ratebus_test_exchange::Exchange;
use ratebus_test_servers::{Database, Kind, Options, Server};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Admin, EMAIL, Launch, Ratebus, SocketIo, Sse, WebSocket, eventually, quote_over_http, started};

const CLIENTS: usize = 100;

/// An exchange with bitcoin at 20000.10 / 20000.20, and what starts ratebus on it, with an administrator.
async fn priced() -> (Exchange, Launch) {
    let exchange = started().await;
    exchange.list("BTC/USD", "20000.10", "20000.20");
    let launch = Launch::new().exchange(&exchange.url());
    Admin::create(&launch).await;
    (exchange, launch)
}

#[tokio::test]
async fn a_change_reaches_a_hundred_clients_of_each_transport_without_a_tick() {
    let (exchange, launch) = priced().await;
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let url = ratebus.url("user-api");

    let mut socketio: Vec<(&str, SocketIo)> = ["polling", "websocket"]
        .map(|transport| (transport, SocketIo::connect_many(&url, CLIENTS, transport)))
        .into_iter()
        .collect();
    for (_, clients) in &mut socketio {
        all_clients(clients, |map| map["BTC_USD"].is_object()).await;
    }
    let (mut sockets, mut streams) = (Vec::new(), Vec::new());
    for _ in 0..CLIENTS {
        let (mut socket, mut stream) = (WebSocket::connect(&url, "").await, Sse::connect(&url).await);
        socket.until("BTC_USD", |_| true).await;
        stream.until("BTC_USD", |_| true).await;
        sockets.push(socket);
        streams.push(stream);
    }
    let admin = Admin::login(&ratebus).await;
    exchange.heartbeats(None);

    let changed = Instant::now();
    admin.set_spread("BTC_USD", "12.345", "7.5").await;
    let is_new = |quote: &Value| {
        quote["customer"] == json!({ "buy": "20012.55", "sell": "19992.60" }) && quote["rule"]["scope"] == "BTC_USD"
    };
    for socket in &mut sockets {
        socket.until("BTC_USD", is_new).await;
    }
    for stream in &mut streams {
        stream.until("BTC_USD", is_new).await;
    }
    for (_, clients) in &mut socketio {
        all_clients(clients, |map| map["BTC_USD"]["withSpread"] == json!({ "buy": 20012.55, "sell": 19992.6 })).await;
    }
    println!("{} clients had the new spread after {:?}", 4 * CLIENTS, changed.elapsed());
}

/// Waits until each of the clients has seen an event that is `wanted`.
async fn all_clients(clients: &mut SocketIo, wanted: impl Fn(&Value) -> bool) {
    let mut seen = [false; CLIENTS];
    while seen.contains(&false) {
        let line: Value = serde_json::from_str(&clients.next().await).unwrap();
        if wanted(&line["event"]) {
            seen[usize::try_from(line["client"].as_u64().unwrap()).unwrap()] = true;
        }
    }
}

#[tokio::test]
async fn an_acknowledged_spread_survives_being_killed() {
    let (_exchange, launch) = priced().await;
    for round in 1..=3_u32 {
        let ratebus = launch.start().await;
        ratebus.ready("user-api").await;
        let admin = Admin::login(&ratebus).await;
        let before = admin.send(Method::GET, "/v1/spreads/BTC_USD", Value::Null).await;
        assert_eq!(before.status(), if round == 1 { 404 } else { 200 });
        if round > 1 {
            assert_eq!(before.headers()["etag"], format!("\"{}\"", round - 1));
        }
        admin.set_spread("BTC_USD", &format!("{round}00"), "0").await;
        ratebus.signal("KILL");
        ratebus.exited().await;
    }
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let quote = quote_over_http(&ratebus.url("user-api"), "BTC_USD").await;
    assert_eq!(quote["customer"]["buy"], "20300.20");
    assert_eq!(quote["rule"], json!({ "scope": "BTC_USD", "revision": 3 }));
}

/// A writer that goes on until the process is killed, again and again.
#[tokio::test]
async fn killed_at_any_moment_it_keeps_what_it_acknowledged_and_nothing_by_halves() {
    kill_loop(Launch::new(), None).await;
}

#[tokio::test]
async fn killed_at_any_moment_it_keeps_as_much_on_a_server() {
    let server = Arc::new(Server::start(Kind::MariaDb, Options { durable: true, tls: false }));
    kill_loop(on_server(&Database::on(&server)), None).await;
}

#[tokio::test]
async fn whenever_the_server_is_killed_what_was_acknowledged_is_kept_and_nothing_by_halves() {
    let server = Arc::new(Server::start(Kind::MariaDb, Options { durable: true, tls: false }));
    kill_loop(on_server(&Database::on(&server)), Some(&server)).await;
}

fn on_server(database: &Database) -> Launch {
    let launch = Launch::new().set(&format!("plugin.api.config.database={}", database.url()));
    launch.set("plugin.api.config.migrate=true")
}

/// Kills ratebus, or the server it uses, again and again while spreads are written. `RATEBUS_KILL_ROUNDS` makes it longer,
/// `RATEBUS_KILL_SEED` repeats the moments of a run.
async fn kill_loop(launch: Launch, server: Option<&Server>) {
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let rounds = number("RATEBUS_KILL_ROUNDS").unwrap_or(12);
    let now = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let seed = number("RATEBUS_KILL_SEED").unwrap_or_else(now);
    println!("RATEBUS_KILL_SEED={seed}");

    let exchange = started().await;
    exchange.list("BTC/USD", "20000000.10", "20000000.20");
    let launch = launch.exchange(&exchange.url());
    Admin::create(&launch).await;
    let mut journal = Journal::default();
    let mut ratebus = launch.start().await;
    for round in 0..rounds {
        ratebus.ready("user-api").await;
        let admin = Admin::login(&ratebus).await;
        journal.compare(&ratebus, &admin).await;
        let kill = async {
            tokio::time::sleep(moment(seed, round)).await;
            match server {
                Some(server) => server.kill(),
                None => ratebus.signal("KILL"),
            }
        };
        tokio::join!(journal.write(&admin), kill);
        if let Some(server) = server {
            server.restart();
        } else {
            ratebus.exited().await;
            ratebus = launch.start().await;
        }
    }
    ratebus.ready("user-api").await;
    journal.compare(&ratebus, &Admin::login(&ratebus).await).await;
    let Journal { changes, kept, lost, .. } = journal;
    println!("{} changes in {rounds} rounds; {kept} unanswered ones were kept, {lost} were not", changes.len());
    assert!(changes.len() > kept, "nothing was acknowledged");
}

#[tokio::test]
async fn what_is_to_come_comes_once_however_often_it_is_killed() {
    const CHANGES: u64 = 30;
    let (_exchange, launch) = priced().await;
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let admin = Admin::login(&ratebus).await;
    let micros = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros();
    // Time enough for all of them to be stored first, on a slow machine too.
    let first = i64::try_from(micros).unwrap() + 10_000_000;
    for number in 0..CHANGES {
        let side = json!({ "value": (number + 1).to_string() });
        let from = Timestamp::from_micros(first + i64::try_from(number).unwrap() * 20_000);
        let body = json!({ "buy": side, "sell": side, "effectiveFrom": from });
        assert_eq!(admin.send(Method::PUT, "/v1/spreads/BTC_USD", body).await.status(), 202);
    }
    // Before the first one is due, and then while they come.
    ratebus.kill().await;
    let mut came = 0;
    for _ in 0..3 {
        let ratebus = launch.start().await;
        ratebus.ready("user-api").await;
        let admin = Admin::login(&ratebus).await;
        let more = eventually("another change", || async {
            let now = history(&admin).await.len();
            (now > came || now as u64 == CHANGES).then_some(now)
        });
        came = more.await;
        ratebus.kill().await;
    }
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let admin = Admin::login(&ratebus).await;
    eventually("the last one", || async { (history(&admin).await.len() as u64 == CHANGES).then_some(()) }).await;
    let mut old = Value::Null;
    for (number, change) in (1..).zip(history(&admin).await) {
        let new = markups(number);
        assert_eq!(change, json!([number, EMAIL, old, new, null]));
        old = new;
    }
    let quote = quote_over_http(&ratebus.url("user-api"), "BTC_USD").await;
    assert_eq!(quote["rule"], json!({ "scope": "BTC_USD", "revision": CHANGES }));
    let left: Value = admin.send(Method::GET, "/v1/spreads/scheduled", Value::Null).await.json().await.unwrap();
    assert_eq!(left["scheduled"], json!([]));
}

/// How long after the first write of a round the process is killed.
fn moment(seed: u64, round: u64) -> Duration {
    let mut hasher = DefaultHasher::new();
    (seed, round).hash(&mut hasher);
    Duration::from_millis(hasher.finish() % 150)
}

/// What the client knows.
#[derive(Default)]
struct Journal {
    /// The value of each revision, from the first.
    changes: Vec<u64>,
    /// The value that was sent last: none is sent twice.
    value: u64,
    /// Whether there was no answer to that.
    unanswered: bool,
    /// How many unanswered ones were found to be stored, and not.
    kept: usize,
    lost: usize,
}

impl Journal {
    /// Sets one spread after the other, until there is no answer.
    async fn write(&mut self, admin: &Admin) {
        loop {
            self.value += 1;
            let (markup, reason) = (json!({ "value": self.value.to_string() }), self.value.to_string());
            let body = json!({ "buy": markup, "sell": markup, "reason": reason });
            self.unanswered = true;
            let Ok(answer) = admin.try_send(Method::PUT, "/v1/spreads/BTC_USD", body).await else { return };
            // It does not know either, or could not begin.
            if answer.status() == 503 {
                return;
            }
            assert_eq!(answer.status(), if self.changes.is_empty() { 201 } else { 200 });
            self.unanswered = false;
            self.changes.push(self.value);
            assert_eq!(answer.headers()["etag"], format!("\"{}\"", self.changes.len()));
        }
    }

    /// Looks at everything that is kept of a change: the history, the spread, and the price made with it.
    async fn compare(&mut self, ratebus: &Ratebus, admin: &Admin) {
        let history = history(admin).await;
        if self.unanswered {
            let is_kept = history.len() > self.changes.len();
            self.changes.extend(is_kept.then_some(self.value));
            self.kept += usize::from(is_kept);
            self.lost += usize::from(!is_kept);
        }
        assert_eq!(history.len(), self.changes.len(), "changes that are stored, and that have to be");
        let mut old = Value::Null;
        for ((revision, value), change) in (1..).zip(&self.changes).zip(history) {
            let new = markups(*value);
            assert_eq!(change, json!([revision, EMAIL, old, new, value.to_string()]));
            old = new;
        }

        let spread = admin.send(Method::GET, "/v1/spreads/BTC_USD", Value::Null).await;
        let Some(value) = self.changes.last() else {
            assert_eq!(spread.status(), 404);
            return;
        };
        assert_eq!(spread.status(), 200);
        let spread: Value = spread.json().await.unwrap();
        assert_eq!(json!({ "buy": spread["buy"], "sell": spread["sell"] }), markups(*value));
        assert_eq!(spread["revision"], json!(self.changes.len()));
        // A change whose answer was lost is read back from the database.
        let rule = json!({ "scope": "BTC_USD", "revision": self.changes.len() });
        let quote = eventually("the price of the last change", || async {
            let quote = quote_over_http(&ratebus.url("user-api"), "BTC_USD").await;
            (quote["rule"] == rule).then_some(quote)
        });
        assert_eq!(quote.await["customer"]["buy"], format!("{}.20", 20_000_000 + value));
    }
}

fn markups(value: u64) -> Value {
    let side = json!({ "unit": "absolute", "value": value.to_string() });
    json!({ "buy": side, "sell": side })
}

/// All changes, oldest first: revision, actor, old and new markups, reason.
async fn history(admin: &Admin) -> Vec<Value> {
    let mut changes = Vec::new();
    let mut next = json!(i64::MAX);
    while !next.is_null() {
        let path = format!("/v1/spreads/BTC_USD/history?limit=200&before={next}");
        let page: Value = admin.send(Method::GET, &path, Value::Null).await.json().await.unwrap();
        let part = |change: &Value| ["revision", "actor", "old", "new", "reason"].map(|name| change[name].clone());
        changes.extend(page["changes"].as_array().unwrap().iter().map(|change| json!(part(change))));
        next = page["next"].clone();
    }
    changes.reverse();
    changes
}

#[tokio::test]
async fn logout_revokes_and_only_admins_set_spreads() {
    let (_exchange, launch) = priced().await;
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    let admin = Admin::login(&ratebus).await;
    admin.set_spread("BTC_USD", "1", "1").await;
    assert_eq!(admin.send(Method::DELETE, "/logout", Value::Null).await.status(), 200);
    let body = json!({ "buy": { "value": "9" }, "sell": { "value": "9" } });
    assert_eq!(admin.send(Method::PUT, "/v1/spreads/BTC_USD", body).await.status(), 401);
    let again = admin.send(Method::DELETE, "/logout", Value::Null).await;
    assert_eq!(again.status(), 400);
    assert_eq!(quote_over_http(&ratebus.url("user-api"), "BTC_USD").await["customer"]["buy"], "20001.20");
}
