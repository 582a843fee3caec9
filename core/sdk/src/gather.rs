//! Everything that is wrong with a part of the config, at once.

use figment::{
    error::{Error, Kind},
    value::{Dict, Value},
};
use serde::de::DeserializeOwned;

use crate::ConfigError;

/// More wrong keys than anybody wants to read at once.
const MOST: usize = 50;

/// A wrong key and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The names of the tables around it, and its own.
    pub path: Vec<String>,
    /// What is wrong and what was expected. Never a secret's value.
    pub message: String,
}

/// Reads a component's config.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_config<T: DeserializeOwned>(value: &Value) -> Result<T, ConfigError> {
    read(value).map_err(|faults| {
        let mut error = ConfigError::default();
        for fault in faults {
            error.add(fault.path.join("."), fault.message);
        }
        error
    })
}

/// Reads `value` as a `T`, or says everything that is wrong with it.
///
/// Serde stops at the first error. So the key at fault is taken out and the rest is read again, until only what is
/// missing can be wrong.
///
/// # Errors
/// At least one fault.
pub fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Vec<Fault>> {
    let mut value = value.clone();
    let mut faults: Vec<Fault> = Vec::new();
    loop {
        let error = match value.deserialize::<T>() {
            Ok(read) if faults.is_empty() => return Ok(read),
            Ok(_) => return Err(faults),
            Err(error) => error,
        };
        let fault = Fault { path: path_of(&error), message: message_of(&error) };
        // What was taken out because it, or something in it, was wrong is now missing: then the table around it goes.
        let known = faults.iter().any(|known| known.path.starts_with(&fault.path));
        let culprit = if known { &fault.path[..fault.path.len().saturating_sub(1)] } else { &fault.path };
        let removed = remove(&mut value, culprit);
        if !known {
            faults.push(fault);
        }
        if !removed || faults.len() == MOST {
            return Err(faults);
        }
    }
}

/// Serde names a missing field in the error, not in the path.
fn path_of(error: &Error) -> Vec<String> {
    let mut path = error.path.clone();
    if let Kind::MissingField(field) = &error.kind {
        path.push(field.to_string());
    }
    path
}

fn message_of(error: &Error) -> String {
    let secret = error.path.last().is_some_and(|key| is_secret(key));
    match &error.kind {
        Kind::UnknownField(_, []) => "unknown key; none is expected here".to_owned(),
        Kind::UnknownField(_, known) => format!("unknown key; expected one of: {}", known.join(", ")),
        Kind::MissingField(_) => "missing".to_owned(),
        Kind::UnknownVariant(given, known) => format!("{given:?} is not one of: {}", known.join(", ")),
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) if secret => {
            format!("expected {}", in_toml(expected))
        }
        Kind::InvalidType(given, expected) | Kind::InvalidValue(given, expected) => {
            format!("found {given}, expected {}", in_toml(expected))
        }
        Kind::Message(_) if secret => "not valid".to_owned(),
        Kind::Message(message) => message.clone(),
        other => other.to_string(),
    }
}

/// What serde expected, in the words of the file's format.
fn in_toml(expected: &str) -> &str {
    match expected {
        "a map" => "a table",
        "a sequence" => "a list",
        one if one.starts_with("struct ") => "a table",
        one => one,
    }
}

/// Whether a key's value must not be shown.
fn is_secret(key: &str) -> bool {
    ["password", "secret", "token", "key", "database"].iter().any(|word| key.contains(word))
}

/// Takes the value at `path` out. An element of a list takes the whole list with it, so that no index shifts.
fn remove(value: &mut Value, path: &[String]) -> bool {
    let Some((key, rest)) = path.split_first() else { return false };
    let Value::Dict(_, dict) = value else { return false };
    remove_from(dict, key, rest)
}

fn remove_from(dict: &mut Dict, key: &str, rest: &[String]) -> bool {
    let Some(inner) = dict.get_mut(key) else { return false };
    (!rest.is_empty() && remove(inner, rest)) || dict.remove(key).is_some()
}
