use std::{
    collections::BTreeSet,
    env,
    future::Future,
    io::{self, IsTerminal, Write},
    iter,
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use hyper::Uri;
use ratebus_core::{
    Stopped, Telemetry,
    config::{Config, ConfigFile, ConfigReport, Override},
    dynamic::{sha256_of, try_library},
};
use ratebus_http_api::{
    DatabaseUrl, PasswordPolicy,
    admin::{self, SeededAccount},
};
use ratebus_sdk::Factory;
use secrecy::ExposeSecret;

use crate::{
    builtin::{COMPONENTS, DECODERS},
    cli::{AdminCommand, Cli, Command, ConfigArgs, NewPlugin, PluginsCommand},
    health, new_plugin,
};

/// The config for those who have none.
const DEFAULT_CONFIG: &str = include_str!("../../plugins.toml");

pub(crate) fn execute(cli: Cli) -> Result<ExitCode> {
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => run(move || load(&cli.config)),
        Command::Demo => demo(&cli.config),
        Command::Check => check(&cli.config),
        Command::Health { url } => health(&cli.config, url),
        Command::Plugins { command: None } => plugins(&cli.config),
        Command::Plugins { command: Some(PluginsCommand::Hash { file }) } => hash(&file),
        Command::Plugins { command: Some(PluginsCommand::New(new)) } => new_plugin(&new),
        Command::Plugins { command: Some(PluginsCommand::Try) } => {
            try_library().map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }
        Command::Migrate { status } => migrate(&cli.config, status),
        Command::Seed => seed(&cli.config),
        Command::Admin(AdminCommand::Create { email }) => create_admin(&cli.config, &email),
        Command::Admin(AdminCommand::Promote { email }) => promote(&cli.config, &email),
        Command::Admin(AdminCommand::ResetPassword { email }) => reset_password(&cli.config, &email),
    }
}

/// The named file, else `./plugins.toml`, else what is built in; under the variables, `--set` and `--role`.
fn load(args: &ConfigArgs) -> Result<Config> {
    let beside = Path::new("plugins.toml");
    // One that is there and cannot be read is no reason to run something else.
    let absent = || beside.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let file = match &args.config {
        Some(path) => ConfigFile::read(path)?,
        None if absent() => built_in(),
        None => ConfigFile::read(beside)?,
    };
    let role = args.role.as_ref().map(|role| Override::new("--role or RATEBUS_ROLE", &["runtime", "role"], role));
    with_overrides(file, &args.set, role)
}

fn built_in() -> ConfigFile {
    ConfigFile { name: "plugins.toml (built in)".to_owned(), text: DEFAULT_CONFIG.to_owned() }
}

/// `own` wins over everything.
fn with_overrides(file: ConfigFile, sets: &[Override], own: impl IntoIterator<Item = Override>) -> Result<Config> {
    let overrides = sets.iter().cloned().chain(own).collect();
    // A variable whose name or value is no Unicode cannot be a key of ours.
    let variables =
        env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Ok(Config::load(file, variables, overrides)?)
}

/// Runs the role of the config that `read` reads, now and at each reload.
fn run(read: impl Fn() -> Result<Config> + Send + Sync + 'static) -> Result<ExitCode> {
    let plan = |config: &Config| config.plan(&config.settings.runtime.role, &COMPONENTS, DECODERS);
    let config = read()?;
    let first = plan(&config)?;
    let telemetry = Telemetry::start(&config.settings.log)?;
    let again = Arc::new(move || Ok(plan(&read()?)?));
    match block_on(ratebus_core::run(first, again, &telemetry))?? {
        Stopped::Drained => Ok(ExitCode::SUCCESS),
        Stopped::CutShort => Ok(ExitCode::FAILURE),
    }
}

/// Everything from the recording, on a database that goes with the process.
fn demo(args: &ConfigArgs) -> Result<ExitCode> {
    let folder = tempfile::tempdir().context("no temporary folder for the demo's database")?;
    let database = format!("sqlite://{}", folder.path().join("demo.db").display());
    let url = database.parse()?;
    let own = [
        Override::new("demo", &["runtime", "role"], "demo"),
        Override::new("demo", &["plugin", "api", "config", "database"], &database),
    ];
    let sets = args.set.clone();
    let read = move || with_overrides(built_in(), &sets, own.clone());
    read()?;
    let accounts = block_on(admin::seed(&url, &PasswordPolicy::default()))??;
    say("A demo with generated rates. Its database goes away with it. Log in on the page as\n")?;
    print_accounts(&accounts)?;
    run(read)
}

fn check(args: &ConfigArgs) -> Result<ExitCode> {
    let config = load(args)?;
    let mut roles = BTreeSet::from([config.settings.runtime.role.clone()]);
    if args.role.is_none() {
        roles.extend(config.settings.role.keys().cloned());
    }
    let mut report = ConfigReport::default();
    for role in roles {
        match config.plan(&role, &COMPONENTS, DECODERS) {
            Ok(plan) if plan.refused.is_empty() => {
                say(&format!("role {role}: {} plugins, correct\n", plan.plugins.len()))?;
            }
            Ok(plan) => {
                report
                    .extend(ConfigReport { problems: plan.refused.into_iter().map(|plugin| plugin.problem).collect() });
            }
            Err(wrong) => report.extend(wrong),
        }
    }
    if report.problems.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(report.into()) }
}

fn health(args: &ConfigArgs, url: Option<Uri>) -> Result<ExitCode> {
    let uri = if let Some(uri) = url {
        uri
    } else {
        let config = load(args)?;
        let role = &config.settings.runtime.role;
        health::at(config.operators(role).with_context(|| format!("no role {role:?}"))?.listen)?
    };
    say(&format!("{}\n", block_on(health::ask(&uri))??))?;
    Ok(ExitCode::SUCCESS)
}

fn plugins(args: &ConfigArgs) -> Result<ExitCode> {
    let line = |name: &str, version: &str, origin: &str| format!("{name:<20} {version:<10} {origin}\n");
    let entries = COMPONENTS.entries().iter().map(|entry| line(entry.name, entry.version, "built in"));
    // At once: who reads the first line only does not make the rest fail.
    say(&iter::once(line("TYPE", "VERSION", "ORIGIN")).chain(entries).collect::<String>())?;
    let libraries = load(args)?.libraries(&COMPONENTS);
    let libraries = libraries.iter().map(|library| line(&library.name, &library.version, &library.origin));
    say(&libraries.collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}

fn hash(file: &Path) -> Result<ExitCode> {
    let sha256 = sha256_of(file).with_context(|| format!("{} cannot be read", file.display()))?;
    say(&format!("{sha256}\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn new_plugin(new: &NewPlugin) -> Result<ExitCode> {
    let folder = new_plugin::write(new)?;
    say(&format!(
        "{} is there. It compiles and runs as it is: `cargo test` in it, and its README.md\n",
        folder.display()
    ))?;
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
        for number in status.unknown {
            say(&format!("unknown: {number:04}, run by a newer version of ratebus\n"))?;
        }
        if let Some(number) = status.broken {
            say(&format!("did not end: {number:04}; `ratebus migrate` says what to do\n"))?;
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
    let api = api(args)?;
    let accounts = block_on(admin::seed(&api.database()?, &PasswordPolicy::of(&api)?))??;
    if accounts.is_empty() {
        say(
            "The demo accounts are there already; their passwords were shown once, and `admin create` makes another admin.\n",
        )?;
    }
    print_accounts(&accounts)?;
    Ok(ExitCode::SUCCESS)
}

fn create_admin(args: &ConfigArgs, email: &str) -> Result<ExitCode> {
    let api = api(args)?;
    let policy = PasswordPolicy::of(&api)?;
    let password = read_password(&policy)?;
    block_on(admin::create_admin(&api.database()?, email, password.into(), &policy))??;
    say(&format!("{email} is an administrator now.\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn promote(args: &ConfigArgs, email: &str) -> Result<ExitCode> {
    block_on(admin::promote(&database(args)?, email))??;
    say(&format!("{email} is an administrator now.\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn reset_password(args: &ConfigArgs, email: &str) -> Result<ExitCode> {
    let api = api(args)?;
    let policy = PasswordPolicy::of(&api)?;
    let password = read_password(&policy)?;
    block_on(admin::reset_password(&api.database()?, email, password.into(), &policy))??;
    say(&format!("{email} has a new password, and its sessions have ended.\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The database of the role's API.
fn database(args: &ConfigArgs) -> Result<DatabaseUrl> {
    Ok(api(args)?.database()?)
}

/// The settings of the role's API.
fn api(args: &ConfigArgs) -> Result<ratebus_http_api::Config> {
    let config = load(args)?;
    let role = &config.settings.runtime.role;
    let apis: Vec<ratebus_http_api::Config> = config.plugin_settings(role, ratebus_http_api::HttpApi::TYPE);
    let api = apis.into_iter().find(ratebus_http_api::Config::has_database);
    api.with_context(|| format!("no plugin of role {role:?} has a database: name the role with --role"))
}

/// The first line of standard input; asked for without showing it on a terminal.
fn read_password(policy: &PasswordPolicy) -> Result<String> {
    if io::stdin().is_terminal() {
        let password = rpassword::prompt_password(format!("Password, {} characters or more: ", policy.min_admin()))?;
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
        block_on(async { drop(tokio::task::spawn_blocking(move || wait.recv_timeout(Duration::from_secs(20)))) })
            .unwrap();
        release.send(()).expect("the call still waits");
    }
}
