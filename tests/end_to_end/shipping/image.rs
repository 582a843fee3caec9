use std::{collections::BTreeSet, fs, process::Command};

use super::{file, is_root, ports, tool};
use crate::harness::{Launch, in_project};

/// The arguments of every such instruction.
fn instructions<'a>(dockerfile: &'a str, name: &str) -> Vec<&'a str> {
    dockerfile.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).collect()
}

#[test]
fn the_recipe_is_clean_and_says_what_the_project_says() {
    tool("hadolint", &["Dockerfile"]);
    let recipe = file("Dockerfile");
    let toolchain = file("rust-toolchain.toml");
    let version = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap().trim_matches('"');
    let bases = instructions(&recipe, "FROM");
    assert_eq!(bases, [&*format!("rust:{version}-slim-bookworm AS build"), "debian:bookworm-slim"]);
    let user: u32 = instructions(&recipe, "USER")[0].split(':').next().unwrap().parse().unwrap();
    assert_ne!(user, 0);
    assert!(file("docker/secrets.sh").contains(&format!("\nratebus={user}\n")), "who reads the bus' key");
    let exposed =
        instructions(&recipe, "EXPOSE")[0].split(' ').map(|port| port.parse().unwrap()).collect::<BTreeSet<u64>>();
    assert_eq!(exposed, ports());
    assert!(recipe.contains(&format!("image.version=\"{}\"", env!("CARGO_PKG_VERSION"))), "the version's label");
    assert!(
        recipe.contains(&format!("image.description=\"{}\"", env!("CARGO_PKG_DESCRIPTION"))),
        "the description's label"
    );
    let check = recipe.lines().find_map(|line| line.strip_prefix("HEALTHCHECK")?.split_once(" CMD ")).unwrap().1;
    let check: Vec<String> = serde_json::from_str(check).unwrap();
    assert_eq!(check, ["ratebus", "health"]);
}

/// What a container of the image is like: its user, a root that is read only, nothing in it but the program and its
/// libraries, and `/data`.
const CONTAINER: &str = r#"
mkdir -p root/data
cp --parents "$0" $(ldd "$0" | grep -o '/[^ ]*') root
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec unshare --mount sh -ec '
    mount --bind root root
    mount -o remount,bind,ro root
    mount -t tmpfs -o mode=700,uid=10001,gid=10001 data root/data
    exec chroot --userspec=10001:10001 root "$0" "$@"
' "$0" "$@"
"#;

#[tokio::test]
async fn it_runs_as_a_stranger_on_a_read_only_root_with_one_folder_to_write_to() {
    let may_mount = Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
    if !is_root() || !may_mount {
        println!("SKIPPED: it needs the right to mount");
        return;
    }
    let launch = Launch::as_configured().variable("RATEBUS_ROLE", "demo").shell(CONTAINER);
    let ratebus = launch.start().await;
    ratebus.ready("user-api").await;
    ratebus.ready("exchange-rate").await;
    let account = serde_json::json!({
        "firstName": "Ann", "lastName": "Other", "email": "ann@example.com",
        "password": "a long passphrase", "confirmPassword": "a long passphrase",
    });
    let url = format!("{}/register", ratebus.url("user-api"));
    assert_eq!(reqwest::Client::new().post(url).json(&account).send().await.unwrap().status(), 200);
    ratebus.signal("TERM");
    let (status, log) = ratebus.exited().await;
    assert!(status.success(), "{}", log.join("\n"));
}

#[test]
fn the_build_gets_all_it_reads_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let ignored = file(".dockerignore");
    let listed: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignored.lines().any(|line| line == "*"), "nothing comes along that is not listed");
    let copied = Command::new("cp")
        .arg("-r")
        .arg("--parents")
        .args(&listed)
        .arg(folder.path())
        .current_dir(in_project(""))
        .status();
    assert!(copied.unwrap().success());
    // Every member of the workspace has its manifest and its sources.
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--offline", "--locked", "--no-deps", "--format-version=1"]).current_dir(folder.path());
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // What sources embed from other folders.
    let embedded = embedded(&["bus", "core", "plugins"]);
    assert!(embedded.contains("docs/asyncapi.json") && embedded.contains("plugins.toml"), "{embedded:?}");
    for path in embedded {
        assert!(folder.path().join(&path).exists(), "{path} is not among what the build gets");
    }
}

/// Files outside of their crates that are part of the build, as paths from the project's root.
fn embedded(folders: &[&str]) -> BTreeSet<String> {
    let mut command = Command::new("grep");
    command.args(["-rEoh", "include_(str|bytes)!\\(\"(\\.\\./)+[^\"]+\"", "--include=*.rs"]).args(folders);
    let found = String::from_utf8(command.current_dir(in_project("")).output().unwrap().stdout).unwrap();
    let paths =
        found.lines().filter_map(|line| line.split('"').nth(1)).map(|path| path.trim_start_matches("../").to_owned());
    let of_tests = ["docs/api.md", "docs/messages.md", "docs/plugins.md"];
    paths.filter(|path| fs::exists(in_project(path)).unwrap() && !of_tests.contains(&path.as_str())).collect()
}
