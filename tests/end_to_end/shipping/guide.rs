//! What `docs/operations.md` and `docs/plugins.md` name is there.

use std::{collections::BTreeSet, fs, process::Command};

use super::file;
use crate::harness::in_project;

const GUIDE: &str = "docs/operations.md";
const AUTHORS: &str = "docs/plugins.md";

/// Names of metrics: in the guide, or in the sources.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
    words.filter(|word| word.starts_with("ratebus_")).map(str::to_owned).collect()
}

#[test]
fn every_key_of_the_config_that_it_names_exists() {
    let (guide, config) = (file(GUIDE), file("plugins.toml"));
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let keys: BTreeSet<&str> = config.split(|c| !is_name(c)).collect();
    // Tables of the database, an event of the log, a file, a program.
    let others = ["refresh_tokens", "spread_audit", "token_reuse", "compose.override.yaml", "pg_restore"];
    let quoted = guide.split('`').skip(1).step_by(2);
    // Of `bus.backend` the last part; a single word may be anything.
    let names = quoted.filter(|text| text.contains(['_', '.']) && text.chars().all(|c| is_name(c) || c == '.'));
    let names = names.filter(|name| !name.starts_with("ratebus") && !others.contains(name));
    let missing: Vec<&str> = names.filter(|name| !keys.contains(name.rsplit('.').next().unwrap())).collect();
    assert_eq!(missing, [""; 0], "no keys of plugins.toml");
}

#[test]
fn every_metric_is_explained() {
    let mut grep = Command::new("grep");
    grep.args(["-rEoh", "\"ratebus_[a-z_]+\"", "--include=*.rs"]);
    grep.args(["core/src", "core/sdk/src", "bus/src", "bus/link/src"]);
    let plugins = fs::read_dir(in_project("plugins")).unwrap();
    grep.args(plugins.map(|plugin| plugin.unwrap().path().join("src")));
    let output = grep.current_dir(in_project("")).output().unwrap();
    let known = metrics(&String::from_utf8(output.stdout).unwrap());
    let told = metrics(&file(GUIDE));
    assert_eq!(told.symmetric_difference(&known).collect::<Vec<_>>(), [""; 0], "told of and not there, or the reverse");
}

#[test]
fn every_link_leads_somewhere() {
    for guide in [GUIDE, AUTHORS] {
        let guide = file(guide);
        let targets = guide.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for target in targets.filter(|target| !target.is_empty()) {
            assert!(in_project("docs").join(target).exists(), "{target}");
        }
    }
}

#[test]
fn what_the_authors_guide_shows_of_a_file_stands_there() {
    let guide = file(AUTHORS);
    let excerpts: Vec<&str> = guide.split("\nFrom [`").skip(1).collect();
    assert!(!excerpts.is_empty());
    for excerpt in excerpts {
        let path = excerpt.split('`').next().unwrap();
        let block = excerpt.split("\n```").nth(1).unwrap().split_once('\n').unwrap().1;
        assert!(file(path).contains(block), "not in {path}:\n{block}");
    }
}
