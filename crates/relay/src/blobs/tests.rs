//! The depot against a model of sets and maps, and against crashes and lies. Not here: HTTP, signatures.
#![allow(clippy::unwrap_used)]

use super::index::Payer;
use super::refusal::Refusal;
use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tombolo_model::blob::Verb;

/// Members by conversation; a device's first byte is its account.
#[derive(Clone, Debug, Default)]
struct Members(Arc<Mutex<BTreeMap<ConversationId, BTreeSet<DeviceId>>>>);

impl Members {
    fn join(&self, conversation: u8, device: u8) {
        let mut all = self.0.lock().unwrap();
        all.entry(ConversationId([conversation; 16])).or_default().insert(device_of(device));
    }
}

impl Rights for Members {
    fn payer(&self, device: &DeviceId) -> Result<Option<Payer>, LogError> {
        let known = self.0.lock().unwrap().values().any(|members| members.contains(device));
        Ok(known.then_some([device.0[0]; 32]))
    }

    fn is_member(&self, conversation: &ConversationId, device: &DeviceId) -> Result<bool, LogError> {
        Ok(self.0.lock().unwrap().get(conversation).is_some_and(|members| members.contains(device)))
    }
}

fn device_of(n: u8) -> DeviceId {
    DeviceId([n; 32])
}

/// Bytes of blob `n`, and its id.
fn blob_of(n: u8, len: usize) -> (BlobId, Vec<u8>) {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&[n]).finalize_xof().fill(&mut bytes);
    (BlobId(*blake3::hash(&bytes).as_bytes()), bytes)
}

struct Shelf {
    dir: tempfile::TempDir,
    limits: Limits,
    members: Members,
    depot: Arc<Depot>,
}

impl Shelf {
    fn new(change: impl FnOnce(&mut Limits)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut limits = Limits::default();
        change(&mut limits);
        let members = Members::default();
        members.join(1, 1);
        let depot = Depot::open(dir.path(), limits, Box::new(members.clone()), 0).unwrap();
        Self { dir, limits, members, depot }
    }

    /// As after a crash: nothing that was in memory is there any more.
    fn again(&mut self, now_ms: u64) {
        self.depot = Depot::open(self.dir.path(), self.limits, Box::new(self.members.clone()), now_ms).unwrap();
    }

    fn begin(&self, device: u8, id: BlobId, all: &[u8], from: usize, to: usize) -> Result<Option<Piece>, Refusal> {
        self.depot.begin(&device_of(device), &request(id, all, from, to), 7)
    }

    /// Sends a piece.
    fn put(&self, device: u8, id: BlobId, all: &[u8], from: usize, to: usize) -> Result<(u64, bool), Refusal> {
        let Some(mut piece) = self.begin(device, id, all, from, to)? else { return Ok((all.len() as u64, true)) };
        piece.write(&all[from..to])?;
        piece.finish(7)
    }

    fn have(&self, device: u8, id: BlobId) -> u64 {
        self.depot.look(&device_of(device), &id).unwrap().have
    }

    fn refer(&self, id: BlobId, conversation: u8, op: u8) {
        let (conversation, op) = (ConversationId([conversation; 16]), OpId([op; 32]));
        self.depot.tables().index.write(|tx| put::reference(tx, &id, &conversation, &op)).unwrap();
    }

    fn files(&self) -> BTreeSet<String> {
        let names = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.to_string_lossy().into_owned()).filter(|name| name.len() == 64).collect()
    }

    fn parts(&self) -> usize {
        fs::read_dir(self.dir.path().join("part")).unwrap().count()
    }

    fn read(&self, device: u8, id: BlobId, from: u64, len: u64) -> Result<Vec<u8>, Refusal> {
        let request = Request { verb: Verb::Get, from, len, ..request(id, &[0], 0, 1) };
        let (file, _) = self.depot.read(&device_of(device), &request)?;
        let mut bytes = Vec::new();
        file.take(len).read_to_end(&mut bytes).unwrap();
        Ok(bytes)
    }
}

fn request(id: BlobId, all: &[u8], from: usize, to: usize) -> Request {
    Request {
        relay: device_of(9),
        at_ms: 0,
        verb: Verb::Put,
        blob: id,
        from: from as u64,
        len: (to - from) as u64,
        total: all.len() as u64,
        piece: *blake3::hash(&all[from..to]).as_bytes(),
    }
}

#[test]
fn an_upload_cut_at_any_byte_goes_on() {
    let (id, bytes) = blob_of(1, 60);
    for cut in 0..bytes.len() {
        for crash in [false, true] {
            let mut shelf = Shelf::new(|_| {});
            if cut > 0 {
                assert_eq!(shelf.put(1, id, &bytes, 0, cut).unwrap(), (cut as u64, false));
            }
            // What comes of a piece that is cut counts for nothing, wherever it is cut.
            let mut piece = shelf.begin(1, id, &bytes, cut, bytes.len()).unwrap().unwrap();
            piece.write(&bytes[cut..cut + (bytes.len() - cut) / 2]).unwrap();
            assert!(matches!(piece.finish(7), Err(Refusal::Cut)));
            if crash {
                shelf.again(8);
            }
            assert_eq!(shelf.have(1, id), cut as u64);
            let wrong = (cut + 1) % bytes.len();
            match shelf.put(1, id, &bytes, wrong, bytes.len()) {
                Err(Refusal::Offset { have }) => assert_eq!(have, cut as u64),
                other => panic!("{other:?}"),
            }
            assert_eq!(shelf.put(1, id, &bytes, cut, bytes.len()).unwrap(), (60, true));
            assert_eq!(fs::read(shelf.dir.path().join(id.to_string())).unwrap(), bytes);
            assert_eq!(shelf.parts(), 0);
        }
    }
}

#[test]
fn a_piece_that_changed_on_the_way_is_sent_again_alone() {
    let (id, bytes) = blob_of(1, 3_000);
    let shelf = Shelf::new(|_| {});
    shelf.put(1, id, &bytes, 0, 1_000).unwrap();
    let mut spoiled = bytes.clone();
    spoiled[1_500] ^= 1;
    let mut piece = shelf.begin(1, id, &bytes, 1_000, 2_000).unwrap().unwrap();
    piece.write(&spoiled[1_000..2_000]).unwrap();
    assert!(matches!(piece.finish(7), Err(Refusal::PieceChanged)));
    assert_eq!(shelf.have(1, id), 1_000);
    shelf.put(1, id, &bytes, 1_000, 2_000).unwrap();
    assert_eq!(shelf.put(1, id, &bytes, 2_000, 3_000).unwrap(), (3_000, true));
}

#[test]
fn lies_about_hash_and_length_are_named_and_leave_nothing() {
    let (_, bytes) = blob_of(1, 1_000);
    let (other, longer) = blob_of(2, 2_000);
    let mut shelf = Shelf::new(|limits| limits.blob_bytes = 5_000);
    shelf.put(1, other, &bytes, 0, 500).unwrap();
    assert!(matches!(shelf.put(1, other, &bytes, 500, 1_000), Err(Refusal::HashDiffers)));
    assert_eq!((shelf.parts(), shelf.files().len(), shelf.have(1, other)), (0, 0, 0));
    // The same after a crash between the last piece and the check.
    shelf.put(1, other, &bytes, 0, 500).unwrap();
    shelf.depot.tables().index.write(|tx| put::have(tx, 2, 1_000, 7)).unwrap();
    shelf.again(8);
    assert_eq!((shelf.parts(), shelf.files().len(), shelf.have(1, other)), (0, 0, 0));

    shelf.put(1, other, &longer, 0, 500).unwrap();
    assert!(matches!(shelf.put(1, other, &bytes, 500, 600), Err(Refusal::LengthDiffers)));
    assert_eq!((shelf.parts(), shelf.have(1, other)), (0, 0));
    let mut piece = shelf.begin(1, other, &longer, 0, 500).unwrap().unwrap();
    assert!(matches!(piece.write(&longer[..501]), Err(Refusal::Malformed(_))));
    drop(piece);
    let (huge, many) = blob_of(3, 6_000);
    assert!(matches!(shelf.put(1, huge, &many, 0, 100), Err(Refusal::TooLarge { bytes: 6_000, max: 5_000 })));
}

#[test]
fn one_request_at_a_time_works_on_an_upload() {
    let (id, bytes) = blob_of(1, 1_000);
    let shelf = Shelf::new(|_| {});
    let first = shelf.begin(1, id, &bytes, 0, 500).unwrap().unwrap();
    assert!(matches!(shelf.begin(1, id, &bytes, 0, 500), Err(Refusal::Busy)));
    drop(first);
    shelf.put(1, id, &bytes, 0, 500).unwrap();
}

#[test]
fn strangers_and_members_of_others_learn_nothing() {
    let (id, bytes) = blob_of(1, 1_000);
    let shelf = Shelf::new(|_| {});
    shelf.members.join(2, 2);
    shelf.put(1, id, &bytes, 0, 1_000).unwrap();
    shelf.refer(id, 1, 1);
    let unknown = blob_of(8, 1).0;
    assert!(matches!(shelf.read(3, id, 0, 1_000), Err(Refusal::Stranger)));
    assert!(matches!(shelf.read(3, unknown, 0, 1_000), Err(Refusal::Stranger)));
    assert!(matches!(shelf.depot.look(&device_of(3), &id), Err(Refusal::Stranger)));
    // Device 2 takes part elsewhere: here and not here look the same.
    for asked in [id, unknown] {
        assert!(matches!(shelf.read(2, asked, 0, 1_000), Err(Refusal::NotHere)));
        assert_eq!(shelf.depot.look(&device_of(2), &asked).unwrap(), Look { total: None, have: 0, whole: false });
    }
    assert_eq!(shelf.read(1, id, 10, 20).unwrap(), bytes[10..30]);
    assert!(matches!(shelf.read(1, id, 990, 20), Err(Refusal::Malformed("range"))));
    assert!(matches!(shelf.read(1, id, u64::MAX, 20), Err(Refusal::Malformed("range"))));
    // It sends the blob as if nobody had; then something refers to it there, too.
    assert_eq!(shelf.put(2, id, &bytes, 0, 1_000).unwrap(), (1_000, true));
    shelf.refer(id, 2, 2);
    assert_eq!(shelf.read(2, id, 0, 1_000).unwrap(), bytes);
    assert_eq!(shelf.depot.sums().unwrap().blobs, 1);
}

#[test]
fn quotas_count_what_is_begun() {
    let shelf = Shelf::new(|limits| {
        (limits.account_blob_bytes, limits.stored_blob_bytes, limits.account_uploads) = (2_500, 4_000, 2);
    });
    shelf.members.join(1, 2);
    let blobs: Vec<_> = (0..6).map(|n| blob_of(n, 1_000)).collect();
    let begin = |device: u8, n: usize| shelf.put(device, blobs[n].0, &blobs[n].1, 0, 10).map(drop);
    begin(1, 0).unwrap();
    shelf.put(1, blobs[1].0, &blobs[1].1, 0, 1_000).unwrap();
    assert!(matches!(begin(1, 2), Err(Refusal::Quota)));
    begin(2, 2).unwrap();
    begin(2, 3).unwrap();
    assert!(matches!(begin(2, 4), Err(Refusal::TooManyUploads)));
    // What was begun may be finished.
    assert_eq!(shelf.put(1, blobs[0].0, &blobs[0].1, 10, 1_000).unwrap(), (1_000, true));
    shelf.put(2, blobs[2].0, &blobs[2].1, 10, 1_000).unwrap();
    assert!(matches!(begin(2, 4), Err(Refusal::Quota)), "of all");
}

#[test]
fn a_crash_anywhere_leaves_whole_blobs_or_uploads() {
    let (id, bytes) = blob_of(1, 1_000);
    let mut shelf = Shelf::new(|_| {});
    shelf.refer(id, 1, 1);
    // Between the last piece and the check.
    shelf.put(1, id, &bytes, 0, 500).unwrap();
    fs::write(shelf.dir.path().join("part/1"), &bytes).unwrap();
    shelf.depot.tables().index.write(|tx| put::have(tx, 1, 1_000, 7)).unwrap();
    shelf.again(8);
    assert_eq!(shelf.read(1, id, 0, 1_000).unwrap(), bytes);
    // Between the new name and the row.
    shelf.depot.tables().index.write(|tx| put::no_blob(tx, &id)).unwrap();
    shelf.depot.tables().index.write(|tx| put::part(tx, &id, &[1; 32], 1_000, 7)).unwrap();
    shelf.depot.tables().index.write(|tx| put::have(tx, 2, 1_000, 7)).unwrap();
    shelf.again(8);
    assert_eq!(shelf.read(1, id, 0, 1_000).unwrap(), bytes);
    // A row without a file, and files without rows.
    fs::remove_file(shelf.dir.path().join(id.to_string())).unwrap();
    fs::write(shelf.dir.path().join("part/77"), b"left over").unwrap();
    let (lost, lost_bytes) = blob_of(2, 500);
    fs::write(shelf.dir.path().join(lost.to_string()), &lost_bytes).unwrap();
    shelf.again(8);
    assert!(matches!(shelf.read(1, id, 0, 1_000), Err(Refusal::NotHere)));
    assert_eq!(shelf.parts(), 0);
    shelf.refer(lost, 1, 2);
    assert_eq!(shelf.read(1, lost, 0, 500).unwrap(), lost_bytes);
}

/// Seeded steps over a few blobs, ops and times, against a model of plain sets.
#[test]
fn references_and_expiry_agree_with_a_naive_model() {
    const DAY_MS: u64 = 86_400_000;
    for seed in 0..12_u64 {
        let mut shelf = Shelf::new(|limits| (limits.blob_unreferenced_s, limits.blob_expire_days) = (3_600, 30));
        let blobs: Vec<_> = (0..5).map(|n| blob_of(n, 50)).collect();
        let mut stored: BTreeMap<BlobId, u64> = BTreeMap::new();
        let mut references: BTreeSet<(BlobId, u8)> = BTreeSet::new();
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut dice = |sides: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % sides
        };
        let mut now_ms = 40 * DAY_MS;
        for _ in 0..120 {
            let (id, bytes) = &blobs[dice(5) as usize];
            let op = dice(8) as u8;
            match dice(6) {
                0 | 1 => {
                    let asked = request(*id, bytes, 0, bytes.len());
                    if let Some(mut piece) = shelf.depot.begin(&device_of(1), &asked, now_ms).unwrap() {
                        piece.write(bytes).unwrap();
                        piece.finish(now_ms).unwrap();
                        stored.entry(*id).or_insert(now_ms);
                    }
                }
                2 => {
                    shelf.refer(*id, 1, op);
                    references.insert((*id, op));
                }
                3 => {
                    shelf.depot.released(&ConversationId([1; 16]), &OpId([op; 32])).unwrap();
                    let gone: Vec<BlobId> = references.iter().filter(|(_, of)| *of == op).map(|(id, _)| *id).collect();
                    references.retain(|(_, of)| *of != op);
                    for id in gone {
                        if !references.iter().any(|(other, _)| *other == id) {
                            stored.remove(&id);
                        }
                    }
                }
                4 => now_ms += [10_000, 1_800_000, 3 * DAY_MS][dice(3) as usize],
                _ => {
                    shelf.depot.sweep(now_ms).unwrap();
                    stored.retain(|id, at_ms| {
                        let age_ms = now_ms - *at_ms;
                        let referenced = references.iter().any(|(other, _)| other == id);
                        age_ms <= 30 * DAY_MS && (referenced || age_ms <= 3_600_000)
                    });
                    if dice(4) == 0 {
                        shelf.again(now_ms);
                    }
                }
            }
            let expected: BTreeSet<String> = stored.keys().map(ToString::to_string).collect();
            assert_eq!(shelf.files(), expected, "seed {seed}");
            for (id, bytes) in &blobs {
                let readable = stored.contains_key(id) && references.iter().any(|(other, _)| other == id);
                assert_eq!(shelf.read(1, *id, 0, 50).ok(), readable.then(|| bytes.clone()), "seed {seed}");
            }
        }
    }
}

#[test]
fn an_upload_that_nobody_goes_on_with_is_let_go() {
    let (id, bytes) = blob_of(1, 1_000);
    let shelf = Shelf::new(|limits| limits.blob_unreferenced_s = 60);
    shelf.put(1, id, &bytes, 0, 500).unwrap();
    shelf.depot.sweep(60_000).unwrap();
    assert_eq!(shelf.have(1, id), 500);
    let held = shelf.begin(1, id, &bytes, 500, 1_000).unwrap().unwrap();
    shelf.depot.sweep(70_000).unwrap();
    assert_eq!(shelf.have(1, id), 500, "a request is at work on it");
    drop(held);
    shelf.depot.sweep(70_000).unwrap();
    assert_eq!((shelf.have(1, id), shelf.parts()), (0, 0));
}
