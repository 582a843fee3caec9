use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Limits, Pair, Price, Sides, SourceName, Status, Timestamp, Version};

/// What a source says of one pair now: complete, checked, and with everything needed to tell its age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    /// Who says so.
    pub source: SourceName,
    /// Of what.
    pub pair: Pair,
    /// The price.
    pub value: RateValue,
    /// Whether the exchange is matching orders.
    pub market: Market,
    /// The exchange's own time of the price, where it gives one.
    pub event_time: Option<Timestamp>,
    /// When the price arrived here.
    pub recv_time: Timestamp,
    /// The last moment at which the feed vouched for the price: a frame with it, or a heartbeat while the pair's
    /// subscription was acknowledged. A quiet market on a live feed stays fresh by this.
    pub confirmed_at: Instant,
    /// When it becomes stale and dead.
    pub limits: Limits,
    /// Grows when the price, its times or the market state change; not when the feed merely vouches for it again.
    pub version: Version,
}

impl Rate {
    /// How long ago the feed last vouched for the price.
    pub fn feed_age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.confirmed_at)
    }

    /// Fresh, stale or dead at `now`. A market that is not matching is never fresh.
    pub fn status(&self, now: Instant) -> Status {
        self.limits.status(self.feed_age(now)).max(self.market.best_status())
    }
}

/// The price of a [`Rate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateValue {
    /// Best bid and best ask, `bid <= ask`.
    TwoSided {
        /// What a seller gets.
        bid: Price,
        /// What a buyer pays.
        ask: Price,
    },
    /// One aggregated price that nobody may have traded at.
    Reference {
        /// The price.
        price: Price,
    },
}

impl RateValue {
    /// What a buyer pays.
    pub fn ask(self) -> Price {
        match self {
            Self::TwoSided { ask, .. } => ask,
            Self::Reference { price } => price,
        }
    }

    /// What a seller gets.
    pub fn bid(self) -> Price {
        match self {
            Self::TwoSided { bid, .. } => bid,
            Self::Reference { price } => price,
        }
    }

    /// What a customer buys and sells at where there is no spread.
    pub fn sides(self) -> Sides<Price> {
        Sides { buy: self.ask(), sell: self.bid() }
    }

    /// Which of the two it is.
    pub fn kind(self) -> RateKind {
        match self {
            Self::TwoSided { .. } => RateKind::TwoSided,
            Self::Reference { .. } => RateKind::Reference,
        }
    }
}

/// Whether a price has two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RateKind {
    /// Bid and ask.
    TwoSided,
    /// One number, used as both.
    Reference,
}

/// What an exchange says about its own market.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Market {
    /// Orders are matched, or the exchange says nothing to the contrary.
    #[default]
    Online,
    /// Cancel only, post only: no matching, prices are indicative.
    NotMatching,
    /// Down for maintenance.
    Maintenance,
    /// A state we do not know, so not one to trust.
    Unknown,
}

impl Market {
    /// The best status a price may have in this state.
    pub fn best_status(self) -> Status {
        match self {
            Self::Online => Status::Fresh,
            Self::NotMatching | Self::Maintenance | Self::Unknown => Status::Stale,
        }
    }
}
