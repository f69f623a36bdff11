//! `differences`: what it costs to find out what two replicas do not share, knowing nothing about each other.
//!
//! The real session machine on both ends, over sets in memory ([`super::memory`]), without cursors of an earlier meeting,
//! against the crate `negentropy` 0.5.3 on the same sets (timestamps in milliseconds, no frame limit).
//!
//! **Counted for us**: every frame after authentication until both sides have begun to look up exactly what the other
//! lacks: both resume frames (which carry the proofs, so they alone answer d = 0), roots, differ (heights and estimator
//! in it), want, cells, decoded, ranges. Batches and acknowledgements would be payload. A round is a request and its
//! answer: roots and differ, cells and decoded, ranges and ranges; the resume exchange counts as one where nothing
//! follows it, and otherwise belongs to the opening, which negentropy leaves to its host.
//! **Counted for negentropy**: all its messages. When it ends only one side knows the difference; the request for what
//! that side lacks (32 bytes an id) is not counted, though our want is.
//!
//! **Patterns**, n ops of 20 logs in all: `tail`, each side has written half of the last d, by other authors, with whole
//! logs; `behind`, the side that dials lacks the last d; `scattered`, d random ops, each lacking on one side at random.
//! A row fails when what the sides look up is not exactly the difference.

use super::memory::{History, Side};
use super::{AUTHORS, Measured, Row, Scale};
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use std::collections::BTreeSet;
use tombolo_identity::{DeviceKey, Strict};
use tombolo_proto::session::{Config, Context, Input, Now, Output, Session};
use tombolo_replica::Zstd;
use tombolo_testkit::rng::Rng;

/// Bytes and rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    bytes: usize,
    rounds: usize,
}

/// See the head of this file.
///
/// # Errors
/// A failure of negentropy; a session that ends.
pub fn differences(scale: &Scale, each: &mut impl FnMut(Row)) -> Measured<()> {
    println!("differences: negentropy 0.5.3, same sets, timestamps in ms, frame limit none, final request not counted");
    let sizes: &[usize] = if scale.smoke { &[10_000] } else { &[100_000, 1_000_000] };
    for n in sizes {
        for pattern in ["tail", "behind", "scattered"] {
            for d in [0, 1, 10, 100, 1_000, 10_000] {
                if d < *n {
                    each(difference(pattern, *n, d)?);
                }
            }
        }
    }
    Ok(())
}

fn difference(pattern: &str, n: usize, d: usize) -> Measured<Row> {
    let half = AUTHORS / 2;
    let seed = (n + d) as u64;
    let history = match pattern {
        "tail" => History::new(seed, n, d, |at| if at % 2 == 0 { 0..half } else { half..AUTHORS }),
        _ => History::new(seed, n, 0, |_| 0..AUTHORS),
    };
    let (mut lacks_one, mut lacks_two) = (BTreeSet::new(), BTreeSet::new());
    let mut rng = Rng::new(seed ^ 0xd1ff);
    while lacks_one.len() + lacks_two.len() < d {
        let at = lacks_one.len() + lacks_two.len();
        match pattern {
            "tail" if at % 2 == 0 => drop(lacks_two.insert(n - d + at)),
            "tail" => drop(lacks_one.insert(n - d + at)),
            "behind" => drop(lacks_one.insert(n - d + at)),
            _ => {
                let at = rng.index(n);
                let (mine, other) =
                    if rng.chance(500) { (&mut lacks_one, &lacks_two) } else { (&mut lacks_two, &lacks_one) };
                if !other.contains(&at) {
                    mine.insert(at);
                }
            }
        }
    }
    let (one, two) = (Side::new(&history, lacks_one), Side::new(&history, lacks_two));
    let (ours, found) = ours(&one, &two)?;
    let theirs = theirs(&one, &two, d)?;
    let scarce = pattern == "scattered" && n == 100_000 && d == 100;
    let bound =
        if scarce { "bytes, rounds <= negentropy; <= 4096 bytes, 2 rounds" } else { "bytes, rounds <= negentropy" };
    let never_more = ours.bytes <= theirs.bytes && ours.rounds <= theirs.rounds;
    Ok(Row {
        name: format!("differences/{pattern}/n={n}/d={d}"),
        value: ours.bytes as f64,
        unit: format!("bytes; rounds {} vs {}{}", ours.rounds, theirs.rounds, if found { "" } else { "; NOT FOUND" }),
        baseline: Some(theirs.bytes as f64),
        ratio: Some(ours.bytes as f64 / theirs.bytes as f64),
        bound: bound.into(),
        holds: found && never_more && (!scarce || (ours.bytes <= 4_096 && ours.rounds <= 2)),
    })
}

/// Runs two sessions until both sides know what to send.
fn ours(one: &Side<'_>, two: &Side<'_>) -> Measured<(Cost, bool)> {
    let keys = [DeviceKey::from_seed([1; 32]), DeviceKey::from_seed([2; 32])];
    let sides = [one, two];
    let mut sessions = [Session::new(Config::new(true, [1; 32])), Session::new(Config::new(false, [2; 32]))];
    let mut inputs: [Vec<Option<Vec<u8>>>; 2] = [vec![None], vec![None]];
    let mut cost = Cost { bytes: 0, rounds: 0 };
    let found = || *one.asked.borrow() == two.missing && *two.asked.borrow() == one.missing;
    let nothing = one.missing.is_empty() && two.missing.is_empty();
    let now = Now { mono_ms: 1, wall_ms: 1 };
    while inputs.iter().any(|waiting| !waiting.is_empty()) {
        for at in [0, 1] {
            for frame in std::mem::take(&mut inputs[at]) {
                let ctx = Context { source: sides[at], signer: &keys[at], verifier: &Strict, compression: &Zstd, now };
                let input = frame.as_deref().map_or(Input::Connected, Input::Frame);
                sessions[at].handle(input, &ctx);
                while let Some(output) = sessions[at].poll() {
                    match output {
                        Output::Send(frame) => {
                            // Hello and prove are authentication; settled frames come after the search.
                            if !matches!(frame[0], 0x00 | 0x01 | 0x05) {
                                cost.bytes += frame.len();
                            }
                            // Roots, cells and ranges of the side that dials are requests.
                            cost.rounds += usize::from(at == 0 && matches!(frame[0], 0x06 | 0x09 | 0x0b));
                            inputs[1 - at].push(Some(frame));
                        }
                        Output::Close(fault) => return Err(format!("the session ended: {fault}").into()),
                        _ => {}
                    }
                }
                if !nothing && found() {
                    return Ok((cost, true));
                }
            }
        }
    }
    if nothing {
        cost.rounds += 1;
    }
    let proven = sessions.iter().all(|session| session.proven().is_some());
    Ok((cost, nothing && proven && found()))
}

/// Runs negentropy until the initiator knows both directions.
fn theirs(one: &Side<'_>, two: &Side<'_>, d: usize) -> Measured<Cost> {
    let storage = |side: &Side<'_>| -> Measured<NegentropyStorageVector> {
        let mut storage = NegentropyStorageVector::new();
        for item in side.held() {
            storage.insert(item.hlc.ms(), Id::from_byte_array(item.id.0))?;
        }
        storage.seal()?;
        Ok(storage)
    };
    let mut client = Negentropy::owned(storage(one)?, 0)?;
    let mut server = Negentropy::owned(storage(two)?, 0)?;
    let (mut have, mut need) = (Vec::new(), Vec::new());
    let mut cost = Cost { bytes: 0, rounds: 0 };
    let mut query = Some(client.initiate()?);
    while let Some(request) = query {
        let answer = server.reconcile(&request)?;
        cost.rounds += 1;
        cost.bytes += request.len() + answer.len();
        query = client.reconcile_with_ids(&answer, &mut have, &mut need)?;
    }
    if have.len() + need.len() != d {
        return Err(format!("negentropy found {} of {d} differences", have.len() + need.len()).into());
    }
    Ok(cost)
}
