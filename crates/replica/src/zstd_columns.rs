//! Compression of batch columns: zstd at its fastest useful level, with a bound on what a stranger may inflate.
//!
//! A live message is a few hundred bytes: making zstd's working memory anew for each would cost more than the work, so
//! each thread keeps one context of either kind.

use std::cell::RefCell;
use std::io::Read as _;
use tombolo_proto::batch::Compression;
use zstd::bulk::{Compressor, Decompressor};

/// zstd, level 3: 8 KB of columns in about 75 microseconds; higher levels save a few bytes a batch at ten times the cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Zstd;

const LEVEL: i32 = 3;
/// **Bytes** up to which memory is given on a frame's word for its length.
const TRUSTED_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

fn compressed(bytes: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        if kept.is_none() {
            *kept = Compressor::new(LEVEL).ok();
        }
        kept.as_mut()?.compress(bytes).ok()
    })
}

/// Of a frame that says how long it becomes.
fn decompressed(bytes: &[u8], len: usize) -> Option<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|kept| {
        if kept.is_none() {
            *kept = Decompressor::new().ok();
        }
        kept.as_mut()?.decompress(bytes, len).ok()
    })
}

impl Compression for Zstd {
    fn compress(&self, bytes: &[u8]) -> Vec<u8> {
        // Without memory to compress, the columns travel as they are.
        compressed(bytes).unwrap_or_else(|| bytes.to_vec())
    }

    fn decompress(&self, bytes: &[u8], max: usize) -> Option<Vec<u8>> {
        let claimed = Decompressor::upper_bound(bytes).filter(|_| !bytes.is_empty());
        if let Some(len) = claimed.filter(|len| *len <= max.min(TRUSTED_BYTES_MAX)) {
            return decompressed(bytes, len);
        }
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
        assert!(Zstd.decompress(b"", 100).is_none_or(|bytes| bytes.is_empty()));
    }

    #[test]
    fn small_frames_and_large_ones_obey_the_same_bound_however_often_a_context_was_used() {
        for _ in 0..3 {
            for len in [0, 1, 200, TRUSTED_BYTES_MAX, TRUSTED_BYTES_MAX + 1] {
                let bytes: Vec<u8> = (0..len).map(|at| ((at * at) >> 3) as u8).collect();
                let packed = Zstd.compress(&bytes);
                assert_eq!(packed, zstd::bulk::compress(&bytes, LEVEL).unwrap(), "{len}: as by a fresh context");
                assert_eq!(Zstd.decompress(&packed, len), Some(bytes), "{len}");
                assert!(len == 0 || Zstd.decompress(&packed, len - 1).is_none(), "{len}");
                assert!(Zstd.decompress(&packed[..packed.len() - 1], len).is_none(), "{len}: truncated");
            }
        }
    }

    #[test]
    fn a_small_frame_that_claims_less_than_it_holds_is_refused() {
        let mut packed = Zstd.compress(&[7; 200]);
        // A single segment of up to 255 bytes says its length in the byte after magic number and descriptor.
        assert_eq!(packed[5], 200);
        packed[5] = 100;
        assert!(Zstd.decompress(&packed, 1_000).is_none());
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
