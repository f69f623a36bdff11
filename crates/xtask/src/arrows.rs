//! Which crate may import which: the picture in ARCHITECTURE.md as a check on cargo's metadata.
//!
//! Looks at ordinary and build dependencies between our own packages. Dev-dependencies are free: they ship nowhere.

use serde_json::Value;

/// Every package and what it may import. A package without a row is a finding: new rooms need a decision.
const ALLOWED: &[(&str, &[&str])] = &[
    ("tombolo-model", &[]),
    ("tombolo-identity", &["tombolo-model"]),
    ("tombolo-proto", &["tombolo-model"]),
    ("tombolo-oplog", &["tombolo-model"]),
    ("tombolo-seal", &["tombolo-identity", "tombolo-model"]),
    ("tombolo-store", &["tombolo-oplog", "tombolo-model"]),
    ("tombolo-replica", &["tombolo-identity", "tombolo-proto", "tombolo-oplog", "tombolo-model"]),
    (
        "tombolo-client",
        &[
            "tombolo-store",
            "tombolo-seal",
            "tombolo-replica",
            "tombolo-identity",
            "tombolo-proto",
            "tombolo-oplog",
            "tombolo-model",
        ],
    ),
    // Never store, never seal: a relay holds no keys and never reads a body.
    ("tombolo-relay", &["tombolo-replica", "tombolo-identity", "tombolo-proto", "tombolo-oplog", "tombolo-model"]),
    ("tombolo-app", &["tombolo-client"]),
    ("tombolo-web", &["tombolo-app"]),
    ("tombolo-cli", &["tombolo-app", "tombolo-client", "tombolo-web"]),
    ("xtask", &[]),
];

/// These may import anything; the first of them may itself be imported only by the second.
const TESTKIT: &str = "tombolo-testkit";
const SUITE: &str = "suite";

/// Compares the dependencies in `metadata` with the table. Returns how many were looked at.
///
/// # Errors
/// One sentence for every arrow that is not allowed.
pub(crate) fn check(metadata: &Value) -> Result<usize, Vec<String>> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name_of = |package: &Value| package["name"].as_str().unwrap_or_default().to_owned();
    let ours: Vec<String> = packages.iter().map(name_of).collect();
    let (mut looked, mut wrong) = (0, Vec::new());
    for package in packages {
        let from = name_of(package);
        let row = ALLOWED.iter().find(|(name, _)| *name == from).map(|(_, allowed)| *allowed);
        let free = from == TESTKIT || from == SUITE;
        if row.is_none() && !free {
            wrong.push(format!("{from} has no row in the table of arrows (crates/xtask/src/arrows.rs)"));
            continue;
        }
        for dependency in package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let to = dependency["name"].as_str().unwrap_or_default();
            // Absent for ordinary dependencies, else "build" or "dev".
            let kind = dependency["kind"].as_str().unwrap_or("normal");
            if kind == "dev" || !ours.iter().any(|name| name == to) {
                continue;
            }
            looked += 1;
            if to == TESTKIT && from != SUITE {
                wrong.push(format!("{from} imports {to} ({kind}): only dev-dependencies and {SUITE} may"));
            } else if !free && !row.unwrap_or_default().contains(&to) {
                wrong.push(format!("{from} -> {to} ({kind}) is not an allowed arrow"));
            }
        }
    }
    if looked == 0 {
        wrong.push(
            "no dependency between our own packages was found: the metadata is not what this check expects".into(),
        );
    }
    if wrong.is_empty() { Ok(looked) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
        let list: Vec<Value> = dependencies.iter().map(|(name, kind)| json!({ "name": name, "kind": kind })).collect();
        json!({ "name": name, "dependencies": list })
    }

    fn world(extra: Value) -> Value {
        json!({ "packages": [
            package("tombolo-model", &[]),
            package("tombolo-store", &[("tombolo-model", None), ("rusqlite", None)]),
            package("tombolo-seal", &[("tombolo-model", None)]),
            package("tombolo-testkit", &[("tombolo-store", None)]),
            package("suite", &[("tombolo-testkit", None), ("tombolo-store", None)]),
            extra,
        ] })
    }

    fn findings(extra: Value) -> Vec<String> {
        check(&world(extra)).err().unwrap_or_default()
    }

    #[test]
    fn the_plan_itself_is_accepted() {
        assert_eq!(check(&world(package("tombolo-oplog", &[("tombolo-model", None)]))), Ok(6));
    }

    #[test]
    fn a_relay_that_reads_bodies_is_refused() {
        let wrong = findings(package("tombolo-relay", &[("tombolo-seal", None), ("tombolo-model", None)]));
        assert_eq!(wrong, ["tombolo-relay -> tombolo-seal (normal) is not an allowed arrow"]);
        let wrong = findings(package("tombolo-relay", &[("tombolo-store", Some("build"))]));
        assert_eq!(wrong, ["tombolo-relay -> tombolo-store (build) is not an allowed arrow"]);
    }

    #[test]
    fn testkit_is_for_tests_only() {
        let wrong = findings(package("tombolo-oplog", &[("tombolo-testkit", None)]));
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(findings(package("tombolo-oplog", &[("tombolo-testkit", Some("dev"))])).is_empty());
    }

    #[test]
    fn a_new_room_needs_a_row() {
        assert_eq!(findings(package("tombolo-attic", &[])).len(), 1);
    }

    #[test]
    fn metadata_without_arrows_is_no_proof() {
        assert!(check(&json!({ "packages": [] })).is_err());
    }

    #[test]
    fn the_table_has_no_way_back() {
        // A row may only name rows above it, so the picture has no circle.
        for (at, (name, allowed)) in ALLOWED.iter().enumerate() {
            for to in *allowed {
                assert!(ALLOWED[..at].iter().any(|(above, _)| above == to), "{name} -> {to}");
            }
        }
    }
}
