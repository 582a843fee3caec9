use futures_util::StreamExt;
use ratebus_test_servers::BrokerKind;
use redis::AsyncCommands;

use super::within;

/// Somebody who can reach the broker and is no part of ratebus.
pub(crate) enum Outsider {
    Redis(redis::Client),
    Nats(async_nats::Client),
}

impl Outsider {
    pub(crate) async fn connect(kind: BrokerKind, url: &str) -> Self {
        match kind {
            BrokerKind::Redis => Self::Redis(redis::Client::open(url).unwrap()),
            BrokerKind::Nats => Self::Nats(within("a connection to NATS", async_nats::connect(url)).await.unwrap()),
        }
    }

    /// Writes something under a subject.
    pub(crate) async fn publish(&self, subject: &str, text: &[u8]) {
        match self {
            Self::Redis(client) => {
                let mut connection = client.get_multiplexed_async_connection().await.unwrap();
                let _: u32 = connection.publish(subject, text).await.unwrap();
            }
            Self::Nats(client) => {
                client.publish(subject.to_owned(), text.to_vec().into()).await.unwrap();
                client.flush().await.unwrap();
            }
        }
    }

    /// Hears what is written under a subject from now on.
    pub(crate) async fn listen(&self, subject: &str) -> Ear {
        match self {
            Self::Redis(client) => {
                let mut connection = client.get_async_pubsub().await.unwrap();
                connection.subscribe(subject).await.unwrap();
                Ear::Redis(Box::new(connection))
            }
            Self::Nats(client) => {
                let subscriber = client.subscribe(subject.to_owned()).await.unwrap();
                client.flush().await.unwrap();
                Ear::Nats(subscriber)
            }
        }
    }
}

/// What an [`Outsider`] hears.
pub(crate) enum Ear {
    Redis(Box<redis::aio::PubSub>),
    Nats(async_nats::Subscriber),
}

impl Ear {
    /// The next message.
    pub(crate) async fn next(&mut self) -> String {
        let bytes = match self {
            Self::Redis(connection) => {
                within("a message", connection.on_message().next()).await.unwrap().get_payload_bytes().to_vec()
            }
            Self::Nats(subscriber) => within("a message", subscriber.next()).await.unwrap().payload.to_vec(),
        };
        String::from_utf8(bytes).unwrap()
    }
}
