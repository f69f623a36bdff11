//! The profile that all interfaces of a process share: opened once, kept connected, and the state of that in one place.
//!
//! Responsible for: the first start, opening, staying connected (also when a relay is named later), what everybody is told.
//! Not here: one interface's window and calls (`session.rs`), how connections work (`client`).

use crate::api::{CutOff, LinkState, Problem, Profile, Proven, Start, Update};
use crate::{convert, files};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Mutex, Notify, broadcast, watch};
use tombolo_client::{Client, Config, Error, Event, SyncOptions};

/// Updates that an interface may lag behind; then it is told everything anew.
const UPDATES: usize = 256;
/// After a change, what is shown is looked at this much later: a burst is shown at once.
pub(crate) const BURST: Duration = Duration::from_millis(20);
/// Where no relay is known yet, it is asked again at least so often.
const AGAIN: Duration = Duration::from_secs(5);

/// What all interfaces of a process share.
pub struct App {
    config: Config,
    client: watch::Sender<Option<Client>>,
    /// One at a time opens or makes the profile.
    opening: Mutex<()>,
    pub(crate) link: watch::Sender<LinkState>,
    pub(crate) updates: broadcast::Sender<Update>,
    again: Notify,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}

/// **Milliseconds** since 1970.
pub(crate) fn now_ms() -> u64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)
}

impl App {
    /// Opens the profile, if there is one, and begins to connect.
    ///
    /// # Errors
    /// Those of opening, but not that there is no profile: that is the first start.
    pub async fn open(config: Config) -> Result<Arc<Self>, Error> {
        let app = Arc::new(Self {
            config,
            client: watch::Sender::new(None),
            opening: Mutex::new(()),
            link: watch::Sender::new(LinkState::default()),
            updates: broadcast::Sender::new(UPDATES),
            again: Notify::new(),
        });
        match app.load().await {
            Err(error) if error.code() != "no-profile" => Err(error),
            _ => Ok(app),
        }
    }

    async fn load(self: &Arc<Self>) -> Result<(), Error> {
        let _one = self.opening.lock().await;
        if self.client.borrow().is_some() {
            return Ok(());
        }
        let config = self.config.clone();
        let client = tokio::task::spawn_blocking(move || Client::open(&config)).await.map_err(stopped)??;
        // Only now: until it was open, another process might have held the profile.
        files::clear(&self.config.home).map_err(|error| {
            let words = format!("what an earlier start left cannot be removed: {error}");
            Error::new("home", words, "look at who owns the profile's folder")
        })?;
        self.client.send_replace(Some(client.clone()));
        tokio::spawn(Arc::clone(self).stay_connected(client));
        Ok(())
    }

    /// Makes a profile and opens it.
    pub(crate) async fn init(self: &Arc<Self>, name: String, relay: String) -> Result<(), Error> {
        if self.client.borrow().is_some() {
            let hint = "to begin as somebody else, use another folder";
            return Err(Error::new("profile-exists", "there is a profile on this machine already", hint));
        }
        let config = self.config.clone();
        let relays: Vec<String> = Some(relay.trim().to_owned()).filter(|relay| !relay.is_empty()).into_iter().collect();
        tokio::task::spawn_blocking(move || Client::init(&config, name.trim(), &relays)).await.map_err(stopped)??;
        self.load().await
    }

    /// The open profile.
    pub(crate) fn client(&self) -> Result<Client, Problem> {
        self.client.borrow().clone().ok_or_else(|| Problem {
            code: "no-profile".into(),
            message: "there is no profile on this machine yet".into(),
            hint: "choose a name first".into(),
        })
    }

    /// The profile's folder.
    pub(crate) fn home(&self) -> &std::path::Path {
        &self.config.home
    }

    /// The profile, once it is open.
    pub async fn opened(&self) -> Client {
        let mut client = self.client.subscribe();
        loop {
            let open = client.borrow_and_update().clone();
            if let Some(open) = open {
                return open;
            }
            if client.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    pub(crate) fn start(&self) -> Start {
        let profile = self.client.borrow().as_ref().map(|client| Profile {
            name: client.name().to_owned(),
            account: client.account().to_string(),
            device: client.device().to_string(),
            home: self.config.home.display().to_string(),
        });
        Start { profile, version: env!("CARGO_PKG_VERSION").into(), link: self.link.borrow().clone() }
    }

    /// Connects anew: a relay may have been named, or somebody does not want to wait.
    pub(crate) fn reconnect(&self) {
        self.again.notify_one();
    }

    fn tell(&self, update: Update) {
        // Without anybody who listens there is nobody to tell.
        let _ = self.updates.send(update);
    }

    /// Keeps connections up until the profile is closed.
    async fn stay_connected(self: Arc<Self>, client: Client) {
        loop {
            self.link.send_modify(|link| (link.online, link.cut_off) = (Vec::new(), Vec::new()));
            match client.watch(&SyncOptions::default()).await {
                Err(_) => tokio::select! {
                    () = self.again.notified() => {}
                    () = tokio::time::sleep(AGAIN) => {}
                },
                Ok(mut events) => loop {
                    tokio::select! {
                        event = events.recv() => match event {
                            Some(event) => self.on_event(&client, event).await,
                            None => return,
                        },
                        () = self.again.notified() => break,
                    }
                },
            }
        }
    }

    async fn on_event(&self, client: &Client, event: Event) {
        match event {
            Event::Connected { with } => {
                let with = host(&with);
                self.link.send_modify(|link| {
                    link.cut_off.retain(|other| other.with != with);
                    if !link.online.contains(&with) {
                        link.online.push(with);
                    }
                });
                // The proof may have come first, when nobody knew yet whose key it is.
                let proven = self.link.borrow().proven.clone();
                if let Some(proven) = proven {
                    let with = self.address_of(client, proven.with.clone()).await;
                    self.link.send_modify(|link| link.proven = Some(Proven { with, ..proven }));
                }
            }
            Event::Disconnected { with, reason } => self.link.send_modify(|link| {
                let with = host(&with);
                link.online.retain(|other| *other != with);
                link.cut_off.retain(|other| other.with != with);
                link.cut_off.push(CutOff { with, reason });
            }),
            Event::Proven { with, .. } => {
                let with = self.address_of(client, with).await;
                self.link.send_modify(|link| link.proven = Some(Proven { with, at_ms: now_ms(), current: true }));
            }
            Event::Message { conversation, message } => {
                self.doubt();
                if !message.own && !message.late {
                    self.arrived(client, conversation, *message).await;
                }
            }
            Event::Changed { .. } => self.doubt(),
            Event::Presence { conversation, .. } => {
                if let Ok(names) = client.typing(conversation).await {
                    self.tell(Update::Typing { conversation: conversation.to_string(), names });
                }
            }
            Event::Joined { .. } => self.reconnect(),
            Event::Notice { code, words } => self.tell(Update::Notice { code: code.into(), words }),
        }
    }

    /// The address of a connected replica that is named by the beginning of its key; the name itself where none is known.
    async fn address_of(&self, client: &Client, name: String) -> String {
        let online = self.link.borrow().online.clone();
        for address in online {
            for url in [format!("wss://{address}"), format!("ws://{address}")] {
                if client.met_relay(url).await.is_ok_and(|key| key.is_some_and(|key| key.short() == name)) {
                    return address;
                }
            }
        }
        name
    }

    /// What was proven is older than what is here now.
    fn doubt(&self) {
        self.link.send_if_modified(|link| match &mut link.proven {
            Some(proven) if proven.current => {
                proven.current = false;
                true
            }
            _ => false,
        });
    }

    async fn arrived(
        &self,
        client: &Client,
        conversation: tombolo_client::ConversationId,
        message: tombolo_client::Message,
    ) {
        let Ok(rows) = client.conversations().await else { return };
        let Some(row) = rows.into_iter().find(|row| row.id == conversation) else { return };
        if row.keeping.mute_until_ms <= now_ms() || message.beside.mentions_me {
            self.tell(Update::Arrived {
                conversation: conversation.to_string(),
                title: row.title,
                message: Box::new(convert::message(message)),
            });
        }
    }

    /// The list of conversations as it is shown.
    pub(crate) async fn conversations(&self, client: &Client) -> Result<Vec<crate::api::Conversation>, Error> {
        let rows = client.conversations().await?;
        let mut waiting: BTreeMap<_, usize> = BTreeMap::new();
        for row in client.outbox(None).await? {
            *waiting.entry(row.conversation).or_default() += 1;
        }
        let all = u32::try_from(waiting.values().sum::<usize>()).unwrap_or(u32::MAX);
        self.link.send_if_modified(|link| std::mem::replace(&mut link.waiting, all) != all);
        let mut list = Vec::with_capacity(rows.len());
        for row in rows {
            let last = client.peek(row.id, 1, None).await?.pop();
            let waiting = waiting.get(&row.id).copied().unwrap_or(0);
            list.push(convert::conversation(row, last, waiting, now_ms()));
        }
        Ok(list)
    }

    /// Ends: everything is on the disk when this returns, and what was attached and never sent is gone.
    ///
    /// # Errors
    /// Those of closing the store.
    pub async fn close(&self) -> Result<(), Error> {
        let Some(client) = self.client.send_replace(None) else { return Ok(()) };
        // While the profile is still held: nobody else has staged anything. What cannot be removed goes at the next start.
        let _ = files::clear(&self.config.home);
        client.close().await
    }
}

/// An address as people read it.
fn host(address: &str) -> String {
    let bare = address.strip_prefix("wss://").or_else(|| address.strip_prefix("ws://")).unwrap_or(address);
    bare.trim_end_matches('/').to_owned()
}

fn stopped(error: tokio::task::JoinError) -> Error {
    Error::new("stopped", error.to_string(), "this is a fault of the program: please report it")
}
