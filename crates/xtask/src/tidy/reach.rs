//! Finds Rust files that belong to no crate: a test that is never listed is never run, and nobody notices.
//!
//! A file is reached if cargo makes it the root of a target by its place, if a manifest names it, or if the file above
//! it says `mod name;` (or names it in a `#[path]`). Where integration tests have one runner (`main.rs`), the files
//! beside it must be listed there.

use super::{File, Findings};
use crate::source;

/// Folders of a package in which cargo takes every file for the root of a target.
const ROOTS: &[&str] = &["src/bin", "tests", "examples", "benches"];

pub(super) fn check(files: &[File], found: &mut Findings) {
    for file in files.iter().filter(|file| file.is_rust()) {
        if !is_reached(file, files) {
            found.wrong.push(format!("{}: no `mod` line leads to it, so it is never compiled", file.path));
        }
    }
}

fn is_reached(file: &File, files: &[File]) -> bool {
    let (dir, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let stem = name.strip_suffix(".rs").unwrap_or(name);
    let find = |path: &str| files.iter().find(|other| other.path == path && other.path != file.path);
    let package = package_of(dir, files);
    let inside = |dir: &str| match (package, dir) {
        (Some(""), dir) => dir.to_owned(),
        (Some(package), dir) => dir.strip_prefix(package).map_or("?", |rest| rest.trim_start_matches('/')).to_owned(),
        (None, _) => "?".to_owned(),
    };
    let place = inside(dir);

    // Roots by their place.
    let runner_beside = stem != "main" && find(&format!("{dir}/main.rs")).is_some();
    let is_root = match place.as_str() {
        "" => stem == "build",
        "src" => stem == "lib" || stem == "main",
        "src/bin" | "examples" | "benches" => true,
        // One binary per file, unless a runner stands beside it and must list it.
        "tests" => !runner_beside,
        // `tests/it/main.rs` and the like.
        other => {
            stem == "main" && ["tests/", "src/bin/", "examples/", "benches/"].iter().any(|at| other.starts_with(at))
        }
    };
    if is_root {
        return true;
    }
    let manifest = package.map(|package| join(package, "Cargo.toml")).and_then(|path| find(&path));
    let relative = join(&place, name);
    if manifest.is_some_and(|manifest| manifest.text.contains(&format!("\"{relative}\""))) {
        return true;
    }

    // Modules: `dir/stem.rs` is declared in `dir/{main,lib,mod}.rs` or `dir.rs`; `dir/mod.rs` one level up.
    let (home, module) = if stem == "mod" { dir.rsplit_once('/').unwrap_or(("", dir)) } else { (dir, stem) };
    let mut above: Vec<&File> =
        ["main.rs", "lib.rs", "mod.rs"].iter().filter_map(|name| find(&join(home, name))).collect();
    above.extend(find(&format!("{home}.rs")));
    if ROOTS.contains(&place.as_str()) {
        above.retain(|other| other.path.ends_with("/main.rs"));
    }
    if ROOTS.contains(&inside(home).as_str()) && dir != home {
        // `tests/common/mod.rs`: whichever of the tests beside it may use it.
        above.extend(files.iter().filter(|other| other.path.rsplit_once('/').is_some_and(|(there, _)| there == home)));
    }
    // A target whose root has another name (a manifest gives its path) lists the modules beside it.
    above.extend(files.iter().filter(|other| {
        let beside = other.path.rsplit_once('/').is_some_and(|(there, _)| there == home);
        let named = other.path.strip_prefix(package.unwrap_or("?")).map(|rest| rest.trim_start_matches('/'));
        beside
            && other.path != file.path
            && manifest.zip(named).is_some_and(|(manifest, named)| manifest.text.contains(&format!("\"{named}\"")))
    }));
    above.iter().any(|other| declares(&other.text, module) || other.text.contains(&format!("{name}\"]")))
}

/// The nearest folder above (or at) `dir` that has a manifest.
fn package_of<'a>(dir: &'a str, files: &[File]) -> Option<&'a str> {
    let mut at = dir;
    loop {
        if files.iter().any(|file| file.path == join(at, "Cargo.toml")) {
            return Some(at);
        }
        if at.is_empty() {
            return None;
        }
        at = at.rsplit_once('/').map_or("", |(above, _)| above);
    }
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// `mod name;` in code, with any visibility; `mod name {` is a module of its own.
fn declares(text: &str, name: &str) -> bool {
    let code = source::views(text).code;
    let words = format!("mod {name};");
    code.lines().any(|line| source::names(line, &words))
}

#[cfg(test)]
mod tests {
    use super::super::tests::findings;

    const MANIFEST: (&str, &str) = ("crates/a/Cargo.toml", "[package]\nlints.workspace = true\n");

    fn forgotten(files: &[(&str, &str)]) -> Vec<String> {
        let mut all = vec![MANIFEST];
        all.extend(files);
        let wrong = findings(&all).wrong;
        wrong.iter().filter_map(|text| text.split_once(": no `mod`")).map(|(path, _)| path.to_owned()).collect()
    }

    #[test]
    fn a_module_that_nobody_names_is_found() {
        let files = [("crates/a/src/lib.rs", "//! H\npub mod b;\n"), ("crates/a/src/b.rs", "//! H\n")];
        assert!(forgotten(&files).is_empty());
        let files = [("crates/a/src/lib.rs", "//! H\n// mod b;\n"), ("crates/a/src/b.rs", "//! H\n")];
        assert_eq!(forgotten(&files), ["crates/a/src/b.rs"]);
    }

    #[test]
    fn modules_in_folders_are_followed() {
        let files = [
            ("crates/a/src/lib.rs", "//! H\nmod b;\nmod c;\n"),
            ("crates/a/src/b.rs", "//! H\nmod x;\n"),
            ("crates/a/src/b/x.rs", "//! H\n"),
            ("crates/a/src/b/y.rs", "//! H\n"),
            ("crates/a/src/c/mod.rs", "//! H\nmod z;\n"),
            ("crates/a/src/c/z.rs", "//! H\n"),
            ("crates/a/src/d/mod.rs", "//! H\n"),
        ];
        assert_eq!(forgotten(&files), ["crates/a/src/b/y.rs", "crates/a/src/d/mod.rs"]);
    }

    #[test]
    fn integration_tests_beside_a_runner_must_be_listed() {
        let alone = [("crates/a/tests/one.rs", "//! H\n"), ("crates/a/tests/two.rs", "//! H\n")];
        assert!(forgotten(&alone).is_empty());
        let mut files = vec![("crates/a/tests/main.rs", "//! H\nmod one;\n")];
        files.extend(alone);
        assert_eq!(forgotten(&files), ["crates/a/tests/two.rs"]);
        let below = [
            ("crates/a/tests/it/main.rs", "//! H\nmod one;\n"),
            ("crates/a/tests/it/one.rs", "//! H\n"),
            ("crates/a/tests/it/two.rs", "//! H\n"),
        ];
        assert_eq!(forgotten(&below), ["crates/a/tests/it/two.rs"]);
    }

    #[test]
    fn what_tests_share_must_be_used_by_one_of_them() {
        let files = [
            ("crates/a/tests/one.rs", "//! H\nmod common;\n"),
            ("crates/a/tests/common/mod.rs", "//! H\nmod deep;\n"),
            ("crates/a/tests/common/deep.rs", "//! H\n"),
            ("crates/a/tests/unused/mod.rs", "//! H\n"),
        ];
        assert_eq!(forgotten(&files), ["crates/a/tests/unused/mod.rs"]);
    }

    #[test]
    fn a_target_that_the_manifest_names_is_reached_and_so_are_its_modules() {
        let manifest = ("crates/b/Cargo.toml", "lints.workspace = true\n[[bin]]\npath = \"sim/sim.rs\"\n");
        let files = [
            manifest,
            ("crates/b/sim/sim.rs", "//! H\nmod world;\n"),
            ("crates/b/sim/world.rs", "//! H\n"),
            ("crates/b/sim/lost.rs", "//! H\n"),
        ];
        assert_eq!(forgotten(&files), ["crates/b/sim/lost.rs"]);
    }

    #[test]
    fn roots_by_place_need_no_line() {
        let files = [
            ("crates/a/build.rs", "//! H\n"),
            ("crates/a/src/main.rs", "//! H\n"),
            ("crates/a/src/bin/tool.rs", "//! H\n"),
            ("crates/a/src/bin/other/main.rs", "//! H\n"),
            ("crates/a/examples/bot.rs", "//! H\n"),
        ];
        assert!(forgotten(&files).is_empty());
    }
}
