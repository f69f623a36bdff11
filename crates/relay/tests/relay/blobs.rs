//! Requests about blobs as a stranger, a member and a recorder of other people's requests would make them.

use crate::world::{Device, PATIENCE, World, config, limited};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tombolo_identity::DeviceKey;
use tombolo_model::blob::{Request, Verb};
use tombolo_model::crypto::{DOMAIN_BLOB, Signer as _};
use tombolo_model::id::hex;
use tombolo_model::{BlobId, DeviceId, extension};
use tombolo_replica::{Draft, Rest};

/// One whole answer: status, headers and body.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")));
        line.and_then(|line| line.split_once(": ")).map(|(_, value)| value.trim())
    }

    fn code(&self) -> &str {
        self.header("tombolo-code").unwrap_or_default()
    }

    fn have(&self) -> u64 {
        self.header("tombolo-have").unwrap().parse().unwrap()
    }
}

async fn send(address: SocketAddr, text: &str, body: &[u8]) -> Answer {
    let asking = async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(text.as_bytes()).await.unwrap();
        // A relay that has said no need not read on.
        let _ = socket.write_all(body).await;
        let mut all = Vec::new();
        let _ = socket.read_to_end(&mut all).await;
        all
    };
    let all = timeout(PATIENCE, asking).await.unwrap();
    let end = all.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head") + 4;
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: all[end..].to_vec() }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// The head of a request as HTTP.
fn head(request: &Request, device: DeviceId, signature: &[u8]) -> String {
    let more = match request.verb {
        Verb::Look => String::new(),
        Verb::Put => format!(
            "tombolo-from: {}\r\ntombolo-size: {}\r\ntombolo-piece: {}\r\ncontent-length: {}\r\n",
            request.from,
            request.total,
            hex(&request.piece),
            request.len
        ),
        Verb::Get => format!("range: bytes={}-{}\r\n", request.from, request.from + request.len - 1),
    };
    format!(
        "{} /v1/blobs/{} HTTP/1.1\r\nhost: relay\r\nconnection: close\r\ntombolo-device: {device}\r\n\
         tombolo-time: {}\r\ntombolo-signature: {}\r\n{more}\r\n",
        request.verb.method(),
        request.blob,
        request.at_ms,
        hex(signature)
    )
}

fn signed(request: &Request, seed: u8) -> String {
    let key = DeviceKey::from_seed([seed; 32]);
    head(request, key.id(), &key.sign(DOMAIN_BLOB, &request.signed_bytes()).0)
}

fn blob(len: usize) -> (BlobId, Vec<u8>) {
    let mut bytes = vec![0; len];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = (at * 7 + at / 251) as u8;
    }
    (BlobId(*blake3::hash(&bytes).as_bytes()), bytes)
}

/// A relay with a conversation of one device (seed 1), which has sent and referred to a blob.
struct Shelf {
    world: World,
    id: BlobId,
    bytes: Vec<u8>,
}

impl Shelf {
    async fn new(world: World) -> Self {
        let (id, bytes) = blob(10_000);
        let mut ann = Device::new(1);
        let conversation = ann.found(1);
        let seal = |_: &tombolo_model::Header| Ok(vec![7; 100]);
        let rest = Rest { extension: extension::with_blobs(&[id]).unwrap(), ..Rest::default() };
        ann.write_one(conversation, Draft::Sealed { len: 100, seal: &seal, rest });
        ann.sync(&world.relay).await;
        Self { world, id, bytes }
    }

    fn request(&self, verb: Verb, from: usize, to: usize) -> Request {
        let put = verb == Verb::Put;
        let piece = if put { *blake3::hash(&self.bytes[from..to]).as_bytes() } else { [0; 32] };
        let total = if put { self.bytes.len() as u64 } else { 0 };
        let (from, len) = (from as u64, (to - from) as u64);
        Request { relay: self.world.relay.key(), at_ms: now_ms(), verb, blob: self.id, from, len, total, piece }
    }

    async fn ask(&self, seed: u8, request: &Request, body: &[u8]) -> Answer {
        send(self.world.relay.address(), &signed(request, seed), body).await
    }

    async fn put(&self, seed: u8, from: usize, to: usize) -> Answer {
        self.ask(seed, &self.request(Verb::Put, from, to), &self.bytes[from..to]).await
    }

    async fn put_all(&self) {
        let answer = self.put(1, 0, 10_000).await;
        assert_eq!((answer.status, answer.have()), (204, 10_000), "{}", answer.head);
    }
}

#[tokio::test]
async fn a_member_sends_pieces_and_reads_stretches() {
    let shelf = Shelf::new(World::new(config()).await).await;
    let look = shelf.ask(1, &shelf.request(Verb::Look, 0, 0), b"").await;
    assert_eq!((look.status, look.have(), look.header("tombolo-whole")), (200, 0, Some("0")));
    assert_eq!(shelf.put(1, 0, 4_000).await.have(), 4_000);
    let again = shelf.put(1, 0, 4_000).await;
    assert_eq!((again.status, again.code(), again.have()), (409, "offset", 4_000));
    let early = shelf.ask(1, &shelf.request(Verb::Get, 0, 100), b"").await;
    assert_eq!((early.status, early.code()), (404, "not-here"));
    let last = shelf.put(1, 4_000, 10_000).await;
    assert_eq!((last.status, last.header("tombolo-whole")), (204, Some("1")));
    let got = shelf.ask(1, &shelf.request(Verb::Get, 100, 9_900), b"").await;
    assert_eq!((got.status, got.header("content-range")), (206, Some("bytes 100-9899/10000")));
    assert_eq!(got.body, shelf.bytes[100..9_900]);
    assert_eq!(shelf.world.metric("tombolo_relay_blobs").await, 1.0);
    assert_eq!(shelf.world.metric("tombolo_relay_blob_bytes").await, 10_000.0);
}

#[tokio::test]
async fn who_cannot_show_who_it_is_gets_nothing() {
    let shelf = Shelf::new(World::new(config()).await).await;
    shelf.put_all().await;
    let request = shelf.request(Verb::Get, 0, 100);
    let key = DeviceKey::from_seed([1; 32]);
    let other = DeviceKey::from_seed([9; 32]);
    let address = shelf.world.relay.address();
    let signature = |request: &Request, domain: &str| key.sign(domain, &request.signed_bytes()).0;
    // Signed by somebody else, under another domain, for another relay, stretch, verb.
    let elsewhere = Request { relay: other.id(), ..request };
    let more = Request { len: 200, ..request };
    let look = Request { verb: Verb::Look, ..request };
    for wrong in [
        head(&request, key.id(), &other.sign(DOMAIN_BLOB, &request.signed_bytes()).0),
        head(&request, key.id(), &signature(&request, "tombolo 1 session")),
        head(&request, key.id(), &signature(&elsewhere, DOMAIN_BLOB)),
        head(&more, key.id(), &signature(&request, DOMAIN_BLOB)),
        head(&request, key.id(), &signature(&look, DOMAIN_BLOB)),
    ] {
        let answer = send(address, &wrong, b"").await;
        assert_eq!((answer.status, answer.code()), (401, "signature"), "{wrong}");
    }
    for (at_ms, code) in [(request.at_ms - 301_000, "clock"), (request.at_ms + 330_000, "clock"), (0, "clock")] {
        let answer = shelf.ask(1, &Request { at_ms, ..request }, b"").await;
        assert_eq!((answer.status, answer.code()), (401, code));
        let says: u64 = answer.header("tombolo-time").unwrap().parse().unwrap();
        assert!(says.abs_diff(now_ms()) < 5_000);
    }
    assert_eq!(shelf.ask(1, &Request { at_ms: now_ms() - 200_000, ..request }, b"").await.status, 206);
    for text in [
        format!("GET /v1/blobs/{} HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n\r\n", shelf.id),
        "GET /v1/blobs/nothing HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n\r\n".into(),
        format!("DELETE /v1/blobs/{} HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n\r\n", shelf.id),
        signed(&request, 1).replace("bytes=0-99", "bytes=5-2"),
        signed(&request, 1).replace("bytes=0-99", "bytes=0-"),
        signed(&request, 1).replace("bytes=0-99", "bytes=0-18446744073709551615"),
    ] {
        let answer = send(address, &text, b"").await;
        assert_eq!((answer.status, answer.code()), (400, "malformed"), "{text}");
    }
    assert_eq!(shelf.ask(1, &request, b"").await.status, 206, "and nothing has changed");
}

#[tokio::test]
async fn strangers_and_members_of_other_conversations_learn_nothing() {
    let shelf = Shelf::new(World::new(config()).await).await;
    shelf.put_all().await;
    let mut bob = Device::new(2);
    bob.found(2);
    bob.sync(&shelf.world.relay).await;
    let there = shelf.request(Verb::Get, 0, 100);
    let nowhere = Request { blob: BlobId([5; 32]), ..there };
    let mut answers = Vec::new();
    for request in [there, nowhere] {
        let stranger = shelf.ask(3, &request, b"").await;
        assert_eq!((stranger.status, stranger.code()), (403, "stranger"));
        let other = shelf.ask(2, &request, b"").await;
        assert_eq!((other.status, other.code()), (404, "not-here"));
        let look = Request { verb: Verb::Look, from: 0, len: 0, ..request };
        let look = shelf.ask(2, &look, b"").await;
        assert_eq!((look.status, look.have(), look.header("tombolo-size")), (200, 0, None));
        answers.push((stranger.body, other.body));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(shelf.put(3, 0, 100).await.status, 403);
    assert_eq!(shelf.world.metric("tombolo_relay_blob_uploads").await, 0.0);
}

#[tokio::test]
async fn lies_are_named_bounded_and_change_nothing() {
    let world = World::new(limited(|limits| limits.blob_bytes = 20_000)).await;
    let shelf = Shelf::new(world).await;
    // A piece that is not what was signed.
    let request = shelf.request(Verb::Put, 0, 1_000);
    let answer = shelf.ask(1, &request, &[1; 1_000]).await;
    assert_eq!((answer.status, answer.code()), (422, "piece-changed"));
    // One that ends early: nobody is left to be told, and nothing counts.
    let mut socket = TcpStream::connect(shelf.world.relay.address()).await.unwrap();
    socket.write_all(signed(&request, 1).as_bytes()).await.unwrap();
    socket.write_all(&shelf.bytes[..500]).await.unwrap();
    drop(socket);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(shelf.ask(1, &shelf.request(Verb::Look, 0, 0), b"").await.have(), 0);
    // All of it, under another hash.
    let lie = Request { blob: BlobId([6; 32]), ..shelf.request(Verb::Put, 0, 10_000) };
    let answer = shelf.ask(1, &lie, &shelf.bytes).await;
    assert_eq!((answer.status, answer.code()), (422, "hash-differs"));
    // Too large a whole, too large a piece, a piece behind the end: refused before a byte of it is read.
    for (lie, code) in [
        (Request { total: 20_001, ..request }, "too-large"),
        (Request { total: u64::MAX, ..request }, "too-large"),
        (Request { len: 5 << 20, total: 20_000, ..request }, "piece-too-large"),
        (Request { from: 9_500, ..request }, "malformed"),
        (Request { from: u64::MAX, ..request }, "malformed"),
    ] {
        let answer = shelf.ask(1, &lie, b"").await;
        assert_eq!(answer.code(), code, "{lie:?}");
    }
    assert_eq!(shelf.world.metric("tombolo_relay_blobs").await, 0.0);
    shelf.put_all().await;
}
