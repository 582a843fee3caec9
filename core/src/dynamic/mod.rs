//! Plugins in shared libraries: found, checked, loaded once and never unloaded, and run as ordinary sources and sinks.
//!
//! The interface is `ratebus_abi`; `docs/plugins.md` and decision 12 say what is checked and why. A library is trusted code:
//! the checks are against the wrong file, not against a hostile one of the right hash.

mod deliver;
mod excess;
mod feed;
mod image;
mod instance;
mod library;
mod measures;
mod place;
mod port;
mod refusal;
mod run;
mod said;
mod trial;

use figment::value::Value;
use ratebus_model::SourceName;
use ratebus_sdk::{ConfigError, Env};

pub use place::{Sha256, sha256_of};
pub use refusal::Refusal;
pub use trial::try_library;

use crate::registry::{BuildError, Component};
use instance::{Given, Instance};
pub(crate) use library::{LibraryComponent, load};
use run::Library;
pub(crate) use trial::Trial;

/// What makes a plugin less than ready whose library may be any.
const UNPINNED: &str = "its library may be any: no sha256 is set";

/// A component of a library, as a config names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dynamic {
    pub(crate) component: &'static LibraryComponent,
    /// The bytes of the library.
    pub(crate) sha256: Sha256,
    /// Whether the config says which bytes the library has.
    pub(crate) pinned: bool,
}

impl Dynamic {
    /// Says in the log which bytes the plugin `name` runs.
    pub(crate) fn tell(self, name: SourceName) {
        let Self { component, sha256, pinned } = self;
        let (component, version) = (&component.name, &component.version);
        tracing::info!(
            event = "library_loaded", plugin = %name, component, version, %sha256, pinned,
            "{name} is from a library"
        );
        if !pinned {
            tracing::warn!(plugin = %name, %sha256, "the library of {name} may be any: its sha256 is not set");
        }
    }

    pub(crate) fn is_source(self) -> bool {
        self.component.sink.is_none()
    }

    /// Makes an instance. Waits for the library.
    pub(crate) fn build(self, config: &Value, env: &Env) -> Result<Component, BuildError> {
        let json = serde_json::to_string(config).map_err(|error| ConfigError::new("", error.to_string()))?;
        let pairs =
            serde_json::to_string(&*env.pairs_now()).map_err(|error| ConfigError::new("", error.to_string()))?;
        let instance = Instance::create(self.component, Given { name: env.name, config: json, pairs })?;
        if instance.keeps_pairs {
            // Asked for as by a component that is built in.
            env.pairs();
        }
        let interests = self.component.sink.map(|sink| instance.interests(sink)).transpose()?.unwrap_or_default();
        let library = Box::new(Library { instance, interests, remark: (!self.pinned).then_some(UNPINNED) });
        Ok(if self.is_source() { Component::Source(library) } else { Component::Sink(library) })
    }
}
