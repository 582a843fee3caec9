use std::{collections::BTreeMap, fs, process::Command};

use super::file;

const UNIT: &str = "contrib/systemd/ratebus@.service";

#[test]
fn the_service_is_kept_in_its_sandbox() {
    let unit = file(UNIT);
    let settings = unit.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    let settings: BTreeMap<&str, &str> = settings.collect();
    for (key, value) in [
        ("ExecStart", "/usr/local/bin/ratebus --role %i"),
        ("User", "ratebus"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("StateDirectory", "ratebus/%i"),
        ("WorkingDirectory", "%S/ratebus/%i"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
        // The exit codes after which another try would be the same.
        ("RestartPreventExitStatus", "2 78"),
    ] {
        assert_eq!(settings.get(key), Some(&value), "{key}");
    }
}

#[test]
fn systemd_understands_the_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("SKIPPED: there is no systemd-analyze");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ratebus@all.service");
    // It looks whether the program is there.
    fs::write(&path, file(UNIT).replace("/usr/local/bin/ratebus", env!("CARGO_BIN_EXE_ratebus"))).unwrap();
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    // Of other units it may tell what it likes.
    assert!(output.status.success() && !told.contains("ratebus@"), "{told}");
}
