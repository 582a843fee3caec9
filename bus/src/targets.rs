use std::{slice, sync::Arc};

use ratebus_model::{Message, Subject};

use crate::{
    effects::Effects,
    inbox::{Inbox, Offered},
    line::InLine,
    subscription::Policy,
    trie::Trie,
};

/// The inboxes that want a subject.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    single: Vec<Arc<Inbox>>,
    /// The members of each queue group.
    groups: Vec<Vec<Arc<Inbox>>>,
    /// Whose turn it is in each group.
    turn: usize,
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
    pub(crate) fn of(subject: &Subject, trie: &Trie<Arc<Inbox>>, turn: usize) -> Self {
        let mut targets = Self { turn, ..Self::default() };
        trie.each_match(subject, &mut |inbox: &Arc<Inbox>| targets.add(inbox));
        targets
    }

    fn add(&mut self, inbox: &Arc<Inbox>) {
        if inbox.group.is_none() {
            return self.single.push(inbox.clone());
        }
        match self.groups.iter_mut().find(|members| members[0].group == inbox.group) {
            Some(members) => members.push(inbox.clone()),
            None => self.groups.push(vec![inbox.clone()]),
        }
    }

    pub(crate) fn deliver(&mut self, message: &Arc<Message>, when_full: WhenFull, effects: &mut Effects) -> Published {
        let mut published = Published::default();
        for inbox in &self.single {
            offer(inbox, message, when_full, effects, &mut published);
        }
        for members in &self.groups {
            offer(pick(members, self.turn), message, when_full, effects, &mut published);
        }
        self.turn = self.turn.wrapping_add(1);
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
        _ => Ok(inbox.offer(slice::from_ref(message), effects)),
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
        .find(|member| member.is_open() == (true, true))
        .or_else(|| in_turn().find(|member| member.is_open().0))
        .unwrap_or(&members[first])
}
