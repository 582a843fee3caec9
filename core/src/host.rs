use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use axum::body::Bytes;
use ratebus_bus::{Bus, Publisher, Subscribe, Subscription};
use ratebus_model::{Epoch, Message, Pattern, SourceName, Subject};
use ratebus_sdk::{
    Error, ErrorKind, HealthReport, Host, Inbox, Interest, Outgoing, PollInbox, PublishError, RequestError, Routes,
    Sessions,
};

use crate::{engine::Bound, health::Readiness};

/// What all plugins of a process share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) bus: Bus,
    pub(crate) listeners: Arc<BTreeMap<String, Bound>>,
    pub(crate) readiness: Readiness,
    pub(crate) sessions: Arc<RwLock<Option<Arc<dyn Sessions>>>>,
}

/// The engine as one run of a plugin sees it.
pub(crate) struct PluginHost {
    name: SourceName,
    publisher: Publisher,
    shared: Shared,
}

impl PluginHost {
    /// For a new run of the plugin `name`.
    pub(crate) fn new(name: SourceName, shared: Shared) -> Self {
        Self { name, publisher: shared.bus.publisher(name.as_str()), shared }
    }

    /// The run's epoch.
    pub(crate) fn epoch(&self) -> Epoch {
        self.publisher.epoch()
    }
}

#[async_trait]
impl Host for PluginHost {
    fn try_publish(&self, message: Outgoing) -> Result<usize, PublishError> {
        self.publisher.try_publish(message)
    }

    async fn publish(&self, message: Outgoing) -> Result<usize, PublishError> {
        self.publisher.publish(message).await
    }

    async fn request(&self, message: Outgoing, timeout: Duration) -> Result<Arc<Message>, RequestError> {
        self.publisher.request(message, timeout).await
    }

    fn last_value(&self, subject: &Subject) -> Option<Arc<Message>> {
        self.shared.bus.last_value(subject)
    }

    fn last_values(&self, pattern: &Pattern) -> Vec<Arc<Message>> {
        self.shared.bus.last_values(pattern)
    }

    fn own_subjects(&self, pattern: &Pattern) -> Vec<Subject> {
        self.shared.bus.last_said_by(self.name.as_str(), pattern)
    }

    fn mount(&self, listener: &str, routes: Routes) -> Result<SocketAddr, Error> {
        let Some(bound) = self.shared.listeners.get(listener) else {
            return Err(Error::new(ErrorKind::Config, format!("no listener {listener:?} was claimed")));
        };
        bound.mounts.mount(self.name, routes)?;
        Ok(bound.address)
    }

    fn offer_sessions(&self, sessions: Arc<dyn Sessions>) {
        *self.shared.sessions.write().unwrap_or_else(PoisonError::into_inner) = Some(sessions);
    }

    fn sessions(&self) -> Option<Arc<dyn Sessions>> {
        self.shared.sessions.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn api(&self, listener: &str) -> Bytes {
        self.shared.listeners.get(listener).map(|bound| bound.mounts.api()).unwrap_or_default()
    }

    fn health_report(&self) -> Vec<HealthReport> {
        self.shared.readiness.report()
    }
}

/// Subscribes `reader` to what it wants to hear.
pub(crate) fn inbox(bus: &Bus, reader: &str, interests: Vec<Interest>) -> Inbox {
    let subscribe = |interest: Interest| -> Box<dyn PollInbox> {
        let subscription = bus.subscribe(Subscribe {
            name: format!("{reader} {}", interest.pattern).into(),
            pattern: interest.pattern,
            policy: interest.policy,
            capacity: interest.capacity,
            queue: interest.queue.map(Into::into),
            replay: interest.replay,
            far: false,
        });
        Box::new(Subscribed(subscription))
    };
    Inbox::new(interests.into_iter().map(subscribe).collect())
}

struct Subscribed(Subscription);

impl PollInbox for Subscribed {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arc<Message>>> {
        self.0.poll_recv(cx)
    }
}
