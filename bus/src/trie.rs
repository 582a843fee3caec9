use std::collections::HashMap;

use foldhash::fast::RandomState;
use ratebus_model::{Pattern, Subject};

/// Patterns by their tokens, so that finding all that match a subject costs its tokens, not the number of patterns.
#[derive(Debug)]
pub(crate) struct Trie<T> {
    root: Node<T>,
}

#[derive(Debug)]
struct Node<T> {
    literal: HashMap<Box<str>, Node<T>, RandomState>,
    /// Below `*`.
    any: Option<Box<Node<T>>>,
    /// Patterns that end here.
    ends: Vec<T>,
    /// Patterns that end here with `>`.
    rest: Vec<T>,
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self { root: Node::default() }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literal: HashMap::default(), any: None, ends: Vec::new(), rest: Vec::new() }
    }
}

impl<T: PartialEq> Trie<T> {
    pub(crate) fn insert(&mut self, pattern: &Pattern, value: T) {
        let mut node = &mut self.root;
        for token in pattern.tokens() {
            node = match token {
                ">" => return node.rest.push(value),
                "*" => node.any.get_or_insert_default(),
                literal => node.literal.entry(literal.into()).or_default(),
            };
        }
        node.ends.push(value);
    }

    /// Removes `value` from `pattern`, and the nodes nobody needs any more. Whether it was there.
    pub(crate) fn remove(&mut self, pattern: &Pattern, value: &T) -> bool {
        self.root.remove(&mut pattern.tokens(), value)
    }
}

impl<T> Trie<T> {
    /// Calls `found` with every value whose pattern matches.
    pub(crate) fn each_match<'a>(&'a self, subject: &Subject, found: &mut impl FnMut(&'a T)) {
        self.root.each_match(subject.as_str(), found);
    }

    /// Calls `found` with every value.
    pub(crate) fn each(&self, found: &mut impl FnMut(&T)) {
        self.root.each(found);
    }
}

impl<T: PartialEq> Node<T> {
    fn remove<'a>(&mut self, tokens: &mut impl Iterator<Item = &'a str>, value: &T) -> bool {
        match tokens.next() {
            None => take(&mut self.ends, value),
            Some(">") => take(&mut self.rest, value),
            Some("*") => {
                let removed = self.any.as_mut().is_some_and(|any| any.remove(tokens, value));
                self.any.take_if(|any| any.is_empty());
                removed
            }
            Some(literal) => {
                let Some(child) = self.literal.get_mut(literal) else { return false };
                let removed = child.remove(tokens, value);
                if child.is_empty() {
                    self.literal.remove(literal);
                }
                removed
            }
        }
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        self.literal.is_empty() && self.any.is_none() && self.ends.is_empty() && self.rest.is_empty()
    }

    fn each_match<'a>(&'a self, tokens: &str, found: &mut impl FnMut(&'a T)) {
        self.rest.iter().for_each(&mut *found);
        let (token, rest) = tokens.split_once('.').map_or((tokens, None), |(token, rest)| (token, Some(rest)));
        for child in self.literal.get(token).into_iter().chain(self.any.as_deref()) {
            match rest {
                Some(rest) => child.each_match(rest, found),
                None => child.ends.iter().for_each(&mut *found),
            }
        }
    }

    fn each(&self, found: &mut impl FnMut(&T)) {
        self.ends.iter().chain(&self.rest).for_each(&mut *found);
        self.literal.values().chain(self.any.as_deref()).for_each(|child| child.each(found));
    }
}

fn take<T: PartialEq>(values: &mut Vec<T>, value: &T) -> bool {
    let at = values.iter().position(|found| found == value);
    at.map(|at| values.swap_remove(at)).is_some()
}
