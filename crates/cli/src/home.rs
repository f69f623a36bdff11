//! Where a profile lies when nobody says: the platform's folder for data of programs.
//!
//! Not here: what is in it (`tombolo_client`).

use std::ffi::OsString;
use std::path::PathBuf;

/// Asks the environment; `None` when it names no home.
pub(crate) fn default_home() -> Option<PathBuf> {
    data_folder(std::env::consts::OS, &|name| std::env::var_os(name)).map(|folder| folder.join("tombolo"))
}

fn data_folder(system: &str, variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // A relative path in these would mean another place in every folder.
    let folder =
        |name| variable(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute() || system == "windows");
    match system {
        "windows" => folder("LOCALAPPDATA").or_else(|| folder("APPDATA")),
        "macos" => Some(folder("HOME")?.join("Library/Application Support")),
        _ => folder("XDG_DATA_HOME").or_else(|| Some(folder("HOME")?.join(".local/share"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_platform_has_its_place() {
        let only = |set: &'static [(&str, &str)]| {
            move |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        let of = |system: &str, set| data_folder(system, &only(set)).map(|path| path.display().to_string());
        assert_eq!(of("linux", &[("HOME", "/u")]).as_deref(), Some("/u/.local/share"));
        assert_eq!(of("linux", &[("HOME", "/u"), ("XDG_DATA_HOME", "/d")]).as_deref(), Some("/d"));
        assert_eq!(of("linux", &[("HOME", "/u"), ("XDG_DATA_HOME", "d")]).as_deref(), Some("/u/.local/share"));
        assert_eq!(of("macos", &[("HOME", "/u")]).as_deref(), Some("/u/Library/Application Support"));
        assert_eq!(of("windows", &[("LOCALAPPDATA", "C:\\d")]).as_deref(), Some("C:\\d"));
        assert_eq!(of("linux", &[]), None);
    }
}
