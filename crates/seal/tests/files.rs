//! Files: what is sealed opens, and nothing else does. Not here: how they travel.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tombolo_model::limit::FILE_BYTES_MAX;
use tombolo_seal::file::{CHUNK_BYTES, FileKey, Layout, SEALED_CHUNK_BYTES};

fn sealed(bytes: &[u8], key: u8) -> (Layout, Vec<u8>, tombolo_model::BlobId) {
    let layout = Layout::of(bytes.len() as u64).unwrap();
    let mut out = Vec::new();
    let id = FileKey::new([key; 32]).seal(layout, &mut &*bytes, &mut out).unwrap();
    (layout, out, id)
}

fn opened(layout: Layout, blob: &[u8], key: u8) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    FileKey::new([key; 32]).open(layout, &mut &*blob, &mut out)?;
    Ok(out)
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut bytes);
    bytes
}

/// Lengths around everything that has an edge.
fn lengths() -> impl Strategy<Value = usize> {
    let chunk = CHUNK_BYTES as usize;
    prop_oneof![0usize..3_000, chunk - 20..chunk + 20, 2 * chunk - 5..2 * chunk + 5, 0..4 * chunk]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_sealed_opens(len in lengths()) {
        let plain = noise(len);
        let (layout, blob, id) = sealed(&plain, 1);
        prop_assert_eq!(blob.len() as u64, layout.sealed());
        prop_assert_eq!(id.0, *blake3::hash(&blob).as_bytes());
        prop_assert_eq!(opened(layout, &blob, 1).unwrap(), plain);
        prop_assert!(opened(layout, &blob, 2).is_err());
    }

    #[test]
    fn a_flipped_byte_is_found_in_its_chunk(len in lengths(), at: prop::sample::Index, bit in 0..8u8) {
        let (layout, mut blob, _) = sealed(&noise(len), 1);
        let at = at.index(blob.len());
        blob[at] ^= 1 << bit;
        let key = FileKey::new([1; 32]);
        for number in 0..layout.chunks() {
            let range = layout.chunk(number);
            let whole = range.start as usize..range.end as usize;
            let hit = whole.contains(&at);
            prop_assert_eq!(key.open_chunk(layout, number, &blob[whole]).is_err(), hit);
        }
    }

    #[test]
    fn a_file_that_was_cut_does_not_open(len in lengths(), cut: prop::sample::Index) {
        let (layout, blob, _) = sealed(&noise(len), 1);
        prop_assert!(opened(layout, &blob[..cut.index(blob.len())], 1).is_err());
    }

    #[test]
    fn layouts_add_up(bytes in 0..=FILE_BYTES_MAX) {
        let layout = Layout::of(bytes).unwrap();
        let chunks = layout.chunks();
        let last = layout.chunk(chunks - 1);
        prop_assert_eq!(last.end, layout.sealed());
        prop_assert!(last.end - last.start > 16);
        prop_assert!(layout.chunk(chunks).is_empty());
        prop_assert!(layout.padded() >= bytes && layout.padded() <= bytes.max(1_024) + bytes / 8 + 1);
        prop_assert!(layout.is_last(chunks - 1) && (chunks == 1 || !layout.is_last(chunks - 2)));
        let held: u64 = [0, chunks - 1].iter().map(|n| layout.file_bytes(*n)).sum();
        prop_assert!(held <= bytes.max(CHUNK_BYTES) + CHUNK_BYTES);
    }
}

#[test]
fn chunks_cannot_be_moved_or_left_out() {
    let chunk = SEALED_CHUNK_BYTES as usize;
    let (layout, blob, _) = sealed(&noise(3 * CHUNK_BYTES as usize), 1);
    let mut swapped = blob.clone();
    swapped[..chunk].copy_from_slice(&blob[chunk..2 * chunk]);
    swapped[chunk..2 * chunk].copy_from_slice(&blob[..chunk]);
    assert!(opened(layout, &swapped, 1).is_err());
    // Whoever keeps it shows the first chunks as the whole file.
    let shorter = Layout::of(2 * CHUNK_BYTES).unwrap();
    assert!(opened(shorter, &blob[..2 * chunk], 1).is_err());
}

#[test]
fn a_file_that_changes_while_it_is_read_is_named() {
    let layout = Layout::of(100).unwrap();
    let key = FileKey::new([1; 32]);
    let shorter = key.seal(layout, &mut &[0; 99][..], &mut Vec::new()).unwrap_err();
    assert_eq!(shorter.kind(), std::io::ErrorKind::UnexpectedEof);
    let longer = key.seal(layout, &mut &[0; 101][..], &mut Vec::new()).unwrap_err();
    assert_eq!(longer.kind(), std::io::ErrorKind::InvalidData);
    assert!(Layout::of(FILE_BYTES_MAX + 1).is_none());
}

#[test]
fn the_bytes_are_pinned() {
    let (layout, blob, id) = sealed(b"Tombolo", 7);
    assert_eq!((layout.padded(), layout.sealed()), (1_024, 1_040));
    assert_eq!(tombolo_model::id::hex(&blob[..24]), "27fc5330da5efd3f63b34d20d2cbc61b317490b9ba042161");
    assert_eq!(id.to_string(), "15e32047c043f420785f28e5ac6969e516432eb733891b74b0f12f7c94a843f6");
}
