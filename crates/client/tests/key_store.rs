//! The file of keys keeps, replaces, forgets and refuses; without a session bus the keyring is missed quickly and by name.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tombolo_client::key_store::{KeyStore, KeyStoreError, KeyStoreKind, SECRET_BYTES_MAX};

fn open(home: &Path) -> Result<KeyStore, KeyStoreError> {
    KeyStore::open(KeyStoreKind::File, home)
}

fn get(home: &Path, name: &str) -> Option<Vec<u8>> {
    open(home).unwrap().get(name).unwrap().map(|secret| secret.to_vec())
}

fn names(home: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(home).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_kept_is_found_after_reopening() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path()).unwrap();
    assert_eq!(store.kind(), KeyStoreKind::File);
    assert!(store.get("device").unwrap().is_none());
    store.put("device", &[0xa1; 32]).unwrap();
    store.put("empty", &[]).unwrap();
    store.put("all", &(0..=255).collect::<Vec<u8>>()).unwrap();
    store.put("device", &[0xa2; 32]).unwrap();
    assert_eq!(get(home.path(), "device"), Some(vec![0xa2; 32]));
    assert_eq!(get(home.path(), "empty"), Some(vec![]));
    assert_eq!(get(home.path(), "all"), Some((0..=255).collect()));
    store.delete("device").unwrap();
    store.delete("device").unwrap();
    assert_eq!(get(home.path(), "device"), None);
    assert_eq!(get(home.path(), "empty"), Some(vec![]));
    assert_eq!(names(home.path()), ["keys", "keys.lock"]);
    assert!(!format!("{store:?}").contains("a2"));
}

#[test]
fn probing_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    open(home.path()).unwrap().probe().unwrap();
    assert_eq!(fs::read_to_string(home.path().join("keys")).unwrap(), "tombolo keys 1\n");
}

#[test]
fn bad_names_and_large_secrets_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path()).unwrap();
    for name in ["", "a b", "a\nb", "../keys", "Device", &"x".repeat(65)] {
        assert_eq!(store.put(name, b"x").unwrap_err().code(), "not_storable", "{name:?}");
        assert_eq!(store.get(name).unwrap_err().code(), "not_storable");
    }
    assert_eq!(store.put("a", &vec![0; SECRET_BYTES_MAX + 1]).unwrap_err().code(), "not_storable");
    store.put(&"x".repeat(64), &vec![7; SECRET_BYTES_MAX]).unwrap();
    assert_eq!(get(home.path(), &"x".repeat(64)), Some(vec![7; SECRET_BYTES_MAX]));
}

#[test]
fn many_writers_lose_nothing() {
    let home = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let home = home.path();
            scope.spawn(move || {
                let store = open(home).unwrap();
                for secret in 0..5 {
                    store.put(&format!("w{writer}-{secret}"), &[writer, secret]).unwrap();
                }
            });
        }
    });
    for (writer, secret) in (0..4).flat_map(|writer| (0..5).map(move |secret| (writer, secret))) {
        assert_eq!(get(home.path(), &format!("w{writer}-{secret}")), Some(vec![writer, secret]));
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path()).unwrap();
    store.put("device", &[1; 32]).unwrap();
    let keys = home.path().join("keys");
    for file in ["keys", "keys.lock"] {
        assert_eq!(fs::metadata(home.path().join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    let before = fs::read(&keys).unwrap();
    for mode in [0o640, 0o604, 0o660, 0o644] {
        fs::set_permissions(&keys, fs::Permissions::from_mode(mode)).unwrap();
        for error in [open(home.path()).err(), store.get("device").err(), store.put("b", b"b").err()] {
            let error = error.unwrap();
            assert_eq!(error.code(), "keys_too_open");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }
    assert_eq!(fs::read(&keys).unwrap(), before);
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o400)).unwrap();
    assert_eq!(get(home.path(), "device"), Some(vec![1; 32]));
}

#[test]
fn damaged_and_newer_files_are_named_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let keys = home.path().join("keys");
    open(home.path()).unwrap().put("device", &[1; 32]).unwrap();
    let secret = "01".repeat(32);
    for (text, code) in [
        ("tombolo keys 2\nwhatever\n".to_owned(), "keys_newer"),
        (String::new(), "keys_damaged"),
        ("something else\n".to_owned(), "keys_damaged"),
        ("tombolo keys 1".to_owned(), "keys_damaged"),
        (format!("tombolo keys 1\ndevice {secret}"), "keys_damaged"),
        (format!("tombolo keys 1\ndevice {}\n", &secret[1..]), "keys_damaged"),
        (format!("tombolo keys 1\ndevice\n{secret}\n"), "keys_damaged"),
        (format!("tombolo keys 1\ndevice {secret}\ndevice {secret}\n"), "keys_damaged"),
        ("tombolo keys 1\ndevice 0x\u{e9}\n".to_owned(), "keys_damaged"),
        ("\0".repeat(100), "keys_damaged"),
    ] {
        fs::write(&keys, &text).unwrap();
        assert_eq!(open(home.path()).unwrap_err().code(), code, "{text:?}");
        assert_eq!(fs::read_to_string(&keys).unwrap(), text);
    }
    fs::write(&keys, b"tombolo keys 1\n\xff\n").unwrap();
    assert_eq!(open(home.path()).unwrap_err().code(), "keys_damaged");
}

#[test]
fn what_a_crash_left_beside_does_not_matter() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path()).unwrap();
    store.put("device", &[1; 32]).unwrap();
    fs::write(home.path().join("keys.new"), "half a li").unwrap();
    assert_eq!(get(home.path(), "device"), Some(vec![1; 32]));
    store.put("other", &[2; 32]).unwrap();
    assert_eq!(get(home.path(), "device"), Some(vec![1; 32]));
    assert_eq!(names(home.path()), ["keys", "keys.lock"]);
}

#[test]
fn a_home_that_is_not_there_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let error = open(&home.path().join("nowhere")).unwrap_err();
    assert_eq!(error.code(), "keys_file");
}

#[test]
fn kinds_are_written_as_they_are_chosen() {
    for kind in [KeyStoreKind::Keyring, KeyStoreKind::File] {
        assert_eq!(kind.to_string().parse::<KeyStoreKind>().unwrap(), kind);
    }
    assert_eq!(KeyStoreKind::default(), KeyStoreKind::Keyring);
    assert_eq!("paper".parse::<KeyStoreKind>().unwrap_err().code(), "unknown_key_store");
}

/// The keyring looks for its bus in the environment, so the check runs in a child with another one.
const CHILD: &str = "TOMBOLO_TEST_KEYRING_CHILD";

#[test]
fn child_without_a_bus() {
    let Some(home) = std::env::var_os(CHILD) else { return };
    let begin = Instant::now();
    let error = KeyStore::open(KeyStoreKind::Keyring, Path::new(&home)).unwrap_err();
    println!("CODE {} MS {} MESSAGE {error}", error.code(), begin.elapsed().as_millis());
}

#[cfg(all(unix, not(target_os = "macos")))]
#[test]
fn without_a_session_bus_both_ways_are_named_at_once() {
    let home = tempfile::tempdir().unwrap();
    let begin = Instant::now();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_without_a_bus", "--nocapture"])
        .env_remove("DBUS_SESSION_BUS_ADDRESS")
        .env_remove("DISPLAY")
        .env("XDG_RUNTIME_DIR", home.path())
        .env(CHILD, home.path())
        .output()
        .unwrap();
    let said = String::from_utf8(child.stdout).unwrap();
    assert!(said.contains("CODE no_keyring"), "{said}");
    assert!(said.contains("--key-store file") && said.contains("TOMBOLO_KEY_STORE=file"), "{said}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(names(home.path()), Vec::<String>::new(), "nothing was written in its place");
}
