//! The TypeScript of the interface is what the Rust types say. `TOMBOLO_WRITE_TYPES=1 cargo test -p tombolo-app` writes
//! it; without that the file that is kept must be equal.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use tombolo_app::api;
use ts_rs::{Config, TS};

const HEAD: &str = "\
// What the interface asks and is told. Generated from crates/app/src/api.rs, where every field is explained; written by
// `TOMBOLO_WRITE_TYPES=1 cargo test -p tombolo-app`.
";

fn types() -> String {
    let config = Config::default();
    let mut out = String::from(HEAD);
    macro_rules! declare {
        ($($name:ident)*) => { $(out.push_str(&format!("\nexport {}\n", api::$name::decl(&config)));)* };
    }
    declare!(
        Ask Call Keep Tell Update Problem Start Profile LinkState CutOff Proven Conversation Kind Excerpt Founded Link
        Window Message State Cited File Image Reaction Gap Step Sent Text Hit Details Person Conflict Version Receipt
    );
    out
}

#[test]
fn the_types_of_the_interface_are_those_of_the_api() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ui/src/lib/api.ts");
    if std::env::var_os("TOMBOLO_WRITE_TYPES").is_some() {
        std::fs::write(&file, types()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), types(), "write it anew, see the head of this file");
}
