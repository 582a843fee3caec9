//! Which files are loaded, and what becomes of the others.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown, symlink},
};

use super::{Bench, health, in_state, output, serves};

#[tokio::test]
async fn libraries_are_listed_and_checked() {
    let mut bench = Bench::new();
    let sha256 = bench.compile_example();
    bench.library("example", "source/example-c", "libexample.so", &sha256, "");
    let (code, out) = output(bench.launch(), &["plugins"]).await;
    assert_eq!(code, Some(0), "{out}");
    let line = out.lines().find(|line| line.starts_with("source/example-c")).unwrap();
    assert!(line.contains("0.1.0") && line.contains("libexample.so") && line.contains(&sha256), "{out}");
    assert_eq!(output(bench.launch(), &["check", "--role", "all"]).await.0, Some(0));

    let wrong = ["cents=1", "every_ms=1001", "pair=\"btc\""];
    let wrong = wrong.iter().fold(bench.launch(), |launch, set| launch.set(&format!("plugin.example.config.{set}")));
    let (code, out) = output(wrong, &["check"]).await;
    assert_eq!(code, Some(78), "{out}");
    for expected in [
        "cents: expected a whole number from 1000 to",
        "every_ms: expected a whole number from 1 to 1000",
        "pair: expected a pair such as \"BTC_USD\"",
    ] {
        assert!(out.contains(&format!("plugin.example.config.{expected}")), "{out}");
    }
    for every_ms in ["0", "-1", "1.5", "\"1\"", "99999999999999999"] {
        let wrong = bench.launch().set(&format!("plugin.example.config.every_ms={every_ms}"));
        let (code, out) = output(wrong, &["check"]).await;
        assert_eq!((code, out.contains("every_ms: expected a whole number")), (Some(78), true), "{every_ms}: {out}");
    }

    let zeros = "0".repeat(64);
    let wrong = bench.launch().set(&format!("plugin.example.sha256={zeros}"));
    let (code, out) = output(wrong, &["check"]).await;
    let expected = format!("plugin.example.library: refused (wrong_hash): its sha256 is {sha256}");
    assert_eq!((code, out.contains(&expected)), (Some(78), true), "{out}");
}

#[tokio::test]
async fn how_a_library_is_named_is_checked_before_anything_starts() {
    let mut bench = Bench::new();
    let sha256 = bench.compile_example();
    bench.library("example", "source/example-c", "libexample.so", &sha256, "");
    for (set, expected) in [
        (
            "plugin.example.library=../libexample.so",
            "plugin.example.library: expected the name of a file in plugins.dir",
        ),
        ("plugin.example.library=/lib/libexample.so", "plugin.example.library: expected the name of a file"),
        ("plugin.example.library=..", "plugin.example.library: expected the name of a file"),
        ("plugin.example.sha256=abc", "plugin.example.sha256: expected 64 hexadecimal digits"),
        ("plugin.rates-http.required=true", "plugin.rates-http.required: is for a library"),
    ] {
        let (code, out) = output(bench.launch().set(set), &["run"]).await;
        assert_eq!((code, out.contains(expected)), (Some(78), true), "{set}: {out}");
    }
    let mut unset = Bench::new();
    unset.compile_example();
    unset.plugin("example", r#"use="source/example-c",library="libexample.so""#);
    let (code, out) = unset.fails().await;
    assert_eq!((code, out.contains("plugin.example.sha256: missing")), (Some(78), true), "{out}");

    let ratebus = unset.launch().set("plugins.allow_unpinned=true").start().await;
    ratebus.ready("exchange-rate").await;
    assert!(ratebus.logged("the library of example may be any").await.contains(&sha256));
    assert!(in_state(&ratebus, "example", "degraded").await.contains("no sha256 is set"));
    serves(&ratebus, "BTC_USD").await;
}

#[tokio::test]
async fn a_library_that_cannot_be_used_is_left_out_and_the_rest_serves() {
    let mut bench = Bench::new();
    let sha256 = bench.compile_example();
    let whole = fs::read(bench.path("libexample.so")).unwrap();
    bench.library("example", "source/example-c", "libexample.so", &sha256, "");
    let mut broken = Vec::new();
    let mut broken_library = |bench: &mut Bench, reason: &'static str, name: &str, file: &str, sha256: &str| {
        bench.library(name, "source/misbehaving", file, sha256, "");
        broken.push((name.to_owned(), reason));
    };

    let half = bench.write("libhalf.so", &whole[..whole.len() / 2]);
    broken_library(&mut bench, "truncated", "half", "libhalf.so", &half);
    let header = bench.write("libheader.so", &whole[..40]);
    broken_library(&mut bench, "truncated", "header", "libheader.so", &header);
    let mut foreign = whole.clone();
    foreign[18] ^= 0xff;
    let foreign = bench.write("libforeign.so", &foreign);
    broken_library(&mut bench, "wrong_architecture", "foreign", "libforeign.so", &foreign);
    let text = bench.write("libtext.so", b"#!/bin/sh\nexit 1\n");
    broken_library(&mut bench, "not_a_library", "text", "libtext.so", &text);
    let program = bench.write("libprogram.so", &fs::read("/proc/self/exe").unwrap()[..4096]);
    broken_library(&mut bench, "truncated", "program", "libprogram.so", &program);
    for (reason, name, flag) in [
        ("missing_symbol", "symbol", "-DSYMBOL=another_name"),
        ("wrong_version", "version", "-DMAJOR=2"),
        ("not_a_plugin", "magic", "-DMAGIC=7"),
        ("malformed", "size", "-DSIZE=8"),
        ("malformed", "type", "-DTYPE=\"misbehaving\""),
        ("missing_component", "other", "-DTYPE=\"source/other\""),
        ("not_loaded", "needs", "-DNEEDS"),
    ] {
        let file = format!("lib{name}.so");
        let sha256 = bench.compile_misbehaving(&file, &[flag]);
        broken_library(&mut bench, reason, name, &file, &sha256);
    }
    broken_library(&mut bench, "wrong_hash", "hash", "libversion.so", &sha256);
    broken_library(&mut bench, "unreadable", "absent", "libabsent.so", &sha256);
    symlink("libexample.so", bench.path("liblink.so")).unwrap();
    broken_library(&mut bench, "symlink", "link", "liblink.so", &sha256);
    fs::create_dir(bench.path("libfolder.so")).unwrap();
    broken_library(&mut bench, "not_a_file", "folder", "libfolder.so", &sha256);
    bench.write("libopen.so", &whole);
    fs::set_permissions(bench.path("libopen.so"), Permissions::from_mode(0o664)).unwrap();
    broken_library(&mut bench, "writable_by_others", "open", "libopen.so", &sha256);
    bench.write("libowned.so", &whole);
    // Only root can give a file away.
    if chown(bench.path("libowned.so"), Some(12345), None).is_ok() {
        broken_library(&mut bench, "foreign_owner", "owned", "libowned.so", &sha256);
    }

    let ratebus = bench.launch().start().await;
    serves(&ratebus, "BTC_USD").await;
    for (name, reason) in &broken {
        let (state, words) = health(&ratebus, name).await;
        assert_eq!(
            (state.as_str(), words.contains(&format!("refused ({reason})"))),
            ("failed", true),
            "{name}: {words}"
        );
        let line = ratebus.logged(&format!("plugin.{name}.library: refused ({reason})")).await;
        assert!(line.contains("\"event\":\"library_refused\"") && line.contains("everything else goes on"), "{line}");
        let label = format!("plugin=\"{name}\",reason=\"{reason}\"");
        assert_eq!(ratebus.metric_of("ratebus_libraries_refused_total", &label).await, 1, "{label}");
    }
    let ready = reqwest::get(format!("{}/readyz", ratebus.url("exchange-rate"))).await.unwrap();
    assert_eq!(ready.status(), 503, "a plugin that was asked for is missing");

    let (code, out) = output(bench.launch(), &["check", "--role", "all"]).await;
    assert_eq!(code, Some(78));
    for (name, reason) in &broken {
        assert!(out.contains(&format!("plugin.{name}.library: refused ({reason})")), "{name}: {out}");
    }
    let (code, out) = output(bench.launch().set("plugin.half.required=true"), &["run"]).await;
    assert_eq!((code, out.contains("plugin.half.library: refused (truncated)")), (Some(78), true), "{out}");
}

#[tokio::test]
async fn a_folder_that_others_can_write_is_not_used() {
    let mut bench = Bench::new();
    let sha256 = bench.compile_example();
    bench.library("example", "source/example-c", "libexample.so", &sha256, ",required=true");
    for (folder, mode) in [("libraries", 0o775), ("libraries", 0o757), ("libraries", 0o1777), ("", 0o777)] {
        let folder = bench.launch.folder().join(folder);
        let before = fs::metadata(&folder).unwrap().permissions();
        fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        let (code, out) = bench.fails().await;
        assert_eq!((code, out.contains("refused (writable_by_others)")), (Some(78), true), "{mode:o}: {out}");
        fs::set_permissions(&folder, before).unwrap();
    }
    // Where others can add files and not touch ours, as in /tmp.
    fs::set_permissions(bench.launch.folder(), Permissions::from_mode(0o1777)).unwrap();
    assert_eq!(output(bench.launch(), &["check", "--role", "all"]).await.0, Some(0));
}

#[tokio::test]
async fn a_library_that_hangs_or_crashes_while_it_is_loaded_never_comes_in() {
    let mut bench = Bench::new();
    let mut broken = Vec::new();
    for (file, flag, reason) in [
        ("libhangs.so", "-DHANG", "refused (hangs): `dlopen` does not return"),
        ("libcrashes.so", "-DCRASH", "refused (crashes): a process that loads it does not live: signal: 6"),
    ] {
        let sha256 = bench.compile_misbehaving(file, &[flag]);
        // The second of the same file is not waited for again.
        for number in 1..=2 {
            let name = format!("{}-{number}", file.trim_end_matches(".so"));
            bench.library(&name, "source/misbehaving", file, &sha256, "");
            broken.push((name, reason));
        }
    }
    let sha256 = bench.compile_example();
    bench.library("example", "source/example-c", "libexample.so", &sha256, "");
    let ratebus = bench.launch().start().await;
    serves(&ratebus, "BTC_USD").await;
    for (name, reason) in &broken {
        let words = in_state(&ratebus, name, "failed").await;
        assert!(words.starts_with(reason), "{name}: {words}");
        let label = format!("plugin=\"{name}\",");
        assert_eq!(ratebus.metric_of("ratebus_libraries_refused_total", &label).await, 1, "{label}");
    }
    ratebus.signal("TERM");
    let (status, log) = ratebus.exited().await;
    assert_eq!(status.code(), Some(0), "{log:?}");

    let mut bench = Bench::new();
    let sha256 = bench.compile_misbehaving("liblast.so", &["-DHANG_AT_THE_END"]);
    bench.library("last", "source/misbehaving", "liblast.so", &sha256, "");
    let (code, out) = output(bench.launch(), &["check", "--role", "all"]).await;
    assert_eq!((code, out.contains("plugin.last.library: refused (hangs)")), (Some(78), true), "{out}");
}
