//! Rules for manifests: versions and lints come from the workspace, packages come from one registry.

use super::{File, Findings};

/// Where every package of the lock file comes from; it is an identifier, no address that is called.
const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";
/// Values of `[package]` that a crate inherits.
const INHERITED: &[&str] = &["version", "edition", "rust-version", "license", "publish"];

pub(super) fn check(file: &File, found: &mut Findings) {
    if file.text.lines().any(|line| line.trim() == "[workspace]") {
        // A workspace of its own (fuzzing needs one) cannot inherit.
        return;
    }
    let mut section = String::new();
    let mut lints = false;
    for (at, line) in file.text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(name) = line.strip_prefix('[') {
            name.trim_end_matches(']').clone_into(&mut section);
            continue;
        }
        let Some((key, value)) = line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) else {
            continue;
        };
        lints |= (section == "lints" && key == "workspace") || key == "lints.workspace";
        let mut report = |text: String| found.wrong.push(format!("{}:{}: {text}", file.path, at + 1));
        if section == "package" && INHERITED.contains(&key) {
            report(format!("write `{key}.workspace = true`"));
        }
        let (table, entry) = section.rsplit_once('.').unwrap_or((&section, ""));
        if is_dependencies(&section) {
            let inherited = key.ends_with(".workspace") || value.contains("workspace = true");
            let detail = key.contains('.') && !key.ends_with(".version") && !key.ends_with(".path");
            if !inherited && !detail {
                report(format!("the version of {key} belongs into the root's [workspace.dependencies]"));
            }
        } else if is_dependencies(table) && ["version", "path", "git"].contains(&key) {
            report(format!("the version of {entry} belongs into the root's [workspace.dependencies]"));
        }
    }
    if !lints {
        found.wrong.push(format!("{}: add `[lints] workspace = true`", file.path));
    }
}

fn is_dependencies(section: &str) -> bool {
    let last = section.rsplit('.').next().unwrap_or(section);
    ["dependencies", "dev-dependencies", "build-dependencies"].contains(&last)
}

pub(super) fn check_lock(file: &File, found: &mut Findings) {
    for (at, line) in file.text.lines().enumerate() {
        let source = line.strip_prefix("source = ").map(|text| text.trim_matches('"'));
        if source.is_some_and(|source| source != SOURCE) {
            found.wrong.push(format!("{}:{}: a package from elsewhere than crates.io", file.path, at + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::findings;

    fn wrong(text: &str) -> Vec<String> {
        findings(&[("crates/a/Cargo.toml", text)]).wrong
    }

    const LINTS: &str = "[lints]\nworkspace = true\n";

    #[test]
    fn versions_come_from_the_workspace() {
        let good = "[dependencies]\nserde.workspace = true\nzstd = { workspace = true, features = [\"x\"] }\n\
                    [dependencies.clap]\nworkspace = true\nfeatures = [\"y\"]\n";
        assert!(wrong(&format!("{LINTS}{good}")).is_empty());
        for bad in [
            "[dependencies]\nserde = \"1\"\n",
            "[dev-dependencies]\nserde = { version = \"1\" }\n",
            "[build-dependencies]\nserde.version = \"1\"\n",
            "[target.'cfg(unix)'.dependencies]\nserde = \"1\"\n",
            "[dependencies.serde]\nversion = \"1\"\n",
            "[dependencies]\nmodel = { path = \"../model\" }\n",
        ] {
            assert_eq!(wrong(&format!("{LINTS}{bad}")).len(), 1, "{bad}");
        }
    }

    #[test]
    fn package_values_and_lints_are_inherited() {
        assert!(wrong(&format!("[package]\nname = \"a\"\nversion.workspace = true\n{LINTS}")).is_empty());
        assert_eq!(wrong(&format!("[package]\nversion = \"1.0.0\"\n{LINTS}")).len(), 1);
        assert_eq!(wrong("[package]\nname = \"a\"\n").len(), 1);
    }

    #[test]
    fn a_workspace_of_its_own_is_left_alone() {
        assert!(wrong("[workspace]\n[dependencies]\nserde = \"1\"\n").is_empty());
    }

    #[test]
    fn packages_from_elsewhere_are_found() {
        let good = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
        assert!(findings(&[("Cargo.lock", good)]).wrong.is_empty());
        assert_eq!(findings(&[("Cargo.lock", "source = \"git+https://example.org/x\"\n")]).wrong.len(), 1);
    }
}
