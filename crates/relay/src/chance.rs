//! Chance for faults on purpose (`serve --dev --drop`); never for keys or nonces.

/// A small generator, seeded by the system.
#[derive(Debug)]
pub(crate) struct Chance {
    permille: u32,
    state: u64,
}

impl Chance {
    pub(crate) fn new(permille: u32) -> Self {
        let seed = if permille == 0 { [0; 8] } else { crate::place::random().unwrap_or([7; 8]) };
        Self { permille, state: u64::from_be_bytes(seed) }
    }

    /// True `permille` times in 1,000.
    pub(crate) fn strikes(&mut self) -> bool {
        if self.permille == 0 {
            return false;
        }
        // SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014).
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % 1_000 < u64::from(self.permille)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_strikes_about_as_often_as_told() {
        let strikes = |permille| {
            let mut chance = Chance::new(permille);
            (0..100_000).filter(|_| chance.strikes()).count()
        };
        assert_eq!((strikes(0), strikes(1_000)), (0, 100_000));
        assert!((4_000..6_000).contains(&strikes(50)));
    }
}
