//! What became of each price, for those who ask.

use std::collections::BTreeMap;

use ratebus_sdk::model::{
    AppliedRule, Arrival, Calculation, Effective, Explanation, LegReport, Method, Operation, Price, RateReport, Sides,
    SourceName, SourceReport, Status, Step, Verdict, Withheld, cross::Leg, pricing,
};

use super::{Origin, Quoter};
use crate::market::{Decided, MarketPrice};

impl Quoter {
    /// How the quote published last came about. `refused` are sources whose last rate was not taken.
    pub(in crate::desk) fn explain(
        &self,
        legs: &[Decided],
        effective: Result<Effective, Withheld>,
        refused: &BTreeMap<SourceName, Verdict>,
        now: Arrival,
    ) -> Explanation {
        let quote = self.published.as_deref();
        let status = quote.map(|quote| quote.status(now.at));
        let is_shown = self.doubt.is_none() && status.is_some_and(|status| status != Status::Dead);
        let original = quote.filter(|_| is_shown).map(|quote| quote.original);
        let customer = quote.and_then(|quote| quote.customer.ok()).filter(|_| is_shown).map(|customer| customer.price);
        let effective = effective.ok();
        let mut steps: Vec<Step> = is_shown.then(|| self.market_step(legs)).flatten().into_iter().collect();
        if let (Some(original), Some(effective)) = (original, &effective) {
            steps.extend(self.customer_steps(original, effective, customer).unwrap_or_default());
        }
        let (method, sources, legs) = match &self.origin {
            Origin::Sources(feeds) => (feeds.method(), self.source_reports(refused, now), Vec::new()),
            Origin::Cross(through) => (Method::Cross, Vec::new(), through.iter().zip(legs).map(leg_report).collect()),
        };
        Explanation {
            pair: self.pair,
            time: now.time,
            method,
            sources,
            legs,
            status,
            original,
            rule: effective.map(|Effective { rule, scope, revision }| {
                let Sides { buy, sell } = rule.markup();
                AppliedRule { scope, revision, buy, sell }
            }),
            price_step: self.step.size(),
            steps,
            customer,
            withheld: self.doubt.or_else(|| quote.and_then(|quote| quote.customer.err())),
        }
    }

    fn source_reports(&self, refused: &BTreeMap<SourceName, Verdict>, now: Arrival) -> Vec<SourceReport> {
        let Origin::Sources(feeds) = &self.origin else { return Vec::new() };
        let used = |price: &MarketPrice| {
            let market = self.market.as_ref().filter(|_| self.doubt.is_none());
            market.is_some_and(|market| market.sources.contains(&price.source))
        };
        let heard = feeds.verdicts().map(|(price, verdict)| {
            let (source, used, status) = (price.source, used(price), price.status(now.at));
            let verdict = refused.get(&source).copied().filter(|_| !used).unwrap_or(verdict);
            let rate = RateReport {
                kind: price.kind,
                status,
                market: price.market,
                original: (status != Status::Dead).then_some(price.sides),
                received_time: price.recv_time,
                feed_age_ms: u64::try_from(price.age(now.at).as_millis()).unwrap_or(u64::MAX),
            };
            SourceReport { source, used, verdict, rate: Some(rate) }
        });
        let mut reports: Vec<SourceReport> = heard.collect();
        for (&source, &verdict) in refused {
            if !reports.iter().any(|report| report.source == source) {
                reports.push(SourceReport { source, used: false, verdict, rate: None });
            }
        }
        reports.sort_by_key(|report| report.source);
        reports
    }

    /// From several prices to the market's, if it is made from several.
    fn market_step(&self, legs: &[Decided]) -> Option<Step> {
        let made = self.market.as_ref()?.sides;
        match &self.origin {
            Origin::Sources(feeds) => {
                let used = feeds.verdicts().filter(|(_, verdict)| *verdict == Verdict::Used);
                let used: Vec<Sides<Price>> = used.map(|(price, _)| price.sides).collect();
                (feeds.method() == Method::Median).then(|| step(Operation::Median, &used, made))
            }
            Origin::Cross(through) => {
                let input = |(leg, price): (&Leg, &Decided)| {
                    let Sides { buy, sell } = price.as_ref()?.as_ref().ok()?.sides;
                    Some(if leg.reversed { Sides { buy: sell, sell: buy } } else { Sides { buy, sell } })
                };
                let inputs: Vec<Sides<Price>> = through.iter().zip(legs).map(input).collect::<Option<_>>()?;
                Some(step(Operation::Cross, &inputs, made))
            }
        }
    }

    /// From the market's price to the customer's, as far as it comes to one.
    fn customer_steps(
        &self,
        original: Sides<Price>,
        effective: &Effective,
        customer: Option<Sides<Price>>,
    ) -> Option<Vec<Step>> {
        let Sides { buy, sell } = effective.rule.adjustments();
        let moved_buy = pricing::moved_text(original.buy, buy)?;
        let moved_sell = pricing::moved_text(original.sell, sell)?;
        let spread = Step {
            operation: Operation::Spread,
            buy: Calculation::new([original.buy.value(), buy.value], &moved_buy),
            sell: Calculation::new([original.sell.value(), sell.value], &moved_sell),
        };
        let size = self.step.size().to_string();
        let round = customer.map(|customer| Step {
            operation: Operation::Round,
            buy: Calculation::new([moved_buy, size.clone()], &customer.buy),
            sell: Calculation::new([moved_sell, size], &customer.sell),
        });
        Some([spread].into_iter().chain(round).collect())
    }
}

fn step(operation: Operation, inputs: &[Sides<Price>], result: Sides<Price>) -> Step {
    Step {
        operation,
        buy: Calculation::new(inputs.iter().map(|input| input.buy), &result.buy),
        sell: Calculation::new(inputs.iter().map(|input| input.sell), &result.sell),
    }
}

fn leg_report((leg, price): (&Leg, &Decided)) -> LegReport {
    LegReport::new(*leg, price.as_ref().map(|price| price.as_ref().map(|price| price.sides).map_err(|&doubt| doubt)))
}
