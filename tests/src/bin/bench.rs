//! `bench [--json FILE] [--smoke] [NAME...]`: see `suite::bench`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use suite::bench::{self, Measured, Scale};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether every bound held.
fn run() -> Measured<bool> {
    let (mut json, mut names, mut smoke) = (None, Vec::new(), false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            bench::opening::CHILD => {
                bench::opening::child(arguments)?;
                return Ok(true);
            }
            "--json" => json = Some(arguments.next().ok_or("--json needs a file")?),
            "--smoke" => smoke = true,
            name if name.starts_with('-') => return Err(format!("there is no option `{name}`").into()),
            _ => names.push(argument),
        }
    }
    let mut file = json.map(std::fs::File::create).transpose()?;
    let scale = Scale { smoke, cache: cache()? };
    let mut rows = Vec::new();
    let mut failed = None;
    bench::run(&names, &scale, |row| {
        println!("{}", bench::show(&row, smoke));
        if let Some(file) = &mut file
            && let Err(error) = writeln!(file, "{}", row.to_json())
        {
            failed = Some(error);
        }
        rows.push(row);
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    println!("\n{}", bench::head());
    rows.iter().for_each(|row| println!("{}", bench::show(row, smoke)));
    let broken = rows.iter().filter(|row| !row.holds).count();
    let judged = if smoke { "; a smoke run, whose sizes are too small to judge times by" } else { "" };
    println!("\n{} rows, {broken} of them do not hold{judged}", rows.len());
    println!("cases: {}", rows.len());
    Ok(broken == 0)
}

/// Beside the build, so that large stores are built once.
fn cache() -> Measured<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).ok_or("the program lies nowhere")?;
    Ok(target.join("bench-cache"))
}
