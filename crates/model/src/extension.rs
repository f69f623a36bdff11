//! What the header of an op says to relays beside its fixed fields: a list of tagged entries in `Header::extension`.
//!
//! ```text
//! entry = tag (varint) | length (varint) | bytes      tags ascend, each once
//! tag 1 = blobs that the op refers to: 32 bytes each, sorted, unique, 1 to FILES_MAX
//! ```
//!
//! Entries with other tags are skipped, so that later versions can add some. An extension that is not in this form says
//! nothing: the op is stored all the same, since its id commits to the bytes whatever they are.
//! Not here: what blobs are (`blob`), counting references (`relay`).

use crate::codec::{Malformed, Reader, put_bytes, put_varint};
use crate::id::BlobId;
use crate::limit::{EXTENSION_BYTES_MAX, FILES_MAX};
use alloc::vec::Vec;

/// Tag of the blobs that an op refers to.
const TAG_BLOBS: u64 = 1;

/// The extension of an op that refers to `blobs`; sorts them and drops doubles. Empty for none.
///
/// # Errors
/// [`Malformed::TooLarge`] for more than [`FILES_MAX`] different blobs.
pub fn with_blobs(blobs: &[BlobId]) -> Result<Vec<u8>, Malformed> {
    let mut blobs = blobs.to_vec();
    blobs.sort_unstable();
    blobs.dedup();
    if blobs.len() > FILES_MAX {
        return Err(Malformed::TooLarge("blobs"));
    }
    let mut out = Vec::new();
    if !blobs.is_empty() {
        put_varint(&mut out, TAG_BLOBS);
        let ids: Vec<u8> = blobs.iter().flat_map(|id| id.0).collect();
        put_bytes(&mut out, &ids);
    }
    Ok(out)
}

/// The blobs that an extension names, sorted; none where it has no such entry.
///
/// # Errors
/// [`Malformed`] where the extension is not a list of entries, or the entry is not in its one form. It says nothing then.
pub fn blobs(extension: &[u8]) -> Result<Vec<BlobId>, Malformed> {
    let mut reader = Reader::new(extension);
    let mut found = Vec::new();
    let mut last = None;
    while reader.left() > 0 {
        let tag = reader.varint()?;
        if last.is_some_and(|last| last >= tag) {
            return Err(Malformed::NotCanonical("extension"));
        }
        last = Some(tag);
        let bytes = reader.bytes(EXTENSION_BYTES_MAX, "extension")?;
        if tag == TAG_BLOBS {
            found = list(bytes)?;
        }
    }
    Ok(found)
}

fn list(bytes: &[u8]) -> Result<Vec<BlobId>, Malformed> {
    let (ids, rest) = bytes.as_chunks::<{ BlobId::LEN }>();
    if ids.len() > FILES_MAX {
        return Err(Malformed::TooLarge("blobs"));
    }
    if ids.is_empty() || !rest.is_empty() || !ids.is_sorted_by(|a, b| a < b) {
        return Err(Malformed::NotCanonical("blobs"));
    }
    Ok(ids.iter().map(|id| BlobId(*id)).collect())
}

const _: () = assert!(FILES_MAX * BlobId::LEN + 3 <= EXTENSION_BYTES_MAX);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn references_survive(ids in proptest::collection::vec(any::<[u8; 32]>(), 0..FILES_MAX + 1)) {
            let given: Vec<BlobId> = ids.iter().copied().map(BlobId).collect();
            let read = blobs(&with_blobs(&given).unwrap()).unwrap();
            let naive: BTreeSet<BlobId> = given.into_iter().collect();
            prop_assert_eq!(read, naive.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn what_reads_writes_the_same_entry(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(found) = blobs(&bytes) && !found.is_empty() {
                let entry = with_blobs(&found).unwrap();
                prop_assert!(bytes.windows(entry.len()).any(|window| window == entry));
            }
        }
    }

    #[test]
    fn the_bytes_are_pinned() {
        let (one, two) = (BlobId([1; 32]), BlobId([2; 32]));
        let mut expected = vec![1, 64];
        expected.extend([1; 32]);
        expected.extend([2; 32]);
        assert_eq!(with_blobs(&[two, one, two]).unwrap(), expected);
        assert!(with_blobs(&[]).unwrap().is_empty());
        let seven: Vec<BlobId> = (0..7).map(|n| BlobId([n; 32])).collect();
        assert_eq!(with_blobs(&seven).unwrap().len(), 3 + 7 * 32);
    }

    #[test]
    fn entries_of_later_versions_are_skipped() {
        let mut bytes = with_blobs(&[BlobId([9; 32])]).unwrap();
        bytes.extend([7, 2, 0xaa, 0xbb]);
        assert_eq!(blobs(&bytes).unwrap(), [BlobId([9; 32])]);
        assert!(blobs(&[7, 1, 0]).unwrap().is_empty());
    }

    #[test]
    fn other_forms_say_nothing() {
        let one = with_blobs(&[BlobId([1; 32])]).unwrap();
        let twice = [one.clone(), one.clone()].concat();
        assert_eq!(blobs(&twice), Err(Malformed::NotCanonical("extension")));
        assert_eq!(blobs(&one[..20]), Err(Malformed::Truncated));
        assert_eq!(blobs(&[1, 0]), Err(Malformed::NotCanonical("blobs")));
        let mut unsorted = vec![1, 64];
        unsorted.extend([2; 32]);
        unsorted.extend([1; 32]);
        assert_eq!(blobs(&unsorted), Err(Malformed::NotCanonical("blobs")));
        let eight: Vec<BlobId> = (0..8).map(|n| BlobId([n; 32])).collect();
        assert_eq!(with_blobs(&eight), Err(Malformed::TooLarge("blobs")));
    }
}
