use async_trait::async_trait;
use ratebus_abi::status;
use ratebus_model::{Arrival, FoldLimits, Limits, Pair, PairState, Tick, decimal::Decimal};
use ratebus_sdk::{Context, Error, ErrorKind, Source, feed::RateBook};

use super::{
    instance::{Instance, words},
    port::{HOST, OpenPort},
    said::{Said, Spoken},
};

/// More pairs than any exchange has: a library that names more loses them.
const MOST_PAIRS: usize = 4096;

/// A source of a library.
pub(crate) struct LibrarySource {
    pub(super) instance: Instance,
    /// What makes it less than ready.
    pub(super) remark: Option<&'static str>,
}

#[async_trait]
impl Source for LibrarySource {
    async fn run(self: Box<Self>, ctx: Context) -> Result<(), Error> {
        let Self { instance, remark } = *self;
        let mut port = OpenPort::new(&ctx, remark);
        start(&instance, port.number).await?;
        let mut feed = Feed::new(ctx.clone());
        let mut asked = false;
        let ended = loop {
            tokio::select! {
                biased;
                () = ctx.cancelled(), if !asked => {
                    asked = true;
                    tell(&instance, "stop").await?;
                }
                Some((said, arrival)) = port.events.recv() => {
                    feed.apply(said, arrival);
                    if port.has_room_again() {
                        tell(&instance, "on_writable").await?;
                    }
                }
                ended = &mut port.ended => break ended,
            }
        };
        // What it said before it ended counts.
        while let Ok((said, arrival)) = port.events.try_recv() {
            feed.apply(said, arrival);
        }
        drop(port);
        instance.destroy().await?;
        // The port holds the other end for as long as we look at it.
        ended.unwrap_or(Ok(()))
    }
}

/// Lets the instance begin, with `context` as its way to us.
pub(super) async fn start(instance: &Instance, context: u64) -> Result<(), Error> {
    let Some(start) = instance.component.calls.start else { return Ok(()) };
    let call = move |handle| {
        // SAFETY: the handle is the instance's, and the room lives until it returns; the host is there for good.
        #[expect(unsafe_code, reason = "a call of a library")]
        words(|error| unsafe { start(handle, &raw const HOST, context, error) })
    };
    match instance.call("start", call).await? {
        (status::OK, _) => Ok(()),
        (status::PANICKED, words) => Err(Error::new(ErrorKind::Internal, format!("`start` panicked: {words}"))),
        (_, words) => Err(Error::new(ErrorKind::Internal, format!("it does not start: {words}"))),
    }
}

/// Makes a call without an answer, if the component has it.
pub(super) async fn tell(instance: &Instance, what: &'static str) -> Result<(), Error> {
    let calls = &instance.component.calls;
    let Some(tell) = (if what == "stop" { calls.stop } else { calls.on_writable }) else { return Ok(()) };
    // SAFETY: the handle is the instance's.
    #[expect(unsafe_code, reason = "a call of a library")]
    let call = move |handle| unsafe { tell(handle) };
    instance.call(what, call).await
}

/// The rates of a library, judged as those of any other source.
struct Feed {
    book: RateBook,
    pairs: usize,
}

impl Feed {
    fn new(ctx: Context) -> Self {
        Self { book: RateBook::new(ctx, &[], FoldLimits::new(Limits::STREAM)), pairs: 0 }
    }

    fn apply(&mut self, said: Said, arrival: Arrival) {
        match said {
            Said::Tick(spoken) => {
                let limits = FoldLimits::new(spoken.limits);
                if self.knows(spoken.pair, limits) {
                    // A price shows that the pair is subscribed.
                    self.book.set_state(spoken.pair, PairState::Subscribed);
                    spoken.with_tick(|tick| self.book.tick(tick, arrival));
                }
            }
            Said::Rate(spoken) => {
                // Jumps were held back, or not, where it was judged.
                let limits = FoldLimits { max_jump_percent: None, ..FoldLimits::new(spoken.limits) };
                if self.knows(spoken.pair, limits) {
                    self.book.pair_market(spoken.pair, spoken.market);
                    spoken.with_tick(|tick| self.book.relay(tick, arrival, spoken.age));
                }
            }
            Said::Heartbeat => self.book.heartbeat(arrival),
            Said::Pair(pair, state) => {
                if self.book.state(pair).is_some() || self.knows(pair, FoldLimits::new(Limits::STREAM)) {
                    self.book.set_state(pair, state);
                }
            }
            Said::Market(market) => self.book.market(market),
            Said::Disconnected => self.book.disconnected(),
        }
    }

    /// Holds a pair to `limits`; false if it is one too many.
    fn knows(&mut self, pair: Pair, limits: FoldLimits) -> bool {
        if self.book.state(pair).is_none() {
            if self.pairs == MOST_PAIRS {
                return false;
            }
            self.pairs += 1;
        }
        self.book.hold_to(pair, limits);
        true
    }
}

impl Spoken {
    /// As a tick, whose prices are texts.
    fn with_tick(&self, use_it: impl FnOnce(&Tick<'_>)) {
        let text = |price: Option<Decimal>| price.map(|price| price.to_string());
        let (bid, ask, reference) = (text(self.bid), text(self.ask), text(self.reference));
        use_it(&Tick {
            pair: self.pair,
            bid: bid.as_deref(),
            ask: ask.as_deref(),
            reference: reference.as_deref(),
            event_time: self.event_time,
            snapshot: self.snapshot,
        });
    }
}
