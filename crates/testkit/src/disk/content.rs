//! The bytes of one simulated file, and what is left of them when the power fails.
//!
//! Responsible for: reading, writing and truncating in memory; remembering, until the next sync, what every change
//! replaced; choosing for every sector which of its versions a power cut leaves behind.
//! Not responsible for: names and directories (`image.rs`), faults and counters (`state.rs`).
//!
//! Model. The file itself always shows the newest bytes; `undo` lists the changes since the last sync with the bytes
//! they replaced. A power cut walks this list backwards and, sector by sector, either keeps what it finds or takes the
//! change back and goes on with the change before. So a sector is left in *some* version that it really had, all of
//! the 512 bytes at once, independently of every other sector: loss, tearing and reordering. Three rules keep the
//! states possible on a file system with a metadata journal, which is what SQLite promises to survive:
//! - Changes of the size happen in order: if one is lost, so are all later ones.
//! - A truncation is atomic: kept, it cannot show older bytes behind its end; lost, everything behind its end is as it
//!   was before.
//! - Room that was added to the file, but whose data was lost, reads as zeros or (some cuts) as garbage.
//!
//! Read next: `image.rs`.

use std::sync::Arc;

use crate::rng::Rng;

/// The unit that a disk writes all or nothing, in bytes.
pub(super) const SECTOR_BYTES: usize = 512;

/// A change that is not synced yet.
#[derive(Clone, Debug)]
struct Undo {
    /// Position of the change among all changes on this disk.
    seq: u64,
    /// First byte that was written; for a truncation the new size.
    offset: usize,
    /// How many bytes were written; 0 for a truncation.
    len: usize,
    /// The bytes that were replaced or cut off; shorter than `len` where the file grew.
    old: Box<[u8]>,
    /// Size of the file before the change.
    old_size: usize,
    /// Size of the file after the change.
    new_size: usize,
}

impl Undo {
    /// True for a truncation that made the file shorter.
    const fn cuts(&self) -> bool {
        self.new_size < self.old_size
    }

    const fn resizes(&self) -> bool {
        self.new_size != self.old_size
    }
}

/// How one power cut treats the changes that were not synced.
pub(super) struct Fate {
    rng: Rng,
    manner: Manner,
    garbage: bool,
}

enum Manner {
    /// Every sector keeps its newest version with this chance, else the version before with the same chance, ...
    Shuffled { keep_per_mille: u32 },
    /// The disk worked in order: what came before the number is kept, what came after is lost, the change with this
    /// number is torn.
    InOrder { torn: u64 },
}

impl Fate {
    /// Draws the manner of one cut; `oldest` and `newest` are the first and the last number of a pending change.
    pub(super) fn draw(mut rng: Rng, oldest: u64, newest: u64) -> Self {
        let manner = match rng.below(8) {
            0 => Manner::Shuffled { keep_per_mille: 0 },
            1 => Manner::Shuffled { keep_per_mille: 1_000 },
            2 => Manner::Shuffled { keep_per_mille: 125 },
            3 => Manner::Shuffled { keep_per_mille: 875 },
            4 => Manner::InOrder { torn: rng.range(oldest..newest.max(oldest) + 1) },
            _ => Manner::Shuffled { keep_per_mille: 500 },
        };
        let garbage = rng.chance(125);
        Self { rng, manner, garbage }
    }

    /// Whether the change with number `seq` is kept (in the sector, size or name that is being decided).
    pub(super) fn keeps(&mut self, seq: u64) -> bool {
        match self.manner {
            Manner::Shuffled { keep_per_mille } => self.rng.chance(keep_per_mille),
            Manner::InOrder { torn } => seq < torn || (seq == torn && self.rng.chance(500)),
        }
    }

    /// What reads where room was added and its data was lost.
    fn fill_hole(&mut self, hole: &mut [u8]) {
        if self.garbage {
            self.rng.fill(hole);
        } else {
            hole.fill(0);
        }
    }
}

/// Newest bytes of a file plus the changes that are not synced.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    bytes: Arc<Vec<u8>>,
    undo: Vec<Undo>,
}

impl Content {
    /// A fully synced file with these bytes.
    pub(super) fn synced(bytes: Vec<u8>) -> Self {
        Self { bytes: Arc::new(bytes), undo: Vec::new() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of the oldest change that is not synced.
    pub(super) fn oldest_pending(&self) -> Option<u64> {
        self.undo.first().map(|change| change.seq)
    }

    /// Writes `data` at `offset`; a hole before it reads as zeros.
    pub(super) fn write(&mut self, seq: u64, offset: usize, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let bytes = Arc::make_mut(&mut self.bytes);
        let (old_size, end) = (bytes.len(), offset + data.len());
        let old = bytes[offset.min(old_size)..end.min(old_size)].into();
        if end > old_size {
            if offset == old_size {
                bytes.extend_from_slice(data);
            } else {
                bytes.resize(end, 0);
                bytes[offset..end].copy_from_slice(data);
            }
        } else {
            bytes[offset..end].copy_from_slice(data);
        }
        self.undo.push(Undo { seq, offset, len: data.len(), old, old_size, new_size: bytes.len() });
    }

    /// Cuts the file to `size` bytes, or extends it with zeros.
    pub(super) fn truncate(&mut self, seq: u64, size: usize) {
        let bytes = Arc::make_mut(&mut self.bytes);
        let old_size = bytes.len();
        if size == old_size {
            return;
        }
        let old = bytes[size.min(old_size)..].into();
        bytes.resize(size, 0);
        self.undo.push(Undo { seq, offset: size, len: 0, old, old_size, new_size: size });
    }

    /// Everything so far is on the disk for good.
    pub(super) fn sync(&mut self) {
        self.undo.clear();
    }

    /// A copy that a power cut now could leave behind. It is fully synced.
    pub(super) fn survive(&self, fate: &mut Fate) -> Self {
        if self.undo.is_empty() {
            return self.clone();
        }
        // 1. The size: the first lost change of the size takes all later ones with it.
        let mut size = self.bytes.len();
        let mut first_lost_resize = self.undo.len();
        for (i, change) in self.undo.iter().enumerate().rev().filter(|(_, change)| change.resizes()) {
            if fate.keeps(change.seq) {
                break;
            }
            (size, first_lost_resize) = (change.old_size, i);
        }
        // 2. Behind the end of a lost truncation nothing that was written after it can be found.
        let mut reach = vec![usize::MAX; self.undo.len()];
        let mut lowest = usize::MAX;
        for (i, change) in self.undo.iter().enumerate().skip(first_lost_resize) {
            reach[i] = lowest;
            if change.cuts() {
                lowest = lowest.min(change.new_size);
            }
        }
        // 3. The data, newest change first.
        let mut bytes = self.bytes.to_vec();
        let room = self.undo.iter().map(|change| change.old_size.max(change.new_size)).fold(bytes.len(), usize::max);
        bytes.resize(room, 0);
        let mut decided = vec![false; room.div_ceil(SECTOR_BYTES)];
        // Behind the end of a kept truncation older bytes never come back.
        let mut limit = usize::MAX;
        for (i, change) in self.undo.iter().enumerate().rev() {
            if change.len == 0 {
                if !change.cuts() {
                    continue;
                }
                if i < first_lost_resize {
                    limit = limit.min(change.offset);
                } else {
                    let end = change.old_size.min(limit);
                    if change.offset < end {
                        bytes[change.offset..end].copy_from_slice(&change.old[..end - change.offset]);
                    }
                }
                continue;
            }
            let change_end = change.offset + change.len;
            let sectors = change.offset / SECTOR_BYTES..change_end.div_ceil(SECTOR_BYTES);
            for (sector, decided) in sectors.clone().zip(&mut decided[sectors]) {
                let start = change.offset.max(sector * SECTOR_BYTES);
                let end = change_end.min((sector + 1) * SECTOR_BYTES).min(limit);
                if *decided {
                    continue;
                }
                if start < reach[i] && fate.keeps(change.seq) {
                    *decided = true;
                    continue;
                }
                if start >= end {
                    continue;
                }
                let known = end.min(change.offset + change.old.len()).max(start);
                if start < known {
                    bytes[start..known].copy_from_slice(&change.old[start - change.offset..known - change.offset]);
                }
                fate.fill_hole(&mut bytes[known..end]);
            }
        }
        bytes.resize(size, 0);
        Self::synced(bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fate(manner: Manner) -> Fate {
        Fate { rng: Rng::new(1), manner, garbage: false }
    }

    fn survivor(content: &Content, keep_per_mille: u32, seed: u64) -> Vec<u8> {
        let mut fate = Fate { rng: Rng::new(seed), manner: Manner::Shuffled { keep_per_mille }, garbage: false };
        content.survive(&mut fate).bytes().to_vec()
    }

    #[test]
    fn all_or_nothing_are_the_ends_of_the_scale() {
        let mut content = Content::synced(vec![1; 3_000]);
        content.write(1, 100, &[2; 2_000]);
        content.truncate(2, 1_500);
        content.write(3, 1_800, &[3; 2_000]);
        content.write(4, 0, &[4; 10]);
        assert_eq!(survivor(&content, 0, 1), vec![1; 3_000]);
        assert_eq!(survivor(&content, 1_000, 1), content.bytes());
        assert_eq!(content.bytes().len(), 3_800);
        content.sync();
        assert_eq!(survivor(&content, 0, 1), content.bytes(), "what is synced stays");
    }

    /// Each sector has one of the versions it really had, and each of them is met; sectors do not depend on each other.
    #[test]
    fn sectors_survive_whole_and_on_their_own() {
        let mut content = Content::synced(vec![0; 4 * SECTOR_BYTES]);
        for version in 1..=3_u8 {
            content.write(u64::from(version), 0, &vec![version; 4 * SECTOR_BYTES]);
        }
        let mut met = std::collections::BTreeSet::new();
        for seed in 0..2_000 {
            let bytes = survivor(&content, 500, seed);
            let versions: Vec<u8> = bytes.chunks(SECTOR_BYTES).map(|sector| sector[0]).collect();
            assert!(bytes.chunks(SECTOR_BYTES).all(|sector| sector.iter().all(|&byte| byte == sector[0])));
            met.insert(versions);
        }
        assert!(met.len() > 150, "{} of 256 combinations", met.len());
        assert!(met.contains(&vec![0, 3, 0, 3]) && met.contains(&vec![3, 1, 2, 3]));
    }

    #[test]
    fn in_order_keeps_a_prefix() {
        let mut content = Content::synced(Vec::new());
        for seq in 1..=9_u64 {
            content.write(seq, content.bytes().len(), &[seq as u8; SECTOR_BYTES]);
        }
        for torn in 1..=9 {
            let bytes = content.survive(&mut fate(Manner::InOrder { torn })).bytes().to_vec();
            assert!(bytes.len() / SECTOR_BYTES == torn as usize || bytes.len() / SECTOR_BYTES == torn as usize - 1);
            assert!(bytes.len().is_multiple_of(SECTOR_BYTES));
            let written = bytes.chunks(SECTOR_BYTES).zip(1_u8..).filter(|(sector, seq)| sector[0] == *seq).count();
            assert!(written + 1 >= bytes.len() / SECTOR_BYTES);
        }
    }

    /// A lost truncation leaves the old bytes behind its end, a kept one never shows them again.
    #[test]
    fn truncation_is_atomic() {
        let mut content = Content::synced(vec![7; 4 * SECTOR_BYTES]);
        content.truncate(1, SECTOR_BYTES + 100);
        content.write(2, SECTOR_BYTES + 100, &[9; 2 * SECTOR_BYTES]);
        let (mut lost, mut cut, mut grown) = (0, 0, 0);
        for seed in 0..500 {
            let bytes = survivor(&content, 500, seed);
            assert!(bytes[..SECTOR_BYTES + 100].iter().all(|&byte| byte == 7));
            let tail = &bytes[SECTOR_BYTES + 100..];
            match bytes.len() {
                2_048 => (lost, _) = (lost + 1, assert!(tail.iter().all(|&byte| byte == 7))),
                612 => cut += 1,
                1_636 => (grown, _) = (grown + 1, assert!(tail.iter().all(|&byte| byte == 9 || byte == 0))),
                other => panic!("{other} bytes were never the size"),
            }
        }
        assert!(lost > 50 && cut > 50 && grown > 50, "{lost} lost, {cut} cut, {grown} grown");
    }

    #[test]
    fn lost_data_in_new_room_is_zeros_or_garbage() {
        let mut content = Content::synced(Vec::new());
        content.write(1, 0, &[5; SECTOR_BYTES]);
        content.write(2, 0, &[6; SECTOR_BYTES]);
        let (mut zeros, mut garbage, mut gone) = (false, false, false);
        for seed in 0..200 {
            let mut fate =
                Fate { rng: Rng::new(seed), manner: Manner::Shuffled { keep_per_mille: 500 }, garbage: seed % 2 == 0 };
            let survivor = content.survive(&mut fate);
            match survivor.bytes() {
                [] => gone = true,
                bytes if bytes.iter().all(|&byte| byte == bytes[0]) => zeros |= bytes[0] == 0,
                _ => garbage = true,
            }
        }
        assert!(zeros && garbage && gone);
    }
}
