//! A message on its way between processes: `{"v":1,"mac":"…","body":{…}}`.

use std::time::{Duration, Instant};

use bytes::Bytes;

use ratebus_model::{
    Arrival, Epoch, Headers, Message, Payload, Status, Subject, Timestamp, Version, wire::WirePayload,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    broker::Keep,
    floor::{Said, Word},
    peers::is_mailbox,
    seal::{Forged, Keys},
};

/// The version of the form. Members may be added to it; whoever changes the meaning of one counts up.
const FORM: u32 = 1;
/// How long a message may be on its way, and how far two clocks may differ.
pub(crate) const LATE: Duration = Duration::from_secs(5);
/// The longest message looked at, in bytes.
const LONGEST: usize = 1 << 20;

/// What a process sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Letter {
    epoch: Epoch,
    sequence: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    follows: Option<Epoch>,
    sent_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply: Option<Subject>,
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    headers: Headers,
    /// None in a goodbye.
    payload: Option<WirePayload>,
    /// In a letter for one process alone.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    member: Option<For>,
}

/// What was published, and the queue group that a member is to have it of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct For {
    group: String,
    subject: Subject,
    epoch: Epoch,
    sequence: u64,
}

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mac: Option<&'a str>,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// What came.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) word: Word,
    /// When it was sent, as far as that is known here.
    pub(crate) sent_at: Instant,
    /// None is a goodbye.
    pub(crate) message: Option<Message>,
    /// The queue group whose member here is to have it.
    pub(crate) group: Option<String>,
}

/// Why a message from the broker is dropped before anybody looks at what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is not of our form.
    Malformed,
    /// It is of another version of it.
    Version,
    /// Its code is not good.
    Forged(Forged),
    /// It was sent too long ago.
    Late,
    /// It was sent in the future: the clocks differ.
    Early,
    /// It speaks of something else than its subject.
    Mislabelled,
}

impl Refused {
    /// The reason as a metric label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::Forged(Forged::Unsigned) => "unsigned",
            Self::Forged(Forged::UnknownKey) => "unknown_key",
            Self::Forged(Forged::WrongCode) => "wrong_code",
            Self::Late => "late",
            Self::Early => "early",
            Self::Mislabelled => "mislabelled",
        }
    }
}

impl Letter {
    /// A message as it is sent now.
    pub(crate) fn new(word: Word, message: &Message, now: Arrival) -> Self {
        Self {
            reply: message.reply.clone(),
            headers: message.headers.clone(),
            payload: Some(WirePayload::new(&message.payload, now.at)),
            ..Self::goodbye(word, now)
        }
    }

    /// The end of a turn.
    pub(crate) fn goodbye(word: Word, now: Arrival) -> Self {
        let Word { version: Version { epoch, sequence }, follows } = word;
        let (sent_at, headers) = (now.time, Headers::new());
        Self { epoch, sequence, follows, sent_at, reply: None, headers, payload: None, member: None }
    }

    /// As a letter to one process, for a member of a queue group there.
    pub(crate) fn for_member(self, group: &str, Message { subject, version, .. }: &Message) -> Self {
        let Version { epoch, sequence } = *version;
        Self { member: Some(For { group: group.to_owned(), subject: subject.clone(), epoch, sequence }), ..self }
    }

    /// What the broker is to keep under a subject that says how something is: this for `span`, what it has, or nothing.
    pub(crate) fn keep(&self, span: Duration) -> Keep {
        match &self.payload {
            None => Keep::AsItIs,
            Some(payload) if payload.is_gone() => Keep::Nothing,
            Some(_) => Keep::This(span),
        }
    }

    /// The text that goes to the broker.
    pub(crate) fn seal(&self, subject: &Subject, keys: &Keys) -> Result<Bytes, serde_json::Error> {
        let body = serde_json::value::to_raw_value(self)?;
        let mac = keys.sign(subject, body.get());
        Ok(serde_json::to_vec(&Envelope { v: FORM, mac: mac.as_deref(), body: &body })?.into())
    }

    /// Reads what came under `subject`. It may have been sent up to `late` ago.
    pub(crate) fn open(
        subject: &Subject,
        text: &[u8],
        keys: &Keys,
        now: Arrival,
        late: Duration,
    ) -> Result<Opened, Refused> {
        if text.len() > LONGEST {
            return Err(Refused::Malformed);
        }
        let envelope = serde_json::from_slice::<Envelope<'_>>(text).ok().filter(|envelope| envelope.v == FORM);
        let Envelope { mac, body, .. } = envelope.ok_or_else(|| another_form(text))?;
        keys.check(subject, body.get(), mac).map_err(Refused::Forged)?;
        let letter: Self = serde_json::from_str(body.get()).map_err(|_| Refused::Malformed)?;
        let travelled = letter.sent_at.age_at(now.time);
        if travelled > late {
            return Err(Refused::Late);
        }
        if now.time.age_at(letter.sent_at) > LATE {
            return Err(Refused::Early);
        }
        letter.read(subject, now, travelled)
    }

    fn read(self, subject: &Subject, now: Arrival, travelled: Duration) -> Result<Opened, Refused> {
        let word = Word { version: Version { epoch: self.epoch, sequence: self.sequence }, follows: self.follows };
        let (about, version, group) = match self.member {
            Some(For { group, subject, epoch, sequence }) => (subject, Version { epoch, sequence }, Some(group)),
            None => (subject.clone(), word.version, None),
        };
        if group.is_some() != is_mailbox(subject) {
            return Err(Refused::Mislabelled);
        }
        let payload = self.payload.map(|payload| payload.into_payload(now, travelled));
        let payload = payload.transpose().map_err(|_| Refused::Malformed)?;
        if payload.as_ref().is_some_and(|payload| !speaks_of(payload, &about)) {
            return Err(Refused::Mislabelled);
        }
        // Whoever answers publishes there.
        if self.reply.as_ref().is_some_and(|reply| !reply.is_reply()) {
            return Err(Refused::Mislabelled);
        }
        let message = payload.map(|payload| Message {
            subject: about,
            reply: self.reply,
            headers: self.headers,
            payload,
            version,
            published_at: self.sent_at,
        });
        let sent_at = now.at.checked_sub(travelled).unwrap_or(now.at);
        Ok(Opened { word, sent_at, message, group })
    }
}

/// Why a text that is no envelope of ours is refused.
fn another_form(text: &[u8]) -> Refused {
    /// What every version has.
    #[derive(Deserialize)]
    struct Versioned {
        v: u32,
    }
    match serde_json::from_slice(text) {
        Ok(Versioned { v }) if v != FORM => Refused::Version,
        _ => Refused::Malformed,
    }
}

impl Opened {
    /// What it means for who has the floor.
    pub(crate) fn said(&self, now: Instant) -> Said {
        self.message
            .as_ref()
            .map_or(Said::Goodbye, |message| Said::Something { fresh: is_fresh(&message.payload, now) })
    }
}

/// Whether a payload is worth more than one that is stale. What has no age is always fresh.
pub(crate) fn is_fresh(payload: &Payload, now: Instant) -> bool {
    match payload {
        Payload::Rate(rate) => rate.status(now) == Status::Fresh,
        Payload::Quote(quote) => quote.status(now) == Status::Fresh,
        Payload::Spread(_) | Payload::Pairs(_) | Payload::Bytes(_) => true,
        // Whoever still has something to say goes before.
        Payload::Gone => false,
    }
}

/// Whether a payload belongs under a subject: a price of one pair is never taken for another's.
fn speaks_of(payload: &Payload, subject: &Subject) -> bool {
    match payload {
        Payload::Rate(rate) => *subject == Subject::rate(rate.source, rate.pair),
        Payload::Quote(quote) => *subject == Subject::quote(quote.pair),
        Payload::Spread(spread) => *subject == Subject::spread(spread.scope),
        Payload::Pairs(pairs) => *subject == Subject::pairs(pairs.source),
        Payload::Gone | Payload::Bytes(_) => true,
    }
}

#[cfg(test)]
mod tests;
