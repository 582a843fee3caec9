use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, OnceLock},
    task::{self, Poll},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request},
};
use ratebus_http_api::{Config, DatabaseUrl, HttpApi, PasswordPolicy, admin};
use ratebus_sdk::{
    Compat, Context, Env, Error, Factory, PairSettings, Sink,
    model::{
        Limits, Market, Message, Pair, PairList, PairState, Payload, Price, Quote, Rate, RateKind, RateValue, Rule,
        RuleRef, Scope, Sides, Spread, Status, Subject, Timestamp, Version, Withheld, pricing,
    },
    testkit::{RecordingHost, eventually},
};
use ratebus_test_servers::{Client, Database, Kind, Options, Server};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tower::ServiceExt;

/// How long anything may take that a test waits for.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) const ADMIN: &str = "admin@example.com";
pub(crate) const ADMIN_PASSWORD: &str = "a password of an admin";
pub(crate) const USER: &str = "ann@example.com";
pub(crate) const USER_PASSWORD: &str = "correct horse";

/// The plugin, running.
pub(crate) struct Api {
    pub(crate) host: Arc<RecordingHost>,
    pub(crate) ctx: Context,
    pub(crate) folder: Arc<Home>,
    router: Router,
    run: JoinHandle<Result<(), Error>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The fields at fault with their rules, of an answer in the original's form.
    pub(crate) fn faults(&self) -> Vec<(String, String, String)> {
        assert_eq!((self.status, &self.json()["message"]), (422, &json!("Validation failed.")), "{self:?}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let errors = self.json()["data"]["errors"].as_array().unwrap().clone();
        errors.iter().map(|e| (text(&e["rule"]), text(&e["field"]), text(&e["message"]))).collect()
    }

    /// The detail of a problem document, everything else about it checked.
    pub(crate) fn problem(&self, status: u16) -> String {
        let json = self.json();
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!((&json["type"], &json["status"]), (&json!("about:blank"), &json!(status)));
        assert!(json["title"].is_string());
        json["detail"].as_str().unwrap().to_owned()
    }

    /// An envelope of the original, everything but its data checked.
    pub(crate) fn envelope(&self, status: u16, message: &str) -> Value {
        let json = self.json();
        let state = if status == 200 { "success" } else { "failed" };
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/json");
        assert_eq!(
            (&json["state"], &json["statusCode"], &json["message"]),
            (&json!(state), &json!(status), &json!(message))
        );
        json["data"].clone()
    }
}

/// The environment of a plugin with these pairs in the config.
pub(crate) fn env(pairs: BTreeMap<Pair, PairSettings>, compat: Compat) -> Env {
    let listeners = BTreeSet::from(["http".to_owned()]);
    Env::new("api".parse().unwrap(), Arc::new(pairs), Arc::new(compat), Arc::new(listeners), &[])
}

/// One without pairs in the config.
pub(crate) fn plain() -> Env {
    env(BTreeMap::new(), Compat::default())
}

/// Where the plugin keeps what is its own: a folder, and a database of the kind that is tested.
pub(crate) struct Home {
    folder: TempDir,
    pub(crate) database: Database,
}

impl Home {
    /// With a file for a database, whatever kind is tested.
    pub(crate) fn with_file() -> Arc<Self> {
        let folder = TempDir::new().unwrap();
        Arc::new(Self { database: Database::file(folder.path()), folder })
    }

    /// With a new database on this server.
    pub(crate) fn on(server: &Arc<Server>) -> Arc<Self> {
        Arc::new(Self { folder: TempDir::new().unwrap(), database: Database::on(server) })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A new [`Home`]; one server serves all tests.
pub(crate) fn folder() -> Arc<Home> {
    static SERVER: OnceLock<Arc<Server>> = OnceLock::new();
    if crate::KIND == Kind::Sqlite {
        return Home::with_file();
    }
    let server = SERVER.get_or_init(|| Arc::new(Server::start(crate::KIND, Options::default())));
    Home::on(server)
}

pub(crate) fn build(config: Value, env: &Env) -> HttpApi {
    HttpApi::build(serde_json::from_value::<Config>(config).unwrap(), env).unwrap()
}

/// The rules of a config that does not name any.
pub(crate) fn policy() -> PasswordPolicy {
    PasswordPolicy::default()
}

pub(crate) fn database(folder: &Home) -> DatabaseUrl {
    folder.database.url().parse().unwrap()
}

impl Api {
    /// Starts with these groups of routes and a database of its own.
    pub(crate) async fn start(groups: &[&str]) -> Self {
        Self::start_in(groups, &plain()).await
    }

    /// As [`Api::start`], with this around the plugin.
    pub(crate) async fn start_in(groups: &[&str], env: &Env) -> Self {
        Self::start_with(groups, &json!({}), env, &folder()).await
    }

    /// As [`Api::start_in`], with more config and this folder, and waits until it is ready.
    pub(crate) async fn start_with(groups: &[&str], more: &Value, env: &Env, folder: &Arc<Home>) -> Self {
        let api = Self::launch(groups, more, env, folder);
        let health = api.ctx.health().clone();
        eventually("the plugin is ready", DEADLINE, || health.state().is_ready()).await;
        api
    }

    /// As [`Api::start_with`], without waiting for anything but the routes.
    pub(crate) fn launch(groups: &[&str], more: &Value, env: &Env, folder: &Arc<Home>) -> Self {
        Self::launch_on(RecordingHost::new(), groups, more, env, folder)
    }

    /// On a bus where something has been said before.
    pub(crate) fn launch_on(
        host: Arc<RecordingHost>,
        groups: &[&str],
        more: &Value,
        env: &Env,
        folder: &Arc<Home>,
    ) -> Self {
        let mut config =
            json!({ "listener": "http", "routes": groups, "database": folder.database.url(), "migrate": true });
        let key = folder.path().join("data/jwt.key");
        config["signing_key_file"] = json!(key);
        // Everything comes from one address here; what is limited, and how, has tests of its own.
        config["login_attempts"] = json!(100);
        config["registrations_per_hour"] = json!(1000);
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let ctx = host.context("api");
        let plugin = Box::new(build(config, env));
        let inbox = host.inbox(&plugin.interests());
        let mut run = Box::pin(plugin.run(inbox, ctx.clone()));
        // The first poll mounts the routes.
        let mut noop = task::Context::from_waker(task::Waker::noop());
        let run = match run.as_mut().poll(&mut noop) {
            Poll::Ready(ended) => tokio::spawn(async move { ended }),
            Poll::Pending => tokio::spawn(run),
        };
        let router = host.router("http").expect("routes are mounted");
        Self { host, ctx, folder: Arc::clone(folder), router, run }
    }

    /// Stops it and returns how it ended.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        self.ctx.cancel_token().cancel();
        self.run.await.unwrap()
    }

    /// How it ended, by itself.
    pub(crate) async fn ended(self) -> Result<(), Error> {
        let ended = tokio::time::timeout(DEADLINE, self.run).await;
        ended.unwrap_or_else(|_| panic!("the plugin goes on: {:?}", self.ctx.health())).unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        // Some files are compressed.
        let text = String::from_utf8_lossy(&body).into_owned();
        Answer { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    /// A request with any headers and any body.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method.parse::<Method>().unwrap()).uri(path);
        request = request.header("x-request-id", "test-1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, &body.to_string()).await
    }

    pub(crate) async fn post_text(&self, path: &str, body: &str) -> Answer {
        self.call("POST", path, &[("content-type", "application/json")], body.to_owned()).await
    }

    /// A request with a token; a body makes it JSON.
    pub(crate) async fn authed(&self, token: &str, method: &str, path: &str, body: Option<&str>) -> Answer {
        self.conditional(token, method, path, body, &[]).await
    }

    /// As [`Api::authed`], with conditions.
    pub(crate) async fn conditional(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<&str>,
        conditions: &[(&str, &str)],
    ) -> Answer {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(body.map(|_| ("content-type", "application/json")));
        headers.extend(conditions);
        self.call(method, path, &headers, body.unwrap_or_default().to_owned()).await
    }

    pub(crate) async fn register(&self, email: &str, password: &str) -> Answer {
        self.post("/register", &registration(email, password)).await
    }

    pub(crate) async fn login(&self, email: &str, password: &str) -> Answer {
        self.post("/login", &json!({ "email": email, "password": password })).await
    }

    /// The token of a login that must work.
    pub(crate) async fn token(&self, email: &str, password: &str) -> String {
        // A machine that is busy may have no time for a hash at once.
        let login = async {
            loop {
                let answer = self.login(email, password).await;
                if answer.status != 503 {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let answer = tokio::time::timeout(DEADLINE, login).await.expect("a login in time");
        let data = answer.envelope(200, "You're loggedin");
        data["token"]["token"].as_str().unwrap().to_owned()
    }

    /// What is stored.
    pub(crate) async fn rows(&self) -> Client {
        self.folder.database.client().await
    }

    /// The token of a new administrator.
    pub(crate) async fn admin(&self) -> String {
        admin::create_admin(&database(&self.folder), ADMIN, ADMIN_PASSWORD.into(), &policy()).await.unwrap();
        self.token(ADMIN, ADMIN_PASSWORD).await
    }

    /// The token of a new user.
    pub(crate) async fn user(&self) -> String {
        assert_eq!(self.register(USER, USER_PASSWORD).await.status, 200);
        self.token(USER, USER_PASSWORD).await
    }

    /// Publishes a live quote; `rule` is what it was made with, as signed adjustments.
    pub(crate) fn quote(&self, pair: &str, bid: &str, ask: &str, rule: Option<Rule>) {
        self.quote_of_age(pair, bid, ask, rule, Duration::ZERO);
    }

    /// As [`Api::quote`], last confirmed so long ago.
    pub(crate) fn quote_of_age(&self, pair: &str, bid: &str, ask: &str, rule: Option<Rule>, age: Duration) {
        let (pair, bid, ask): (Pair, Price, Price) = (parse(pair), parse(bid), parse(ask));
        let original = Sides { buy: ask, sell: bid };
        let step = pricing::step_of_scale(bid.scale().max(ask.scale()));
        let customer = rule.as_ref().map_or(Err(Withheld::NoSpread), |rule| {
            pricing::price(original, rule, step).map_err(|_| Withheld::InvalidSpread)
        });
        let now = self.ctx.clock().wall();
        let quote = Quote {
            pair,
            source: parse("kraken"),
            sources: [parse("kraken")].into(),
            kind: RateKind::TwoSided,
            bid,
            ask,
            original,
            customer,
            rule: rule.map(|_| RuleRef { scope: Some(Scope::Pair(pair)), revision: 1 }),
            step,
            market: Market::Online,
            published_status: Status::Fresh,
            event_time: None,
            recv_time: now,
            published_time: now,
            confirmed_at: ago(age),
            limits: Limits::STREAM,
            version: Version::first(RecordingHost::EPOCH),
        };
        self.ctx.try_publish(&Subject::quote(pair), quote).unwrap();
    }

    /// Publishes a rate, last confirmed so long ago.
    pub(crate) fn rate(&self, source: &str, pair: &str, bid: &str, ask: &str, age: Duration) {
        let rate = Rate {
            source: parse(source),
            pair: parse(pair),
            value: RateValue::TwoSided { bid: parse(bid), ask: parse(ask) },
            market: Market::Online,
            event_time: Some(parse::<Timestamp>("2026-09-19T18:57:46.849909Z")),
            recv_time: self.ctx.clock().wall(),
            confirmed_at: ago(age),
            limits: Limits::STREAM,
            version: Version::first(RecordingHost::EPOCH),
        };
        self.ctx.try_publish(&Subject::rate(rate.source, rate.pair), rate).unwrap();
    }

    /// Announces the pairs of a source.
    pub(crate) fn pairs(&self, source: &str, pairs: &[(&str, PairState)]) {
        let pairs = pairs.iter().map(|(pair, state)| (parse(pair), state.clone())).collect();
        let list = PairList { source: parse(source), pairs };
        self.ctx.try_publish(&Subject::pairs(list.source), list).unwrap();
    }

    /// The spreads that went over the bus, in order.
    pub(crate) fn published_spreads(&self) -> Vec<Arc<Spread>> {
        let spread = |message: &Arc<Message>| match &message.payload {
            Payload::Spread(spread) => Some(Arc::clone(spread)),
            _ => None,
        };
        self.host.messages().iter().filter_map(spread).collect()
    }
}

pub(crate) fn registration(email: &str, password: &str) -> Value {
    json!({ "firstName": "Ann", "lastName": "Other", "email": email, "password": password, "confirmPassword": password })
}

pub(crate) fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// Some time ago. The monotonic clock may have started after that: then as long ago as it can say.
fn ago(age: Duration) -> Instant {
    Instant::now().checked_sub(age).expect("the machine has been up for long enough")
}
