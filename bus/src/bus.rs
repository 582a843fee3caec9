use std::{
    collections::{HashMap, VecDeque},
    fmt::Debug,
    mem,
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use ratebus_model::{Epoch, Message, Outgoing, Pattern, PublishError, Subject, Version};
use tokio::runtime::{self, Handle};

use crate::{
    effects::Effects,
    inbox::Inbox,
    lane::Lane,
    lock,
    publisher::{self, Publisher, Run, stamp},
    random,
    replies::Replies,
    slow,
    subjects::{Entry, Locked, Subjects},
    subscription::{Stats, Subscribe, Subscription},
    targets::{Published, Routes, Targets, WhenFull},
    trie::Trie,
};

/// The bounds of a bus.
#[derive(Debug, Clone)]
pub struct BusConfig {
    /// The prefixes of subjects that keep their last value.
    pub last_value_prefixes: Vec<String>,
    /// A last value older than this is not handed out, and makes room for others when subjects are swept. `None`: it
    /// never gets too old.
    pub last_value_max_age: Option<Duration>,
    /// How many subjects keep a last value; more are counted and not kept.
    pub max_last_values: usize,
    /// How many other subjects are remembered with those who want them; the rest is looked up for each message.
    pub match_cache: usize,
    /// Where subscriptions that lose messages are reported, `$SYS.slow.<instance>`. `None`: only logged and counted.
    pub slow_subject: Option<Subject>,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            last_value_prefixes: ["rates.", "quotes.", "spreads.", "pairs."].map(String::from).to_vec(),
            last_value_max_age: None,
            max_last_values: 65_536,
            match_cache: 16_384,
            slow_subject: None,
        }
    }
}

/// The in-process bus. Clones are cheap and are the same bus; it closes with its last clone and publisher.
#[derive(Debug, Clone)]
pub struct Bus {
    pub(crate) hub: Arc<Hub>,
}

impl Bus {
    /// An empty bus.
    pub fn new(config: BusConfig) -> Self {
        let BusConfig { last_value_prefixes, last_value_max_age, max_last_values, match_cache, slow_subject } = config;
        let hub = |this: &Weak<Hub>| Hub {
            this: this.clone(),
            subscriptions: RwLock::default(),
            generation: AtomicU64::new(1),
            subjects: Subjects::new(last_value_prefixes, last_value_max_age, max_last_values, match_cache),
            replies: Replies::default(),
            lanes: Mutex::default(),
            turn: AtomicUsize::new(0),
            elsewhere: Mutex::default(),
            slow_subject,
            run: Arc::new(Run::new("bus".into(), Epoch::new(random()))),
        };
        Self { hub: Arc::new_cyclic(hub) }
    }

    /// A new publisher, with an epoch of its own.
    pub fn publisher(&self, name: impl Into<Arc<str>>) -> Publisher {
        Publisher::new(self.hub.clone(), Run::new(name.into(), Epoch::new(random())))
    }

    /// Subscribes. Every message published after this call returns is seen; with `replay`, every matching subject's last
    /// value from before as well, and never one that is older than what was already seen.
    ///
    /// Messages come by way of the tokio runtime in which this is called, so it is best the one that reads them.
    pub fn subscribe(&self, subscribe: Subscribe) -> Subscription {
        let replay = subscribe.replay && subscribe.queue.is_none();
        let inbox = Arc::new(Inbox::new(subscribe, self.hub.lane()));
        let generation = self.hub.subscribe(&inbox);
        let mut last_values = VecDeque::new();
        if replay {
            // What was delivered from this generation on is in the inbox already.
            self.hub.subjects.last_values(&inbox.pattern, generation, &mut last_values);
        }
        Subscription::new(inbox, last_values, self.hub.this.clone())
    }

    /// The last value of a subject, if it is kept and not too old.
    pub fn last_value(&self, subject: &Subject) -> Option<Arc<Message>> {
        self.hub.subjects.last_value(subject)
    }

    /// The last values of all matching subjects, in no order.
    pub fn last_values(&self, pattern: &Pattern) -> Vec<Arc<Message>> {
        let mut last_values = Vec::new();
        self.hub.subjects.last_values(pattern, u64::MAX, &mut last_values);
        last_values
    }

    /// The matching subjects whose last value is of a publisher of that name, of one that has ended too, in no order. What
    /// was published elsewhere is nobody's here.
    pub fn last_said_by(&self, publisher: &str, pattern: &Pattern) -> Vec<Subject> {
        self.hub.subjects.last_said_by(publisher, pattern)
    }

    /// Delivers a message that was published elsewhere, as it is: with the version and the time it has. Never waits, as
    /// [`Publisher::try_publish`]; returns how many subscriptions took it.
    pub fn import(&self, message: Message) -> Result<usize, PublishError> {
        self.hub.import(Arc::new(message), |_| true).and_then(publisher::result)
    }

    /// As [`Bus::import`], for what says how something is. It is left out where a publisher of this bus, which goes on,
    /// has said so itself: readers follow the publisher that they heard last, and would take the other's word for the end
    /// of this one's.
    pub fn import_state(&self, message: Message) -> Result<usize, PublishError> {
        self.hub.import(Arc::new(message), |entry| !entry.is_published_here()).and_then(publisher::result)
    }

    /// As [`Bus::import`], for one member of a queue group alone. All that is published is decided on where it is published:
    /// who of each group has it.
    pub fn import_to(&self, group: &str, message: Message) -> Result<usize, PublishError> {
        self.hub.import_to(group, &Arc::new(message)).and_then(publisher::result)
    }

    /// Calls `found` with the pattern and the queue group of each subscription of this process, in no order.
    pub fn each_interest(&self, mut found: impl FnMut(&Pattern, Option<&Arc<str>>)) {
        self.hub.each_interest(&mut found);
    }

    /// Changes whenever subscriptions come or go.
    pub fn generation(&self) -> u64 {
        self.hub.generation.load(Ordering::Acquire)
    }

    /// Tells the bus who knows of readers in other processes, in the place of whoever was told before.
    pub fn join(&self, elsewhere: Arc<dyn Elsewhere>) {
        *lock(&self.hub.elsewhere) = Some(elsewhere);
    }

    /// Whether a publisher of this bus that goes on has published under a subject, and not said since that it is gone.
    pub fn is_published_here(&self, subject: &Subject) -> bool {
        self.hub.subjects.is_published_here(subject)
    }

    /// Ends publishing. Subscriptions end once what they hold is read.
    pub fn close(&self) {
        self.hub.close();
    }
}

/// Knows of readers in other processes.
pub trait Elsewhere: Debug + Send + Sync {
    /// Whether a message under the subject may have a reader there.
    fn listens(&self, subject: &Subject) -> bool;
}

/// What the handles share.
///
/// Order of locks: a subject's, then the subscriptions', a lane's or an inbox's; a lane's, then an inbox's. None is held
/// while another task is awaited.
#[derive(Debug)]
pub(crate) struct Hub {
    /// For those that outlive the handles.
    pub(crate) this: Weak<Hub>,
    subscriptions: RwLock<Subscriptions>,
    /// Counts the changes of the subscriptions: what was looked up before is out of date.
    generation: AtomicU64,
    pub(crate) subjects: Subjects,
    pub(crate) replies: Replies,
    /// The ways to subscriptions by runtime; `None`: to those made outside of any.
    lanes: Mutex<HashMap<Option<runtime::Id>, Arc<Lane>>>,
    /// With which member a subject's queue groups begin.
    turn: AtomicUsize,
    elsewhere: Mutex<Option<Arc<dyn Elsewhere>>>,
    slow_subject: Option<Subject>,
    /// Publishes the reports.
    run: Arc<Run>,
}

/// Looked at when a subject is new or the subscriptions have changed, not for each message: a lock costs less here than
/// copies of the trie would.
#[derive(Debug, Default)]
struct Subscriptions {
    trie: Trie<Arc<Inbox>>,
    routes: Routes,
    closed: bool,
}

impl Hub {
    /// One look-up, then every inbox applies its policy. No lock is held when readers are woken.
    pub(crate) fn publish(
        &self,
        run: &Arc<Run>,
        outgoing: Outgoing,
        when_full: WhenFull,
    ) -> Result<Published, PublishError> {
        let mut effects = Effects::default();
        let published = if outgoing.subject.is_reply() {
            self.publish_reply(run, outgoing, when_full, &mut effects)
        } else {
            self.publish_live(run, outgoing, when_full, &mut effects)
        };
        effects.settle(&self.this);
        published
    }

    fn publish_live(
        &self,
        run: &Arc<Run>,
        outgoing: Outgoing,
        when_full: WhenFull,
        effects: &mut Effects,
    ) -> Result<Published, PublishError> {
        let mut locked = self.subjects.lock(&outgoing.subject);
        let entry = self.entry(&mut locked, &outgoing.subject)?;
        let sequence = entry.next_sequence(run, &outgoing.payload);
        if entry.is_unwanted() {
            return Ok(Published::default());
        }
        let message = Arc::new(stamp(outgoing, Version { epoch: run.epoch, sequence }));
        Ok(entry.deliver(message, self.subjects.limits(), when_full, effects))
    }

    /// Delivers a message that was published elsewhere, if its subject is `wanted`: that is settled with nothing between.
    fn import(&self, message: Arc<Message>, wanted: impl FnOnce(&Entry) -> bool) -> Result<Published, PublishError> {
        let mut effects = Effects::default();
        let published = if message.subject.is_reply() {
            let (_, targets) = self.targets(&message.subject).ok_or(PublishError::Closed)?;
            self.answer(&message, targets.import(message.clone(), &mut effects))
        } else {
            let mut locked = self.subjects.lock(&message.subject);
            let entry = self.entry(&mut locked, &message.subject)?;
            if !wanted(entry) {
                return Ok(Published::default());
            }
            entry.import(message, self.subjects.limits(), &mut effects)
        };
        effects.settle(&self.this);
        Ok(published)
    }

    fn import_to(&self, group: &str, message: &Arc<Message>) -> Result<Published, PublishError> {
        let mut effects = Effects::default();
        let published = {
            let mut locked = self.subjects.lock(&message.subject);
            let entry = self.entry(&mut locked, &message.subject)?;
            entry.targets.import_to(group, message, &mut effects)
        };
        effects.settle(&self.this);
        Ok(published)
    }

    /// Whether readers in other processes may have a message under the subject.
    pub(crate) fn is_heard_elsewhere(&self, subject: &Subject) -> bool {
        let elsewhere = lock(&self.elsewhere).clone();
        elsewhere.is_some_and(|elsewhere| elsewhere.listens(subject))
    }

    fn each_interest(&self, found: &mut impl FnMut(&Pattern, Option<&Arc<str>>)) {
        let subscriptions = self.subscriptions.read().unwrap_or_else(PoisonError::into_inner);
        subscriptions.trie.each(&mut |inbox: &Arc<Inbox>| {
            if !inbox.far {
                found(&inbox.pattern, inbox.group.as_ref());
            }
        });
    }

    /// What is known of a subject, with those who want it now.
    fn entry<'a>(&self, locked: &'a mut Locked<'_>, subject: &Subject) -> Result<&'a mut Entry, PublishError> {
        let entry = locked.entry(subject);
        if entry.generation != self.generation.load(Ordering::Acquire) {
            (entry.generation, entry.targets) = self.targets(subject).ok_or(PublishError::Closed)?;
        }
        Ok(entry)
    }

    fn publish_reply(
        &self,
        run: &Arc<Run>,
        outgoing: Outgoing,
        when_full: WhenFull,
        effects: &mut Effects,
    ) -> Result<Published, PublishError> {
        let message = Arc::new(stamp(outgoing, Version::first(run.epoch)));
        let (_, mut targets) = self.targets(&message.subject).ok_or(PublishError::Closed)?;
        let published = targets.deliver(message.clone(), when_full, effects);
        Ok(self.answer(&message, published))
    }

    /// Hands an answer to its request, too.
    fn answer(&self, message: &Arc<Message>, mut published: Published) -> Published {
        published.delivered += usize::from(self.replies.deliver(message));
        published
    }

    /// Who wants `subject`, and as of which generation; `None` once closed.
    fn targets(&self, subject: &Subject) -> Option<(u64, Targets)> {
        let subscriptions = self.subscriptions.read().unwrap_or_else(PoisonError::into_inner);
        let generation = self.generation.load(Ordering::Acquire);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        (!subscriptions.closed)
            .then(|| (generation, Targets::of(subject, &subscriptions.trie, &subscriptions.routes, turn)))
    }

    /// The generation from which on the inbox is served.
    fn subscribe(&self, inbox: &Arc<Inbox>) -> u64 {
        let (closed, generation) = self.change(|subscriptions| {
            subscriptions.trie.insert(&inbox.pattern, inbox.clone());
            subscriptions.closed
        });
        if closed {
            inbox.close();
        }
        generation
    }

    pub(crate) fn unsubscribe(&self, inbox: &Arc<Inbox>) {
        self.change(|subscriptions| subscriptions.trie.remove(&inbox.pattern, inbox));
    }

    fn close(&self) {
        let (trie, _) = self.change(|subscriptions| {
            subscriptions.closed = true;
            mem::take(&mut subscriptions.trie)
        });
        let mut effects = Effects::default();
        for lane in mem::take(&mut *lock(&self.lanes)).into_values() {
            lane.close();
            lane.fill(&mut effects);
        }
        effects.settle(&Weak::new());
        trie.each(&mut |inbox: &Arc<Inbox>| inbox.close());
        self.replies.clear();
    }

    /// The way to the tasks of the current runtime.
    fn lane(&self) -> Arc<Lane> {
        let runtime = Handle::try_current().ok();
        let mut lanes = lock(&self.lanes);
        lanes.retain(|id, lane| id.is_none() || lane.is_relayed());
        let new = || match &runtime {
            Some(runtime) => Lane::relayed(runtime, self.this.clone()),
            None => Arc::default(),
        };
        lanes.entry(runtime.as_ref().map(Handle::id)).or_insert_with(new).clone()
    }

    /// Changes the subscriptions. What `change` returns, and the generation from which on it is in force.
    fn change<T>(&self, change: impl FnOnce(&mut Subscriptions) -> T) -> (T, u64) {
        let mut subscriptions = self.subscriptions.write().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut subscriptions);
        subscriptions.routes = Routes::default();
        (result, self.generation.fetch_add(1, Ordering::Release) + 1)
    }

    pub(crate) fn report_slow(&self, inbox: &Inbox, stats: Stats) {
        tracing::warn!(
            subscription = &*inbox.name,
            pattern = inbox.pattern.as_str(),
            dropped = stats.dropped,
            disconnected = stats.disconnected,
            "A subscription does not keep up and loses messages"
        );
        if let Some(subject) = self.slow_subject.clone() {
            let report = Outgoing::new(subject, slow::report(inbox, stats));
            // A watcher that has no room for the report counts its loss itself.
            _ = self.publish(&self.run, report, WhenFull::GoOn);
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.close();
    }
}
