use std::{collections::BTreeSet, fs, process::Command};

use serde_json::Value;

use super::{assignments, compose, file, is_ours, others, ports, services, texts, tool};

#[test]
fn it_starts_without_variables_and_the_example_has_every_one_with_its_default() {
    let example = file(".env.example");
    let listed: BTreeSet<&str> = assignments(&example).into_iter().map(|(name, ..)| name).collect();
    let variables = tool("docker-compose", &["-f", "docker-compose.yml", "config", "--variables"]);
    let mut used: BTreeSet<&str> =
        variables.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    // Docker Compose's own.
    used.insert("COMPOSE_PROFILES");
    assert_eq!(listed, used);
    assert_eq!(compose("/dev/null"), compose(".env.example"));
}

#[test]
fn the_other_broker_and_database_of_the_example_are_services() {
    let (profiles, services) = others("secret");
    let environment = &services["user-api-service"]["environment"];
    assert_eq!(environment["RATEBUS_BUS__URL"], "nats://ratebus:secret@nats:4222");
    assert!(environment["RATEBUS_PLUGIN__API__CONFIG__DATABASE"].as_str().unwrap().contains("@postgres:5432/"));
    for profile in profiles {
        assert_eq!(texts(&services[&profile]["profiles"]), [&*profile]);
    }
}

#[test]
fn only_ratebus_is_reachable_from_outside_and_on_the_ports_it_listens_on() {
    let mut published = BTreeSet::new();
    for (name, service) in services() {
        let targets = service["ports"].as_array().into_iter().flatten().map(|port| port["target"].as_u64().unwrap());
        published.extend(targets);
        let is_inside =
            service["networks"].as_object().is_none_or(|networks| networks.keys().all(|name| name == "inside"));
        assert!(is_ours(&service) || (service["ports"].is_null() && is_inside), "{name} is reachable");
    }
    assert_eq!(published, ports());
    assert_eq!(compose("/dev/null")["networks"]["inside"]["internal"], true);
}

#[test]
fn every_volume_is_used_and_every_path_is_there() {
    let config = compose("/dev/null");
    // Docker Compose leaves out what nobody uses.
    let text = file("docker-compose.yml");
    let declared =
        text.split_once("\nvolumes:\n").unwrap().1.lines().filter_map(|line| line.trim().strip_suffix(": {}"));
    let mut used = BTreeSet::new();
    for (name, service) in config["services"].as_object().unwrap() {
        for mount in service["volumes"].as_array().into_iter().flatten() {
            let (source, target) = (mount["source"].as_str().unwrap(), mount["target"].as_str().unwrap());
            if mount["type"] == "bind" {
                assert!(fs::exists(source).unwrap(), "{name}: {source}");
            }
            used.insert(source.to_owned());
            // Where the images keep their data; every other place must be named.
            let is_data = ["/data", "/var/lib/mysql", "/var/lib/postgresql/data"].contains(&target);
            let says = [&service["environment"], &service["command"], &service["entrypoint"]].map(Value::to_string);
            assert!(is_data || says.concat().contains(target), "{name} does not use {target}");
        }
    }
    assert_eq!(declared.filter(|&name| !used.contains(name)).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn every_image_has_a_version_and_every_service_an_end() {
    for (name, service) in services() {
        let image = service["image"].as_str().unwrap();
        let tag = image.split_once(':').map(|(_, tag)| tag).unwrap_or_default();
        assert!(is_ours(&service) || tag.starts_with(|c: char| c.is_ascii_digit()), "{name}: {image}");
        assert_eq!(service["logging"]["options"]["max-size"], "10m", "{name} may fill the disk with its log");
        let is_service = service["restart"] == "unless-stopped";
        assert!(is_service || service["restart"] == "no", "{name}");
        // The image of ratebus brings its own check.
        assert!(!is_service || is_ours(&service) || service["healthcheck"]["test"].is_array(), "{name} has no health");
    }
}

#[test]
fn ratebus_knows_the_commands() {
    for (name, service) in services().into_iter().filter(|(_, service)| is_ours(service)) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ratebus"));
        let output = command.args(texts(&service["command"])).arg("--help").output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let file = file("docker-compose.yml");
    let shown = file.lines().filter_map(|line| line.strip_prefix("#   docker compose exec user-api-service ratebus "));
    for command in shown {
        let words = command.split_whitespace().take(2);
        let output = Command::new(env!("CARGO_BIN_EXE_ratebus")).args(words).arg("--help").output().unwrap();
        assert!(output.status.success(), "{command}");
    }
}
