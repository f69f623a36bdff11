//! Backups over real sockets: what was said comes back on a fresh machine, which is another device from then on.

use crate::sockets::{relay_and_two, sync, texts};
use std::path::Path;
use tombolo_client::key_store::KeyStoreKind;
use tombolo_client::{BackupKey, Client, Config, SyncOptions};

fn config(home: &Path, name: &str) -> Config {
    Config { home: home.join(name), key_store: Some(KeyStoreKind::File), extra_certificates: None }
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()))
        }
    }
    found
}

fn holds(bytes: &[u8], marker: &str) -> bool {
    bytes.windows(marker.len()).any(|window| window == marker.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_device_takes_part_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (relay, alice, bob) = relay_and_two(folder.path()).await;
    let options = SyncOptions { once: true, ..SyncOptions::default() };
    let crew = alice.create("Harbour crew").await.unwrap();
    alice.send(crew, vec!["before".into()]).await.unwrap();
    let (link, _) = alice.invite(Some(crew), 1, 0).await.unwrap();
    sync(&alice, &options).await;
    bob.accept(&link).await.unwrap();
    assert!(sync(&bob, &options).await.proven);
    let (direct_link, direct) = bob.invite(None, 1, 0).await.unwrap();
    sync(&bob, &options).await;
    alice.accept(&direct_link).await.unwrap();
    for client in [&alice, &bob, &alice] {
        assert!(sync(client, &options).await.proven);
    }
    // One that was founded after the last sync lives on this device alone: a backup is where it survives.
    let alone = alice.create("Not said to anybody").await.unwrap();
    alice.send(alone, vec!["only here".into()]).await.unwrap();

    let file = folder.path().join("alice.backup");
    let made = alice.backup(file.clone()).await.unwrap();
    assert_eq!((made.conversations, made.bytes), (4, std::fs::metadata(&file).unwrap().len()));
    // Life goes on, on both sides.
    alice.send(crew, vec!["after the backup".into()]).await.unwrap();
    sync(&alice, &options).await;
    bob.send(crew, vec!["bob after the backup".into()]).await.unwrap();
    sync(&bob, &options).await;

    let place = config(folder.path(), "phone");
    let created = Client::restore(&place, &file, &made.key).unwrap();
    assert_eq!(created.account, alice.account());
    assert_ne!(created.device, alice.device());
    let again = Client::restore(&place, &file, &made.key).unwrap_err();
    assert_eq!(again.code(), "profile-exists");
    let phone = Client::open(&place).unwrap();
    assert_eq!((phone.account(), phone.device()), (created.account, created.device));
    // Without a connection: what the backup held, and writing.
    assert_eq!(texts(&phone, crew).await, ["alice: before"]);
    assert_eq!(texts(&phone, alone).await, ["alice: only here"]);
    phone.send(crew, vec!["from the phone".into()]).await.unwrap();
    assert_eq!(phone.certify_everywhere().await.unwrap(), [], "certified already");

    for client in [&phone, &bob, &alice, &phone, &bob] {
        let report = sync(client, &options).await;
        assert!(report.proven, "{report:?}");
    }
    let mine = phone.digest(Some(crew)).await.unwrap();
    assert_eq!(mine, bob.digest(Some(crew)).await.unwrap());
    assert_eq!(mine, alice.digest(Some(crew)).await.unwrap());
    assert_eq!(phone.digest(Some(direct)).await.unwrap(), bob.digest(Some(direct)).await.unwrap());
    let all = texts(&bob, crew).await;
    assert_eq!(all.len(), 4);
    assert!(all.contains(&"alice: from the phone".to_owned()), "the account's name is the new device's, too: {all:?}");
    assert_eq!(texts(&phone, crew).await, all);
    assert!(phone.messages(crew, 10, None).await.unwrap().iter().filter(|message| message.own).count() == 3);

    // Both devices go on, and the one does not disturb the other.
    alice.send(crew, vec!["old device".into()]).await.unwrap();
    phone.send(crew, vec!["new device".into()]).await.unwrap();
    phone.send(direct, vec!["and between us".into()]).await.unwrap();
    for client in [&alice, &phone, &bob, &alice, &phone] {
        assert!(sync(client, &options).await.proven);
    }
    assert_eq!(
        alice.digest(None).await.unwrap(),
        phone.digest(None).await.unwrap(),
        "the lonely one has come over, too"
    );
    assert_eq!(texts(&bob, direct).await, ["alice: and between us"]);
    for client in [&alice, &phone, &bob] {
        let found = client.doctor(false, |_, _, _| {}).await.unwrap();
        assert!(found.iter().all(|finding| finding.ok), "{found:?}");
        client.close().await.unwrap();
    }
    relay.stop().await.unwrap();
}

/// All devices are lost, and the relay too: the other person brings everything back, device to device.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_device_meets_a_peer_directly() {
    let folder = tempfile::tempdir().unwrap();
    let (relay, alice, bob) = relay_and_two(folder.path()).await;
    let options = SyncOptions { once: true, ..SyncOptions::default() };
    let crew = alice.create("Harbour crew").await.unwrap();
    let (link, _) = alice.invite(Some(crew), 1, 0).await.unwrap();
    sync(&alice, &options).await;
    bob.accept(&link).await.unwrap();
    sync(&bob, &options).await;
    sync(&alice, &options).await;
    let file = folder.path().join("alice.backup");
    let made = alice.backup(file.clone()).await.unwrap();
    alice.send(crew, vec!["after".into()]).await.unwrap();
    sync(&alice, &options).await;
    sync(&bob, &options).await;
    alice.close().await.unwrap();
    relay.stop().await.unwrap();

    let place = config(folder.path(), "phone");
    Client::restore(&place, &file, &made.key).unwrap();
    let phone = Client::open(&place).unwrap();
    phone.send(crew, vec!["here again".into()]).await.unwrap();
    let listening = bob.listen("127.0.0.1:0").await.unwrap();
    let direct = SyncOptions { peers: vec![listening.address.to_string()], once: true, ..SyncOptions::default() };
    let report = sync(&phone, &direct).await;
    assert!(report.proven, "{report:?}");
    assert_eq!(phone.digest(Some(crew)).await.unwrap(), bob.digest(Some(crew)).await.unwrap());
    assert_eq!(texts(&phone, crew).await.len(), 2);
    drop(listening);
    phone.close().await.unwrap();
    bob.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_lies_about_in_the_clear_and_nothing_stays() {
    let folder = tempfile::tempdir().unwrap();
    let marker = "Zq7markerThatNothingElseContains";
    let place = config(folder.path(), "home");
    Client::init(&place, "ann", &[]).unwrap();
    let ann = Client::open(&place).unwrap();
    let conversation = ann.create(marker).await.unwrap();
    let lines: Vec<String> = (0..3_000).map(|at| format!("{marker} {at}")).collect();
    ann.send(conversation, lines).await.unwrap();
    let file = folder.path().join("out").join("ann.backup");
    std::fs::create_dir(file.parent().unwrap()).unwrap();

    // While it is made, whatever appears is looked at.
    let (home, out) = (place.home.clone(), file.parent().unwrap().to_owned());
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let watching = std::thread::spawn(move || {
        let mut seen = std::collections::BTreeSet::new();
        while stopped.try_recv().is_err() {
            for folder in [&home, &out] {
                for entry in std::fs::read_dir(folder).unwrap().flatten() {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    // The store itself is in the clear until it is keyed.
                    if !name.starts_with("tombolo.db")
                        && let Ok(bytes) = std::fs::read(entry.path())
                    {
                        assert!(!holds(&bytes, marker), "{name}");
                        seen.insert(name);
                    }
                }
            }
        }
        seen
    });
    let made = ann.backup(file.clone()).await.unwrap();
    stop.send(()).unwrap();
    let seen = watching.join().unwrap();
    assert!(seen.contains("backup.tmp"), "the copy was looked at: {seen:?}");
    assert!(
        holds(&std::fs::read(place.home.join("tombolo.db")).unwrap(), marker)
            || holds(&std::fs::read(place.home.join("tombolo.db-wal")).unwrap(), marker),
        "the search finds it"
    );
    let left: Vec<String> = files(&place.home)
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name.ends_with(".tmp") || name.contains(".tmp-"))
        .collect();
    assert_eq!(left, [""; 0]);
    let out: Vec<String> = files(file.parent().unwrap()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(out, [file.display().to_string()]);
    let account_seed = std::fs::read_to_string(place.home.join("keys")).unwrap();
    let sealed = std::fs::read(&file).unwrap();
    for line in account_seed.lines().skip(1) {
        assert!(!holds(&sealed, line.split(' ').nth(1).unwrap()), "no key stands in it");
    }
    ann.close().await.unwrap();

    // A backup never replaces another file.
    let ann = Client::open(&place).unwrap();
    assert_eq!(ann.backup(file.clone()).await.unwrap_err().code(), "file");
    assert_eq!(std::fs::read(&file).unwrap(), sealed);
    assert_eq!(ann.backup(folder.path().join("no/such/folder")).await.unwrap_err().code(), "file");
    ann.close().await.unwrap();

    // What does not fit makes no profile and leaves nothing.
    let phone = config(folder.path(), "phone");
    let wrong = BackupKey::new([1; 16]);
    let damaged = folder.path().join("damaged");
    let mut bytes = sealed.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, &bytes).unwrap();
    let cut = folder.path().join("cut");
    std::fs::write(&cut, &sealed[..sealed.len() - 1]).unwrap();
    for (file, key, codes) in [
        (&file, &wrong, &["wrong-key"][..]),
        (&damaged, &made.key, &["damaged"]),
        (&cut, &made.key, &["damaged", "cut-off"]),
        (&place.home.join("tombolo.db"), &made.key, &["not-a-backup"]),
        (&folder.path().join("nowhere"), &made.key, &["file"]),
    ] {
        let error = Client::restore(&phone, file, key).unwrap_err();
        assert!(codes.contains(&error.code()), "{error}");
        let names: Vec<String> = files(&phone.home).into_iter().map(|(name, _)| name).collect();
        assert!(names.iter().all(|name| name.ends_with("lock")), "{names:?}");
    }
    // What a crash in a restore leaves is cleared away; a database of somebody is not.
    std::fs::write(phone.home.join("tombolo.db"), "half").unwrap();
    assert_eq!(Client::restore(&phone, &file, &made.key).unwrap_err().code(), "home-in-use");
    std::fs::write(phone.home.join("restore.tmp"), "half").unwrap();
    Client::restore(&phone, &file, &made.key).unwrap();
    let restored = Client::open(&phone).unwrap();
    assert_eq!(texts(&restored, conversation).await.len(), 1_000);
    restored.close().await.unwrap();
    let names: Vec<String> = files(&phone.home).into_iter().map(|(name, _)| name).collect();
    assert!(!names.iter().any(|name| name.ends_with(".tmp") || name.contains(".tmp-")), "{names:?}");
    // And in a backup, at the next start.
    std::fs::write(phone.home.join("backup.tmp"), "half").unwrap();
    std::fs::write(phone.home.join("backup.tmp-journal"), "half").unwrap();
    Client::open(&phone).unwrap().close().await.unwrap();
    assert!(!phone.home.join("backup.tmp").exists() && !phone.home.join("backup.tmp-journal").exists());
}
