use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use ratebus_test_exchange::Exchange;
use tokio::time::interval;

use crate::harness::{Admin, BASES, decimal, markup, prices};

pub(super) const PAIRS: [&str; 2] = [BASES[0].0, BASES[1].0];
/// The number of the exchange, as prices tell it.
const EXCHANGE: u64 = 1;

/// What a pair's price is made from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Of the market's price.
    pub(super) tick: u64,
    /// Of the spread.
    pub(super) revision: u64,
}

/// An exchange and an administrator, who change prices in steps that can be told from each other.
pub(super) struct Market {
    exchange: Exchange,
    states: [State; 2],
}

impl Market {
    pub(super) async fn open() -> Self {
        let market = Self { exchange: Exchange::start().await, states: [State::default(); 2] };
        market.tell(Exchange::list);
        market
    }

    pub(super) fn url(&self) -> String {
        self.exchange.url()
    }

    /// What each of [`PAIRS`] is made from now.
    pub(super) fn states(&self) -> [State; 2] {
        self.states
    }

    /// Both prices move.
    pub(super) fn tick(&mut self) {
        self.states.iter_mut().for_each(|state| state.tick += 1);
        self.tell(Exchange::tick);
    }

    fn tell(&self, tell: impl Fn(&Exchange, &str, &str, &str)) {
        for ((pair, base), state) in BASES.iter().zip(&self.states) {
            let (bid, ask) = prices(*base, state.tick, EXCHANGE);
            tell(&self.exchange, &pair.replace('_', "/"), &decimal(bid), &decimal(ask));
        }
    }

    /// One of the pairs gets its next spread.
    pub(super) async fn respread(&mut self, admin: &Admin, pair: usize) {
        let revision = self.states[pair].revision + 1;
        let cents = decimal(markup(revision));
        admin.set_spread(PAIRS[pair], &cents, &cents).await;
        self.states[pair].revision = revision;
    }

    /// Goes on until it is told to stop.
    pub(super) async fn trade(&mut self, admin: &Admin, stop: &AtomicBool) {
        let mut ticks = interval(Duration::from_millis(20));
        for number in 0_usize.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            ticks.tick().await;
            self.tick();
            if number.is_multiple_of(3) {
                self.respread(admin, number % 2).await;
            }
        }
    }
}
