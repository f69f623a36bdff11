//! Staying connected: relays with jittered back-off, devices that connect to us, and what happens told as it happens.

use crate::actor::{Actor, Happened, Happening, Watching};
use crate::api::{Event, Message};
use crate::files::{Folder, Work};
use crate::sync::{self, SKEW_MS, SyncOptions, Target, refused};
use crate::transport::discover::{Discovery, Sighting, Tag};
use crate::transport::tls::Tls;
use crate::transport::{Transport, noise};
use crate::{Error, link};
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc};
use tombolo_model::DeviceId;
use tombolo_replica::{ConnId, Event as Inner, Link, Scope, Tools};

/// **Milliseconds** before the first new attempt; doubled up to [`BACK_OFF_MS_MAX`], each with up to half of it as jitter.
const BACK_OFF_MS: u64 = 500;
/// Longest **milliseconds** between attempts.
const BACK_OFF_MS_MAX: u64 = 30_000;
/// After something has happened, files are looked at this much later.
const FILES_EVERY: Duration = Duration::from_millis(300);
/// And at most so much later, while something stands in the way.
const FILES_EVERY_MAX: Duration = Duration::from_secs(15);
/// How often is looked whether a relay has proved who it is, where nothing else says so.
const GREETING: Duration = Duration::from_millis(100);
/// Words about connections that a reader may lag behind before they wait.
const EVENTS: usize = 1024;

/// A listener that accepts devices until it is dropped.
#[derive(Debug)]
pub struct Listening {
    /// Where it listens.
    pub address: SocketAddr,
    /// Why nobody finds it by mDNS, if that is so.
    pub hidden: Option<String>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What happens, as it happens. Connections are kept up until this is dropped.
pub struct Events {
    actor: Actor,
    happened: broadcast::Receiver<Happened>,
    _watching: Watching,
    links: mpsc::Receiver<Event>,
    /// Taken from `happened`, still to be put into words.
    next: Option<Happened>,
    ready: VecDeque<Event>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("ready", &self.ready.len()).finish_non_exhaustive()
    }
}

impl Events {
    /// The next event; `None` once the client is closed. Whoever reads too slowly is told how many events it has missed.
    /// Dropping the future loses nothing, so it can stand in a `select!`.
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if let Some(happening) = &self.next {
                let words = words(&self.actor, happening).await;
                self.next = None;
                self.ready.extend(words);
                continue;
            }
            tokio::select! {
                happened = self.happened.recv() => match happened {
                    Ok(happening) => self.next = Some(happening),
                    Err(broadcast::error::RecvError::Lagged(count)) => {
                        let words = format!("{count} events were skipped; `tombolo messages` shows everything");
                        self.ready.push_back(Event::Notice { code: "lagged", words });
                    }
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                Some(event) = self.links.recv() => return Some(event),
            }
        }
    }
}

pub(crate) async fn watch(
    actor: &Actor,
    folder: &Folder,
    options: &SyncOptions,
    tls: Arc<Tls>,
) -> Result<Events, Error> {
    let (out, links) = mpsc::channel(EVENTS);
    let targets = sync::targets(actor, options).await?;
    let (happened, watching) = actor.watch();
    for target in targets {
        if let Target::Relay { url, key, all } = &target {
            let relay = (url.clone(), *key, *all);
            tokio::spawn(files(actor.clone(), folder.clone(), relay, Arc::clone(&tls), out.clone()));
        }
        tokio::spawn(stay(actor.clone(), target, Arc::clone(&tls), out.clone()));
    }
    tokio::spawn(nearby(actor.clone(), tls, out));
    Ok(Events { actor: actor.clone(), happened, _watching: watching, links, next: None, ready: VecDeque::new() })
}

/// Keeps one connection up until nobody listens any more.
async fn stay(actor: Actor, mut target: Target, tls: Arc<Tls>, out: mpsc::Sender<Event>) {
    let mut wait_ms = BACK_OFF_MS;
    while !out.is_closed() {
        // Who answered there first is who must answer from then on.
        if let Target::Relay { url, key: key @ None, .. } = &mut target {
            *key = met(&actor, url).await;
        }
        let reason = match sync::dial(&actor, &target, &tls, None).await {
            Err(error) => error.to_string(),
            Ok(mut running) => {
                let _ = out.send(Event::Connected { with: target.name().to_owned() }).await;
                let conn = running.conn;
                let mut remembered = !matches!(target, Target::Relay { key: None, .. });
                let remember = remember(&actor, target.name(), conn);
                tokio::pin!(remember);
                loop {
                    tokio::select! {
                        () = running.finished() => break,
                        () = out.closed() => {
                            let _ = sync::leave(&actor, conn).await;
                            return;
                        }
                        () = &mut remember, if !remembered => remembered = true,
                    }
                }
                let ended = actor.ended(conn);
                if ended.as_ref().is_some_and(|ended| ended.state.peer.is_some()) {
                    wait_ms = BACK_OFF_MS;
                }
                let fault = ended.and_then(|ended| ended.fault);
                fault.map_or_else(|| "the connection was lost".to_owned(), |fault| fault.to_string())
            }
        };
        let _ = out.send(Event::Disconnected { with: target.name().to_owned(), reason }).await;
        let jitter: [u8; 8] = actor.call(|node, _| node.random()).await.unwrap_or_default();
        let jitter_ms = u64::from_le_bytes(jitter) % (wait_ms / 2 + 1);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(wait_ms + jitter_ms)) => {}
            () = out.closed() => return,
        }
        wait_ms = (wait_ms * 2).min(BACK_OFF_MS_MAX);
    }
}

/// The key that answered at an address.
async fn met(actor: &Actor, url: &str) -> Option<DeviceId> {
    let url = url.to_owned();
    actor.call(move |node, _| node.met_relay(&url)).await.ok().and_then(Result::ok).flatten()
}

/// Waits until a relay has proved who it is, and keeps that with its address: files go to nobody else, and another key
/// there is refused from then on.
async fn remember(actor: &Actor, url: &str, conn: ConnId) {
    let mut changes = actor.changes();
    loop {
        let state = actor.call(move |node, _| node.replica().state(conn)).await;
        let Ok(Ok(Some(state))) = state else { return };
        if let Some(peer) = state.peer {
            let url = url.to_owned();
            let kept = actor.call(move |node, _| node.remember_relay(&url, &peer, 0)).await;
            if let Ok(Err(error)) = kept {
                tracing::error!(code = error.code(), "The key of a relay could not be kept: {error}");
            }
            return;
        }
        if tokio::time::timeout(GREETING, changes.changed()).await.is_ok_and(|changed| changed.is_err()) {
            return;
        }
    }
}

/// Carries files to a relay and from it, whenever something has happened, until nobody listens any more.
async fn files(
    actor: Actor,
    folder: Folder,
    (url, key, all): (String, Option<DeviceId>, bool),
    tls: Arc<Tls>,
    out: mpsc::Sender<Event>,
) {
    let mut changes = actor.changes();
    let silent = |_: crate::api::Progress| {};
    let mut said = BTreeSet::new();
    let mut wait = FILES_EVERY;
    loop {
        if let Some(key) = match key {
            Some(key) => Some(key),
            None => met(&actor, &url).await,
        } {
            let work = Work { actor: &actor, folder: &folder, url: &url, progress: &silent };
            let carried = tokio::select! {
                carried = work.exchange(key, all, &tls) => carried.unwrap_or_default(),
                () = out.closed() => return,
            };
            let mut words = Vec::new();
            if carried.up > 0 {
                words.push(("file-sent", format!("{} files are on {url} now", carried.up)));
            }
            if carried.down > 0 {
                words.push(("file-here", format!("{} files came", carried.down)));
            }
            // A file whose sender is still at it is asked for again, ever more slowly.
            wait = if carried.notes.is_empty() { FILES_EVERY } else { (wait * 2).min(FILES_EVERY_MAX) };
            // What stands in the way is said once, not with every attempt.
            let new = carried.notes.into_iter().filter(|note| said.insert(note.clone()));
            words.extend(new.map(|note| ("file-later", note)));
            for (code, words) in words {
                let _ = out.send(Event::Notice { code, words }).await;
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = out.closed() => return,
        }
        // A burst is looked at once.
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = out.closed() => return,
        }
        changes.mark_unchanged();
    }
}

/// Connects to devices of the local network that take part in a conversation with this one.
async fn nearby(actor: Actor, tls: Arc<Tls>, out: mpsc::Sender<Event>) {
    let mut discovery = Discovery::start();
    let mut sightings = discovery.browse();
    let mut met = BTreeSet::new();
    loop {
        let sighting = tokio::select! {
            sighting = sightings.next() => sighting,
            () = out.closed() => return,
        };
        let Sighting::Appeared(neighbour) = sighting else { continue };
        let known = actor.call(|node, _| node.companions()).await.ok().and_then(Result::ok).unwrap_or_default();
        let ours = known.iter().any(|device| Tag::of(device) == neighbour.tag);
        if let Some(address) = neighbour.addresses.first().filter(|_| ours)
            && met.insert(*address)
        {
            let target = Target::Peer { address: address.to_string() };
            tokio::spawn(stay(actor.clone(), target, Arc::clone(&tls), out.clone()));
        }
    }
}

/// What a person may want to know of what happens in the replica.
async fn words(actor: &Actor, happening: &Happening) -> Vec<Event> {
    match &happening.event {
        Inner::Stored { conversation, .. } => {
            let conversation = *conversation;
            let message = |message: &Message| Event::Message { conversation, message: Box::new(message.clone()) };
            let changed = |message: &Message| Event::Changed { conversation, message: Box::new(message.clone()) };
            // Who is blocked is not heard.
            let heard = |message: &&Message| !message.beside.blocked;
            let new = happening.messages.iter().filter(heard).map(message);
            new.chain(happening.changed.iter().filter(heard).map(changed)).collect()
        }
        Inner::Proven { peer, count, .. } => vec![Event::Proven { with: peer.short(), ops: *count }],
        Inner::Granted { conversation, device } => {
            vec![Event::Joined { conversation: *conversation, device: *device }]
        }
        Inner::Presence { conversation, payload, .. } => {
            let (conversation, payload) = (*conversation, payload.clone());
            let opened = actor.call(move |node, _| node.open_presence(&conversation, &payload)).await.ok().flatten();
            opened.map(|(device, what)| Event::Presence { conversation, device, what }).into_iter().collect()
        }
        Inner::Refused { conversation, refusal, .. } => {
            let words = format!("conversation {}: {}", conversation.short(), refused(*refusal));
            vec![Event::Notice { code: "refused", words }]
        }
        Inner::Unproven { peer, conversations, .. } => {
            let words = format!("{} conversations still differ with {}", conversations.len(), peer.short());
            vec![Event::Notice { code: "unproven", words }]
        }
        Inner::Authenticated { peer, skew_ms, .. } if skew_ms.unsigned_abs() > SKEW_MS => {
            let words = format!(
                "the clock of {} and the one here differ by {} s; check which one is wrong before writing",
                peer.short(),
                skew_ms.unsigned_abs() / 1000
            );
            vec![Event::Notice { code: "clock", words }]
        }
        Inner::Moved { peer, url, .. } => {
            let words = format!("relay {} has moved to {url}; it is used from now on", peer.short());
            vec![Event::Notice { code: "moved", words }]
        }
        Inner::Equivocation { conversation, author } => {
            let words = format!(
                "device {} has written two messages for one place in conversation {}; both are kept",
                author.short(),
                conversation.short()
            );
            vec![Event::Notice { code: "equivocation", words }]
        }
        Inner::TailLost => {
            let words =
                "a peer knew messages of this device that were missing here (a restored backup?); they are back";
            vec![Event::Notice { code: "tail-lost", words: words.into() }]
        }
        Inner::AcksLost { peer } => {
            let words = format!("{} no longer has what it once confirmed; it is filled again", peer.short());
            vec![Event::Notice { code: "acks-lost", words }]
        }
        Inner::Authenticated { .. }
        | Inner::Acked { .. }
        | Inner::Registers { .. }
        | Inner::Gone { .. }
        | Inner::Wiped => Vec::new(),
    }
}

pub(crate) async fn listen(actor: &Actor, address: &str, device: DeviceId) -> Result<Listening, Error> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let hint = "choose another port, or 0 for any free one";
        Error::new("listen", format!("cannot listen on {address}: {error}"), hint)
    })?;
    let local = listener.local_addr().map_err(|error| Error::new("listen", error.to_string(), ""))?;
    let mut discovery = if local.ip().is_loopback() { Discovery::off() } else { Discovery::start() };
    discovery.advertise(local.port(), &device);
    let hidden = discovery.why_off().map(str::to_owned);
    let actor = actor.clone();
    let task = tokio::spawn(async move {
        let _announced = discovery;
        loop {
            let Ok((tcp, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Ok(tcp) = tcp.into_std() else { continue };
            let serving = actor.clone();
            actor.sockets().spawn(async move {
                let Ok(tcp) = TcpStream::from_std(tcp) else { return };
                if let Ok(transport) = noise::accept(tcp, noise::HANDSHAKE_TIMEOUT_MS).await {
                    let _ = serve(&serving, transport).await;
                }
            });
        }
    });
    Ok(Listening { address: local, hidden, task })
}

async fn serve(actor: &Actor, transport: Transport) -> Result<(), Error> {
    let nonce = actor.call(|node, _| node.random()).await?;
    let binding = transport.channel_binding().to_vec();
    let link = Link { initiator: false, expected: None, binding, nonce, scope: Scope::Members, tools: Tools::ALL };
    // It goes on by itself.
    link::run(actor, transport, link).await?;
    Ok(())
}
