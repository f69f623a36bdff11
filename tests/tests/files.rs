//! Files over real sockets: a relay, two people, and a link between them that breaks, flips bytes and loses its relay.
//! Not here: what a depot or a device does by itself (unit tests of `relay` and `client`).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tombolo_client::key_store::KeyStoreKind;
use tombolo_client::{Client, Config, ConversationId, FileSettings, FileState, Post, SyncOptions, SyncReport};
use tombolo_relay::{Limits, Place, Relay};

/// A link to a relay that can be spoiled.
#[derive(Debug)]
struct Link {
    at: SocketAddr,
    to: Mutex<SocketAddr>,
    /// **Bytes** after which a connection is cut, both directions together; drawn anew for each up to this bound. 0 = never.
    cut: AtomicU64,
    /// Of those that are cut, how many are left. Others last.
    cuts_left: AtomicU64,
    /// Bytes still to be flipped, each far behind the beginning of a connection.
    flips: AtomicU64,
    moved: AtomicU64,
    dice: AtomicU64,
}

/// Where in a connection a byte is flipped: behind headers and small talk.
const FLIP_AT: u64 = 150_000;

impl Link {
    async fn new(to: SocketAddr) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = Arc::new(Self {
            at: listener.local_addr().unwrap(),
            to: Mutex::new(to),
            cut: AtomicU64::new(0),
            cuts_left: AtomicU64::new(0),
            flips: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            dice: AtomicU64::new(12_345),
        });
        let serving = Arc::clone(&link);
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&serving).carry(from));
            }
        });
        link
    }

    fn url(&self) -> String {
        format!("ws://{}", self.at)
    }

    fn spoil(&self, cut: u64, cuts: u64, flips: u64) {
        self.cut.store(cut, Ordering::Relaxed);
        self.cuts_left.store(cuts, Ordering::Relaxed);
        self.flips.store(flips, Ordering::Relaxed);
    }

    fn roll(&self, sides: u64) -> u64 {
        let next = |x: u64| Some(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        (self.dice.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap() >> 33) % sides.max(1)
    }

    async fn carry(self: Arc<Self>, from: TcpStream) {
        let to = *self.to.lock().unwrap();
        let Ok(to) = TcpStream::connect(to).await else { return };
        let bound = self.cut.load(Ordering::Relaxed);
        // Words are few and pass; files do not.
        let last = if bound == 0 { u64::MAX } else { bound / 4 + self.roll(bound - bound / 4) };
        let passed = Arc::new(AtomicU64::new(0));
        let (from_read, from_write) = from.into_split();
        let (to_read, to_write) = to.into_split();
        let up = pump(Arc::clone(&self), Arc::clone(&passed), last, from_read, to_write);
        let down = pump(Arc::clone(&self), passed, last, to_read, from_write);
        // When either ends, both do: a cut is a cut.
        tokio::select! {
            () = up => {}
            () = down => {}
        }
    }
}

async fn pump(
    link: Arc<Link>,
    passed: Arc<AtomicU64>,
    last: u64,
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
) {
    let mut block = vec![0; 16 * 1024];
    let mut own = 0;
    let mut flipped = false;
    while let Ok(read) = from.read(&mut block).await {
        if read == 0 {
            return;
        }
        let before = passed.fetch_add(read as u64, Ordering::Relaxed);
        let mut len = read;
        if before + read as u64 > last && link.cuts_left.load(Ordering::Relaxed) > 0 {
            link.cuts_left.fetch_sub(1, Ordering::Relaxed);
            len = last.saturating_sub(before) as usize;
        }
        own += len as u64;
        let next = |left: u64| left.checked_sub(1);
        if own > FLIP_AT
            && !flipped
            && len > 2_000
            && link.flips.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
        {
            flipped = true;
            block[len / 2] ^= 4;
        }
        link.moved.fetch_add(len as u64, Ordering::Relaxed);
        if to.write_all(&block[..len]).await.is_err() || len < read {
            return;
        }
    }
}

struct World {
    dir: tempfile::TempDir,
    relay: Option<Relay>,
    link: Arc<Link>,
}

impl World {
    async fn new(change: impl FnOnce(&mut Limits)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let relay = start(dir.path(), change).await;
        let link = Link::new(relay.address()).await;
        Self { dir, relay: Some(relay), link }
    }

    async fn person(&self, name: &str) -> Client {
        let config = self.config(name);
        Client::init(&config, name, &[self.link.url()]).unwrap();
        Client::open(&config).unwrap()
    }

    fn config(&self, name: &str) -> Config {
        Config { home: self.dir.path().join(name), key_store: Some(KeyStoreKind::File), extra_certificates: None }
    }

    /// Ann and Bob in one conversation that both have.
    async fn ann_and_bob(&self) -> (Client, Client, ConversationId) {
        let (ann, bob) = (self.person("ann").await, self.person("bob").await);
        let conversation = ann.create("Harbour crew").await.unwrap();
        let (link, _) = ann.invite(Some(conversation), 1, 0).await.unwrap();
        sync(&ann).await;
        bob.accept(&link).await.unwrap();
        sync(&bob).await;
        (ann, bob, conversation)
    }

    fn file(&self, name: &str, len: usize) -> (PathBuf, Vec<u8>) {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(name.as_bytes()).finalize_xof().fill(&mut bytes);
        let path = self.dir.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        (path, bytes)
    }

    /// Stops the relay and starts it again on the same folder.
    async fn restart(&mut self) {
        self.relay.take().unwrap().stop().await.unwrap();
        let relay = start(self.dir.path(), |_| {}).await;
        *self.link.to.lock().unwrap() = relay.address();
        self.relay = Some(relay);
    }
}

async fn start(folder: &Path, change: impl FnOnce(&mut Limits)) -> Relay {
    let mut config = tombolo_relay::Config { listen: "127.0.0.1:0".into(), ..tombolo_relay::Config::default() };
    change(&mut config.limits);
    let place = Place::new(folder.join("relay"));
    place.make().unwrap();
    Relay::start(&place, config).await.unwrap()
}

fn words(text: &str) -> Post {
    Post { text: text.into(), ..Post::default() }
}

fn once() -> SyncOptions {
    SyncOptions { once: true, ..SyncOptions::default() }
}

async fn sync(client: &Client) -> SyncReport {
    client.sync(&once(), |_| {}).await.unwrap()
}

/// Syncs until `done` says so, through whatever breaks; says how often.
async fn insist(client: &Client, done: impl AsyncFn(&Client) -> bool) -> u32 {
    for times in 1..60 {
        // A link that breaks while words are exchanged is part of the test.
        let _ = client.sync(&once(), |_| {}).await;
        if done(client).await {
            return times;
        }
    }
    panic!("it never ends: {:?}", client.files(None).await.unwrap());
}

async fn state(client: &Client) -> FileState {
    client.files(None).await.unwrap()[0].state.clone()
}

async fn saved(client: &Client, folder: &Path) -> Vec<u8> {
    let row = client.files(None).await.unwrap().remove(0);
    let to = folder.join(format!("saved-{}", client.device()));
    client.save(&row.message.to_string(), row.n, &to, true).await.unwrap();
    std::fs::read(to).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_goes_up_and_down_through_a_link_that_breaks() {
    let world = World::new(|_| {}).await;
    let (ann, bob, conversation) = world.ann_and_bob().await;
    let (path, bytes) = world.file("photos.zip", 5_000_000);
    ann.attach(conversation, words("all of them"), vec![path], |_| {}).await.unwrap();
    world.link.spoil(900_000, 25, 0);
    insist(&ann, async |ann| state(ann).await == FileState::Here).await;
    world.link.spoil(900_000, 25, 0);
    insist(&bob, async |bob| state(bob).await == FileState::Here).await;
    assert!(world.link.cuts_left.load(Ordering::Relaxed) < 25, "nothing was cut");
    assert_eq!(saved(&bob, world.dir.path()).await, bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_is_found_in_both_directions_and_only_that_part_comes_again() {
    let world = World::new(|_| {}).await;
    let (ann, bob, conversation) = world.ann_and_bob().await;
    let (path, bytes) = world.file("photos.zip", 9_000_000);
    ann.attach(conversation, Post::default(), vec![path], |_| {}).await.unwrap();
    world.link.moved.store(0, Ordering::Relaxed);
    world.link.spoil(0, 0, 1);
    insist(&ann, async |ann| state(ann).await == FileState::Here).await;
    assert_eq!(world.link.flips.load(Ordering::Relaxed), 0);
    // At most a piece more than the file.
    assert!(world.link.moved.load(Ordering::Relaxed) < 9_500_000 + 4_300_000);
    world.link.moved.store(0, Ordering::Relaxed);
    world.link.spoil(0, 0, 1);
    insist(&bob, async |bob| state(bob).await == FileState::Here).await;
    assert_eq!(world.link.flips.load(Ordering::Relaxed), 0);
    assert!(world.link.moved.load(Ordering::Relaxed) < 9_500_000 + 200_000, "only a chunk comes again");
    assert_eq!(saved(&bob, world.dir.path()).await, bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_overtake_an_upload_that_a_restarted_relay_goes_on_with() {
    let mut world = World::new(|_| {}).await;
    let (ann, bob, conversation) = world.ann_and_bob().await;
    let (path, bytes) = world.file("film.mp4", 6_000_000);
    let sent = ann.attach(conversation, words("the film"), vec![path], |_| {}).await.unwrap();
    ann.send(conversation, vec!["and a word".into()]).await.unwrap();
    // Every connection dies long before the file is through; the words have passed by then.
    world.link.spoil(1_500_000, 1_000, 0);
    let _ = ann.sync(&once(), |_| {}).await;
    world.link.spoil(0, 0, 0);
    sync(&bob).await;
    let texts: Vec<_> = bob.messages(conversation, 10, None).await.unwrap();
    assert!(texts.iter().any(|message| message.text == "and a word"));
    let first = state(&bob).await;
    assert_eq!(bob.files(None).await.unwrap()[0].message, sent.id);
    if first != FileState::Here {
        assert_eq!(first, FileState::Wanted);
    }
    world.restart().await;
    world.link.moved.store(0, Ordering::Relaxed);
    insist(&ann, async |ann| state(ann).await == FileState::Here).await;
    assert!(world.link.moved.load(Ordering::Relaxed) < 6_800_000, "it went on where it was");
    insist(&bob, async |bob| state(bob).await == FileState::Here).await;
    assert_eq!(saved(&bob, world.dir.path()).await, bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_die_in_the_middle_go_on() {
    let world = World::new(|limits| (limits.device_bytes_per_second, limits.burst_s) = (4 << 20, 1)).await;
    let (ann, bob, conversation) = world.ann_and_bob().await;
    let (path, bytes) = world.file("film.mp4", 11_000_000);
    bob.set_file_settings(FileSettings { automatic_bytes: 1 << 30, ..FileSettings::default() }).await.unwrap();
    ann.attach(conversation, Post::default(), vec![path], |_| {}).await.unwrap();
    let mut people = [(ann, "ann"), (bob, "bob")];
    for (client, name) in &mut people {
        let mut times = 0;
        loop {
            // The exchange is dropped wherever it stands, and so is everything that was in memory.
            let options = once();
            let done = tokio::time::timeout(Duration::from_millis(350), client.sync(&options, |_| {})).await.is_ok();
            times += 1;
            client.close().await.unwrap();
            *client = Client::open(&world.config(name)).unwrap();
            if done && state(client).await == FileState::Here {
                break;
            }
            assert!(times < 200, "{name} {:?}", state(client).await);
        }
        assert!(times > 2, "{name} was never interrupted");
    }
    assert_eq!(saved(&people[1].0, world.dir.path()).await, bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_relay_holds_neither_bytes_nor_names() {
    let world = World::new(|_| {}).await;
    let (ann, _bob, conversation) = world.ann_and_bob().await;
    let (path, bytes) = world.file("lighthouse-canary.bin", 200_000);
    ann.attach(conversation, words("canary words"), vec![path], |_| {}).await.unwrap();
    insist(&ann, async |ann| state(ann).await == FileState::Here).await;
    let key = ann.files(None).await.unwrap()[0].file.key;
    let mut looked = 0;
    let mut folders = vec![world.dir.path().join("relay")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let found = std::fs::read(&path).unwrap();
            looked += found.len();
            for canary in [&bytes[..32], &bytes[150_000..150_032], b"lighthouse-canary", b"canary words", &key] {
                assert!(!found.windows(canary.len()).any(|window| window == canary), "{}", path.display());
            }
        }
    }
    assert!(looked > 200_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_relay_has_no_room_for_waits_and_is_named() {
    let world = World::new(|limits| limits.account_blob_bytes = 300_000).await;
    let (ann, bob, conversation) = world.ann_and_bob().await;
    let (small, _) = world.file("small.bin", 100_000);
    let (large, _) = world.file("large.bin", 500_000);
    ann.attach(conversation, Post::default(), vec![large, small], |_| {}).await.unwrap();
    let report = sync(&ann).await;
    assert!(report.proven && report.files_out == 1, "{report:?}");
    assert!(report.notes.iter().any(|note| note.contains("large.bin") && note.contains("no room")), "{report:?}");
    sync(&bob).await;
    let states: Vec<_> = bob.files(None).await.unwrap().into_iter().map(|row| row.state).collect();
    assert_eq!(states, [FileState::Wanted, FileState::Here]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_files_wait_until_somebody_asks() {
    let world = World::new(|_| {}).await;
    let (ann, bob, conversation) = world.ann_and_bob().await;
    let (path, bytes) = world.file("large.bin", 2_000_000);
    bob.set_file_settings(FileSettings { automatic_bytes: 1_000_000, ..FileSettings::default() }).await.unwrap();
    let sent = ann.attach(conversation, Post::default(), vec![path], |_| {}).await.unwrap();
    sync(&ann).await;
    let report = sync(&bob).await;
    assert_eq!((report.files_in, state(&bob).await), (0, FileState::Elsewhere));
    let begin = sent.id.to_string()[..10].to_owned();
    let save = bob.save(&begin, 1, world.dir.path(), false).await;
    assert_eq!(save.unwrap_err().code(), "file-elsewhere");
    assert_eq!(bob.fetch(&begin, 1, |_| {}).await.unwrap().state, FileState::Here);
    assert_eq!(saved(&bob, world.dir.path()).await, bytes);
    assert_eq!(bob.file(&begin, 2).await.unwrap_err().code(), "no-file");
    assert_eq!(bob.file("%", 1).await.unwrap_err().code(), "no-file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_stand_in_the_message_and_go_with_it() {
    let world = World::new(|_| {}).await;
    let (ann, bob, conversation) = world.ann_and_bob().await;
    let (path, _) = world.file("x.bin", 1_000);
    let sent = ann.attach(conversation, words("look"), vec![path], |_| {}).await.unwrap();
    sync(&ann).await;
    sync(&bob).await;
    let page = bob.messages(conversation, 10, None).await.unwrap();
    let message = page.iter().find(|message| message.id == sent.id).unwrap();
    assert_eq!((message.text.as_str(), message.beside.files[0].name.as_str()), ("look", "x.bin"));
    // What is deleted is not offered any more; what is taken back is.
    ann.delete(conversation, sent.id).await.unwrap();
    sync(&ann).await;
    sync(&bob).await;
    assert!(bob.files(None).await.unwrap().is_empty() && ann.files(None).await.unwrap().is_empty());
    ann.undo(conversation, sent.id).await.unwrap();
    sync(&ann).await;
    sync(&bob).await;
    assert_eq!(bob.file(&sent.id.to_string(), 1).await.unwrap().state, FileState::Here);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_only_watches_sends_and_gets_files_too() {
    let world = World::new(|_| {}).await;
    let (ann, bob) = (world.person("ann").await, world.person("bob").await);
    let options = SyncOptions::default();
    let _ann = ann.watch(&options).await.unwrap();
    let conversation = ann.create("Photos").await.unwrap();
    let (link, _) = ann.invite(Some(conversation), 1, 0).await.unwrap();
    bob.accept(&link).await.unwrap();
    let _bob = bob.watch(&options).await.unwrap();
    let (path, bytes) = world.file("photos.zip", 200_000);
    ann.attach(conversation, words("look"), vec![path], |_| {}).await.unwrap();
    // The relay is met by watching alone: its key is kept, files go to it and come from it.
    let came = async {
        while bob.files(None).await.unwrap().first().is_none_or(|row| row.state != FileState::Here) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), came).await.expect("the file comes");
    assert!(ann.met_relay(world.link.url()).await.unwrap().is_some());
    assert_eq!(saved(&bob, world.dir.path()).await, bytes);
    // The same relay is named once, though its key became known only later.
    let rows = bob.conversations().await.unwrap();
    let row = rows.iter().find(|row| row.id == conversation).unwrap();
    assert_eq!(row.relays, [world.link.url()]);
}
