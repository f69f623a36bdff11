//! `power [--ci] [--states N] [--seed N]`: crash states of the real store on a disk that loses power. See `suite::power`.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use suite::power::{Options, run};

/// States of one CI run.
const CI_STATES: u64 = 50_000;

fn options() -> Result<Options, String> {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let mut options = Options { states: CI_STATES, seed: clock % 1_000_000_000, threads: 2 };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let mut number = || {
            let value = args.next().ok_or_else(|| format!("{name} needs a number"))?;
            value.replace(['_', ','], "").parse::<u64>().map_err(|_| format!("{name} {value}: not a number"))
        };
        match name.as_str() {
            "--ci" => options.states = CI_STATES,
            "--states" => options.states = number()?.max(1_000),
            "--seed" => options.seed = number()?,
            "--threads" => options.threads = number()?.clamp(1, 64) as usize,
            _ => return Err(format!("{name} is not known: power [--ci] [--states N] [--seed N] [--threads N]")),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(words) => {
            eprintln!("{words}");
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("{words}");
            ExitCode::FAILURE
        }
    }
}
