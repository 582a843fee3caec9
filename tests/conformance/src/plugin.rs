//! What holds for every plugin, whatever it does.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
};

use ratebus_sdk::{Env, testkit::env};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::Running;

/// A plugin, as the tests see it that hold for every one.
pub struct Plugin {
    config: Box<dyn Fn(SocketAddr) -> Value>,
    env: Env,
}

impl Plugin {
    /// A plugin with a config that it can work with. Whoever it connects to is at that address, and says nothing.
    pub fn new(config: impl Fn(SocketAddr) -> Value + 'static) -> Self {
        Self { config: Box::new(config), env: env(Running::NAME, &[]) }
    }

    /// It mounts its routes on `listener`.
    #[must_use]
    pub fn on(self, listener: &str) -> Self {
        Self { env: env(Running::NAME, &[listener]), ..self }
    }

    /// What it may know of the rest of the config.
    #[must_use]
    pub fn in_env(self, env: Env) -> Self {
        Self { env, ..self }
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin").field("env", &self.env).finish_non_exhaustive()
    }
}

/// A server that takes every connection and says nothing on it.
struct Silence {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Silence {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut clients = Vec::new();
            while let Ok((client, _)) = listener.accept().await {
                clients.push(client);
            }
        });
        Self { address, server }
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The tests, each of any plugin.
pub mod cases {
    use std::{sync::Arc, time::Duration};

    use ratebus_model::{FoldLimits, Limits, Pair, PairList, Payload, Subject, Tick};
    use ratebus_sdk::{
        Context, Factory, Interest, Policy,
        feed::RateBook,
        testkit::{RecordingHost, eventually},
    };
    use ratebus_test_exchange::DEADLINE;
    use serde_json::json;
    use tokio::{runtime::Handle, time::timeout};

    use super::{Plugin, Silence};
    use crate::{Component, Running};

    /// A key that is written wrong is an error that names it.
    pub async fn an_unknown_key_is_refused_by_name<C: Component>(plugin: &Plugin) {
        let peer = Silence::start().await;
        let mut config = (plugin.config)(peer.address);
        let refused = |config| match serde_json::from_value(config) {
            Ok(config) => C::Plugin::build(config, &plugin.env).err().map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        assert_eq!(refused(config.clone()), None, "the config of the test");
        config["no_such_key"] = json!(1);
        let said = refused(config);
        assert!(said.as_ref().is_some_and(|said| said.contains("no_such_key")), "{said:?}");
    }

    /// What a plugin does not read in time makes nobody wait for long, and does not pile up.
    pub async fn its_inbox_is_bounded_and_holds_nobody_up<C: Component>(plugin: &Plugin) {
        let peer = Silence::start().await;
        for interest in interests::<C>(plugin, &peer) {
            assert!((1..=1 << 20).contains(&interest.capacity), "{interest:?}");
            if let Policy::Block { timeout } = interest.policy {
                assert!(timeout <= Duration::from_secs(1), "{interest:?}");
            }
        }
    }

    /// It ends when it is told to and not before, though whoever it connects to says nothing; and it can be started again.
    pub async fn it_goes_on_until_it_is_told_to_stop_and_starts_again<C: Component>(plugin: &Plugin) {
        let peer = Silence::start().await;
        for _ in 0..2 {
            let mut running = start::<C>(plugin, &peer, &RecordingHost::new());
            goes_on::<C>(plugin, &peer, &mut running).await;
            running.stop().await;
        }
    }

    /// Also when it has not begun.
    pub async fn it_stops_before_it_is_ready<C: Component>(plugin: &Plugin) {
        let peer = Silence::start().await;
        start::<C>(plugin, &peer, &RecordingHost::new()).stop().await;
    }

    /// A reader without room is nobody's reason to stop, or to wait when it is told to.
    pub async fn a_bus_that_is_full_holds_up_nothing<C: Component>(plugin: &Plugin) {
        let peer = Silence::start().await;
        let host = RecordingHost::new();
        host.set_full(true);
        let mut running = start::<C>(plugin, &peer, &host);
        goes_on::<C>(plugin, &peer, &mut running).await;
        running.stop().await;
    }

    /// No task of it goes on, however it ended.
    pub async fn it_leaves_nothing_behind<C: Component>(plugin: &Plugin) {
        let peer = Silence::start().await;
        let tasks = || Handle::current().metrics().num_alive_tasks();
        let before = tasks();
        for is_dropped in [false, true] {
            let host = RecordingHost::new();
            let mut running = start::<C>(plugin, &peer, &host);
            goes_on::<C>(plugin, &peer, &mut running).await;
            if is_dropped {
                running.task.abort();
                drop(running);
            } else {
                running.stop().await;
            }
            host.unmount();
            eventually(&format!("its tasks end (dropped: {is_dropped})"), DEADLINE, || tasks() <= before).await;
        }
    }

    fn start<C: Component>(plugin: &Plugin, peer: &Silence, host: &Arc<RecordingHost>) -> Running {
        Running::of::<C>((plugin.config)(peer.address), &plugin.env, host)
    }

    fn interests<C: Component>(plugin: &Plugin, peer: &Silence) -> Vec<Interest> {
        let config = serde_json::from_value((plugin.config)(peer.address)).unwrap();
        C::interests(&C::Plugin::build(config, &plugin.env).unwrap())
    }

    /// It hears much, some of it nonsense, and does not end by itself.
    async fn goes_on<C: Component>(plugin: &Plugin, peer: &Silence, running: &mut Running) {
        let speaker = running.host.context("elsewhere");
        for interest in interests::<C>(plugin, peer) {
            shout(&speaker, &interest);
        }
        let pair: Pair = "BTC_USD".parse().unwrap();
        let mut book = RateBook::new(speaker.clone(), &[pair], FoldLimits::new(Limits::STREAM));
        for cents in 10..99 {
            let (bid, ask) = (format!("100.{cents}"), Some("101"));
            let tick = Tick { pair, bid: Some(&bid), ask, reference: None, event_time: None, snapshot: false };
            book.tick(&tick, speaker.clock().arrival());
        }
        let ended = timeout(Duration::from_millis(100), &mut running.task).await;
        assert!(ended.is_err(), "it ended by itself: {ended:?}");
    }

    /// Publishes what does not belong where it is heard. That the bus may be full is no concern here.
    fn shout(speaker: &Context, Interest { pattern, .. }: &Interest) {
        let subject: Subject =
            pattern.as_str().replace('*', "nonsense").replace('>', "elsewhere.BTC_USD").parse().unwrap();
        let nobody = PairList { source: speaker.name(), pairs: Vec::new() };
        for payload in [Payload::Bytes(b"{nonsense".as_slice().into()), nobody.into(), Payload::Gone] {
            let _ = speaker.try_publish(&subject, payload);
        }
    }
}
