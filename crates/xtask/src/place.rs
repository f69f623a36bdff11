//! Where things are and how cargo is called: checkout, cache, target folder, free disk, recordings.
//!
//! Not responsible for what is built or run; see `ci.rs`, `demo.rs` and `suite.rs`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The tree that is worked on, and the folders outside it.
pub(crate) struct Place {
    /// Root of the checkout: the folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Our folder in the user's cache: build results that a fresh clone can reuse, and tools of the checks.
    pub(crate) cache: PathBuf,
    /// Cargo's target folder for everything that xtask builds.
    pub(crate) target: PathBuf,
}

impl Place {
    /// Finds the checkout and settles the target folder: what the user chose (environment or cargo configuration), else
    /// one in the user's cache, so that a fresh clone does not compile the dependencies again.
    ///
    /// # Errors
    /// A sentence for the user, if no workspace is found or cargo cannot be asked.
    pub(crate) fn find() -> Result<Self, String> {
        let root = find_root()?;
        let cache = cache_home(&root).join("tombolo");
        let asked = env::var_os("CARGO_TARGET_DIR").or_else(|| env::var_os("CARGO_BUILD_TARGET_DIR"));
        let target = match asked.filter(|dir| !dir.is_empty()) {
            Some(dir) => absolute(Path::new(&dir))?,
            None => match configured_target(&root)? {
                Some(dir) => dir,
                None => cache.join("target"),
            },
        };
        Ok(Self { root, cache, target })
    }

    /// `cargo` in the checkout, with our target folder and without what the outer `cargo run` left in the environment.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root);
        self.clean(&mut command);
        command
    }

    /// A binary that was built before, by name. `release` chooses the profile's folder.
    pub(crate) fn built(&self, name: &str, release: bool) -> PathBuf {
        let profile = if release { "release" } else { "debug" };
        self.target.join(profile).join(format!("{name}{}", env::consts::EXE_SUFFIX))
    }

    /// Gives a child our target folder and an absolute `TOMBOLO_DATA`.
    ///
    /// `cargo run` sets variables about the package xtask; build scripts that watch them would run again, and everything
    /// that depends on them would be compiled again, each time one goes from `cargo xtask` to plain cargo and back.
    pub(crate) fn clean(&self, command: &mut Command) {
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            let ours = text.starts_with("CARGO_PKG_")
                || text.starts_with("CARGO_MANIFEST_")
                || ["CARGO_BIN_NAME", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"].contains(&&*text);
            if ours {
                command.env_remove(&name);
            }
        }
        command.env("CARGO_TARGET_DIR", &self.target);
        match recordings() {
            Some(dir) => command.env("TOMBOLO_DATA", dir),
            None => command.env_remove("TOMBOLO_DATA"),
        };
    }

    /// Refuses to start a build that would fill the disk. Returns a warning that is worth showing, if any.
    ///
    /// # Errors
    /// A sentence for the user, if there is too little: 8 GB for a first build, 2 GB on top of an earlier one.
    pub(crate) fn check_disk(&self) -> Result<Option<String>, String> {
        let Some(free) = free_mb(&existing(&self.target)) else {
            return Ok(Some("free disk is unknown here (no `df`); a first build takes up to 8 GB".to_owned()));
        };
        judge_disk(free, self.target.join("debug").join("deps").is_dir()).map_err(|e| {
            format!("{e} The build goes to {}; CARGO_TARGET_DIR chooses another place.", self.target.display())
        })
    }
}

const COLD_MB: u64 = 8_000;
const WARM_MB: u64 = 2_000;

fn judge_disk(free_mb: u64, warm: bool) -> Result<Option<String>, String> {
    let need = if warm { WARM_MB } else { COLD_MB };
    if free_mb < need {
        return Err(format!("only {free_mb} MB of disk are free, {need} MB are needed."));
    }
    let tight = free_mb < COLD_MB;
    Ok(tight.then(|| format!("only {free_mb} MB of disk are free; {COLD_MB} MB are advised")))
}

/// The folder with the larger recordings, absolute (tests run in other folders than the user), if there is one.
pub(crate) fn recordings() -> Option<PathBuf> {
    let dir = env::var_os("TOMBOLO_DATA").filter(|dir| !dir.is_empty())?;
    Path::new(&dir).canonicalize().ok()
}

/// Is a program of this name in the `PATH`?
pub(crate) fn in_path(program: &str) -> bool {
    let name = format!("{program}{}", env::consts::EXE_SUFFIX);
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(&name).is_file()))
}

fn find_root() -> Result<PathBuf, String> {
    let start = match env::var_os("CARGO_MANIFEST_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => env::current_dir().map_err(|e| format!("cannot read the current folder: {e}"))?,
    };
    let is_root = |dir: &&Path| dir.join("crates").join("xtask").is_dir() && dir.join("Cargo.toml").is_file();
    start
        .ancestors()
        .find(is_root)
        .map(Path::to_path_buf)
        .ok_or_else(|| format!("{} is not inside a checkout of Tombolo; call `cargo xtask` in one", start.display()))
}

fn cache_home(root: &Path) -> PathBuf {
    let set = |name: &str| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME")
        .filter(|dir| dir.is_absolute())
        .or_else(|| set("HOME").or_else(|| set("USERPROFILE")).map(|home| home.join(".cache")))
        .unwrap_or_else(|| root.join("target").join("cache"))
}

/// The target folder that a cargo configuration names; `None` if it is the ordinary one.
fn configured_target(root: &Path) -> Result<Option<PathBuf>, String> {
    let metadata = metadata(root)?;
    let dir = metadata["target_directory"].as_str().map(PathBuf::from);
    Ok(dir.filter(|dir| *dir != root.join("target")))
}

/// `cargo metadata` of the workspace's own packages.
///
/// # Errors
/// A sentence for the user, with what cargo said.
pub(crate) fn metadata(root: &Path) -> Result<serde_json::Value, String> {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(root)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()
        .map_err(|e| format!("cannot start cargo: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata printed no JSON: {e}"))
}

fn absolute(dir: &Path) -> Result<PathBuf, String> {
    std::path::absolute(dir).map_err(|e| format!("{} is no usable path: {e}", dir.display()))
}

/// The nearest folder above `dir` that exists already.
fn existing(dir: &Path) -> PathBuf {
    dir.ancestors().find(|d| d.is_dir()).unwrap_or(Path::new(".")).to_path_buf()
}

/// Free megabytes under `dir`, as `df` tells it; the standard library has no call for it.
fn free_mb(dir: &Path) -> Option<u64> {
    let output = Command::new("df").arg("-Pk").arg(dir).output().ok().filter(|o| o.status.success())?;
    parse_df(&String::from_utf8_lossy(&output.stdout))
}

fn parse_df(text: &str) -> Option<u64> {
    let row = text.lines().nth(1)?;
    let free_kb: u64 = row.split_whitespace().nth(3)?.parse().ok()?;
    Some(free_kb / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn df_output_is_read() {
        let text = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/x 100 20 9000000 20% /\n";
        assert_eq!(parse_df(text), Some(9_000));
        assert_eq!(parse_df("nothing"), None);
    }

    #[test]
    fn a_first_build_needs_more_disk_than_a_later_one() {
        assert!(judge_disk(7_999, false).is_err());
        assert_eq!(judge_disk(8_000, false), Ok(None));
        assert!(judge_disk(7_999, true).unwrap().is_some());
        assert!(judge_disk(1_999, true).is_err());
    }

    #[test]
    fn the_checkout_is_found_from_inside() {
        let root = find_root().unwrap();
        assert!(root.join("deny.toml").is_file());
    }
}
