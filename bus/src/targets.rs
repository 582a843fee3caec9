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
    /// Those that may: whether there is room must be known at once.
    blocking: Vec<Arc<Inbox>>,
    /// The members of each queue group.
    groups: Vec<Vec<Arc<Inbox>>>,
    /// Whose turn it is in each group.
    turn: usize,
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
        let mut by_lane: Vec<Route> = Vec::new();
        trie.each_match(subject, &mut |inbox: &Arc<Inbox>| {
            if inbox.group.is_some() {
                targets.add_member(inbox);
            } else if inbox.blocks() {
                targets.blocking.push(inbox.clone());
            } else if let Some(route) = by_lane.iter_mut().find(|route| Arc::ptr_eq(&route.lane, &inbox.lane)) {
                route.inboxes.push(inbox.clone());
            } else {
                by_lane.push(Route { lane: inbox.lane.clone(), inboxes: vec![inbox.clone()] });
            }
        });
        targets.routes = by_lane.into_iter().map(|route| routes.shared(route)).collect();
        targets
    }

    fn add_member(&mut self, inbox: &Arc<Inbox>) {
        match self.groups.iter_mut().find(|members| members[0].group == inbox.group) {
            Some(members) => members.push(inbox.clone()),
            None => self.groups.push(vec![inbox.clone()]),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.blocking.is_empty() && self.groups.is_empty()
    }

    pub(crate) fn deliver(&mut self, message: Arc<Message>, when_full: WhenFull, effects: &mut Effects) -> Published {
        let mut published = Published::default();
        for inbox in &self.blocking {
            offer(inbox, &message, when_full, effects, &mut published);
        }
        for members in &self.groups {
            offer(pick(members, self.turn), &message, when_full, effects, &mut published);
        }
        self.turn = self.turn.wrapping_add(1);
        if let Some((last, others)) = self.routes.split_last() {
            for route in others {
                route.lane.push(route, message.clone(), effects);
            }
            last.lane.push(last, message, effects);
        }
        published.delivered += self.routes.iter().map(|route| route.inboxes.len()).sum::<usize>();
        published
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
        Ok(offered) => published.add(&inbox.name, offered),
        Err(place) => published.waiting.push(place),
    }
}

/// The member whose turn it is, or the next one that has room, or that at least is open.
fn pick(members: &[Arc<Inbox>], turn: usize) -> &Arc<Inbox> {
    let first = turn % members.len();
    let in_turn = || members[first..].iter().chain(&members[..first]);
    in_turn()
        .find(|member| member.room() == Room::Free)
        .or_else(|| in_turn().find(|member| member.room() != Room::Closed))
        .unwrap_or(&members[first])
}
