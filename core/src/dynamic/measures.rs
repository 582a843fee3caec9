//! Counters and gauges of libraries: under names of their own, of which there are not many.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use metrics::{Counter, Gauge};
use ratebus_model::SourceName;

/// How many names a plugin has, of counters and gauges together.
const MOST: usize = 64;
/// How long a name is.
const LONGEST: usize = 48;

/// What each plugin measures. It stays when an instance is made anew.
static PLUGINS: Mutex<BTreeMap<SourceName, Measures>> = Mutex::new(BTreeMap::new());

#[derive(Default)]
struct Measures {
    counters: BTreeMap<String, Counter>,
    gauges: BTreeMap<String, Gauge>,
}

/// Why nothing was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unmeasured {
    /// That is no name.
    NoName,
    /// The plugin has as many as it can have.
    TooMany,
}

/// Adds `number` to the counter `name` of `plugin`.
pub(super) fn count(plugin: SourceName, name: &str, number: u64) -> Result<(), Unmeasured> {
    with_measures(plugin, name, |own| {
        let is_full = own.is_full();
        let make = |plugin, name| metrics::counter!("ratebus_library_counts_total", "plugin" => plugin, "name" => name);
        find(&mut own.counters, is_full, plugin, name, make).map(|counter| counter.increment(number))
    })
}

/// Sets the gauge `name` of `plugin`.
pub(super) fn gauge(plugin: SourceName, name: &str, value: i64) -> Result<(), Unmeasured> {
    with_measures(plugin, name, |own| {
        let is_full = own.is_full();
        let make = |plugin, name| metrics::gauge!("ratebus_library_value", "plugin" => plugin, "name" => name);
        #[expect(clippy::cast_precision_loss, reason = "what a gauge is made of, and never a price")]
        find(&mut own.gauges, is_full, plugin, name, make).map(|gauge| gauge.set(value as f64))
    })
}

fn with_measures(
    plugin: SourceName,
    name: &str,
    use_them: impl FnOnce(&mut Measures) -> Option<()>,
) -> Result<(), Unmeasured> {
    let is_name = |name: &str| name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if name.is_empty() || name.len() > LONGEST || !is_name(name) {
        return Err(Unmeasured::NoName);
    }
    let mut all = PLUGINS.lock().unwrap_or_else(PoisonError::into_inner);
    use_them(all.entry(plugin).or_default()).ok_or(Unmeasured::TooMany)
}

/// The one called `name`, which is made if there is none and room for it.
fn find<'m, M>(
    known: &'m mut BTreeMap<String, M>,
    is_full: bool,
    plugin: SourceName,
    name: &str,
    make: impl FnOnce(String, String) -> M,
) -> Option<&'m M> {
    if !known.contains_key(name) && !is_full {
        known.insert(name.to_owned(), make(plugin.to_string(), name.to_owned()));
    }
    known.get(name)
}

impl Measures {
    fn is_full(&self) -> bool {
        self.counters.len() + self.gauges.len() >= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_few_and_plain() {
        let plugin: SourceName = "counting".parse().unwrap();
        for wrong in ["", "Ticks", "ticks{}", "ticks total", "tücks", &"t".repeat(LONGEST + 1)] {
            assert_eq!(count(plugin, wrong, 1), Err(Unmeasured::NoName), "{wrong}");
        }
        assert_eq!(gauge(plugin, "connected", 1), Ok(()));
        for number in 1..MOST {
            assert_eq!(count(plugin, &format!("ticks_{number}"), 1), Ok(()));
        }
        assert_eq!(count(plugin, "one_more", 1), Err(Unmeasured::TooMany));
        assert_eq!(gauge(plugin, "one_more", 1), Err(Unmeasured::TooMany));
        assert_eq!(
            (count(plugin, "ticks_1", 1), gauge(plugin, "connected", 0)),
            (Ok(()), Ok(())),
            "those that are known"
        );
        assert_eq!(count("another".parse().unwrap(), "one_more", 1), Ok(()));
    }
}
