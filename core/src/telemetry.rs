//! Logs and metrics of the process.

use std::{io::IsTerminal, time::Duration};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::{Level, Metadata};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, filter::filter_fn, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{ConfigProblem, ConfigReport, Log, LogFormat};

/// Latencies inside the process, in seconds: from a memory access to a stuck machine.
const SECONDS: [f64; 12] = [0.000_01, 0.000_025, 0.000_1, 0.000_25, 0.001, 0.002_5, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0];

/// How many log lines wait for a slow reader before new ones are dropped and counted.
const LOG_QUEUE: usize = 8192;

/// Whether a line may be written, whatever the filter says: at `trace` this library writes what clients send, their tokens
/// too.
fn tells_no_secret(line: &Metadata<'_>) -> bool {
    *line.level() < Level::TRACE || !line.target().starts_with("tungstenite")
}

/// Keeps logs flowing and metrics readable; drop it last.
pub struct Telemetry {
    metrics: PrometheusHandle,
    dropped: ErrorCounter,
    _guard: WorkerGuard,
}

impl Telemetry {
    /// Starts logging to standard error and installs the metrics recorder. Once per process.
    ///
    /// A reader that stops reading (a full disk, a stopped pager) never blocks the service: lines are dropped then, and
    /// `ratebus_log_lines_dropped_total` counts them.
    ///
    /// # Errors
    /// The filter is not one, or something was installed before.
    pub fn start(log: &Log) -> Result<Self, ConfigReport> {
        let fault = |key: &str, message: String| ConfigReport {
            problems: vec![ConfigProblem { origin: "config".to_owned(), key: key.to_owned(), message }],
        };
        let filter = EnvFilter::try_new(&log.filter).map_err(|error| fault("log.filter", error.to_string()))?;
        let terminal = std::io::stderr().is_terminal();
        let (writer, guard) =
            NonBlockingBuilder::default().buffered_lines_limit(LOG_QUEUE).lossy(true).finish(std::io::stderr());
        let dropped = writer.error_counter();
        let registry = tracing_subscriber::registry().with(filter).with(filter_fn(tells_no_secret));
        let lines = fmt::layer().with_writer(writer).with_ansi(terminal);
        let json = log.format == LogFormat::Json || (log.format == LogFormat::Auto && !terminal);
        let started = if json {
            registry.with(lines.json().flatten_event(true).with_current_span(false).with_span_list(false)).try_init()
        } else {
            registry.with(lines.with_target(false)).try_init()
        };
        started.map_err(|error| fault("log", error.to_string()))?;
        let metrics = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .and_then(PrometheusBuilder::install_recorder)
            .map_err(|error| fault("metrics", error.to_string()))?;
        Ok(Self { metrics, dropped, _guard: guard })
    }

    /// A handle that renders all metrics in Prometheus' text format.
    pub fn metrics(&self) -> PrometheusHandle {
        self.metrics.clone()
    }

    /// The periodic work that metrics need; never ends.
    pub async fn upkeep(&self) {
        let mut tick = tokio::time::interval(Duration::from_secs(5));
        loop {
            tick.tick().await;
            self.metrics.run_upkeep();
            let dropped = u64::try_from(self.dropped.dropped_lines()).unwrap_or(u64::MAX);
            metrics::counter!("ratebus_log_lines_dropped_total").absolute(dropped);
        }
    }
}
