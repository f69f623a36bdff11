//! Clocks that run ahead: by years, and by more than the format holds.

use super::*;
use tombolo_model::hlc::{DRIFT_MS_MAX, MS_MAX};
use tombolo_oplog::State;

#[test]
fn an_op_from_the_far_future_is_kept_but_neither_shown_nor_anybodys_parent() {
    let mut stage = Stage::new(1);
    let mut mallory = stage.mallory();
    let conversation = stage.conversation;
    let ahead_ms = DRIFT_MS_MAX + 3_600_000;
    let early = mallory.say(WALL_MS + ahead_ms);
    // As far ahead as the format goes.
    let (mut forever, log) = (Writer::new(MALLORY, conversation), LogId([68; 8]));
    forever.log = log;
    let never = forever.say(MS_MAX >> 1);
    let mut peer = stage.meet(MALLORY);
    let told = peer.batch(&mut stage.relay, &[early.clone(), never.clone()], now(40));
    assert_eq!((told.code(), told.refused(), told.acks()), (None, vec![], 1), "it is no fault to have a wrong clock");
    stage.relay.disconnected(peer.conn);
    stage.sync_alice(50);
    for id in [early.id, never.id] {
        let state = stage.alice.log().state(&conversation, &id).unwrap().map(|(state, _)| state);
        assert_eq!(state, Some(State::Early), "it is in the set");
        assert!(!stage.alice.fold().0.contains(&id), "it is not shown");
    }
    let own = say(&mut stage.alice, conversation, b"now", 60);
    let own = stage.alice.log().op(&conversation, &own).unwrap().unwrap();
    assert!(!own.header.depends_on().any(|id| [early.id, never.id].contains(id)), "nobody's parent");
    assert!(own.header.hlc.ms() <= WALL_MS + 61, "and no clock follows it");
    stage.sync_alice(70);
    // A moment before its time, and at it.
    let due_ms = ahead_ms - DRIFT_MS_MAX;
    stage.alice.tick(now(due_ms - 1)).unwrap();
    assert!(!stage.alice.fold().0.contains(&early.id));
    stage.alice.tick(now(due_ms)).unwrap();
    assert!(stage.alice.fold().0.contains(&early.id));
    assert!(!stage.alice.fold().0.contains(&never.id));
}

#[test]
fn a_clock_beyond_the_format_is_malformed_and_changes_nothing() {
    let mut stage = Stage::new(1);
    let mallory = stage.mallory();
    for ms in [(MS_MAX >> 1) + 1, MS_MAX] {
        let mut writer = Writer::new(MALLORY, stage.conversation);
        (writer.seq, writer.prev) = (mallory.seq, mallory.prev);
        let mut peer = stage.meet(MALLORY);
        let before = dump(&stage.relay, PEER_MARKS);
        let told = peer.batch(&mut stage.relay, &[writer.say(ms)], now(40));
        assert_eq!((told.code(), stored(&told)), (Some("frame_malformed"), 0), "{ms}");
        before.is_still_that_of(&stage.relay, PEER_MARKS, "all in all");
        stage.relay.disconnected(peer.conn);
    }
}
