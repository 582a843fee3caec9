//! `ratebus plugin new`: a crate with a source that compiles, passes the tests of sources and runs. It is a copy of an
//! example of `plugins/`, under another name.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use ratebus_sdk::model::SourceName;

use crate::{builtin::COMPONENTS, cli::NewPlugin};

/// An example, and its files beside the manifest: paths and texts.
struct Template {
    name: &'static str,
    manifest: &'static str,
    files: &'static [(&'static str, &'static str)],
}

macro_rules! template {
    ($name:literal, $($file:literal),* $(,)?) => {
        Template {
            name: $name,
            manifest: include_str!(concat!("../../plugins/", $name, "/manifest.toml")),
            files: &[$(($file, include_str!(concat!("../../plugins/", $name, "/", $file)))),*],
        }
    };
}

const HTTP: Template = template!(
    "example-http",
    ".gitignore",
    "README.md",
    "examples/library.rs",
    "examples/toy_http.rs",
    "plugins.toml",
    "src/lib.rs",
    "tests/exchange/mod.rs",
    "tests/conformance.rs",
);

const WEBSOCKET: Template = template!(
    "example-websocket",
    ".gitignore",
    "README.md",
    "examples/library.rs",
    "examples/toy_websocket.rs",
    "plugins.toml",
    "src/lib.rs",
    "tests/conformance.rs",
    "tests/exchange/mod.rs",
);

/// How an exchange can speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// It sends prices over a WebSocket
    Websocket,
    /// It is asked for prices over HTTP
    Http,
}

impl Kind {
    fn template(self) -> &'static Template {
        match self {
            Self::Websocket => &WEBSOCKET,
            Self::Http => &HTTP,
        }
    }
}

/// What a plugin may be called: its name is part of a type, a crate, a library and a Rust type.
#[derive(Debug, Clone)]
pub(crate) struct PluginName(String);

impl PluginName {
    /// For the command line.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_name = text.parse::<SourceName>().is_ok()
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(allowed)
            && text.split('-').all(|word| !word.is_empty());
        if !is_name {
            return Err(
                "expected at most 32 lower-case letters and digits, a letter first, with single dashes between words",
            );
        }
        Ok(Self(text.to_owned()))
    }

    /// As Rust names a type.
    fn camel(&self) -> String {
        let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
        self.0.split('-').map(capital).collect()
    }
}

/// Writes the crate; its folder.
pub(crate) fn write(new: &NewPlugin) -> Result<PathBuf> {
    let NewPlugin { name, kind, sdk, into } = new;
    let checkout = match sdk {
        Some(path) => checkout(path)?,
        None => surrounding(&env::current_dir()?)?,
    };
    let lock = fs::read_to_string(checkout.join("Cargo.lock")).context("the checkout's Cargo.lock")?;
    let (source, package) = (format!("source/{}", name.0), format!("ratebus-{}", name.0));
    ensure!(!COMPONENTS.entries().iter().any(|entry| entry.name == source), "{source} is built in: name it otherwise");
    ensure!(!lock.contains(&format!("name = {package:?}\n")), "ratebus has a crate {package}: name it otherwise");

    let parent = into.canonicalize().with_context(|| format!("--into {}", into.display()))?;
    let folder = parent.join(&name.0);
    let template = kind.template();
    let manifest = fill(template, name, template.manifest).replace("@checkout@", &path_to(&checkout, &folder)?);
    fs::create_dir(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    put(&folder, "Cargo.toml", &manifest)?;
    // The versions that the SDK is tested with. Cargo leaves out what is not used here.
    put(&folder, "Cargo.lock", &lock)?;
    for (path, text) in template.files {
        put(&folder, path, &fill(template, name, text))?;
    }
    Ok(folder)
}

/// A text of a template under another name.
fn fill(template: &Template, name: &PluginName, text: &str) -> String {
    let example = PluginName(template.name.to_owned());
    text.replace(&example.0, &name.0)
        .replace(&example.0.replace('-', "_"), &name.0.replace('-', "_"))
        .replace(&example.camel(), &name.camel())
}

fn put(folder: &Path, path: &str, text: &str) -> Result<()> {
    let path = folder.join(path);
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(&path, text)
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

/// The folder where the sources of ratebus are, which must be there.
fn checkout(path: &Path) -> Result<PathBuf> {
    let manifest = path.join("core/sdk/Cargo.toml");
    ensure!(manifest.is_file(), "{} is no checkout of ratebus: there is no {}", path.display(), manifest.display());
    path.canonicalize().with_context(|| path.display().to_string())
}

/// The checkout that a folder lies in.
fn surrounding(folder: &Path) -> Result<PathBuf> {
    match folder.ancestors().find_map(|folder| checkout(folder).ok()) {
        Some(checkout) => Ok(checkout),
        None => bail!("{} is in no checkout of ratebus: name one with --sdk PATH", folder.display()),
    }
}

/// The way to the checkout from a folder, as it stands between the quotes of a manifest: relative within the checkout.
fn path_to(checkout: &Path, folder: &Path) -> Result<String> {
    let path = if let Ok(inside) = folder.strip_prefix(checkout) {
        vec![".."; inside.iter().count()].join("/")
    } else {
        checkout.to_str().with_context(|| format!("{} is no Unicode", checkout.display()))?.to_owned()
    };
    let quoted = serde_json::Value::from(path).to_string();
    Ok(quoted.trim_matches('"').to_owned())
}
