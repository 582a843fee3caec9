use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

/// How long a client may take to send a request's body, from when somebody waits for it. No body here is longer than a
/// few KiB.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A request's body that fails with [`io::ErrorKind::TimedOut`] when it is not there in time as a whole. The deadline of
/// each part alone would let a client dribble for ever.
pub(crate) struct TimedBody {
    body: Incoming,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl TimedBody {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, deadline: None }
    }
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)));
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(TIMEOUT)));
        let timed_out = || Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the request's body took too long")));
        deadline.as_mut().poll(cx).map(|()| timed_out())
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
