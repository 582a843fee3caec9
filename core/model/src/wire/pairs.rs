use serde::{Deserialize, Serialize};

use crate::{Pair, PairList, PairState, SourceName};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WirePairs {
    source: SourceName,
    pairs: Vec<WirePair>,
}

/// `{"pair": "BTC_USD", "state": "subscribed"}`, with the exchange's `reason` for one that is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct WirePair {
    pair: Pair,
    #[serde(flatten)]
    state: PairState,
}

impl WirePairs {
    pub(super) fn new(list: &PairList) -> Self {
        let pairs = list.pairs.iter().map(|(pair, state)| WirePair { pair: *pair, state: state.clone() });
        Self { source: list.source, pairs: pairs.collect() }
    }

    pub(super) fn into_list(self) -> PairList {
        let pairs = self.pairs.into_iter().map(|WirePair { pair, state }| (pair, state));
        PairList { source: self.source, pairs: pairs.collect() }
    }
}
