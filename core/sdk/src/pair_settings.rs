use std::{collections::BTreeMap, time::Duration};

use ratebus_model::{
    Pair, Price, SourceName,
    cross::{self, NoWay},
};
use serde::{Deserialize, Serialize};

use crate::{ConfigError, duration};

/// The `[pairs.*]` tables.
pub type PairTable = BTreeMap<Pair, PairSettings>;

/// `[pairs.BTC_USD]`: what holds for a pair wherever it is used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
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
    /// The pairs whose prices make this one's, from its base to its quote; without it sources price the pair.
    #[serde(default)]
    pub cross: Vec<Pair>,
}

/// How the prices of several sources become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
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
    /// Longer chains have more digits than can be computed with.
    const MOST_LEGS: usize = 4;

    /// Whether all tables make sense together.
    ///
    /// # Errors
    /// Every problem, under keys such as `BTC_USD.quorum`.
    pub fn check(all: &PairTable) -> Result<(), ConfigError> {
        let mut problems = ConfigError::default();
        for (pair, settings) in all {
            let found =
                if settings.cross.is_empty() { settings.problems() } else { settings.problems_of_cross(*pair, all) };
            for (key, message) in found {
                problems.add(format!("{pair}.{key}"), message);
            }
        }
        if let Err(cycle) = Self::crosses(all) {
            let way = cycle.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            problems.add(format!("{}.cross", cycle[0]), format!("leads back to itself: {way}"));
        }
        problems.or(())
    }

    /// The pairs that are made from others, each behind those it is made from.
    ///
    /// # Errors
    /// Some that are made from each other, the first of them at the end again.
    pub fn crosses(all: &PairTable) -> Result<Vec<Pair>, Vec<Pair>> {
        let mut open: BTreeMap<Pair, &[Pair]> = all
            .iter()
            .filter(|(_, own)| !own.cross.is_empty())
            .map(|(&pair, own)| (pair, own.cross.as_slice()))
            .collect();
        let mut ordered = Vec::new();
        while let Some(&first) = open.keys().next() {
            let ready = open.iter().find(|(_, legs)| legs.iter().all(|leg| !open.contains_key(leg)));
            let Some((&pair, _)) = ready else { return Err(cycle(&open, first)) };
            open.remove(&pair);
            ordered.push(pair);
        }
        Ok(ordered)
    }

    fn problems_of_cross(&self, pair: Pair, all: &PairTable) -> Vec<(String, String)> {
        let Self {
            price_step: _,
            cross,
            sources,
            price,
            quorum,
            max_deviation_bps,
            max_disagreement_bps,
            return_after,
        } = self;
        let given = [
            ("sources", !sources.is_empty()),
            ("price", *price != PriceMethod::First),
            ("quorum", quorum.is_some()),
            ("max_deviation_bps", max_deviation_bps.is_some()),
            ("max_disagreement_bps", max_disagreement_bps.is_some()),
            ("return_after", return_after.is_some()),
        ];
        let not_here = "is for a pair that sources price; this one has a cross";
        let mut problems: Vec<(String, String)> = given
            .into_iter()
            .filter(|(_, given)| *given)
            .map(|(key, _)| (key.to_owned(), not_here.to_owned()))
            .collect();
        for (index, leg) in cross.iter().enumerate() {
            if !all.contains_key(leg) {
                problems.push((format!("cross.{index}"), format!("there is no [pairs.{leg}]; it may be empty")));
            }
        }
        if cross.len() > Self::MOST_LEGS {
            problems.push(("cross".to_owned(), format!("more than {} pairs", Self::MOST_LEGS)));
        }
        match cross::legs(pair, cross) {
            Ok(_) => {}
            Err(error @ NoWay::Broken { index, .. }) => problems.push((format!("cross.{index}"), error.to_string())),
            Err(error) => problems.push(("cross".to_owned(), error.to_string())),
        }
        problems
    }

    fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut add = |key: &str, message: String| problems.push((key.to_owned(), message));
        if let Some(twice) = (1..self.sources.len()).find(|&index| self.sources[..index].contains(&self.sources[index]))
        {
            add("sources", format!("{} is listed twice", self.sources[twice]));
        }
        let (quorum, sources) = (self.quorum.unwrap_or(Self::QUORUM), self.sources.len());
        if self.quorum.is_some() && self.price != PriceMethod::Median {
            add("quorum", "is for price = \"median\"".to_owned());
        } else if quorum == 0 {
            add("quorum", "must be at least 1".to_owned());
        } else if self.price == PriceMethod::Median && sources > 0 && quorum > sources {
            add("quorum", format!("{quorum} sources, of the {sources} listed, can never be there"));
        }
        let limits =
            [("max_deviation_bps", self.max_deviation_bps), ("max_disagreement_bps", self.max_disagreement_bps)];
        for (key, limit) in limits {
            if limit.is_some_and(|limit| limit == 0 || limit > Self::MOST_BPS) {
                add(key, format!("must be from 1 to {}", Self::MOST_BPS));
            }
        }
        problems
    }
}

/// The pairs that `start` leads to and that lead back, of those that all lead to another of them.
fn cycle(open: &BTreeMap<Pair, &[Pair]>, start: Pair) -> Vec<Pair> {
    let mut way = vec![start];
    loop {
        let last = way[way.len() - 1];
        let next = open.get(&last).and_then(|legs| legs.iter().find(|leg| open.contains_key(leg)));
        let Some(&next) = next else { return way };
        if let Some(begin) = way.iter().position(|&pair| pair == next) {
            way.drain(..begin);
            way.push(next);
            return way;
        }
        way.push(next);
    }
}
