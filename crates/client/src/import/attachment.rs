//! Files that a message of a WhatsApp export names, and what is left of its text without them.
//!
//! iOS: `<attached: 00000012-PHOTO-2021-03-12-14-05-33.jpg>`, the word in the language of the phone, in older versions
//! `NAME <attached>`. Android: `IMG-20210312-WA0001.jpg (file attached)`. Words are not needed where the name is one
//! that the program gives, or one of the archive. A name is a label and never a path: what it would lead to is not
//! looked at. Not here: reading the files (`archive.rs`).

use super::header::is_mark;
use super::words::is_attached;
use tombolo_model::limit::{FILES_MAX, NAME_BYTES_MAX};

/// Takes the files out of a body: what is left, and their names as the export writes them. `known`: whether the archive
/// has such a file.
pub(super) fn take(body: &str, ios: bool, known: &dyn Fn(&str) -> bool) -> (String, Vec<String>) {
    let mut files = Vec::new();
    let mut rest: Vec<&str> = Vec::new();
    for (at, line) in body.split('\n').enumerate() {
        let found = if files.len() == FILES_MAX || line.len() > 4 * NAME_BYTES_MAX {
            None
        } else if ios {
            in_brackets(line)
        } else if at == 0 {
            before_brackets(line, known)
        } else {
            None
        };
        match found {
            Some((before, name)) => {
                files.push(name);
                if !before.is_empty() {
                    rest.push(before);
                }
            }
            None => rest.push(line),
        }
    }
    if files.is_empty() {
        return (body.to_owned(), files);
    }
    (rest.join("\n").trim_matches('\n').to_owned(), files)
}

/// `... <attached: NAME>` or `NAME <attached>`, and what stands before.
fn in_brackets(line: &str) -> Option<(&str, String)> {
    let line = line.trim_end_matches(is_mark).trim_end();
    let open = line.rfind('<')?;
    let inner = line[open + 1..].strip_suffix('>')?;
    let before = line[..open].trim_end_matches(is_mark);
    // Within a text the program marks what it says.
    let begins = before.trim().is_empty() || before.len() < open;
    if let Some((word, name)) = inner.split_once(':') {
        let name = visible(name);
        let is_word = word.chars().count() <= 40 && !word.contains(['/', '.']);
        return (begins && is_word && has_extension(&name)).then(|| (before.trim(), name));
    }
    let name = visible(before);
    (inner.starts_with(is_mark) && has_extension(&name) && is_given(&name)).then_some(("", name))
}

/// `NAME (file attached)`.
fn before_brackets<'a>(line: &'a str, known: &dyn Fn(&str) -> bool) -> Option<(&'a str, String)> {
    let line = line.trim_end_matches(is_mark).trim_end();
    let open = line.rfind(" (")?;
    let word = line[open + 2..].strip_suffix(')')?;
    let name = visible(&line[..open]);
    let is_file = has_extension(&name) && (known(&name) || is_given(&name) || is_attached(word));
    is_file.then_some(("", name))
}

fn visible(name: &str) -> String {
    name.chars().filter(|c| !is_mark(*c)).collect::<String>().trim().to_owned()
}

/// Whether something ends as names of files do.
fn has_extension(name: &str) -> bool {
    let Some((stem, ending)) = name.rsplit_once('.') else { return false };
    !stem.is_empty() && (1..=8).contains(&ending.len()) && ending.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether the program gave this name: `IMG-20210312-WA0001.jpg`, `00000012-PHOTO-2021-03-12-14-05-33.jpg`,
/// `2019-03-12-PHOTO-00000012.jpg`.
fn is_given(name: &str) -> bool {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let mut parts = stem.split('-');
    let all =
        |part: Option<&str>, of: fn(u8) -> bool| part.is_some_and(|part| !part.is_empty() && part.bytes().all(of));
    let digits: fn(u8) -> bool = |byte| byte.is_ascii_digit();
    let capitals: fn(u8) -> bool = |byte| byte.is_ascii_uppercase();
    let first = parts.next();
    if all(first, capitals) {
        let date = parts.next();
        return all(date, digits) && parts.next().is_some_and(|part| part.starts_with("WA"));
    }
    all(first, digits) && stem.split('-').any(|part| all(Some(part), capitals))
}

/// A name as a label for people: what comes after the last stroke, without marks and control characters, cut to its
/// limit. Never empty.
pub(super) fn label(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut label: String = last.chars().filter(|c| !is_mark(*c) && !c.is_control()).collect();
    let mut end = label.len().min(NAME_BYTES_MAX);
    while !label.is_char_boundary(end) {
        end -= 1;
    }
    label.truncate(end);
    match label.trim() {
        "" | "." | ".." => "file".into(),
        label => label.to_owned(),
    }
}

/// The media type that an ending stands for; never believed.
pub(super) fn media_type(name: &str) -> &'static str {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    match ending.as_deref() {
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("png") => "image/png",
        Some("webp") => "image/webp",
        Some("gif") => "image/gif",
        Some("mp4") => "video/mp4",
        Some("3gp") => "video/3gpp",
        Some("mov") => "video/quicktime",
        Some("opus" | "ogg") => "audio/ogg",
        Some("m4a" | "aac") => "audio/mp4",
        Some("mp3") => "audio/mpeg",
        Some("pdf") => "application/pdf",
        Some("vcf") => "text/vcard",
        Some("txt") => "text/plain",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_taken_out_of_texts() {
        let photo = "00000012-PHOTO-2021-03-12-14-05-33.jpg";
        for (body, ios, text, file) in [
            (format!("<attached: {photo}>"), true, "", photo),
            (format!("<Anhang: {photo}>"), true, "", photo),
            (format!("<pi\u{e8}ce jointe\u{a0}: {photo}>"), true, "", photo),
            (format!("look at this \u{200e}<attached: {photo}>"), true, "look at this", photo),
            ("2019-03-12-PHOTO-00000012.jpg <\u{200e}attached>".into(), true, "", "2019-03-12-PHOTO-00000012.jpg"),
            ("IMG-20210312-WA0001.jpg (file attached)".into(), false, "", "IMG-20210312-WA0001.jpg"),
            ("IMG-20210312-WA0001.jpg (xyz)\nlook".into(), false, "look", "IMG-20210312-WA0001.jpg"),
            ("Plan (2).pdf (Datei angeh\u{e4}ngt)".into(), false, "", "Plan (2).pdf"),
            ("\u{200e}here.odt (in any words)".into(), false, "", "here.odt"),
            ("../../etc/passwd.txt (file attached)".into(), false, "", "../../etc/passwd.txt"),
        ] {
            let found = take(&body, ios, &|name| name == "here.odt");
            assert_eq!(found, (text.to_owned(), vec![file.to_owned()]), "{body}");
        }
    }

    #[test]
    fn texts_stay_texts() {
        for (body, ios) in [
            ("see https://example.org/a.jpg (nice)", false),
            ("a.jpg (nice)", false),
            ("if a <b: c.d> e", true),
            ("vector<std::x.y>", true),
            ("<3", true),
            ("(file attached)", false),
            ("x (file attached)", false),
        ] {
            assert_eq!(take(body, ios, &|_| false), (body.to_owned(), vec![]), "{body}");
        }
    }

    #[test]
    fn labels_lead_nowhere() {
        assert_eq!(label("../../x.jpg"), "x.jpg");
        assert_eq!(label("C:\\Windows\\x.exe"), "x.exe");
        assert_eq!(label("photo\u{202e}gpj.exe"), "photogpj.exe");
        assert_eq!(label("a\0b\nc"), "abc");
        for empty in ["", "/", "..", "a/..", " ", "\u{202e}"] {
            assert_eq!(label(empty), "file", "{empty:?}");
        }
        assert_eq!(label(&"\u{e9}".repeat(400)).len(), NAME_BYTES_MAX);
    }
}
