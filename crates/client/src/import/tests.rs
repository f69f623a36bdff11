//! Exports as other programs write them: rendered from messages by a generator, which is the oracle; written by hand
//! in the shapes of real ones; and broken in every way that came to mind.
#![allow(clippy::unwrap_used)]

mod archives;
mod hostile;
mod rendered;
mod samples;

use super::{DateOrder, Export, Reading};
use crate::Error;

/// 2026-11-22, when nothing of what follows is in the future.
pub(super) const NOW_MS: u64 = 1_795_305_600_000;

pub(super) fn read_at(bytes: &[u8], dates: Option<DateOrder>, offset_s: i32) -> Result<Export, Error> {
    let offset = move |_| offset_s;
    Export::read_once(bytes, &Reading { dates, offset_s: &offset, now_ms: NOW_MS })
}

pub(super) fn read(text: &str) -> Result<Export, Error> {
    read_at(text.as_bytes(), None, 0)
}

/// (seconds since 1970, who, text).
pub(super) fn lines(export: &Export) -> Vec<(u64, String, String)> {
    export.lines().into_iter().map(|line| (line.time_ms / 1_000, line.who, line.text)).collect()
}
