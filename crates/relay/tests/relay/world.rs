//! People for the tests: a device with a real replica and a real store, that talks to a relay over a WebSocket.

use futures_util::{SinkExt as _, StreamExt as _};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tombolo_identity::{AccountKey, DeviceKey, InviteKey};
use tombolo_model::control::Kind;
use tombolo_model::{Class, Control, ConversationId, DeviceId, Hlc, LogId, OpId, Sound};
use tombolo_oplog::{Incoming, Log, NoFold, Open};
use tombolo_proto::Fault;
use tombolo_relay::{Config, Limits, Place, Relay};
use tombolo_replica::{ConnId, Draft, Event, Link, Now, Output, Replica, Rest, Scope, Target, Tools};

/// No step of a test takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Settings for a test: a free port, everything else as shipped.
pub(crate) fn config() -> Config {
    Config { listen: "127.0.0.1:0".into(), ..Config::default() }
}

pub(crate) fn limited(change: impl FnOnce(&mut Limits)) -> Config {
    let mut config = config();
    change(&mut config.limits);
    config
}

/// A relay in a folder of its own.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) relay: Relay,
}

impl World {
    pub(crate) async fn new(config: Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let relay = Relay::start(&Place::new(dir.path()), config).await.unwrap();
        Self { dir, relay }
    }

    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let (status, text) = get(self.relay.address(), "/metrics", "").await;
        assert_eq!(status, 200, "{text}");
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }
}

/// Asks over HTTP; `more` are further header lines.
pub(crate) async fn get(address: SocketAddr, path: &str, more: &str) -> (u16, String) {
    let asking = async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n{more}\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        text
    };
    let text = timeout(PATIENCE, asking).await.unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_owned())
}

/// What an invitation link carries.
pub(crate) struct Invited {
    conversation: ConversationId,
    key: InviteKey,
    op: (OpId, Hlc),
}

/// A person with one device.
pub(crate) struct Device {
    pub(crate) replica: Replica<NoFold>,
    account: AccountKey,
    seed: u8,
    began: Instant,
    next: u64,
    pub(crate) events: Vec<Event>,
    _dir: TempDir,
}

/// A connection of a device.
pub(crate) struct Line {
    pub(crate) socket: Socket,
    pub(crate) conn: ConnId,
    pub(crate) fault: Option<Fault>,
}

impl Device {
    pub(crate) fn new(seed: u8) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let replica = Self::open(dir.path(), seed);
        let account = AccountKey::from_seed([seed + 100; 32]);
        Self { replica, account, seed, began: Instant::now(), next: 0, events: Vec::new(), _dir: dir }
    }

    fn open(folder: &Path, seed: u8) -> Replica<NoFold> {
        let log = Log::open(Open::new(folder.join("device.db"), u64::from(seed))).unwrap();
        Replica::new(log, DeviceKey::from_seed([seed; 32]), NoFold)
    }

    pub(crate) fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Now { mono_ms: self.began.elapsed().as_millis() as u64, wall_ms: wall.as_millis() as u64 }
    }

    fn write(&mut self, conversation: Option<ConversationId>, drafts: &[Draft<'_>]) -> Vec<tombolo_replica::Written> {
        let now = self.now();
        let written = self.replica.write(conversation, drafts, LogId([self.seed; 8]), now).unwrap();
        self.settle();
        written
    }

    /// Founds a conversation.
    pub(crate) fn found(&mut self, salt: u8) -> ConversationId {
        let certificate = self.account.certify(self.replica.device(), 1);
        let genesis = Control::Genesis { certificate, kind: Kind::Group, salt: [salt; 16], relays: Vec::new() };
        self.write(None, &[Draft::Clear(Box::new(genesis))])[0].conversation
    }

    /// Writes `count` sealed bodies of `bytes` bytes; a relay cannot tell them from any others.
    pub(crate) fn say(&mut self, conversation: ConversationId, count: usize, bytes: usize) -> Vec<OpId> {
        let seed = self.seed;
        let seal = move |header: &tombolo_model::Header| {
            Ok((0..bytes).map(|at| (at as u64 * 31 + header.seq * 7 + u64::from(seed)) as u8).collect())
        };
        let drafts: Vec<Draft<'_>> =
            (0..count).map(|_| Draft::Sealed { len: bytes, seal: &seal, rest: Rest::default() }).collect();
        self.write(Some(conversation), &drafts).into_iter().map(|op| op.id).collect()
    }

    /// Writes one op.
    pub(crate) fn write_one(&mut self, conversation: ConversationId, draft: Draft<'_>) -> OpId {
        self.write(Some(conversation), &[draft])[0].id
    }

    pub(crate) fn invite(&mut self, conversation: ConversationId) -> Invited {
        let key = InviteKey::from_seed([self.seed + 50; 32]);
        let invite = Control::Invite { key: key.public(), uses: 100, expires_ms: 0 };
        let written = self.write(Some(conversation), &[Draft::Clear(Box::new(invite))])[0];
        Invited { conversation, key, op: (written.id, written.hlc) }
    }

    pub(crate) fn join(&mut self, invited: &Invited) {
        let certificate = self.account.certify(self.replica.device(), 1);
        let proof = invited.key.prove(&invited.conversation, &certificate);
        let join = Control::Join { certificate, invite: invited.key.public(), proof, relays: Vec::new() };
        let now = self.now();
        let target = Target::Invited { conversation: invited.conversation, seen: invited.op.1, relays: &[] };
        let drafts = [Draft::Clear(Box::new(join))];
        self.replica.write(target, &drafts, LogId([self.seed; 8]), now).unwrap();
        self.settle();
    }

    /// Stores a copy of what another device has of a conversation, as if it had been leaked.
    pub(crate) fn take_over(&mut self, from: &Self, conversation: &ConversationId) {
        let mut ops: Vec<_> = from
            .ids(conversation)
            .iter()
            .map(|id| from.replica.log().op(conversation, id).unwrap().unwrap())
            .map(|op| {
                let is_control = op.header.class == Class::Control;
                let control = op.body.as_ref().filter(|_| is_control).map(|body| Control::from_bytes(body).unwrap());
                Incoming { op: Sound::check(op).unwrap(), control }
            })
            .collect();
        ops.sort_by_key(|incoming| incoming.op.header.hlc);
        let (now, peer) = (self.now(), from.replica.device());
        let mut batch = self.replica.log_mut().batch().unwrap();
        batch.append(ops, Some(&peer), now.wall_ms, &mut NoFold).unwrap();
        batch.commit().unwrap();
    }

    /// Keeps events; outputs for connections are taken by `drive`.
    fn settle(&mut self) {
        assert!(self.replica.conns().next().is_none(), "write through `drive_with` while connected");
        while let Some(output) = self.replica.poll() {
            if let Output::Event(event) = output {
                self.events.push(event);
            }
        }
    }

    pub(crate) async fn dial(&mut self, relay: &Relay) -> Line {
        self.dial_at(relay.listening(), relay.key()).await
    }

    pub(crate) async fn dial_at(&mut self, url: &str, relay: DeviceId) -> Line {
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        self.next += 1;
        let conn = ConnId(self.next);
        let mut nonce = [self.seed; 32];
        nonce[..8].copy_from_slice(&self.now().wall_ms.to_be_bytes());
        nonce[8..16].copy_from_slice(&self.next.to_be_bytes());
        let link = Link {
            initiator: true,
            expected: Some(relay),
            binding: Vec::new(),
            nonce,
            scope: Scope::Relay { url: url.into(), all: true },
            tools: Tools::ALL,
        };
        let now = self.now();
        self.replica.connect(conn, link, now);
        Line { socket, conn, fault: None }
    }

    /// Runs the connection until `done` says so or the session is over.
    pub(crate) async fn drive(&mut self, line: &mut Line, done: impl Fn(&Self, &Line) -> bool) {
        let began = Instant::now();
        loop {
            self.replica.flush(self.now()).unwrap();
            while let Some(output) = self.replica.poll() {
                match output {
                    // A relay that has hung up is noticed when reading.
                    Output::Send { frame, .. } => drop(line.socket.send(Message::Binary(frame.into())).await),
                    Output::Close { fault, .. } => line.fault = Some(fault),
                    Output::Event(event) => self.events.push(event),
                }
            }
            if line.fault.is_some() || done(self, line) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "still {:?}", self.replica.state(line.conn));
            match timeout(Duration::from_millis(50), line.socket.next()).await {
                Ok(Some(Ok(Message::Binary(frame)))) => {
                    let now = self.now();
                    self.replica.receive(line.conn, &frame, now);
                }
                Ok(Some(Ok(_))) => {}
                Ok(None | Some(Err(_))) => line.fault = Some(Fault::Silent(0)),
                Err(_) => self.replica.tick(self.now()).unwrap(),
            }
        }
    }

    /// Whether everything that can be said has been said, and both sides are proven equal but for what is blocked.
    pub(crate) fn is_proven(&self, line: &Line) -> bool {
        self.replica.state(line.conn).unwrap().is_some_and(|state| state.quiet && state.proven)
    }

    /// Connects, exchanges until proven equal, leaves.
    pub(crate) async fn sync(&mut self, relay: &Relay) {
        let mut line = self.dial(relay).await;
        self.drive(&mut line, |device, line| device.is_proven(line)).await;
        assert_eq!(line.fault, None);
        self.hang_up(line).await;
    }

    pub(crate) async fn hang_up(&mut self, mut line: Line) {
        let now = self.now();
        self.replica.leave(line.conn, now);
        self.drive(&mut line, |_, _| false).await;
        self.replica.disconnected(line.conn);
    }

    /// Ids of all ops of a conversation.
    pub(crate) fn ids(&self, conversation: &ConversationId) -> BTreeSet<OpId> {
        ids(self.replica.log(), conversation)
    }
}

/// Ids of all ops of a conversation.
pub(crate) fn ids(log: &Log, conversation: &ConversationId) -> BTreeSet<OpId> {
    let mut ids = BTreeSet::new();
    log.ids_after(conversation, 0, |_, id| {
        ids.insert(id);
    })
    .unwrap();
    ids
}

/// Reads binary messages until the other side closes; what it said, oldest first.
pub(crate) async fn hear_out(socket: &mut Socket) -> Vec<Vec<u8>> {
    let mut heard = Vec::new();
    while let Some(Ok(message)) = timeout(PATIENCE, socket.next()).await.unwrap() {
        if let Message::Binary(frame) = message {
            heard.push(frame.to_vec());
        }
    }
    heard
}
