use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use ratebus_model::Subject;
use ratebus_sdk::LogLimit;
use serde_json::{Value, json};

use super::word::Word;

/// A process that says nothing for longer is silent: its word may be lost a few times, and be 5 s on its way.
const SILENT: Duration = Duration::from_secs(10);
/// One that is silent for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_mins(5);
/// How many processes are known at once.
const MOST: usize = 256;
/// The longest word that is listened to, in bytes.
const LONGEST: usize = 8 * 1024;
/// The states that are counted.
const STATES: [&str; 4] = ["ready", "not_ready", "stopping", "silent"];

/// The processes that were heard, by role, machine and instance.
#[derive(Default)]
pub(super) struct Roster {
    heard: BTreeMap<Key, Heard>,
    log: LogLimit,
}

type Key = (String, String, String);

struct Heard {
    word: Word,
    at: Instant,
}

impl Roster {
    /// A process has said how it is. A word of another form, or under another's subject, is refused and counted; so is one
    /// process too many, unless another is silent, which goes for it.
    pub(super) fn hear(&mut self, subject: &Subject, text: &[u8], now: Instant) {
        let word = serde_json::from_slice::<Word>(text).ok().filter(|word| {
            let its_own = subject.tokens().skip(1).eq([word.instance.as_str()]);
            text.len() <= LONGEST && its_own
        });
        let Some(word) = word else { return self.refuse(subject, "malformed", now) };
        let key = (word.role.clone(), word.host.clone(), word.instance.clone());
        self.forget(now);
        if self.heard.len() >= MOST && !self.heard.contains_key(&key) && !self.forget_one_silent(now) {
            return self.refuse(subject, "too_many", now);
        }
        self.heard.insert(key, Heard { word, at: now });
    }

    /// Every process that is known, and how long ago it was heard.
    pub(super) fn shown(&mut self, now: Instant) -> Vec<Value> {
        self.forget(now);
        self.heard.values().map(|heard| heard.shown(now)).collect()
    }

    /// Writes down how many are in which state.
    pub(super) fn count(&mut self, now: Instant) {
        self.forget(now);
        for state in STATES {
            let count = self.heard.values().filter(|heard| heard.state(now) == state).count();
            metrics::gauge!("ratebus_instances", "state" => state).set(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }

    /// One that said that it stops is not missed.
    fn forget(&mut self, now: Instant) {
        self.heard.retain(|_, heard| {
            let silent = heard.silent_for(now);
            silent.is_zero() || (silent < FORGOTTEN && heard.word.state != "stopping")
        });
    }

    fn forget_one_silent(&mut self, now: Instant) -> bool {
        let silent = self.heard.iter().filter(|(_, heard)| !heard.silent_for(now).is_zero());
        let longest = silent.min_by_key(|(_, heard)| heard.at).map(|(key, _)| key.clone());
        longest.is_some_and(|key| self.heard.remove(&key).is_some())
    }

    fn refuse(&mut self, subject: &Subject, reason: &'static str, now: Instant) {
        metrics::counter!("ratebus_instances_refused_total", "reason" => reason).increment(1);
        if self.log.allows(now) {
            tracing::warn!(%subject, reason, "what a process says of its health is refused");
        }
    }
}

impl Heard {
    /// For how long it has been silent.
    fn silent_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at).saturating_sub(SILENT)
    }

    fn state(&self, now: Instant) -> &str {
        if self.silent_for(now).is_zero() { &self.word.state } else { "silent" }
    }

    fn shown(&self, now: Instant) -> Value {
        let Word { instance, role, host, version, state: _, since, reasons } = &self.word;
        let age = u64::try_from(now.saturating_duration_since(self.at).as_millis()).unwrap_or(u64::MAX);
        json!({
            "instance": instance, "role": role, "host": host, "version": version,
            "state": self.state(now), "since": since, "reasons": reasons, "heardMsAgo": age,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(instance: u128) -> Subject {
        Subject::health(instance)
    }

    fn word(instance: u128, state: &str) -> Value {
        json!({
            "instance": format!("{instance:032x}"), "role": "user-api", "version": "9.0.0", "state": state,
            "since": "2026-09-19T18:57:46.901220Z", "mood": { "newer": true },
        })
    }

    fn hear(roster: &mut Roster, instance: u128, state: &str, now: Instant) {
        roster.hear(&subject(instance), word(instance, state).to_string().as_bytes(), now);
    }

    fn states(roster: &mut Roster, now: Instant) -> Vec<String> {
        roster.shown(now).iter().map(|one| one["state"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn who_says_nothing_is_silent_and_then_forgotten() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut roster = Roster::default();
        hear(&mut roster, 1, "ready", start);
        hear(&mut roster, 2, "stopping", start);
        assert_eq!(states(&mut roster, start + SILENT), ["ready", "stopping"]);
        // Who says goodbye is not missed.
        assert_eq!(states(&mut roster, start + SILENT + second), ["silent"]);
        let shown = roster.shown(start + SILENT + second).remove(0);
        assert_eq!((&shown["heardMsAgo"], &shown["host"]), (&json!(11_000), &json!("")));
        hear(&mut roster, 1, "tired", start + SILENT * 2);
        assert_eq!(states(&mut roster, start + SILENT * 2), ["tired"]);
        assert_eq!(states(&mut roster, start + SILENT * 3 + FORGOTTEN), [""; 0]);
    }

    #[test]
    fn only_so_many_are_known_and_who_is_silent_makes_room() {
        let start = Instant::now();
        let mut roster = Roster::default();
        for instance in 0..=MOST as u128 {
            hear(&mut roster, instance, "ready", start);
        }
        assert_eq!(roster.heard.len(), MOST);
        let later = start + SILENT + Duration::from_secs(1);
        hear(&mut roster, 1, "not_ready", later);
        hear(&mut roster, MOST as u128, "ready", later);
        assert_eq!(roster.heard.len(), MOST);
        let awake = |states: Vec<String>| states.into_iter().filter(|state| state != "silent").collect::<Vec<_>>();
        assert_eq!(awake(states(&mut roster, later)), ["not_ready", "ready"]);
    }

    #[test]
    fn what_is_no_word_of_its_sender_is_refused() {
        let now = Instant::now();
        let mut roster = Roster::default();
        let good = word(1, "ready");
        let mut long = good.clone();
        long["role"] = "x".repeat(LONGEST).into();
        let mut lacking = good.clone();
        lacking.as_object_mut().unwrap().remove("state");
        for text in
            [long.to_string(), lacking.to_string(), word(2, "ready").to_string(), "[]".to_owned(), String::new()]
        {
            roster.hear(&subject(1), text.as_bytes(), now);
        }
        assert!(roster.heard.is_empty());
        roster.hear(&subject(1), good.to_string().as_bytes(), now);
        assert_eq!(roster.heard.len(), 1);
    }
}
