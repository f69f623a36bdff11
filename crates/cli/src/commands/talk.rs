//! Messages and how conversations are kept: what the commands do and print.
//!
//! Not here: parsing (`args/talk.rs`), pages of messages (`show.rs`).

use super::{choose, choose_maybe};
use crate::args::Talk;
use crate::calendar::iso;
use crate::door::{AccountId, ConversationId, Door, Message, OpId};
use crate::failure::Failure;
use crate::out::Out;
use crate::show::Style;
use crate::text::{harmless, one_line};
use crate::{rows, show, span};
use serde::Serialize;

#[derive(Serialize)]
struct VersionRow {
    id: String,
    name: String,
    time: String,
    text: Option<String>,
    bases: Vec<String>,
    current: bool,
}

#[derive(Serialize)]
struct ConflictRow {
    conversation: String,
    about: String,
    message: Option<String>,
    winner: String,
    winner_name: String,
    loser: String,
    loser_name: String,
    open: bool,
}

#[derive(Serialize)]
struct TextRow {
    name: String,
    text: String,
    merged: bool,
    changed: Option<String>,
}

#[derive(Serialize)]
struct TimerRow {
    after_ms: u64,
}

#[derive(Serialize)]
struct Blocked {
    account: String,
}

#[derive(Serialize)]
struct OutboxRow {
    conversation: String,
    #[serde(flatten)]
    message: rows::Message,
    replicas: u64,
    failed: Option<String>,
}

/// Runs one of them.
pub(crate) async fn run(door: &Door, command: Talk, out: &Out) -> Result<(), Failure> {
    let client = door.client();
    match command {
        Talk::Show { message, around } => {
            let (conversation, id) = client.locate(message).await?;
            messages(&client.around(conversation, id, around as usize).await?, out)
        }
        Talk::Edit { message, text } => {
            let (conversation, id) = client.locate(message).await?;
            client.edit(conversation, id, text.join(" ")).await?;
            shown(door, conversation, id, out).await
        }
        Talk::History { message } => history(door, message, out).await,
        Talk::Delete { message, for_me } => {
            let (conversation, id) = client.locate(message).await?;
            if for_me {
                client.hide(conversation, id, true).await?;
                out.remark("Hidden on your devices. `tombolo undo` shows it again.");
            } else {
                client.delete(conversation, id).await?;
                out.remark("Deleted. For 30 seconds `tombolo undo` brings it back, on this device.");
            }
            Ok(())
        }
        Talk::Undo { message } => {
            let (conversation, id) = client.locate(message).await?;
            let was_hidden = client.hide(conversation, id, false).await?;
            match client.undo(conversation, id).await {
                // It was hidden alone: there is no deletion to take back, or not by this person.
                Err(error) if was_hidden && ["not-deleted", "not-yours", "imported"].contains(&error.code()) => {}
                done => done?,
            }
            shown(door, conversation, id, out).await
        }
        Talk::React { message, emoji, remove } => {
            let (conversation, id) = client.locate(message).await?;
            client.react(conversation, id, emoji, !remove).await?;
            shown(door, conversation, id, out).await
        }
        Talk::Thread { message } => {
            let (conversation, id) = client.locate(message).await?;
            messages(&client.thread(conversation, id).await?, out)
        }
        Talk::Mentions { conversation } => {
            let mut found = Vec::new();
            for conversation in some_or_all(door, conversation.as_deref()).await? {
                found.extend(client.mentions(conversation).await?);
            }
            found.sort_by_key(|message| message.hlc);
            messages(&found, out)
        }
        Talk::Pin { message, remove } => {
            let (conversation, id) = client.locate(message).await?;
            client.pin(conversation, id, !remove).await?;
            shown(door, conversation, id, out).await
        }
        Talk::Pins { conversation } => {
            let conversation = choose(door, &conversation).await?;
            messages(&client.pins(conversation).await?, out)
        }
        Talk::Conflicts { conversation } => conflicts(door, conversation.as_deref(), out).await,
        Talk::Rename { conversation, title } => {
            let conversation = choose(door, &conversation).await?;
            Ok(client.rename(conversation, title).await?)
        }
        Talk::Topic { conversation, text } => {
            let conversation = choose(door, &conversation).await?;
            let row = match text {
                Some(text) => client.write_topic(conversation, text).await?,
                None => client.topic(conversation).await?,
            };
            texts(&[row], out)
        }
        Talk::Notes { conversation, name, text } => {
            let conversation = choose(door, &conversation).await?;
            let rows = match (name, text) {
                (Some(name), Some(text)) => vec![client.write_note(conversation, name, text).await?],
                (Some(name), None) => {
                    let mut notes = client.notes(conversation).await?;
                    notes.retain(|note| note.name == name);
                    notes
                }
                (None, _) => client.notes(conversation).await?,
            };
            texts(&rows, out)
        }
        Talk::Draft { conversation, text } => {
            let conversation = choose(door, &conversation).await?;
            let row = match text {
                Some(text) => client.write_draft(conversation, text).await?,
                None => client.draft(conversation).await?,
            };
            texts(&[row], out)
        }
        Talk::Timer { conversation, after } => timer(door, &conversation, after.as_deref(), out).await,
        Talk::Mute { conversation, span, off } => {
            let conversation = choose(door, &conversation).await?;
            let for_ms = if off { 0 } else { span.map_or(u64::MAX, |span| span.ms) };
            Ok(client.mute(conversation, for_ms).await?)
        }
        Talk::Archive { conversation, off } => {
            let conversation = choose(door, &conversation).await?;
            Ok(client.archive(conversation, !off).await?)
        }
        Talk::Favourite { conversation, off } => {
            let conversation = choose(door, &conversation).await?;
            Ok(client.favourite(conversation, !off).await?)
        }
        Talk::Folder { conversation, folder } => {
            let conversation = choose(door, &conversation).await?;
            Ok(client.folder(conversation, folder.unwrap_or_default()).await?)
        }
        Talk::Block { who, off } => match who {
            Some(who) => {
                let account = person(door, &who).await?;
                Ok(client.block(account, !off).await?)
            }
            None => {
                let found = client.blocked().await?;
                let row = |account: &AccountId| Blocked { account: account.to_string() };
                out.rows(found.iter().map(row), |_| found.iter().map(ToString::to_string).collect())
            }
        },
        Talk::Outbox { conversation } => outbox(door, conversation.as_deref(), out).await,
        Talk::Cancel { message } => {
            let (conversation, id) = client.locate(message).await?;
            Ok(client.cancel(conversation, id).await?)
        }
    }
}

async fn some_or_all(door: &Door, conversation: Option<&str>) -> Result<Vec<ConversationId>, Failure> {
    Ok(match choose_maybe(door, conversation).await? {
        Some(one) => vec![one],
        None => door.conversations().await?.into_iter().map(|row| row.id).collect(),
    })
}

async fn shown(door: &Door, conversation: ConversationId, id: OpId, out: &Out) -> Result<(), Failure> {
    messages(&[door.client().message(conversation, id).await?], out)
}

fn messages(found: &[Message], out: &Out) -> Result<(), Failure> {
    out.rows(found.iter().map(rows::Message::from), |style| show::messages(found, false, true, style))
}

/// An account by its id, or by a name that only one has in the conversations of this profile.
pub(crate) async fn person(door: &Door, who: &str) -> Result<AccountId, Failure> {
    if let Ok(account) = who.trim().parse::<AccountId>() {
        return Ok(account);
    }
    let mut found = std::collections::BTreeSet::new();
    for row in door.conversations().await? {
        let people = door.client().people(row.id).await?;
        found.extend(people.into_iter().filter(|(_, name)| name == who.trim()).map(|(account, _)| account));
    }
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => {
            let words = format!("several people are called `{}`", one_line(who));
            Err(Failure::new("ambiguous", words, "name the account: `tombolo members` lists them"))
        }
        (None, _) => {
            let words = format!("nobody in your conversations is called `{}`", one_line(who));
            Err(Failure::new("unknown-person", words, "`tombolo members C` lists who takes part"))
        }
    }
}

async fn history(door: &Door, message: String, out: &Out) -> Result<(), Failure> {
    let (conversation, id) = door.client().locate(message).await?;
    let found = door.client().history(conversation, id).await?;
    let row = |version: &crate::door::VersionRow| VersionRow {
        id: version.id.to_string(),
        name: version.name.clone(),
        time: iso(version.time_ms),
        text: version.text.clone(),
        bases: version.bases.iter().map(ToString::to_string).collect(),
        current: version.current,
    };
    let line = |version: &crate::door::VersionRow, style: &Style| {
        let text = version.text.as_deref().map_or_else(|| "(deleted)".to_owned(), harmless);
        let mark = if version.current { "now " } else { "    " };
        format!("{mark} {}  {}  {text}", style.when(version.time_ms), one_line(&version.name))
    };
    out.rows(found.iter().map(row), |style| found.iter().map(|version| line(version, style)).collect())
}

async fn conflicts(door: &Door, conversation: Option<&str>, out: &Out) -> Result<(), Failure> {
    let mut found = Vec::new();
    for conversation in some_or_all(door, conversation).await? {
        found.extend(door.client().conflicts(conversation).await?);
    }
    let row = |conflict: &crate::door::ConflictRow| ConflictRow {
        conversation: conflict.conversation.to_string(),
        about: conflict.about.clone(),
        message: conflict.message.map(|id| id.to_string()),
        winner: conflict.winner.clone(),
        winner_name: conflict.winner_name.clone(),
        loser: conflict.loser.clone(),
        loser_name: conflict.loser_name.clone(),
        open: conflict.open,
    };
    out.rows(found.iter().map(row), |style| {
        if found.is_empty() && style.terminal {
            return vec!["No conflicts.".to_owned()];
        }
        let mut lines = Vec::new();
        for conflict in &found {
            let state = if conflict.open { "open" } else { "decided" };
            let about = conflict.message.map_or_else(String::new, |id| format!(" of {}", id.short()));
            lines.push(format!("{}{about} ({state})", conflict.about));
            lines.push(format!("  counts  {}: {}", one_line(&conflict.winner_name), one_line(&conflict.winner)));
            lines.push(format!("  beside  {}: {}", one_line(&conflict.loser_name), one_line(&conflict.loser)));
        }
        lines
    })
}

fn texts(found: &[crate::door::TextRow], out: &Out) -> Result<(), Failure> {
    let row = |text: &crate::door::TextRow| TextRow {
        name: text.name.clone(),
        text: text.text.clone(),
        merged: text.merged,
        changed: (text.changed_ms > 0).then(|| iso(text.changed_ms)),
    };
    out.rows(found.iter().map(row), |style| {
        let mut lines = Vec::new();
        for text in found {
            if !text.name.is_empty() {
                lines.push(style.heading(&one_line(&text.name)));
            }
            lines.extend(harmless(&text.text).lines().map(str::to_owned));
            if text.merged {
                lines.push(style.quiet("(merged from what several people wrote at once)"));
            }
        }
        lines
    })
}

async fn timer(door: &Door, conversation: &str, after: Option<&str>, out: &Out) -> Result<(), Failure> {
    let conversation = choose(door, conversation).await?;
    match after {
        Some("off") => door.client().set_timer(conversation, 0).await?,
        Some(after) => {
            let span = span::parse(after).map_err(Failure::Usage)?;
            door.client().set_timer(conversation, span.ms).await?;
        }
        None => {}
    }
    let after_ms = door.client().timer(conversation).await?;
    let words = match after_ms {
        0 => "Messages stay.".to_owned(),
        ms => format!("New messages disappear everywhere after {}.", span::words(ms)),
    };
    out.rows([TimerRow { after_ms }], |_| vec![words])
}

async fn outbox(door: &Door, conversation: Option<&str>, out: &Out) -> Result<(), Failure> {
    let conversation = choose_maybe(door, conversation).await?;
    let found = door.client().outbox(conversation).await?;
    let row = |queued: &crate::door::OutboxRow| OutboxRow {
        conversation: queued.conversation.to_string(),
        message: rows::Message::from(&queued.message),
        replicas: queued.replicas,
        failed: queued.failed.clone(),
    };
    out.rows(found.iter().map(row), |style| {
        if found.is_empty() && style.terminal {
            return vec!["Nothing waits here: everything you wrote is somewhere else, too.".to_owned()];
        }
        let mut lines = Vec::new();
        for queued in &found {
            lines.extend(show::messages(std::slice::from_ref(&queued.message), false, true, &style.plain()));
            if let Some(failed) = &queued.failed {
                lines.push(style.alarm(&format!("  not taken by {}", one_line(failed))));
            }
        }
        lines
    })
}
