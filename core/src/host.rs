use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use ratebus_bus::{Bus, Publisher, Subscribe, Subscription};
use ratebus_model::{Epoch, Message, Pattern, SourceName, Subject};
use ratebus_sdk::{
    Error, ErrorKind, HealthReport, Host, Inbox, Interest, Outgoing, Policy, PollInbox, PublishError, RequestError,
    Routes,
};

use crate::{engine::Bound, health::Readiness};

/// What all plugins of a process share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) bus: Bus,
    pub(crate) listeners: Arc<BTreeMap<String, Bound>>,
    pub(crate) readiness: Readiness,
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
        self.publisher.try_publish(outgoing(message)).map_err(publish_error)
    }

    async fn publish(&self, message: Outgoing) -> Result<usize, PublishError> {
        self.publisher.publish(outgoing(message)).await.map_err(publish_error)
    }

    async fn request(&self, message: Outgoing, timeout: Duration) -> Result<Arc<Message>, RequestError> {
        self.publisher.request(outgoing(message), timeout).await.map_err(|error| match error {
            ratebus_bus::RequestError::NoResponders => RequestError::NoResponders,
            ratebus_bus::RequestError::TimedOut => RequestError::TimedOut,
            ratebus_bus::RequestError::Closed => RequestError::Closed,
        })
    }

    fn last_value(&self, subject: &Subject) -> Option<Arc<Message>> {
        self.shared.bus.last_value(subject)
    }

    fn last_values(&self, pattern: &Pattern) -> Vec<Arc<Message>> {
        self.shared.bus.last_values(pattern)
    }

    fn mount(&self, listener: &str, routes: Routes) -> Result<SocketAddr, Error> {
        let Some(bound) = self.shared.listeners.get(listener) else {
            return Err(Error::new(ErrorKind::Config, format!("no listener {listener:?} was claimed")));
        };
        bound.mounts.mount(self.name, routes)?;
        Ok(bound.address)
    }

    fn health_report(&self) -> Vec<HealthReport> {
        self.shared.readiness.report()
    }
}

fn outgoing(message: Outgoing) -> ratebus_bus::Outgoing {
    let Outgoing { subject, reply, headers, payload } = message;
    ratebus_bus::Outgoing { subject, reply, headers, payload }
}

fn publish_error(error: ratebus_bus::PublishError) -> PublishError {
    match error {
        ratebus_bus::PublishError::Full { subscription, .. } => {
            PublishError::Full { subscription: subscription.to_string() }
        }
        ratebus_bus::PublishError::Closed => PublishError::Closed,
    }
}

/// Subscribes `plugin` to what it wants to hear.
pub(crate) fn inbox(bus: &Bus, plugin: SourceName, interests: Vec<Interest>) -> Inbox {
    let subscribe = |interest: Interest| -> Box<dyn PollInbox> {
        let subscription = bus.subscribe(Subscribe {
            name: format!("{plugin} {}", interest.pattern).into(),
            pattern: interest.pattern,
            policy: policy(interest.policy),
            capacity: interest.capacity,
            queue: interest.queue.map(Into::into),
            replay: interest.replay,
        });
        Box::new(Subscribed(subscription))
    };
    Inbox::new(interests.into_iter().map(subscribe).collect())
}

fn policy(policy: Policy) -> ratebus_bus::Policy {
    match policy {
        Policy::Conflate => ratebus_bus::Policy::Conflate,
        Policy::DropOldest => ratebus_bus::Policy::DropOldest,
        Policy::DropNewest => ratebus_bus::Policy::DropNewest,
        Policy::Block(timeout) => ratebus_bus::Policy::Block { timeout },
        Policy::Disconnect => ratebus_bus::Policy::Disconnect,
    }
}

struct Subscribed(Subscription);

impl PollInbox for Subscribed {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arc<Message>>> {
        self.0.poll_recv(cx)
    }
}
