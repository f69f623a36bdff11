//! Tests of the three search tools: `sketch`, `estimator`, `ranges`. Each prints what it measures; run with `--nocapture`.
#![allow(clippy::unwrap_used)]

mod estimator;
mod ranges;
mod ranges_hostile;
mod sketch;

use tombolo_model::{Hlc, OpId};

/// Seeded randomness (SplitMix64), so that every run draws the same.
#[derive(Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn items(&mut self, count: usize) -> Vec<u64> {
        (0..count).map(|_| self.next()).collect()
    }

    pub(crate) fn id(&mut self) -> OpId {
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes());
        }
        OpId(bytes)
    }

    /// `count` ops of a conversation that goes on for years, ascending.
    pub(crate) fn history(&mut self, count: usize) -> Vec<(Hlc, OpId)> {
        let mut ms = 1_700_000_000_000;
        (0..count)
            .map(|_| {
                ms += self.below(60_000);
                (Hlc::new(ms, self.below(3) as u16), self.id())
            })
            .collect()
    }
}

/// Mean, and the value below which `part` of all lie.
pub(crate) fn mean_and_part(values: &mut [f64], part: f64) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 * part) as usize).min(values.len() - 1);
    (values.iter().sum::<f64>() / values.len() as f64, values[at])
}
