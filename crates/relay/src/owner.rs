//! The owner thread: the one place that touches the replica and its log.
//!
//! It takes everything that waits, feeds it to the sessions, stores what they brought with one sync, and only then lets
//! acknowledgements out (group commit). It never waits for a socket: full queues end their connection. It is fail-stop:
//! after an error of the log nobody knows what is on the disk, so every session is told and the process ends; whatever
//! was not acknowledged will be sent again.
//! Not here: sockets (`socket.rs`), what a frame means (`proto`), storing (`oplog`, through `replica`).

use crate::admission::{Admission, Guest};
use crate::blobs::Depot;
use crate::config::Limits;
use crate::ledger::{Ledger, Quota};
use crate::meters::Meters;
use crate::moved::Moved;
use crate::outbox::{Outbox, SLOW_READER, TooSlow, bye};
use axum::body::Bytes;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::timeout_at;
use tombolo_identity::DeviceKey;
use tombolo_oplog::{Log, LogError, NoFold};
use tombolo_proto::Fault;
use tombolo_replica::{ConnId, Event, Link, Now, Output, Replica, Scope, Tools};

/// Inputs taken before they are stored together.
const BURST_INPUTS: usize = 1_024;
/// **Bytes** of frames taken before they are stored together: bounds how long one transaction holds the others up.
const BURST_BYTES: usize = 8 * 1024 * 1024;
/// How often the word that the relay has moved is looked for, and at least how often timers are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often the ledger is saved.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// How long the answer to "is the store writable" or "how much is stored" is good for, so that asking costs little.
const ANSWER_GOOD_FOR: Duration = Duration::from_secs(1);
/// Where the probe of `/ready` writes.
const META_READY: &str = "relay.ready";

/// What the owner thread is told.
#[derive(Debug)]
pub(crate) enum Input {
    /// A socket is up.
    Connect { conn: ConnId, guest: Arc<Guest>, outbox: Outbox, nonce: [u8; 32], binding: Vec<u8> },
    /// A frame came; `room` is given back once it is stored.
    Frame { conn: ConnId, bytes: Bytes, room: OwnedSemaphorePermit, at: Instant },
    /// A socket is gone.
    Gone { conn: ConnId },
    /// The socket's loop found a fault.
    Fail { conn: ConnId, fault: Fault },
    /// Write something and say so.
    Probe(oneshot::Sender<()>),
    /// Bring the gauges up to date.
    Count(oneshot::Sender<()>),
    /// Say goodbye to everybody and end.
    Stop,
}

struct Conn {
    guest: Arc<Guest>,
    outbox: Outbox,
}

/// See the head of this file.
pub(crate) struct Owner {
    replica: Replica<NoFold>,
    ledger: Rc<RefCell<Ledger>>,
    conns: BTreeMap<ConnId, Conn>,
    admission: Arc<Admission>,
    meters: Arc<Meters>,
    began: Instant,
    moved: Option<Moved>,
    /// Authenticated just now, to be told that the relay has moved.
    newcomers: Vec<ConnId>,
    /// Ops were stored since the last flush began.
    stored: bool,
    /// Bodies went that the ledger has not given back.
    freed: bool,
    looked: Instant,
    saved: Instant,
    probed: Option<Instant>,
    counted: Option<Instant>,
    depot: Arc<Depot>,
}

impl Owner {
    pub(crate) fn new(
        log: Log,
        key: DeviceKey,
        limits: &Limits,
        admission: Arc<Admission>,
        meters: Arc<Meters>,
        depot: Arc<Depot>,
    ) -> Result<Self, LogError> {
        let ledger = Ledger::open(&log, limits.account_bytes, limits.stored_bytes)?;
        let ledger = Rc::new(RefCell::new(ledger));
        let moved = Moved::load(&log)?;
        let mut replica = Replica::new(log, key, NoFold);
        replica.set_gate(Box::new(Quota(Rc::clone(&ledger))));
        let began = Instant::now();
        Ok(Self {
            replica,
            ledger,
            conns: BTreeMap::new(),
            admission,
            meters,
            began,
            moved,
            newcomers: Vec::new(),
            stored: false,
            freed: false,
            looked: began,
            saved: began,
            probed: None,
            counted: None,
            depot,
        })
    }

    /// Works until it is told to stop, everybody is gone, or the log fails.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Input>) -> Result<(), LogError> {
        loop {
            let first = match timeout_at(self.deadline().into(), inbox.recv()).await {
                Ok(Some(first)) => Some(first),
                Ok(None) => return self.finish(),
                Err(_) => None,
            };
            let mut rooms = Vec::new();
            let mut stop = false;
            let worked = self.burst(first, &mut inbox, &mut rooms, &mut stop).and_then(|()| self.turn());
            if let Err(error) = worked {
                self.give_up(&error);
                return Err(error);
            }
            drop(rooms);
            if stop {
                return self.finish();
            }
        }
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono_ms: millis(self.began.elapsed()), wall_ms: millis(wall) }
    }

    fn deadline(&self) -> Instant {
        let look = self.looked + LOOK_EVERY;
        self.replica.deadline_ms().map_or(look, |due_ms| look.min(self.began + Duration::from_millis(due_ms)))
    }

    fn burst(
        &mut self,
        first: Option<Input>,
        inbox: &mut mpsc::Receiver<Input>,
        rooms: &mut Vec<OwnedSemaphorePermit>,
        stop: &mut bool,
    ) -> Result<(), LogError> {
        let mut bytes = 0;
        let mut next = first;
        let mut taken = 0;
        while let Some(input) = next {
            taken += 1;
            match input {
                Input::Frame { conn, bytes: frame, room, .. } => {
                    bytes += frame.len();
                    rooms.push(room);
                    self.replica.receive(conn, &frame, self.now());
                }
                Input::Connect { conn, guest, outbox, nonce, binding } => {
                    self.conns.insert(conn, Conn { guest, outbox });
                    let link = Link {
                        initiator: false,
                        expected: None,
                        binding,
                        nonce,
                        scope: Scope::Members,
                        tools: Tools::ALL,
                    };
                    self.replica.connect(conn, link, self.now());
                }
                Input::Gone { conn } => self.gone(conn, "link_lost"),
                Input::Fail { conn, fault } => self.replica.fail(conn, fault, self.now()),
                Input::Probe(answer) => {
                    self.probe()?;
                    // Whoever asked may have stopped waiting.
                    let _ = answer.send(());
                }
                Input::Count(answer) => {
                    self.count()?;
                    let _ = answer.send(());
                }
                Input::Stop => {
                    *stop = true;
                    return Ok(());
                }
            }
            self.drain();
            next = if taken < BURST_INPUTS && bytes < BURST_BYTES { inbox.try_recv().ok() } else { None };
        }
        Ok(())
    }

    /// Stores what was taken, lets out what follows from that, and looks at the clocks.
    fn turn(&mut self) -> Result<(), LogError> {
        let began = Instant::now();
        self.stored = false;
        self.replica.flush(self.now())?;
        let took = began.elapsed();
        self.drain();
        if self.stored {
            self.meters.flushed(took);
            self.depot.follow(self.replica.log())?;
        }
        if std::mem::take(&mut self.freed) {
            self.ledger.borrow_mut().follow(self.replica.log())?;
        }
        self.ledger.borrow_mut().settle(self.replica.log())?;
        let now = self.now();
        if self.replica.deadline_ms().is_some_and(|due_ms| due_ms <= now.mono_ms) {
            self.replica.tick(now)?;
            self.drain();
        }
        self.welcome();
        if self.looked.elapsed() >= LOOK_EVERY {
            self.looked = Instant::now();
            self.look(now)?;
        }
        Ok(())
    }

    /// What happens every few seconds.
    fn look(&mut self, now: Now) -> Result<(), LogError> {
        // Early ops become due by the wall clock, which no timer of a session knows.
        self.replica.tick(now)?;
        self.drain();
        let moved = Moved::load(self.replica.log())?;
        if moved != self.moved {
            self.moved = moved;
            self.newcomers = self.replica.conns().filter(|(_, peer)| peer.is_some()).map(|(conn, _)| conn).collect();
            self.welcome();
        }
        self.meters.upkeep();
        if self.saved.elapsed() >= SAVE_EVERY {
            self.saved = Instant::now();
            self.ledger.borrow_mut().save(self.replica.log_mut())?;
            self.depot.sweep(now.wall_ms)?;
        }
        Ok(())
    }

    /// Tells newcomers where the relay has moved to, if it has.
    fn welcome(&mut self) {
        let newcomers = std::mem::take(&mut self.newcomers);
        let Some(moved) = self.moved.clone() else { return };
        for conn in newcomers {
            self.replica.say_moved(conn, &moved.url, moved.at_ms, self.now());
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.replica.poll() {
            match output {
                Output::Send { conn, frame } => self.send(conn, frame),
                Output::Close { conn, fault } => self.close(conn, &fault),
                Output::Event(event) => self.note(event),
            }
        }
    }

    fn send(&mut self, conn: ConnId, frame: Vec<u8>) {
        let Some(found) = self.conns.get(&conn) else { return };
        if found.outbox.push(frame) == Err(TooSlow) {
            found.outbox.give_up();
            self.gone(conn, SLOW_READER);
        }
    }

    fn close(&mut self, conn: ConnId, fault: &Fault) {
        if let Some(closed) = self.conns.remove(&conn) {
            closed.outbox.end();
            self.meters.closed(fault.code());
            tracing::debug!(conn = conn.0, code = fault.code(), blame = ?fault.blame(), "session closed: {fault}");
        }
        self.replica.disconnected(conn);
    }

    fn gone(&mut self, conn: ConnId, code: &'static str) {
        if self.conns.remove(&conn).is_some() {
            self.meters.closed(code);
            tracing::debug!(conn = conn.0, code, "connection gone");
        }
        self.replica.disconnected(conn);
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Authenticated { conn, peer, skew_ms } => {
                if let Some(found) = self.conns.get(&conn) {
                    self.admission.authenticated(&found.guest, peer);
                }
                self.meters.authenticated.increment(1);
                self.newcomers.push(conn);
                tracing::debug!(conn = conn.0, device = %peer.short(), skew_ms, "authenticated");
            }
            Event::Stored { ids, tool, .. } => {
                self.stored = true;
                self.meters.batches.increment(1);
                if let Some(tool) = tool {
                    self.meters.stored(tool, ids.len() as u64);
                }
            }
            Event::Proven { .. } => self.meters.proven.increment(1),
            Event::Unproven { conn, peer, conversations } => {
                self.meters.unproven.increment(1);
                let count = conversations.len();
                tracing::warn!(conn = conn.0, device = %peer.short(), count, "a search ended with a named gap");
            }
            Event::Refused { conn, refusal, by_peer, .. } => {
                if !by_peer {
                    self.meters.refused(refusal);
                }
                tracing::debug!(conn = conn.0, ?refusal, by_peer, "a conversation was not taken");
            }
            Event::Equivocation { author, .. } => {
                self.meters.equivocations.increment(1);
                tracing::debug!(author = %author.short(), "a device wrote two ops for one place of its log");
            }
            Event::Granted { .. } => {}
            Event::Acked { .. } => {}
            Event::AcksLost { .. } => {}
            Event::Presence { .. } => {}
            Event::Registers { .. } => {}
            Event::Moved { .. } => {}
            Event::TailLost => {}
            Event::Gone { conversation, ids, why } => {
                self.meters.gone(why, ids.len() as u64);
                self.freed = true;
                for id in &ids {
                    if let Err(error) = self.depot.released(&conversation, id) {
                        // They are looked after once more at the next start.
                        tracing::error!(code = error.code(), "a blob could not be released: {error}");
                    }
                }
            }
            Event::Wiped => {}
        }
    }

    /// Writes, durably, to find out whether that works. An error is an error of the log like every other.
    fn probe(&mut self) -> Result<(), LogError> {
        if self.probed.is_some_and(|at| at.elapsed() < ANSWER_GOOD_FOR) {
            return Ok(());
        }
        let at_ms = self.now().wall_ms;
        let mut batch = self.replica.log_mut().batch()?;
        batch.put_meta(META_READY, &at_ms.to_be_bytes())?;
        batch.commit()?;
        self.probed = Some(Instant::now());
        Ok(())
    }

    fn count(&mut self) -> Result<(), LogError> {
        if self.counted.is_some_and(|at| at.elapsed() < ANSWER_GOOD_FOR) {
            return Ok(());
        }
        let counts = Counts::of(self.replica.log())?;
        self.meters.conversations.set(counts.conversations as f64);
        self.meters.ops.set(counts.ops as f64);
        self.meters.database_bytes.set(counts.database_bytes as f64);
        self.meters.stored_bytes.set(self.ledger.borrow().total_bytes() as f64);
        let sums = self.depot.sums()?;
        self.meters.blobs.set(sums.blobs as f64);
        self.meters.blob_bytes.set(sums.bytes as f64);
        self.meters.blob_uploads.set(sums.parts as f64);
        self.counted = Some(Instant::now());
        Ok(())
    }

    /// Says goodbye and closes in order.
    fn finish(mut self) -> Result<(), LogError> {
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            let now = self.now();
            self.replica.leave(conn, now);
            self.drain();
        }
        self.ledger.borrow_mut().save(self.replica.log_mut())?;
        self.replica.close()
    }

    /// Tells everybody that this relay's disk failed.
    fn give_up(&mut self, error: &LogError) {
        let words = format!("the relay's store failed ({}); what it acknowledged is safe", error.code());
        for conn in std::mem::take(&mut self.conns).into_values() {
            // Whoever does not keep up learns it from the closed connection.
            let _ = conn.outbox.push(bye("local_store", &words));
            conn.outbox.end();
        }
    }
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) conversations: u64,
    pub(crate) ops: u64,
    pub(crate) database_bytes: u64,
}

impl Counts {
    pub(crate) fn of(log: &Log) -> Result<Self, LogError> {
        let mut statement =
            log.connection()?.prepare_cached("SELECT count(*), coalesce(sum(ops), 0) FROM conversation")?;
        let counts: (i64, i64) = statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let database_bytes = std::fs::metadata(log.path()).map_or(0, |file| file.len());
        Ok(Self { conversations: counts.0 as u64, ops: counts.1 as u64, database_bytes })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
