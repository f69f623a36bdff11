//! Randomness as an input: the system's in programs, a seed in the simulated world.

/// A source of random bytes.
pub trait Entropy {
    /// Fills `bytes`.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// The operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        // Without randomness from the system no key and no nonce is safe: stopping is the only honest answer.
        getrandom::fill(bytes).expect("the operating system provides random bytes");
    }
}

impl dyn Entropy + '_ {
    /// A fixed number of random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}
