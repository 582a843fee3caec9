//! How often may be tried: to log in, and to register.
//!
//! A failed login, or a wrong password where a new one is set, counts three times over: for the account (known or not:
//! nothing here looks), for the address, and for both together.
//!
//! | counted by | free | then |
//! |---|---|---|
//! | account and address | `login_attempts` in a row | a delay of 1 s that doubles with each failure, up to 15 min |
//! | account | 100 in a row (NIST SP 800-63B: at most) | 15 min after each failure |
//! | address | 10 × `login_attempts` in 15 min | the rest of the 15 min |
//!
//! The strict rule is the one for both together. An attacker at one address soon waits there, and the owner, who is at
//! another, does not notice. Were it for the account alone, anybody could lock out anybody. The second rule bounds what
//! an attacker with many addresses can guess, the third what one with many accounts (and one password) can.
//!
//! Those two could still be used to keep an owner out, with patience. So an address from which the account was logged in
//! to within 30 days waits for its own failures only, as long as it has free ones; an owner at a new address shares what
//! an attacker has left. (Who shares a known address could tell from this that the account exists, which registering
//! tells anybody.)
//!
//! A success clears the account's counter and that of the address for this account, and not those of other addresses: an
//! owner who logs in would give an attacker five more. The address's own counter merely does not count it: else an
//! attacker could clear it with an account of their own. No lock is for good: 15 min is the longest wait, and what is in
//! a row is forgotten after a day without a failure.
//!
//! An attempt is counted when the hasher has a turn for it and before the password is looked at, and taken back if it
//! was right: of a hundred sent at once, five are looked at, and while the hasher is busy nothing is written. A refused
//! attempt costs no hash and is not counted. Counters are in the database, so that they survive a restart and hold for
//! every instance.
//!
//! The address is the client's as the listener knows it, whatever else a request's headers say. Of IPv6 it is the /64: that
//! is what one customer gets, and they may use any address in it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ratebus_model::Timestamp;
use tracing::field::display;

use super::{
    Busy, Turn, masked,
    quota::{Quota, QuotaSlot},
};
use crate::{
    caller::Caller,
    envelope::Failure,
    problem::Problem,
    state::{App, Backend, Unavailable},
    store::{Key, Tally},
};

/// The first delay.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// The longest one.
const LONGEST_DELAY: Duration = Duration::from_mins(15);
/// How many failed logins in a row an account may have, wherever they come from.
pub(crate) const MOST_FAILURES: u32 = 100;
/// How many failed logins an address may have, as a multiple of those for one account.
const ACCOUNTS_PER_ADDRESS: u32 = 10;
/// How long failures in a row are remembered after the last one.
const MEMORY: Duration = Duration::from_hours(24);
/// How long the address of a successful login is remembered.
const KNOWN: Duration = Duration::from_hours(30 * 24);

/// How often may be tried, by the config.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) login_attempts: u32,
    pub(crate) registrations_per_hour: u32,
}

/// One line of the table above.
struct Limit {
    /// For the log and metrics.
    by: &'static str,
    key: Key,
    free: u32,
    rule: Rule,
}

#[derive(Clone, Copy)]
enum Rule {
    /// The free attempts are those in a row; then there is this delay, twice as long after each further one.
    InARow(Duration),
    /// The free attempts are those within this time, from the first one.
    Within(Duration),
}

impl Limit {
    /// How long to wait before the next attempt.
    fn wait(&self, tally: Tally, now: Timestamp) -> Duration {
        let Some(over) = tally.tries.checked_sub(self.free) else { return Duration::ZERO };
        let (until, longest) = match self.rule {
            Rule::InARow(first) => {
                let delay = first.saturating_mul(2_u32.saturating_pow(over)).min(LONGEST_DELAY);
                (tally.last_at.plus(delay), delay)
            }
            Rule::Within(window) => (tally.expires_at, window),
        };
        // Bounded, because a clock may have been set back since.
        now.age_at(until).min(longest)
    }

    /// How long an attempt counts.
    fn window(&self) -> Duration {
        match self.rule {
            Rule::InARow(_) => MEMORY,
            Rule::Within(window) => window,
        }
    }

    /// One attempt more.
    fn count(&self, tally: Option<Tally>, now: Timestamp) -> Tally {
        let expires_at = match (self.rule, tally) {
            (Rule::Within(_), Some(tally)) => tally.expires_at,
            _ => now.plus(self.window()),
        };
        Tally { tries: tally.map_or(0, |tally| tally.tries).saturating_add(1), last_at: now, expires_at }
    }
}

/// How long to wait, and by which limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wait {
    time: Duration,
    by: &'static str,
}

/// Why an attempt is not made.
pub(super) enum Refused {
    /// It has to wait so long.
    TooMany(Duration),
    /// Too many are being made.
    Busy(Busy),
    /// It could not be counted.
    Unavailable(Unavailable),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TooMany(wait) => Self::too_many(wait),
            Refused::Busy(busy) => busy.into(),
            Refused::Unavailable(error) => error.into(),
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TooMany(wait) => Self::too_many(wait),
            Refused::Busy(busy) => busy.into(),
            Refused::Unavailable(error) => error.into(),
        }
    }
}

impl From<Busy> for Refused {
    fn from(busy: Busy) -> Self {
        Self::Busy(busy)
    }
}

impl From<Unavailable> for Refused {
    fn from(error: Unavailable) -> Self {
        Self::Unavailable(error)
    }
}

/// An attempt that may be made, and is counted.
pub(super) struct Attempt {
    /// The strictest first.
    limits: Vec<Limit>,
    /// The row of an address that the account was logged in to from.
    known: Option<Key>,
    /// What the next one has to wait for, unless this one is taken back.
    next: Option<Wait>,
    /// Tells the caller what is left.
    told: QuotaSlot,
}

impl Attempt {
    /// An attempt to log in to an account, counted as failed until it [`succeeded`](Self::succeeded), with the turn to
    /// look at the password.
    pub(super) async fn login<'a>(app: &'a App, caller: &Caller, account: &str) -> Result<(Self, Turn<'a>), Refused> {
        let address = network(caller.peer);
        let key = |counter, account: &str, address: &str| Key {
            counter,
            account: account.to_owned(),
            address: address.to_owned(),
        };
        let free = app.backend()?.limits.login_attempts;
        let limit = |by, account, address, free, rule| Limit { by, key: key("login", account, address), free, rule };
        let limits = vec![
            limit("account_and_address", account, &address, free, Rule::InARow(FIRST_DELAY)),
            limit("account", account, "", MOST_FAILURES, Rule::InARow(LONGEST_DELAY)),
            limit("address", "", &address, free * ACCOUNTS_PER_ADDRESS, Rule::Within(LONGEST_DELAY)),
        ];
        let known = Some(key("known", account, &address));
        Self { limits, known, next: None, told: caller.quota.clone() }.admitted(app).await
    }

    /// An attempt to register, counted however it ends, with the turn to hash the password.
    pub(super) async fn registration<'a>(app: &'a App, caller: &Caller) -> Result<(Self, Turn<'a>), Refused> {
        let key = Key { counter: "registration", account: String::new(), address: network(caller.peer) };
        let free = app.backend()?.limits.registrations_per_hour;
        let limit = Limit { by: "registrations", key, free, rule: Rule::Within(Duration::from_hours(1)) };
        Self { limits: vec![limit], known: None, next: None, told: caller.quota.clone() }.admitted(app).await
    }

    async fn admitted(mut self, app: &App) -> Result<(Self, Turn<'_>), Refused> {
        let Backend { store, hasher, .. } = app.backend()?;
        let now = app.ctx.clock().wall();
        // Looked at first without the lock that writers need: who is refused must not keep them waiting.
        let tallies = store.tallies(self.keys(), now).await.map_err(|error| app.refuse(&error))?;
        self.check(&tallies, now)?;
        let turn = hasher.turn().await?;
        let now = app.ctx.clock().wall();
        let mut writer = store.write_tallies(now).await.map_err(|error| app.refuse(&error))?;
        let mut tallies = writer.tallies(self.keys()).await.map_err(|error| app.refuse(&error))?;
        self.check(&tallies, now)?;
        for (limit, tally) in self.limits.iter().zip(&mut tallies) {
            let counted = limit.count(*tally, now);
            writer.put(&limit.key, counted).await.map_err(|error| app.refuse(&error))?;
            *tally = Some(counted);
        }
        writer.commit().await.map_err(|error| app.refuse(&error))?;
        self.next = self.wait(&tallies, now);
        self.told.set(self.quota(&tallies, now));
        Ok((self, turn))
    }

    /// The keys of all limits, and then that of a known address.
    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.limits.iter().map(|limit| &limit.key).chain(&self.known)
    }

    fn check(&self, tallies: &[Option<Tally>], now: Timestamp) -> Result<(), Refused> {
        let Some(Wait { time, by }) = self.wait(tallies, now) else { return Ok(()) };
        metrics::counter!("ratebus_throttled_total", "by" => by).increment(1);
        self.told.set(self.quota(tallies, now));
        Err(Refused::TooMany(time))
    }

    /// The longest wait that the tallies of [`keys`](Self::keys) ask for.
    fn wait(&self, tallies: &[Option<Tally>], now: Timestamp) -> Option<Wait> {
        self.binding(tallies)
            .filter_map(|(limit, tally)| Some((limit, tally?)))
            .map(|(limit, tally)| Wait { time: limit.wait(tally, now), by: limit.by })
            .filter(|wait| !wait.time.is_zero())
            .max_by_key(|wait| wait.time)
    }

    /// The limits that hold for the caller, with their tallies: at a known address with free attempts the first alone.
    fn binding<'a>(
        &'a self,
        tallies: &'a [Option<Tally>],
    ) -> impl Iterator<Item = (&'a Limit, Option<Tally>)> + use<'a> {
        let counted = self.limits.iter().zip(tallies.iter().copied());
        let is_free = |(limit, tally): (&Limit, Option<Tally>)| tally.is_none_or(|tally| tally.tries < limit.free);
        let known = tallies.get(self.limits.len()).is_some_and(Option::is_some);
        let alone = known && counted.clone().next().is_some_and(is_free);
        let number = if alone { 1 } else { self.limits.len() };
        counted.take(number)
    }

    /// What is left, in terms of the first limit: the one that a client sees most of.
    fn quota(&self, tallies: &[Option<Tally>], now: Timestamp) -> Option<Quota> {
        let (first, tally) = self.limits.first().zip(tallies.first())?;
        let wait = self.wait(tallies, now);
        let left = |(limit, tally): (&Limit, Option<Tally>)| limit.free.saturating_sub(tally.map_or(0, |t| t.tries));
        let remaining = match wait {
            Some(_) => 0,
            // Where a wait is over, there is one attempt until the next.
            None => self.binding(tallies).map(left).min()?.clamp(1, first.free),
        };
        let forgotten = tally.map(|tally| now.age_at(tally.expires_at).min(first.window()));
        let reset = wait.map(|wait| wait.time).or(forgotten);
        Some(Quota { policy: first.key.counter, free: first.free, window: first.window(), remaining, reset })
    }

    /// The login was right.
    pub(super) async fn succeeded(self, app: &App) -> Result<(), Unavailable> {
        let (store, now) = (&app.backend()?.store, app.ctx.clock().wall());
        let mut writer = store.write_tallies(now).await.map_err(|error| app.refuse(&error))?;
        for limit in &self.limits {
            match limit.rule {
                Rule::InARow(_) => writer.remove(&limit.key).await,
                Rule::Within(_) => writer.take_back(&limit.key).await,
            }
            .map_err(|error| app.refuse(&error))?;
        }
        if let Some(known) = &self.known {
            let tally = Tally { tries: 0, last_at: now, expires_at: now.plus(KNOWN) };
            writer.put(known, tally).await.map_err(|error| app.refuse(&error))?;
        }
        let tallies = writer.tallies(self.keys()).await.map_err(|error| app.refuse(&error))?;
        self.told.set(self.quota(&tallies, now));
        writer.commit().await.map_err(|error| app.refuse(&error))
    }

    /// Passes on how the attempt went. An error means that nothing was looked at: then it does not count.
    pub(super) async fn made<T, E>(&self, app: &App, result: Result<T, E>) -> Result<T, E> {
        if result.is_err() {
            self.told.set(None);
            // Or else it counts, which is the safe side.
            let _taken_back = self.take_back(app).await;
        }
        result
    }

    async fn take_back(&self, app: &App) -> Result<(), Unavailable> {
        let (store, now) = (&app.backend()?.store, app.ctx.clock().wall());
        let mut writer = store.write_tallies(now).await.map_err(|error| app.refuse(&error))?;
        for limit in &self.limits {
            writer.take_back(&limit.key).await.map_err(|error| app.refuse(&error))?;
        }
        writer.commit().await.map_err(|error| app.refuse(&error))
    }

    /// Tells the log if the next attempt has to wait. Once for each attempt that was made; those that are refused
    /// meanwhile could fill the log.
    pub(super) fn log(&self, caller: &Caller, account: &str) {
        let Some(Wait { time, by }) = self.next else { return };
        let (event, account, peer) = ("throttled", masked(account), caller.peer.map(display));
        let (seconds, request_id) = (time.as_secs(), caller.request_id.as_deref());
        tracing::warn!(event, account, by, seconds, peer, request_id, "too many attempts: the next must wait");
    }
}

/// Whose connection it is, as far as an address tells.
fn network(peer: Option<SocketAddr>) -> String {
    match peer.map(|peer| ratebus_sdk::network(peer.ip())) {
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => format!("{address}/64"),
        None => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ratebus_sdk::{Env, testkit::RecordingHost};
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;
    use crate::{config::Settings, state::Shared};

    const START: Timestamp = Timestamp::from_micros(1_000_000_000_000_000);

    fn limit(free: u32, rule: Rule) -> Limit {
        let key = Key { counter: "login", account: String::new(), address: String::new() };
        Limit { by: "test", key, free, rule }
    }

    /// The wait after each of so many attempts, each made as soon as it may be.
    fn waits(limit: &Limit, attempts: u32) -> Vec<u64> {
        let (mut now, mut tally, mut waits) = (START, None, Vec::new());
        for _ in 0..attempts {
            let counted = limit.count(tally.filter(|tally: &Tally| tally.expires_at > now), now);
            let wait = limit.wait(counted, now);
            (now, tally) = (now.plus(wait), Some(counted));
            waits.push(wait.as_secs());
        }
        waits
    }

    #[test]
    fn the_delay_doubles_up_to_a_quarter_of_an_hour_and_ends() {
        let strict = waits(&limit(5, Rule::InARow(FIRST_DELAY)), 100);
        assert_eq!(strict[..17], [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
        assert_eq!(strict[99], 900);
        let account = waits(&limit(MOST_FAILURES, Rule::InARow(LONGEST_DELAY)), 102);
        assert_eq!(account[98..], [0, 900, 900, 900]);
        assert!(account[..98].iter().all(|wait| *wait == 0));
        let window = limit(3, Rule::Within(Duration::from_mins(1)));
        assert_eq!(waits(&window, 7), [0, 0, 60, 0, 0, 60, 0]);
        // From the first attempt on, not from the last one.
        let later = START.plus(Duration::from_secs(40));
        let tally = (0..2).fold(window.count(None, START), |tally, _| window.count(Some(tally), later));
        assert_eq!(window.wait(tally, later).as_secs(), 20);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nobody_wait_longer() {
        let before = Timestamp::from_micros(0);
        for (rule, wait) in [(Rule::InARow(FIRST_DELAY), 1), (Rule::Within(Duration::from_mins(1)), 60)] {
            let limit = limit(1, rule);
            assert_eq!(limit.wait(limit.count(None, START), before).as_secs(), wait);
        }
    }

    /// With one free login and one registration, and its database in `folder`.
    async fn app(folder: &TempDir) -> (Shared, Caller) {
        let database = format!("sqlite://{}", folder.path().join("ratebus.db").display());
        let config = json!({ "listener": "http", "routes": ["accounts"], "database": database, "login_attempts": 1,
            "registrations_per_hour": 1 });
        let listeners = Arc::new(["http".to_owned()].into());
        let env = Env::new("api".parse().unwrap(), Arc::default(), Arc::default(), listeners, &[]);
        let settings = Settings::new(serde_json::from_value(config).unwrap(), &env).unwrap().backend.unwrap();
        let app = App::new(RecordingHost::new().context("api"), env, 1);
        app.opened(Backend::open(&settings).await.unwrap());
        (app, Caller { request_id: None, peer: None, token: None, quota: QuotaSlot::default() })
    }

    #[tokio::test]
    async fn what_was_not_looked_at_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let (app, caller) = app(&folder).await;
        for _ in 0..3 {
            let (login, _) = Attempt::login(&app, &caller, "ann@example.com").await.ok().unwrap();
            assert!(login.made(&app, Err::<(), _>(Busy)).await.is_err());
            let (registration, _) = Attempt::registration(&app, &caller).await.ok().unwrap();
            assert!(registration.made(&app, Err::<(), _>(Busy)).await.is_err());
        }
        let (login, _) = Attempt::login(&app, &caller, "ann@example.com").await.ok().unwrap();
        assert!(login.made(&app, Ok::<_, Busy>(())).await.is_ok());
        assert!(matches!(Attempt::login(&app, &caller, "ann@example.com").await, Err(Refused::TooMany(_))));
        assert!(Attempt::registration(&app, &caller).await.is_ok());
        assert!(matches!(Attempt::registration(&app, &caller).await, Err(Refused::TooMany(_))));
    }

    /// Who writes is not kept waiting by logins that there is no turn for: they do not even queue.
    #[tokio::test]
    async fn while_the_hasher_is_busy_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (app, caller) = app(&folder).await;
        let Backend { store, hasher, .. } = app.backend().unwrap();
        let writer = store.write_tallies(START).await.unwrap();
        let places = hasher.occupy();
        for _ in 0..3 {
            assert!(matches!(Attempt::login(&app, &caller, "ann@example.com").await, Err(Refused::Busy(Busy))));
            assert!(matches!(Attempt::registration(&app, &caller).await, Err(Refused::Busy(Busy))));
        }
        drop((writer, places));
        assert!(Attempt::login(&app, &caller, "ann@example.com").await.is_ok());
        assert!(Attempt::registration(&app, &caller).await.is_ok());
        // Who has to wait is told so, however busy it is.
        let _places = hasher.occupy();
        assert!(matches!(Attempt::login(&app, &caller, "ann@example.com").await, Err(Refused::TooMany(_))));
    }

    #[test]
    fn an_address_is_what_one_customer_has() {
        let network = |peer: &str| super::network(Some(peer.parse().unwrap()));
        assert_eq!(network("192.0.2.7:50000"), "192.0.2.7");
        assert_eq!(network("[::ffff:192.0.2.7]:50000"), "192.0.2.7");
        assert_eq!(network("[2001:db8:1:2:3:4:5:6]:50000"), "2001:db8:1:2::/64");
        assert_eq!(network("[2001:db8:1:2:ffff::1]:1"), "2001:db8:1:2::/64");
        assert_eq!(super::network(None), "unknown");
    }
}
