use std::{
    collections::VecDeque,
    future, mem,
    sync::Arc,
    task::{self, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use ratebus_abi::{Tell, status};
use ratebus_model::Message;
use ratebus_sdk::{Context, Error, ErrorKind, Inbox, Interest, Sink, Source};
use tokio::time::{Instant, sleep_until};

use super::{
    deliver::deliver,
    feed::Feed,
    instance::{Instance, words},
    library::SinkCalls,
    port::{HOST, OpenPort},
};

/// How many messages are offered to a sink at once.
const BATCH: usize = 64;
/// When a sink is asked again that did not take all.
const PAUSE: Duration = Duration::from_millis(10);

/// A component of a library, made and not yet started.
pub(crate) struct Library {
    pub(super) instance: Instance,
    /// What makes it less than ready.
    pub(super) remark: Option<&'static str>,
    /// What a sink wants to hear.
    pub(super) interests: Vec<Interest>,
}

#[async_trait]
impl Source for Library {
    async fn run(self: Box<Self>, ctx: Context) -> Result<(), Error> {
        self.run_with(Offers::default(), ctx).await
    }
}

#[async_trait]
impl Sink for Library {
    fn interests(&self) -> Vec<Interest> {
        self.interests.clone()
    }

    async fn run(self: Box<Self>, inbox: Inbox, ctx: Context) -> Result<(), Error> {
        let to = self.instance.component.sink.map(|sink| (sink, inbox));
        self.run_with(Offers { to, ..Offers::default() }, ctx).await
    }
}

impl Library {
    /// Until the instance has said that it ended. What it says counts to the last; then it is destroyed.
    async fn run_with(self, mut offers: Offers, ctx: Context) -> Result<(), Error> {
        let Self { instance, remark, .. } = self;
        let mut port = OpenPort::new(&ctx, remark);
        start(&instance, port.number).await?;
        let mut feed = Feed::new(ctx.clone());
        let mut asked = false;
        let ended = loop {
            tokio::select! {
                biased;
                () = ctx.cancelled(), if !asked => {
                    asked = true;
                    tell(&instance, "stop", instance.component.stop).await?;
                }
                Some((said, arrival)) = port.events.recv() => {
                    feed.apply(said, arrival);
                    if port.has_room_again() && let Some(on_writable) = instance.component.on_writable {
                        tell(&instance, "on_writable", on_writable).await?;
                    }
                }
                ended = &mut port.ended => break ended,
                () = offers.fill(), if !asked => offers.offer(&instance).await?,
            }
        };
        while let Ok((said, arrival)) = port.events.try_recv() {
            feed.apply(said, arrival);
        }
        drop(port);
        instance.destroy().await?;
        // The port holds the other end for as long as we look at it.
        ended.unwrap_or(Ok(()))
    }
}

/// What a sink is to hear next.
#[derive(Default)]
struct Offers {
    /// Nobody, or nobody any more: a source hears nothing.
    to: Option<(SinkCalls, Inbox)>,
    waiting: VecDeque<Arc<Message>>,
    /// Until then the sink is left alone.
    pause: Option<Instant>,
}

impl Offers {
    /// Resolves when there is something to offer. Cancel-safe.
    async fn fill(&mut self) {
        if let Some(until) = self.pause {
            sleep_until(until).await;
            self.pause = None;
        }
        if !self.waiting.is_empty() {
            return;
        }
        let Some((_, inbox)) = &mut self.to else { return future::pending().await };
        match inbox.recv().await {
            Some(message) => self.waiting.push_back(message),
            None => self.to = None,
        }
    }

    /// Offers what there is.
    async fn offer(&mut self, instance: &Instance) -> Result<(), Error> {
        let Some((sink, inbox)) = &mut self.to else { return Ok(()) };
        take_ready(inbox, &mut self.waiting);
        let (sink, mut batch) = (*sink, mem::take(&mut self.waiting));
        let call = move |handle| {
            let taken = deliver(sink, handle, &batch);
            batch.drain(..taken);
            batch
        };
        self.waiting = instance.call("deliver", call).await?;
        if !self.waiting.is_empty() {
            self.pause = Some(Instant::now() + PAUSE);
        }
        Ok(())
    }
}

/// Takes what is there already, up to a batch.
fn take_ready(inbox: &mut Inbox, waiting: &mut VecDeque<Arc<Message>>) {
    let mut cx = task::Context::from_waker(Waker::noop());
    while waiting.len() < BATCH
        && let Poll::Ready(Some(message)) = inbox.poll_recv(&mut cx)
    {
        waiting.push_back(message);
    }
}

/// Lets the instance begin, with `context` as its way to us.
async fn start(instance: &Instance, context: u64) -> Result<(), Error> {
    let start = instance.component.start;
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

/// Makes a call without an answer.
async fn tell(instance: &Instance, what: &'static str, call: Tell) -> Result<(), Error> {
    // SAFETY: the handle is the instance's.
    #[expect(unsafe_code, reason = "a call of a library")]
    instance.call(what, move |handle| unsafe { call(handle) }).await
}
