//! A node of the simulated world: the product's own device or relay, on a disk and a clock of its own.
//!
//! Responsible for: opening, closing and killing it. Not here: when that happens (`troubles`), frames (`net`).

use std::collections::BTreeMap;
use tombolo_client::{ConversationId, DeviceId, Entropy, Error, Identity, Node, OpId};
use tombolo_identity::{AccountKey, DeviceKey};
use tombolo_model::RelayAddress;
use tombolo_oplog::{Log, LogError, NoFold, Open, Reader};
use tombolo_replica::{ConnId, ConnState, Link, Now, Output, Replica};
use tombolo_seal::StorageKey;
use tombolo_testkit::disk::Disk;
use tombolo_testkit::rng::Rng;

/// Time at the start of every world, **milliseconds** since 1970.
pub const START_MS: u64 = 1_700_000_000_000;

/// A generator as the node's source of random bytes.
struct Seeded(Rng);

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

/// A running program.
#[derive(Debug)]
pub enum Body {
    /// Somebody's device.
    Device(Box<Node>),
    /// A relay.
    Relay(Box<Replica<NoFold>>),
}

macro_rules! replica {
    ($body:expr, $replica:ident => $do:expr) => {
        match $body {
            Body::Device(node) => {
                let $replica = node.replica();
                $do
            }
            Body::Relay($replica) => $do,
        }
    };
}

impl Body {
    /// Its log.
    #[must_use]
    pub fn log(&self) -> &Reader {
        match self {
            Self::Device(node) => node.log(),
            Self::Relay(replica) => replica.log(),
        }
    }

    /// A transport is up.
    pub fn connect(&mut self, conn: ConnId, link: Link, now: Now) {
        replica!(self, replica => replica.connect(conn, link, now));
    }

    /// A frame came.
    pub fn receive(&mut self, conn: ConnId, frame: &[u8], now: Now) {
        replica!(self, replica => replica.receive(conn, frame, now));
    }

    /// A transport is gone.
    pub fn disconnected(&mut self, conn: ConnId) {
        replica!(self, replica => replica.disconnected(conn));
    }

    /// Says goodbye.
    pub fn leave(&mut self, conn: ConnId, now: Now) {
        replica!(self, replica => replica.leave(conn, now));
    }

    /// Stores what came.
    ///
    /// # Errors
    /// What the log says.
    pub fn flush(&mut self, now: Now) -> Result<(), LogError> {
        replica!(self, replica => replica.flush(now))
    }

    /// Time has passed.
    ///
    /// # Errors
    /// What the log says.
    pub fn tick(&mut self, now: Now) -> Result<(), LogError> {
        replica!(self, replica => replica.tick(now))
    }

    /// What it wants done next.
    pub fn poll(&mut self) -> Option<Output> {
        replica!(self, replica => replica.poll())
    }

    /// When it wants to be ticked.
    pub fn deadline_ms(&mut self) -> Option<u64> {
        replica!(self, replica => replica.deadline_ms())
    }

    /// Where a connection stands.
    pub fn state(&mut self, conn: ConnId) -> Option<ConnState> {
        replica!(self, replica => replica.state(conn).ok().flatten())
    }

    fn close(self) -> Result<(), String> {
        match self {
            Self::Device(node) => node.close().map_err(|error| error.to_string()),
            Self::Relay(replica) => replica.close().map_err(|error| error.to_string()),
        }
    }
}

/// A node with its disk and clock, running or not.
#[derive(Debug)]
pub struct Machine {
    /// For traces: `d0`, `r1`.
    pub name: String,
    /// Its key.
    pub device: DeviceId,
    /// `None` while it is down.
    pub body: Option<Body>,
    /// Its disk.
    pub disk: Disk,
    /// An older copy of its disk.
    pub backup: Option<Disk>,
    /// Its clock minus the world's, **milliseconds**.
    pub skew_ms: i64,
    /// The next tick, on the world's clock.
    pub tick_ms: u64,
    /// When what came will be stored.
    pub flush_ms: Option<u64>,
    /// Address, if it is a relay.
    pub url: Option<String>,
    /// The machine whose profile this one is a copy of.
    pub twin_of: Option<usize>,
    /// It has lost a tail or runs twice: peers may know more of its own ops than it does.
    pub rewound: bool,
    /// Faults are planned for its disk.
    pub failing: bool,
    /// What was shown last, by conversation.
    pub shown: BTreeMap<ConversationId, Vec<OpId>>,
    relays: Vec<RelayAddress>,
    key_seed: [u8; 32],
    /// Of the device whose account this is.
    account_seed: [u8; 32],
    rng: Rng,
    /// How often its program was started.
    pub lives: u64,
}

impl Machine {
    /// A relay with an empty disk.
    #[must_use]
    pub fn relay(index: usize, rng: &Rng) -> Self {
        let rng = rng.fork(&format!("relay {index}"));
        Self::new(format!("r{index}"), Some(format!("ws://relay-{index}")), Vec::new(), rng)
    }

    /// A device with an empty disk, whose account has these relays.
    #[must_use]
    pub fn device(index: usize, relays: Vec<RelayAddress>, rng: &Rng) -> Self {
        let rng = rng.fork(&format!("device {index}"));
        Self::new(format!("d{index}"), None, relays, rng)
    }

    fn new(name: String, url: Option<String>, relays: Vec<RelayAddress>, mut rng: Rng) -> Self {
        let key_seed: [u8; 32] = rng.bytes();
        Self {
            name,
            device: DeviceKey::from_seed(key_seed).id(),
            body: None,
            disk: Disk::new(rng.next_u64()),
            backup: None,
            skew_ms: 0,
            tick_ms: 0,
            flush_ms: None,
            url,
            twin_of: None,
            rewound: false,
            failing: false,
            shown: BTreeMap::new(),
            relays,
            key_seed,
            account_seed: key_seed,
            rng,
            lives: 0,
        }
    }

    /// A machine that runs a copy of another one's profile.
    #[must_use]
    pub fn twin(other: &Self, index: usize, of: usize) -> Self {
        let mut rng = other.rng.fork(&format!("twin {index}"));
        let disk = other.disk.copy(rng.next_u64());
        Self {
            name: format!("t{index}"),
            device: other.device,
            body: None,
            disk,
            backup: None,
            skew_ms: 0,
            tick_ms: 0,
            flush_ms: None,
            url: None,
            twin_of: Some(of),
            rewound: true,
            failing: false,
            shown: BTreeMap::new(),
            relays: other.relays.clone(),
            key_seed: other.key_seed,
            account_seed: other.account_seed,
            rng,
            lives: 0,
        }
    }

    /// Becomes a further device of another one's account, before it is started.
    pub fn belong_to(&mut self, other: &Self) {
        self.account_seed = other.account_seed;
    }

    /// Whether it is a device.
    #[must_use]
    pub fn is_device(&self) -> bool {
        self.url.is_none()
    }

    /// The running device.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        match self.body.as_ref() {
            Some(Body::Device(node)) => Some(node),
            _ => None,
        }
    }

    /// The running device, to act with.
    pub fn node_mut(&mut self) -> Option<&mut Node> {
        match self.body.as_mut() {
            Some(Body::Device(node)) => Some(node),
            _ => None,
        }
    }

    fn identity(&self) -> Identity {
        let mut storage = self.key_seed;
        storage[0] ^= 0x55;
        let mut account = self.account_seed;
        account[1] ^= 0xaa;
        Identity {
            account: AccountKey::from_seed(account),
            device: DeviceKey::from_seed(self.key_seed),
            certified_ms: START_MS,
            storage: StorageKey::new(storage),
            name: format!("person {}", self.name),
            relays: self.relays.clone(),
        }
    }

    /// Starts the program. `continue_logs`: the store is the very one that was closed in order.
    ///
    /// # Errors
    /// What the program says.
    pub fn start(&mut self, continue_logs: bool) -> Result<(), Error> {
        self.lives += 1;
        self.failing = false;
        self.flush_ms = None;
        let mut rng = self.rng.fork(&format!("life {}", self.lives));
        let random = rng.next_u64();
        let path = if self.is_device() { "device.db" } else { "relay.db" };
        let open = Open { vfs: Some(self.disk.vfs().to_owned()), ..Open::new(path, random) };
        self.body = Some(if self.is_device() {
            let node = Node::open(open, self.identity(), continue_logs, Box::new(Seeded(rng)))?;
            Body::Device(Box::new(node))
        } else {
            let log = Log::open(open)?;
            Body::Relay(Box::new(Replica::new(log, DeviceKey::from_seed(self.key_seed), NoFold)))
        });
        Ok(())
    }

    /// Stops in order.
    ///
    /// # Errors
    /// What the program says.
    pub fn stop(&mut self) -> Result<(), String> {
        self.body.take().map_or(Ok(()), Body::close)
    }

    /// The program ends where it is. With `power`, so does the disk: what was not synced may be lost.
    pub fn die(&mut self, power: bool) {
        let seed = self.rng.next_u64();
        let disk = if power { self.disk.power_loss(seed) } else { self.disk.copy(seed) };
        // The old program must not tidy up what the new one will find.
        self.body = None;
        self.disk = disk;
        self.flush_ms = None;
    }

    /// The program ends, and another disk takes the place of its own.
    pub fn replace_disk(&mut self, disk: Option<Disk>) {
        self.body = None;
        self.flush_ms = None;
        self.shown.clear();
        self.disk = disk.unwrap_or_else(|| Disk::new(self.rng.next_u64()));
    }

    /// Takes a copy of the disk for later.
    pub fn back_up(&mut self) {
        let seed = self.rng.next_u64();
        self.backup = Some(self.disk.copy(seed));
    }
}
