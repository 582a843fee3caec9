use figment::value::Value;
use ratebus_sdk::{ConfigError, Env, Factory, Sink, Source, gather::read_config};

use crate::dynamic::{Dynamic, Refusal, Trial};

/// A component that was built and not yet started.
pub enum Component {
    /// Brings rates in.
    Source(Box<dyn Source>),
    /// Takes messages off the bus.
    Sink(Box<dyn Sink>),
}

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Its config is wrong.
    #[error("its config is wrong: {0}")]
    Config(#[from] ConfigError),
    /// Its library cannot be used.
    #[error("its library is refused: {0}")]
    Refused(#[from] Refusal),
}

/// One type of component: its name in the config and how to build it.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The name: `source/kraken`.
    pub name: &'static str,
    /// The version of the crate or the library it comes from.
    pub version: &'static str,
    /// Whether it brings rates in: sources start last and stop first.
    pub(crate) is_source: bool,
    build: Build,
}

#[derive(Clone, Copy)]
enum Build {
    BuiltIn(fn(&Value, &Env) -> Result<Component, ConfigError>),
    Library(Dynamic),
}

impl Entry {
    /// The entry of a source.
    pub const fn source<T: Factory + Source + 'static>(version: &'static str) -> Self {
        let build = |config: &Value, env: &Env| Ok(Component::Source(Box::new(build::<T>(config, env)?)));
        Self { name: T::TYPE, version, is_source: true, build: Build::BuiltIn(build) }
    }

    /// The entry of a sink.
    pub const fn sink<T: Factory + Sink + 'static>(version: &'static str) -> Self {
        let build = |config: &Value, env: &Env| Ok(Component::Sink(Box::new(build::<T>(config, env)?)));
        Self { name: T::TYPE, version, is_source: false, build: Build::BuiltIn(build) }
    }

    /// The entry of a library's component.
    pub(crate) fn library(dynamic: Dynamic) -> Self {
        let component = dynamic.component;
        Self {
            name: &component.name,
            version: &component.version,
            is_source: dynamic.is_source(),
            build: Build::Library(dynamic),
        }
    }

    /// Whether `other` is the same type, of the same bytes if it is from a library.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let library = |entry: &Self| entry.dynamic().map(|dynamic| (dynamic.sha256, dynamic.pinned));
        self.name == other.name && library(self) == library(other)
    }

    /// What it is if it is from a library.
    pub(crate) fn dynamic(&self) -> Option<Dynamic> {
        match self.build {
            Build::BuiltIn(_) => None,
            Build::Library(dynamic) => Some(dynamic),
        }
    }

    pub(crate) fn build(&self, config: &Value, env: &Env) -> Result<Component, BuildError> {
        match self.build {
            Build::BuiltIn(build) => Ok(build(config, env)?),
            Build::Library(dynamic) => dynamic.build(config, env),
        }
    }
}

fn build<T: Factory>(config: &Value, env: &Env) -> Result<T, ConfigError> {
    T::build(read_config(config)?, env)
}

/// The component types of this binary.
pub struct Registry {
    entries: &'static [Entry],
    trial: Option<Trial>,
}

impl Registry {
    /// A registry of `entries`, in the order in which they are listed.
    pub const fn new(entries: &'static [Entry]) -> Self {
        Self { entries, trial: None }
    }

    /// The same in a program that, called with these arguments, does what [`try_library`](crate::dynamic::try_library)
    /// does: it is called so with each library before that is loaded.
    #[must_use]
    pub const fn trying_libraries_with(self, arguments: &'static [&'static str]) -> Self {
        Self { trial: Some(arguments), ..self }
    }

    /// The type called `name`.
    pub fn find(&self, name: &str) -> Option<&'static Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// All types.
    pub fn entries(&self) -> &'static [Entry] {
        self.entries
    }

    pub(crate) fn trial(&self) -> Option<Trial> {
        self.trial
    }

    pub(crate) fn types(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().map(|entry| entry.name)
    }
}
