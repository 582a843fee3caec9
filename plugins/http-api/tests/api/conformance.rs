//! What every plugin must do: with a database that is there, and with one that takes connections and says nothing.

use std::path::Path;

use ratebus_conformance::{Plugin, plugin_suite};
use ratebus_http_api::HttpApi;
use serde_json::{Value, json};

use crate::harness::folder;

fn config(folder: &Path, database: &str) -> Value {
    json!({"listener": "http", "routes": ["rates", "accounts", "spreads", "page"], "migrate": true,
        "database": database, "signing_key_file": folder.join("jwt.key")})
}

mod database {
    use super::*;

    fn plugin() -> Plugin {
        let home = folder();
        Plugin::new(move |_| config(home.path(), home.database.url())).on("http")
    }

    plugin_suite!(sink HttpApi, plugin());
}

mod silent_database {
    use super::*;

    fn plugin() -> Plugin {
        let home = folder();
        Plugin::new(move |peer| config(home.path(), &format!("mysql://ratebus:secret@{peer}/ratebus"))).on("http")
    }

    plugin_suite!(sink HttpApi, plugin());
}
