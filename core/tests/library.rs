//! A component of a library, run without the rest of the engine.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a failed step must fail the test")]

use std::{fs, path::Path, time::Duration};

use ratebus_core::{
    Component, Entry, Registry,
    config::{Blueprint, Config, ConfigFile, ConfigReport},
};
use ratebus_sdk::{
    Inbox, Sink, Source,
    model::{Outgoing, Payload, RateValue, Subject},
    testkit::{RecordingHost, env, eventually},
};
use ratebus_test_library::Steady;

/// Generous, since it is only waited for in full by a test that fails.
const DEADLINE: Duration = Duration::from_secs(30);
/// More than wait for a sink in a library.
const MESSAGES: usize = 2000;

const REGISTRY: Registry = Registry::new(&[Entry::source::<Steady>("0")]);

/// The plugin of that table, from the library or built in.
fn plugin(library: bool, r#use: &str, config: &str) -> Blueprint {
    planned(library, r#use, config).unwrap()
}

fn planned(library: bool, r#use: &str, config: &str) -> Result<Blueprint, ConfigReport> {
    let library = if library { "library = \"libratebus_test_library.so\"" } else { "" };
    let exe = std::env::current_exe().unwrap();
    let folder = exe.parent().unwrap().display();
    let text = format!(
        "[plugins]\ndir = \"{folder}\"\nallow_unpinned = true\n[role.all]\nplugins = [\"tested\"]\n\
         [plugin.tested]\nuse = \"{use}\"\n{library}\nconfig = {{ {config} }}\n"
    );
    let config = Config::load(ConfigFile { name: "test".to_owned(), text }, std::iter::empty(), Vec::new()).unwrap();
    let mut plan = config.plan("all", &REGISTRY, &[])?;
    assert!(plan.refused.is_empty(), "{:?}", plan.refused);
    Ok(plan.plugins.remove(0))
}

#[tokio::test]
async fn the_same_plugin_says_the_same_from_a_library() {
    let mut said = Vec::new();
    for library in [true, false] {
        let host = RecordingHost::new();
        let config = "pairs = [\"BTC_USD\", \"ETH_USD\"], price = \"1.10\", burst = 5000";
        let Component::Source(source) = plugin(library, "source/steady", config).build().unwrap() else { panic!() };
        Source::run(source, host.context("tested")).await.unwrap();
        let rates = host.rates();
        let rate = |rate: &ratebus_sdk::model::Rate| (rate.source, rate.pair, rate.value, rate.market, rate.limits);
        let pairs = host.messages().iter().rev().find_map(|message| match &message.payload {
            Payload::Pairs(list) => Some(list.pairs.clone()),
            _ => None,
        });
        assert!(matches!(rates[0].value, RateValue::TwoSided { bid, .. } if bid.to_string() == "1.10"));
        said.push((rates.len(), rates.iter().map(|one| rate(one)).collect::<Vec<_>>(), pairs));
    }
    assert!(said[0] == said[1], "a library says something else: {:?} and {:?}", said[0].0, said[1].0);
}

#[tokio::test]
async fn a_slow_sink_gets_what_it_did_not_take_again() {
    let folder = tempfile::tempdir().unwrap();
    let (file, after) = (folder.path().join("heard"), folder.path().join("after"));
    let config = format!("file = {file:?}, patterns = [\"things.>\"], after = {after:?}");
    let host = RecordingHost::new();
    let ctx = host.context("tested");
    let Component::Sink(sink) = plugin(true, "sink/recorder", &config).build().unwrap() else { panic!() };
    let inbox: Inbox = host.inbox(&sink.interests());
    let stop = ctx.cancel_token().clone();
    let running = tokio::spawn(Sink::run(sink, inbox, ctx.clone()));
    for number in 0..MESSAGES {
        let subject: Subject = format!("things.{number}").parse().unwrap();
        ratebus_sdk::Host::try_publish(&*host, Outgoing::new(subject, Payload::Bytes("text".into()))).unwrap();
    }
    eventually("the sink to be there", DEADLINE, || file.exists()).await;
    fs::write(&after, "").unwrap();
    eventually("all messages", DEADLINE, || lines(&file) == MESSAGES).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    let heard = fs::read_to_string(&file).unwrap();
    let expected: Vec<String> = (0..MESSAGES).map(|number| format!("things.{number} {{\"text\":\"text\"}}")).collect();
    assert!(heard.lines().eq(expected), "not in their order, or not once");
}

fn lines(file: &Path) -> usize {
    fs::read_to_string(file).unwrap_or_default().lines().count()
}

/// What every plugin must do, from a library too.
mod conformance {
    use async_trait::async_trait;
    use ratebus_conformance::{Plugin, plugin_suite};
    use ratebus_sdk::{ConfigError, Context, Env, Error, Factory, Interest};
    use serde_json::{Value, json};

    use super::*;

    /// What stands between the braces of a table of TOML.
    fn toml(config: &Value) -> String {
        let lines = config.as_object().unwrap().iter().map(|(key, value)| format!("{key} = {value}"));
        lines.collect::<Vec<_>>().join(", ")
    }

    fn built(r#use: &str, config: &Value) -> Result<Component, ConfigError> {
        let planned = planned(true, r#use, &toml(config)).map_err(|report| ConfigError::new("", report.to_string()))?;
        planned.build().map_err(|error| ConfigError::new("", error.to_string()))
    }

    struct FromLibrary<T: ?Sized>(Box<T>);

    impl Factory for FromLibrary<dyn Source> {
        type Config = Value;
        const TYPE: &'static str = "source/steady";

        fn build(config: Value, _: &Env) -> Result<Self, ConfigError> {
            let Component::Source(source) = built(Self::TYPE, &config)? else { panic!() };
            Ok(Self(source))
        }
    }

    #[async_trait]
    impl Source for FromLibrary<dyn Source> {
        async fn run(self: Box<Self>, ctx: Context) -> Result<(), Error> {
            self.0.run(ctx).await
        }
    }

    impl Factory for FromLibrary<dyn Sink> {
        type Config = Value;
        const TYPE: &'static str = "sink/recorder";

        fn build(config: Value, _: &Env) -> Result<Self, ConfigError> {
            let Component::Sink(sink) = built(Self::TYPE, &config)? else { panic!() };
            Ok(Self(sink))
        }
    }

    #[async_trait]
    impl Sink for FromLibrary<dyn Sink> {
        fn interests(&self) -> Vec<Interest> {
            self.0.interests()
        }

        async fn run(self: Box<Self>, inbox: Inbox, ctx: Context) -> Result<(), Error> {
            self.0.run(inbox, ctx).await
        }
    }

    mod source {
        use super::*;

        plugin_suite!(
            source FromLibrary<dyn Source>,
            Plugin::new(|_| json!({"pairs": ["BTC_USD"], "price": "1.10"})).in_env(env("tested", &[]))
        );
    }

    mod sink {
        use super::*;

        fn plugin() -> Plugin {
            let folder = tempfile::tempdir().unwrap();
            let config = move |_| json!({"file": folder.path().join("heard"), "patterns": ["rates.>", "quotes.*"]});
            Plugin::new(config).in_env(env("tested", &[]))
        }

        plugin_suite!(sink FromLibrary<dyn Sink>, plugin());
    }
}
