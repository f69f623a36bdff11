//! A small picture of an image, made by whoever sends it. Those who receive it decode nothing here.
//!
//! What a file costs to look at is bounded before anything of it is decoded: its length, its sides, its pixels, and the
//! memory of the decoder. What exceeds a bound, or is no image after all, travels as a plain file. The thumbnail is
//! encoded anew from its pixels, so that it carries no place, no time and no camera; it stands as the camera was held.

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageDecoder as _, ImageReader, Limits};
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::Path;
use tombolo_model::content::Image;

/// **Bytes** of a file that is looked at: decoders may read all of it into memory.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Pixels of one side.
const SIDE_MAX: u32 = 16_384;
/// Pixels: what large cameras make.
const PIXELS_MAX: u64 = 64_000_000;
/// **Bytes** that a decoder may ask for.
const MEMORY_BYTES_MAX: u64 = 320 * 1024 * 1024;
/// Longer side in pixels and quality, tried until the result is small enough.
const TRIES: [(u32, u8); 6] = [(320, 70), (320, 50), (240, 50), (160, 50), (96, 40), (48, 40)];

/// Sides and thumbnail of the image in a file, the latter of at most `bytes_max` **bytes** (empty when none is so small);
/// `None` when it is no image, or one that costs too much.
pub(crate) fn of(path: &Path, bytes_max: usize) -> Option<Image> {
    let file = File::open(path).ok()?;
    if file.metadata().ok()?.len() > FILE_BYTES_MAX {
        return None;
    }
    of_image(BufReader::new(file), bytes_max)
}

/// As [`of`] for an image that is in memory.
pub(crate) fn of_bytes(bytes: &[u8], bytes_max: usize) -> Option<Image> {
    of_image(Cursor::new(bytes), bytes_max)
}

fn of_image(image: impl BufRead + Seek, bytes_max: usize) -> Option<Image> {
    let mut reader = ImageReader::new(image).with_guessed_format().ok()?;
    reader.format()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_MAX);
    limits.max_image_height = Some(SIDE_MAX);
    limits.max_alloc = Some(MEMORY_BYTES_MAX);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().ok()?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 || u64::from(width) * u64::from(height) > PIXELS_MAX {
        return None;
    }
    let orientation = decoder.orientation().ok()?;
    let mut small = DynamicImage::from_decoder(decoder).ok()?;
    // Turning is cheaper once it is small.
    if width.max(height) > TRIES[0].0 {
        small = small.thumbnail(TRIES[0].0, TRIES[0].0);
    }
    small.apply_orientation(orientation);
    let turned = (width > height) != (small.width() > small.height()) && small.width() != small.height();
    let (width, height) = if turned { (height, width) } else { (width, height) };
    let flat = on_white(&small);
    Some(Image { width, height, thumbnail: encode(&flat, bytes_max).unwrap_or_default() })
}

fn encode(image: &DynamicImage, bytes_max: usize) -> Option<Vec<u8>> {
    TRIES.iter().find_map(|(side, quality)| {
        let scaled = if image.width().max(image.height()) > *side { &image.thumbnail(*side, *side) } else { image };
        let mut out = Cursor::new(Vec::new());
        scaled.write_with_encoder(JpegEncoder::new_with_quality(&mut out, *quality)).ok()?;
        let bytes = out.into_inner();
        (bytes.len() <= bytes_max).then_some(bytes)
    })
}

/// JPEG has no transparency: what shines through is white.
fn on_white(image: &DynamicImage) -> DynamicImage {
    if !image.color().has_alpha() {
        return DynamicImage::ImageRgb8(image.to_rgb8());
    }
    let from = image.to_rgba8();
    let flat = image::RgbImage::from_fn(from.width(), from.height(), |x, y| {
        let [red, green, blue, alpha] = from.get_pixel(x, y).0;
        let blend = |part: u8| {
            let (part, alpha) = (u16::from(part), u16::from(alpha));
            ((part * alpha + 255 * (255 - alpha)) / 255) as u8
        };
        image::Rgb([blend(red), blend(green), blend(blue)])
    });
    DynamicImage::ImageRgb8(flat)
}
