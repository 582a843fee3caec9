use std::convert::Infallible;

use axum::{
    Router,
    extract::Request,
    handler::Handler,
    response::IntoResponse,
    routing::{MethodRouter, Route},
};
use utoipa::{
    ToSchema,
    openapi::{Components, OpenApi, tag::TagBuilder},
};
use utoipa_axum::router::UtoipaMethodRouter;

/// HTTP routes that a plugin mounts on a listener: an [`axum::Router`] that remembers its paths, so that two plugins
/// asking for one path is an error with both their names instead of a panic, and what they do, for the listener's
/// OpenAPI document.
#[derive(Default)]
pub struct Routes {
    router: Router,
    paths: Vec<String>,
    api: OpenApi,
    has_fallback: bool,
}

impl Routes {
    /// No routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a path with what its handlers say of themselves: `utoipa_axum::routes!` of handlers with
    /// `#[utoipa::path]`.
    #[must_use]
    pub fn documented(mut self, (schemas, described, methods): UtoipaMethodRouter) -> Self {
        self.api.components.get_or_insert_with(Components::new).schemas.extend(schemas);
        let path = described.paths.keys().next().cloned();
        self.api.paths.merge(described);
        match path {
            Some(path) => self.route(&path, methods),
            None => self,
        }
    }

    /// Adds a schema to the document that is referred to and not the body of a documented handler.
    #[must_use]
    pub fn schema<T: ToSchema>(mut self) -> Self {
        let mut schemas = Vec::new();
        T::schemas(&mut schemas);
        schemas.push((T::name().into_owned(), T::schema()));
        self.api.components.get_or_insert_with(Components::new).schemas.extend(schemas);
        self
    }

    /// Says in the document what the operations have in common that carry a tag.
    #[must_use]
    pub fn tag(mut self, name: &str, description: &str) -> Self {
        let tag = TagBuilder::new().name(name).description(Some(description)).build();
        self.api.tags.get_or_insert_default().push(tag);
        self
    }

    /// Adds a path in axum's notation, `/v1/rates/{pair}`, that the OpenAPI document does not have.
    #[must_use]
    pub fn route(mut self, path: &str, methods: MethodRouter) -> Self {
        self.paths.push(path.to_owned());
        self.router = self.router.route(path, methods);
        self
    }

    /// Adds a service that answers every method of a path.
    #[must_use]
    pub fn route_service<S>(mut self, path: &str, service: S) -> Self
    where
        S: tower_service::Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.paths.push(path.to_owned());
        self.router = self.router.route_service(path, service);
        self
    }

    /// Answers every path nobody mounted on the listener.
    #[must_use]
    pub fn fallback<H: Handler<T, ()>, T: 'static>(mut self, handler: H) -> Self {
        self.has_fallback = true;
        self.router = self.router.fallback(handler);
        self
    }

    /// Wraps every route added so far, and no other plugin's.
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: tower_layer::Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: tower_service::Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as tower_service::Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as tower_service::Service<Request>>::Error: Into<Infallible> + 'static,
        <L::Service as tower_service::Service<Request>>::Future: Send + 'static,
    {
        self.router = self.router.layer(layer);
        self
    }

    /// The paths added, as they were written.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// What the documented paths do: an OpenAPI document without an introduction.
    pub fn api(&self) -> &OpenApi {
        &self.api
    }

    /// Whether a fallback was set.
    pub fn has_fallback(&self) -> bool {
        self.has_fallback
    }

    /// The router.
    pub fn into_router(self) -> Router {
        self.router
    }
}
