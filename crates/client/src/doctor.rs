//! The doctor: from the bytes of the file up to what is shown, and back.
//!
//! Checks: SQLite's own, ids and body hashes, chains, order of arrival, digest tree, heads (all in `oplog`), signatures
//! and control ops (`identity`), views rebuilt equal views shown (`store`). Repair drops damaged ops, computes anew what
//! follows from ops, and fetches from relays what was dropped.

use crate::actor::Actor;
use crate::api::Finding;
use crate::node::Node;
use crate::sync::{self, SyncOptions};
use crate::transport::tls::Tls;
use crate::{Error, api};
use tombolo_identity::verify_batch;
use tombolo_model::{ConversationId, Op, Sound};
use tombolo_oplog::LogError;

/// Ops whose signatures are checked at once.
const AT_ONCE: usize = 4096;
/// Damaged ops that one finding names.
const NAMED_MAX: usize = 20;

/// How far a check is: its name, done, total.
pub(crate) trait Tell: Fn(&str, u64, u64) + Send + 'static {}
impl<T: Fn(&str, u64, u64) + Send + 'static> Tell for T {}

pub(crate) async fn doctor(actor: &Actor, repair: bool, tls: &Tls, progress: impl Tell) -> Result<Vec<Finding>, Error> {
    if !repair {
        return actor.call(move |node, _| check(node, &progress)).await?;
    }
    let (dropped, progress) = actor
        .call(move |node, _| {
            let dropped = mend(node, &progress);
            (dropped, progress)
        })
        .await?;
    let dropped = dropped?;
    let mut fetched = None;
    if dropped > 0 {
        // What peers were told about this store no longer holds: they must compare, not trust cursors.
        let options = SyncOptions { once: true, ..SyncOptions::default() };
        let report = sync::sync(actor, None, &options, tls, &|_: api::Progress| {}).await;
        fetched = Some(match report {
            Ok(report) => Finding {
                check: "fetch".into(),
                ok: report.proven,
                detail: format!("{dropped} damaged ops dropped, {} ops fetched again", report.ops_in),
            },
            Err(error) => Finding {
                check: "fetch".into(),
                ok: false,
                detail: format!("{dropped} damaged ops dropped; they come back with the next sync ({error})"),
            },
        });
    }
    let mut findings = actor.call(move |node, _| check(node, &progress)).await??;
    findings.extend(fetched);
    Ok(findings)
}

fn check(node: &mut Node, progress: &impl Tell) -> Result<Vec<Finding>, Error> {
    let mut findings: Vec<Finding> = node
        .log()
        .check(&mut |now| progress(now.check, now.done, now.total))?
        .into_iter()
        .map(|found| Finding { check: found.check.to_owned(), ok: found.ok, detail: found.detail })
        .collect();
    findings.push(signatures(node, progress)?);
    findings.push(views(node, progress)?);
    Ok(findings)
}

/// Whether every op is signed by its author, or vouched for by a later one of its log.
fn signatures(node: &Node, progress: &impl Tell) -> Result<Finding, Error> {
    let mut bad = Vec::new();
    let mut count = 0;
    let rows = node.log().conversations()?;
    let total = rows.iter().map(|row| row.ops).sum();
    for row in rows {
        for height in node.log().heights(&row.id)? {
            let mut from = 1;
            while from <= height.max {
                let run = match node.log().run(&row.id, &height.author, &height.log, from, height.max, AT_ONCE) {
                    Ok(run) => run,
                    Err(LogError::Damaged(what)) => {
                        bad.push(what);
                        break;
                    }
                    Err(error) => return Err(error.into()),
                };
                let Some(last) = run.last() else { break };
                from = last.header.seq + 1;
                count += run.len() as u64;
                bad.extend(forged(node, &row.id, run)?);
                progress("signatures", count, total);
            }
        }
    }
    let more = bad.len().saturating_sub(NAMED_MAX);
    bad.truncate(NAMED_MAX);
    let ok = bad.is_empty();
    let mut detail = if ok { format!("{count} ops are signed or vouched for") } else { bad.join("; ") };
    if more > 0 {
        detail.push_str(&format!("; and {more} more"));
    }
    Ok(Finding { check: "signatures".into(), ok, detail })
}

fn forged(node: &Node, conversation: &ConversationId, run: Vec<Op>) -> Result<Vec<String>, Error> {
    let known = |author: &tombolo_model::DeviceId, log: &tombolo_model::LogId, seq: u64| {
        let next = node.log().run(conversation, author, log, seq + 1, seq + 1, 1).ok()?;
        next.first().map(|op| op.header.prev)
    };
    let (mut bad, mut sound) = (Vec::new(), Vec::new());
    for op in run {
        let id = op.id;
        match Sound::check(op) {
            Ok(op) => sound.push(op),
            Err(error) => bad.push(format!("op {}: {error}", id.short())),
        }
    }
    let (_, refused) = verify_batch(sound, known);
    bad.extend(refused.into_iter().map(|(id, error)| format!("op {}: {error}", id.short())));
    Ok(bad)
}

/// Whether what is shown is what the log says.
fn views(node: &mut Node, progress: &impl Tell) -> Result<Finding, Error> {
    let (log, views) = node.replica().log_and_fold();
    let different = log
        .snapshot(|reader| tombolo_store::compare(views, reader, &mut |done, total| progress("views", done, total)))?;
    let ok = different.is_empty();
    let detail = if ok {
        "rebuilt views equal what is shown".to_owned()
    } else {
        different.iter().take(NAMED_MAX).map(|mismatch| format!("{mismatch:?}")).collect::<Vec<_>>().join("; ")
    };
    Ok(Finding { check: "views".into(), ok, detail })
}

/// Drops what is damaged and computes anew what follows from the rest. Returns how many ops were dropped.
fn mend(node: &mut Node, progress: &impl Tell) -> Result<u64, Error> {
    progress("repair", 0, 1);
    let (log, views) = node.replica().log_and_fold();
    let damaged = log.damaged()?;
    let mut batch = log.batch()?;
    batch.drop_damaged(&damaged)?;
    for row in batch.reads()?.conversations()? {
        batch.rebuild(&row.id)?;
    }
    if !damaged.is_empty() {
        for peer in batch.reads()?.peers()? {
            batch.forget_peer_cursor(&peer.device)?;
        }
        batch.begin_new_logs()?;
    }
    tombolo_store::rebuild(views, &mut batch, &mut |_, _| {})?;
    batch.commit()?;
    node.replica().forget();
    progress("repair", 1, 1);
    Ok(damaged.len() as u64)
}
