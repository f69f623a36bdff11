//! Temporary.
use crate::world::{Group, Store, device};
use std::time::Instant;
use tombolo_oplog::{Incoming, NoFold};
use tombolo_store::{page, unread};
#[test]
fn speed() {
    let mut group = Group::new(1);
    let n = 100_000u64;
    let text = "x".repeat(80);
    let ops: Vec<Incoming> = (0..n).map(|i| { let a = (i % 4) as u8 + 1; group.text(a, i, &format!("{text}{i}")) }).collect();
    for fold in [false, true, false, true] {
        let mut store = Store::of(&group);
        store.log.connection().unwrap().execute_batch("PRAGMA synchronous = FULL").unwrap();
        let started = Instant::now();
        let mut spent = std::time::Duration::ZERO;
        for some in ops.chunks(5000) {
            let some = some.to_vec();
            let t = Instant::now();
            let mut batch = store.log.batch().unwrap();
            if fold { batch.append(some, Some(&device(250)), store.now_ms, &mut store.views).unwrap(); }
            else { batch.append(some, Some(&device(250)), store.now_ms, &mut NoFold).unwrap(); }
            batch.commit().unwrap();
            spent += t.elapsed();
        }
        println!("fold {fold}: {:?} ({:?})", spent, started.elapsed());
        if fold {
            let t = Instant::now();
            let p = page(&store.log, &group.conversation, None, 50).unwrap();
            println!("page {} {:?}", p.len(), t.elapsed());
            let t = Instant::now();
            println!("unread {} {:?}", unread(&store.log, &group.conversation, &device(2)).unwrap(), t.elapsed());
            let t = Instant::now();
            tombolo_store::compare(&store.views, &store.log, &mut |_, _| {}).unwrap();
            println!("compare {:?}", t.elapsed());
            let t = Instant::now();
            store.rebuild();
            println!("rebuild {:?}", t.elapsed());
        }
    }
}
