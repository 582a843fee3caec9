use ratebus_sdk::{
    feed::{
        Decode, DecodeError, FeedEvent,
        json::{nothing, side},
    },
    stream::Symbols,
};
use serde_json::value::RawValue;

use crate::{Filter, PriceFrame, filter::string};

/// Reads frames by what the config says of them.
pub(crate) struct Decoder {
    pub(crate) symbols: Symbols,
    pub(crate) price: PriceFrame,
    pub(crate) heartbeat: Option<Filter>,
}

impl Decode for Decoder {
    fn decode<'f>(&mut self, frame: &'f str, events: &mut Vec<FeedEvent<'f>>) -> Result<(), DecodeError> {
        if self.heartbeat.as_ref().is_some_and(|heartbeat| heartbeat.is_text(frame)) {
            events.push(FeedEvent::Heartbeat);
            return Ok(());
        }
        let document: &RawValue = serde_json::from_str(frame).map_err(|error| DecodeError(error.to_string()))?;
        events.push(if self.heartbeat.as_ref().is_some_and(|heartbeat| heartbeat.matches(document)) {
            FeedEvent::Heartbeat
        } else {
            self.price(document).unwrap_or(FeedEvent::Unused("other"))
        });
        Ok(())
    }
}

impl Decoder {
    fn price<'f>(&self, document: &'f RawValue) -> Option<FeedEvent<'f>> {
        let PriceFrame { when, symbol, bid, ask, time, time_format } = &self.price;
        if !when.matches(document) {
            return None;
        }
        let symbol = string(symbol.find(document)?);
        let (bid, ask) = (bid.find(document), ask.find(document));
        bid.or(ask)?;
        let time = time.as_ref().and_then(|time| time_format.read(time.find(document)?));
        // A side that is absent is no price, and must not be taken for unchanged.
        let text = |raw: Option<&'f RawValue>| side(raw.unwrap_or(nothing()));
        Some(self.symbols.tick(&symbol.0, text(bid), text(ask), time))
    }
}
