//! Two people over real sockets: a relay on loopback, and directly.

use std::path::Path;
use tombolo_client::key_store::KeyStoreKind;
use tombolo_client::{Client, Config, Event, SyncOptions, SyncReport};
use tombolo_relay::{Place, Relay};

pub(crate) async fn person(home: &Path, name: &str, relays: &[String]) -> Client {
    let config = Config { home: home.join(name), key_store: Some(KeyStoreKind::File), extra_certificates: None };
    Client::init(&config, name, relays).unwrap();
    Client::open(&config).unwrap()
}

/// A relay on loopback, and Alice and Bob who use it.
pub(crate) async fn relay_and_two(home: &Path) -> (Relay, Client, Client) {
    let place = Place::new(home.join("relay"));
    place.make().unwrap();
    let config = tombolo_relay::Config { listen: "127.0.0.1:0".into(), ..tombolo_relay::Config::default() };
    let relay = Relay::start(&place, config).await.unwrap();
    let url = [relay.listening().to_owned()];
    let alice = person(home, "alice", &url).await;
    let bob = person(home, "bob", &url).await;
    (relay, alice, bob)
}

pub(crate) async fn sync(client: &Client, options: &SyncOptions) -> SyncReport {
    client.sync(options, |_| {}).await.unwrap()
}

pub(crate) async fn texts(client: &Client, conversation: tombolo_client::ConversationId) -> Vec<String> {
    let page = client.messages(conversation, 1000, None).await.unwrap();
    page.into_iter().map(|message| format!("{}: {}", message.name, message.text)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_a_relay_and_after_it_was_away() {
    let folder = tempfile::tempdir().unwrap();
    let (relay, alice, bob) = relay_and_two(folder.path()).await;
    let conversation = alice.create("Harbour crew").await.unwrap();
    alice.send(conversation, vec!["The boats are in.".into()]).await.unwrap();
    let (link, _) = alice.invite(Some(conversation), 1, 0).await.unwrap();
    let options = SyncOptions { once: true, ..SyncOptions::default() };
    let report = sync(&alice, &options).await;
    assert!(report.proven, "{report:?}");
    // The two ops of the note to self go, too.
    assert_eq!(report.ops_out, 7);
    bob.accept(&link).await.unwrap();
    assert!(sync(&bob, &options).await.proven);
    assert_eq!(texts(&bob, conversation).await, ["alice: The boats are in."]);
    bob.send(conversation, vec!["b1".into(), "b2".into()]).await.unwrap();
    alice.send(conversation, vec!["a1".into()]).await.unwrap();
    for client in [&alice, &bob, &alice] {
        assert!(sync(client, &options).await.proven);
    }
    assert_eq!(alice.digest(None).await.unwrap(), bob.digest(None).await.unwrap());
    assert_eq!(texts(&alice, conversation).await, texts(&bob, conversation).await);
    let report = sync(&bob, &options).await;
    assert_eq!((report.ops_in, report.ops_out, report.round_trips), (0, 0, 1), "{report:?}");
    relay.stop().await.unwrap();
    alice.close().await.unwrap();
    bob.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directly_and_live() {
    let folder = tempfile::tempdir().unwrap();
    let alice = person(folder.path(), "alice", &[]).await;
    let bob = person(folder.path(), "bob", &[]).await;
    let (link, conversation) = alice.invite(None, 1, 0).await.unwrap();
    bob.accept(&link).await.unwrap();
    bob.send(conversation, vec!["offline, before anybody answered".into()]).await.unwrap();
    let listening = alice.listen("127.0.0.1:0").await.unwrap();
    let peers = vec![listening.address.to_string()];
    let options = SyncOptions { peers, once: true, ..SyncOptions::default() };
    let report = sync(&bob, &options).await;
    assert!(report.proven, "{report:?}");
    assert_eq!(texts(&alice, conversation).await, ["bob: offline, before anybody answered"]);

    let timeline = bob.timeline(conversation, 50, 0).await.unwrap();
    let (mut items, mut diffs) = (timeline.items, timeline.diffs);
    let mut events = bob.watch(&options).await.unwrap();
    while !matches!(events.recv().await.unwrap(), Event::Proven { .. }) {}
    alice.send(conversation, vec!["live".into()]).await.unwrap();
    loop {
        if let Event::Message { message, .. } = events.recv().await.unwrap() {
            assert_eq!(message.text, "live");
            break;
        }
    }
    while !format!("{items:?}").contains("text_bytes: 4") {
        let steps = tokio::time::timeout(std::time::Duration::from_secs(5), diffs.recv()).await.unwrap().unwrap();
        tombolo_client::apply(&mut items, &steps);
    }
    drop(listening);
}

/// Whoever watches learns that the client was closed; and one that was only dropped, with everything that ran for it,
/// lets go of its home though the other side is still there.
#[test]
fn a_client_that_is_gone_holds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let other = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = |name: &str| Config {
        home: folder.path().join(name),
        key_store: Some(KeyStoreKind::File),
        extra_certificates: None,
    };
    let (alice, listening, link) = other.block_on(async {
        let alice = person(folder.path(), "alice", &[]).await;
        let (link, _) = alice.invite(None, 1, 0).await.unwrap();
        let listening = alice.listen("127.0.0.1:0").await.unwrap();
        (alice, listening, link)
    });
    let options = SyncOptions { peers: vec![listening.address.to_string()], once: true, ..SyncOptions::default() };

    let own = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let connected = async |bob: &Client| {
        let mut events = bob.watch(&options).await.unwrap();
        while !matches!(events.recv().await.unwrap(), Event::Proven { .. }) {}
        events
    };
    own.block_on(async {
        let bob = person(folder.path(), "bob", &[]).await;
        bob.accept(&link).await.unwrap();
        let mut events = connected(&bob).await;
        bob.close().await.unwrap();
        let end = async { while events.recv().await.is_some() {} };
        tokio::time::timeout(std::time::Duration::from_secs(5), end).await.expect("closed, and said so");
    });
    let (bob, events) = own.block_on(async {
        let bob = Client::open(&config("bob")).unwrap();
        let events = connected(&bob).await;
        (bob, events)
    });
    drop((bob, events));
    own.shutdown_timeout(std::time::Duration::from_secs(5));
    let opened = other.block_on(async {
        for _ in 0..100 {
            if let Ok(bob) = Client::open(&config("bob")) {
                return Some(bob);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        None
    });
    let bob = opened.expect("the home is free");
    other.block_on(async {
        bob.close().await.unwrap();
        drop(listening);
        alice.close().await.unwrap();
    });
}

/// The doctor names what is damaged, drops it, and fetches it again from the relay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_comes_back_from_the_relay() {
    let folder = tempfile::tempdir().unwrap();
    let (relay, alice, bob) = relay_and_two(folder.path()).await;
    let conversation = alice.create("Harbour crew").await.unwrap();
    let lines: Vec<String> = (0..100).map(|at| format!("line {at}")).collect();
    alice.send(conversation, lines.clone()).await.unwrap();
    let (link, _) = alice.invite(Some(conversation), 1, 0).await.unwrap();
    let options = SyncOptions { once: true, ..SyncOptions::default() };
    sync(&alice, &options).await;
    bob.accept(&link).await.unwrap();
    assert!(sync(&bob, &options).await.proven);
    let before = texts(&bob, conversation).await;
    assert_eq!(before.len(), 100);
    bob.close().await.unwrap();

    let home = folder.path().join("bob");
    let conn = tombolo_oplog::rusqlite::Connection::open(home.join("tombolo.db")).unwrap();
    let damaged = conn
        .execute(
            "UPDATE op SET body = CAST(substr(body, 1, length(body) - 1) || x'00' AS BLOB) \
             WHERE arrival IN (SELECT arrival FROM message ORDER BY arrival LIMIT 7 OFFSET 40)",
            [],
        )
        .unwrap();
    assert_eq!(damaged, 7);
    drop(conn);
    let config = Config { home, key_store: Some(KeyStoreKind::File), extra_certificates: None };
    let bob = Client::open(&config).unwrap();
    let found = bob.doctor(false, |_, _, _| {}).await.unwrap();
    assert!(found.iter().any(|finding| finding.check == "ids" && !finding.ok), "{found:?}");
    let mended = bob.doctor(true, |_, _, _| {}).await.unwrap();
    assert!(mended.iter().all(|finding| finding.ok), "{mended:?}");
    assert!(mended.iter().any(|finding| finding.check == "fetch"), "{mended:?}");
    assert_eq!(texts(&bob, conversation).await, before);
    sync(&alice, &options).await;
    assert_eq!(alice.digest(None).await.unwrap(), bob.digest(None).await.unwrap());
    relay.stop().await.unwrap();
    alice.close().await.unwrap();
    bob.close().await.unwrap();
}
