use std::{
    env,
    future::Future,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use ratebus_core::{
    Stopped, Telemetry,
    config::{Config, ConfigFile, Override, RolePlan},
};
use ratebus_http_api::admin;

use crate::{
    builtin::{COMPONENTS, DECODERS},
    cli::{AdminCommand, Cli, Command, ConfigArgs},
};

/// The config for those who have none.
const DEFAULT_CONFIG: &str = include_str!("../../plugins.toml");

pub(crate) fn execute(cli: Cli) -> Result<ExitCode> {
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => run(&load(&cli.config)?, cli.config.role.as_deref()),
        Command::Demo => demo(&cli.config),
        Command::Check => check(&cli.config),
        Command::Plugins => plugins(),
        Command::Migrate { status } => migrate(&cli.config, status),
        Command::Seed => seed(&cli.config),
        Command::Admin(AdminCommand::Create { email }) => create_admin(&cli.config, &email),
    }
}

/// The named file, else `./plugins.toml`, else what is built in; under the variables and `--set`.
fn load(args: &ConfigArgs) -> Result<Config> {
    let beside = Path::new("plugins.toml");
    let file = match &args.config {
        Some(path) => ConfigFile::read(path)?,
        None if beside.exists() => ConfigFile::read(beside)?,
        None => built_in(),
    };
    with_overrides(file, &args.set, Vec::new())
}

fn built_in() -> ConfigFile {
    ConfigFile { name: "plugins.toml (built in)".to_owned(), text: DEFAULT_CONFIG.to_owned() }
}

fn with_overrides(file: ConfigFile, sets: &[String], mut overrides: Vec<Override>) -> Result<Config> {
    for set in sets {
        overrides.push(Override::from_set(set).with_context(|| format!("--set {set}: expected KEY=VALUE"))?);
    }
    // A variable whose name or value is no Unicode cannot be a key of ours.
    let variables = env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Ok(Config::load(file, variables, overrides)?)
}

fn role<'a>(config: &'a Config, named: Option<&'a str>) -> &'a str {
    named.unwrap_or(&config.settings.runtime.role)
}

fn plan(config: &Config, role: &str) -> Result<RolePlan> {
    Ok(config.plan(role, &COMPONENTS, DECODERS)?)
}

fn run(config: &Config, named_role: Option<&str>) -> Result<ExitCode> {
    let plan = plan(config, role(config, named_role))?;
    let telemetry = Telemetry::start(&config.settings.log)?;
    match block_on(ratebus_core::run(plan, &telemetry))?? {
        Stopped::Drained => Ok(ExitCode::SUCCESS),
        Stopped::CutShort => Ok(ExitCode::FAILURE),
    }
}

/// Everything from the recording, on a database that goes with the process.
fn demo(args: &ConfigArgs) -> Result<ExitCode> {
    let folder = tempfile::tempdir().context("no temporary folder for the demo's database")?;
    let database = format!("sqlite://{}", folder.path().join("demo.db").display());
    let own = vec![Override {
        origin: "demo".to_owned(),
        path: ["plugin", "api", "config", "database"].map(str::to_owned).to_vec(),
        value: database.clone(),
    }];
    let config = with_overrides(built_in(), &args.set, own)?;
    let (email, password) = block_on(admin::create_demo_admin(&database))??;
    say(&format!(
        "ratebus demo: generated rates, played from a recording\n  page      http://localhost:3334/\n  \
         admin     {email}\n  password  {password}\n"
    ))?;
    run(&config, Some("demo"))
}

fn check(args: &ConfigArgs) -> Result<ExitCode> {
    let config = load(args)?;
    let roles = match &args.role {
        Some(role) => vec![role.clone()],
        None => config.settings.role.keys().cloned().collect(),
    };
    let mut report = ratebus_core::config::ConfigReport::default();
    for role in roles {
        match config.plan(&role, &COMPONENTS, DECODERS) {
            Ok(plan) => say(&format!("role {role}: {} plugins, correct\n", plan.plugins.len()))?,
            Err(wrong) => report.extend(wrong),
        }
    }
    if report.problems.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(report.into()) }
}

fn plugins() -> Result<ExitCode> {
    say(&format!("{:<20} {:<10} {}\n", "TYPE", "VERSION", "ORIGIN"))?;
    for entry in COMPONENTS.entries() {
        say(&format!("{:<20} {:<10} {}\n", entry.name, entry.version, "built in"))?;
    }
    Ok(ExitCode::SUCCESS)
}
