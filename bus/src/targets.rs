use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use foldhash::fast::RandomState;
use ratebus_model::{Message, Policy, Subject};

use crate::{
    effects::Effects,
    inbox::{Inbox, Offered, Room},
    lane::Route,
    line::InLine,
    lock,
    trie::Trie,
};

/// The inboxes that want a subject.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    /// Those that never make a publisher wait, by the lane that leads to them.
    routes: Vec<Arc<Route>>,
    /// Of those, the ones that what was published elsewhere goes to: all but the ways out of the process.
    inward: Vec<Arc<Route>>,
    /// How many readers in this process `routes` lead to.
    readers: usize,
    /// Those that may: whether there is room must be known at once.
    blocking: Vec<Arc<Inbox>>,
    groups: Vec<Group>,
    /// Whose turn it is in each group.
    turn: usize,
}

/// The members of a queue group.
#[derive(Debug, Default)]
struct Group {
    name: Arc<str>,
    /// In this process.
    near: Vec<Arc<Inbox>>,
    /// The ways to those in other processes.
    far: Vec<Arc<Inbox>>,
}

/// The routes in use. Subjects with the same audience share one, so that messages in a row that go the same way stay
/// together, and ten thousand subjects with one reader do not cost ten thousand lists.
#[derive(Debug, Default)]
pub(crate) struct Routes(Mutex<HashSet<Arc<Route>, RandomState>>);

impl Routes {
    /// So many are shared; more than that are rather forgotten than kept.
    const MAX: usize = 16_384;

    fn shared(&self, route: Route) -> Arc<Route> {
        let mut routes = lock(&self.0);
        if let Some(known) = routes.get(&route) {
            return known.clone();
        }
        if routes.len() == Self::MAX {
            routes.clear();
        }
        let route = Arc::new(route);
        routes.insert(route.clone());
        route
    }
}

/// What publishing came to.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// How many subscriptions have the message.
    pub(crate) delivered: usize,
    /// The first subscription that goes without for want of room.
    pub(crate) full: Option<Arc<str>>,
    /// The subscriptions that may take it yet.
    pub(crate) waiting: Vec<InLine>,
}

/// Whether the publisher can wait for a full `Block` inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenFull {
    Wait,
    GoOn,
}

impl Published {
    pub(crate) fn add(&mut self, name: &Arc<str>, offered: Offered) {
        match offered {
            Offered::Taken => self.delivered += 1,
            Offered::Full => _ = self.full.get_or_insert_with(|| name.clone()),
            Offered::Closed => {}
        }
    }
}

impl Targets {
    pub(crate) fn of(subject: &Subject, trie: &Trie<Arc<Inbox>>, routes: &Routes, turn: usize) -> Self {
        let mut targets = Self { turn, ..Self::default() };
        let (mut near, mut far) = (ByLane::default(), Vec::new());
        trie.each_match(subject, &mut |inbox: &Arc<Inbox>| {
            if let Some(group) = &inbox.group {
                targets.add_member(group, inbox);
                return;
            }
            if inbox.blocks() {
                targets.blocking.push(inbox.clone());
                return;
            }
            if inbox.far {
                far.push(inbox.clone());
            } else {
                near.add(inbox);
                targets.readers += 1;
            }
        });
        let mut all = near.clone();
        for inbox in &far {
            all.add(inbox);
        }
        targets.inward = near.shared(routes);
        targets.routes = if far.is_empty() { targets.inward.clone() } else { all.shared(routes) };
        targets
    }

    fn add_member(&mut self, name: &Arc<str>, inbox: &Arc<Inbox>) {
        let place = self.groups.iter().position(|group| group.name == *name).unwrap_or_else(|| {
            self.groups.push(Group { name: name.clone(), ..Group::default() });
            self.groups.len() - 1
        });
        let group = &mut self.groups[place];
        if inbox.far { &mut group.far } else { &mut group.near }.push(inbox.clone());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.blocking.is_empty() && self.groups.is_empty()
    }

    /// Hands on what was published here.
    pub(crate) fn deliver(&mut self, message: Arc<Message>, when_full: WhenFull, effects: &mut Effects) -> Published {
        let mut published = Published { delivered: self.readers, ..Published::default() };
        for inbox in &self.blocking {
            offer(inbox, &message, when_full, effects, &mut published);
        }
        for group in &self.groups {
            if let Some(member) = group.pick(self.turn) {
                offer(member, &message, when_full, effects, &mut published);
            }
        }
        self.turn = self.turn.wrapping_add(1);
        push(&self.routes, message, effects);
        published
    }

    /// Hands on what was published elsewhere. Which member of a queue group has it was decided there.
    pub(crate) fn import(&self, message: Arc<Message>, effects: &mut Effects) -> Published {
        let mut published = Published { delivered: self.readers, ..Published::default() };
        for inbox in self.blocking.iter().filter(|inbox| !inbox.far) {
            offer(inbox, &message, WhenFull::GoOn, effects, &mut published);
        }
        push(&self.inward, message, effects);
        published
    }

    /// Hands what was published elsewhere to a member of a queue group, because it was decided so there.
    pub(crate) fn import_to(&mut self, group: &str, message: &Arc<Message>, effects: &mut Effects) -> Published {
        let mut published = Published::default();
        let group = self.groups.iter().find(|known| *known.name == *group);
        let pick = |group: &Group, room| pick(&group.near, self.turn, room).cloned();
        if let Some(member) = group.and_then(|group| pick(group, Room::Free).or_else(|| pick(group, Room::Full))) {
            offer(&member, message, WhenFull::GoOn, effects, &mut published);
        }
        self.turn = self.turn.wrapping_add(1);
        published
    }
}

/// Inboxes by the lane that leads to them.
#[derive(Clone, Default)]
struct ByLane(Vec<Route>);

impl ByLane {
    fn add(&mut self, inbox: &Arc<Inbox>) {
        match self.0.iter_mut().find(|route| Arc::ptr_eq(&route.lane, &inbox.lane)) {
            Some(route) => route.inboxes.push(inbox.clone()),
            None => self.0.push(Route { lane: inbox.lane.clone(), inboxes: vec![inbox.clone()] }),
        }
    }

    fn shared(self, routes: &Routes) -> Vec<Arc<Route>> {
        self.0.into_iter().map(|route| routes.shared(route)).collect()
    }
}

fn push(routes: &[Arc<Route>], message: Arc<Message>, effects: &mut Effects) {
    if let Some((last, others)) = routes.split_last() {
        for route in others {
            route.lane.push(route, message.clone(), effects);
        }
        last.lane.push(last, message, effects);
    }
}

fn offer(
    inbox: &Arc<Inbox>,
    message: &Arc<Message>,
    when_full: WhenFull,
    effects: &mut Effects,
    published: &mut Published,
) {
    let offered = match inbox.policy {
        Policy::Block { timeout } if when_full == WhenFull::Wait => inbox.offer_in_line(message, timeout, effects),
        _ => Ok(inbox.offer([message.clone()], effects)),
    };
    match offered {
        // Whether it reaches anybody is not known here.
        Ok(_) if inbox.far => {}
        Ok(offered) => published.add(&inbox.name, offered),
        Err(place) => published.waiting.push(place),
    }
}

impl Group {
    /// Who has the next message: a member here if one has room, else one elsewhere, else one here that at least is open.
    fn pick(&self, turn: usize) -> Option<&Arc<Inbox>> {
        let wishes =
            [(&self.near, Room::Free), (&self.far, Room::Free), (&self.near, Room::Full), (&self.far, Room::Full)];
        wishes.into_iter().find_map(|(members, room)| pick(members, turn, room))
    }
}

/// The member whose turn it is, or the next one that has such `room`.
fn pick(members: &[Arc<Inbox>], turn: usize, room: Room) -> Option<&Arc<Inbox>> {
    let (before, from) = members.split_at(turn.checked_rem(members.len())?);
    from.iter().chain(before).find(|member| member.room() == room)
}
