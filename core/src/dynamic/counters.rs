//! Counters of libraries: under names of their own, of which there are not many.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use ratebus_model::SourceName;

/// How many names a plugin has.
const MOST: usize = 64;
/// How long a name is.
const LONGEST: usize = 48;

/// The names of each plugin. They stay when an instance is made anew, as its counters do.
static NAMES: Mutex<BTreeMap<SourceName, BTreeSet<String>>> = Mutex::new(BTreeMap::new());

/// Why nothing was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotCounted {
    /// That is no name.
    NoName,
    /// The plugin has as many as it can have.
    TooMany,
}

/// Adds `number` to the counter `name` of `plugin`.
pub(super) fn count(plugin: SourceName, name: &str, number: u64) -> Result<(), NotCounted> {
    let is_name = |name: &str| name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if name.is_empty() || name.len() > LONGEST || !is_name(name) {
        return Err(NotCounted::NoName);
    }
    let mut all = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let names = all.entry(plugin).or_default();
    if !names.contains(name) {
        if names.len() == MOST {
            return Err(NotCounted::TooMany);
        }
        names.insert(name.to_owned());
    }
    drop(all);
    metrics::counter!("ratebus_library_counts_total", "plugin" => plugin.to_string(), "name" => name.to_owned())
        .increment(number);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_few_and_plain() {
        let plugin: SourceName = "counting".parse().unwrap();
        for wrong in ["", "Ticks", "ticks{}", "ticks total", "tücks", &"t".repeat(LONGEST + 1)] {
            assert_eq!(count(plugin, wrong, 1), Err(NotCounted::NoName), "{wrong}");
        }
        for number in 0..MOST {
            assert_eq!(count(plugin, &format!("ticks_{number}"), 1), Ok(()));
        }
        assert_eq!(count(plugin, "one_more", 1), Err(NotCounted::TooMany));
        assert_eq!(count(plugin, "ticks_0", 1), Ok(()), "those that are known count on");
        assert_eq!(count("another".parse().unwrap(), "one_more", 1), Ok(()));
    }
}
