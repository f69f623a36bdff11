//! Rules for one Rust source: its head, its size, its names, what it may not contain.

use super::{File, Findings};
use crate::source::{self, Views};

/// Above this a file fails.
const LINES_MAX: usize = 900;
/// Above this a file is named, so that its size is a decision.
const LINES_ADVISED: usize = 600;

/// Words that say nothing about what a type is for.
const EMPTY_WORDS: &[&str] = &["Manager", "Service", "Helper", "Helpers", "Util", "Utils"];
const EMPTY_FILES: &[&str] = &["util", "utils", "helper", "helpers", "misc", "common"];

// In pieces, so that searching the tree for half-done work does not end here.
const HALF_DONE: &[&str] =
    &[concat!("to", "do!"), concat!("unimple", "mented!"), concat!("d", "bg!"), concat!("#[", "ignore")];

pub(super) fn check(file: &File, found: &mut Findings) {
    let path = &file.path;
    if !file.text.starts_with("//!") {
        found.wrong.push(format!("{path}: does not begin with a //! head (what it is responsible for, what not)"));
    }
    let lines = file.text.lines().count();
    if lines > LINES_MAX {
        found.wrong.push(format!("{path}: {lines} lines, more than {LINES_MAX}: split it"));
    } else if lines > LINES_ADVISED {
        found.remarks.push(format!("{path}: {lines} lines, more than the advised {LINES_ADVISED}"));
    }
    let stem = path.rsplit('/').next().and_then(|name| name.strip_suffix(".rs")).unwrap_or(path);
    if EMPTY_FILES.contains(&stem) {
        found.wrong.push(format!("{path}: the name `{stem}` says nothing about what is in it"));
    }
    let views = source::views(&file.text);
    for (at, line) in views.code.lines().enumerate() {
        for needle in HALF_DONE {
            // An attribute may stand behind anything, a macro's name may be the end of another one.
            let hit = if needle.starts_with('#') { line.contains(needle) } else { source::names(line, needle) };
            if hit {
                found.wrong.push(format!("{path}:{}: {needle} is not for committed code", at + 1));
            }
        }
        if let Some((name, word)) = defined_type(line).and_then(|name| Some((name, empty_word(name)?))) {
            found.wrong.push(format!("{path}:{}: {name}: `{word}` says nothing; name what it does", at + 1));
        }
    }
    ascii(file, &views, found);
}

/// The type that this line defines. An indented `type` fills in an associated type, whose name another trait chose.
fn defined_type(line: &str) -> Option<&str> {
    if line.starts_with(' ') && line.trim_start().starts_with("type ") {
        return None;
    }
    let mut words = line.split_whitespace();
    words.find(|word| ["struct", "enum", "trait", "type", "union"].contains(word))?;
    let name = words.next()?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    (end > 0).then_some(&name[..end])
}

/// An empty word among the parts of a CamelCase name.
fn empty_word(name: &str) -> Option<&'static str> {
    let starts: Vec<usize> = name.char_indices().filter(|(_, c)| c.is_uppercase()).map(|(at, _)| at).collect();
    let ends = starts.iter().copied().skip_while(|at| *at == 0).chain([name.len()]);
    let mut parts = starts.iter().zip(ends).map(|(from, to)| &name[*from..to]);
    parts.find_map(|part| EMPTY_WORDS.iter().find(|word| **word == part).copied())
}

/// Sources are ASCII: look-alikes and invisible characters cannot hide. Tests may use any text; so may strings of unit
/// tests, that is, strings below `#[cfg(test)]`.
fn ascii(file: &File, views: &Views, found: &mut Findings) {
    if file.text.is_ascii() || file.path.split('/').any(|part| part == "tests" || part == "tests.rs") {
        return;
    }
    let mut in_unit_tests = false;
    for (at, (line, rest)) in file.text.lines().zip(views.without_strings.lines()).enumerate() {
        in_unit_tests |= rest.trim_start().starts_with("#[cfg(test)]");
        let looked_at = if in_unit_tests { rest } else { line };
        if let Some(c) = looked_at.chars().find(|c| !c.is_ascii()) {
            let code = u32::from(c);
            found.wrong.push(format!(
                "{}:{}: U+{code:04X} is not ASCII; in a string write \\u{{{code:x}}}",
                file.path,
                at + 1
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Findings;
    use super::super::tests::findings;

    const MANIFEST: (&str, &str) = ("crates/a/Cargo.toml", "lints.workspace = true\n");

    fn of_lib(text: &str) -> Findings {
        findings(&[MANIFEST, ("crates/a/src/lib.rs", text)])
    }

    fn wrong(text: &str) -> Vec<String> {
        of_lib(text).wrong
    }

    #[test]
    fn a_head_is_wanted() {
        assert_eq!(wrong("fn f() {}\n").len(), 1);
        assert!(wrong("//! Head.\nfn f() {}\n").is_empty());
    }

    #[test]
    fn sizes_are_watched() {
        let long = |lines: usize| format!("//! Head.\n{}", "\n".repeat(lines - 1));
        assert!(of_lib(&long(600)).remarks.is_empty());
        let found = of_lib(&long(601));
        assert_eq!((found.wrong.len(), found.remarks.len()), (0, 1));
        assert!(wrong(&long(900)).is_empty());
        assert_eq!(wrong(&long(901)).len(), 1);
    }

    #[test]
    fn half_done_work_is_found_in_code_only() {
        for needle in super::HALF_DONE {
            assert_eq!(wrong(&format!("//! Head.\n fn f() {{ {needle}(x) }}\n")).len(), 1, "{needle}");
            assert!(wrong(&format!("//! Head.\n// never {needle}(\nconst A: &str = \"{needle}\";\n")).is_empty());
        }
        assert!(wrong(concat!("//! Head.\nmy_to", "do!()\n")).is_empty());
    }

    #[test]
    fn empty_names_of_types_are_found() {
        for line in
            ["struct StoreManager;", "pub(crate) enum Util { A }", "trait ServiceLike {}", "type MyHelpers<T> = T;"]
        {
            assert_eq!(wrong(&format!("//! Head.\n{line}\n")).len(), 1, "{line}");
        }
        for line in [
            "    type Service = S;",
            "struct Managers2;",
            "struct Serviceable;",
            "// struct Helper;",
            "use other::Service;",
            "struct T(u8);",
        ] {
            assert!(wrong(&format!("//! Head.\n{line}\n")).is_empty(), "{line}");
        }
    }

    #[test]
    fn empty_names_of_files_are_found() {
        let files =
            [MANIFEST, ("crates/a/src/lib.rs", "//! Head.\nmod utils;\n"), ("crates/a/src/utils.rs", "//! Head.\n")];
        assert_eq!(findings(&files).wrong.len(), 1);
    }

    #[test]
    fn other_letters_are_for_tests() {
        assert_eq!(wrong("//! Head \u{2014} long.\n").len(), 1);
        assert_eq!(wrong("//! Head.\nconst A: &str = \"\u{e9}\";\n").len(), 1);
        assert!(wrong("//! Head.\n#[cfg(test)]\nmod tests { const A: &str = \"\u{e9}\"; }\n").is_empty());
        assert_eq!(wrong("//! Head.\n#[cfg(test)]\nmod tests { /* \u{e9} */ }\n").len(), 1);
        let it = [MANIFEST, ("crates/a/tests/it.rs", "//! Head.\n// \u{e9}\n")];
        assert!(findings(&it).wrong.is_empty());
    }
}
