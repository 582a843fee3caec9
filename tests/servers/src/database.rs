use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{Client, Kind, Server};

/// A new, empty database that belongs to one test.
pub struct Database {
    url: String,
    place: Place,
}

enum Place {
    File(PathBuf),
    Server(Arc<Server>, String),
}

impl Database {
    /// A file in `folder`, which is made when it is opened.
    pub fn file(folder: &Path) -> Self {
        let path = folder.join("data/ratebus.db");
        Self { url: format!("sqlite://{}", path.display()), place: Place::File(path) }
    }

    /// One on a server, with a user of its own name who may do everything in it.
    pub fn on(server: &Arc<Server>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let scheme = if server.kind == Kind::MariaDb {
            let make = format!(
                "CREATE DATABASE {name}; CREATE USER {name}@'127.0.0.1'; GRANT ALL ON {name}.* TO {name}@'127.0.0.1'"
            );
            server.sql(None, &make);
            "mysql"
        } else {
            server.sql(None, &format!("CREATE ROLE {name} LOGIN"));
            server.sql(None, &format!("CREATE DATABASE {name} OWNER {name} TEMPLATE template0"));
            "postgres"
        };
        let url = format!("{scheme}://{name}@127.0.0.1:{}/{name}", server.port);
        Self { url, place: Place::Server(Arc::clone(server), name) }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The name it has on its server.
    pub fn name(&self) -> &str {
        if let Place::Server(_, name) = &self.place { name } else { "ratebus" }
    }

    /// Connects, to look at what is stored.
    pub async fn client(&self) -> Client {
        Client::connect(&self.url).await
    }

    /// Nobody can use it any more, until [`Database::show`].
    pub fn hide(&self) {
        match &self.place {
            Place::File(path) => fs::rename(path, path.with_extension("away")).expect("the file is there"),
            Place::Server(server, name) if server.kind == Kind::MariaDb => {
                server.sql(None, &format!("ALTER USER {name}@'127.0.0.1' ACCOUNT LOCK; KILL USER {name}@'127.0.0.1'"));
            }
            Place::Server(server, name) => {
                server.sql(None, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
                let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
                server.sql(None, &end);
            }
        }
    }

    /// It is back.
    pub fn show(&self) {
        match &self.place {
            Place::File(path) => fs::rename(path.with_extension("away"), path).expect("the file is there"),
            Place::Server(server, name) if server.kind == Kind::MariaDb => {
                server.sql(None, &format!("ALTER USER {name}@'127.0.0.1' ACCOUNT UNLOCK"));
            }
            Place::Server(server, name) => {
                server.sql(None, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
            }
        }
    }
}
