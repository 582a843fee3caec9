use bytes::Bytes;
use ratebus_sdk::NoSession;

use crate::{
    codec::{self, Fault},
    door,
    link::{Failure, Lost},
};

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client closed it.
    Left,
    /// It broke.
    Lost,
    /// A fault of ours.
    Failed,
    /// The client took nothing of what was pending.
    Stalled,
    /// The client answered no ping.
    Silent,
    /// The server stops.
    Stopping,
    /// A message was too long.
    TooLong,
    /// Too many messages.
    TooMany,
    /// Not text.
    Binary,
    /// Not a WebSocket frame, or not in its place.
    Malformed,
    /// Text that is no UTF-8.
    NotUtf8,
    /// The client did not say in time who it is, or not truly.
    Unauthenticated,
    /// Who the client is cannot be checked.
    Unavailable,
    /// The client's session has ended, or its token has run out.
    SessionOver,
}

impl Ending {
    /// As the metrics name it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Lost => "lost",
            Self::Failed => "failed",
            Self::Stalled => "stalled",
            Self::Silent => "silent",
            Self::Stopping => "stopping",
            Self::TooLong => "too_long",
            Self::TooMany => "too_many",
            Self::Binary => "binary",
            Self::Malformed => "malformed",
            Self::NotUtf8 => "not_utf8",
            Self::Unauthenticated => "unauthenticated",
            Self::Unavailable => "unavailable",
            Self::SessionOver => "session_over",
        }
    }

    /// Whether it is a matter of who the client is: that is said to it in the words of what it speaks.
    pub(crate) const fn is_about_sessions(self) -> bool {
        matches!(self, Self::Unauthenticated | Self::Unavailable | Self::SessionOver)
    }

    /// The close frame, if there is still somebody to tell (RFC 6455, section 7.4).
    pub(crate) fn close_frame(self) -> Option<Bytes> {
        let (code, reason) = match self {
            Self::Left | Self::Lost | Self::Failed | Self::Stalled | Self::Silent => return None,
            Self::Stopping => (1012, come_again("the server is stopping")),
            Self::TooLong => (1009, "a message may have 4 KiB".to_owned()),
            Self::TooMany => (1008, "10 messages a second are allowed".to_owned()),
            Self::Binary => (1003, "only text is understood".to_owned()),
            Self::Malformed => (1002, String::new()),
            Self::NotUtf8 => (1007, String::new()),
            Self::Unauthenticated => (1008, "a valid token is required, within 5 seconds".to_owned()),
            Self::Unavailable => (1013, come_again("tokens cannot be checked at the moment")),
            Self::SessionOver => (1008, "the session has ended".to_owned()),
        };
        Some(codec::encode_close(code, &reason))
    }
}

/// A reason, with the time after which to come again.
fn come_again(reason: &str) -> String {
    format!("{reason}; come again in {} ms", door::wait().as_millis())
}

impl From<Lost> for Ending {
    fn from(_: Lost) -> Self {
        Self::Lost
    }
}

impl From<Failure> for Ending {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Lost => Self::Lost,
            Failure::Fault(Fault::TooLong) => Self::TooLong,
            Failure::Fault(Fault::Malformed) => Self::Malformed,
            Failure::Fault(Fault::NotUtf8) => Self::NotUtf8,
        }
    }
}

impl From<NoSession> for Ending {
    fn from(error: NoSession) -> Self {
        match error {
            NoSession::Refused => Self::Unauthenticated,
            NoSession::Unavailable => Self::Unavailable,
        }
    }
}
