//! The kit finds what it is for: plugins that break its rules, one each.

use async_trait::async_trait;
use ratebus_conformance::{AsSink, AsSource, Plugin, plugin::cases};
use ratebus_model::{Pattern, Policy, Subject};
use ratebus_sdk::{ConfigError, Context, Env, Error, Factory, Inbox, Interest, Sink, Source};
use serde::Deserialize;
use serde_json::json;

/// What is wrong with it.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Bad {
    EndsByItself,
    NeverEnds,
    WaitsForTheBus,
    LeavesATask,
}

/// It also takes any other key.
#[derive(Deserialize)]
struct Config {
    bad: Bad,
}

impl Factory for Bad {
    type Config = Config;
    const TYPE: &'static str = "source/bad";

    fn build(config: Config, _: &Env) -> Result<Self, ConfigError> {
        Ok(config.bad)
    }
}

#[async_trait]
impl Source for Bad {
    async fn run(self: Box<Self>, ctx: Context) -> Result<(), Error> {
        match *self {
            Self::EndsByItself => return Ok(()),
            Self::NeverEnds => std::future::pending::<()>().await,
            Self::WaitsForTheBus => {
                let published = ctx.publish(&Subject::spreads_changed(), bytes()).await;
                assert!(published.is_ok());
            }
            Self::LeavesATask => drop(tokio::spawn(std::future::pending::<()>())),
        }
        ctx.cancelled().await;
        Ok(())
    }
}

fn bytes() -> ratebus_model::Payload {
    ratebus_model::Payload::Bytes(b"".as_slice().into())
}

/// A sink that would hear everything and forget nothing.
struct Greedy;

impl Factory for Greedy {
    type Config = serde_json::Value;
    const TYPE: &'static str = "sink/greedy";

    fn build(_: serde_json::Value, _: &Env) -> Result<Self, ConfigError> {
        Ok(Self)
    }
}

#[async_trait]
impl Sink for Greedy {
    fn interests(&self) -> Vec<Interest> {
        vec![Interest { capacity: usize::MAX, policy: Policy::DropOldest, ..Interest::latest(Pattern::rates()) }]
    }

    async fn run(self: Box<Self>, _: Inbox, ctx: Context) -> Result<(), Error> {
        ctx.cancelled().await;
        Ok(())
    }
}

fn plugin(bad: &'static str) -> Plugin {
    Plugin::new(move |_| json!({"bad": bad}))
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "None")]
async fn one_that_takes_any_key() {
    cases::an_unknown_key_is_refused_by_name::<AsSource<Bad>>(&plugin("never_ends")).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "it ended by itself")]
async fn one_that_ends_by_itself() {
    cases::it_goes_on_until_it_is_told_to_stop_and_starts_again::<AsSource<Bad>>(&plugin("ends_by_itself")).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "it stops")]
async fn one_that_never_ends() {
    cases::it_stops_before_it_is_ready::<AsSource<Bad>>(&plugin("never_ends")).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "it stops")]
async fn one_that_waits_for_the_bus() {
    let plugin = plugin("waits_for_the_bus");
    cases::it_goes_on_until_it_is_told_to_stop_and_starts_again::<AsSource<Bad>>(&plugin).await;
    cases::a_bus_that_is_full_holds_up_nothing::<AsSource<Bad>>(&plugin).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "its tasks end")]
async fn one_that_leaves_a_task() {
    cases::it_leaves_nothing_behind::<AsSource<Bad>>(&plugin("leaves_a_task")).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "capacity")]
async fn one_that_would_hear_everything_and_forget_nothing() {
    cases::its_inbox_is_bounded_and_holds_nobody_up::<AsSink<Greedy>>(&plugin("never_ends")).await;
}
