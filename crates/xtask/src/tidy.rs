//! House rules that neither rustfmt nor clippy knows: file heads, sizes, names, forgotten files, foreign paths.
//!
//! A pure function over the texts of all files that git tracks or would track. `tidy/rust.rs` holds the rules for Rust
//! sources, `tidy/reach.rs` finds files that no crate contains, `tidy/manifest.rs` reads `Cargo.toml` and the lock.

mod manifest;
mod reach;
mod rust;

use std::path::Path;
use std::process::Command;

use crate::source;

/// One file of the tree.
pub(crate) struct File {
    /// Relative to the root, with `/` on every system.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    fn extension(&self) -> &str {
        self.path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, extension)| extension)
    }

    fn is_rust(&self) -> bool {
        self.extension() == "rs"
    }
}

/// What the rules say.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) wrong: Vec<String>,
    /// Worth a look, but no failure.
    pub(crate) remarks: Vec<String>,
}

/// Texts in which people or programs read paths and addresses.
const TEXT: &[&str] = &["rs", "toml", "md", "sh", "yml", "yaml", "svg", "html", "css", "ts", "js", "mjs", "svelte"];

// The needles are put together from pieces, or this file would be its own finding.
const MACHINE: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
const REGISTRIES: &[&str] = &[
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("sparse+", "http"),
    concat!("registry.", "npmjs"),
    concat!("files.python", "hosted"),
    concat!("pypi.", "org"),
    concat!("proxy.", "golang"),
];

/// Applies all rules.
pub(crate) fn check(files: &[File]) -> Findings {
    let mut found = Findings::default();
    for file in files {
        if file.is_rust() {
            rust::check(file, &mut found);
        }
        if TEXT.contains(&file.extension()) || file.path.starts_with(".ci/") || file.path.starts_with(".cargo/") {
            addresses(file, &mut found);
        }
        if file.path.ends_with("Cargo.toml") && file.path != "Cargo.toml" {
            manifest::check(file, &mut found);
        }
        if file.path.ends_with("Cargo.lock") {
            manifest::check_lock(file, &mut found);
        }
    }
    reach::check(files, &mut found);
    found
}

fn addresses(file: &File, found: &mut Findings) {
    for (at, line) in file.text.lines().enumerate() {
        for needle in MACHINE {
            if source::names(line, needle) {
                found.wrong.push(format!("{}:{}: a path of one machine: {needle}", file.path, at + 1));
            }
        }
        for needle in REGISTRIES {
            if line.contains(needle) {
                found.wrong.push(format!("{}:{}: a registry's address: {needle}", file.path, at + 1));
            }
        }
    }
}

/// Reads what git tracks and what it would track; without git (an unpacked archive) everything but build results.
///
/// # Errors
/// A sentence for the user, if the tree cannot be read.
pub(crate) fn read_tree(root: &Path) -> Result<Vec<File>, String> {
    let mut paths = tracked(root).map_or_else(|| walk(root), Ok)?;
    paths.sort();
    paths.dedup();
    let mut files = Vec::new();
    for path in paths {
        // A deleted file may still be in the index; a binary one has no lines to look at.
        let Ok(bytes) = std::fs::read(root.join(&path)) else {
            continue;
        };
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File { path, text });
        }
    }
    if files.iter().any(File::is_rust) { Ok(files) } else { Err("no Rust file was found in the tree".to_owned()) }
}

fn tracked(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

fn walk(root: &Path) -> Result<Vec<String>, String> {
    let mut open = vec![String::new()];
    let mut paths = Vec::new();
    while let Some(dir) = open.pop() {
        let entries = std::fs::read_dir(root.join(&dir)).map_err(|e| format!("cannot read {dir}: {e}"))?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") };
            if !entry.path().is_dir() {
                paths.push(path);
            } else if ![".git", "target", "node_modules"].contains(&name.as_str()) {
                open.push(path);
            }
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Findings for a tree of these files (path, text).
    pub(super) fn findings(files: &[(&str, &str)]) -> Findings {
        let files: Vec<File> =
            files.iter().map(|(path, text)| File { path: (*path).to_owned(), text: (*text).to_owned() }).collect();
        check(&files)
    }

    #[test]
    fn paths_of_a_machine_are_found() {
        for needle in MACHINE {
            let text = format!("see {needle}x");
            let wrong = findings(&[("README.md", &text)]).wrong;
            assert_eq!(wrong, [format!("README.md:1: a path of one machine: {needle}")]);
        }
        let harmless = concat!("frame", "/wo", "rk/x is a relative path");
        assert!(findings(&[("README.md", harmless)]).wrong.is_empty());
    }

    #[test]
    fn addresses_of_registries_are_found() {
        for needle in REGISTRIES {
            let wrong = findings(&[(".ci/run", &format!("fetch {needle}"))]).wrong;
            assert_eq!(wrong.len(), 1, "{wrong:?}");
        }
    }

    #[test]
    fn data_may_contain_anything() {
        let text = concat!("{\"text\":\"look in /ho", "me/me\"}");
        assert!(findings(&[("tests/data/channel.jsonl", text)]).wrong.is_empty());
    }

    #[test]
    fn this_tree_is_read() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let files = read_tree(&root).unwrap();
        assert!(files.iter().any(|file| file.path == "crates/xtask/src/tidy.rs"));
        assert!(!walk(&root).unwrap().iter().any(|path| path.starts_with("target/")));
    }
}
