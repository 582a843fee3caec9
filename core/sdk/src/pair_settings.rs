use std::{collections::BTreeMap, time::Duration};

use ratebus_model::{Pair, Price, SourceName};
use serde::Deserialize;

use crate::{ConfigError, duration};

/// The `[pairs.*]` tables.
pub type PairTable = BTreeMap<Pair, PairSettings>;

/// `[pairs.BTC_USD]`: what holds for a pair wherever it is used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairSettings {
    /// Customer prices are multiples of this; without it the finest decimals received decide, at most 0.01.
    pub price_step: Option<Price>,
    /// Which sources may price the pair, the preferred one first; without it any may.
    #[serde(default)]
    pub sources: Vec<SourceName>,
    /// How the sources' prices become one.
    #[serde(default)]
    pub price: PriceMethod,
    /// How many sources a median takes at least; 2 without it.
    pub quorum: Option<usize>,
    /// How far a source may be from the median of all, where there are three or more; without it any distance is fine.
    pub max_deviation_bps: Option<u32>,
    /// How far the sources of a median may be from each other, and a source that takes over from the one before; without
    /// it any distance is fine.
    pub max_disagreement_bps: Option<u32>,
    /// How long a source that failed has to be good before it is used again where others can do without it; 30 s without it.
    #[serde(default, with = "duration::option")]
    pub return_after: Option<Duration>,
}

/// How the prices of several sources become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PriceMethod {
    /// One of them is taken: the first that is fresh.
    #[default]
    First,
    /// Their median.
    Median,
}

impl PairSettings {
    /// What a median takes at least when the config does not say.
    pub const QUORUM: usize = 2;
    /// How long a source is on probation when the config does not say: longer than one word of a stream counts.
    pub const RETURN_AFTER: Duration = Duration::from_secs(30);
    /// Further apart than this is no limit.
    const MOST_BPS: u32 = 10_000;

    /// Whether all tables make sense together.
    ///
    /// # Errors
    /// Every problem, under keys such as `BTC_USD.quorum`.
    pub fn check(all: &PairTable) -> Result<(), ConfigError> {
        let mut problems = ConfigError::default();
        for (pair, settings) in all {
            for (key, message) in settings.problems() {
                problems.add(format!("{pair}.{key}"), message);
            }
        }
        problems.or(())
    }

    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if let Some(twice) = (1..self.sources.len()).find(|&index| self.sources[..index].contains(&self.sources[index]))
        {
            problems.push(("sources", format!("{} is listed twice", self.sources[twice])));
        }
        let (quorum, sources) = (self.quorum.unwrap_or(Self::QUORUM), self.sources.len());
        if self.quorum.is_some() && self.price != PriceMethod::Median {
            problems.push(("quorum", "is for price = \"median\"".to_owned()));
        } else if quorum == 0 {
            problems.push(("quorum", "must be at least 1".to_owned()));
        } else if self.price == PriceMethod::Median && sources > 0 && quorum > sources {
            problems.push(("quorum", format!("{quorum} sources, of the {sources} listed, can never be there")));
        }
        let limits =
            [("max_deviation_bps", self.max_deviation_bps), ("max_disagreement_bps", self.max_disagreement_bps)];
        for (key, limit) in limits {
            if limit.is_some_and(|limit| limit == 0 || limit > Self::MOST_BPS) {
                problems.push((key, format!("must be from 1 to {}", Self::MOST_BPS)));
            }
        }
        problems
    }
}
