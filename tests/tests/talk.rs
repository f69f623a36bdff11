//! What people do with messages, over a real relay: each offline, then the same on both sides.

use crate::sockets::{relay_and_two, sync};
use tombolo_client::{Client, ConversationId, Message, Post, SyncOptions};

/// What both must see alike.
fn alike(messages: &[Message]) -> Vec<String> {
    messages
        .iter()
        .map(|message| {
            let beside = &message.beside;
            let cited = beside.answers.iter().chain(&beside.quotes).map(|cited| cited.excerpt.clone());
            let reactions = beside.reactions.iter().map(|row| format!("{} {}", row.emoji, row.names.join(" ")));
            format!(
                "{} {:?} cites {:?} edits {} deleted {:?} reactions {:?} replies {} pinned {} mentions {} files {}",
                message.name,
                message.text,
                cited.collect::<Vec<_>>(),
                beside.edits,
                beside.deleted,
                reactions.collect::<Vec<_>>(),
                beside.replies,
                beside.pinned,
                beside.mentions.len(),
                beside.files.len(),
            )
        })
        .collect()
}

async fn page(client: &Client, conversation: ConversationId) -> Vec<Message> {
    client.messages(conversation, 100, None).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_people_did_apart_is_the_same_for_both() {
    let folder = tempfile::tempdir().unwrap();
    let (relay, alice, bob) = relay_and_two(folder.path()).await;
    let conversation = alice.create("Harbour crew").await.unwrap();
    let (link, _) = alice.invite(Some(conversation), 1, 0).await.unwrap();
    let options = SyncOptions { once: true, ..SyncOptions::default() };
    let boats = alice.send(conversation, vec!["The boats are in at noon.".into()]).await.unwrap()[0].id;
    let gone = alice.send(conversation, vec!["A slip of the tongue.".into()]).await.unwrap()[0].id;
    sync(&alice, &options).await;
    bob.accept(&link).await.unwrap();
    for client in [&bob, &alice, &bob] {
        assert!(sync(client, &options).await.proven);
    }
    let people = bob.people(conversation).await.unwrap();
    let alice_account = people.iter().find(|(_, name)| name == "alice").unwrap().0;

    // Both are away from each other.
    alice.edit(conversation, boats, "The boats are in at one.".into()).await.unwrap();
    alice.delete(conversation, gone).await.unwrap();
    alice.pin(conversation, boats, true).await.unwrap();
    alice.rename(conversation, "The harbour".into()).await.unwrap();
    let post = Post { text: "I come, @alice.".into(), answers: Some(boats), quotes: vec![boats], ..Post::default() };
    let answer = bob.post(conversation, Post { mentions: vec![alice_account], ..post }).await.unwrap().id;
    bob.react(conversation, boats, "+".into(), true).await.unwrap();
    bob.react(conversation, gone, "!".into(), true).await.unwrap();
    bob.rename(conversation, "Harbour talk".into()).await.unwrap();
    assert_eq!(bob.outbox(Some(conversation)).await.unwrap().len(), 1, "what one wrote alone waits");
    let not_his = bob.edit(conversation, boats, "no".into()).await.unwrap_err();
    assert_eq!(not_his.code(), "not-yours");
    assert_eq!(bob.delete(conversation, boats).await.unwrap_err().code(), "not-yours");

    for client in [&alice, &bob, &alice, &bob] {
        assert!(sync(client, &options).await.proven);
    }
    let (here, there) = (page(&alice, conversation).await, page(&bob, conversation).await);
    assert_eq!(alike(&here), alike(&there));
    let shown = alike(&here);
    assert!(
        shown[0].contains("at one.") && shown[0].contains("pinned true") && shown[0].contains("replies 1"),
        "{shown:?}"
    );
    assert!(shown[0].contains("+ bob"), "{shown:?}");
    assert!(here[1].beside.deleted.as_deref() == Some("alice") && !shown[1].contains("slip"), "{shown:?}");
    assert!(here.iter().find(|message| message.id == answer).unwrap().beside.mentions_me);
    assert!(!there.iter().find(|message| message.id == answer).unwrap().beside.mentions_me);

    // One title counts, the other stays readable, on both sides.
    let titles = [alice.conversations().await.unwrap(), bob.conversations().await.unwrap()];
    let title = |rows: &[tombolo_client::ConversationRow]| {
        rows.iter().find(|row| row.id == conversation).unwrap().title.clone()
    };
    assert_eq!(title(&titles[0]), title(&titles[1]));
    let conflicts = alice.conflicts(conversation).await.unwrap();
    assert_eq!(conflicts, bob.conflicts(conversation).await.unwrap());
    let lost = conflicts.iter().find(|conflict| conflict.about == "title").unwrap();
    assert!(lost.open && lost.winner == title(&titles[0]) && lost.loser != lost.winner, "{lost:?}");
    alice.rename(conversation, "Harbour".into()).await.unwrap();
    assert!(alice.conflicts(conversation).await.unwrap().iter().all(|conflict| !conflict.open), "decided, and kept");

    // Taken back.
    alice.undo(conversation, gone).await.unwrap();
    bob.react(conversation, boats, "+".into(), false).await.unwrap();
    for client in [&alice, &bob, &alice] {
        assert!(sync(client, &options).await.proven);
    }
    let shown = alike(&page(&bob, conversation).await);
    assert_eq!(shown, alike(&page(&alice, conversation).await));
    assert!(shown[1].contains("slip") && shown[1].contains("! bob"), "{shown:?}");
    assert!(!shown[0].contains("+ bob"), "{shown:?}");
    assert_eq!(bob.history(conversation, boats).await.unwrap().len(), 2);
    for client in [&alice, &bob] {
        let found = client.doctor(false, |_, _, _| {}).await.unwrap();
        assert!(found.iter().all(|finding| finding.ok), "{found:?}");
    }
    relay.stop().await.unwrap();
    alice.close().await.unwrap();
    bob.close().await.unwrap();
}
