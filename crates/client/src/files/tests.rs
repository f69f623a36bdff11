//! Carrying over a wire that breaks, lies and forgets; saving where it is dangerous. Not here: sockets (`tests/`).
#![allow(clippy::unwrap_used)]

use super::carry::{self, Ended, Moving};
use super::folder::Folder;
use super::table::Errand;
use super::thumbnail;
use super::wire::{Kept, Sink, Trouble, Wire};
use proptest::prelude::*;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use tombolo_model::BlobId;
use tombolo_seal::file::SEALED_CHUNK_BYTES;

const CHUNK: usize = 64 * 1024;

/// A relay in memory, behind a network that a list of numbers spoils.
#[derive(Debug, Default)]
struct Fake {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the relay has of the blob, and whether that is whole.
    kept: Vec<u8>,
    whole: bool,
    /// **Bytes** that pass before the connection breaks, one entry for each request; none = it holds.
    cuts: Vec<usize>,
    /// Bytes of the blob that come flipped, and how often.
    flips: Vec<(usize, u32)>,
    /// Every request breaks after so many **bytes**.
    always: Option<usize>,
    /// **Bytes** that went over the wire.
    moved: usize,
    requests: usize,
    /// A code with which every piece is refused.
    refuses: Option<&'static str>,
    /// Every so many pieces everything is gone again; 0 = never.
    forgets: usize,
    /// What the relay says that the blob's length is.
    says_total: Option<u64>,
}

impl Fake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    /// How many bytes of `len` pass this time, and whether the connection lasts.
    fn pass(&mut self, len: usize) -> (usize, bool) {
        self.requests += 1;
        let cut = if self.cuts.is_empty() { self.always } else { Some(self.cuts.remove(0)) };
        match cut {
            Some(cut) if cut < len => (cut, false),
            _ => (len, true),
        }
    }
}

fn broken<T>() -> Result<T, Trouble> {
    Err(Trouble::Passing("cut".into()))
}

impl Wire for Fake {
    async fn look(&self, _: BlobId) -> Result<Kept, Trouble> {
        let mut state = self.state();
        let (_, lasts) = state.pass(1);
        if lasts { Ok(Kept { have: state.kept.len() as u64, whole: state.whole }) } else { broken() }
    }

    async fn put(&self, id: BlobId, total: u64, from: u64, piece: Vec<u8>) -> Result<Kept, Trouble> {
        let mut state = self.state();
        let (passed, lasts) = state.pass(piece.len() + 1);
        state.moved += passed.min(piece.len());
        let refused = |code: &str, have| Err(Trouble::Refused { code: code.into(), words: code.into(), have });
        if let Some(code) = state.refuses {
            return refused(code, None);
        }
        // A piece counts whole or not at all; whether its sender hears of it is another question.
        if passed >= piece.len() {
            if state.kept.len() as u64 != from {
                return refused("offset", Some(state.kept.len() as u64));
            }
            state.kept.extend_from_slice(&piece);
            if state.forgets > 0 && state.requests.is_multiple_of(state.forgets) {
                state.kept.clear();
            }
            state.whole = state.kept.len() as u64 == total;
            if state.whole && *blake3::hash(&state.kept).as_bytes() != id.0 {
                (state.kept, state.whole) = (Vec::new(), false);
                return refused("hash-differs", None);
            }
        }
        if lasts { Ok(Kept { have: state.kept.len() as u64, whole: state.whole }) } else { broken() }
    }

    async fn get(&self, _: BlobId, total: u64, stretch: Range<u64>, sink: &mut Sink<'_>) -> Result<(), Trouble> {
        let (mut bytes, lasts) = {
            let mut state = self.state();
            if state.says_total.is_some_and(|says| says != total) {
                return Err(Trouble::Refused { code: "length-differs".into(), words: String::new(), have: None });
            }
            let (from, to) = (stretch.start as usize, stretch.end as usize);
            let (passed, lasts) = state.pass(to - from);
            let mut bytes = state.kept[from..from + passed].to_vec();
            for (at, times) in &mut state.flips {
                if *times > 0 && (from..from + passed).contains(at) {
                    bytes[*at - from] ^= 0x10;
                    *times -= 1;
                }
            }
            state.moved += bytes.len();
            (bytes, lasts)
        };
        // In fragments of awkward lengths.
        let mut len = 1;
        while !bytes.is_empty() {
            let rest = bytes.split_off(len.min(bytes.len()));
            sink(&bytes).map_err(Trouble::Local)?;
            bytes = rest;
            len = (len * 3 + 1) % 50_021 + 1;
        }
        if lasts { Ok(()) } else { broken() }
    }
}

struct Home {
    dir: tempfile::TempDir,
    folder: Folder,
    plain: Vec<u8>,
    errand: Errand,
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(b"file").finalize_xof().fill(&mut bytes);
    bytes
}

impl Home {
    fn new(len: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::beside(&dir.path().join("tombolo.db"));
        let path = dir.path().join("plain.bin");
        std::fs::write(&path, noise(len)).unwrap();
        let file = folder.seal(&path, [3; 32], [1; 8], u64::MAX).unwrap();
        let errand = Errand { id: BlobId(file.blob), file };
        Self { dir, folder, plain: noise(len), errand }
    }

    /// The sealed bytes, taken away from here: they are to come again.
    fn gone(&self) -> Vec<u8> {
        let path = self.folder.blob(&self.errand.id);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        bytes
    }

    fn saved(&self) -> Vec<u8> {
        let to = self.dir.path().join("saved");
        let _ = std::fs::remove_file(&to);
        std::fs::read(self.folder.save(&self.errand.file, &to, false).unwrap()).unwrap()
    }
}

const QUIET: &Moving<'static> = &|_, _| {};

/// Runs with a clock that jumps over waiting.
fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(work)
}

/// As long as something is left to do.
fn down_at_last(wire: &Fake, home: &Home) -> Ended {
    for _ in 0..50 {
        match run(carry::down(wire, &home.folder, &home.errand, QUIET)) {
            Ended::Later(_) => {}
            ended => return ended,
        }
    }
    panic!("it never ends")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_download_cut_at_any_bytes_costs_nothing_twice(
        len in prop_oneof![0..3_000usize, CHUNK - 30..CHUNK + 30, 0..4 * CHUNK],
        cuts in proptest::collection::vec(0..CHUNK * 2, 0..20),
    ) {
        let home = Home::new(len);
        let kept = home.gone();
        let total = kept.len();
        let wire = Fake { state: Mutex::new(State { kept, whole: true, cuts, ..State::default() }) };
        let ended = down_at_last(&wire, &home);
        prop_assert!(matches!(ended, Ended::Done { .. }), "{:?}", ended);
        prop_assert_eq!(wire.state().moved, total, "no byte came twice");
        prop_assert_eq!(home.saved(), home.plain.clone());
    }

    #[test]
    fn an_upload_cut_at_any_bytes_ends_whole(
        len in prop_oneof![0..3_000usize, 0..40 * CHUNK],
        cuts in proptest::collection::vec(prop_oneof![0..2usize, 0..600_000usize], 0..20),
    ) {
        let home = Home::new(len);
        let sealed = std::fs::read(home.folder.blob(&home.errand.id)).unwrap();
        let wire = Fake { state: Mutex::new(State { cuts, ..State::default() }) };
        for _ in 0..50 {
            match run(carry::up(&wire, &home.folder, &home.errand, QUIET)) {
                Ended::Done { .. } => break,
                Ended::Later(_) => {}
                other => panic!("{other:?}"),
            }
        }
        prop_assert!(wire.state().whole);
        prop_assert_eq!(&wire.state().kept, &sealed);
    }

    #[test]
    fn flipped_bytes_are_found_and_only_their_chunks_come_again(
        len in 1..4 * CHUNK,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 1..3u32), 1..5),
        cuts in proptest::collection::vec(0..CHUNK * 2, 0..6),
    ) {
        let home = Home::new(len);
        let kept = home.gone();
        let total = kept.len();
        let flips: Vec<(usize, u32)> = flips.iter().map(|(at, times)| (at.index(total), *times)).collect();
        let most: usize = flips.iter().map(|(_, times)| *times as usize).sum();
        let slack = (most + cuts.len()) * SEALED_CHUNK_BYTES as usize;
        let wire = Fake { state: Mutex::new(State { kept, whole: true, flips, cuts, ..State::default() }) };
        let ended = down_at_last(&wire, &home);
        // Two flips of one byte at once undo each other; more strikes than allowed are named.
        if matches!(ended, Ended::Done { .. }) {
            prop_assert_eq!(home.saved(), home.plain.clone());
            prop_assert!(wire.state().moved <= total + slack);
        } else {
            prop_assert!(matches!(ended, Ended::Failed(_)), "{:?}", ended);
            prop_assert!(most >= 3);
        }
    }

    #[test]
    fn what_lies_damaged_on_the_disk_is_found_and_fetched_alone(
        len in 1..4 * CHUNK,
        at: prop::sample::Index,
        have: prop::sample::Index,
    ) {
        let home = Home::new(len);
        let kept = home.gone();
        let (total, have) = (kept.len(), have.index(kept.len()) + 1);
        let mut here = kept[..have].to_vec();
        here[at.index(have)] ^= 1;
        std::fs::write(home.folder.part(&home.errand.id), &here).unwrap();
        let wire = Fake { state: Mutex::new(State { kept, whole: true, ..State::default() }) };
        let ended = down_at_last(&wire, &home);
        prop_assert!(matches!(ended, Ended::Done { .. }), "{:?}", ended);
        prop_assert_eq!(home.saved(), home.plain.clone());
        prop_assert!(wire.state().moved <= total - have + SEALED_CHUNK_BYTES as usize);
    }
}

#[test]
fn a_download_cut_at_each_byte_of_the_end_goes_on() {
    // Every byte around the seam of two chunks and the end, one after the other.
    let home = Home::new(CHUNK + 100);
    let kept = home.gone();
    let near = |at: usize| at.saturating_sub(40)..at + 40;
    let seam = SEALED_CHUNK_BYTES as usize;
    for cut in near(0).chain(near(seam)).chain(near(kept.len())) {
        let state = State { kept: kept.clone(), whole: true, cuts: vec![cut], ..State::default() };
        let wire = Fake { state: Mutex::new(state) };
        assert!(matches!(down_at_last(&wire, &home), Ended::Done { .. }), "{cut}");
        assert_eq!((home.saved(), wire.state().moved), (home.plain.clone(), kept.len()), "{cut}");
        std::fs::remove_file(home.folder.blob(&home.errand.id)).unwrap();
    }
}

#[test]
fn a_link_that_never_lasts_is_left_for_later_and_bounded() {
    let home = Home::new(10 * CHUNK);
    let kept = home.gone();
    let wire = Fake { state: Mutex::new(State { kept, whole: true, always: Some(0), ..State::default() }) };
    assert!(matches!(run(carry::down(&wire, &home.folder, &home.errand, QUIET)), Ended::Later(_)));
    assert_eq!(wire.state().requests, 5);
    // With a byte each time it goes on.
    wire.state().always = Some(20_000);
    assert!(matches!(down_at_last(&wire, &home), Ended::Done { .. }));

    let home = Home::new(10 * CHUNK);
    let wire = Fake { state: Mutex::new(State { always: Some(0), ..State::default() }) };
    assert!(matches!(run(carry::up(&wire, &home.folder, &home.errand, QUIET)), Ended::Later(_)));
    assert_eq!(wire.state().requests, 5);
    // One that takes pieces and forgets them, always or now and then.
    for forgets in 1..5 {
        let wire = Fake { state: Mutex::new(State { forgets, ..State::default() }) };
        let home = Home::new(60 * CHUNK);
        let ended = run(carry::up(&wire, &home.folder, &home.errand, QUIET));
        assert!(matches!(ended, Ended::Later(_)) || (forgets > 2 && wire.state().whole), "{forgets} {ended:?}");
        assert!(wire.state().moved < 6 * 60 * CHUNK, "{forgets}");
    }
    for code in ["quota", "too-large", "stranger", "offset", "busy", "something-new"] {
        let wire = Fake { state: Mutex::new(State { refuses: Some(code), ..State::default() }) };
        assert!(matches!(run(carry::up(&wire, &home.folder, &home.errand, QUIET)), Ended::Later(_)), "{code}");
        assert!(wire.state().requests <= 10, "{code}");
    }
}

#[test]
fn lies_about_length_and_hash_are_named_and_leave_nothing() {
    // The message says 100 bytes, the blob is larger.
    let mut home = Home::new(5 * CHUNK);
    let kept = home.gone();
    let says = kept.len() as u64;
    home.errand.file.bytes = 100;
    let state = State { kept: kept.clone(), whole: true, says_total: Some(says), ..State::default() };
    let wire = Fake { state: Mutex::new(state) };
    let Ended::Failed(error) = down_at_last(&wire, &home) else { panic!("not named") };
    assert_eq!((error.code(), wire.state().moved), ("file-differs", 0));
    // The message says more than any file may have.
    home.errand.file.bytes = u64::MAX;
    let Ended::Failed(error) = down_at_last(&wire, &home) else { panic!("not named") };
    assert_eq!((error.code(), wire.state().moved), ("file-differs", 0));

    // Every chunk opens, and the hash is another.
    let mut home = Home::new(5 * CHUNK);
    let kept = home.gone();
    home.errand.id = BlobId([5; 32]);
    let wire = Fake { state: Mutex::new(State { kept, whole: true, ..State::default() }) };
    let Ended::Failed(error) = down_at_last(&wire, &home) else { panic!("not named") };
    assert_eq!(error.code(), "file-differs");
    assert!(!home.folder.has(&home.errand.id) && home.folder.come(&home.errand.id) == 0);

    // Other bytes of the right length: nothing opens, and not all of them are fetched.
    let home = Home::new(64 * CHUNK);
    let len = home.gone().len();
    let wire = Fake { state: Mutex::new(State { kept: vec![7; len], whole: true, ..State::default() }) };
    let Ended::Failed(error) = down_at_last(&wire, &home) else { panic!("not named") };
    assert_eq!(error.code(), "file-differs");
    assert!(!home.folder.has(&home.errand.id));
}

#[test]
fn a_damaged_copy_is_not_sent_as_if_it_were_right() {
    let home = Home::new(3 * CHUNK);
    let path = home.folder.blob(&home.errand.id);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[CHUNK] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let wire = Fake::default();
    assert!(matches!(run(carry::up(&wire, &home.folder, &home.errand, QUIET)), Ended::Damaged));
    assert!(!wire.state().whole);
}

#[test]
fn saving_never_replaces_and_never_leaves_its_folder() {
    let mut home = Home::new(100);
    home.errand.file.name = "../../x".into();
    let inside = home.dir.path().join("a/b");
    std::fs::create_dir_all(&inside).unwrap();
    let saved = home.folder.save(&home.errand.file, &inside, false).unwrap();
    assert_eq!(saved, inside.join("x"));
    assert_eq!(std::fs::read(&saved).unwrap(), home.plain);
    let names = |folder: &Path| -> Vec<PathBuf> {
        let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&inside), [inside.join("x")]);

    std::fs::write(&saved, b"mine").unwrap();
    let error = home.folder.save(&home.errand.file, &inside, false).unwrap_err();
    assert_eq!((error.code(), std::fs::read(&saved).unwrap().as_slice()), ("exists", &b"mine"[..]));
    home.folder.save(&home.errand.file, &inside, true).unwrap();
    assert_eq!(std::fs::read(&saved).unwrap(), home.plain);
    // A link that leads elsewhere, even to nothing, is something that is there.
    #[cfg(unix)]
    {
        let (link, target) = (inside.join("link"), home.dir.path().join("target"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert_eq!(home.folder.save(&home.errand.file, &link, false).unwrap_err().code(), "exists");
        assert!(!target.exists());
    }
    assert_eq!(home.folder.save(&home.errand.file, &inside.join("no/where"), false).unwrap_err().code(), "file-disk");
}

#[test]
fn a_damaged_copy_is_not_saved_and_repairs_itself() {
    let home = Home::new(3 * CHUNK);
    let path = home.folder.blob(&home.errand.id);
    let kept = std::fs::read(&path).unwrap();
    let mut bytes = kept.clone();
    bytes[2 * CHUNK] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let to = home.dir.path().join("saved");
    assert_eq!(home.folder.save(&home.errand.file, &to, false).unwrap_err().code(), "file-damaged");
    assert!(!to.exists() && !home.folder.has(&home.errand.id));
    let wire = Fake { state: Mutex::new(State { kept, whole: true, ..State::default() }) };
    assert!(matches!(down_at_last(&wire, &home), Ended::Done { .. }));
    assert_eq!((home.saved(), wire.state().moved), (home.plain.clone(), SEALED_CHUNK_BYTES as usize));
}

#[test]
fn what_cannot_be_attached_is_named() {
    let home = Home::new(100);
    let path = home.dir.path().join("plain.bin");
    let code = |path: &Path, max: u64| home.folder.seal(path, [1; 32], [2; 8], max).unwrap_err().code();
    assert_eq!(code(&path, 99), "file-too-large");
    assert_eq!(code(home.dir.path(), u64::MAX), "file-unreadable");
    assert_eq!(code(&home.dir.path().join("nothing"), u64::MAX), "file-unreadable");
    let sparse = home.dir.path().join("sparse");
    std::fs::File::create(&sparse).unwrap().set_len(tombolo_model::limit::FILE_BYTES_MAX + 1).unwrap();
    assert_eq!(code(&sparse, u64::MAX), "file-too-large");
    assert_eq!(std::fs::read_dir(home.folder.blob(&BlobId::ZERO).parent().unwrap()).unwrap().count(), 1);
}

/// A PNG that claims its sides and has hardly any pixels.
fn claims(width: u32, height: u32) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let mut out = (data.len() as u32).to_be_bytes().to_vec();
        let body = [kind.as_slice(), data].concat();
        let mut crc = u32::MAX;
        for byte in &body {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            }
        }
        out.extend(body);
        out.extend((!crc).to_be_bytes());
        out
    };
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([8, 2, 0, 0, 0]);
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    out.extend(chunk(b"IHDR", &header));
    out.extend(chunk(b"IDAT", &[0x78, 0x9c, 3, 0, 0, 0, 0, 1]));
    out.extend(chunk(b"IEND", &[]));
    out
}

#[test]
fn an_image_that_claims_too_much_is_a_plain_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("huge.png");
    for (width, height) in [(100_000, 100_000), (u32::MAX >> 1, 1), (0, 5), (16_000, 16_000), (300, 300)] {
        std::fs::File::create(&path).unwrap().write_all(&claims(width, height)).unwrap();
        let began = std::time::Instant::now();
        assert_eq!(thumbnail::of(&path, 8_192), None, "{width} x {height}");
        assert!(began.elapsed().as_secs() < 5, "{width} x {height}");
    }
    std::fs::write(&path, b"no image").unwrap();
    assert_eq!(thumbnail::of(&path, 8_192), None);
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(thumbnail::of(&path, 8_192), None);
}

#[test]
fn a_thumbnail_is_small_turned_and_bare() {
    use image::{DynamicImage, ImageEncoder as _, RgbImage, codecs::jpeg::JpegEncoder};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("photo.jpg");
    let picture = RgbImage::from_fn(800, 400, |x, y| image::Rgb([(x / 4) as u8, (y / 2) as u8, ((x * y) % 251) as u8]));
    // Orientation 6: the camera was held on its side. With it, words that are nobody's business.
    let secret = b"somewhere at 47.3 N 8.5 E";
    let mut exif = b"II*\0\x08\0\0\0\x02\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0".to_vec();
    exif.extend(b"\x0e\x01\x02\0");
    exif.extend((secret.len() as u32).to_le_bytes());
    exif.extend(38_u32.to_le_bytes());
    exif.extend([0; 4]);
    exif.extend(secret);
    let mut out = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut out, 90);
    encoder.set_exif_metadata(exif).unwrap();
    DynamicImage::ImageRgb8(picture).write_with_encoder(encoder).unwrap();
    assert!(out.windows(secret.len()).any(|window| window == secret));
    std::fs::write(&path, out).unwrap();
    for max in [8_192, 2_000, 900] {
        let image = thumbnail::of(&path, max).unwrap();
        assert_eq!((image.width, image.height), (400, 800));
        assert!(!image.thumbnail.is_empty() && image.thumbnail.len() <= max);
        assert!(!image.thumbnail.windows(secret.len()).any(|window| window == secret));
        let small = image::load_from_memory(&image.thumbnail).unwrap();
        assert!(small.height() > small.width() && small.height() <= 320);
    }
    assert!(thumbnail::of(&path, 10).unwrap().thumbnail.is_empty());
}
