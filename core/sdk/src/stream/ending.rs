use std::fmt;

use tokio_tungstenite::tungstenite::{self, error::CapacityError};

/// Why a connection came to its end. Each leads to a new one.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The exchange closed it, in its own words.
    Closed(String),
    /// It broke.
    Lost(String),
    /// It is open and useless.
    Stalled(&'static str),
    /// A frame was larger than we take.
    TooLarge,
    /// The exchange broke the WebSocket protocol.
    Protocol(String),
    /// The exchange asked us to connect again.
    Asked,
    /// It is nearly as old as the exchange lets it become.
    Aged,
}

impl Ending {
    /// The reason as a metric label.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Closed(_) => "closed",
            Self::Lost(_) => "lost",
            Self::Stalled(_) => "stalled",
            Self::TooLarge => "too_large",
            Self::Protocol(_) => "protocol",
            Self::Asked => "asked",
            Self::Aged => "aged",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(why) if why.is_empty() => f.write_str("the exchange closed it"),
            Self::Closed(why) => write!(f, "the exchange closed it ({why})"),
            Self::Lost(why) => write!(f, "it broke ({why})"),
            Self::Stalled(how) => write!(f, "the exchange {how}"),
            Self::TooLarge => f.write_str("a frame was larger than 4 MiB"),
            Self::Protocol(what) => write!(f, "the exchange broke the protocol ({what})"),
            Self::Asked => f.write_str("the exchange asked for a new one"),
            Self::Aged => f.write_str("the exchange would soon have cut it for its age"),
        }
    }
}

impl From<tungstenite::Error> for Ending {
    fn from(error: tungstenite::Error) -> Self {
        use tungstenite::{Error, error::ProtocolError::ResetWithoutClosingHandshake};
        match error {
            Error::ConnectionClosed | Error::AlreadyClosed => Self::Closed(String::new()),
            Error::Io(_) | Error::Tls(_) | Error::Protocol(ResetWithoutClosingHandshake) => {
                Self::Lost(error.to_string())
            }
            Error::Capacity(CapacityError::MessageTooLong { .. }) => Self::TooLarge,
            error => Self::Protocol(error.to_string()),
        }
    }
}
