//! The `ratebus` binary: arguments in, one command, an exit code out.

mod builtin;
mod cli;
mod commands;
mod health;
mod new_plugin;

use std::{io::Write, process::ExitCode};

use clap::Parser;
use ratebus_core::config::ConfigReport;
use ratebus_sdk::ConfigError;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `EX_CONFIG` of sysexits.h.
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let error = match commands::execute(cli::Cli::parse()) {
        Ok(code) => return code,
        Err(error) => error,
    };
    // A closed standard error is no reason to panic.
    let report = error.downcast_ref::<ConfigReport>().map(ToString::to_string);
    // What a command reads of a plugin's settings itself, it checks itself.
    if let Some(report) = report.or_else(|| error.downcast_ref::<ConfigError>().map(ToString::to_string)) {
        let _ = writeln!(std::io::stderr(), "ratebus: the config cannot be used:\n{report}");
        return ExitCode::from(EXIT_CONFIG);
    }
    let _ = writeln!(std::io::stderr(), "ratebus: {error:#}");
    ExitCode::FAILURE
}
