//! Frames in the schema that Kraken documents for its WebSocket API v2, with made-up prices. One seed, one recording, to
//! the byte. Prices are integers of the pair's smallest step throughout.

use ratebus_model::Timestamp;
use serde_json::json;

/// A pair and how lively it is.
struct Market {
    symbol: &'static str,
    decimals: u32,
    /// The first and last bid, in steps.
    start: i64,
    /// The widest step of the walk, and the widest gap between bid and ask.
    stride: i64,
    gap: i64,
    /// The time between updates, on average.
    every_ms: u64,
}

const MARKETS: [Market; 5] = [
    Market { symbol: "BTC/USD", decimals: 1, start: 814_132, stride: 60, gap: 3, every_ms: 900 },
    Market { symbol: "ETH/USD", decimals: 2, start: 300_145, stride: 40, gap: 4, every_ms: 1200 },
    Market { symbol: "SOL/USD", decimals: 2, start: 14_872, stride: 3, gap: 2, every_ms: 1700 },
    Market { symbol: "EUR/USD", decimals: 5, start: 108_412, stride: 3, gap: 6, every_ms: 4000 },
    Market { symbol: "DOGE/USD", decimals: 7, start: 1_924_310, stride: 400, gap: 250, every_ms: 2500 },
];

/// 2026-01-01T00:00:00Z.
const STARTED: i64 = 1_767_225_600_000_000;

/// A recording of so many seconds. Each price ends where it began, so that it can be repeated without a jump, and the
/// last update comes early enough to be older than the first of the next round.
pub(crate) fn recording(seed: u64, seconds: u64) -> String {
    let mut random = Random(seed);
    let mut frames: Vec<(u64, String)> = vec![(0, status())];
    for (index, market) in (0..).zip(&MARKETS) {
        let path = market.path(&mut random, seconds.saturating_sub(1) * 1000);
        frames.push((40 + index, acknowledged(market.symbol)));
        for (count, &(at, bid, ask)) in path.iter().enumerate() {
            // The book moved a while before the snapshot of it, and a moment before each update.
            let moved =
                if count == 0 { -300_000 } else { i64::try_from(at).unwrap_or_default() * 1000 - random.below(9000) };
            frames.push((at, market.ticker(count, bid, ask, moved, &path[..=count], &mut random)));
        }
    }
    frames.extend((1..=seconds).map(|second| (second * 1000, json!({"channel": "heartbeat"}).to_string())));
    frames.sort_by_key(|&(at, _)| at);

    let started = Timestamp::from_micros(STARTED);
    let note = "Generated, not recorded: the prices are made up.";
    let header = format!(
        r#"{{"recording":"ratebus/1","exchange":"kraken","started":"{started}","generated":true,"seed":{seed},"note":"{note}"}}"#
    );
    let line = |(at, frame): (u64, String)| format!(r#"{{"at_ms":{at},"frame":{}}}"#, json!(frame)) + "\n";
    header + "\n" + &frames.into_iter().map(line).collect::<String>()
}

impl Market {
    /// When the top of the book changes, to which bid and ask: a random walk, bent so that it ends where it began.
    fn path(&self, random: &mut Random, end_ms: u64) -> Vec<(u64, i64, i64)> {
        let mut walk = vec![(u64::from(60 + self.decimals), 0)];
        loop {
            let (at, offset) = walk[walk.len() - 1];
            let wait = self.every_ms / 4 + random.below(self.every_ms.cast_signed() * 3 / 2).cast_unsigned();
            if at + wait > end_ms {
                break;
            }
            walk.push((at + wait, offset + random.below(2 * self.stride + 1) - self.stride));
        }
        let (steps, drift) = (i64::try_from(walk.len() - 1).unwrap_or(1).max(1), walk[walk.len() - 1].1);
        let bend = |(index, (at, offset)): (i64, (u64, i64))| {
            let bid = self.start + offset - drift * index / steps;
            (at, bid, bid + 1 + random.below(self.gap))
        };
        (0..).zip(walk).map(bend).collect()
    }

    fn ticker(
        &self,
        count: usize,
        bid: i64,
        ask: i64,
        moved: i64,
        path: &[(u64, i64, i64)],
        random: &mut Random,
    ) -> String {
        let kind = if count == 0 { "snapshot" } else { "update" };
        let price = |steps: i64| decimal(steps, self.decimals);
        let mut quantity = || decimal(1 + random.below(500_000_000), 8);
        let (bid_quantity, ask_quantity) = (quantity(), quantity());
        let bids = || path.iter().map(|&(_, bid, _)| bid);
        let low = bids().min().unwrap_or(bid) - 20 * self.stride;
        let high = bids().max().unwrap_or(bid) + 20 * self.stride;
        let change = bid - self.start + 5 * self.stride;
        let trades = 9_000 + count;
        let volume = decimal(220_875_208_029 + 7_000_000 * i64::try_from(count).unwrap_or_default(), 8);
        let timestamp = Timestamp::from_micros(STARTED + moved);
        format!(
            r#"{{"channel":"ticker","type":"{kind}","data":[{{"symbol":"{}","bid":{},"bid_qty":{bid_quantity},"ask":{},"ask_qty":{ask_quantity},"last":{},"volume":{volume},"vwap":{},"low":{},"high":{},"change":{},"change_pct":{},"trades":{trades},"timestamp":"{timestamp}"}}]}}"#,
            self.symbol,
            price(bid),
            price(ask),
            price(bid),
            price(self.start),
            price(low),
            price(high),
            price(change),
            decimal(change * 10_000 / self.start, 2),
        )
    }
}

/// `-0.05` for -5 steps of 2 decimals.
fn decimal(steps: i64, decimals: u32) -> String {
    let unit = 10_u64.pow(decimals);
    let sign = if steps < 0 { "-" } else { "" };
    let (whole, rest) = (steps.unsigned_abs() / unit, steps.unsigned_abs() % unit);
    format!("{sign}{whole}.{rest:0width$}", width = decimals as usize)
}

fn status() -> String {
    r#"{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online","api_version":"v2","connection_id":12525851468308464523,"upcoming_maintenance":[],"emergency":[]}]}"#.to_owned()
}

fn acknowledged(symbol: &str) -> String {
    let (time_in, time_out) = (Timestamp::from_micros(STARTED + 30_000), Timestamp::from_micros(STARTED + 30_047));
    format!(
        r#"{{"method":"subscribe","req_id":1,"result":{{"channel":"ticker","event_trigger":"bbo","snapshot":true,"symbol":"{symbol}"}},"success":true,"time_in":"{time_in}","time_out":"{time_out}"}}"#
    )
}

/// `SplitMix64` (Steele, Lea and Flood, 2014): small, and the same everywhere.
struct Random(u64);

impl Random {
    /// A number from zero to below `limit`.
    fn below(&mut self, limit: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        i64::try_from(mixed >> 1).unwrap_or_default() % limit.max(1)
    }
}
