//! `search`: what it costs to find words among 100,000 messages, newest first, a page of 50.
//!
//! The messages are words drawn by Zipf's law from 20,000 made-up ones, every tenth in Han characters. A node that is open
//! asks, its index is up to date, each question is asked again and again; p50. Beside it stands what reading every
//! message would cost (`LIKE` over the table of messages). Not here: bringing the index up to date, which is told in the
//! name's unit.

use super::corpus::BEGINS_MS;
use super::writing::node;
use super::{Measured, Row, Scale, median};
use std::time::Instant;
use tombolo_client::{Kind, SearchQuery};
use tombolo_replica::Now;
use tombolo_testkit::rng::Rng;

/// Made-up words.
const VOCABULARY: u64 = 20_000;
/// Words of a message.
const WORDS: u64 = 12;
/// Messages of one transaction.
const AT_ONCE: usize = 500;
/// Hits of a page.
const PAGE: usize = 50;
/// **Milliseconds** that a question may take.
const BOUND_MS: f64 = 20.0;

fn word(number: u64) -> String {
    const SYLLABLES: [&str; 16] =
        ["ba", "ko", "ri", "ste", "nu", "mal", "or", "ti", "wen", "da", "lo", "pi", "sha", "gu", "ne", "fra"];
    let mut left = number + 16;
    let mut word = String::new();
    while left > 0 {
        word.push_str(SYLLABLES[(left % 16) as usize]);
        left /= 16;
    }
    word
}

fn message(rng: &mut Rng, number: usize) -> String {
    if number.is_multiple_of(10) {
        return (0..WORDS * 2)
            .filter_map(|_| char::from_u32(0x4e00 + (rng.below(60) * rng.below(60)) as u32))
            .collect();
    }
    // Two draws multiplied come near enough to the law: low numbers are common.
    let words: Vec<String> =
        (0..WORDS).map(|_| word(rng.below(VOCABULARY) * rng.below(VOCABULARY) / VOCABULARY)).collect();
    words.join(" ")
}

/// See the head of this file.
///
/// # Errors
/// Those of the client.
pub fn search(scale: &Scale) -> Measured<Vec<Row>> {
    let count = scale.pick(100_000, 3_000);
    println!("search: {count} messages, pages of {PAGE}, newest first; beside it LIKE over all messages");
    let folder = tempfile::tempdir_in(&scale.cache)?;
    let mut node = node(folder.path(), 1, Vec::new())?;
    node.log().connection()?.execute_batch("PRAGMA synchronous = OFF")?;
    let mut now = Now { mono_ms: 0, wall_ms: BEGINS_MS };
    let conversation = node.create("Search", Kind::Group, now)?;
    let mut rng = Rng::new(13);
    for begin in (0..count).step_by(AT_ONCE) {
        now = Now { mono_ms: now.mono_ms + 60_000, wall_ms: now.wall_ms + 60_000 };
        let mut texts: Vec<String> = (begin..(begin + AT_ONCE).min(count)).map(|at| message(&mut rng, at)).collect();
        if begin == count / AT_ONCE / 2 * AT_ONCE {
            texts[0] = "the lighthouse keeper".into();
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        node.send(conversation, &texts, now)?;
    }
    let began = Instant::now();
    while node.index()? > 0 {}
    let indexing_us = began.elapsed().as_secs_f64() * 1e6 / count as f64;
    let common = word(0);
    let two: String = message(&mut rng, 0).chars().take(2).collect();
    let asked = [
        ("one rare word", "lighthouse".to_owned(), None),
        ("a common word", common.clone(), None),
        ("a beginning", common[..2].to_owned(), None),
        ("two Han characters", two, None),
        ("two common words, one person", format!("{common} {}", word(1)), Some(node.account())),
    ];
    let mut rows = Vec::new();
    for (name, words, author) in asked {
        let query = SearchQuery { words: words.clone(), author, limit: PAGE, ..SearchQuery::default() };
        let like = format!("%{}%", words.split(' ').next().unwrap_or_default());
        let (mut times_ms, mut likes_ms, mut hits) = (Vec::new(), Vec::new(), 0);
        for run in 0..scale.pick(60, 4) {
            let began = Instant::now();
            hits = node.search(&query, now)?.len();
            times_ms.push(began.elapsed().as_secs_f64() * 1e3);
            if run.is_multiple_of(6) {
                let conn = node.log().connection()?;
                let began = Instant::now();
                let mut statement = conn.prepare_cached(
                    "SELECT id FROM message WHERE text LIKE ?1 ORDER BY conversation DESC, section DESC, at DESC LIMIT 50",
                )?;
                let found = statement.query_map([&like], |row| row.get::<_, Vec<u8>>(0))?.count();
                likes_ms.push(began.elapsed().as_secs_f64() * 1e3);
                if hits == 0 && found > 0 && author.is_none() && !scale.smoke {
                    return Err(format!("`{words}` is in {found} messages and was not found").into());
                }
            }
        }
        let (value, baseline) = (median(&times_ms), median(&likes_ms));
        rows.push(Row {
            name: format!("search {name}"),
            value,
            unit: format!(
                "ms, p50 of {}, {hits} hits; LIKE in ms; indexing {indexing_us:.1} us a message",
                times_ms.len()
            ),
            baseline: Some(baseline),
            ratio: None,
            bound: format!("<= {BOUND_MS} ms"),
            holds: scale.smoke || value <= BOUND_MS,
        });
    }
    Ok(rows)
}
