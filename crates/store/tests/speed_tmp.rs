//! Temporary.
use crate::world::{Group, Store, device};
use std::time::Instant;
use tombolo_oplog::{Incoming, NoFold};
use tombolo_oplog::rusqlite::{Connection, params};
use tombolo_store::{page, unread};
fn cpu() -> f64 { let s = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap(); s.split(' ').next().unwrap().parse::<f64>().unwrap()/1e9 }
#[test]
fn speed() {
    let mut group = Group::new(1);
    let n = 100_000u64;
    let text = "x".repeat(80);
    let ops: Vec<Incoming> = (0..n).map(|i| { let a = (i % 4) as u8 + 1; group.text(a, i, &format!("{text}{i}")) }).collect();
    {
        let dir = tempfile::tempdir().unwrap();
        let conn = Connection::open(dir.path().join("x")).unwrap();
        let _: String = conn.query_row("PRAGMA journal_mode=WAL", [], |r| r.get(0)).unwrap();
        conn.execute_batch("PRAGMA synchronous=FULL; CREATE TABLE t (n INTEGER PRIMARY KEY, a INTEGER, b INTEGER, c INTEGER, id BLOB, chain BLOB, sig BLOB, body BLOB)").unwrap();
        let t = Instant::now(); let c0=cpu();
        for some in ops.chunks(5000) {
            conn.execute_batch("BEGIN IMMEDIATE").unwrap();
            {
            let mut s = conn.prepare_cached("INSERT INTO t (a,b,c,id,chain,sig,body) VALUES (?1,?2,?3,?4,?5,?6,?7)").unwrap();
            for op in some { s.execute(params![op.op.header.hlc.0 as i64, op.op.header.seq as i64, 5, op.op.id.as_bytes(), [0u8;16], op.op.signature.map(|s| s.0), op.op.body]).unwrap(); }
            }
            conn.execute_batch("COMMIT").unwrap();
        }
        println!("raw {:?} cpu {:.3}", t.elapsed(), cpu()-c0);
    }
    for fold in [false, true, false, true] {
        let mut store = Store::of(&group);
        store.log.connection().unwrap().execute_batch("PRAGMA synchronous = FULL").unwrap();
        let mut spent = std::time::Duration::ZERO; let c0 = cpu();
        for some in ops.chunks(5000) {
            let some = some.to_vec();
            let t = Instant::now();
            let mut batch = store.log.batch().unwrap();
            if fold { batch.append(some, Some(&device(250)), store.now_ms, &mut store.views).unwrap(); }
            else { batch.append(some, Some(&device(250)), store.now_ms, &mut NoFold).unwrap(); }
            batch.commit().unwrap();
            spent += t.elapsed();
        }
        println!("fold {fold}: {:?} cpu {:.3}", spent, cpu()-c0);
        if fold {
            let t = Instant::now();
            let p = page(&store.log, &group.conversation, None, 50).unwrap();
            println!("page {} {:?}", p.len(), t.elapsed());
            let t = Instant::now();
            println!("unread {} {:?}", unread(&store.log, &group.conversation, &device(2)).unwrap(), t.elapsed());
            let t = Instant::now();
            tombolo_store::compare(&store.views, &store.log, &mut |_, _| {}).unwrap();
            println!("compare {:?}", t.elapsed());
        }
    }
}
