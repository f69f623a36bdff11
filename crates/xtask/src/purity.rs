//! Proves with the compiler that the pure crates cannot name the system: no clock, no threads, no files.
//!
//! `model` and `proto` are `no_std`. For each, a copy of the sources gets one line more that names `std::time`, and
//! rustc must reject that very line; a second copy names `core::time` in the same place, and rustc must accept the line.
//! The crates' dependencies are not built for this: rustc reports every name that it cannot resolve, and only the line
//! that was added is looked at. What clippy forbids in the deterministic crates stands in their `clippy.toml`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::source;

const PURE: &[&str] = &["model", "proto"];
const DETERMINISTIC: &[&str] = &["model", "proto", "oplog", "replica", "store"];
const REJECTED: &str = "use std::time::Instant as ProbeOfPurity;";
const ACCEPTED: &str = "use core::time::Duration as ProbeOfPurity;";

/// Checks all pure crates of the checkout. `scratch` is a folder that may be overwritten.
///
/// # Errors
/// One sentence for every finding.
pub(crate) fn check(root: &Path, scratch: &Path) -> Result<usize, Vec<String>> {
    let mut wrong = Vec::new();
    for name in PURE {
        let crate_dir = root.join("crates").join(name);
        if let Err(mut found) = check_crate(&crate_dir.join("src"), &scratch.join(name)) {
            wrong.extend(found.drain(..).map(|text| format!("crates/{name}: {text}")));
        }
    }
    wrong.extend(compare_clippy(root));
    if wrong.is_empty() { Ok(PURE.len()) } else { Err(wrong) }
}

/// The deterministic crates share one list of what they may not call.
fn compare_clippy(root: &Path) -> Vec<String> {
    let read =
        |name: &str| std::fs::read_to_string(root.join("crates").join(name).join("clippy.toml")).unwrap_or_default();
    let model = read(DETERMINISTIC[0]);
    let mut wrong = Vec::new();
    if !model.contains("std::time::SystemTime::now") || !model.contains("std::collections::HashMap") {
        wrong.push("crates/model/clippy.toml no longer forbids clocks and unsorted maps".to_owned());
    }
    for name in &DETERMINISTIC[1..] {
        if read(name) != model {
            wrong.push(format!("crates/{name}/clippy.toml differs from crates/model/clippy.toml"));
        }
    }
    wrong
}

fn check_crate(src: &Path, scratch: &Path) -> Result<(), Vec<String>> {
    let mut files = Vec::new();
    list(src, &mut files).map_err(|e| vec![format!("cannot read the sources: {e}")])?;
    let mut wrong = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).map_err(|e| vec![format!("cannot read {}: {e}", file.display())])?;
        let name = file.strip_prefix(src).unwrap_or(file).display();
        if *file == src.join("lib.rs") && !says_no_std(&text) {
            wrong.push("lib.rs does not say #![no_std] without conditions".to_owned());
        }
        if links_std(&text) {
            wrong.push(format!("{name} links std (`extern crate std` is for #[cfg(test)] only)"));
        }
    }
    wrong.extend(probe(src, &files, scratch).err());
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn says_no_std(text: &str) -> bool {
    source::views(text).code.lines().any(|line| line.trim() == "#![no_std]")
}

/// `extern crate std`, unless the line above (or the start of the same line) says that it is for tests.
fn links_std(text: &str) -> bool {
    let code = source::views(text).code;
    let mut before = "";
    for line in code.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line.contains("extern crate std") && !before.starts_with("#[cfg(test)]") && !line.starts_with("#[cfg(test)]")
        {
            return true;
        }
        before = line;
    }
    false
}

/// Compiles the two copies.
fn probe(src: &Path, files: &[PathBuf], scratch: &Path) -> Result<(), String> {
    let with_std = codes_on_probe(src, files, &scratch.join("std"), REJECTED)?;
    if !with_std.iter().any(|code| code == "E0432" || code == "E0433") {
        return Err(format!(
            "the compiler accepts `{REJECTED}`, so clocks are within reach (errors there: {with_std:?})"
        ));
    }
    let with_core = codes_on_probe(src, files, &scratch.join("core"), ACCEPTED)?;
    if !with_core.is_empty() {
        return Err(format!("the control `{ACCEPTED}` fails too ({with_core:?}), so the probe shows nothing"));
    }
    Ok(())
}

/// Copies the crate, adds `line` at the end of `lib.rs`, and returns the codes of the errors that rustc has on it.
fn codes_on_probe(src: &Path, files: &[PathBuf], dir: &Path, line: &str) -> Result<Vec<String>, String> {
    let failed = |what: &str, e: std::io::Error| format!("cannot {what} in {}: {e}", dir.display());
    let copy = dir.join("src");
    if dir.exists() {
        std::fs::remove_dir_all(dir).map_err(|e| failed("clean up", e))?;
    }
    for file in files {
        let to = copy.join(file.strip_prefix(src).unwrap_or(file));
        std::fs::create_dir_all(to.parent().unwrap_or(&copy)).map_err(|e| failed("make a folder", e))?;
        std::fs::copy(file, to).map_err(|e| failed("copy", e))?;
    }
    let lib = copy.join("lib.rs");
    let mut text = std::fs::read_to_string(&lib).map_err(|e| failed("read lib.rs", e))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let probe_line = text.lines().count() + 1;
    text.push_str(line);
    text.push('\n');
    std::fs::write(&lib, text).map_err(|e| failed("write lib.rs", e))?;

    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .current_dir(dir)
        .args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "--error-format", "json"])
        .args(["--cap-lints", "allow", "-o", "probe.rmeta", "src/lib.rs"])
        .output()
        .map_err(|e| format!("cannot start rustc: {e}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let messages: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if !output.status.success() && messages.is_empty() {
        return Err(format!("rustc failed without a message: {text}"));
    }
    Ok(codes_on_line(&messages, "src/lib.rs", probe_line))
}

fn codes_on_line(messages: &[Value], file: &str, line: usize) -> Vec<String> {
    let here = |span: &Value| {
        // The same file on every system.
        span["file_name"].as_str().map(|name| name.replace('\\', "/")).as_deref() == Some(file)
            && span["line_start"].as_u64() == u64::try_from(line).ok()
    };
    messages
        .iter()
        .filter(|message| message["level"] == "error")
        .filter(|message| message["spans"].as_array().is_some_and(|spans| spans.iter().any(here)))
        .map(|message| message["code"]["code"].as_str().unwrap_or("none").to_owned())
        .collect()
}

fn list(dir: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut entries = std::fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_type()?.is_dir() {
            list(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crate of one file with a dependency that is not there, in a folder of its own.
    fn judge(name: &str, lib: &str) -> Result<(), Vec<String>> {
        let dir = std::env::temp_dir().join(format!("tombolo-purity-{}-{name}", std::process::id()));
        std::fs::create_dir_all(dir.join("src")).unwrap();
        std::fs::write(dir.join("src").join("lib.rs"), lib).unwrap();
        let result = check_crate(&dir.join("src"), &dir.join("scratch"));
        std::fs::remove_dir_all(dir).unwrap();
        result
    }

    #[test]
    fn a_pure_crate_passes_although_its_dependencies_are_not_built() {
        let lib = "//! Pure.\n#![no_std]\nextern crate alloc;\n#[cfg(test)]\nextern crate std;\nuse blake3::Hasher;\n\
                   pub fn f(_: Hasher) -> alloc::vec::Vec<u8> { alloc::vec::Vec::new() }";
        assert_eq!(judge("pure", lib), Ok(()));
    }

    #[test]
    fn a_crate_with_std_is_found_by_the_compiler_too() {
        let wrong = judge("std", "//! Impure.\npub fn f() {}\n").unwrap_err();
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].contains("no_std") && wrong[1].contains("accepts"), "{wrong:?}");
    }

    #[test]
    fn a_conditional_no_std_is_not_enough() {
        let wrong = judge("cond", "//! Half.\n#![cfg_attr(feature = \"x\", no_std)]\npub fn f() {}\n").unwrap_err();
        assert_eq!(wrong.len(), 2, "{wrong:?}");
    }

    #[test]
    fn linking_std_by_the_back_door_is_found() {
        let wrong = judge("door", "//! Sly.\n#![no_std]\nextern crate std;\npub fn f() {}\n").unwrap_err();
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].contains("links std") && wrong[1].contains("accepts"), "{wrong:?}");
    }

    #[test]
    fn only_errors_on_the_added_line_count() {
        let message = |line: u64| {
            serde_json::json!({ "level": "error", "code": { "code": "E0432" },
                "spans": [{ "file_name": "src/lib.rs", "line_start": line }] })
        };
        assert_eq!(codes_on_line(&[message(3), message(9)], "src/lib.rs", 9), ["E0432"]);
        assert!(codes_on_line(&[message(3)], "src/lib.rs", 9).is_empty());
    }
}
