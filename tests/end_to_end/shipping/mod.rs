//! What ships ratebus, as far as that goes without a container engine: the image's recipe, the services of
//! `docker-compose.yml`, the unit of systemd, and what the operators' guide names.

mod compose;
mod guide;
mod image;
mod running;
mod unit;

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt, process::Command};

use serde_json::{Map, Value};

use crate::harness::in_project;

/// A file of the project.
fn file(path: &str) -> String {
    fs::read_to_string(in_project(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs a program that `tests/run` installs; what it prints, once it succeeds.
fn tool(name: &str, args: &[&str]) -> String {
    let program = in_project(".tools/venv/bin").join(name);
    let output = Command::new(&program).args(args).current_dir(in_project("")).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}; tests/run installs it", program.display()));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{name} {args:?}:\n{}{}", text(output.stdout), text(output.stderr));
    text(output.stdout)
}

/// `docker-compose.yml` as Docker Compose understands it, with every profile and the variables of a file.
fn compose(variables: &str) -> Value {
    let args = ["--env-file", variables, "-f", "docker-compose.yml", "--profile", "*", "config", "--format", "json"];
    serde_json::from_str(&tool("docker-compose", &args)).unwrap()
}

/// The services, without a `.env`.
fn services() -> Map<String, Value> {
    compose("/dev/null")["services"].as_object().unwrap().clone()
}

/// Assignments of a file of variables, also those that are commented out.
fn assignments(text: &str) -> Vec<(&str, &str, bool)> {
    let lines = text.lines().map(|line| (line.trim_start_matches("# "), line.starts_with('#')));
    let split =
        lines.filter_map(|(line, is_comment)| line.split_once('=').map(|(name, value)| (name, value, is_comment)));
    split.filter(|(name, ..)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_')).collect()
}

/// The profiles that `.env.example` has commented out, and the services with what it says beside them.
fn others(password: &str) -> (Vec<String>, Map<String, Value>) {
    let example = file(".env.example");
    let others = assignments(&example).into_iter().filter(|(.., is_comment)| *is_comment);
    let others: Vec<String> = others.map(|(name, value, _)| format!("{name}={value}")).collect();
    let profiles = others.iter().find_map(|line| line.strip_prefix("COMPOSE_PROFILES=")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("env");
    fs::write(&path, format!("BUS_PASSWORD={password}\n{}", others.join("\n"))).unwrap();
    let services = compose(path.to_str().unwrap())["services"].as_object().unwrap().clone();
    (profiles.split(',').map(str::to_owned).collect(), services)
}

/// Whether a service is ratebus itself, and not one that it needs.
fn is_ours(service: &Value) -> bool {
    service["build"].is_object()
}

/// Whether the tests may do everything.
fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The texts of a list.
fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The ports that the shipped config listens on for clients.
fn ports() -> BTreeSet<u64> {
    let config = file("plugins.toml");
    config
        .lines()
        .filter_map(|line| line.strip_prefix("listen = \"0.0.0.0:")?.split('"').next()?.parse().ok())
        .collect()
}
