//! For the tests of plugins: a [`Host`] in memory that delivers, remembers and can be waited on. Its inboxes are never
//! full, unless it is told to behave as if one were.
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a failed wait must fail the test"
)]

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{self, Poll},
    time::Duration,
};

use async_trait::async_trait;
use axum::{Router, body::Bytes};
use ratebus_model::{Epoch, Message, Pair, Pattern, Payload, Quote, Rate, Subject, Timestamp, Version};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Context, Env, Error, Health, HealthReport, Host, Inbox, Interest, Outgoing, PollInbox, PublishError, RequestError,
    Routes, Sessions,
};

/// A bus, an engine and their memory in one value.
pub struct RecordingHost {
    state: Mutex<State>,
    /// The length of the log, for waiting.
    published: watch::Sender<usize>,
    full: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    log: Vec<Arc<Message>>,
    last: HashMap<Subject, Arc<Message>>,
    inboxes: Vec<(Pattern, mpsc::UnboundedSender<Arc<Message>>)>,
    mounted: BTreeMap<String, Mounted>,
    health: Vec<Health>,
    sessions: Option<Arc<dyn Sessions>>,
}

impl State {
    fn last_values(&self, pattern: &Pattern) -> impl Iterator<Item = &Arc<Message>> {
        let is_there = |message: &&Arc<Message>| !matches!(message.payload, Payload::Gone);
        self.last.values().filter(is_there).filter(move |message| pattern.matches(&message.subject))
    }
}

struct Mounted {
    paths: Vec<String>,
    api: Bytes,
    router: Router,
}

impl RecordingHost {
    /// The epoch of every context and message.
    pub const EPOCH: Epoch = Epoch::new(7);

    /// An empty one.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), published: watch::Sender::new(0), full: watch::Sender::new(false) })
    }

    /// Whether some reader that wants every message ([`Policy::Block`](crate::Policy)) has no room: all others get what is
    /// published; who cannot wait is told, and who can waits until there is room.
    pub fn set_full(&self, full: bool) {
        self.full.send_replace(full);
    }

    /// A context for the plugin `name`. It stops with `context.cancel_token().cancel()`.
    pub fn context(self: &Arc<Self>, name: &str) -> Context {
        let health = Health::new(name);
        self.state().health.push(health.clone());
        Context::new(name.parse().unwrap(), Self::EPOCH, Arc::clone(self) as _, health, CancellationToken::new())
    }

    /// An inbox that hears what is published from now on, the last values first where `replay` asks for them.
    pub fn inbox(&self, interests: &[Interest]) -> Inbox {
        let subscribe = |interest: &Interest| {
            let (to, from) = mpsc::unbounded_channel();
            let mut state = self.state();
            for message in state.last_values(&interest.pattern).filter(|_| interest.replay) {
                to.send(Arc::clone(message)).unwrap();
            }
            state.inboxes.push((interest.pattern.clone(), to));
            Box::new(TestInbox(from)) as Box<dyn PollInbox>
        };
        Inbox::new(interests.iter().map(subscribe).collect())
    }

    /// Closes every inbox: sinks see the end of their messages.
    pub fn close_inboxes(&self) {
        self.state().inboxes.clear();
    }

    /// Everything published so far, in order.
    pub fn messages(&self) -> Vec<Arc<Message>> {
        self.state().log.clone()
    }

    /// The rates published so far, in order.
    pub fn rates(&self) -> Vec<Arc<Rate>> {
        let rate = |message: &Arc<Message>| match &message.payload {
            Payload::Rate(rate) => Some(Arc::clone(rate)),
            _ => None,
        };
        self.state().log.iter().filter_map(rate).collect()
    }

    /// The last rate `source` published of `pair`.
    pub fn rate(&self, source: &str, pair: Pair) -> Option<Arc<Rate>> {
        match &self.last_value(&Subject::rate(source.parse().unwrap(), pair))?.payload {
            Payload::Rate(rate) => Some(Arc::clone(rate)),
            _ => None,
        }
    }

    /// The last quote published of `pair`.
    pub fn quote(&self, pair: Pair) -> Option<Arc<Quote>> {
        match &self.last_value(&Subject::quote(pair))?.payload {
            Payload::Quote(quote) => Some(Arc::clone(quote)),
            _ => None,
        }
    }

    /// What was mounted on a listener.
    pub fn router(&self, listener: &str) -> Option<Router> {
        self.state().mounted.get(listener).map(|mounted| mounted.router.clone())
    }

    /// Takes everything off the listeners, as the engine does for a plugin that has stopped.
    pub fn unmount(&self) {
        let mounted = mem::take(&mut self.state().mounted);
        drop(mounted);
    }

    /// The paths mounted on a listener, as they were written.
    pub fn paths(&self, listener: &str) -> Vec<String> {
        self.state().mounted.get(listener).map(|mounted| mounted.paths.clone()).unwrap_or_default()
    }

    /// The first message, of those already published and those to come, that `wanted` accepts.
    ///
    /// # Panics
    /// When there is none before `deadline` has passed.
    pub async fn wait_for(&self, wanted: impl Fn(&Message) -> bool, deadline: Duration) -> Arc<Message> {
        let mut published = self.published.subscribe();
        let mut seen = 0;
        let search = async {
            loop {
                published.borrow_and_update();
                let found = {
                    let state = self.state();
                    let found = state.log[seen..].iter().find(|message| wanted(message)).cloned();
                    seen = state.log.len();
                    found
                };
                match found {
                    Some(message) => return message,
                    None => published.changed().await.unwrap(),
                }
            }
        };
        timeout(deadline, search).await.expect("the message waited for is published")
    }

    fn deliver(&self, message: Outgoing) -> usize {
        let mut state = self.state();
        let version = match state.last.get(&message.subject) {
            Some(last) => last.version.next(),
            None => Version::first(Self::EPOCH),
        };
        let Outgoing { subject, reply, headers, payload } = message;
        let published_at = Timestamp::from(std::time::SystemTime::now());
        let message = Arc::new(Message { subject, reply, headers, payload, version, published_at });
        state.last.insert(message.subject.clone(), Arc::clone(&message));
        state.log.push(Arc::clone(&message));
        let mut taken = 0;
        state.inboxes.retain(|(pattern, inbox)| {
            let wanted = pattern.matches(&message.subject);
            let open = if wanted { inbox.send(Arc::clone(&message)).is_ok() } else { !inbox.is_closed() };
            taken += usize::from(wanted && open);
            open
        });
        self.published.send_replace(state.log.len());
        taken
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Host for RecordingHost {
    fn try_publish(&self, message: Outgoing) -> Result<usize, PublishError> {
        let delivered = self.deliver(message);
        if *self.full.borrow() {
            return Err(PublishError::Full { subscription: "a reader of everything".into(), delivered });
        }
        Ok(delivered)
    }

    async fn publish(&self, message: Outgoing) -> Result<usize, PublishError> {
        let delivered = self.deliver(message);
        // The sender is our own, so there is always another value to come.
        let _ = self.full.subscribe().wait_for(|full| !full).await;
        Ok(delivered)
    }

    async fn request(&self, message: Outgoing, timeout: Duration) -> Result<Arc<Message>, RequestError> {
        let (answer, mut answers) = mpsc::unbounded_channel();
        let reply = {
            let mut state = self.state();
            let reply = Subject::reply(state.log.len() as u128);
            state.inboxes.push((reply.clone().into(), answer));
            reply
        };
        let taken = self.deliver(Outgoing { reply: Some(reply), ..message });
        if taken == 0 {
            return Err(RequestError::NoResponders);
        }
        tokio::time::timeout(timeout, answers.recv()).await.ok().flatten().ok_or(RequestError::TimedOut)
    }

    fn last_value(&self, subject: &Subject) -> Option<Arc<Message>> {
        self.state().last_values(&subject.clone().into()).next().cloned()
    }

    fn last_values(&self, pattern: &Pattern) -> Vec<Arc<Message>> {
        self.state().last_values(pattern).cloned().collect()
    }

    /// Whoever published them: it knows one plugin.
    fn own_subjects(&self, pattern: &Pattern) -> Vec<Subject> {
        self.state().last_values(pattern).map(|message| message.subject.clone()).collect()
    }

    /// Routes are called, not connected to: the address is nobody's.
    fn mount(&self, listener: &str, routes: Routes) -> Result<SocketAddr, Error> {
        let mounted = Mounted {
            paths: routes.paths().to_vec(),
            api: routes.api().to_json().unwrap_or_default().into(),
            router: routes.into_router(),
        };
        self.state().mounted.insert(listener.to_owned(), mounted);
        Ok((Ipv4Addr::LOCALHOST, 0).into())
    }

    fn offer_sessions(&self, sessions: Arc<dyn Sessions>) {
        self.state().sessions = Some(sessions);
    }

    fn sessions(&self) -> Option<Arc<dyn Sessions>> {
        self.state().sessions.clone()
    }

    /// What was mounted, without what the engine adds.
    fn api(&self, listener: &str) -> Bytes {
        self.state().mounted.get(listener).map(|mounted| mounted.api.clone()).unwrap_or_default()
    }

    fn health_report(&self) -> Vec<HealthReport> {
        let report = |health: &Health| HealthReport { plugin: health.name().to_owned(), state: health.state() };
        self.state().health.iter().map(report).collect()
    }
}

struct TestInbox(mpsc::UnboundedReceiver<Arc<Message>>);

impl PollInbox for TestInbox {
    fn poll_recv(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<Arc<Message>>> {
        self.0.poll_recv(cx)
    }
}

/// What a component named `name` is built with when the config has these listeners and nothing else.
pub fn env(name: &str, listeners: &[&str]) -> Env {
    let listeners = listeners.iter().map(|&listener| listener.to_owned()).collect();
    Env::new(name.parse().unwrap(), Arc::default(), Arc::default(), Arc::new(listeners), &[])
}

/// Looks again and again until `condition` holds, for what cannot be waited on otherwise (a health, a counter).
///
/// # Panics
/// When it does not hold before `deadline` has passed; `what` names it.
pub async fn eventually(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let holds = async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(deadline, holds).await.is_ok(), "not within {deadline:?}: {what}");
}
