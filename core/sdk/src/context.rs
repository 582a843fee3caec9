use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::body::Bytes;
use ratebus_model::{Epoch, Message, Outgoing, Pattern, Payload, PublishError, RequestError, SourceName, Subject};
use tokio_util::sync::CancellationToken;

use crate::{Clock, Error, Health, HealthReport, Routes, Sessions};

/// What the engine does for a plugin. Plugins use it through [`Context`].
#[async_trait]
pub trait Host: Send + Sync {
    /// Delivers without waiting; how many subscriptions took it.
    fn try_publish(&self, message: Outgoing) -> Result<usize, PublishError>;
    /// Delivers, waiting for full inboxes that ask for it.
    async fn publish(&self, message: Outgoing) -> Result<usize, PublishError>;
    /// Publishes and waits for one answer.
    async fn request(&self, message: Outgoing, timeout: Duration) -> Result<Arc<Message>, RequestError>;
    /// The last value of a subject.
    fn last_value(&self, subject: &Subject) -> Option<Arc<Message>>;
    /// The last values of all matching subjects, in no order.
    fn last_values(&self, pattern: &Pattern) -> Vec<Arc<Message>>;
    /// The matching subjects whose last value this plugin has published, in an earlier run too, in no order.
    fn own_subjects(&self, pattern: &Pattern) -> Vec<Subject>;
    /// Puts routes on a listener; where it listens.
    fn mount(&self, listener: &str, routes: Routes) -> Result<SocketAddr, Error>;
    /// Makes `sessions` the service that plugins of this process ask, in the place of one offered before.
    fn offer_sessions(&self, sessions: Arc<dyn Sessions>);
    /// The service that was offered last.
    fn sessions(&self) -> Option<Arc<dyn Sessions>>;
    /// The OpenAPI document (3.1) of what a listener serves now, as JSON; empty for a listener that is not there.
    fn api(&self, listener: &str) -> Bytes;
    /// The health of every component of this process.
    fn health_report(&self) -> Vec<HealthReport>;
}

/// A plugin's way to everything outside it. Clones are cheap and mean the same.
#[derive(Clone)]
pub struct Context {
    name: SourceName,
    epoch: Epoch,
    host: Arc<dyn Host>,
    health: Health,
    cancel: CancellationToken,
}

impl Context {
    /// For the engine and for tests: a context over `host`.
    pub fn new(name: SourceName, epoch: Epoch, host: Arc<dyn Host>, health: Health, cancel: CancellationToken) -> Self {
        Self { name, epoch, host, health, cancel }
    }

    /// The plugin's name in the config.
    pub fn name(&self) -> SourceName {
        self.name
    }

    /// This run's epoch, for values that carry a version of their own.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The clocks.
    pub fn clock(&self) -> Clock {
        Clock
    }

    /// The plugin's health, to be kept true by the plugin.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Resolves when the plugin is asked to stop. Cancel-safe.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// For handing to tasks that must stop with the plugin.
    pub fn cancel_token(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Publishes without waiting. Returns how many subscriptions took the message.
    pub fn try_publish(&self, subject: &Subject, payload: impl Into<Payload>) -> Result<usize, PublishError> {
        self.host.try_publish(Outgoing::new(subject.clone(), payload))
    }

    /// Publishes, waiting for full inboxes that ask for it. Rates, quotes and spreads have none.
    ///
    /// Not cancel-safe: dropped early, some of the full inboxes may have the message and some not.
    pub async fn publish(&self, subject: &Subject, payload: impl Into<Payload> + Send) -> Result<usize, PublishError> {
        self.host.publish(Outgoing::new(subject.clone(), payload)).await
    }

    /// Asks on `subject` and waits for the first answer.
    pub async fn request(
        &self,
        subject: &Subject,
        payload: impl Into<Payload> + Send,
        timeout: Duration,
    ) -> Result<Arc<Message>, RequestError> {
        self.host.request(Outgoing::new(subject.clone(), payload), timeout).await
    }

    /// Answers a request. A message that expects no answer is left alone.
    pub async fn respond(&self, request: &Message, payload: impl Into<Payload> + Send) -> Result<usize, PublishError> {
        match &request.reply {
            Some(reply) => self.publish(reply, payload).await,
            None => Ok(0),
        }
    }

    /// The last value published on `subject`, if it is kept and not too old.
    pub fn last_value(&self, subject: &Subject) -> Option<Arc<Message>> {
        self.host.last_value(subject)
    }

    /// The last values of all subjects under `pattern`, in no order.
    pub fn last_values(&self, pattern: &Pattern) -> Vec<Arc<Message>> {
        self.host.last_values(pattern)
    }

    /// The subjects under `pattern` whose last value is this plugin's, of an earlier run too, in no order. What it does not
    /// say any more it takes back with [`Payload::Gone`]: the config may have changed since that run.
    pub fn own_subjects(&self, pattern: &Pattern) -> Vec<Subject> {
        self.host.own_subjects(pattern)
    }

    /// Puts routes on the listener of that name, replacing those that this plugin put there before. Returns the address it
    /// listens on.
    ///
    /// A request brings in its extensions `ConnectInfo<SocketAddr>`, the client's address through trusted proxies too, and
    /// [`Origins`](crate::Origins); its id is in the header `x-request-id`. Its body fails with
    /// [`TimedOut`](std::io::ErrorKind::TimedOut) when it does not come in time.
    ///
    /// # Errors
    /// `Config` if there is no such listener or another plugin has one of the paths.
    pub fn mount(&self, listener: &str, routes: Routes) -> Result<SocketAddr, Error> {
        self.host.mount(listener, routes)
    }

    /// Offers to tell who is logged in; replaces what was offered before. Say so with [`Env::offers_sessions`] too.
    ///
    /// [`Env::offers_sessions`]: crate::Env::offers_sessions
    pub fn offer_sessions(&self, sessions: Arc<dyn Sessions>) {
        self.host.offer_sessions(sessions);
    }

    /// Who can tell who is logged in, once such a plugin has started.
    pub fn sessions(&self) -> Option<Arc<dyn Sessions>> {
        self.host.sessions()
    }

    /// The OpenAPI document (3.1) of everything that a listener serves now, whoever mounted it, as JSON; empty for a
    /// listener that is not there.
    pub fn api(&self, listener: &str) -> Bytes {
        self.host.api(listener)
    }

    /// The health of every component of this process.
    pub fn health_report(&self) -> Vec<HealthReport> {
        self.host.health_report()
    }
}
