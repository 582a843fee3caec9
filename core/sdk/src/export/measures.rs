use std::sync::Arc;

use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use super::host::LibraryHost;

/// The longest name that ratebus takes.
const LONGEST: usize = 48;

/// Takes an instance's counters and gauges to ratebus; histograms go nowhere.
pub(super) struct ToHost(pub(super) Arc<LibraryHost>);

impl ToHost {
    fn measure(&self, key: &Key) -> Arc<Measure> {
        Arc::new(Measure { name: name_of(key, self.0.name().as_str()), host: Arc::clone(&self.0) })
    }
}

impl Recorder for ToHost {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.measure(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.measure(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// One of them, by the name that it has there.
struct Measure {
    name: String,
    host: Arc<LibraryHost>,
}

impl CounterFn for Measure {
    fn increment(&self, value: u64) {
        self.host.count(&self.name, value);
    }

    // There is nothing like it in ratebus.
    fn absolute(&self, _: u64) {}
}

impl GaugeFn for Measure {
    // Who has only the difference does not know the value.
    fn increment(&self, _: f64) {}

    fn decrement(&self, _: f64) {}

    #[expect(clippy::cast_possible_truncation, reason = "whole numbers, as ratebus takes them")]
    fn set(&self, value: f64) {
        self.host.gauge(&self.name, value.round() as i64);
    }
}

/// `feed_reconnects_total_stalled` of `ratebus_feed_reconnects_total{source="acme",reason="stalled"}` in the plugin `acme`.
fn name_of(key: &Key, plugin: &str) -> String {
    let name = key.name().trim_start_matches("ratebus_");
    let values = key.labels().map(metrics::Label::value).filter(|value| *value != plugin);
    let words = [name].into_iter().chain(values).collect::<Vec<_>>().join("_");
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    words.chars().map(plain).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use metrics::Label;

    use super::*;

    #[test]
    fn a_name_has_the_labels_that_tell_it_from_others() {
        for (name, labels, expected) in [
            ("ratebus_ticks_total", vec![("source", "acme")], "ticks_total"),
            (
                "ratebus_feed_polls_total",
                vec![("source", "acme"), ("outcome", "Too late")],
                "feed_polls_total_too_late",
            ),
            ("own", vec![("of", "another")], "own_another"),
        ] {
            let labels: Vec<Label> = labels.into_iter().map(|(name, value)| Label::new(name, value)).collect();
            assert_eq!(name_of(&Key::from_parts(name, labels), "acme"), expected);
        }
        assert_eq!(name_of(&Key::from_name("n".repeat(100)), "acme").len(), LONGEST);
    }
}
