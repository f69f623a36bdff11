//! The owner thread: one node, everything that happens to it in one queue.
//!
//! Calls, frames and timers arrive as messages; bursts are stored with one sync of the disk ([`Replica::flush`]). The
//! thread runs a small runtime of its own, on which the sockets live, too: between a frame on the wire and a row on the
//! disk no other thread must wake up. A failure of the store stops the thread (fail-stop): every later call says so,
//! nothing more is acknowledged.
//!
//! [`Replica::flush`]: tombolo_replica::Replica::flush

use crate::api::{Message as Shown, MessageState};
use crate::node::Node;
use crate::{Error, tail_mark};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tombolo_model::OpId;
use tombolo_proto::{Fault, Refusal};
use tombolo_replica::{ConnId, ConnState, Event, Link, Now, Output, Stats};

type Call = Box<dyn FnOnce(&mut Node, Now) + Send>;

/// What can happen to the node.
enum Message {
    Call(Call),
    Connect { conn: ConnId, link: Box<Link>, outbox: mpsc::UnboundedSender<Outgoing> },
    Frame { conn: ConnId, frame: Vec<u8> },
    Disconnected { conn: ConnId },
    Close(oneshot::Sender<Result<(), Error>>),
}

/// What a connection has to put on its wire.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Frame(Vec<u8>),
    Close,
}

/// How a connection ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// Why; `None` when the transport was lost without a word.
    pub(crate) fault: Option<Fault>,
    /// What it had done.
    pub(crate) stats: Stats,
    /// Where it stood.
    pub(crate) state: ConnState,
}

/// Something happened in the replica, and what is shown of the ops that it is about.
#[derive(Debug)]
pub(crate) struct Happening {
    pub(crate) event: Event,
    /// Of [`Event::Stored`], while somebody watches: looked up here, so that watching costs no way to this thread and back.
    pub(crate) messages: Vec<Shown>,
    /// Of the same: messages that were there before and look different now.
    pub(crate) changed: Vec<Shown>,
}

/// Shared, since several listen.
pub(crate) type Happened = Arc<Happening>;

/// Somebody wants to be shown messages as they come.
pub(crate) struct Watching(Arc<AtomicUsize>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Messages that may wait for the node before senders have to.
const QUEUE: usize = 1024;
/// Messages that are taken in before the disk is synced.
const BURST: usize = 256;
/// **Milliseconds** between ticks when nothing is due earlier.
const TICK_MS: u64 = 1_000;
/// Events that a slow listener may lag behind.
const EVENTS: usize = 4096;
/// **Milliseconds** that connections have at the end to let out what was said last.
const GOODBYE_MS: u64 = 250;

/// Speaks to the owner thread.
#[derive(Clone)]
pub(crate) struct Actor {
    queue: mpsc::Sender<Message>,
    /// Counts bursts: whoever waits for something looks again when it changes.
    changed: watch::Receiver<u64>,
    /// Ends with the node.
    events: broadcast::WeakSender<Happened>,
    watching: Arc<AtomicUsize>,
    conns: Arc<AtomicU64>,
    ended: Arc<std::sync::Mutex<BTreeMap<ConnId, Ended>>>,
    /// The thread's runtime.
    sockets: Handle,
    /// The thread, until it has been joined.
    thread: Arc<std::sync::Mutex<Option<std::thread::JoinHandle<()>>>>,
}

impl std::fmt::Debug for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Actor")
    }
}

impl Actor {
    /// Starts the thread; `open` makes the node there.
    pub(crate) fn start(
        open: impl FnOnce() -> Result<Node, Error> + Send + 'static,
        database: PathBuf,
    ) -> Result<Self, Error> {
        let (queue, inbox) = mpsc::channel(QUEUE);
        let (changing, changed) = watch::channel(0);
        let (events, _) = broadcast::channel(EVENTS);
        let heard = events.downgrade();
        let ended = Arc::new(std::sync::Mutex::new(BTreeMap::new()));
        let watching = Arc::new(AtomicUsize::new(0));
        let (opened, is_open) = std::sync::mpsc::channel();
        let no_thread = |error| Error::new("thread", format!("no thread could be started: {error}"), "");
        let body = Body {
            outboxes: BTreeMap::new(),
            happened: Vec::new(),
            changing,
            events,
            watching: Arc::clone(&watching),
            ended: Arc::clone(&ended),
            database,
            started: Instant::now(),
        };
        let spawned = std::thread::Builder::new().name("tombolo-node".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_thread);
            let started = runtime.and_then(|runtime| Ok((runtime, open()?)));
            match started {
                Ok((runtime, node)) => {
                    let _ = opened.send(Ok(runtime.handle().clone()));
                    body.run(&runtime, node, inbox);
                    // Looking up a name can take longer than anybody wants to wait at the end.
                    runtime.shutdown_background();
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            }
        });
        let thread = spawned.map_err(no_thread)?;
        let sockets = is_open.recv().map_err(|_| Error::stopped())??;
        let thread = Arc::new(std::sync::Mutex::new(Some(thread)));
        Ok(Self { queue, changed, events: heard, watching, conns: Arc::new(AtomicU64::new(1)), ended, sockets, thread })
    }

    /// Runs something on the node and returns what it returned.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Node, Now) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let call: Call = Box::new(move |node, now| {
            let _ = answer.send(run(node, now));
        });
        self.queue.send(Message::Call(call)).await.map_err(|_| Error::stopped())?;
        answered.await.map_err(|_| Error::stopped())
    }

    /// Where everything that has to do with sockets runs: on this node's own thread.
    pub(crate) fn sockets(&self) -> &Handle {
        &self.sockets
    }

    /// A name for a new connection.
    pub(crate) fn next_conn(&self) -> ConnId {
        ConnId(self.conns.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) async fn connect(
        &self,
        conn: ConnId,
        link: Link,
        outbox: mpsc::UnboundedSender<Outgoing>,
    ) -> Result<(), Error> {
        let message = Message::Connect { conn, link: Box::new(link), outbox };
        self.queue.send(message).await.map_err(|_| Error::stopped())
    }

    /// Where a connection puts what comes. It does not keep the node alive: that is for those who use it.
    pub(crate) fn inlet(&self, conn: ConnId) -> Inlet {
        Inlet { queue: self.queue.downgrade(), conn }
    }

    /// Waits until everything that has happened so far was told.
    pub(crate) async fn told(&self) -> Result<(), Error> {
        let mut changes = self.changes();
        let bursts = self.changes();
        let count = self.call(move |_, _| *bursts.borrow()).await?;
        changes.wait_for(|now| *now > count).await.map_err(|_| Error::stopped())?;
        Ok(())
    }

    /// Changes whenever the node may have.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    /// What happens from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<Happened> {
        match self.events.upgrade() {
            Some(events) => events.subscribe(),
            // Nothing happens any more.
            None => broadcast::channel(1).1,
        }
    }

    /// The same with messages, as long as the second is kept.
    pub(crate) fn watch(&self) -> (broadcast::Receiver<Happened>, Watching) {
        self.watching.fetch_add(1, Ordering::AcqRel);
        (self.events(), Watching(Arc::clone(&self.watching)))
    }

    /// How a connection ended, once it has.
    pub(crate) fn ended(&self, conn: ConnId) -> Option<Ended> {
        self.ended.lock().ok()?.get(&conn).cloned()
    }

    /// Closes the store in order and ends the thread.
    pub(crate) async fn close(&self) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(Message::Close(answer)).await.map_err(|_| Error::stopped())?;
        let closed = answered.await.map_err(|_| Error::stopped())?;
        // The thread ends before the process may: the database's cryptography tidies up after itself when a thread ends
        // and when the process ends, and the two must not meet.
        if let Some(thread) = self.thread.lock().ok().and_then(|mut thread| thread.take()) {
            let _ = thread.join();
        }
        closed
    }
}

/// Keeps in mind why something does not go out, for those who look at the outbox.
fn note(node: &mut Node, event: &Event, now: Now) {
    let noted = match event {
        Event::Gone { .. } => {
            node.files_due = true;
            Ok(())
        }
        Event::Refused { conn, conversation, refusal, by_peer: true } if is_final(*refusal) => {
            let Ok(Some(ConnState { peer: Some(peer), .. })) = node.replica().state(*conn) else { return };
            node.note_refusal(conversation, &peer.short(), Some(crate::sync::refused(*refusal)), now)
        }
        Event::Proven { peer, conversations, .. } => {
            conversations.iter().try_for_each(|conversation| node.note_refusal(conversation, &peer.short(), None, now))
        }
        _ => Ok(()),
    };
    if let Err(error) = noted {
        tracing::warn!(code = error.code(), "What a replica refused could not be noted: {error}");
    }
}

/// Whether somebody must do something about it: other refusals pass by themselves.
fn is_final(refusal: Refusal) -> bool {
    match refusal {
        Refusal::QuotaExceeded | Refusal::TooMany => true,
        Refusal::InviteUsedUp | Refusal::InviteRevoked | Refusal::InviteExpired => true,
        Refusal::NotHere | Refusal::Waits | Refusal::Unnamed => false,
    }
}

/// See [`Actor::inlet`].
pub(crate) struct Inlet {
    queue: mpsc::WeakSender<Message>,
    conn: ConnId,
}

impl Inlet {
    async fn put(&self, message: Message) -> Result<(), Error> {
        let queue = self.queue.upgrade().ok_or_else(Error::stopped)?;
        queue.send(message).await.map_err(|_| Error::stopped())
    }

    pub(crate) async fn frame(&self, frame: Vec<u8>) -> Result<(), Error> {
        self.put(Message::Frame { conn: self.conn, frame }).await
    }

    pub(crate) async fn disconnected(&self) {
        let _ = self.put(Message::Disconnected { conn: self.conn }).await;
    }
}

struct Body {
    outboxes: BTreeMap<ConnId, mpsc::UnboundedSender<Outgoing>>,
    /// To be told once what others wait for is on its way.
    happened: Vec<Event>,
    changing: watch::Sender<u64>,
    events: broadcast::Sender<Happened>,
    watching: Arc<AtomicUsize>,
    ended: Arc<std::sync::Mutex<BTreeMap<ConnId, Ended>>>,
    database: PathBuf,
    started: Instant,
}

impl Body {
    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono_ms: self.started.elapsed().as_millis() as u64, wall_ms: wall.as_millis() as u64 }
    }

    fn run(mut self, runtime: &Runtime, mut node: Node, mut inbox: mpsc::Receiver<Message>) {
        let mut ticked_ms = self.now().mono_ms;
        // Before anything is shown: what expired while nobody was looking.
        let now = self.now();
        node.replica().fold_mut().set_now(now.wall_ms);
        if let Err(error) = node.replica().expire(now) {
            tracing::error!(code = error.code(), "The store failed; the node stops: {error}");
            return;
        }
        loop {
            let now_ms = self.now().mono_ms;
            let due_ms = node.replica().deadline_ms().unwrap_or(u64::MAX).min(ticked_ms + TICK_MS);
            let wait = Duration::from_millis(due_ms.saturating_sub(now_ms));
            let first = runtime.block_on(async {
                // However much is queued here: what was put on its way goes out first.
                tokio::task::yield_now().await;
                tokio::time::timeout(wait, inbox.recv()).await
            });
            let mut closing = None;
            match first {
                Err(_) => {}
                Ok(None) => closing = Some(None),
                Ok(Some(message)) => {
                    closing = self.take(&mut node, message);
                    for _ in 0..BURST {
                        if closing.is_some() {
                            break;
                        }
                        let Ok(message) = inbox.try_recv() else { break };
                        closing = self.take(&mut node, message);
                    }
                }
            }
            // What was written here goes out before anything else is done.
            if !self.happened.is_empty() {
                runtime.block_on(tokio::task::yield_now());
            }
            let now = self.now();
            node.replica().fold_mut().set_now(now.wall_ms);
            // What came is stored and let out first: timers can wait for that.
            let mut worked = node.replica().flush(now);
            self.drain(&mut node);
            self.tell(&mut node);
            let due = node.replica().deadline_ms().is_some_and(|due_ms| due_ms <= now.mono_ms);
            if worked.is_ok() && (due || now.mono_ms >= ticked_ms + TICK_MS) {
                ticked_ms = now.mono_ms;
                worked = node.replica().tick(now);
                if let Err(error) = node.tick(now) {
                    tracing::warn!(code = error.code(), "What is kept for a while could not be cleared: {error}");
                }
                if let Err(error) = node.tell_due(now) {
                    tracing::error!(code = error.code(), "What was read could not be told; the node stops: {error}");
                    return;
                }
            }
            if let Err(error) = worked {
                tracing::error!(code = error.code(), "The store failed; the node stops: {error}");
                return;
            }
            self.drain(&mut node);
            self.tell(&mut node);
            self.changing.send_modify(|count| *count += 1);
            if let Some(answer) = closing {
                let closed = node.close();
                if closed.is_ok() {
                    tail_mark::leave(&self.database);
                }
                self.outboxes.clear();
                runtime.block_on(goodbyes(runtime));
                if let Some(answer) = answer {
                    let _ = answer.send(closed);
                }
                return;
            }
        }
    }

    #[allow(clippy::option_option, reason = "whether to close, and whom to tell")]
    fn take(&mut self, node: &mut Node, message: Message) -> Option<Option<oneshot::Sender<Result<(), Error>>>> {
        let now = self.now();
        node.replica().fold_mut().set_now(now.wall_ms);
        match message {
            Message::Call(call) => call(node, now),
            Message::Connect { conn, link, outbox } => {
                self.outboxes.insert(conn, outbox);
                node.replica().connect(conn, *link, now);
            }
            Message::Frame { conn, frame } => node.replica().receive(conn, &frame, now),
            Message::Disconnected { conn } => {
                self.note_end(node, conn, None);
                node.replica().disconnected(conn);
                self.outboxes.remove(&conn);
            }
            Message::Close(answer) => return Some(Some(answer)),
        }
        self.drain(node);
        None
    }

    fn note_end(&self, node: &mut Node, conn: ConnId, fault: Option<Fault>) {
        let stats = node.replica().stats(conn);
        let state = node.replica().state(conn).ok().flatten();
        if let (Some(stats), Some(state), Ok(mut ended)) = (stats, state, self.ended.lock()) {
            ended.entry(conn).or_insert(Ended { fault, stats, state });
        }
    }

    fn drain(&mut self, node: &mut Node) {
        while let Some(output) = node.replica().poll() {
            match output {
                Output::Send { conn, frame } => {
                    if let Some(outbox) = self.outboxes.get(&conn) {
                        let _ = outbox.send(Outgoing::Frame(frame));
                    }
                }
                Output::Close { conn, fault } => {
                    self.note_end(node, conn, Some(fault));
                    if let Some(outbox) = self.outboxes.remove(&conn) {
                        let _ = outbox.send(Outgoing::Close);
                    }
                }
                Output::Event(event) => {
                    note(node, &event, self.now());
                    self.happened.push(event);
                }
            }
        }
    }

    fn tell(&mut self, node: &mut Node) {
        for event in std::mem::take(&mut self.happened) {
            // A relay that has moved is followed from now on, whoever listens.
            if let Event::Moved { peer, url, at_ms, .. } = &event
                && let Err(error) = node.remember_relay(url, peer, *at_ms)
            {
                tracing::error!(code = error.code(), "The new address of a relay could not be kept: {error}");
            }
            match &event {
                Event::Stored { conversation, .. } => node.reading_may_differ(*conversation, false),
                Event::Proven { conversations, .. } => {
                    conversations.iter().for_each(|conversation| node.reading_may_differ(*conversation, false));
                }
                _ => {}
            }
            if let Err(error) = node.note_typing(&event, self.now()) {
                tracing::warn!(code = error.code(), "Who is typing could not be looked up: {error}");
            }
            let watched = self.watching.load(Ordering::Acquire) > 0;
            let (messages, changed) = if watched { shown(node, &event) } else { Default::default() };
            let _ = self.events.send(Arc::new(Happening { event, messages, changed }));
        }
    }
}

/// Waits until no connection is left, for a moment at most.
async fn goodbyes(runtime: &Runtime) {
    let gone = async {
        while runtime.metrics().num_alive_tasks() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(GOODBYE_MS), gone).await;
}

/// The messages among ops that were stored, and the messages that look different because of the other ones.
fn shown(node: &Node, event: &Event) -> (Vec<Shown>, Vec<Shown>) {
    let Event::Stored { conversation, ids, .. } = event else { return Default::default() };
    let mut messages = node.messages_of(conversation, ids).unwrap_or_default();
    let others: Vec<OpId> = ids.iter().filter(|id| !messages.iter().any(|found| found.id == **id)).copied().collect();
    let changed =
        if others.is_empty() { Vec::new() } else { node.changed_by(conversation, &others).unwrap_or_default() };
    // Nobody is called because of what was said long ago and elsewhere.
    messages.retain(|message| message.state != MessageState::Imported);
    (messages, changed)
}
