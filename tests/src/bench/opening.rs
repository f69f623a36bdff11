//! `open`: how long a person waits for the newest messages of a large store, and how much memory that takes.
//!
//! A profile with one conversation of 1,000,000 messages is built once and kept beside the build, named by size and
//! schema. Each run starts this program again as a fresh process, which opens the profile through [`Client::open`] and
//! reads the newest 50 messages; the time is from before the opening to having them, the memory the peak of the process
//! (`VmHWM`), runtime and program text included. The file is in the page cache: the disk is not measured.

use super::corpus::Corpus;
use super::{AUTHORS, Measured, Row, Scale, homes, median};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use tombolo_client::{Client, Kind};
use tombolo_model::ConversationId;
use tombolo_oplog::{Log, Open};
use tombolo_replica::Now;

/// The argument with which this program starts itself.
pub const CHILD: &str = "--open-child";
/// Messages of one transaction while building.
const PART: usize = 20_000;
/// Messages that are read.
const WINDOW: usize = 50;

/// See the head of this file.
///
/// # Errors
/// Those of the client; a child that fails.
pub fn open(scale: &Scale) -> Measured<Vec<Row>> {
    let count = scale.pick(1_000_000, 3_000);
    let (home, conversation) = built(scale, count)?;
    let (mut times_ms, mut peaks_mb, mut resident_mb) = (Vec::new(), Vec::new(), Vec::new());
    // The first one marks messages as seen and brings the file into the page cache.
    for run in 0..scale.pick(12, 2) {
        let output = Command::new(std::env::current_exe()?)
            .args([CHILD, home.to_str().ok_or("the path is no text")?, &conversation.to_string()])
            .output()?;
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        let numbers: Vec<f64> = words.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [us, resident_kb, peak_kb] = numbers[..] else {
            return Err(format!("the child failed: {words} {}", String::from_utf8_lossy(&output.stderr)).into());
        };
        if run > 0 {
            times_ms.push(us / 1e3);
            resident_mb.push(resident_kb / 1024.0);
            peaks_mb.push(peak_kb / 1024.0);
        }
    }
    let (time, peak, resident) = (median(&times_ms), median(&peaks_mb), median(&resident_mb));
    let worst = times_ms.iter().copied().fold(0.0, f64::max);
    let row = |name: &str, value: f64, unit: String, bound: f64, word: &str| Row {
        name: name.into(),
        value,
        unit,
        baseline: None,
        ratio: None,
        bound: format!("<= {bound} {word}"),
        holds: scale.smoke || value <= bound,
    };
    let unit = format!("ms, median of {} processes (worst {worst:.1}), {count} messages", times_ms.len());
    Ok(vec![
        row("open/time", time, unit, 50.0, "ms"),
        row("open/memory", peak, format!("MB at the peak, {resident:.1} afterwards"), 40.0, "MB"),
    ])
}

/// What the child does: prints microseconds, resident and peak kilobytes.
///
/// # Errors
/// Those of the client.
pub fn child(mut arguments: impl Iterator<Item = String>) -> Measured<()> {
    let home = PathBuf::from(arguments.next().ok_or("no home")?);
    let conversation: ConversationId = arguments.next().ok_or("no conversation")?.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let began = Instant::now();
        let client = Client::open(&homes::config(&home))?;
        let messages = client.messages(conversation, WINDOW, None).await?;
        let took = began.elapsed();
        if messages.len() != WINDOW || messages.iter().any(|message| message.text.len() != super::TEXT_BYTES) {
            return Err("other messages came than were written".into());
        }
        println!("{} {} {}", took.as_micros(), status("VmRSS:")?, status("VmHWM:")?);
        client.close().await?;
        Ok(())
    })
}

/// A line of the kernel's word about this process, in **KiB**.
fn status(name: &str) -> Measured<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or("the kernel does not say")?;
    Ok(line.split_whitespace().next().ok_or("the kernel says nothing")?.parse()?)
}

/// The profile with so many messages and its conversation, from an earlier run where there is one.
///
/// # Errors
/// Those of the client.
pub(super) fn built(scale: &Scale, count: usize) -> Measured<(PathBuf, ConversationId)> {
    let home = scale.cache.join(format!("open-{count}-{:016x}", schema()?));
    let note = home.join("conversation");
    if let Ok(text) = std::fs::read_to_string(&note) {
        return Ok((home, text.parse()?));
    }
    println!("open: building a store of {count} messages in {}", home.display());
    if home.exists() {
        std::fs::remove_dir_all(&home)?;
    }
    let conversation = build(&home, count)?;
    std::fs::write(&note, conversation.to_string())?;
    Ok((home, conversation))
}

fn build(home: &Path, count: usize) -> Measured<ConversationId> {
    homes::init(home, "Reader", &[])?;
    let mut node = homes::node(home, "Reader")?;
    let now = Now { mono_ms: 0, wall_ms: super::corpus::BEGINS_MS };
    let conversation = node.create("A long history", Kind::Group, now)?;
    let invitation = node.invite(Some(conversation), AUTHORS as u32, 0, now)?;
    let heads = node.log().heads(&conversation)?;
    node.close()?;
    let mut corpus = Corpus::joining(4, &invitation, heads, now.wall_ms, AUTHORS);
    corpus.sparse = true;
    // The generator is borrowed by the parts and names the setup at once: the first part comes from a twin.
    let mut writing = corpus.apart(5);
    writing.sparse = true;
    let parts = (0..count.div_ceil(PART)).map(|part| writing.messages(PART.min(count - part * PART), 0..AUTHORS));
    homes::append(home, &corpus, parts)?;
    Ok(conversation)
}

/// Names the schema: another one needs another store.
fn schema() -> Measured<u64> {
    let folder = tempfile::tempdir()?;
    let components = tombolo_client::node::COMPONENTS;
    let log = Log::open(Open { components, ..Open::new(folder.path().join("empty.db"), 0) })?;
    let sql: String = log.connection()?.query_row(
        "SELECT group_concat(sql, ';') FROM (SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name)",
        [],
        |row| row.get(0),
    )?;
    let mut hasher = DefaultHasher::new();
    sql.hash(&mut hasher);
    Ok(hasher.finish())
}
