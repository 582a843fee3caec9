//! Which pairs a client wants.

use std::{
    cmp::max,
    collections::HashSet,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use ratebus_model::{Asset, Pair};
use serde::{Serialize, Serializer};

/// How many sets are kept before it is looked whether all of them are in use.
const SWEEP_AT: usize = 64;

/// A pair, `BTC_USD`; those with one asset in common, `BTC_*` and `*_EUR`; or every pair, `>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PairPattern {
    /// `None` for any.
    base: Option<Asset>,
    quote: Option<Asset>,
}

impl PairPattern {
    /// Every pair.
    pub(crate) const ALL: Self = Self { base: None, quote: None };

    /// Whether a text is meant as a pattern of many pairs.
    pub(crate) fn is_meant(text: &str) -> bool {
        text.contains(['*', '>'])
    }

    /// The pair, if it is but one.
    pub(crate) fn pair(self) -> Option<Pair> {
        Pair::new(self.base?, self.quote?).ok()
    }

    /// Whether it is of more than one pair.
    pub(crate) fn is_many(self) -> bool {
        self.base.is_none() || self.quote.is_none()
    }

    /// Those that cover it, but for itself.
    fn wider(self) -> impl Iterator<Item = Self> {
        let Self { base, quote } = self;
        let covering = [(None, None), (base, None), (None, quote)].map(|(base, quote)| Self { base, quote });
        covering.into_iter().filter(move |covering| *covering != self)
    }

    fn overlaps(self, other: Self) -> bool {
        let overlap = |own: Option<Asset>, other: Option<Asset>| own.is_none() || other.is_none() || own == other;
        overlap(self.base, other.base) && overlap(self.quote, other.quote)
    }
}

impl From<Pair> for PairPattern {
    fn from(pair: Pair) -> Self {
        Self { base: Some(pair.base()), quote: Some(pair.quote()) }
    }
}

/// The text is neither a pair nor a pattern of pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoPattern;

impl FromStr for PairPattern {
    type Err = NoPattern;

    fn from_str(text: &str) -> Result<Self, NoPattern> {
        if let ">" | "*" = text {
            return Ok(Self::ALL);
        }
        if !Self::is_meant(text) {
            return text.parse::<Pair>().map(Self::from).map_err(|_| NoPattern);
        }
        let (base, quote) = text.split_once(['_', '/', '-']).ok_or(NoPattern)?;
        let side = |text| if text == "*" { Ok(None) } else { Asset::from_str(text).map(Some).map_err(|_| NoPattern) };
        Ok(Self { base: side(base)?, quote: side(quote)? })
    }
}

impl fmt::Display for PairPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |asset: &Option<Asset>| asset.map_or("*".to_owned(), |asset| asset.to_string());
        if *self == Self::ALL { f.write_str(">") } else { write!(f, "{}_{}", side(&self.base), side(&self.quote)) }
    }
}

impl fmt::Debug for PairPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for PairPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What clients want, as few patterns as say it. Made by [`Sets`]: equal ones are one.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// No other set has, or will have, this number.
    id: u64,
    /// In order; none covers another.
    patterns: Box<[PairPattern]>,
}

impl Wanted {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn is_all(&self) -> bool {
        *self.patterns == [PairPattern::ALL]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    pub(crate) fn contains(&self, pair: Pair) -> bool {
        covers(&self.patterns, pair.into())
    }

    /// In order; none covers another.
    pub(crate) fn patterns(&self) -> &[PairPattern] {
        &self.patterns
    }

    /// With these, too; `None` if all of them are in already.
    pub(crate) fn with(&self, added: &[PairPattern]) -> Option<Vec<PairPattern>> {
        let is_known = added.iter().all(|&pattern| covers(&self.patterns, pattern));
        (!is_known).then(|| reduced(self.patterns.iter().chain(added).copied()))
    }

    /// Without these. Of a pattern that is removed in part the pairs that are `known` stay.
    pub(crate) fn without(&self, removed: &[PairPattern], known: impl Iterator<Item = Pair>) -> Vec<PairPattern> {
        let removed = reduced(removed.iter().copied());
        let is_cut =
            |pattern: PairPattern| pattern.is_many() && removed.iter().any(|removed| removed.overlaps(pattern));
        let kept = self.patterns.iter().copied().filter(|&pattern| !covers(&removed, pattern));
        let (cut, whole): (Vec<_>, Vec<_>) = kept.partition(|&pattern| is_cut(pattern));
        let left = known.map(PairPattern::from).filter(|&pair| covers(&cut, pair) && !covers(&removed, pair));
        reduced(whole.into_iter().chain(left))
    }
}

/// These in order, and without those that another covers.
fn reduced(patterns: impl Iterator<Item = PairPattern>) -> Vec<PairPattern> {
    let mut patterns: Vec<_> = patterns.collect();
    patterns.sort_unstable();
    patterns.dedup();
    let many: Vec<_> = patterns.iter().copied().filter(|pattern| pattern.is_many()).collect();
    patterns.retain(|&pattern| !pattern.wider().any(|wider| many.binary_search(&wider).is_ok()));
    patterns
}

/// Whether one of `patterns`, which are in order, covers this one.
fn covers(patterns: &[PairPattern], pattern: PairPattern) -> bool {
    let mut all = [pattern].into_iter().chain(pattern.wider());
    all.any(|covering| patterns.binary_search(&covering).is_ok())
}

impl PartialEq for Wanted {
    fn eq(&self, other: &Self) -> bool {
        self.patterns == other.patterns
    }
}

impl Eq for Wanted {}

impl Hash for Wanted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.patterns.hash(state);
    }
}

/// The sets that clients have, each once.
#[derive(Debug, Default)]
pub(crate) struct Sets(Mutex<Shared>);

#[derive(Debug, Default)]
struct Shared {
    sets: HashSet<Arc<Wanted>>,
    /// Counts those made.
    made: u64,
    /// At so many it is looked whether all are in use.
    sweep_at: usize,
}

impl Sets {
    /// The one set of these patterns, which are in order and without any that another covers.
    pub(crate) fn of(&self, patterns: Vec<PairPattern>) -> Arc<Wanted> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shared.made += 1;
        let wanted = Wanted { id: shared.made, patterns: patterns.into() };
        if let Some(held) = shared.sets.get(&wanted) {
            return Arc::clone(held);
        }
        if shared.sets.len() >= shared.sweep_at {
            shared.sets.retain(|set| Arc::strong_count(set) > 1);
            shared.sweep_at = max(SWEEP_AT, 2 * shared.sets.len());
        }
        let wanted = Arc::new(wanted);
        shared.sets.insert(Arc::clone(&wanted));
        wanted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> PairPattern {
        text.parse().unwrap_or_else(|NoPattern| panic!("{text}"))
    }

    #[test]
    fn patterns_are_read_and_written() {
        for (text, written) in [
            (">", ">"),
            ("*", ">"),
            ("*_*", ">"),
            ("btc/*", "BTC_*"),
            ("XBT_*", "BTC_*"),
            ("*-eur", "*_EUR"),
            ("xbt-usd", "BTC_USD"),
        ] {
            assert_eq!(pattern(text).to_string(), written, "{text}");
        }
        for text in ["", "_", "BTC_>", "B*_USD", "**_USD", "BTC_*_*", "*USD", "BTC", "BTC_BTC", "> ", "*_"] {
            assert_eq!(text.parse::<PairPattern>(), Err(NoPattern), "{text}");
        }
    }

    #[test]
    fn equal_sets_are_one_and_those_nobody_has_are_forgotten() {
        let sets = Sets::default();
        let [one, other] = [(); 2].map(|()| sets.of(vec![pattern("BTC_*"), pattern("ETH_USD")]));
        assert!(Arc::ptr_eq(&one, &other));
        for n in 0..10 * SWEEP_AT {
            assert_ne!(sets.of(vec![pattern(&format!("A{n}_USD"))]).id(), one.id());
        }
        assert!(sets.0.lock().unwrap().sets.len() <= SWEEP_AT + 1);
    }

    const ASSETS: [&str; 3] = ["BTC", "ETH", "USD"];

    fn any_pattern() -> impl Strategy<Value = PairPattern> {
        let texts = ["*", "BTC", "ETH", "USD"];
        (0..4_usize, 0..4_usize)
            .prop_map(move |(base, quote)| format!("{}_{}", texts[base], texts[quote]))
            .prop_filter_map("a pair of one asset", |text| text.parse().ok())
    }

    fn every_pair() -> impl Iterator<Item = Pair> {
        let pairs = ASSETS.iter().flat_map(|base| ASSETS.iter().map(move |quote| format!("{base}_{quote}")));
        pairs.filter_map(|text| text.parse().ok())
    }

    proptest! {
        /// As if each pair were asked for by itself.
        #[test]
        fn a_set_has_what_was_added_and_not_removed(
            steps in prop::collection::vec((any::<bool>(), any_pattern()), 0..12)
        ) {
            let sets = Sets::default();
            let mut wanted = sets.of(Vec::new());
            let mut pairs = HashSet::new();
            for (is_added, pattern) in steps {
                let matched = every_pair().filter(|&pair| pattern.overlaps(pair.into()));
                if is_added {
                    pairs.extend(matched);
                    wanted = wanted.with(&[pattern]).map_or(wanted, |patterns| sets.of(patterns));
                } else {
                    matched.for_each(|pair| _ = pairs.remove(&pair));
                    wanted = sets.of(wanted.without(&[pattern], every_pair()));
                }
                prop_assert!(wanted.patterns.is_sorted());
                for pair in every_pair() {
                    prop_assert_eq!(wanted.contains(pair), pairs.contains(&pair), "{} {:?}", pair, wanted);
                }
                for pattern in &wanted.patterns {
                    prop_assert!(!pattern.wider().any(|wider| wanted.patterns.contains(&wider)), "{:?}", wanted);
                }
            }
        }
    }
}
