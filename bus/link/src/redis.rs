//! Redis: pub/sub for what is said, keys that expire for what was said last.
//!
//! A subject is a channel of the same name, and its last value the key `ratebus:last:<subject>`. Redis knows no list of
//! the keys under a pattern that does not cost a walk through all of them, so `ratebus:subjects`, a sorted set, has the
//! subjects with the time until which they are worth asking for. RESP3 (Redis 6 and later) carries commands and messages
//! over one connection.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use metrics::counter;
use ratebus_model::{Pattern, Subject};
use ratebus_sdk::{Clock, Error, ErrorKind, LogLimit};
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo, Msg, Pipeline, ProtocolVersion, PushInfo,
    PushKind, RedisError, RedisResult, TlsCertificates, Value, aio::MultiplexedConnection,
};
use tokio::{sync::mpsc, time::timeout};

use crate::{
    authorities::Authorities,
    broker::{Broker, Connection, Intake, Keep, Outlet, Parcel},
};

/// How many messages may wait to be read. When they are more, the connection is given up, and what was missed comes
/// with the next one.
const BACKLOG: usize = 65_536;
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(1);
/// How long the connection may be silent before Redis is asked whether it is there.
const QUIET: Duration = Duration::from_secs(2);
/// The sorted set of subjects.
const SUBJECTS: &str = "ratebus:subjects";
/// How many subjects are read at most.
const MOST: usize = 65_536;
/// How many keys are asked for at once.
const CHUNK: usize = 512;

/// A Redis server.
pub(crate) struct Redis {
    client: Client,
}

impl Redis {
    /// At `redis://` or `rediss://` (TLS), with user and password in the URL.
    pub(crate) fn new(url: &str, authorities: Option<&Authorities>) -> Result<Self, Error> {
        let invalid = |error: RedisError| Error::new(ErrorKind::Config, error.to_string());
        let info: ConnectionInfo = url.into_connection_info().map_err(invalid)?;
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let info = info.set_redis_settings(settings);
        let client = match authorities {
            None => Client::open(info),
            Some(Authorities { pem, .. }) => {
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(pem.clone()) })
            }
        };
        let client = client.map_err(invalid)?;
        Ok(Self { client })
    }
}

#[async_trait]
impl Broker for Redis {
    async fn connect(&self, patterns: &[Pattern]) -> Result<Connection, Error> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let backlog = Backlog(Mutex::new(Some(sender)));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER))
            .set_push_sender(move |push| {
                backlog.add(push);
                Ok::<(), Infallible>(())
            });
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = connecting.await.map_err(failed)?;
        for pattern in patterns {
            connection.psubscribe(glob(pattern)).await.map_err(failed)?;
        }
        let kept = read_kept(&mut connection).await.map_err(failed)?;
        let outlet =
            Box::new(RedisOutlet { connection: connection.clone(), listed: HashMap::new(), log: LogLimit::default() });
        Ok(Connection { outlet, intake: Box::new(RedisIntake { connection, receiver }), kept })
    }
}

/// What was sent to us and is not read yet. It closes with the connection, and when it is full.
struct Backlog(Mutex<Option<mpsc::Sender<(Subject, Bytes)>>>);

impl Backlog {
    fn add(&self, push: PushInfo) {
        let mut sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if push.kind == PushKind::Disconnection {
            *sender = None;
        }
        let (Some(open), Some(message)) = (&*sender, message(push)) else { return };
        if open.try_send(message).is_err() {
            counter!("ratebus_link_overflows_total").increment(1);
            *sender = None;
        }
    }
}

/// The message of a push, if it is one under a subject of ours.
fn message(push: PushInfo) -> Option<(Subject, Bytes)> {
    let message = Msg::from_push_info(push)?;
    Some((message.get_channel_name().parse().ok()?, Bytes::copy_from_slice(message.get_payload_bytes())))
}

/// A pattern as Redis writes it. Its `*` matches dots too: what is too much is left out by the reader.
fn glob(pattern: &Pattern) -> String {
    let token = |token: &str| match token {
        "*" | ">" => "*".to_owned(),
        literal => literal.chars().fold(String::new(), |mut glob, c| {
            if matches!(c, '?' | '[' | ']' | '\\' | '^') {
                glob.push('\\');
            }
            glob.push(c);
            glob
        }),
    };
    pattern.tokens().map(token).collect::<Vec<_>>().join(".")
}

fn key(subject: &Subject) -> String {
    format!("ratebus:last:{subject}")
}

/// What is kept, whatever its subject. It is a help and no more: where Redis refuses to tell, or something else is under
/// our keys, there is nothing.
async fn read_kept(connection: &mut MultiplexedConnection) -> RedisResult<Vec<(Subject, Bytes)>> {
    let now = Clock.wall().millis();
    let mut list = redis::cmd("ZRANGEBYSCORE");
    list.arg(SUBJECTS).arg(now).arg("+inf").arg("LIMIT").arg(0).arg(MOST);
    let subjects: Vec<Vec<u8>> = unless_refused(list.query_async(connection).await)?;
    let subject = |text: &Vec<u8>| str::from_utf8(text).ok()?.parse().ok();
    let subjects: Vec<Subject> = subjects.iter().filter_map(subject).collect();
    let mut kept = Vec::new();
    for chunk in subjects.chunks(CHUNK) {
        let keys: Vec<String> = chunk.iter().map(key).collect();
        let texts: Vec<Option<Vec<u8>>> = unless_refused(redis::cmd("MGET").arg(keys).query_async(connection).await)?;
        let found = chunk.iter().zip(texts).filter_map(|(subject, text)| Some((subject.clone(), text?.into())));
        kept.extend(found);
    }
    Ok(kept)
}

/// The answer, or an empty one if Redis has answered that it will not.
fn unless_refused<T: Default>(answer: RedisResult<T>) -> RedisResult<T> {
    match answer {
        Err(error) if error.kind() != redis::ErrorKind::Io => {
            tracing::warn!(%error, "Redis does not tell the last values: they come when they are said again");
            Ok(T::default())
        }
        answer => answer,
    }
}

struct RedisOutlet {
    connection: MultiplexedConnection,
    /// Until when each subject is listed.
    listed: HashMap<Subject, Instant>,
    log: LogLimit,
}

impl RedisOutlet {
    /// Writes down that a subject is kept, once for many messages.
    fn list(&mut self, pipeline: &mut Pipeline, subject: &Subject, keep: Duration) {
        let now = Clock.arrival();
        if self.listed.get(subject).is_some_and(|&until| until > now.at + keep) {
            return;
        }
        self.listed.insert(subject.clone(), now.at + keep * 2);
        pipeline.zadd(SUBJECTS, subject.as_str(), now.time.plus(keep * 2).millis()).ignore();
    }
}

impl RedisOutlet {
    /// What Redis did not keep it may have kept of earlier messages: those who join are better off without.
    async fn forget(&mut self, not_kept: Vec<(Subject, RedisError)>) {
        let Some((_, error)) = not_kept.first() else { return };
        counter!("ratebus_link_not_kept_total").increment(not_kept.len() as u64);
        if self.log.allows(Clock.now()) {
            tracing::warn!(%error, "Redis does not keep the last values: whoever joins waits until they are said again");
        }
        let mut forget = redis::cmd("DEL");
        for (subject, _) in not_kept {
            forget.arg(key(&subject));
            self.listed.remove(&subject);
        }
        // One that is read-only refuses this too; a lost connection is noticed by whoever uses it next.
        _ = forget.exec_async(&mut self.connection).await;
    }
}

#[async_trait]
impl Outlet for RedisOutlet {
    async fn send(&mut self, parcels: Vec<Parcel>) -> Result<(), Error> {
        let mut pipeline = Pipeline::new();
        // A full or read-only Redis does not keep, and still tells everybody.
        pipeline.ignore_errors();
        for Parcel { subject, text, keep } in &parcels {
            match *keep {
                Keep::This(span) => {
                    self.list(&mut pipeline, subject, span);
                    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
                    pipeline.pset_ex(key(subject), &text[..], millis);
                }
                Keep::Nothing => {
                    self.listed.remove(subject);
                    pipeline.zrem(SUBJECTS, subject.as_str()).ignore().del(key(subject)).ignore();
                }
                Keep::AsItIs => {}
            }
            pipeline.publish(subject.as_str(), &text[..]);
        }
        let results: Vec<RedisResult<Value>> = pipeline.query_async(&mut self.connection).await.map_err(failed)?;
        let (mut results, mut not_kept) = (results.into_iter(), Vec::new());
        for Parcel { subject, keep, .. } in parcels {
            if matches!(keep, Keep::This(_))
                && let Some(Err(error)) = results.next()
            {
                not_kept.push((subject, error));
            }
            results.next().transpose().map_err(failed)?;
        }
        self.forget(not_kept).await;
        Ok(())
    }
}

struct RedisIntake {
    connection: MultiplexedConnection,
    receiver: mpsc::Receiver<(Subject, Bytes)>,
}

#[async_trait]
impl Intake for RedisIntake {
    async fn next(&mut self) -> Result<(Subject, Bytes), Error> {
        loop {
            match timeout(QUIET, self.receiver.recv()).await {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => return Err(Error::new(ErrorKind::Connect, "the connection to Redis is lost")),
                // A connection that leads nowhere is silent too.
                Err(_) => redis::cmd("PING").exec_async(&mut self.connection).await.map_err(failed)?,
            }
        }
    }
}

fn failed(error: RedisError) -> Error {
    let kind = match error.kind() {
        redis::ErrorKind::AuthenticationFailed => ErrorKind::Auth,
        _ if error.is_timeout() => ErrorKind::Stalled,
        _ => ErrorKind::Connect,
    };
    Error::new(kind, "Redis").because(error)
}
