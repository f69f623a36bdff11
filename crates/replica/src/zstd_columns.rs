//! Compression of batch columns: zstd at its fastest useful level, with a bound on what a stranger may inflate.

use std::io::Read as _;
use tombolo_proto::batch::Compression;

/// zstd, level 3: 8 KB of columns in about 75 microseconds; higher levels save a few bytes a batch at ten times the cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Zstd;

const LEVEL: i32 = 3;

impl Compression for Zstd {
    fn compress(&self, bytes: &[u8]) -> Vec<u8> {
        // Without memory to compress, the columns travel as they are.
        zstd::bulk::compress(bytes, LEVEL).unwrap_or_else(|_| bytes.to_vec())
    }

    fn decompress(&self, bytes: &[u8], max: usize) -> Option<Vec<u8>> {
        // Streaming with a limit: memory follows what really comes out, not what the frame claims.
        let mut decoder = zstd::stream::read::Decoder::new(bytes).ok()?;
        // A frame also claims how far back it refers, up to 128 MiB, and the decoder makes room for that at once. Nothing
        // that fits needs more than its own length.
        decoder.window_log_max(max.checked_next_power_of_two()?.ilog2().clamp(10, 27)).ok()?;
        let mut out = Vec::new();
        decoder.take(max as u64 + 1).read_to_end(&mut out).ok()?;
        (out.len() <= max).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_bomb_stops_at_the_bound() {
        let bomb = Zstd.compress(&vec![0; 10_000_000]);
        assert!(bomb.len() < 2_000);
        assert!(Zstd.decompress(&bomb, 2_000_000).is_none());
        assert_eq!(Zstd.decompress(&bomb, 10_000_000).unwrap().len(), 10_000_000);
        assert!(Zstd.decompress(b"no zstd", 100).is_none());
    }

    #[test]
    fn a_frame_that_claims_a_large_window_is_refused_however_little_it_holds() {
        use std::io::Write as _;
        let claiming = |window_log| {
            let mut encoder = zstd::stream::Encoder::new(Vec::new(), LEVEL).unwrap();
            encoder.window_log(window_log).unwrap();
            encoder.write_all(&[7; 1000]).unwrap();
            encoder.flush().unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(Zstd.decompress(&claiming(21), 2 << 20).map(|bytes| bytes.len()), Some(1000));
        assert!(Zstd.decompress(&claiming(27), 2 << 20).is_none());
    }
}
