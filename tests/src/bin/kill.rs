//! `kill [--ci] [--cycles N] [--seed N]`: SIGKILL of the real programs. See `suite::kill`.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use suite::kill::{Options, run};

/// Cycles of one CI run.
const CI_CYCLES: u64 = 300;

fn options() -> Result<Options, String> {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let mut options = Options { cycles: CI_CYCLES, seed: clock % 1_000_000_000, threads: 2 };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let mut number = || {
            let value = args.next().ok_or_else(|| format!("{name} needs a number"))?;
            value.replace(['_', ','], "").parse::<u64>().map_err(|_| format!("{name} {value}: not a number"))
        };
        match name.as_str() {
            "--ci" => options.cycles = CI_CYCLES,
            "--cycles" => options.cycles = number()?.max(1),
            "--seed" => options.seed = number()?,
            "--threads" => options.threads = number()?.clamp(1, 16) as usize,
            _ => return Err(format!("{name} is not known: kill [--ci] [--cycles N] [--seed N] [--threads N]")),
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
