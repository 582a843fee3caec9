use std::{error::Error as StdError, fmt, time::Duration};

/// Why a component failed: a kind for the engine, a sentence for people, and the cause below it.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    retry: Retry,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What went wrong, as a metric label and for deciding what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The configuration cannot work.
    Config,
    /// No connection could be made, or it was lost.
    Connect,
    /// The peer said something that its protocol does not allow.
    Protocol,
    /// The peer refused our credentials or certificate, or we refused its.
    Auth,
    /// The peer asked us to slow down.
    RateLimited,
    /// The peer is connected and silent.
    Stalled,
    /// A fault of our own.
    Internal,
}

impl ErrorKind {
    /// The kind as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Connect => "connect",
            Self::Protocol => "protocol",
            Self::Auth => "auth",
            Self::RateLimited => "rate_limited",
            Self::Stalled => "stalled",
            Self::Internal => "internal",
        }
    }

    const fn retry(self) -> Retry {
        match self {
            Self::Config => Retry::Never,
            _ => Retry::Backoff,
        }
    }
}

/// Whether and when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// At once; with [`Backoff`](Self::Backoff)'s delays if it fails again within a minute.
    Now,
    /// After a jittered, growing delay.
    Backoff,
    /// Not before this has passed: the peer named it.
    After(Duration),
    /// It cannot get better by itself.
    Never,
}

impl Error {
    /// An error of `kind`, to be retried as that kind usually is: never for `Config`, with backoff otherwise.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, retry: kind.retry(), message: message.into(), source: None }
    }

    /// Adds the cause, which is shown after the message.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Replaces when to try again.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether and when to try again.
    pub fn retry(&self) -> Retry {
        self.retry
    }
}

impl fmt::Display for Error {
    /// The message and every cause below it, so that one line tells all.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = self.source.as_deref().map(|source| source as &dyn StdError);
        while let Some(below) = cause {
            write!(f, ": {below}")?;
            cause = below.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
