use std::path::Path;

use super::Plugin;
use crate::{
    dynamic::{Dynamic, Refusal, Trial, load},
    registry::Entry,
};

/// Why the library of a plugin gives nothing.
pub(super) enum NoLibrary {
    /// The config is wrong, under which key of the plugin.
    Config(&'static str, String),
    /// The file is.
    Refused(Refusal),
}

impl Plugin {
    /// The component that `use` names in the plugin's library; `None` if it is built in.
    pub(super) fn load(
        &self,
        dir: Option<&Path>,
        allow_unpinned: bool,
        trial: Option<Trial>,
    ) -> Result<Option<Entry>, NoLibrary> {
        let wrong = |key, message: &str| Err(NoLibrary::Config(key, message.to_owned()));
        let Some(library) = &self.library else {
            return match (self.sha256, self.required) {
                (Some(_), _) => wrong("sha256", "is of a library: none is named"),
                (None, true) => wrong("required", "is for a library: what is built in is always there"),
                (None, false) => Ok(None),
            };
        };
        let Some(dir) = dir else { return wrong("library", "libraries are loaded from plugins.dir, which is not set") };
        if !is_bare(library) {
            return wrong("library", "expected the name of a file in plugins.dir, without a path");
        }
        if self.sha256.is_none() && !allow_unpinned {
            return wrong("sha256", "missing: `ratebus plugins hash FILE` prints it; or plugins.allow_unpinned = true");
        }
        let loaded = load(dir, library, self.sha256, &self.r#use, trial);
        let (component, sha256) = loaded.map_err(NoLibrary::Refused)?;
        Ok(Some(Entry::library(Dynamic { component, sha256, pinned: self.sha256.is_some() })))
    }
}

/// A component of a library that a config names, for people.
pub struct LibraryType {
    /// What `use` names it.
    pub name: String,
    /// The library's version; `-` if it cannot be used.
    pub version: String,
    /// The library and its hash, or why it cannot be used.
    pub origin: String,
}

impl LibraryType {
    pub(super) fn new(plugin: &Plugin, library: &str, found: Result<Option<Entry>, NoLibrary>) -> Self {
        let (version, origin) = match found {
            Ok(entry) => {
                let sha256 = entry.and_then(|entry| entry.dynamic()).map(|dynamic| dynamic.sha256.to_string());
                (entry.map_or("-", |entry| entry.version), format!("{library}, sha256 {}", sha256.unwrap_or_default()))
            }
            Err(NoLibrary::Config(key, message)) => ("-", format!("{library}: {key} {message}")),
            Err(NoLibrary::Refused(why)) => ("-", format!("{library}: refused ({}): {why}", why.as_str())),
        };
        Self { name: plugin.r#use.clone(), version: version.to_owned(), origin }
    }
}

fn is_bare(name: &str) -> bool {
    const LONGEST: usize = 200;
    !name.is_empty() && name.len() <= LONGEST && !name.starts_with('.') && !name.contains(['/', '\0'])
}
