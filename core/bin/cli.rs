use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use hyper::Uri;
use ratebus_core::config::Override;

use crate::new_plugin::{Kind, PluginName};

/// Streams live exchange rates, adds the spread an administrator sets, and lets everyone see it at once.
#[derive(Debug, Parser)]
#[command(
    name = "ratebus",
    version,
    after_help = "\
Without a command it runs. Without --config it reads ./plugins.toml, or the built-in config.

Exit codes:
   0  done, or stopped with everything finished
   1  failed: a port is taken, a command could not do its work, the shutdown grace ran out
   2  wrong arguments
  78  the config is wrong

Examples:
  ratebus                                  everything in one process, live rates from Kraken
  ratebus demo                             the same from a recording: no network, no database kept
  ratebus --role exchange-rate             one role of the config
  ratebus --set listener.user-api.listen=127.0.0.1:4000
  ratebus admin create --email me@example.com < password.txt"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Where the config comes from.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigArgs {
    /// The config file
    #[arg(long, global = true, env = "RATEBUS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The role to play, instead of the file's runtime.role
    #[arg(long, global = true, env = "RATEBUS_ROLE", value_name = "NAME")]
    pub(crate) role: Option<String>,
    /// Overrides one key: listener.user-api.listen=127.0.0.1:4000; wins over RATEBUS_* variables
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = set)]
    pub(crate) set: Vec<Override>,
}

fn set(text: &str) -> Result<Override, &'static str> {
    Override::from_set(text).ok_or("expected KEY=VALUE, such as log.filter=debug")
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Command {
    /// Run a role until SIGINT or SIGTERM (the default)
    Run,
    /// Run everything from a recording, with the built-in config: no network, a temporary database, an admin made for you
    Demo,
    /// Check the config, every role of it or the one named with --role, and start nothing
    Check,
    /// Ask the running process of this config and role whether it is ready: exit code 0 if it is, 1 and the reason if not
    Health {
        /// Where it is asked, instead of the config's metrics.listen: `http://127.0.0.1:9090`
        #[arg(long)]
        url: Option<Uri>,
    },
    /// List the plugin types, built in and of the config's libraries, their versions and where they come from
    #[command(visible_alias = "plugin")]
    Plugins {
        #[command(subcommand)]
        command: Option<PluginsCommand>,
    },
    /// Bring the database's schema up to date
    Migrate {
        /// Only say what would be done
        #[arg(long)]
        status: bool,
    },
    /// Make demo users and an admin with generated passwords, printed once
    Seed,
    /// Manage administrators
    #[command(subcommand)]
    Admin(AdminCommand),
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum PluginsCommand {
    /// Print the SHA-256 of a library, as plugin.NAME.sha256 wants it
    Hash {
        /// The library
        file: PathBuf,
    },
    /// Load the library on the standard input, and end: whether that works is found out before one is used
    #[command(hide = true)]
    Try,
    /// Write a crate with a source that compiles, passes its tests and runs, to be filled in: docs/plugins.md
    New(NewPlugin),
}

/// What a new plugin is to be.
#[derive(Debug, Clone, Args)]
pub(crate) struct NewPlugin {
    /// Its name: `acme` makes source/acme, in the crate ratebus-acme, in the folder acme
    #[arg(value_parser = PluginName::parse)]
    pub(crate) name: PluginName,
    /// How the exchange speaks
    #[arg(long, value_enum, default_value_t = Kind::Websocket)]
    pub(crate) kind: Kind,
    /// A checkout of ratebus, whose SDK it uses: by default the one that the current folder is in
    #[arg(long, value_name = "PATH")]
    pub(crate) sdk: Option<PathBuf>,
    /// Where its folder is made
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) into: PathBuf,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum AdminCommand {
    /// Make an administrator; the password is read from standard input, or asked for on a terminal
    Create {
        /// The address to log in with
        #[arg(long)]
        email: String,
    },
    /// Make an administrator of an account that is there, whatever its password
    Promote {
        /// The account's address
        #[arg(long)]
        email: String,
    },
    /// Give any account a new password, read as in create, and end its sessions
    ResetPassword {
        /// The account's address
        #[arg(long)]
        email: String,
    },
}
