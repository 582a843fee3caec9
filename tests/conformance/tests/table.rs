//! What docs/exchanges.md says of the sources that stream: that all are listed, and how many lines of code each takes.
#![allow(clippy::unwrap_used, reason = "what fails must fail the test")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The most lines for an exchange that has nothing special.
const MOST: usize = 120;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Lines of code: neither blank, nor comments, nor tests.
fn lines_of_code(text: &str) -> usize {
    let code = text.lines().take_while(|line| *line != "#[cfg(test)]").map(str::trim_start);
    code.filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

/// The sources and what the exchange takes of each: the files of their `src`, folders aside. Examples have none.
fn counted() -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    let plugins = fs::read_dir(project().join("plugins")).unwrap().map(Result::unwrap);
    for plugin in plugins.filter(|plugin| !plugin.file_name().to_string_lossy().starts_with("example-")) {
        let source = plugin.path().join("src");
        let main = fs::read_to_string(source.join("lib.rs")).unwrap_or_default();
        let Some((_, rest)) = main.split_once("impl Exchange for ").filter(|_| main.contains("stream::")) else {
            continue;
        };
        let name = rest.split_once("const TYPE: &'static str = \"").unwrap().1.split('"').next().unwrap();
        let files = fs::read_dir(source).unwrap().map(|file| file.unwrap().path()).filter(|file| file.is_file());
        counted.insert(name.to_owned(), files.map(|file| lines_of_code(&fs::read_to_string(file).unwrap())).sum());
    }
    counted
}

#[test]
fn the_table_lists_every_source_with_its_lines() {
    let text = fs::read_to_string(project().join("docs/exchanges.md")).unwrap();
    let section = text.split("## Followed over WebSockets").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `source/"));
    let listed: BTreeMap<String, usize> = rows
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            (cells[0].trim_matches('`').to_owned(), cells[cells.len() - 1].parse().unwrap())
        })
        .collect();
    assert_eq!(listed, counted());
}

#[test]
fn an_exchange_takes_few_lines() {
    // Kraken's announcements of maintenance and the states of its market are more than others have.
    for (name, lines) in counted().into_iter().filter(|(name, _)| name != "source/kraken") {
        assert!(lines <= MOST, "{name}: {lines}");
    }
}
