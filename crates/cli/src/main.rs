//! The command line: `tombolo`.
//!
//! Responsible for: parsing what was typed, asking the client, printing for people or scripts, exit codes. Everything
//! that a person could lose is the client's business. Nothing here reads or writes the store.
//!
//! Read in this order: `args.rs` (what may be typed), `commands.rs` (what happens), `rows.rs` (JSON), `show.rs` (words),
//! `door.rs` (the client).

mod args;
mod calendar;
mod choose;
mod commands;
mod door;
mod failure;
mod home;
mod html;
mod out;
mod progress;
mod rows;
#[cfg(unix)]
mod share;
mod show;
mod size;
mod span;
mod text;
mod zone;

use crate::args::Cli;
use crate::failure::Failure;
use crate::out::Out;
use clap::Parser;
use std::io::Write;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// What is logged on standard error, such as `debug` or `tombolo_client=trace`; nothing without it.
const LOG: &str = "TOMBOLO_LOG";

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    if let Ok(filter) = EnvFilter::try_from_env(LOG) {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let json = cli.global.json;
    let out = Out::new(json);
    let result = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => {
            let result = runtime.block_on(commands::run(cli, &out));
            // Nothing that still runs matters: the store is closed.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(Failure::new("system", format!("the system refuses to start threads: {error}"), "")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure, json);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Help and version are answers; everything else is wrong usage.
fn misused(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|arg| arg == "--json");
    if json && error.use_stderr() {
        let text = error.render().to_string();
        let text = text.trim().strip_prefix("error: ").unwrap_or(text.trim()).to_owned();
        let failure = Failure::Usage(text);
        complain(&failure, true);
        return ExitCode::from(failure.exit_code());
    }
    // If it cannot be printed, the exit code still says it.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

fn complain(failure: &Failure, json: bool) {
    if let Some(words) = failure.words(json) {
        // If standard error is gone, the exit code still says it.
        let _ = writeln!(std::io::stderr().lock(), "{words}");
    }
}
