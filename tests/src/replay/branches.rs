//! A history with its branches: every author is a device that has seen exactly what its entries build on.
//!
//! Before a device writes an entry it syncs, pairwise, with the authors of the parents that it does not hold. In the end
//! all devices sync, and on each the display order must extend `parents`. Some entries claim an earlier time than what
//! they build on; nobody builds on the future, so a device's clock says the later of what is claimed and that.

use super::{device, links, node, now, recording, shown};
use crate::pair;
use crate::sim::machine::Machine;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;
use tombolo_client::{ConversationId, Kind, OpId};
use tombolo_replica::{ConnId, Scope};
use tombolo_testkit::rng::Rng;

#[derive(Default)]
struct Sums {
    sessions: u64,
    bytes: u64,
}

/// Replays the history. Returns the number of entries that were checked.
///
/// # Errors
/// What is wrong with the product, or with the data.
pub fn run(folder: Option<&Path>) -> Result<u64, String> {
    let began = Instant::now();
    let recording = recording(folder, "branches")?;
    let rng = Rng::new(2);
    let mut draw = rng.fork("links");
    let mut people: BTreeMap<String, usize> = BTreeMap::new();
    let mut machines: Vec<Machine> = Vec::new();
    let mut sums = Sums::default();
    let mut mono_ms = 0;
    let mut invited: Option<(ConversationId, tombolo_seal::Invitation)> = None;
    let mut entries: Vec<(OpId, usize, Vec<usize>)> = Vec::new();
    let mut times: Vec<u64> = Vec::new();
    let (mut merges, mut corrected) = (0, 0);
    for line in &recording.lines {
        let who = line["who"].as_str().ok_or("an entry without `who`")?;
        let claimed = line["t"].as_u64().ok_or("an entry without `t`")?;
        let parents: Vec<usize> = line["parents"]
            .as_array()
            .ok_or("an entry without `parents`")?
            .iter()
            .filter_map(|parent| Some(parent.as_u64()? as usize))
            .collect();
        merges += u64::from(parents.len() > 1);
        let mut t = claimed;
        for parent in &parents {
            t = t.max(*times.get(*parent).ok_or("an entry before its parent")?);
        }
        corrected += u64::from(t > claimed);
        times.push(t);
        let index = match people.get(who) {
            Some(index) => *index,
            None => {
                machines.push(device(machines.len(), &rng)?);
                people.insert(who.to_owned(), machines.len() - 1);
                machines.len() - 1
            }
        };
        let text = |error: tombolo_client::Error| error.to_string();
        mono_ms += 1_000;
        let conversation = match &invited {
            None => {
                let founder = node(&mut machines[index])?;
                let id = founder.create("a history", Kind::Group, now(mono_ms, t)).map_err(text)?;
                let invitation = founder.invite(Some(id), 10_000, 0, now(mono_ms, t)).map_err(text)?;
                invited = Some((id, invitation));
                id
            }
            Some((id, invitation)) => {
                let fresh =
                    node(&mut machines[index])?.log().conversation(id).map_err(|error| error.to_string())?.is_none();
                if fresh {
                    node(&mut machines[index])?.accept(invitation, now(mono_ms, t)).map_err(text)?;
                }
                *id
            }
        };
        // As programs do every few seconds: what was early may not be any more.
        node(&mut machines[index])?.replica().tick(now(mono_ms, t)).map_err(|error| error.to_string())?;
        for parent in &parents {
            let (id, author, _) = entries.get(*parent).ok_or("an entry before its parent")?;
            let held = node(&mut machines[index])?.log().has(&conversation, id).map_err(|error| error.to_string())?;
            if !held {
                sync(&mut machines, index, *author, (&mut mono_ms, t), &mut draw, &mut sums)?;
            }
            if !node(&mut machines[index])?.log().has(&conversation, id).map_err(|error| error.to_string())? {
                return Err(format!("entry {parent} did not come with the session that should bring it"));
            }
        }
        let words = line["text"].as_str().filter(|words| !words.is_empty()).unwrap_or("(nothing)");
        let sent = node(&mut machines[index])?.send(conversation, &[words], now(mono_ms, t)).map_err(text)?;
        entries.push((sent.first().ok_or("nothing was sent")?.id, index, parents));
    }
    let Some((conversation, _)) = invited else { return Err("no entries".into()) };
    // Their clocks disagree: what one wrote may be early on another, until that time has come for all.
    let last = times.iter().copied().max().unwrap_or(0);
    for _ in 0..2 {
        for other in 1..machines.len() {
            sync(&mut machines, 0, other, (&mut mono_ms, last), &mut draw, &mut sums)?;
        }
    }
    for machine in &mut machines {
        node(machine)?.replica().tick(now(mono_ms, last)).map_err(|error| error.to_string())?;
    }
    let (first, _) = shown(&mut machines[0], &conversation)?;
    for machine in &mut machines {
        let (order, _) = shown(machine, &conversation)?;
        if order != first {
            return Err(format!("{} shows another order than d0", machine.name));
        }
    }
    let place: BTreeMap<OpId, usize> = first.iter().enumerate().map(|(place, id)| (*id, place)).collect();
    let mut edges = 0;
    for (id, _, parents) in &entries {
        let here = place.get(id).ok_or("an entry is not shown")?;
        for parent in parents {
            edges += 1;
            if place.get(&entries[*parent].0).is_none_or(|parent| parent >= here) {
                return Err(format!("entry {} is shown before its parent", id.short()));
            }
        }
    }
    println!(
        "branches from {}{}",
        recording.from.display(),
        if recording.sample { " (the small sample; the whole recording was left out: no TOMBOLO_DATA)" } else { "" }
    );
    println!(
        "  entries {}, devices {}, merges {merges}, parent edges that the order extends {edges}, \
         clocks behind what they build on {corrected}",
        entries.len(),
        machines.len()
    );
    println!("  sync sessions {}, bytes {}, seconds {:.1}", sums.sessions, sums.bytes, began.elapsed().as_secs_f64());
    Ok(entries.len() as u64)
}

fn sync(
    machines: &mut [Machine],
    one: usize,
    other: usize,
    (mono_ms, t): (&mut u64, u64),
    draw: &mut Rng,
    sums: &mut Sums,
) -> Result<(), String> {
    if one == other {
        return Ok(());
    }
    *mono_ms += 1_000;
    sums.sessions += 1;
    let conn = ConnId(sums.sessions);
    // Whoever dials offers all it has: a newcomer's join has to reach somebody who can let it in.
    let [mut dialling, answering] = links(draw, true);
    dialling.initiator = true;
    dialling.scope = Scope::Relay { url: String::new(), all: true };
    let (head, tail) = machines.split_at_mut(one.max(other));
    let (low, high) = (node(&mut head[one.min(other)])?, node(&mut tail[0])?);
    let (dialler, answerer) = if one < other { (low, high) } else { (high, low) };
    let ran = pair::run((dialler.replica(), dialling), (answerer.replica(), answering), conn, now(*mono_ms, t));
    let proven = dialler.replica().state(conn).ok().flatten().is_some_and(|state| state.proven);
    dialler.replica().disconnected(conn);
    answerer.replica().disconnected(conn);
    sums.bytes += ran.one.frames.iter().chain(&ran.two.frames).map(|(_, bytes)| *bytes as u64).sum::<u64>();
    match ran.one.fault.or(ran.two.fault) {
        Some(fault) => Err(format!("a session of honest devices ended: {fault}")),
        None if proven => Ok(()),
        None => Err("a session ended without proof".into()),
    }
}
