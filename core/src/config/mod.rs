//! The config: one file, overridden by `RATEBUS_*` variables and the command line, checked as a whole before anything
//! starts.

mod bus;
mod layers;
mod library;
mod problem;
mod settings;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use figment::value::Value;
use ratebus_model::{SourceName, cross, median};
use ratebus_sdk::{
    ConfigError, Env, PairSettings, PairTable,
    feed::DecoderEntry,
    gather::{Fault, read},
};
use serde::de::DeserializeOwned;

pub use bus::{Backend, Bus, LinkPlan, RoleBus};
pub use layers::{ConfigFile, Override};
pub use library::LibraryType;
pub use problem::{ConfigProblem, ConfigReport};
pub use settings::{Listener, Log, LogFormat, Metrics, Plugin, Plugins, Role, Runtime, Settings};

pub use crate::proxies::TrustedProxies;
use crate::{
    dynamic::Refusal,
    registry::{BuildError, Component, Entry, Registry},
};
use layers::Layers;
use library::NoLibrary;

/// A config that was read, and checked as far as that needs no plugin.
pub struct Config {
    /// What it says.
    pub settings: Settings,
    layers: Layers,
}

/// One plugin of a role, ready to be built.
#[derive(Clone)]
pub struct Blueprint {
    /// Its type.
    pub entry: Entry,
    /// Its own settings.
    pub config: Value,
    /// What it may know of the rest.
    pub env: Env,
}

/// A plugin whose library cannot be used: the role does without it.
#[derive(Debug, Clone)]
pub struct RefusedPlugin {
    /// Its name.
    pub name: SourceName,
    /// Why, in a word.
    pub reason: &'static str,
    /// Why, in words, and where the library is named.
    pub problem: ConfigProblem,
}

/// Why there is no blueprint of a plugin.
enum Unusable {
    /// No plugin has that name.
    Unknown,
    /// Its config is wrong.
    Wrong(Vec<ConfigProblem>),
    /// Its library cannot be used.
    Refused(Box<RefusedPlugin>),
}

/// A role that was checked completely.
pub struct RolePlan {
    /// The role's name.
    pub name: String,
    /// The name of the file that says so.
    pub file: String,
    /// Its plugins in the order in which messages pass through them.
    pub plugins: Vec<Blueprint>,
    /// Those that cannot be built, and need not be.
    pub refused: Vec<RefusedPlugin>,
    /// The listeners they use.
    pub listeners: BTreeMap<String, Listener>,
    /// The operator's listener.
    pub metrics: Metrics,
    /// The process.
    pub runtime: Runtime,
    /// How it is joined to other processes, if it is.
    pub link: Option<LinkPlan>,
    /// The `[pairs.*]` tables.
    pub(crate) pairs: Arc<PairTable>,
    /// What the config says under each key that a running process cannot take over.
    pub(crate) fixed: BTreeMap<String, Value>,
}

impl Config {
    /// Reads the file's text under the overrides: environment variables first, then `sets` from the command line.
    ///
    /// # Errors
    /// Everything that is wrong, with its place.
    pub fn load(
        file: ConfigFile,
        variables: impl Iterator<Item = (String, String)>,
        sets: Vec<Override>,
    ) -> Result<Self, ConfigReport> {
        let layers = Layers::merge(file, variables, sets)?;
        let settings = read::<Settings>(&layers.merged).map_err(|faults| {
            let problem = |fault: Fault| problem_at(&layers, &fault.path, fault.message);
            ConfigReport { problems: faults.into_iter().map(problem).collect() }
        })?;
        PairSettings::check(&settings.pairs).map_err(|ConfigError { problems }| {
            let problem = |problem: ratebus_sdk::Problem| {
                let path = ["pairs"].into_iter().chain(problem.key.split('.')).map(str::to_owned).collect::<Vec<_>>();
                problem_at(&layers, &path, problem.message)
            };
            ConfigReport { problems: problems.into_iter().map(problem).collect() }
        })?;
        let taken = [median::NAME, cross::NAME]
            .into_iter()
            .filter(|&taken| settings.plugin.keys().any(|name| name.as_str() == taken));
        let problem = |name: &str| {
            let message = "is what prices made of several are said to be from; another name is needed".to_owned();
            problem_at(&layers, &["plugin".to_owned(), name.to_owned()], message)
        };
        let problems: Vec<ConfigProblem> = taken.map(problem).collect();
        if problems.is_empty() { Ok(Self { settings, layers }) } else { Err(ConfigReport { problems }) }
    }

    /// Checks one role: that its plugins exist, are of a known type and accept their settings.
    ///
    /// # Errors
    /// Everything that is wrong with it, with its place.
    pub fn plan(
        &self,
        role: &str,
        registry: &Registry,
        decoders: &'static [DecoderEntry],
    ) -> Result<RolePlan, ConfigReport> {
        let mut problems = Vec::new();
        let settings = &self.settings;
        let Some(found) = settings.role.get(role) else {
            let message = format!("no role {role:?}; there are: {}", join(settings.role.keys()));
            return Err(ConfigReport { problems: vec![self.problem(&["runtime", "role"], message)] });
        };
        let listeners = Arc::new(settings.listener.keys().cloned().collect::<BTreeSet<_>>());
        let (pairs, compat) = (Arc::new(settings.pairs.clone()), Arc::new(settings.compat.clone()));
        let env = |name| Env::new(name, pairs.clone(), compat.clone(), listeners.clone(), decoders);
        let (mut plugins, mut refused) = (Vec::new(), Vec::new());
        for (index, &name) in found.plugins.iter().enumerate() {
            let place = ["role", role, "plugins", &index.to_string()];
            if found.plugins[..index].contains(&name) {
                problems.push(self.problem(&place, format!("{name} is listed twice")));
                continue;
            }
            match self.blueprint(name, registry, env(name)) {
                Ok(plugin) => plugins.push(plugin),
                Err(Unusable::Unknown) => {
                    let known = join(settings.plugin.keys());
                    problems.push(self.problem(&place, format!("no plugin is named {name:?}; there are: {known}")));
                }
                Err(Unusable::Wrong(wrong)) => problems.extend(wrong),
                Err(Unusable::Refused(plugin)) => refused.push(*plugin),
            }
        }
        if found.plugins.is_empty() {
            problems.push(self.problem(&["role", role, "plugins"], "a role needs at least one plugin".to_owned()));
        }
        let used: BTreeSet<String> = plugins.iter().flat_map(|plugin| plugin.env.claimed_listeners()).collect();
        let listeners = settings.listener.iter().filter(|(name, _)| used.contains(*name));
        let link = settings.bus.under(&found.bus).plan().unwrap_or_else(|(key, message)| {
            let own = ["role", role, "bus", key];
            let place = if self.layers.at(&own).is_some() { &own[..] } else { &own[2..] };
            problems.push(self.problem(place, message));
            None
        });
        let plan = RolePlan {
            link,
            fixed: self.fixed(role, &used),
            pairs,
            name: role.to_owned(),
            file: self.layers.file.name.clone(),
            listeners: listeners.map(|(name, listener)| (name.clone(), listener.clone())).collect(),
            plugins,
            refused,
            metrics: self.metrics(found).clone(),
            runtime: settings.runtime.clone(),
        };
        problems.extend(self.shared_addresses(&plan));
        if problems.is_empty() {
            problems.extend(self.unknown_sessions(&plan));
        }
        if problems.is_empty() { Ok(plan) } else { Err(ConfigReport { problems }) }
    }

    /// What is written under the keys that a process takes at its start and keeps.
    fn fixed(&self, role: &str, listeners: &BTreeSet<String>) -> BTreeMap<String, Value> {
        let tables = ["runtime", "log", "metrics", "bus", "compat"].map(|table| vec![table]).into_iter();
        let of_role = ["metrics", "bus"].map(|table| vec!["role", role, table]);
        let of_listeners = listeners.iter().map(|name| vec!["listener", name]);
        let written = |path: Vec<&str>| Some((path.join("."), self.layers.at(&path)?.clone()));
        tables.chain(of_role).chain(of_listeners).filter_map(written).collect()
    }

    /// The operator's listener of `role`: the role's own, else everybody's. `None` if there is no such role.
    pub fn operators(&self, role: &str) -> Option<&Metrics> {
        self.settings.role.get(role).map(|role| self.metrics(role))
    }

    fn metrics<'a>(&'a self, role: &'a Role) -> &'a Metrics {
        role.metrics.as_ref().unwrap_or(&self.settings.metrics)
    }

    /// The settings of every plugin of type `kind` in `role`, read as a `T`: for commands that work beside the plugin.
    pub fn plugin_settings<T: DeserializeOwned>(&self, role: &str, kind: &str) -> Vec<T> {
        let names = self.settings.role.get(role).map(|role| role.plugins.as_slice()).unwrap_or_default();
        let plugins = names.iter().filter_map(|name| self.settings.plugin.get(name));
        plugins.filter(|plugin| plugin.r#use == kind).filter_map(|plugin| plugin.config.deserialize().ok()).collect()
    }

    fn blueprint(&self, name: SourceName, registry: &Registry, env: Env) -> Result<Blueprint, Unusable> {
        let plugin = self.settings.plugin.get(&name).ok_or(Unusable::Unknown)?;
        let wrong = |key: &str, message| Unusable::Wrong(vec![self.problem(&["plugin", name.as_str(), key], message)]);
        let entry = match self.library(plugin, registry) {
            Ok(Some(entry)) => entry,
            Ok(None) => {
                let unknown = || format!("no plugin type {:?}; there are: {}", plugin.r#use, join(registry.types()));
                *registry.find(&plugin.r#use).ok_or_else(|| wrong("use", unknown()))?
            }
            Err(NoLibrary::Config(key, message)) => return Err(wrong(key, message)),
            Err(NoLibrary::Refused(refusal)) => return Err(self.refused(name, plugin, &refusal)),
        };
        let blueprint = Blueprint { entry, config: plugin.config.clone(), env };
        match blueprint.build() {
            Ok(_) => Ok(blueprint),
            Err(BuildError::Refused(refusal)) => Err(self.refused(name, plugin, &refusal)),
            Err(BuildError::Config(ConfigError { problems })) => {
                let problem = |problem: ratebus_sdk::Problem| {
                    let mut path = vec!["plugin", name.as_str(), "config"];
                    path.extend(problem.key.split('.').filter(|name| !name.is_empty()));
                    self.problem(&path, problem.message)
                };
                Err(Unusable::Wrong(problems.into_iter().map(problem).collect()))
            }
        }
    }

    /// The components of libraries that any role may use.
    pub fn libraries(&self, registry: &Registry) -> Vec<LibraryType> {
        let plugins = self.settings.plugin.values();
        let named = plugins.filter_map(|plugin| Some((plugin, plugin.library.as_ref()?)));
        named.map(|(plugin, library)| LibraryType::new(plugin, library, self.library(plugin, registry))).collect()
    }

    fn library(&self, plugin: &Plugin, registry: &Registry) -> Result<Option<Entry>, NoLibrary> {
        let Plugins { dir, allow_unpinned } = &self.settings.plugins;
        plugin.load(dir.as_deref(), *allow_unpinned, registry.trial())
    }

    /// What becomes of a plugin whose library cannot be used.
    fn refused(&self, name: SourceName, plugin: &Plugin, refusal: &Refusal) -> Unusable {
        let reason = refusal.as_str();
        let problem = self.problem(&["plugin", name.as_str(), "library"], format!("refused ({reason}): {refusal}"));
        if plugin.required {
            Unusable::Wrong(vec![problem])
        } else {
            Unusable::Refused(Box::new(RefusedPlugin { name, reason, problem }))
        }
    }

    /// Two listeners on one address would fail only when the second binds.
    fn shared_addresses(&self, plan: &RolePlan) -> Vec<ConfigProblem> {
        let mut taken = BTreeMap::from([(plan.metrics.listen, "metrics".to_owned())]);
        let mut problems = Vec::new();
        for (name, listener) in plan.listeners.iter().filter(|(_, listener)| listener.listen.port() != 0) {
            if let Some(other) = taken.insert(listener.listen, format!("listener.{name}")) {
                let message = format!("{} is also the address of {other}", listener.listen);
                problems.push(self.problem(&["listener", name, "listen"], message));
            }
        }
        problems
    }

    /// Who lets only people in that are logged in needs one plugin that knows them. More would be a guess.
    fn unknown_sessions(&self, plan: &RolePlan) -> Vec<ConfigProblem> {
        let offering = plan.plugins.iter().filter(|plugin| plugin.env.is_offering_sessions());
        let message = match *offering.map(|plugin| plugin.env.name).collect::<Vec<_>>() {
            [_] => return Vec::new(),
            [] => format!("no plugin of the role {} serves accounts, so nobody could log in", plan.name),
            ref several => format!("which accounts? Of the role {} these serve some: {}", plan.name, join(several)),
        };
        let needing =
            plan.plugins.iter().filter_map(|plugin| Some((plugin.env.name, plugin.env.sessions_needed_by()?)));
        needing.map(|(name, key)| self.problem(&["plugin", name.as_str(), "config", &key], message.clone())).collect()
    }

    fn problem(&self, path: &[&str], message: String) -> ConfigProblem {
        let path: Vec<String> = path.iter().map(|&name| name.to_owned()).collect();
        problem_at(&self.layers, &path, message)
    }
}

impl RolePlan {
    /// Its sources, in the config's order.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Blueprint> {
        self.plugins.iter().filter(|plugin| plugin.entry.is_source)
    }

    /// Its sinks, in the config's order.
    pub(crate) fn sinks(&self) -> impl Iterator<Item = &Blueprint> {
        self.plugins.iter().filter(|plugin| !plugin.entry.is_source)
    }

    /// Its plugin called `name`.
    pub(crate) fn plugin(&self, name: SourceName) -> Option<&Blueprint> {
        self.plugins.iter().find(|plugin| plugin.env.name == name)
    }
}

impl Blueprint {
    /// Whether `other` would make the same component, as far as the `[pairs.*]` tables do not matter.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.entry.is(&other.entry) && self.config == other.config
    }

    /// Whether the component has clients of its own, who would notice a restart.
    pub(crate) fn has_clients(&self) -> bool {
        !self.env.claimed_listeners().is_empty()
    }

    /// Builds the component from its settings.
    pub fn build(&self) -> Result<Component, BuildError> {
        self.entry.build(&self.config, &self.env)
    }
}

fn problem_at(layers: &Layers, path: &[String], message: String) -> ConfigProblem {
    ConfigProblem { origin: layers.origin(path), key: path.join("."), message }
}

fn join<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    names.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}
