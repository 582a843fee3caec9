//! What is left of the plan.

use std::time::Duration;

use ratebus_model::SourceName;
use ratebus_sdk::feed::{
    DecodeError,
    json::{TimeFormat, object},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::{Period, Reply};

#[derive(Deserialize)]
struct KeyInfo<'b> {
    #[serde(borrow, default)]
    plan: Plan<'b>,
    #[serde(borrow, default)]
    usage: Usage<'b>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Plan<'b> {
    #[serde(borrow)]
    credit_limit_daily_reset_timestamp: Option<&'b RawValue>,
    #[serde(borrow)]
    credit_limit_monthly_reset_timestamp: Option<&'b RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Usage<'b> {
    #[serde(borrow)]
    current_day: Count<'b>,
    #[serde(borrow)]
    current_month: Count<'b>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Count<'b> {
    #[serde(borrow)]
    credits_used: Option<&'b RawValue>,
    #[serde(borrow)]
    credits_left: Option<&'b RawValue>,
}

/// What the answer to `/v1/key/info` says; plans without a limit of the day say nothing of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Credits {
    day: Account,
    month: Account,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Account {
    used: Option<u32>,
    left: Option<u32>,
    /// How long until they are given anew, by the API's own clock.
    resets_in: Option<Duration>,
}

impl Credits {
    pub(crate) fn read(reply: &Reply<'_>) -> Result<Self, DecodeError> {
        let KeyInfo { plan, usage } = object::<KeyInfo<'_>>(reply.data.get())?;
        let account = |count: Count<'_>, reset: Option<&RawValue>| {
            let reset = reset.and_then(|time| TimeFormat::Rfc3339.read(time));
            let resets_in = reset.map(|reset| reply.time.age_at(reset));
            Account { used: whole(count.credits_used), left: whole(count.credits_left), resets_in }
        };
        Ok(Self {
            day: account(usage.current_day, plan.credit_limit_daily_reset_timestamp),
            month: account(usage.current_month, plan.credit_limit_monthly_reset_timestamp),
        })
    }

    /// The period whose credits are used up, the longer one first.
    pub(crate) fn used_up(&self) -> Option<Period> {
        [Period::Month, Period::Day].into_iter().find(|&period| self.account(period).left == Some(0))
    }

    /// How long until the credits of a period are given anew, if that is known.
    pub(crate) fn resets_in(&self, period: Period) -> Option<Duration> {
        self.account(period).resets_in
    }

    /// Shows them as metrics.
    pub(crate) fn show(&self, source: SourceName) {
        for period in [Period::Day, Period::Month] {
            let account = self.account(period);
            let labels = [("source", source.to_string()), ("period", period.as_str().to_owned())];
            if let Some(left) = account.left {
                metrics::gauge!("ratebus_coinmarketcap_credits_left", &labels).set(left);
            }
            if let Some(used) = account.used {
                metrics::gauge!("ratebus_coinmarketcap_credits_used", &labels).set(used);
            }
        }
    }

    fn account(&self, period: Period) -> &Account {
        match period {
            Period::Day => &self.day,
            Period::Month => &self.month,
        }
    }
}

/// Credits are whole for what we ask; of anything else the part before the point.
fn whole(raw: Option<&RawValue>) -> Option<u32> {
    raw?.get().split('.').next()?.parse().ok()
}
