//! Rateless sketch: coded symbols from which the difference of two sets is decoded.
//!
//! After Yang, Gilad, Alizadeh, "Practical Rateless Set Reconciliation" (SIGCOMM 2024, arXiv 2402.02668).
//! A set is encoded as an infinite sequence of cells; cell `i` holds the XOR of the items that hit it,
//! and an item hits cell `i` with probability `1 / (1 + i/2)`. Two prefixes of the same length are
//! subtracted; what the sets share cancels; a cell with a single item left ("pure") gives that item away,
//! which is then taken out of its other cells, and so on. Whatever lies in the history, about 1.35 to 1.5
//! cells per difference are enough; when a prefix is too short, more cells of the same sequence help.
//!
//! Own choices here:
//! * Integer arithmetic only, so that every platform maps an item to the same cells. For an item at cell
//!   `i` the chance of hitting none of `i+1 ..= m` is the product of `j / (j + 2)`, which telescopes to
//!   `(i+1)(i+2) / ((m+1)(m+2))`; the next hit is the smallest `m` for which that is at most a uniform
//!   draw `u`: one division and one integer square root.
//! * Hits are independent, so the walk may begin anew at any cell. It does at [`CELLS_KEPT`]: whoever
//!   keeps that prefix on disk extends it without repeating it.
//! * 13 bytes a cell: XOR of the items (8), XOR of their check hashes (4), count modulo 256 (1).
//!
//! Bounds: at most [`MAX_CELLS`] cells; decoding takes at most one peel per cell, each with about
//! `2 ln(cells)` updates, whatever the cells hold. A wrong item in a result needs a 32-bit check to
//! match by chance and everything else to come out even. Items that a member chose on purpose (they
//! are not keyed) can make decoding fail, which costs a fallback to range splitting, never a wrong end:
//! equality is proven elsewhere.
//!
//! Not responsible for: how many differ ([`super::estimator`]), and where the kept prefix is stored.

use super::mix;
use alloc::vec::Vec;
use tombolo_model::Malformed;

/// Cells of the prefix that a log keeps on disk: decodes about 650 differences.
pub const CELLS_KEPT: usize = 1024;

/// Longest sketch that is built or accepted: 65,536 cells (852 KB) decode about 48,000 differences.
/// Beyond that range splitting is cheaper for everyone. Also what keeps the mapping within 64 bits.
pub const MAX_CELLS: usize = 1 << 16;

/// Bytes of one cell on the wire and on disk.
pub const CELL_BYTES: usize = 13;

/// One coded symbol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// XOR of the items.
    pub sum: u64,
    /// XOR of the items' check hashes.
    pub check: u32,
    /// How many items, modulo 256; after a subtraction 1 means "mine", 255 "theirs".
    pub count: u8,
}

impl Cell {
    /// Puts the item in, or takes it out: only `count` knows the direction.
    fn toggle(&mut self, item: u64, check: u32, step: u8) {
        self.sum ^= item;
        self.check ^= check;
        self.count = self.count.wrapping_add(step);
    }

    /// Whether exactly one item seems to be left.
    fn is_pure(&self) -> bool {
        matches!(self.count, 1 | 255) && self.check == check_of(self.sum)
    }
}

/// What two sets do not share, each list ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Items in the set that was subtracted from.
    pub mine: Vec<u64>,
    /// Items in the set that was subtracted.
    pub theirs: Vec<u64>,
}

/// Why a subtracted sketch gave no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecoded {
    /// Nothing wrong: more cells are needed, see [`cells_after`].
    #[error(
        "the sketch of {cells} cells is too short for this difference; nobody's fault: ask for more cells or split ranges"
    )]
    TooFewCells {
        /// Length that was not enough.
        cells: usize,
    },
    /// The cells contradict themselves: not a difference of two sets (or, once in 2^32 cells, chance).
    #[error(
        "the sketch contradicts itself, so the peer's cells are not those of a set; the peer's fault: split ranges instead"
    )]
    Inconsistent,
}

/// A prefix of a set's sequence of cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sketch {
    cells: Vec<Cell>,
}

impl Sketch {
    /// The first `len` cells of the empty set; `len` above [`MAX_CELLS`] is cut to it.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self { cells: alloc::vec![Cell::default(); len.min(MAX_CELLS)] }
    }

    /// Number of cells.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there is not a single cell (says nothing about the set).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The cells.
    #[must_use]
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Adds an item that is not in the set: about 13 updates for [`CELLS_KEPT`] cells.
    pub fn insert(&mut self, item: u64) {
        self.toggle(item, 0, 1);
    }

    /// Takes out an item that is in the set.
    pub fn remove(&mut self, item: u64) {
        self.toggle(item, 0, 255);
    }

    /// Lengthens the prefix to `len` cells (at most [`MAX_CELLS`]; never shortens). `items` are all items
    /// that are in the set now, in any order; only the new cells are touched.
    pub fn extend_to(&mut self, len: usize, items: impl IntoIterator<Item = u64>) {
        let from = self.cells.len();
        let len = len.min(MAX_CELLS);
        if len <= from {
            return;
        }
        self.cells.resize(len, Cell::default());
        for item in items {
            self.toggle(item, from, 1);
        }
    }

    /// Shortens the prefix to `len` cells: what is sent of a kept prefix.
    pub fn truncate(&mut self, len: usize) {
        self.cells.truncate(len);
    }

    /// Cell by cell, this set minus the other, over the prefix that both have.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let cells = self.cells.iter().zip(&other.cells).map(|(mine, theirs)| Cell {
            sum: mine.sum ^ theirs.sum,
            check: mine.check ^ theirs.check,
            count: mine.count.wrapping_sub(theirs.count),
        });
        Self { cells: cells.collect() }
    }

    /// Decodes a result of [`Sketch::subtract`].
    ///
    /// # Errors
    /// [`Undecoded`]; a caller that asks for more cells must bound how often, since a peer can make its
    /// cells look too few for ever.
    pub fn decode(mut self) -> Result<Difference, Undecoded> {
        let len = self.cells.len();
        let mut found = Difference::default();
        let mut pure: Vec<usize> = (0..len).filter(|&i| self.cells[i].is_pure()).collect();
        // A cell may be queued more than once; it is judged again when its turn comes.
        while let Some(at) = pure.pop() {
            let Cell { sum: item, count, .. } = self.cells[at];
            if !self.cells[at].is_pure() {
                continue;
            }
            // `len` linear equations cannot honestly yield more than `len` items; hostile cells can.
            if found.mine.len() + found.theirs.len() == len {
                return Err(Undecoded::Inconsistent);
            }
            let (side, step) = if count == 1 { (&mut found.mine, 255) } else { (&mut found.theirs, 1) };
            side.push(item);
            let check = check_of(item);
            for index in Indices::new(item, 0, len) {
                self.cells[index].toggle(item, check, step);
                if self.cells[index].is_pure() {
                    pure.push(index);
                }
            }
        }
        if self.cells.iter().any(|cell| *cell != Cell::default()) {
            return Err(Undecoded::TooFewCells { cells: len });
        }
        found.mine.sort_unstable();
        found.theirs.sort_unstable();
        if has_repeats(&found.mine) || has_repeats(&found.theirs) || overlap(&found.mine, &found.theirs) {
            return Err(Undecoded::Inconsistent);
        }
        Ok(found)
    }

    /// [`CELL_BYTES`] per cell: sum and check big endian, count.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.cells.len() * CELL_BYTES);
        for cell in &self.cells {
            bytes.extend_from_slice(&cell.sum.to_be_bytes());
            bytes.extend_from_slice(&cell.check.to_be_bytes());
            bytes.push(cell.count);
        }
        bytes
    }

    /// The inverse of [`Sketch::to_bytes`].
    ///
    /// # Errors
    /// [`Malformed`] for a length that no sketch has (the sender's fault). Any content is accepted.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_CELLS * CELL_BYTES {
            return Err(Malformed::TooLarge("sketch"));
        }
        let (chunks, rest) = bytes.as_chunks::<CELL_BYTES>();
        if !rest.is_empty() {
            return Err(Malformed::Truncated);
        }
        let cells = chunks.iter().map(|c| Cell {
            sum: u64::from_be_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]),
            check: u32::from_be_bytes([c[8], c[9], c[10], c[11]]),
            count: c[12],
        });
        Ok(Self { cells: cells.collect() })
    }

    /// Updates the cells from `from` on.
    fn toggle(&mut self, item: u64, from: usize, step: u8) {
        let check = check_of(item);
        for index in Indices::new(item, from, self.cells.len()) {
            self.cells[index].toggle(item, check, step);
        }
    }
}

/// How many cells to send for an estimated difference, so that one answer decodes in 99 of 100 cases, the error of
/// [`super::estimator`] included. Never above [`MAX_CELLS`]; from about 39,000 on it is that, and range splitting is
/// the better tool.
#[must_use]
pub fn cells_for(estimate: u64) -> usize {
    let after = CELLS_FOR.iter().position(|(differences, _)| *differences >= estimate);
    let cells = match after {
        Some(0) => CELLS_FOR[0].1,
        Some(at) => {
            let ((low, from), (high, to)) = (CELLS_FOR[at - 1], CELLS_FOR[at]);
            from + ((to - from) * (estimate - low)).div_ceil(high - low)
        }
        None => estimate.saturating_mul(167) / 100,
    };
    usize::try_from(cells).unwrap_or(MAX_CELLS).min(MAX_CELLS)
}

/// Measured: estimated differences and the cells with which 99 of 100 decode, by simulation of both errors together (test
/// `one_answer_is_enough`). Small differences scatter more, large ones carry the estimate's 7 %.
const CELLS_FOR: [(u64, u64); 16] = [
    (1, 4),
    (2, 10),
    (3, 15),
    (4, 19),
    (6, 26),
    (8, 32),
    (12, 42),
    (16, 51),
    (24, 65),
    (32, 79),
    (48, 106),
    (64, 129),
    (100, 185),
    (200, 345),
    (256, 442),
    (1000, 1670),
];

/// The length to try after `len` cells were too few.
#[must_use]
pub fn cells_after(len: usize) -> usize {
    (len + len / 4 + 8).min(MAX_CELLS)
}

/// Check hash of an item; not linear over XOR, so that several items do not pass for one.
const fn check_of(item: u64) -> u32 {
    (mix(item ^ 0x2B99_1F5C_A0B7_38D1) >> 32) as u32
}

/// The cells that an item hits within `from..to`, ascending.
pub struct Indices {
    state: u64,
    next: usize,
    from: usize,
    to: usize,
    restart: u64,
}

impl Indices {
    /// Cells of `item` within `from..to`; `to` above [`MAX_CELLS`] is cut to it.
    #[must_use]
    pub fn new(item: u64, from: usize, to: usize) -> Self {
        let restart = mix(item ^ 0x71C9_4E83_5D06_FB2A);
        let mut walk = Self { state: mix(item ^ 0xD6E8_FEB8_6659_FD93), next: 0, from, to: to.min(MAX_CELLS), restart };
        if from >= CELLS_KEPT {
            walk.begin_tail();
        }
        walk
    }

    /// Places the walk behind the kept prefix.
    fn begin_tail(&mut self) {
        self.state = self.restart;
        self.next = CELLS_KEPT - 1;
        self.step();
    }

    /// Moves `next` to the next hit after it.
    fn step(&mut self) {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        // u = draw / 2^32, in (0, 1): below 1, so that the walk always moves.
        let draw = (mix(self.state) >> 32).max(1);
        let at = self.next as u64;
        // at <= 65,534 here, so the shifted product stays below 2^64.
        let target = (((at + 1) * (at + 2)) << 32).div_ceil(draw);
        let root = target.isqrt();
        // Smallest k with k (k + 1) >= target; the hit is k - 1.
        let k = if root * (root + 1) >= target { root } else { root + 1 };
        self.next = (k - 1) as usize;
    }
}

impl Iterator for Indices {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        loop {
            let hit = self.next;
            if hit >= self.to {
                return None;
            }
            if hit + 1 == MAX_CELLS {
                self.next = MAX_CELLS;
            } else {
                self.step();
                if hit < CELLS_KEPT && self.next >= CELLS_KEPT {
                    self.begin_tail();
                }
            }
            if hit >= self.from {
                return Some(hit);
            }
        }
    }
}

/// Whether an ascending list names an item twice.
fn has_repeats(sorted: &[u64]) -> bool {
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}

/// Whether two ascending lists share an item.
fn overlap(mine: &[u64], theirs: &[u64]) -> bool {
    let (shorter, longer) = if mine.len() < theirs.len() { (mine, theirs) } else { (theirs, mine) };
    shorter.iter().any(|item| longer.binary_search(item).is_ok())
}
