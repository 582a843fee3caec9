use std::{fs, path::Path};

use figment::{
    Figment, Profile, Provider,
    providers::{Format, Toml},
    value::{Dict, Map, Num, Value},
};
use toml_edit::ImDocument;

use super::{ConfigProblem, ConfigReport};

/// The prefix of environment variables that are config.
const PREFIX: &str = "RATEBUS_";

/// Variables with the prefix that are no config keys.
const NOT_KEYS: [&str; 2] = ["RATEBUS_CONFIG", "RATEBUS_ROLE"];

/// The tables that a role may have otherwise.
const OF_ROLES: [&str; 2] = ["bus", "metrics"];

/// One value that wins over the file.
#[derive(Debug, Clone)]
pub struct Override {
    /// Where it was said, for messages: `environment variable RATEBUS_LOG__FILTER`, `--set`.
    pub origin: String,
    /// The key, a name per level.
    pub path: Vec<String>,
    /// The value's text.
    pub value: String,
}

impl Override {
    /// `value` at `path`.
    pub fn new(origin: &str, path: &[&str], value: &str) -> Self {
        let path = path.iter().map(|&name| name.to_owned()).collect();
        Self { origin: origin.to_owned(), path, value: value.to_owned() }
    }

    /// From `--set listener.user-api.listen=127.0.0.1:4000`.
    pub fn from_set(text: &str) -> Option<Self> {
        let (key, value) = text.split_once('=')?;
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        (!path.iter().any(String::is_empty)).then(|| Self {
            origin: format!("--set {key}"),
            path,
            value: value.to_owned(),
        })
    }

    /// From `RATEBUS_LISTENER__USER_API__LISTEN=127.0.0.1:4000`: two underscores between levels. Names are matched
    /// without regard to case, and an underscore also stands for a dash.
    fn from_variable(name: &str, value: String) -> Option<Self> {
        let key = name.strip_prefix(PREFIX).filter(|_| !NOT_KEYS.contains(&name) && !is_of_kubernetes(name))?;
        let path = key.split("__").map(str::to_owned).collect();
        Some(Self { origin: format!("environment variable {name}"), path, value })
    }
}

/// Whether Kubernetes sets the variable in every container beside a service whose name begins with `ratebus`:
/// `RATEBUS_SERVICE_HOST`, `RATEBUS_PORT_3334_TCP`. A key of ours has two underscores.
fn is_of_kubernetes(name: &str) -> bool {
    !name.contains("__") && (name.contains("_SERVICE_") || name.contains("_PORT_") || name.ends_with("_PORT"))
}

/// The config's text and where it came from.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    /// Its name in messages.
    pub name: String,
    /// TOML.
    pub text: String,
}

impl ConfigFile {
    /// Reads `path`.
    pub fn read(path: &Path) -> Result<Self, ConfigReport> {
        let name = path.display().to_string();
        match fs::read_to_string(path) {
            Ok(text) => Ok(Self { name, text }),
            Err(error) => {
                let message = format!("cannot be read: {error}");
                Err(ConfigReport { problems: vec![ConfigProblem { origin: name, key: String::new(), message }] })
            }
        }
    }
}

/// File and overrides merged, with the memory of who said what.
pub(crate) struct Layers {
    pub(crate) file: ConfigFile,
    overrides: Vec<Override>,
    pub(crate) merged: Value,
}

impl Layers {
    /// The file, then the variables, then `--set`.
    pub(crate) fn merge(
        file: ConfigFile,
        variables: impl Iterator<Item = (String, String)>,
        sets: Vec<Override>,
    ) -> Result<Self, ConfigReport> {
        let parsed = parse(&file).map_err(|problem| ConfigReport { problems: vec![problem] })?;
        let mut dict = parsed.into_values().next().unwrap_or_default();
        let mut overrides: Vec<Override> =
            variables.filter_map(|(name, value)| Override::from_variable(&name, value)).collect();
        overrides.sort_by(|left, right| left.path.cmp(&right.path));
        overrides.extend(sets);
        for one in &overrides {
            let path = existing_names(&dict, &one.path);
            forget_in_roles(&mut dict, &path);
        }
        for one in &mut overrides {
            one.path = existing_names(&dict, &one.path);
            dict = overlay(dict, one);
        }
        Ok(Self { file, overrides, merged: Value::from(dict) })
    }

    /// What is written at `path`.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(&self.merged, |value, &name| value.as_dict()?.get(name))
    }

    /// Where the value at `path` was said.
    pub(crate) fn origin(&self, path: &[String]) -> String {
        let said = self.overrides.iter().rev().find(|one| one.path.starts_with(path) || path.starts_with(&one.path));
        match (said, self.line(path)) {
            (Some(one), _) => one.origin.clone(),
            (None, Some(line)) => format!("{}:{line}", self.file.name),
            (None, None) => self.file.name.clone(),
        }
    }

    /// The line of the key, or of the innermost table around it that is there.
    fn line(&self, path: &[String]) -> Option<usize> {
        let document = ImDocument::parse(self.file.text.as_str()).ok()?;
        let mut item = document.as_item();
        let mut span = None;
        for name in path {
            let next = match name.parse::<usize>() {
                Ok(index) if item.is_array() => item.get(index),
                _ => item.get(name.as_str()),
            };
            let Some(next) = next else { break };
            let key = item.as_table_like().and_then(|table| table.get_key_value(name)).and_then(|(key, _)| key.span());
            span = next.span().filter(|_| item.is_array()).or(key).or(next.span()).or(span);
            item = next;
        }
        Some(self.file.text.get(..span?.start)?.matches('\n').count() + 1)
    }
}

/// What the file says. A problem names the line and does not show it: a secret may stand there.
fn parse(file: &ConfigFile) -> Result<Map<Profile, Dict>, ConfigProblem> {
    let problem = |origin, message: &str| {
        let message = format!("not TOML: {}", message.trim().replace('\n', ", "));
        ConfigProblem { origin, key: String::new(), message }
    };
    if let Err(error) = ImDocument::parse(file.text.as_str()) {
        let before = error.span().and_then(|span| file.text.get(..span.start)).unwrap_or_default();
        return Err(problem(format!("{}:{}", file.name, before.matches('\n').count() + 1), error.message()));
    }
    Toml::string(&file.text).data().map_err(|error| problem(file.name.clone(), &error.kind.to_string()))
}

/// The names as the file writes them, where it has them: variables are upper case and cannot hold a dash.
fn existing_names(dict: &Dict, path: &[String]) -> Vec<String> {
    let Some((name, rest)) = path.split_first() else { return Vec::new() };
    let plain = |name: &str| name.to_ascii_lowercase().replace('-', "_");
    let existing = dict.keys().find(|key| plain(key) == plain(name));
    let name = existing.cloned().unwrap_or_else(|| name.to_ascii_lowercase());
    let inner = dict.get(&name).and_then(Value::as_dict);
    let rest = inner
        .map_or_else(|| rest.iter().map(|name| name.to_ascii_lowercase()).collect(), |dict| existing_names(dict, rest));
    [vec![name], rest].concat()
}

/// What is said from outside for all roles holds for each, whatever the file says for one.
fn forget_in_roles(dict: &mut Dict, path: &[String]) {
    if !path.first().is_some_and(|table| OF_ROLES.contains(&table.as_str())) {
        return;
    }
    let Some(Value::Dict(_, roles)) = dict.get_mut("role") else { return };
    for role in roles.values_mut() {
        if let Value::Dict(_, role) = role {
            forget(role, path);
        }
    }
}

/// Takes out what is at `path`, and the tables that are empty then.
fn forget(dict: &mut Dict, path: &[String]) {
    let Some((name, rest)) = path.split_first() else { return };
    if let Some(Value::Dict(_, table)) = dict.get_mut(name).filter(|_| !rest.is_empty()) {
        forget(table, rest);
        if !table.is_empty() {
            return;
        }
    }
    dict.remove(name);
}

fn overlay(dict: Dict, one: &Override) -> Dict {
    let old = one.path.iter().try_fold(&Value::from(dict.clone()), |value, name| value.as_dict()?.get(name)).cloned();
    let value = one
        .path
        .iter()
        .rev()
        .fold(typed(one, old.as_ref()), |inner, name| Value::from(Dict::from([(name.clone(), inner)])));
    let Value::Dict(_, layer) = value else { return dict };
    let both = Figment::from(Layer(dict)).merge(Layer(layer));
    both.data().ok().and_then(|mut data| data.remove(&Profile::Default)).unwrap_or_default()
}

/// A variable's text as a value: text stays text where the file has text, and nothing ever becomes a binary float,
/// since it may be an amount of money. A password is what it is, and not the number it may look like.
fn typed(one: &Override, old: Option<&Value>) -> Value {
    let (text, is_password) = (one.value.as_str(), one.path.last().is_some_and(|name| name == "database_password"));
    if is_password || matches!(old, Some(Value::String(..))) {
        return Value::from(text);
    }
    match text.parse::<Value>() {
        Ok(Value::Num(_, Num::F32(_) | Num::F64(_))) => Value::from(text),
        Ok(value) => value,
        Err(never) => match never {},
    }
}

/// A ready dictionary as a figment provider.
struct Layer(Dict);

impl Provider for Layer {
    fn metadata(&self) -> figment::Metadata {
        figment::Metadata::named("ratebus")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.0.clone())]))
    }
}
