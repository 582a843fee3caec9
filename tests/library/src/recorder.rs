use std::{fs::File, io::Write, path::PathBuf, time::Duration};

use async_trait::async_trait;
use ratebus_sdk::{
    ConfigError, Context, Env, Error, ErrorKind, Factory, Inbox, Interest, Sink,
    model::{Pattern, wire::WirePayload},
};
use serde::Deserialize;

/// A sink that writes what it hears into a file: the subject, a space, the payload as JSON.
pub struct Recorder {
    config: RecorderConfig,
}

/// Its config.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecorderConfig {
    file: PathBuf,
    patterns: Vec<Pattern>,
    /// It hears nothing before this file is there.
    #[serde(default)]
    after: Option<PathBuf>,
}

impl Factory for Recorder {
    type Config = RecorderConfig;
    const TYPE: &'static str = "sink/recorder";

    fn build(config: RecorderConfig, _: &Env) -> Result<Self, ConfigError> {
        Ok(Self { config })
    }
}

#[async_trait]
impl Sink for Recorder {
    fn interests(&self) -> Vec<Interest> {
        self.config.patterns.iter().cloned().map(Interest::latest).collect()
    }

    async fn run(self: Box<Self>, mut inbox: Inbox, ctx: Context) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::new(ErrorKind::Internal, "the file").because(error);
        let mut file = File::create(&self.config.file).map_err(failed)?;
        ctx.health().ready();
        while self.config.after.as_ref().is_some_and(|after| !after.exists()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        loop {
            let message = tokio::select! {
                () = ctx.cancelled() => return Ok(()),
                message = inbox.recv() => message,
            };
            let Some(message) = message else { return Ok(()) };
            let payload = WirePayload::new(&message.payload, ctx.clock().now());
            let json = serde_json::to_string(&payload).unwrap_or_default();
            file.write_all(format!("{} {json}\n", message.subject).as_bytes()).map_err(failed)?;
        }
    }
}
