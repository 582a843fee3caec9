use std::{
    env,
    future::Future,
    io::{self, IsTerminal, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use ratebus_core::{
    Stopped, Telemetry,
    config::{Config, ConfigFile, ConfigReport, Override, RolePlan},
};
use ratebus_http_api::admin::{self, SeededAccount};

use ratebus_sdk::Factory;
use secrecy::ExposeSecret;

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
    with_overrides(file, &args.set, None)
}

fn built_in() -> ConfigFile {
    ConfigFile { name: "plugins.toml (built in)".to_owned(), text: DEFAULT_CONFIG.to_owned() }
}

/// `own` wins over everything.
fn with_overrides(file: ConfigFile, sets: &[String], own: Option<Override>) -> Result<Config> {
    let set = |text: &String| Override::from_set(text).with_context(|| format!("--set {text}: expected KEY=VALUE"));
    let mut overrides = sets.iter().map(set).collect::<Result<Vec<_>>>()?;
    overrides.extend(own);
    // A variable whose name or value is no Unicode cannot be a key of ours.
    let variables =
        env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
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
    let path = ["plugin", "api", "config", "database"].map(str::to_owned).to_vec();
    let own = Override { origin: "demo".to_owned(), path, value: database.clone() };
    let config = with_overrides(built_in(), &args.set, Some(own))?;
    let accounts = block_on(admin::seed(&database))??;
    say("A demo with generated rates. Its database goes away with it. Log in on http://localhost:3334/ as\n")?;
    print_accounts(&accounts)?;
    run(&config, Some("demo"))
}

fn check(args: &ConfigArgs) -> Result<ExitCode> {
    let config = load(args)?;
    let roles = match &args.role {
        Some(role) => vec![role.clone()],
        None => config.settings.role.keys().cloned().collect(),
    };
    let mut report = ConfigReport::default();
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

fn migrate(args: &ConfigArgs, status: bool) -> Result<ExitCode> {
    let url = database(args)?;
    if status {
        let status = block_on(admin::migration_status(&url))??;
        say(&format!("{} applied\n", status.applied))?;
        for (number, name) in status.pending {
            say(&format!("pending: {number:04} {name}\n"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let report = block_on(admin::migrate(&url))??;
    for (number, name) in &report.applied {
        say(&format!("applied: {number:04} {name}\n"))?;
    }
    say(&format!("{} migrations were there, {} were applied now\n", report.already, report.applied.len()))?;
    Ok(ExitCode::SUCCESS)
}

fn seed(args: &ConfigArgs) -> Result<ExitCode> {
    let accounts = block_on(admin::seed(&database(args)?))??;
    if accounts.is_empty() {
        say("The demo accounts are there already; their passwords are not known any more.\n")?;
    }
    print_accounts(&accounts)?;
    Ok(ExitCode::SUCCESS)
}

fn create_admin(args: &ConfigArgs, email: &str) -> Result<ExitCode> {
    let url = database(args)?;
    let password = read_password()?;
    block_on(admin::create_admin(&url, email, password.into()))??;
    say(&format!("{email} is an administrator now.\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The database of the role's API.
fn database(args: &ConfigArgs) -> Result<String> {
    let config = load(args)?;
    let role = role(&config, args.role.as_deref());
    let apis: Vec<ratebus_http_api::Config> = config.plugin_settings(role, ratebus_http_api::HttpApi::TYPE);
    let url = apis.into_iter().find(ratebus_http_api::Config::has_database).map(|api| api.database);
    url.with_context(|| format!("no plugin of role {role:?} has a database: name the role with --role"))
}

/// The first line of standard input; asked for without showing it on a terminal.
fn read_password() -> Result<String> {
    if io::stdin().is_terminal() {
        let password = rpassword::prompt_password("Password: ")?;
        if rpassword::prompt_password("Again: ")? != password {
            bail!("the passwords differ");
        }
        return Ok(password);
    }
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    let password = line.strip_suffix('\n').unwrap_or(&line);
    Ok(password.strip_suffix('\r').unwrap_or(password).to_owned())
}

/// Generated passwords are shown here and nowhere else.
fn print_accounts(accounts: &[SeededAccount]) -> Result<()> {
    for SeededAccount { email, role, password } in accounts {
        say(&format!("{role:<6} {email:<20} password {}\n", password.expose_secret()))?;
    }
    Ok(())
}

/// To standard output, which may be closed.
fn say(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("standard output")
}

fn block_on<T>(work: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no async runtime")?;
    let done = runtime.block_on(work);
    // Dropping the runtime would wait for calls that cannot be cancelled: the look-up of a name takes half a minute when
    // no server answers.
    runtime.shutdown_background();
    Ok(done)
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[test]
    fn a_call_that_hangs_does_not_hold_up_the_end() {
        let (release, wait) = mpsc::channel::<()>();
        block_on(async { tokio::task::spawn_blocking(move || wait.recv_timeout(Duration::from_secs(20))) }).unwrap();
        release.send(()).expect("the call still waits");
    }
}
