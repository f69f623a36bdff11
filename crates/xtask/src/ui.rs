//! The interface in `ui/`: installing its packages, building it into the program, its own checks and the browser's.
//!
//! `cargo build` takes what stands in `ui/dist`, so whoever builds the program for people calls [`build`] first. What each
//! check is stands in `ui/package.json`. Not here: serving it (`crates/web`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::place::{Place, in_path};
use crate::suite;

/// Oldest Node.js that the build of the interface runs with.
const NODE_MIN: u32 = 20;

/// `npm` in the folder of the interface.
pub(crate) fn npm(place: &Place, args: &[&str]) -> Command {
    let mut command = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
    command.current_dir(place.root.join("ui")).args(args);
    place.clean(&mut command);
    command
}

/// Says what is missing, before anything else fails on it.
///
/// # Errors
/// What to install.
pub(crate) fn ensure_node() -> Result<(), String> {
    let version = Command::new("node").arg("--version").output().ok();
    let text = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    match major(&text) {
        Some(major) if major >= NODE_MIN && in_path("npm") => Ok(()),
        Some(major) if major < NODE_MIN => {
            Err(format!("the interface is built with Node.js {NODE_MIN} or newer, and {major} is installed"))
        }
        _ => Err(format!(
            "the interface is built with Node.js {NODE_MIN} or newer and npm: install both and start again"
        )),
    }
}

fn major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// Installs the packages that the lock file names, unless they are there.
///
/// # Errors
/// What npm says.
pub(crate) fn install(place: &Place) -> Result<(), String> {
    ensure_node()?;
    let ui = place.root.join("ui");
    let wanted = changed(&ui.join("package-lock.json"));
    if wanted.is_some() && changed(&ui.join("node_modules/.package-lock.json")) >= wanted {
        return Ok(());
    }
    suite::finish(npm(place, &["ci", "--no-audit", "--no-fund", "--loglevel=error"]))
}

/// Builds the interface into `ui/dist`, if anything has changed since the last time.
///
/// # Errors
/// What is missing, or what the build says.
pub(crate) fn build(place: &Place) -> Result<(), String> {
    let ui = place.root.join("ui");
    let sources = [ui.join("src"), ui.join("public"), ui.join("index.html"), ui.join("package-lock.json")];
    let newest = sources.iter().flat_map(|path| files(path)).filter_map(|file| changed(&file)).max();
    if newest.is_some() && changed(&ui.join("dist/index.html")) > newest {
        return Ok(());
    }
    install(place)?;
    suite::finish(npm(place, &["run", "--silent", "build"]))
}

/// Serves the interface of a profile, with the program built from this tree; ends with it.
///
/// # Errors
/// Which build failed, or how the program ended.
pub(crate) fn web(place: &Place, args: &[String]) -> Result<(), String> {
    build(place)?;
    let mut cargo = place.cargo();
    cargo.args(["build", "--locked", "-p", "tombolo-cli", "--bins"]);
    suite::finish(cargo)?;
    let mut program = Command::new(place.built("tombolo", false));
    program.args(args).arg("web");
    suite::finish(program)
}

fn changed(file: &Path) -> Option<SystemTime> {
    file.metadata().and_then(|data| data.modified()).ok()
}

/// A file, or all files below a folder.
fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = path.read_dir() else { return vec![path.to_owned()] };
    entries.flatten().flat_map(|entry| files(&entry.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_node_is_read() {
        assert_eq!((major("v20.20.2\n"), major("v8.0.0"), major("20"), major("")), (Some(20), Some(8), None, None));
    }
}
