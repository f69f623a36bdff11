//! Names of files are labels: what a sender calls a file says nothing about where it is put.
//!
//! [`of`] makes a label from a path, [`suggestion`] a name for a file from a label that a stranger may have written, and
//! [`media`] a guess that nobody believes. Not here: writing files (`folder.rs`).

use std::path::Path;
use tombolo_model::limit::NAME_BYTES_MAX;

/// **Bytes** of a suggested name: file systems take 255, and people add to names.
const SUGGESTION_BYTES_MAX: usize = 200;
/// A name when a label has nothing to offer.
const NAMELESS: &str = "file";
/// Names that Windows gives to devices, whatever their ending.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

/// What a file is called in a message: the last part of its path.
pub(crate) fn of(path: &Path) -> String {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    cut(&name, NAME_BYTES_MAX).to_owned()
}

/// A name under which the file may be put into a folder: one part, printable, no device, not hidden.
#[must_use]
pub fn suggestion(label: &str) -> String {
    let last = label.rsplit(['/', '\\']).next().unwrap_or_default();
    let allowed = |c: char| !c.is_control() && !is_invisible(c);
    let replaced = |c: char| if matches!(c, ':' | '*' | '?' | '"' | '<' | '>' | '|') { '_' } else { c };
    let clean: String = last.chars().filter(|c| allowed(*c)).map(replaced).collect();
    let at_ends = |c: char| c == '.' || c.is_whitespace();
    let clean = shortened(clean.trim_start_matches(at_ends).trim_end_matches(at_ends));
    let stem = clean.split('.').next().unwrap_or_default().trim_end().to_lowercase();
    let numbered = |name: &str| stem.strip_prefix(name).is_some_and(|rest| rest.chars().count() == 1);
    if clean.is_empty() {
        NAMELESS.to_owned()
    } else if DEVICES.contains(&stem.as_str()) || numbered("com") || numbered("lpt") {
        format!("_{clean}")
    } else {
        clean
    }
}

/// Marks that change the direction of what follows, or cannot be seen: with them `exe.jpg` can look like `gpj.exe`.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The name, with its ending kept where that is short.
fn shortened(name: &str) -> String {
    if name.len() <= SUGGESTION_BYTES_MAX {
        return name.to_owned();
    }
    match name.rsplit_once('.') {
        Some((stem, ending)) if ending.len() <= 16 => {
            format!("{}.{ending}", cut(stem, SUGGESTION_BYTES_MAX - ending.len() - 1))
        }
        _ => cut(name, SUGGESTION_BYTES_MAX).to_owned(),
    }
}

/// At most so many bytes, whole characters.
fn cut(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The media type that the ending of a name suggests.
pub(crate) fn media(name: &str) -> &'static str {
    let ending = name.rsplit_once('.').map_or(String::new(), |(_, ending)| ending.to_ascii_lowercase());
    match ending.as_str() {
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "heic" => "image/heic",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "json" => "application/json",
        "txt" | "log" | "md" => "text/plain",
        "csv" => "text/csv",
        "mp3" => "audio/mpeg",
        "m4a" => "audio/mp4",
        "ogg" | "opus" => "audio/ogg",
        "wav" => "audio/wav",
        "mp4" | "m4v" => "video/mp4",
        "webm" => "video/webm",
        "mov" => "video/quicktime",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_leads_out_of_its_folder() {
        for (label, name) in [
            ("../../x", "x"),
            ("/etc/passwd", "passwd"),
            ("..\\..\\x.txt", "x.txt"),
            ("..", "file"),
            ("", "file"),
            ("a/", "file"),
            (".bashrc", "bashrc"),
            ("C:\\x", "x"),
            ("C:x", "C_x"),
            ("con", "_con"),
            ("Nul.txt", "_Nul.txt"),
            ("COM1", "_COM1"),
            ("com10", "com10"),
            ("a\0b\nc", "abc"),
            ("photo\u{202e}gpj.exe", "photogpj.exe"),
            (" x. ", "x"),
            ("\u{e4}\u{f6}.png", "\u{e4}\u{f6}.png"),
        ] {
            assert_eq!(suggestion(label), name, "{label:?}");
        }
    }

    #[test]
    fn any_label_gives_one_part() {
        // Every pair of awkward characters around a letter.
        let awkward: Vec<char> = "./\\: \0\u{202e}~$%*?\"<>|\n".chars().collect();
        for a in &awkward {
            for b in &awkward {
                for label in [format!("{a}{b}"), format!("{a}x{b}"), format!("{a}{b}x"), format!("x{a}{b}")] {
                    let name = suggestion(&label);
                    let parts: Vec<_> = Path::new(&name).components().collect();
                    assert!(matches!(parts[..], [std::path::Component::Normal(_)]), "{label:?} gave {name:?}");
                }
            }
        }
    }

    #[test]
    fn long_names_keep_their_ending() {
        let long = format!("{}.jpeg", "\u{e4}".repeat(300));
        let name = suggestion(&long);
        assert!(name.len() <= 200 && name.ends_with(".jpeg"), "{name}");
        assert!(suggestion(&"x".repeat(500)).len() <= 200);
        assert!(of(Path::new(&"x".repeat(500))).len() <= NAME_BYTES_MAX);
        assert_eq!(of(Path::new("/a/b/photo.jpg")), "photo.jpg");
    }
}
