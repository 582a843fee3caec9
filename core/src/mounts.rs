use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use axum::{Router, body::Bytes};
use ratebus_model::SourceName;
use ratebus_sdk::{Error, ErrorKind, Routes};

use utoipa::openapi::OpenApi;
use utoipa_axum::{router::UtoipaMethodRouterExt, routes};

use crate::{
    api,
    health::{self, Readiness},
    http::{self, Edge},
};

/// The routes of one listener: what each plugin mounted, merged into what answers now.
///
/// Until every plugin that claimed the listener has mounted its routes, unknown paths are answered with 503: at a
/// start, "not yet" must not look like "not here".
pub(crate) struct Mounts {
    listener: String,
    readiness: Readiness,
    /// Taken only to change routes; requests read `current`.
    mounted: Mutex<Mounted>,
    current: ArcSwap<Edge>,
    /// The OpenAPI document of the same routes.
    api: ArcSwap<Bytes>,
}

struct Mounted {
    awaited: BTreeSet<SourceName>,
    plugins: BTreeMap<SourceName, Mount>,
}

struct Mount {
    router: Router,
    paths: BTreeSet<String>,
    api: OpenApi,
    has_fallback: bool,
}

impl Mounts {
    /// Nothing mounted yet; `awaited` will.
    pub(crate) fn new(listener: &str, awaited: BTreeSet<SourceName>, readiness: Readiness) -> Arc<Self> {
        let mounted = Mounted { awaited, plugins: BTreeMap::new() };
        let mounts = Self {
            listener: listener.to_owned(),
            readiness,
            current: ArcSwap::from_pointee(Edge::new(Router::new(), listener)),
            api: ArcSwap::default(),
            mounted: Mutex::new(mounted),
        };
        mounts.rebuild(&mounts.mounted.lock().unwrap_or_else(PoisonError::into_inner));
        Arc::new(mounts)
    }

    /// A listener of the engine's own, with routes that never change.
    pub(crate) fn fixed(listener: &str, router: Router, readiness: Readiness) -> Arc<Self> {
        let mounts = Self::new(listener, BTreeSet::new(), readiness);
        mounts.current.store(Arc::new(Edge::new(router, listener)));
        mounts
    }

    /// Replaces what `plugin` had mounted.
    pub(crate) fn mount(&self, plugin: SourceName, routes: Routes) -> Result<(), Error> {
        let mut mounted = self.mounted.lock().unwrap_or_else(PoisonError::into_inner);
        let paths = routes.paths().iter().map(|path| without_names(path)).collect();
        let (api, has_fallback) = (routes.api().clone(), routes.has_fallback());
        let mount = Mount { paths, api, has_fallback, router: routes.into_router() };
        for (other, theirs) in mounted.plugins.iter().filter(|(name, _)| **name != plugin) {
            let shared = mount.paths.intersection(&theirs.paths).next().map(String::as_str);
            let shared = shared.or((mount.has_fallback && theirs.has_fallback).then_some("every other path"));
            if let Some(path) = shared {
                let listener = &self.listener;
                let message = format!("on listener {listener:?} both {plugin} and {other} want to answer {path}");
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        mounted.awaited.remove(&plugin);
        mounted.plugins.insert(plugin, mount);
        self.rebuild(&mounted);
        Ok(())
    }

    /// What answers now.
    pub(crate) fn current(&self) -> Arc<Edge> {
        self.current.load_full()
    }

    /// The OpenAPI document of what is mounted now, as JSON.
    pub(crate) fn api(&self) -> Bytes {
        Bytes::clone(&self.api.load())
    }

    fn rebuild(&self, mounted: &Mounted) {
        let ready = routes!(health::ready).with_state(self.readiness.clone());
        let own = Routes::new().documented(routes!(health::live)).documented(ready);
        let apis = mounted.plugins.values().map(|mount| &mount.api).chain([own.api()]);
        self.api.store(Arc::new(api::document(&self.listener, apis)));
        let mut router = own.into_router();
        for mount in mounted.plugins.values() {
            router = router.merge(mount.router.clone());
        }
        if !mounted.awaited.is_empty() {
            router = router.fallback(async || http::starting());
        } else if !mounted.plugins.values().any(|mount| mount.has_fallback) {
            router = router.fallback(async || http::nothing_here());
        }
        self.current.store(Arc::new(Edge::new(router, &self.listener)));
    }
}

/// `/v1/rates/{pair}` as `/v1/rates/{}`: two routes that differ only in a parameter's name are one to the router.
fn without_names(path: &str) -> String {
    let segments = path.split('/').map(|segment| match segment.strip_prefix('{') {
        Some(name) if name.starts_with('*') => "{*}",
        Some(_) => "{}",
        None => segment,
    });
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use axum::routing::get;

    use super::*;

    #[test]
    fn two_plugins_cannot_answer_one_path() {
        let mounts = Mounts::new("web", BTreeSet::new(), Readiness::default());
        let routes = |path: &str| Routes::new().route(path, get(|| async { "hello" }));
        let [first, second] = ["api", "other"].map(|name| name.parse::<SourceName>().unwrap());
        mounts.mount(first, routes("/v1/rates/{pair}")).unwrap();
        mounts.mount(first, routes("/v1/rates/{pair}")).unwrap();
        let error = mounts.mount(second, routes("/v1/rates/{symbol}")).unwrap_err().to_string();
        assert_eq!(error, "on listener \"web\" both other and api want to answer /v1/rates/{}");
        mounts.mount(second, routes("/v1/pairs")).unwrap();
    }
}
