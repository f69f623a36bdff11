//! Replays real recordings in the simulated world: `replay channel [--ci] [--data DIR]`, `replay branches [--data DIR]`.

use std::path::PathBuf;
use std::process::ExitCode;
use suite::replay::{branches, channel};

const USAGE: &str = "replay channel [--ci] [--data DIR] | replay branches [--data DIR]
  --ci        only the first part of the channel
  --data DIR  folder of the recordings (default: TOMBOLO_DATA, or else the repository's small sample)";

fn main() -> ExitCode {
    match work() {
        Ok(cases) => {
            println!("cases: {cases}");
            ExitCode::SUCCESS
        }
        Err(words) => {
            eprintln!("{words}");
            ExitCode::FAILURE
        }
    }
}

fn work() -> Result<u64, String> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().ok_or(USAGE)?;
    let mut ci = false;
    let mut folder = std::env::var_os("TOMBOLO_DATA").map(PathBuf::from);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--ci" => ci = true,
            "--data" => folder = Some(PathBuf::from(arguments.next().ok_or(USAGE)?)),
            _ => return Err(USAGE.into()),
        }
    }
    match what.as_str() {
        "channel" => channel::run(folder.as_deref(), ci),
        "branches" => branches::run(folder.as_deref()),
        _ => Err(USAGE.into()),
    }
}
