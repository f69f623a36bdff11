//! A history from elsewhere, and the friend who is invited afterwards.

use crate::sockets::{relay_and_two, sync, texts};
use std::io::Cursor;
use tombolo_client::import::{Export, Reading};
use tombolo_client::{Client, ConversationId, MessageState, SyncOptions};

const CHAT: &str = "12/31/20, 11:58 PM - Messages and calls are end-to-end encrypted.\n\
    12/31/20, 11:59 PM - Ana: ten\n12/31/20, 11:59 PM - Ben: nine\n12/31/20, 11:59 PM - Ana: eight\n\
    1/1/21, 12:00 AM - Ben: happy new year\nto all of you\n1/1/21, 12:00 AM - Ana: \u{1f386}\n";

fn export(offset_s: i32) -> Export {
    let reading = Reading { dates: None, offset_s: &|_| offset_s, now_ms: 1_795_305_600_000 };
    Export::read(Cursor::new(CHAT.as_bytes().to_vec()), &reading).unwrap()
}

const EXPECTED: [&str; 6] =
    ["Ana: ten", "Ben: nine", "Ana: eight", "Ben: happy new year\nto all of you", "Ana: \u{1f386}", "alice: welcome"];

async fn unread(client: &Client, conversation: ConversationId) -> u64 {
    client.conversations().await.unwrap().into_iter().find(|row| row.id == conversation).unwrap().unread
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn import_invite_and_the_friend_reads_all() {
    let folder = tempfile::tempdir().unwrap();
    let (relay, alice, bob) = relay_and_two(folder.path()).await;
    let options = SyncOptions { once: true, ..SyncOptions::default() };
    let conversation = alice.create("Crew").await.unwrap();
    // What is written here before stands below what is older, whenever that is brought in.
    alice.send(conversation, vec!["welcome".into()]).await.unwrap();
    let done = alice.import_export(conversation, export(3_600), |_| {}).await.unwrap();
    assert_eq!((done.imported, done.system, done.known), (5, 1, 0));
    assert_eq!(texts(&alice, conversation).await, EXPECTED);
    let (link, _) = alice.invite(Some(conversation), 1, 0).await.unwrap();
    sync(&alice, &options).await;
    bob.accept(&link).await.unwrap();
    assert!(sync(&bob, &options).await.proven);
    assert_eq!(unread(&bob, conversation).await, 1, "what was written here; never what was brought in");
    assert_eq!(texts(&bob, conversation).await, EXPECTED);
    let page = bob.messages(conversation, 100, None).await.unwrap();
    assert!(page.iter().all(|message| !message.late));
    assert_eq!(page.iter().filter(|message| message.state == MessageState::Imported).count(), 5);

    // Bob has the same export, and lives elsewhere: it is all here already.
    let done = bob.import_export(conversation, export(-18_000), |_| {}).await.unwrap();
    assert_eq!((done.imported, done.known), (0, 5));

    for client in [&alice, &bob] {
        client.close().await.unwrap();
    }
    relay.stop().await.unwrap();
}

/// Two people bring the same export in before they have heard of each other's, in different zones: one copy, one order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_importers_make_one_copy() {
    let folder = tempfile::tempdir().unwrap();
    let (relay, alice, bob) = relay_and_two(folder.path()).await;
    let options = SyncOptions { once: true, ..SyncOptions::default() };
    let conversation = alice.create("Crew").await.unwrap();
    let (link, _) = alice.invite(Some(conversation), 1, 0).await.unwrap();
    sync(&alice, &options).await;
    bob.accept(&link).await.unwrap();
    sync(&bob, &options).await;
    for (client, offset_s) in [(&bob, 3_600), (&alice, 3_600)] {
        let done = client.import_export(conversation, export(offset_s), |_| {}).await.unwrap();
        assert_eq!((done.imported, done.known), (5, 0));
    }
    alice.send(conversation, vec!["welcome".into()]).await.unwrap();
    for client in [&alice, &bob, &alice] {
        assert!(sync(client, &options).await.proven);
    }
    assert_eq!(alice.digest(None).await.unwrap(), bob.digest(None).await.unwrap());
    for client in [&alice, &bob] {
        assert_eq!(texts(client, conversation).await, EXPECTED);
        assert!(client.doctor(false, |_, _, _| {}).await.unwrap().iter().all(|finding| finding.ok));
    }
    for client in [&alice, &bob] {
        client.close().await.unwrap();
    }
    relay.stop().await.unwrap();
}

/// The files of an export come along, sealed: the friend reads them, and the relay holds nothing of them in the clear.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_an_export_come_along() {
    let folder = tempfile::tempdir().unwrap();
    let (relay, alice, bob) = relay_and_two(folder.path()).await;
    let options = SyncOptions { once: true, ..SyncOptions::default() };
    let conversation = alice.create("Crew").await.unwrap();
    let content: Vec<u8> = (0..100_000_u32).flat_map(|at| (at * 7919).to_be_bytes()).collect();
    let (voice, plan, absent) =
        ("00000012-AUDIO-2021-03-25-14-06-30.opus", "00000013-PLAN.pdf", "00000014-PHOTO-2021-03-25-14-06-31.jpg");
    let chat = format!(
        "[25.03.2021, 14:05:33] Ana: hello\r\n[25.03.2021, 14:06:30] Ben: listen \u{200e}<attached: {voice}>\r\n\
         [25.03.2021, 14:06:30] Ben: \u{200e}<attached: {plan}>\r\n[25.03.2021, 14:06:31] Ben: \u{200e}<attached: {absent}>\r\n"
    );
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in [("_chat.txt", chat.as_bytes()), (voice, &content), (plan, b"a plan")] {
        writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut writer, bytes).unwrap();
    }
    let mut bytes = writer.finish().unwrap().into_inner();
    // The plan is damaged: what people wrote comes in all the same.
    let at = bytes.windows(6).position(|window| window == b"a plan");
    let central = bytes.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    match at {
        Some(at) => bytes[at] ^= 1,
        None => bytes[central + 16] ^= 1,
    }
    let reading = Reading { dates: None, offset_s: &|_| 0, now_ms: 1_795_305_600_000 };
    let export = Export::read(Cursor::new(bytes), &reading).unwrap();
    let done = alice.import_export(conversation, export, |_| {}).await.unwrap();
    assert_eq!((done.imported, done.attached, done.not_attached), (4, 1, 2), "{done:?}");
    assert!(done.notes[0].contains(plan), "{done:?}");
    assert_eq!(texts(&alice, conversation).await[1], "Ben: listen");
    let (link, _) = alice.invite(Some(conversation), 1, 0).await.unwrap();
    sync(&alice, &options).await;
    bob.accept(&link).await.unwrap();
    sync(&bob, &options).await;
    let page = bob.messages(conversation, 10, None).await.unwrap();
    let files = &page[1].beside.files;
    assert_eq!((files[0].name.as_str(), files[0].media.as_str(), files[0].bytes), (voice, "audio/ogg", 400_000));
    bob.fetch(&page[1].id.to_string(), 1, |_| {}).await.unwrap();
    let saved = bob.save(&page[1].id.to_string(), 1, folder.path(), false).await.unwrap();
    assert_eq!(std::fs::read(saved).unwrap(), content);
    for client in [&alice, &bob] {
        client.close().await.unwrap();
    }
    relay.stop().await.unwrap();
}
