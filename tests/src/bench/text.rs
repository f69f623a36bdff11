//! `text`: people type into one text at the same time, replayed as one device each, against plain automerge.
//!
//! A recording (`two-writers.json.gz` in the folder of recordings; without one, a history made up here, which the row
//! says) is a list of transactions: who, on what versions, which splices. Each device holds a document and is given, just
//! before a transaction, what the transaction was made on; ours as edits of `tombolo_store::text`, in automerge as its
//! own changes. Both end with the same text on every device. Counted is all of it, from the first transaction to the
//! texts at the end; not counted is what the log does with an op.

use super::{Measured, Row, Scale, median};
use automerge::transaction::{CommitOptions, Transactable as _};
use automerge::{ActorId, AutoCommit, Change, ObjId, ObjType, ROOT, ReadDoc as _};
use flate2::read::GzDecoder;
use std::path::Path;
use std::time::{Duration, Instant};
use tombolo_model::content::Splice;
use tombolo_model::{DeviceId, OpId};
use tombolo_store::text::{Document, Edit};
use tombolo_testkit::rng::Rng;

/// One transaction of a recording.
struct Txn {
    /// Who.
    agent: usize,
    /// Transactions that it was made on.
    parents: Vec<usize>,
    splices: Vec<Splice>,
}

/// A recording.
pub struct Writers {
    txns: Vec<Txn>,
    agents: usize,
    /// What it ends with, if that is known.
    end: Option<String>,
}

impl std::fmt::Debug for Writers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writers").field("txns", &self.txns.len()).field("agents", &self.agents).finish_non_exhaustive()
    }
}

/// Reads a recording.
///
/// # Errors
/// A file that is not one.
pub fn recorded(path: &Path) -> Measured<Writers> {
    let file: serde_json::Value = serde_json::from_reader(GzDecoder::new(std::fs::File::open(path)?))?;
    let end = file["endContent"].as_str().map(String::from);
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let number = |value: &serde_json::Value| value.as_u64().ok_or("a number is missing in the recording");
    let mut txns = Vec::new();
    for txn in list(&file["txns"]) {
        let parents = list(&txn["parents"]);
        let parents = parents.iter().map(|parent| Ok(number(parent)? as usize)).collect::<Measured<_>>()?;
        let splices = list(&txn["patches"])
            .iter()
            .map(|patch| {
                let insert = patch[2].as_str().ok_or("a text is missing in the recording")?.into();
                Ok(Splice { at: number(&patch[0])? as u32, delete: number(&patch[1])? as u32, insert })
            })
            .collect::<Measured<_>>()?;
        txns.push(Txn { agent: number(&txn["agent"])? as usize, parents, splices });
    }
    let agents = txns.iter().map(|txn| txn.agent + 1).max().unwrap_or(0);
    if txns.iter().enumerate().any(|(at, txn)| txn.parents.iter().any(|parent| *parent >= at)) {
        return Err("a transaction of the recording stands before what it was made on".into());
    }
    Ok(Writers { txns, agents, end })
}

/// A history of two people who type by turns or at once, and learn of each other after a while.
#[must_use]
pub fn made_up(count: usize, seed: u64) -> Writers {
    let mut rng = Rng::new(seed);
    let mut documents = [Document::new(""), Document::new("")];
    let mut heads: [Vec<usize>; 2] = [Vec::new(), Vec::new()];
    let mut sent: Vec<Vec<Edit>> = vec![Vec::new(), Vec::new()];
    let mut txns: Vec<Txn> = Vec::new();
    let (mut who, mut at) = (0, [0_usize; 2]);
    while txns.len() < count {
        if rng.below(12) == 0 {
            who = 1 - who;
            // Sometimes the other's words have not come yet.
            if rng.below(3) > 0 {
                std::mem::take(&mut sent[1 - who]).into_iter().for_each(|edit| documents[who].apply(edit));
                let ids = documents[who].heads();
                heads[who] = (0..txns.len()).filter(|txn| ids.contains(&id(*txn))).collect();
                at[who] = rng.below(documents[who].text().chars().count() as u64 + 1) as usize;
            }
        }
        let delete = u32::from(at[who] > 0 && rng.below(8) == 0);
        let insert = if delete == 0 { String::from(char::from(b'a' + rng.below(26) as u8)) } else { String::new() };
        let splice = Splice { at: at[who] as u32 - delete, delete, insert };
        at[who] = if delete == 0 { at[who] + 1 } else { at[who] - 1 };
        let edit = edit(txns.len(), who, documents[who].heads(), vec![splice.clone()]);
        documents[who].apply(edit.clone());
        sent[who].push(edit);
        let parents = std::mem::replace(&mut heads[who], vec![txns.len()]);
        txns.push(Txn { agent: who, parents, splices: vec![splice] });
    }
    Writers { txns, agents: 2, end: None }
}

/// An id that says nothing about when it was written.
fn id(txn: usize) -> OpId {
    OpId(*blake3::hash(&txn.to_be_bytes()).as_bytes())
}

fn edit(txn: usize, agent: usize, bases: Vec<OpId>, splices: Vec<Splice>) -> Edit {
    Edit { id: id(txn), author: DeviceId([agent as u8 + 1; 32]), bases, splices }
}

/// Which transactions an agent has still to be given before one of its own, in order. It has them then.
fn missing(txns: &[Txn], has: &mut [bool], parents: &[usize]) -> Vec<usize> {
    let (mut found, mut left) = (Vec::new(), parents.to_vec());
    while let Some(txn) = left.pop() {
        if !std::mem::replace(&mut has[txn], true) {
            found.push(txn);
            left.extend(&txns[txn].parents);
        }
    }
    found.sort_unstable();
    found
}

/// Replays with our documents: the time, and the text of each device.
///
/// # Errors
/// A transaction that does not fit.
pub fn ours(writers: &Writers) -> Measured<(Duration, Vec<String>)> {
    let began = Instant::now();
    let mut documents: Vec<Document> = (0..writers.agents).map(|_| Document::new("")).collect();
    let mut has = vec![vec![false; writers.txns.len()]; writers.agents];
    let mut edits: Vec<Edit> = Vec::with_capacity(writers.txns.len());
    for (number, txn) in writers.txns.iter().enumerate() {
        let document = &mut documents[txn.agent];
        for missing in missing(&writers.txns, &mut has[txn.agent], &txn.parents) {
            document.apply(edits[missing].clone());
        }
        let bases = document.bases(&txn.splices)?;
        let edit = edit(number, txn.agent, bases, txn.splices.clone());
        document.apply(edit.clone());
        has[txn.agent][number] = true;
        edits.push(edit);
    }
    let all: Vec<usize> = (0..edits.len()).collect();
    for (document, has) in documents.iter_mut().zip(&mut has) {
        missing(&writers.txns, has, &all).into_iter().for_each(|missing| document.apply(edits[missing].clone()));
    }
    let texts = documents.iter_mut().map(Document::text).collect();
    Ok((began.elapsed(), texts))
}

/// The same with plain automerge: a change for each transaction, given on when it is needed, all of them at once.
///
/// # Errors
/// Automerge's.
pub fn plain(writers: &Writers) -> Measured<(Duration, Vec<String>)> {
    let began = Instant::now();
    let mut root = AutoCommit::new().with_actor(ActorId::from(&[0_u8][..]));
    let text: ObjId = root.put_object(ROOT, "text", ObjType::Text)?;
    root.commit_with(CommitOptions::default().with_time(0));
    let device =
        |agent: usize, root: &mut AutoCommit| root.fork().with_actor(ActorId::from(&[agent as u8 + 1; 32][..]));
    let mut documents: Vec<AutoCommit> = (0..writers.agents).map(|agent| device(agent, &mut root)).collect();
    let mut has = vec![vec![false; writers.txns.len()]; writers.agents];
    let mut changes: Vec<Option<Change>> = Vec::with_capacity(writers.txns.len());
    let given = |missing: Vec<usize>, changes: &[Option<Change>]| -> Vec<Change> {
        missing.into_iter().filter_map(|missing| changes[missing].clone()).collect()
    };
    for (number, txn) in writers.txns.iter().enumerate() {
        let document = &mut documents[txn.agent];
        let news = given(missing(&writers.txns, &mut has[txn.agent], &txn.parents), &changes);
        if !news.is_empty() {
            document.apply_changes(news)?;
        }
        for splice in &txn.splices {
            document.splice_text(&text, splice.at as usize, splice.delete as isize, &splice.insert)?;
        }
        let made = document.commit_with(CommitOptions::default().with_time(0));
        changes.push(made.and_then(|_| document.get_last_local_change()));
        has[txn.agent][number] = true;
    }
    let all: Vec<usize> = (0..changes.len()).collect();
    for (document, has) in documents.iter_mut().zip(&mut has) {
        document.apply_changes(given(missing(&writers.txns, has, &all), &changes))?;
    }
    let texts = documents.iter().map(|document| document.text(&text)).collect::<Result<_, _>>()?;
    Ok((began.elapsed(), texts))
}

/// Whether every device has the same text, and the one that the recording ends with.
fn agree(writers: &Writers, texts: &[String]) -> bool {
    let end = writers.end.as_ref().or(texts.first());
    texts.iter().all(|text| Some(text) == end)
}

/// See the head of this file.
///
/// # Errors
/// A recording that cannot be read; devices that end with different texts.
pub fn text(scale: &Scale) -> Measured<Row> {
    let path = std::env::var_os("TOMBOLO_DATA").map(|folder| Path::new(&folder).join("two-writers.json.gz"));
    let (writers, from) = match path.filter(|path| path.exists() && !scale.smoke) {
        Some(path) => (recorded(&path)?, "a recording"),
        None => (made_up(scale.pick(20_000, 300), 6), "a history made up here"),
    };
    println!(
        "text: {from} of {} transactions by {} people; plain automerge, one document a device",
        writers.txns.len(),
        writers.agents
    );
    let (mut mine, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..scale.pick(5, 1) {
        let ((ours, our_texts), (plain, plain_texts)) = (ours(&writers)?, plain(&writers)?);
        if !agree(&writers, &our_texts) || !agree(&writers, &plain_texts) {
            return Err("the devices end with different texts".into());
        }
        let (ours, plain) = (ours.as_secs_f64() * 1e3, plain.as_secs_f64() * 1e3);
        println!("text: run {run}: {ours:.0} ms, plain {plain:.0} ms");
        mine.push(ours);
        theirs.push(plain);
        ratios.push(ours / plain);
    }
    let ratio = median(&ratios);
    Ok(Row {
        name: "text".into(),
        value: median(&mine),
        unit: format!("ms, median of {}, {from}", mine.len()),
        baseline: Some(median(&theirs)),
        ratio: Some(ratio),
        bound: "ratio <= 1.3, the same text everywhere".into(),
        holds: scale.smoke || ratio <= 1.3,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On every device, whatever was concurrent; and, with the folder of recordings at hand, exactly what people saw.
    #[test]
    fn devices_that_write_together_end_with_one_text() {
        for seed in 0..20 {
            let writers = made_up(400, seed);
            let texts = ours(&writers).unwrap().1;
            assert!(agree(&writers, &texts) && !texts[0].is_empty(), "seed {seed}");
        }
        let Some(folder) = std::env::var_os("TOMBOLO_DATA") else { return };
        let writers = recorded(&Path::new(&folder).join("two-writers.json.gz")).unwrap();
        let texts = ours(&writers).unwrap().1;
        assert!(writers.end.is_some() && agree(&writers, &texts));
    }
}
