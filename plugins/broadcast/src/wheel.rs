//! The deadlines of a loop's connections.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    time::{Duration, Instant},
};

use tokio::time::sleep_until;

/// How exact a deadline is: nothing is early, and nothing later than this. A second is a whole number of them.
const TICK: Duration = Duration::from_millis(TICK_MILLIS);
const TICK_MILLIS: u64 = 20;

/// Deadlines, coarse, so that those of many connections come due together.
#[derive(Debug)]
pub(crate) struct Wheel {
    start: Instant,
    /// Whoever is paced comes to the same tick again and again, and is there once.
    ticks: BTreeMap<u64, BTreeSet<usize>>,
}

impl Wheel {
    pub(crate) fn new(now: Instant) -> Self {
        Self { start: now, ticks: BTreeMap::new() }
    }

    /// The tick that a deadline falls to.
    pub(crate) fn tick(&self, deadline: Instant) -> u64 {
        let after = deadline.saturating_duration_since(self.start);
        let of_second = u64::from(after.subsec_nanos()).div_ceil(u64::from(TICK.subsec_nanos()));
        after.as_secs().saturating_mul(1000 / TICK_MILLIS).saturating_add(of_second)
    }

    /// Has the connection at `index` looked at on `tick`.
    pub(crate) fn insert(&mut self, tick: u64, index: usize) {
        self.ticks.entry(tick).or_default().insert(index);
    }

    /// Resolves when something is due. Cancel-safe.
    pub(crate) async fn due(&self) {
        match self.ticks.keys().next() {
            Some(&tick) => sleep_until(self.at(tick).into()).await,
            None => pending().await,
        }
    }

    /// The first tick if it is due, and who is to be looked at.
    pub(crate) fn take(&mut self, now: Instant) -> Option<(u64, BTreeSet<usize>)> {
        let (&tick, _) = self.ticks.first_key_value()?;
        if now < self.at(tick) { None } else { self.ticks.pop_first() }
    }

    fn at(&self, tick: u64) -> Instant {
        self.start + Duration::from_millis(tick.saturating_mul(TICK_MILLIS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_early_and_nothing_is_late() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        let deadlines = [0, 1, 99, 100, 101, 2500].map(Duration::from_millis);
        for (index, after) in deadlines.into_iter().enumerate() {
            wheel.insert(wheel.tick(start + after), index);
        }
        let mut due = Vec::new();
        for millis in 0..3000 {
            let after = Duration::from_millis(millis);
            while let Some((_, indices)) = wheel.take(start + after) {
                for index in indices {
                    assert!((deadlines[index]..=deadlines[index] + TICK).contains(&after), "{index} after {after:?}");
                    due.push(index);
                }
            }
        }
        assert_eq!(due, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn who_is_there_already_is_there_once() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        for _ in 0..100 {
            wheel.insert(wheel.tick(start + TICK), 7);
        }
        assert_eq!(wheel.take(start + TICK), Some((1, BTreeSet::from([7]))));
    }

    #[test]
    fn what_runs_for_years_is_not_early_either() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        let after = Duration::from_hours(24 * 3650);
        wheel.insert(wheel.tick(start + after), 0);
        assert!(wheel.take(start + after / 2).is_none());
        assert!(wheel.take(start + after + TICK).is_some());
    }
}
