use std::{future::pending, time::Duration};

use async_trait::async_trait;
use ratebus_model::{Pattern, Subject};
use ratebus_sdk::{
    Backoff, ConfigError, Context, Env, Error, ErrorKind, Factory, Inbox, Interest, Retry, Routes, Sink,
};
use tokio::time::sleep;
use utoipa_axum::{
    router::{UtoipaMethodRouter, UtoipaMethodRouterExt},
    routes,
};

use crate::{
    accounts::{self, auth, handlers, limited, manage, me},
    config::{BackendSettings, Config, Group, Settings},
    docs,
    envelope::{self, Failed},
    health, page, quotes, rates, root,
    spreads::{self, history, original as settings, preview, rollback, scheduled},
    state::{App, Backend, Shared},
    store::StoreError,
    waiting::Heard,
};

/// How often the database is looked at: whether it answers, and what other instances have changed there.
const CADENCE: Duration = Duration::from_secs(1);
const _: () =
    assert!(CADENCE.as_millis() <= 1000, "a change is with everybody within 2 s, though its announcement is lost");
/// How long it is left alone when somebody asks to look: many may ask.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves HTTP on a listener: the groups of routes that its config names.
///
/// Routes answer from the start. Those that need the database answer 503 until it is open, and whenever it fails; rates
/// do not depend on it.
pub struct HttpApi {
    settings: Settings,
    env: Env,
}

impl Factory for HttpApi {
    type Config = Config;

    const TYPE: &'static str = "sink/http-api";

    fn build(config: Config, env: &Env) -> Result<Self, ConfigError> {
        Ok(Self { settings: Settings::new(config, env)?, env: env.clone() })
    }
}

#[async_trait]
impl Sink for HttpApi {
    /// That something has changed: spreads, and the prices that requests wait for. Handlers read the last values when they
    /// are asked.
    fn interests(&self) -> Vec<Interest> {
        let of = |group| match group {
            Group::Rates => Some(Pattern::rates()),
            Group::Quotes => Some(Pattern::quotes()),
            Group::Spreads => Some(Subject::spreads_changed().into()),
            Group::Health | Group::Accounts | Group::Page | Group::Docs => None,
        };
        self.settings.routes.iter().copied().filter_map(of).map(Interest::latest).collect()
    }

    async fn run(self: Box<Self>, mut inbox: Inbox, ctx: Context) -> Result<(), Error> {
        let app = App::new(ctx.clone(), self.env, self.settings.max_waiting);
        let address = ctx.mount(&self.settings.listener, routes(&self.settings, &app))?;
        let page = page_path(&self.settings.routes).map(|path| page::origin(address) + path);
        let Some(backend) = &self.settings.backend else {
            ctx.health().ready();
            invite(page);
            tokio::select! {
                () = hear(&app, &mut inbox) => {}
                () = ctx.cancelled() => {}
            }
            return Ok(());
        };
        let serves_accounts = self.settings.serves(Group::Accounts);
        if serves_accounts {
            ctx.offer_sessions(app.clone());
        }
        let serves_spreads = self.settings.serves(Group::Spreads);
        let served = tokio::select! {
            served = serve(&app, backend, serves_spreads, page) => served,
            () = accounts::watch(&app), if serves_accounts => Ok(()),
            () = spreads::keep_schedule(&app), if serves_spreads => Ok(()),
            () = hear(&app, &mut inbox) => Ok(()),
            () = ctx.cancelled() => Ok(()),
        };
        if let Ok(backend) = app.backend() {
            backend.store.close().await;
        }
        served
    }
}

/// Wakes whoever a message concerns. Never ends.
async fn hear(app: &App, inbox: &mut Inbox) {
    let mut heard = Heard::default();
    while let Some(message) = inbox.recv().await {
        if !heard.tell(&message, &app.waiting) {
            app.trouble.notify_one();
        }
    }
    pending::<()>().await;
}

/// Opens the database, however long it takes, and then watches it. Ends only with what a new run must settle.
async fn serve(
    app: &App,
    settings: &BackendSettings,
    serves_spreads: bool,
    mut page: Option<String>,
) -> Result<(), Error> {
    if let Some(warning) = settings.database.warning() {
        tracing::warn!(database = %settings.database, "{warning}");
    }
    let mut backoff = Backoff::default();
    while let Err(error) = open(app, settings, serves_spreads).await {
        if error.kind() == ErrorKind::Config {
            // Somebody has to mend it (a mode, a key, another database's file); then it goes on without a restart.
            return Err(error.with_retry(Retry::Backoff));
        }
        app.ctx.health().not_ready(error.to_string());
        sleep(backoff.next_delay()).await;
    }
    loop {
        let backend = app.backend().map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        match spreads::catch_up(app, &backend.store).await {
            Ok(()) => {
                app.ctx.health().ready();
                invite(page.take());
            }
            Err(error @ StoreError::Replaced) => {
                return Err(Error::new(ErrorKind::Connect, error.to_string()).with_retry(Retry::Now));
            }
            Err(error) => app.ctx.health().not_ready(error.to_string()),
        }
        tokio::select! {
            () = sleep(CADENCE) => {}
            () = app.trouble.notified() => sleep(PAUSE).await,
        }
    }
}

/// Where to look, for who has just started it.
fn invite(page: Option<String>) {
    if let Some(url) = page {
        tracing::info!("open {url}");
    }
}

/// Opens the database and tells the bus of every spread in it, removed ones too, before anybody can change one.
async fn open(app: &App, settings: &BackendSettings, serves_spreads: bool) -> Result<(), Error> {
    let backend = Backend::open(settings).await?;
    let cannot_read = |error| Error::new(ErrorKind::Connect, "cannot read the database").because(error);
    // Looked at first: what is published meanwhile was committed before.
    let in_use = spreads::published(&app.ctx);
    let mut spreads = backend.store.spreads().await.map_err(cannot_read)?;
    if spreads::lacks(&spreads, &in_use) {
        return Err(Error::new(
            ErrorKind::Config,
            "the database lacks spreads that are in use: was an older one put in its place? Restart everything",
        ));
    }
    if !backend.store.has_admin().await.map_err(cannot_read)? {
        // No route makes one, so a newcomer could not find out.
        tracing::info!("no administrator yet, so nobody can set spreads: `ratebus admin create --email YOU` makes one");
    }
    if serves_spreads {
        // What came due while nobody looked is in effect before anybody sees a price.
        spreads::apply_due(app, &backend.store).await.map_err(cannot_read)?;
        spreads = backend.store.spreads().await.map_err(cannot_read)?;
    }
    for spread in spreads {
        spreads::publish(&app.ctx, spread);
    }
    spreads::publish_known(&app.ctx);
    app.opened(backend);
    Ok(())
}

/// Where the page is: beside the quotes a browser gets it for `/` too.
fn page_path(routes: &[Group]) -> Option<&'static str> {
    let path = if routes.contains(&Group::Quotes) { "/" } else { "/ws-test/" };
    routes.contains(&Group::Page).then_some(path)
}

fn routes(settings: &Settings, app: &Shared) -> Routes {
    settings.routes.iter().fold(Routes::new().schema::<Failed>(), |routes, group| match group {
        Group::Rates => rate_routes(routes, app),
        Group::Quotes if settings.serves(Group::Page) => {
            quote_routes(routes.documented(original(app, routes!(root::service_or_page))), app)
        }
        Group::Quotes => quote_routes(routes.documented(original(app, routes!(root::service))), app),
        Group::Health => routes.documented(original(app, routes!(health::health))),
        Group::Accounts => account_routes(routes, app),
        Group::Spreads => spread_routes(routes, app),
        Group::Page => page::FOLDER.mount(routes),
        Group::Docs => docs::mount(routes, &app.ctx, &settings.listener, settings.serves(Group::Quotes)),
    })
}

fn rate_routes(routes: Routes, app: &Shared) -> Routes {
    routes
        .tag("rates", "The market's prices, for everybody.")
        .documented(original(app, routes!(root::hello)))
        .documented(original(app, routes!(rates::original_one)))
        .documented(v1(app, routes!(rates::pairs)))
        .documented(v1(app, routes!(rates::list)))
        .documented(v1(app, routes!(rates::one)))
        .fallback(root::fallback)
}

fn quote_routes(routes: Routes, app: &Shared) -> Routes {
    routes
        .tag("rates", "The market's prices and the customer's, for everybody.")
        .documented(original(app, routes!(quotes::original_list)))
        .documented(original(app, routes!(quotes::original_one)))
        .documented(v1(app, routes!(quotes::pairs)))
        .documented(v1(app, routes!(quotes::list)))
        .documented(v1(app, routes!(quotes::one)))
        .fallback(root::fallback)
}

fn account_routes(routes: Routes, app: &Shared) -> Routes {
    routes
        .tag("accounts", "Registering, logging in and out, one's own account; for administrators everybody's.")
        .documented(limited(original(app, routes!(handlers::register))))
        .documented(limited(original(app, routes!(handlers::login))))
        .documented(original(app, routes!(handlers::logout)))
        .documented(limited(v1(app, routes!(auth::login))))
        .documented(v1(app, routes!(auth::refresh)))
        .documented(v1(app, routes!(auth::logout)))
        .documented(v1(app, routes!(me::get, me::patch)))
        .documented(limited(v1(app, routes!(me::password))))
        .documented(v1(app, routes!(manage::list)))
        .documented(v1(app, routes!(manage::one, manage::patch)))
}

fn spread_routes(routes: Routes, app: &Shared) -> Routes {
    routes
        .tag("spreads", "What is added to the market's prices: for administrators.")
        .documented(original(app, routes!(settings::update_rates)))
        .documented(v1(app, routes!(spreads::handlers::list)))
        .documented(v1(app, routes!(spreads::handlers::get, spreads::handlers::put, spreads::handlers::delete)))
        .documented(v1(app, routes!(scheduled::list)))
        .documented(v1(app, routes!(scheduled::one, scheduled::cancel)))
        .documented(v1(app, routes!(preview::preview)))
        .documented(v1(app, routes!(history::history)))
        .documented(v1(app, routes!(rollback::rollback)))
}

/// A path of the original project.
fn original(app: &Shared, methods: UtoipaMethodRouter<Shared>) -> UtoipaMethodRouter {
    methods.with_state(app.clone()).map(envelope::family)
}

/// A path under `/v1`.
fn v1(app: &Shared, methods: UtoipaMethodRouter<Shared>) -> UtoipaMethodRouter {
    methods.with_state(app.clone())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ratebus_sdk::testkit::RecordingHost;

    use super::*;

    /// A route that the contract does not name is one that nobody decided about.
    #[test]
    fn every_route_is_in_the_contract() {
        let contract = include_str!("../../../docs/api.md").to_lowercase();
        let named: Vec<&str> = contract.split([' ', '`', '|', ',', '\n']).collect();
        let env = Env::new("api".parse().unwrap(), Arc::default(), Arc::default(), Arc::default(), &[]);
        let app = App::new(RecordingHost::new().context("api"), env, 1);
        for first in [Group::Rates, Group::Quotes] {
            let groups = vec![first, Group::Health, Group::Accounts, Group::Spreads, Group::Page, Group::Docs];
            let settings = Settings { listener: String::new(), routes: groups, max_waiting: 1, backend: None };
            let routes = routes(&settings, &app);
            assert!(routes.has_fallback());
            let is_file = |path: &&String| path.starts_with("/ws-test") || path.starts_with("/docs");
            for path in routes.paths().iter().filter(|path| !is_file(path)) {
                assert!(named.contains(&path.as_str()), "{path}");
            }
        }
    }
}
