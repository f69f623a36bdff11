//! What the commands do: open the profile, ask the door, print.
//!
//! Larger commands stand in files of their own (`commands/`). Not here: parsing (`args.rs`), printing (`rows.rs`, `show.rs`), the client (`door.rs`).

mod backup;
mod export;
mod import;

mod files;
mod reading;
mod search;
mod storage;
mod talk;
mod web;

use crate::args::{Cli, Command, Global, KeyStore};
use crate::door::{self, ConversationId, Door, Event, SyncOptions};
use crate::failure::Failure;
use crate::out::Out;
use crate::progress::Bar;
use crate::{choose, rows, show};
use std::io::BufRead;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Runs one command.
pub(crate) async fn run(cli: Cli, out: &Out) -> Result<(), Failure> {
    let global = cli.global;
    match cli.command {
        Command::Init { name, relay } => return init(&global, name, relay, out).await,
        Command::Web { port } => return web::run(&global, port, out).await,
        Command::Restore { file, key_file } => return backup::restore(&global, file, key_file.as_deref(), out).await,
        _ => {}
    }
    let cli = Cli { global, command: cli.command };
    #[cfg(unix)]
    if let Some(result) = crate::share::pass_on(&cli, out).await {
        return result;
    }
    let door = Door::open(&cli.global).await?;
    let result = match cli.command {
        Command::Watch { .. } | Command::Listen { .. } => {
            #[cfg(unix)]
            let _shared = crate::share::serve(&door, &cli.global);
            with(&door, cli.command, out).await
        }
        command => with(&door, command, out).await,
    };
    let closed = door.close().await;
    result.and(closed)
}

pub(crate) async fn with(door: &Door, command: Command, out: &Out) -> Result<(), Failure> {
    match command {
        // They need no open profile: see `run`.
        Command::Init { .. } | Command::Restore { .. } | Command::Web { .. } => Ok(()),
        Command::Backup { file } => backup::make(door, &file, out).await,
        Command::Invite { conversation, uses, expires } => {
            let expires_ms = expires.map_or(0, |span| span.ms);
            invite(door, conversation.as_deref(), uses, expires_ms, out).await
        }
        Command::Invites { conversation, revoke } => {
            invites(door, conversation.as_deref(), revoke.as_deref(), out).await
        }
        Command::Accept { link } => accept(door, &link, out).await,
        Command::New { title } => {
            let conversation = door.create(&title).await?.to_string();
            print_conversation(conversation, out)
        }
        Command::List => {
            let found = door.conversations().await?;
            out.rows(found.iter().map(rows::Listed::from), |style| show::list(&found, style))
        }
        Command::Send { conversation, text, answer, quote, file } => {
            let conversation = choose(door, &conversation).await?;
            if text == ["-"] && file.is_empty() {
                send_lines(door, conversation, out).await
            } else {
                post(door, conversation, text.join(" "), (answer, quote, file), out).await
            }
        }
        Command::Files { conversation, automatic, automatic_total, largest } => {
            let limits = (automatic, automatic_total, largest);
            if limits != (None, None, None) {
                return files::limits(door, limits, out).await;
            }
            let conversation = choose_maybe(door, conversation.as_deref()).await?;
            files::list(door, conversation, out).await
        }
        Command::Fetch { message, n } => files::fetch(door, &message, n, out).await,
        Command::Save { message, n, to, overwrite } => files::save(door, (&message, n), &to, overwrite, out).await,
        Command::Messages { conversation, limit, before, ids, keep_unread } => {
            let conversation = choose(door, &conversation).await?;
            let limit = limit as usize;
            let found = if keep_unread {
                door.client().peek(conversation, limit, before).await?
            } else {
                door.messages(conversation, limit, before).await?
            };
            let older = found.len() == limit;
            out.rows(found.iter().map(rows::Message::from), |style| show::messages(&found, older, ids, style))?;
            missing(door, conversation, out).await
        }
        Command::Members { conversation } => members(door, &conversation, out).await,
        Command::Reading(command) => reading::run(door, command, out).await,
        Command::Storage(command) => storage::run(door, command, out).await,
        Command::Talk(command) => talk::run(door, command, out).await,
        Command::Sync { relay, peer, once, trust } => {
            let options = SyncOptions {
                relays: relay.into_iter().collect(),
                peers: peer.into_iter().collect(),
                once,
                trust,
                ..SyncOptions::default()
            };
            sync(door, &options, out).await
        }
        Command::Search(asked) => search::run(door, asked, out).await,
        Command::Retry => sync(door, &SyncOptions::default(), out).await,
        Command::Watch { conversation } => watch(door, conversation.as_deref(), out).await,
        Command::Listen { addr } => listen(door, &addr, out).await,
        Command::Digest { conversation } => {
            let conversation = choose_maybe(door, conversation.as_deref()).await?;
            let found = door.digest(conversation).await?;
            let conversations = door.conversations().await?;
            out.rows(found.iter().map(rows::Digest::from), |style| show::digests(&found, &conversations, style))
        }
        Command::Import(import) => import::run(door, import, out).await,
        Command::Export { conversation, html } => export::run(door, &conversation, html.as_deref(), out).await,
        Command::Doctor { repair } => doctor(door, repair, out).await,
    }
}

async fn choose(door: &Door, name: &str) -> Result<ConversationId, Failure> {
    choose::conversation(name, &door.conversations().await?)
}

async fn choose_maybe(door: &Door, name: Option<&str>) -> Result<Option<ConversationId>, Failure> {
    match name {
        Some(name) => Ok(Some(choose(door, name).await?)),
        None => Ok(None),
    }
}

fn print_conversation(conversation: String, out: &Out) -> Result<(), Failure> {
    if out.json { out.row(&rows::Conversation { conversation }) } else { out.line(&conversation) }
}

async fn init(global: &Global, name: String, relay: Option<String>, out: &Out) -> Result<(), Failure> {
    let profile = door::init(global, name, relay).await?;
    print_profile(&profile, out)?;
    if out.style.terminal && !out.json {
        out.remark("Next: `tombolo new TITLE` begins a conversation, `tombolo invite` makes a link for somebody.");
    }
    Ok(())
}

fn print_profile(profile: &door::Profile, out: &Out) -> Result<(), Failure> {
    let (account, device) = (profile.created.account.to_string(), profile.created.device.to_string());
    if out.json {
        return out.row(&rows::ProfileRow { account, device });
    }
    out.line(&format!("account  {account}"))?;
    out.line(&format!("device   {device}"))?;
    out.line(&format!("home     {}", profile.home.display()))?;
    out.line(match profile.key_store {
        KeyStore::Keyring => "keys     in the keyring of this system",
        KeyStore::File => "keys     in a file in the home that only you may read (the less safe choice)",
    })
}

async fn invite(door: &Door, conversation: Option<&str>, uses: u32, expires_ms: u64, out: &Out) -> Result<(), Failure> {
    let conversation = choose_maybe(door, conversation).await?;
    let (link, conversation) = door.invite(conversation, uses, expires_ms).await?;
    if out.json {
        return out.row(&rows::Link { link, conversation: conversation.to_string() });
    }
    out.line(&link)?;
    if out.style.terminal {
        let people = if uses == 1 { "one person".to_owned() } else { format!("{uses} people") };
        let until = match expires_ms {
            0 => "until it is revoked".to_owned(),
            ms => format!("for {}", crate::span::words(ms)),
        };
        out.remark(&format!("Works for {people}, {until}. Whoever has the link can join: pass it on in private."));
    }
    Ok(())
}

async fn invites(door: &Door, conversation: Option<&str>, revoke: Option<&str>, out: &Out) -> Result<(), Failure> {
    let chosen = choose_maybe(door, conversation).await?;
    let mut found = door.invites(chosen).await?;
    if let Some(key) = revoke {
        let key = key.trim().to_ascii_lowercase();
        // As listed: the whole key, or as much of it as tells it apart.
        let mut begun = found.iter().map(|row| rows::hex(&row.key)).filter(|known| known.starts_with(&key));
        let whole = match (begun.next(), begun.next()) {
            (Some(one), None) if !key.is_empty() => one,
            (Some(_), Some(_)) => {
                let hint = "name it by as much of its key as tells it apart";
                return Err(Failure::new("ambiguous", "several invitations have a key that begins so", hint));
            }
            _ => key,
        };
        door.revoke(&whole).await?;
        found = door.invites(chosen).await?;
        found.retain(|row| rows::hex(&row.key) == whole);
    }
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
    out.rows(found.iter().map(rows::Invite::from), |style| show::invites(&found, now_ms, style))
}

async fn accept(door: &Door, link: &str, out: &Out) -> Result<(), Failure> {
    let (conversation, standing) = door.accept(link).await?;
    print_conversation(conversation.to_string(), out)?;
    if out.style.terminal && !out.json && standing == door::Standing::Asked {
        out.remark("Asked to join. `tombolo sync` completes it as soon as a relay or a member's device is in reach.");
    }
    Ok(())
}

async fn send(door: &Door, conversation: ConversationId, texts: Vec<String>, out: &Out) -> Result<(), Failure> {
    let sent = door.send(conversation, texts).await?;
    out.rows(sent.iter().map(rows::SentRow::from), |_| sent.iter().map(|sent| sent.id.to_string()).collect())
}

/// One message with what it answers, quotes and whom it calls upon.
async fn post(
    door: &Door,
    conversation: ConversationId,
    text: String,
    (answer, quote, file): (Option<String>, Vec<String>, Vec<std::path::PathBuf>),
    out: &Out,
) -> Result<(), Failure> {
    let mut post = door::Post::default();
    let here = |(found, id): (ConversationId, door::OpId)| {
        let words = "that message is of another conversation";
        if found == conversation { Ok(id) } else { Err(Failure::new("unknown-message", words, "")) }
    };
    if let Some(answer) = answer {
        post.answers = Some(here(door.client().locate(answer).await?)?);
    }
    for quote in quote {
        post.quotes.push(here(door.client().locate(quote).await?)?);
    }
    if text.contains('@') {
        let people = door.client().people(conversation).await?;
        let called = people.into_iter().filter(|(_, name)| calls(&text, name)).map(|(account, _)| account);
        post.mentions = called.collect();
    }
    post.text = text;
    if !file.is_empty() {
        return files::attach(door, conversation, post, file, out).await;
    }
    let sent = [door.client().post(conversation, post).await?];
    out.rows(sent.iter().map(rows::SentRow::from), |_| sent.iter().map(|sent| sent.id.to_string()).collect())
}

/// Whether a text calls upon somebody: `@` and the name, and behind it no letter that goes on.
fn calls(text: &str, name: &str) -> bool {
    let called = format!("@{name}");
    !name.is_empty()
        && text.match_indices(&called).any(|(at, _)| {
            let goes_on = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
            !goes_on(text[at + called.len()..].chars().next()) && !goes_on(text[..at].chars().next_back())
        })
}

/// Says what was let go of here: what is not shown is not simply not there.
async fn missing(door: &Door, conversation: ConversationId, out: &Out) -> Result<(), Failure> {
    let (messages, before_ms) = door.client().pruned(conversation).await?;
    if messages > 0 {
        let day = out.style.when(before_ms);
        out.remark(&format!(
            "note: {} older than {day} were removed from this device; `tombolo prune C --undo` asks for them again.",
            show::counted(messages, "message", "messages")
        ));
    }
    Ok(())
}

async fn members(door: &Door, conversation: &str, out: &Out) -> Result<(), Failure> {
    let conversation = choose(door, conversation).await?;
    let found = door.client().people(conversation).await?;
    let row = |(account, name): &(door::AccountId, String)| rows::MemberRow {
        account: account.to_string(),
        name: name.clone(),
    };
    let line = |(account, name): &(door::AccountId, String)| format!("{account}  {}", crate::text::one_line(name));
    out.rows(found.iter().map(row), |_| found.iter().map(line).collect())
}

/// Lines that are sent with one sync of the disk, when they come faster than that.
const LINES_AT_ONCE: usize = 500;

/// Standard input, a line a message; each is on the disk before its id is printed.
async fn send_lines(door: &Door, conversation: ConversationId, out: &Out) -> Result<(), Failure> {
    let (to, mut from) = mpsc::channel::<std::io::Result<String>>(LINES_AT_ONCE);
    // A thread of its own: the runtime would wait for a read that never ends.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let ends = line.is_err();
            if to.blocking_send(line).is_err() || ends {
                break;
            }
        }
    });
    let unreadable =
        |error: std::io::Error| Failure::new("input", format!("standard input cannot be read: {error}"), "");
    let mut some = Vec::new();
    while from.recv_many(&mut some, LINES_AT_ONCE).await > 0 {
        let mut texts = Vec::new();
        let mut failed = None;
        for line in some.drain(..) {
            match line {
                Ok(line) if line.trim().is_empty() => {}
                Ok(line) => texts.push(line),
                Err(error) => failed = Some(unreadable(error)),
            }
        }
        if !texts.is_empty() {
            send(door, conversation, texts, out).await?;
        }
        if let Some(failure) = failed {
            return Err(failure);
        }
    }
    Ok(())
}

async fn sync(door: &Door, options: &SyncOptions, out: &Out) -> Result<(), Failure> {
    let bar = Bar::new(out.progress, "connecting");
    let moving = bar.clone();
    let report = door
        .sync(options, move |progress| {
            moving.now(&crate::text::cut(&crate::text::one_line(&progress.with), 18));
            moving.set(progress.ops, progress.expected);
        })
        .await;
    bar.done();
    let report = report?;
    out.rows([rows::Synced::from(&report)], |style| show::sync(&report, style))?;
    for note in &report.notes {
        out.remark(&format!("note: {note}"));
    }
    Ok(())
}

async fn watch(door: &Door, conversation: Option<&str>, out: &Out) -> Result<(), Failure> {
    let stop = stopped();
    let only = choose_maybe(door, conversation).await?;
    let mut events = door.watch().await?;
    let mut conversations = door.conversations().await?;
    tokio::pin!(stop);
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = &mut stop => None,
        };
        let Some(event) = event else { return Ok(()) };
        if only.is_some_and(|only| belongs_to(&event).is_some_and(|conversation| conversation != only)) {
            continue;
        }
        if !out.json
            && let Some(conversation) = belongs_to(&event)
            && !conversations.iter().any(|row| row.id == conversation && !row.title.is_empty())
        {
            conversations = door.conversations().await?;
        }
        out.rows([rows::Happening::from(&event)], |style| show::event(&event, &conversations, style))?;
    }
}

fn belongs_to(event: &Event) -> Option<ConversationId> {
    match event {
        Event::Message { conversation, .. } => Some(*conversation),
        Event::Changed { conversation, .. } => Some(*conversation),
        Event::Presence { conversation, .. } => Some(*conversation),
        Event::Joined { conversation, .. } => Some(*conversation),
        Event::Connected { .. } | Event::Disconnected { .. } => None,
        Event::Proven { .. } | Event::Notice { .. } => None,
    }
}

/// Ends when somebody wants this process to end. Listens from the call on, so that whoever reads the first line may say so.
/// Without a way to hear of it, the process ends where it stands; what was acknowledged is on the disk.
#[cfg(unix)]
fn stopped() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let heard = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = heard else { return std::future::pending().await };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// As above, for Ctrl-C.
#[cfg(not(unix))]
async fn stopped() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn listen(door: &Door, address: &str, out: &Out) -> Result<(), Failure> {
    let stop = stopped();
    let listening = door.listen(address).await?;
    let at = listening.address.to_string();
    out.rows([rows::ListeningRow { listening: at.clone() }], |_| vec![format!("listening on {at}")])?;
    if let Some(why) = &listening.hidden {
        out.remark(&format!("note: devices near by do not find this one by themselves ({why}); give them the address"));
    }
    stop.await;
    drop(listening);
    Ok(())
}

async fn doctor(door: &Door, repair: bool, out: &Out) -> Result<(), Failure> {
    let bar = Bar::new(out.progress, "checking");
    let moving = bar.clone();
    let found = door
        .doctor(repair, move |check, done, total| {
            moving.now(check);
            moving.set(done, total);
        })
        .await;
    bar.done();
    let found = found?;
    out.rows(found.iter().map(rows::Finding::from), |style| show::findings(&found, style))?;
    if found.iter().all(|finding| finding.ok) { Ok(()) } else { Err(Failure::Found) }
}
