//! The order of arrival: cursors, chains, pages; runs, vouchers, prefixes; what is known of peers.

use crate::world::{NOW_MS, Script, Store, device};
use tombolo_model::digest::Chain;
use tombolo_model::{ConversationId, LogId, Op, OpId, Sound};
use tombolo_oplog::{ArrivalQuery, Cursor, Incoming, NoFold, Peer, Proven, StoredSketch};

fn all<'a>(conversations: &'a [(ConversationId, u64)]) -> ArrivalQuery<'a> {
    ArrivalQuery {
        after: 0,
        through: u64::MAX,
        conversations,
        not_from: None,
        limit_ops: usize::MAX,
        limit_bytes: usize::MAX,
    }
}

fn arrivals(store: &Store, query: &ArrivalQuery<'_>) -> Vec<(u64, OpId)> {
    store.log.arrivals(query).unwrap().into_iter().map(|(arrival, op)| (arrival, op.id)).collect()
}

#[test]
fn the_chain_runs_over_ids_in_order_of_arrival() {
    let mut script = Script::new(1);
    script.text(1, &[], "a");
    script.text(1, &[], "b");
    let mut store = Store::new();
    let start = Chain::start(77);
    assert_eq!(store.log.cursor().unwrap(), Cursor { incarnation: 77, position: 0, chain: start });
    store.take(&[script.written[0].clone(), script.written[2].clone(), script.written[1].clone()]);
    let mut chain = start;
    for (position, at) in [(1, 0), (2, 2), (3, 1)] {
        chain = chain.next(&script.written[at].op.id);
        assert_eq!(store.log.chain_at(position).unwrap(), Some(chain));
    }
    assert_eq!(store.log.cursor().unwrap(), Cursor { incarnation: 77, position: 3, chain });
    assert_eq!(store.log.chain_at(0).unwrap(), Some(start));
    assert_eq!(store.log.chain_at(4).unwrap(), None);
    assert_eq!(store.log.chain_at(u64::MAX).unwrap(), None);
    // Another opening goes on where this one ended, with the first incarnation.
    let mut store = store.reopen();
    let more = script.text(1, &[], "c");
    store.take(std::slice::from_ref(&more));
    assert_eq!(store.log.cursor().unwrap(), Cursor { incarnation: 77, position: 4, chain: chain.next(&more.op.id) });
}

/// Both ways of finding arrivals (walking them, walking the conversations) against filtering by hand.
#[test]
fn pages_hold_exactly_what_was_asked_for() {
    let mut scripts: Vec<Script> = (1..5).map(Script::new).collect();
    let mut store = Store::new();
    let mut order: Vec<(ConversationId, Incoming, u8)> = Vec::new();
    for script in &mut scripts {
        let genesis = script.written[0].clone();
        store.append_with(std::slice::from_ref(&genesis), Some(250), NOW_MS, &mut NoFold);
        order.push((script.conversation, genesis, 250));
    }
    for round in 0..200_usize {
        // One conversation is large, one tiny.
        let which = if round % 40 == 0 { 0 } else { 1 + round % 3 };
        let from = 240 + (round % 2) as u8;
        let text = scripts[which].text(1, &[], &round.to_string());
        store.append_with(std::slice::from_ref(&text), Some(from), NOW_MS, &mut NoFold);
        order.push((scripts[which].conversation, text, from));
    }
    let by_hand = |query: &ArrivalQuery<'_>| -> Vec<(u64, OpId)> {
        let hits = (1..).zip(&order).filter(|(arrival, (id, _, from))| {
            let floor = query.conversations.iter().find(|(wanted, _)| wanted == id).map(|(_, floor)| *floor);
            floor.is_some_and(|floor| *arrival > floor.max(query.after))
                && *arrival <= query.through
                && query.not_from != Some(device(*from))
        });
        hits.map(|(arrival, (_, one, _))| (arrival, one.op.id)).take(query.limit_ops).collect()
    };
    let id = |at: usize| scripts[at].conversation;
    let lists: [Vec<(ConversationId, u64)>; 5] = [
        vec![],
        vec![(id(0), 0)],
        vec![(id(0), 50), (id(2), 0)],
        vec![(id(1), 0), (id(2), 20), (id(3), 150)],
        vec![(ConversationId([9; 16]), 0), (id(1), 1_000)],
    ];
    for conversations in &lists {
        for after in [0, 3, 100, 203, 500] {
            for through in [u64::MAX, 150, 2] {
                for not_from in [None, Some(device(240)), Some(device(99))] {
                    for limit_ops in [usize::MAX, 7] {
                        let query = ArrivalQuery { after, through, not_from, limit_ops, ..all(conversations) };
                        assert_eq!(arrivals(&store, &query), by_hand(&query), "{query:?}");
                    }
                }
            }
        }
    }
    // Bytes: at least one op, then as many as fit.
    let everything = &lists[3];
    assert_eq!(arrivals(&store, &ArrivalQuery { limit_bytes: 0, ..all(everything) }).len(), 1);
    let page = arrivals(&store, &ArrivalQuery { limit_bytes: 300, ..all(everything) });
    assert!((5..10).contains(&page.len()), "{}", page.len());
    // Paging meets everything once.
    let (mut after, mut found) = (0, Vec::new());
    loop {
        let page = arrivals(&store, &ArrivalQuery { after, limit_ops: 11, ..all(everything) });
        let Some((last, _)) = page.last() else { break };
        after = *last;
        found.extend(page);
    }
    assert_eq!(found, by_hand(&all(everything)));
    // Ids since an arrival.
    for (at, since) in [(0, 0), (0, 60), (1, 0), (1, 199), (2, 500)] {
        let mut ids = Vec::new();
        store.log.ids_after(&id(at), since, |arrival, id| ids.push((arrival, id))).unwrap();
        assert_eq!(ids, by_hand(&ArrivalQuery { after: since, ..all(&[(id(at), 0)]) }));
    }
}

#[test]
fn runs_vouchers_and_prefixes() {
    let mut script = Script::new(1);
    for at in 0..150_usize {
        script.text(1, &[], &at.to_string());
    }
    // Only every 50th seq came with its signature.
    for one in &mut script.written {
        if one.op.header.seq % 50 != 0 {
            let op = Op { signature: None, ..one.op.clone().into_op() };
            one.op = Sound::check(op).unwrap();
        }
    }
    let mut store = Store::new();
    store.take(&script.written);
    let (id, author, log) = (script.conversation, device(1), LogId([1; 8]));
    let ops: Vec<_> = script.written.iter().map(|one| one.op.clone().into_op()).collect();
    assert_eq!(store.log.run(&id, &author, &log, 3, 7, 99).unwrap(), ops[2..7]);
    assert_eq!(store.log.run(&id, &author, &log, 3, u64::MAX, 4).unwrap(), ops[2..6]);
    assert_eq!(store.log.run(&id, &author, &LogId([2; 8]), 1, 9, 9).unwrap(), vec![]);
    assert_eq!(store.log.voucher(&id, &author, &log, 10).unwrap(), ops[10..50]);
    assert_eq!(store.log.voucher(&id, &author, &log, 49).unwrap(), ops[49..50]);
    assert_eq!(store.log.voucher(&id, &author, &log, 150).unwrap(), ops[150..], "no signature is left");
    let prefixes = [ops[5].id.prefix(), 12, ops[140].id.prefix()];
    assert_eq!(store.log.by_prefix(&id, &prefixes).unwrap(), vec![ops[5].clone(), ops[140].clone()]);
    assert!(store.log.has(&id, &ops[9].id).unwrap());
    assert!(!store.log.has(&id, &OpId([1; 32])).unwrap());
    assert!(!store.log.has(&ConversationId([1; 16]), &ops[9].id).unwrap());
}

#[test]
fn what_is_known_of_peers_is_kept() {
    let script = Script::new(1);
    let mut store = Store::new();
    store.take(&script.written);
    let id = script.conversation;
    let cursor = Cursor { incarnation: u64::MAX, position: 12, chain: Chain([4; 16]) };
    let mut batch = store.log.batch().unwrap();
    batch.set_peer_cursor(&device(50), cursor).unwrap();
    batch.set_acked(&device(50), 9).unwrap();
    batch.set_acked(&device(50), 3).unwrap();
    batch.set_peer_seen(&device(50), 5_000).unwrap();
    batch.set_proven(&id, &device(51), 1_000, 1, 1).unwrap();
    batch.set_proven(&id, &device(50), 2_000, 1, 1).unwrap();
    batch.put_sketch(&id, b"cells", b"estimator", 1).unwrap();
    batch.put_meta("name", b"value").unwrap();
    batch.commit().unwrap();
    let mut store = store.reopen();
    let peer = Peer { device: device(50), cursor: Some(cursor), acked: 9, streamed: 0, last_seen_ms: 5_000 };
    assert_eq!(store.log.peer(&device(50)).unwrap(), Some(peer));
    assert_eq!(store.log.peer(&device(51)).unwrap().unwrap().cursor, None);
    assert_eq!(store.log.peer(&device(52)).unwrap(), None);
    assert_eq!(store.log.peers().unwrap().len(), 3, "the one that brought the genesis too");
    let proven = store.log.proven(&id).unwrap();
    assert_eq!(proven[0], Proven { peer: device(50), at_ms: 2_000, position: 1, ops: 1 });
    assert_eq!(proven.len(), 2);
    let sketch = StoredSketch { cells: b"cells".to_vec(), estimator: b"estimator".to_vec(), through: 1 };
    assert_eq!(store.log.sketch(&id).unwrap(), Some(sketch));
    assert_eq!(store.log.meta("name").unwrap().as_deref(), Some(b"value".as_slice()));
    assert_eq!(store.log.meta("other").unwrap(), None);
    let mut batch = store.log.batch().unwrap();
    batch.reset_acked(&device(50)).unwrap();
    batch.forget_peer_cursor(&device(50)).unwrap();
    batch.commit().unwrap();
    let peer = store.log.peer(&device(50)).unwrap().unwrap();
    assert_eq!((peer.acked, peer.cursor), (0, None));
}
