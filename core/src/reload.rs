//! A config that is read again: what it changes in a running role, and what it cannot.

use std::{collections::BTreeSet, error::Error};

use ratebus_model::SourceName;

use crate::config::{Blueprint, RolePlan};

/// Reads the config again, from where it was read at the start.
pub type ReadPlan = dyn Fn() -> Result<RolePlan, Box<dyn Error + Send + Sync>> + Send + Sync;

/// Why a config was not taken over. Everything goes on as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// It cannot be read, or is wrong.
    #[error("{0}")]
    Wrong(Box<dyn Error + Send + Sync>),
    /// What it changes is settled at the start of a process.
    #[error("these need a restart: {}", .0.join(", "))]
    Settled(Vec<String>),
}

/// What differs between the plan that runs and a new one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Plugins that are there for the first time.
    pub(crate) added: BTreeSet<SourceName>,
    /// Plugins that are made anew: their settings changed, or they had been given up.
    pub(crate) replaced: BTreeSet<SourceName>,
    /// Plugins that are listed no more.
    pub(crate) removed: BTreeSet<SourceName>,
}

impl Changes {
    /// Compares `running` with `new`. `given_up` are the plugins that run no more after too many failures.
    ///
    /// Only what has no clients of its own can change: nobody notices a feed or a processor that is made anew within a
    /// second, but whoever follows a listener would.
    ///
    /// # Errors
    /// Everything at once that only another start of the process can change, by its key.
    pub(crate) fn between(
        running: &RolePlan,
        new: &RolePlan,
        given_up: &BTreeSet<SourceName>,
    ) -> Result<Self, Vec<String>> {
        let keys: BTreeSet<&String> = running.fixed.keys().chain(new.fixed.keys()).collect();
        let differs = |key: &&&String| running.fixed.get(**key) != new.fixed.get(**key);
        let mut settled: Vec<String> = keys.iter().filter(differs).map(|key| (*key).clone()).collect();
        let mut changes = Self::default();
        let mut settle = |plugin: &Blueprint| settled.push(format!("plugin.{}", plugin.env.name));
        for plugin in &new.plugins {
            let name = plugin.env.name;
            let Some(before) = running.plugin(name) else {
                changes.added.insert(name);
                if plugin.has_clients() {
                    settle(plugin);
                }
                continue;
            };
            let built_from_pairs = plugin.env.is_built_from_pairs() && running.pairs != new.pairs;
            if built_from_pairs || !before.is_like(plugin) {
                changes.replaced.insert(name);
                if before.has_clients() || plugin.has_clients() {
                    settle(plugin);
                }
            } else if given_up.contains(&name) {
                changes.replaced.insert(name);
            }
        }
        for plugin in running.plugins.iter().filter(|plugin| new.plugin(plugin.env.name).is_none()) {
            changes.removed.insert(plugin.env.name);
            if plugin.has_clients() {
                settle(plugin);
            }
        }
        if settled.is_empty() { Ok(changes) } else { Err(settled) }
    }

    /// Whether a plugin that runs goes on as it is.
    pub(crate) fn keeps(&self, name: SourceName) -> bool {
        !self.replaced.contains(&name) && !self.removed.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use async_trait::async_trait;
    use ratebus_sdk::{ConfigError, Context, Env, Factory, Source};
    use serde::Deserialize;

    use super::*;
    use crate::{
        config::{Config, ConfigFile},
        registry::{Entry, Registry},
    };

    /// A component that may serve a listener and may keep the pairs.
    struct Toy;

    #[derive(Deserialize)]
    struct ToyConfig {
        listener: Option<String>,
        #[serde(default)]
        keeps_pairs: bool,
        #[serde(default, rename = "number")]
        _number: u32,
    }

    impl Factory for Toy {
        type Config = ToyConfig;
        const TYPE: &'static str = "source/toy";

        fn build(config: ToyConfig, env: &Env) -> Result<Self, ConfigError> {
            if config.keeps_pairs {
                env.pairs();
            }
            config.listener.map_or(Ok(()), |name| env.listener("listener", &name)).map(|()| Self)
        }
    }

    #[async_trait]
    impl Source for Toy {
        async fn run(self: Box<Self>, _: Context) -> Result<(), ratebus_sdk::Error> {
            Ok(())
        }
    }

    const REGISTRY: Registry = Registry::new(&[Entry::source::<Toy>("1")]);

    fn plan(text: &str) -> RolePlan {
        let file = ConfigFile { name: "test".to_owned(), text: text.to_owned() };
        Config::load(file, iter::empty(), Vec::new()).unwrap().plan("all", &REGISTRY, &[]).unwrap()
    }

    const RUNNING: &str = r#"
        [role.all]
        plugins = ["feed", "pricing", "web"]
        [plugin]
        feed = { use = "source/toy", config = { number = 1 } }
        pricing = { use = "source/toy", config = { keeps_pairs = true } }
        web = { use = "source/toy", config = { listener = "web" } }
        more = { use = "source/toy" }
        [listener]
        web = { listen = "127.0.0.1:0" }
        other = { listen = "127.0.0.1:1" }
    "#;

    fn changes(edits: &[(&str, &str)], given_up: &[&str]) -> Result<[Vec<String>; 3], Vec<String>> {
        let new = edits.iter().fold(RUNNING.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        let given_up = given_up.iter().map(|name| name.parse().unwrap()).collect();
        let names = |set: BTreeSet<SourceName>| set.into_iter().map(|name| name.to_string()).collect();
        Changes::between(&plan(RUNNING), &plan(&new), &given_up)
            .map(|Changes { added, replaced, removed }| [names(added), names(replaced), names(removed)])
    }

    fn changed(added: &[&str], replaced: &[&str], removed: &[&str]) -> [Vec<String>; 3] {
        [added, replaced, removed].map(|names| names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn what_has_no_clients_changes_alone() {
        assert_eq!(changes(&[], &[]).unwrap(), changed(&[], &[], &[]));
        assert_eq!(changes(&[("number = 1", "number = 2")], &[]).unwrap(), changed(&[], &["feed"], &[]));
        assert_eq!(changes(&[(r#"["feed""#, r#"["more""#)], &[]).unwrap(), changed(&["more"], &[], &["feed"]));
        // In another order the same plugins run.
        let reordered = (r#"["feed", "pricing", "web"]"#, r#"["web", "pricing", "feed"]"#);
        assert_eq!(changes(&[reordered], &[]).unwrap(), changed(&[], &[], &[]));
        // A listener of nobody is nobody's concern.
        assert_eq!(changes(&[("127.0.0.1:1", "127.0.0.1:2")], &[]).unwrap(), changed(&[], &[], &[]));
    }

    #[test]
    fn who_keeps_the_pairs_is_made_anew_with_them() {
        let pairs = ("[listener]", "[pairs.BTC_USD]\nprice_step = \"1\"\n[listener]");
        assert_eq!(changes(&[pairs], &[]).unwrap(), changed(&[], &["pricing"], &[]));
        assert_eq!(
            changes(&[pairs, (r#"listener = "web""#, r#"listener = "web", keeps_pairs = true"#)], &[]),
            Err(vec!["plugin.web".to_owned()])
        );
    }

    #[test]
    fn what_was_given_up_gets_another_chance() {
        assert_eq!(changes(&[], &["feed", "web"]).unwrap(), changed(&[], &["feed", "web"], &[]));
    }

    #[test]
    fn everything_settled_at_the_start_is_named() {
        let edits = [
            (
                "[listener]",
                "[runtime]\nshutdown_grace = \"1s\"\n[role.all.metrics]\nlisten = \"127.0.0.1:2\"\n[listener]",
            ),
            ("127.0.0.1:0", "127.0.0.1:3"),
            (r#"listener = "web""#, r#"listener = "web", number = 3"#),
            ("number = 1", "number = 2"),
        ];
        let settled = ["listener.web", "role.all.metrics", "runtime", "plugin.web"];
        assert_eq!(changes(&edits, &[]), Err(settled.map(str::to_owned).to_vec()));
        assert_eq!(
            changes(&[(r#", "web"]"#, "]")], &[]),
            Err(vec!["listener.web".to_owned(), "plugin.web".to_owned()])
        );
    }
}
