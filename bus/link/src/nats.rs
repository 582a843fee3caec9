//! NATS, core protocol: subjects and patterns are its own. It keeps nothing, so those who join wait until what they want
//! is said again.

use std::{path::PathBuf, time::Duration};

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, Message, ServerAddr, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream::SelectAll};
use metrics::counter;
use percent_encoding::percent_decode_str;
use ratebus_model::{Pattern, Subject};
use ratebus_sdk::{Error, ErrorKind};
use tokio::{select, sync::mpsc};

use crate::{
    authorities::Authorities,
    broker::{Broker, Connection, Intake, Outlet, Parcel},
};

/// How many messages of a pattern may wait to be read. When they are more, the connection is given up, and what was
/// missed is said again.
const BACKLOG: usize = 65_536;
/// How many messages may wait to be written.
const PENDING: usize = 4096;
/// How often the server is asked whether it is there.
const PING: Duration = Duration::from_secs(2);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(3);

/// A NATS server.
pub(crate) struct Nats {
    address: ServerAddr,
    ca_file: Option<PathBuf>,
}

impl Nats {
    /// At `nats://` or `tls://`, with user and password, or a token, in the URL.
    pub(crate) fn new(url: &str, authorities: Option<&Authorities>) -> Result<Self, Error> {
        let address = url.parse().map_err(|error: std::io::Error| Error::new(ErrorKind::Config, error.to_string()))?;
        Ok(Self { address, ca_file: authorities.map(|authorities| authorities.path.clone()) })
    }
}

impl Nats {
    /// With what both sides prove who they are by. The client does not look for credentials in the URL.
    fn prove(&self, options: ConnectOptions) -> ConnectOptions {
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let options = match (self.address.username(), self.address.password()) {
            (Some(user), Some(password)) => options.user_and_password(decoded(user), decoded(password)),
            (Some(token), None) | (None, Some(token)) => options.token(decoded(token)),
            (None, None) => options,
        };
        match &self.ca_file {
            Some(path) => options.add_root_certificates(path.clone()),
            None => options,
        }
    }
}

#[async_trait]
impl Broker for Nats {
    async fn connect(&self, patterns: &[Pattern]) -> Result<Connection, Error> {
        // One event is enough: each of these is the end of the connection.
        let (ends, ended) = mpsc::channel(1);
        let options = ConnectOptions::new()
            .name("ratebus")
            .no_echo()
            .connection_timeout(CONNECT)
            .ping_interval(PING)
            .client_capacity(PENDING)
            .subscription_capacity(BACKLOG)
            .event_callback(move |event| {
                if let Some(error) = end(&event) {
                    _ = ends.try_send(error);
                }
                async {}
            });
        let client = self.prove(options).connect(self.address.clone()).await.map_err(cannot_connect)?;
        let mut messages = SelectAll::new();
        for pattern in patterns {
            let subscriber = client.subscribe(pattern.as_str().to_owned()).await;
            messages.push(subscriber.map_err(lost)?);
        }
        // The server has taken the subscriptions in when it answers.
        client.flush().await.map_err(lost)?;
        let intake = NatsIntake { messages, ended };
        Ok(Connection { outlet: Box::new(NatsOutlet { client }), intake: Box::new(intake), kept: Vec::new() })
    }
}

/// What the client would mend by itself, without telling what was missed.
fn end(event: &Event) -> Option<Error> {
    match event {
        Event::SlowConsumer(_) => {
            counter!("ratebus_link_overflows_total").increment(1);
            Some(Error::new(ErrorKind::Stalled, "NATS: messages came faster than they were read"))
        }
        Event::Disconnected | Event::Closed | Event::Draining | Event::LameDuckMode => {
            Some(Error::new(ErrorKind::Connect, format!("NATS: {event}")))
        }
        // What it does not let us publish or hear would be missing without a word.
        Event::ServerError(error) => Some(Error::new(ErrorKind::Connect, format!("NATS: {error}"))),
        Event::Connected | Event::ClientError(_) => None,
    }
}

struct NatsOutlet {
    client: Client,
}

#[async_trait]
impl Outlet for NatsOutlet {
    async fn send(&mut self, parcels: Vec<Parcel>) -> Result<(), Error> {
        for Parcel { subject, text, keep: _ } in parcels {
            self.client.publish(subject.as_str().to_owned(), text).await.map_err(lost)?;
        }
        self.client.flush().await.map_err(lost)
    }
}

struct NatsIntake {
    messages: SelectAll<Subscriber>,
    ended: mpsc::Receiver<Error>,
}

#[async_trait]
impl Intake for NatsIntake {
    async fn next(&mut self) -> Result<(Subject, Bytes), Error> {
        loop {
            select! {
                biased;
                ended = self.ended.recv() => return Err(ended.unwrap_or_else(|| lost("the connection is closed"))),
                message = self.messages.next() => match message {
                    Some(Message { subject, payload, .. }) => {
                        if let Ok(subject) = subject.as_str().parse() {
                            return Ok((subject, payload));
                        }
                    }
                    None => return Err(lost("the subscriptions are closed")),
                },
            }
        }
    }
}

fn cannot_connect(error: ConnectError) -> Error {
    let kind = match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => ErrorKind::Auth,
        _ => ErrorKind::Connect,
    };
    Error::new(kind, "NATS").because(error)
}

fn lost(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Connect, "NATS").because(error)
}
