//! One interface: its calls, the window that it shows, and what it is told.
//!
//! The window is read from the store again whenever something may have changed, and compared with what the interface was
//! told last; nothing is guessed from events. So an interface that applied every step shows what a fresh one would.
//! Not here: what all interfaces share (`running.rs`), steps (`window.rs`), where calls come from (the shells).

use crate::api::{self, Call, Details, Founded, Keep, Link, Person, Problem, Sent, Text, Update, Window};
use crate::running::{App, BURST};
use crate::{convert, window};
use serde::Serialize;
use serde_json::Value;
use std::str::FromStr;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex, mpsc};
use tombolo_client::{Client, ConversationId, Error, OpId, Post, SearchQuery, Standing};

/// Messages of a window when it is opened.
const WINDOW_MAX: u32 = 600;
/// Messages that a window may grow to while others arrive; the oldest go first.
const GROWN_MAX: usize = 2_000;
/// Messages that come between two looks without a second one.
const ARRIVE_MAX: usize = 64;
/// Hits of a search.
const HITS: usize = 50;
/// **Milliseconds** for which a conversation is mute that is muted without an end.
const FOR_EVER_MS: u64 = u64::MAX;
/// Updates that wait for a slow interface.
const UPDATES: usize = 64;

/// What an interface shows.
#[derive(Debug)]
struct Shown {
    number: u32,
    conversation: ConversationId,
    before: Option<String>,
    messages: Vec<api::Message>,
    gaps: Vec<api::Gap>,
}

/// One interface.
pub struct Session {
    app: Arc<App>,
    shown: Arc<Mutex<Option<Shown>>>,
    windows: std::sync::atomic::AtomicU32,
    out: mpsc::Sender<Update>,
    following: std::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Ok(following) = self.following.lock()
            && let Some(task) = following.as_ref()
        {
            task.abort();
        }
    }
}

fn value(answer: impl Serialize) -> Result<Value, Problem> {
    serde_json::to_value(answer).map_err(|error| Problem {
        code: "answer".into(),
        message: error.to_string(),
        hint: "this is a fault of the program: please report it".into(),
    })
}

fn parse<T: FromStr>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem {
        code: "malformed".into(),
        message: "an id in a call is not one".into(),
        hint: "this is a fault of the interface: please report it".into(),
    })
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        convert::problem(&error)
    }
}

impl Session {
    /// An interface that has asked nothing yet, and what it is to be told.
    #[must_use]
    pub fn new(app: Arc<App>) -> (Self, mpsc::Receiver<Update>) {
        let (out, updates) = mpsc::channel(UPDATES);
        let shown = Arc::new(Mutex::new(None));
        let session = Self {
            app,
            shown,
            windows: std::sync::atomic::AtomicU32::new(0),
            out,
            following: std::sync::Mutex::new(None),
        };
        (session, updates)
    }

    /// Does one call. What is written is on the disk when this returns.
    ///
    /// # Errors
    /// Why it was not done; then nothing has changed.
    pub async fn call(&self, call: Call) -> Result<Value, Problem> {
        match call {
            Call::Start => {
                if let Ok(client) = self.app.client() {
                    self.follow(client);
                }
                return value(self.app.start());
            }
            Call::Init { name, relay } => {
                self.app.init(name, relay).await?;
                self.follow(self.app.client()?);
                return value(self.app.start());
            }
            _ => {}
        }
        let client = self.app.client()?;
        match call {
            Call::Start | Call::Init { .. } => Ok(Value::Null),
            Call::Conversations => value(self.app.conversations(&client).await?),
            Call::Create { title } => {
                let conversation = client.create(&title).await?.to_string();
                value(Founded { conversation, member: true })
            }
            Call::Accept { link } => {
                let (conversation, standing) = client.accept(link.trim()).await?;
                // The link may name a relay that nobody is connected with yet.
                self.app.reconnect();
                value(Founded { conversation: conversation.to_string(), member: standing == Standing::Member })
            }
            Call::Invite { conversation, uses } => {
                let (link, _) = client.invite(Some(parse(&conversation)?), uses, 0).await?;
                value(Link { link })
            }
            Call::Open { conversation, before, limit } => {
                let conversation = parse(&conversation)?;
                let limit = limit.clamp(1, WINDOW_MAX) as usize;
                let messages = client.peek(conversation, limit, before.clone()).await?;
                self.show(&client, conversation, messages, before).await
            }
            Call::Around { conversation, message, count } => {
                let conversation = parse(&conversation)?;
                let count = count.clamp(1, WINDOW_MAX / 2) as usize;
                let messages = client.around(conversation, parse(&message)?, count).await?;
                let after = messages.last().map(|last| last.cursor.clone());
                let next = client.messages_after(conversation, 1, after).await?;
                let before = next.into_iter().next().map(|next| next.cursor);
                self.show(&client, conversation, messages, before).await
            }
            Call::Close => {
                *self.shown.lock().await = None;
                Ok(Value::Null)
            }
            Call::Send { conversation, text, answers, mentions, files } => {
                let answers = answers.as_deref().map(parse).transpose()?;
                let mentions = mentions.iter().map(|account| parse(account)).collect::<Result<_, _>>()?;
                let post = Post { text, answers, mentions, ..Post::default() };
                let conversation = parse(&conversation)?;
                let sent = if files.is_empty() {
                    client.post(conversation, post).await?
                } else {
                    let staged = self.app.staged(&files)?;
                    let paths = staged.iter().map(|file| file.path.clone()).collect();
                    let sent = client.attach(conversation, post, paths, |_| ()).await?;
                    staged.into_iter().for_each(crate::Staged::used);
                    sent
                };
                value(Sent { id: sent.id.to_string() })
            }
            Call::Draft { conversation } => {
                let row = client.draft(parse(&conversation)?).await?;
                value(Text { name: row.name, text: row.text })
            }
            Call::Search { text, conversation } => {
                let conversation = conversation.as_deref().map(parse).transpose()?;
                let query = SearchQuery { words: text, conversation, limit: HITS, ..SearchQuery::default() };
                let hits = client.search(query).await?;
                value(hits.iter().map(convert::hit).collect::<Vec<_>>())
            }
            Call::Details { conversation } => value(details(&client, parse(&conversation)?).await?),
            Call::History { conversation, message } => {
                let rows = client.history(parse(&conversation)?, parse(&message)?).await?;
                value(rows.into_iter().map(convert::version).collect::<Vec<_>>())
            }
            Call::Receipts { conversation, message } => {
                let rows = client.receipts(parse(&conversation)?, parse(&message)?).await?;
                let others = rows.into_iter().filter(|row| !row.own);
                let row = |row: tombolo_client::Receipt| api::Receipt {
                    name: row.name,
                    delivered: row.delivered,
                    read: row.read,
                };
                value(others.map(row).collect::<Vec<_>>())
            }
            Call::Thread { conversation, message } => {
                value(convert::messages(client.thread(parse(&conversation)?, parse(&message)?).await?))
            }
            call => {
                write(&client, &self.app, call).await?;
                Ok(Value::Null)
            }
        }
    }

    async fn show(
        &self,
        client: &Client,
        conversation: ConversationId,
        found: Vec<tombolo_client::Message>,
        before: Option<String>,
    ) -> Result<Value, Problem> {
        let number = self.windows.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let first = found.first().map(|message| message.cursor.clone());
        let older = match first {
            Some(first) => !client.peek(conversation, 1, Some(first)).await?.is_empty(),
            None => false,
        };
        let first_unread = client.first_unread(conversation, found.len()).await?;
        let gaps: Vec<api::Gap> = client.gaps(conversation).await?.iter().map(convert::gap).collect();
        let (pruned, _) = client.pruned(conversation).await?;
        let messages = convert::messages(found);
        let answer = Window {
            window: number,
            conversation: conversation.to_string(),
            messages: messages.clone(),
            older,
            newer: before.is_some(),
            first_unread: first_unread.map(|id| id.to_string()),
            gaps: gaps.clone(),
            pruned: u32::try_from(pruned).unwrap_or(u32::MAX),
        };
        *self.shown.lock().await = Some(Shown { number, conversation, before, messages, gaps });
        value(answer)
    }

    /// From now on this interface is told what changes.
    fn follow(&self, client: Client) {
        let Ok(mut following) = self.following.lock() else { return };
        if following.is_some() {
            return;
        }
        let (app, shown, out) = (Arc::clone(&self.app), Arc::clone(&self.shown), self.out.clone());
        *following = Some(tokio::spawn(async move {
            let mut changes = client.changes();
            let mut link = app.link.subscribe();
            let mut updates = app.updates.subscribe();
            let mut list = Vec::new();
            loop {
                let update = tokio::select! {
                    changed = changes.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        tokio::time::sleep(BURST).await;
                        changes.mark_unchanged();
                        if look(&app, &client, &shown, &mut list, &out).await.is_err() {
                            return;
                        }
                        continue;
                    }
                    changed = link.changed() => match changed {
                        Ok(()) => Update::Link { link: link.borrow_and_update().clone() },
                        Err(_) => return,
                    },
                    update = updates.recv() => match update {
                        Ok(update) => update,
                        // What was missed is in the window and the list, too.
                        Err(RecvError::Lagged(_)) => continue,
                        Err(RecvError::Closed) => return,
                    },
                };
                if out.send(update).await.is_err() {
                    return;
                }
            }
        }));
    }
}

/// Nobody listens any more, or the store has stopped.
struct Gone;

impl From<Error> for Gone {
    fn from(_: Error) -> Self {
        Self
    }
}

impl<T> From<mpsc::error::SendError<T>> for Gone {
    fn from(_: mpsc::error::SendError<T>) -> Self {
        Self
    }
}

/// Tells what is different from what was told last.
async fn look(
    app: &App,
    client: &Client,
    shown: &Mutex<Option<Shown>>,
    list: &mut Vec<api::Conversation>,
    out: &mpsc::Sender<Update>,
) -> Result<(), Gone> {
    let mut update = None;
    let mut held = shown.lock().await;
    if let Some(shown) = held.as_mut() {
        let messages = convert::messages(current(client, shown).await?);
        let gaps: Vec<api::Gap> = client.gaps(shown.conversation).await?.iter().map(convert::gap).collect();
        let steps = window::steps(&shown.messages, &messages);
        if !steps.is_empty() || gaps != shown.gaps {
            (shown.messages, shown.gaps) = (messages, gaps.clone());
            update = Some(Update::Window { window: shown.number, steps, gaps });
        }
    }
    // A slow interface may be waiting for this lock in a call; what it is told waits without it.
    drop(held);
    if let Some(update) = update {
        out.send(update).await?;
    }
    let conversations = app.conversations(client).await?;
    if conversations != *list {
        list.clone_from(&conversations);
        out.send(Update::Conversations { conversations }).await?;
    }
    Ok(())
}

/// What stands in a window now: everything from its first message on, as far as it reaches.
async fn current(client: &Client, shown: &Shown) -> Result<Vec<tombolo_client::Message>, Error> {
    let first: Option<OpId> = shown.messages.first().and_then(|first| first.id.parse().ok());
    let mut limit = shown.messages.len() + ARRIVE_MAX;
    loop {
        let mut found = client.peek(shown.conversation, limit.min(GROWN_MAX), shown.before.clone()).await?;
        let whole = found.len() < limit;
        match first.map(|first| found.iter().position(|message| message.id == first)) {
            Some(Some(at)) => {
                found.drain(..at);
                return Ok(found);
            }
            // The first one is further up, or gone.
            Some(None) if !whole && limit < GROWN_MAX => limit = GROWN_MAX,
            _ => return Ok(found),
        }
    }
}

async fn details(client: &Client, conversation: ConversationId) -> Result<Details, Error> {
    let own = client.account();
    let people = client.people(conversation).await?;
    let row = client.conversations().await?.into_iter().find(|row| row.id == conversation);
    let digest = client.digest(Some(conversation)).await?.pop();
    Ok(Details {
        people: people
            .into_iter()
            .map(|(account, name)| Person { account: account.to_string(), name, own: account == own })
            .collect(),
        topic: client.topic(conversation).await?.text,
        notes: client
            .notes(conversation)
            .await?
            .into_iter()
            .map(|row| Text { name: row.name, text: row.text })
            .collect(),
        pins: convert::messages(client.pins(conversation).await?),
        conflicts: client.conflicts(conversation).await?.into_iter().map(convert::conflict).collect(),
        relays: row.map(|row| row.relays).unwrap_or_default(),
        ops: digest.as_ref().map_or(0, |row| u32::try_from(row.ops).unwrap_or(u32::MAX)),
        digest: digest.map(|row| row.digest.iter().map(|byte| format!("{byte:02x}")).collect()).unwrap_or_default(),
    })
}

/// Calls that answer nothing but that they are done.
async fn write(client: &Client, app: &App, call: Call) -> Result<(), Problem> {
    match call {
        Call::Edit { conversation, message, text } => {
            client.edit(parse(&conversation)?, parse(&message)?, text).await?;
        }
        Call::Delete { conversation, message, for_me: true } => {
            client.hide(parse(&conversation)?, parse(&message)?, true).await?;
        }
        Call::Delete { conversation, message, for_me: false } => {
            client.delete(parse(&conversation)?, parse(&message)?).await?;
        }
        Call::Undo { conversation, message } => {
            let (conversation, message) = (parse(&conversation)?, parse(&message)?);
            // What was only hidden on one's own devices is shown again; anything else was deleted for everyone.
            if !client.hide(conversation, message, false).await? {
                client.undo(conversation, message).await?;
            }
        }
        Call::React { conversation, message, emoji, on } => {
            client.react(parse(&conversation)?, parse(&message)?, emoji, on).await?;
        }
        Call::Pin { conversation, message, on } => client.pin(parse(&conversation)?, parse(&message)?, on).await?,
        Call::Read { conversation, up_to } => client.read(parse(&conversation)?, Some(up_to)).await?,
        Call::Unread { conversation, from } => client.mark_unread(parse(&conversation)?, from).await?,
        Call::Typing { conversation } => client.type_now(parse(&conversation)?).await?,
        Call::WriteDraft { conversation, text } => {
            client.write_draft(parse(&conversation)?, text).await?;
        }
        Call::Rename { conversation, title } => client.rename(parse(&conversation)?, title).await?,
        Call::Topic { conversation, text } => {
            client.write_topic(parse(&conversation)?, text).await?;
        }
        Call::Keep { conversation, keep } => {
            let conversation = parse(&conversation)?;
            match keep {
                Keep::Mute { on } => client.mute(conversation, if on { FOR_EVER_MS } else { 0 }).await?,
                Keep::Archive { on } => client.archive(conversation, on).await?,
                Keep::Favourite { on } => client.favourite(conversation, on).await?,
            }
        }
        Call::Cancel { conversation, message } => client.cancel(parse(&conversation)?, parse(&message)?).await?,
        Call::Reconnect => app.reconnect(),
        // The others have an answer and were done before.
        _ => {}
    }
    Ok(())
}
