//! Members, invitations, strangers, relays.

use crate::world::{NOW_MS, Remember, Script, Store, certificate, device, relay};
use tombolo_model::control::Kind;
use tombolo_model::limit::{DEVICES_PER_ACCOUNT_MAX, RELAYS_MAX, STRANGERS_MAX};
use tombolo_model::{AccountId, Control, ConversationId, Op, Sound};
use tombolo_oplog::{Appended, Incoming, NoFold, Reason};

fn only_reason(appended: &Appended) -> Reason {
    assert_eq!(appended.refused.len(), 1, "{appended:?}");
    assert!(appended.stored.is_empty(), "{appended:?}");
    appended.refused[0].reason
}

#[test]
fn the_founder_is_the_first_member() {
    let script = Script::new(1);
    let mut store = Store::new();
    let appended = store.take(&script.written);
    let id = script.conversation;
    assert_eq!(appended.granted, vec![(id, device(1))]);
    let row = store.log.conversation(&id).unwrap().unwrap();
    assert_eq!((row.kind, row.ops), (Some(Kind::Group), 1));
    let members = store.log.members(&id).unwrap();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].certificate, certificate(1, 1));
    assert_eq!((members[0].account, members[0].since), (AccountId([1; 32]), 1));
    assert_eq!(store.log.relays(&id).unwrap(), vec![relay(200)]);
    assert_eq!(store.log.shared_with(&device(1)).unwrap(), vec![(id, 1)]);
    assert_eq!(store.log.shared_with(&device(200)).unwrap(), vec![(id, 1)], "a named relay may see it too");
    assert_eq!(store.log.shared_with(&device(9)).unwrap(), vec![]);
    assert!(store.log.is_member(&id, &device(1)).unwrap() && !store.log.is_member(&id, &device(200)).unwrap());
}

#[test]
fn nothing_of_an_unknown_conversation_is_taken_but_its_genesis() {
    let mut script = Script::new(1);
    let text = script.text(1, &[], "hello");
    let mut store = Store::new();
    assert_eq!(only_reason(&store.take(&[text])), Reason::UnknownConversation);
    assert_eq!(store.log.conversations().unwrap(), vec![]);
    assert_eq!(store.log.cursor().unwrap().position, 0);
    // A genesis that founds for someone else's device.
    let mut other = Script::new(2).written.remove(0);
    other.control =
        Some(Control::Genesis { certificate: certificate(5, 5), kind: Kind::Own, salt: [0; 16], relays: vec![] });
    assert_eq!(only_reason(&store.take(&[other])), Reason::NotEntitled);
    assert_eq!(store.log.conversations().unwrap(), vec![]);
}

/// [`Sound`] keeps such an op from being given in at all; but one that was kept aside may be damaged there.
#[test]
fn an_op_that_was_damaged_while_it_waited_is_refused() {
    let mut script = Script::new(1);
    let invite = script.invite(1, 7, 1, 0);
    let join = script.join(2, 2, 7, &[]);
    let text = script.text(2, &[], "hello");
    let mut store = Store::new();
    store.take(&script.written[..1]);
    assert_eq!(only_reason(&store.take(std::slice::from_ref(&text))), Reason::UnknownAuthor);
    let conn = store.log.connection().unwrap();
    assert_eq!(conn.execute("UPDATE stranger SET body = x'6a656c6c6f'", []).unwrap(), 1);
    let appended = store.take(&[invite, join]);
    assert_eq!((appended.stored.len(), appended.refused.len()), (2, 1), "{appended:?}");
    assert_eq!((appended.refused[0].id, appended.refused[0].reason), (text.op.id, Reason::Malformed));
    assert_eq!(store.log.strangers(&script.conversation).unwrap(), 0, "it waits no longer");
    assert_eq!(store.take(&[text]).stored.len(), 1);
    store.assert_healthy();
}

#[test]
fn strangers_wait_and_are_taken_when_they_join() {
    let mut script = Script::new(1);
    let invite = script.invite(1, 7, 1, 0);
    let join = script.join(2, 2, 7, &[invite.op.id]);
    let text = script.text(2, &[], "early bird");
    let mut store = Store::new();
    store.take(&script.written[..1]);
    let id = script.conversation;
    assert_eq!(only_reason(&store.take(std::slice::from_ref(&text))), Reason::UnknownAuthor);
    assert_eq!(only_reason(&store.take(std::slice::from_ref(&text))), Reason::UnknownAuthor);
    assert_eq!(store.log.strangers(&id).unwrap(), 1, "kept once");
    assert_eq!(only_reason(&store.take(std::slice::from_ref(&join))), Reason::UnknownAuthor);
    assert_eq!(store.log.conversation(&id).unwrap().unwrap().ops, 1, "strangers are not digested");
    let mut store = store.reopen();
    let mut fold = Remember::default();
    let appended = store.append_with(std::slice::from_ref(&invite), Some(250), NOW_MS, &mut fold);
    let stored: Vec<_> = appended.stored.iter().map(|one| one.id).collect();
    assert_eq!(stored, vec![invite.op.id, join.op.id, text.op.id]);
    assert_eq!(fold.delivered, stored);
    assert_eq!(appended.granted, vec![(id, device(2))]);
    assert_eq!(appended.refused, vec![]);
    assert_eq!(store.log.strangers(&id).unwrap(), 0);
    assert_eq!(store.log.op(&id, &text.op.id).unwrap(), Some(text.op.into_op()));
    assert_eq!(store.log.shared_with(&device(2)).unwrap(), vec![(id, 3)], "access begins with the join");
    store.assert_healthy();
}

#[test]
fn the_area_of_strangers_is_bounded() {
    let mut script = Script::new(1);
    let mut store = Store::new();
    store.take(&script.written);
    let texts: Vec<_> = (0..=STRANGERS_MAX).map(|at| script.text(2, &[], &at.to_string())).collect();
    let appended = store.take(&texts);
    assert_eq!(appended.refused[STRANGERS_MAX - 1].reason, Reason::UnknownAuthor);
    assert_eq!(appended.refused[STRANGERS_MAX].reason, Reason::TooManyStrangers);
    assert_eq!(store.log.strangers(&script.conversation).unwrap(), STRANGERS_MAX);
}

/// The moment's limits bind whoever takes the join from the newcomer itself; a replica that hears of it from others must
/// take it, or replicas would never agree again.
#[test]
fn limits_of_an_invitation_bind_only_the_first_taker() {
    let mut script = Script::new(1);
    script.invite(1, 7, 1, 0);
    script.invite(1, 8, 5, 0);
    script.control(1, &[], Control::Revoke { key: [8; 32] });
    let expires_ms = script.clock_ms + 3;
    script.invite(1, 9, 5, expires_ms);
    let base = script.written.clone();
    let first = script.join(2, 2, 7, &[]);
    let second = script.join(3, 3, 7, &[]);
    let revoked = script.join(4, 4, 8, &[]);
    let mut draft = script.draft(5, 5, &[], b"");
    let join = Control::Join { certificate: certificate(5, 5), invite: [9; 32], proof: [3; 64], relays: vec![] };
    (draft.body, draft.class) = (join.to_bytes(), tombolo_model::Class::Control);
    draft.hlc = tombolo_model::Hlc::new(expires_ms, 0);
    let in_time_by_its_clock = script.push(draft, Some(join));

    let mut store = Store::new();
    store.take(&base);
    let id = script.conversation;
    let from_newcomer = |store: &mut Store, join: &Incoming| {
        let newcomer = join.op.header.author.0[0];
        store.append_with(std::slice::from_ref(join), Some(newcomer), NOW_MS, &mut NoFold)
    };
    assert_eq!(from_newcomer(&mut store, &first).stored.len(), 1);
    assert_eq!(only_reason(&from_newcomer(&mut store, &second)), Reason::InviteUsedUp);
    assert_eq!(only_reason(&from_newcomer(&mut store, &revoked)), Reason::InviteRevoked);
    assert_eq!(only_reason(&from_newcomer(&mut store, &in_time_by_its_clock)), Reason::InviteExpired);
    let (account, device_of_same) = (2, 22);
    let again = script.join(account, device_of_same, 7, &[]);
    assert_eq!(from_newcomer(&mut store, &again).stored.len(), 1, "the same account uses it once");
    for join in [second, revoked, in_time_by_its_clock] {
        assert_eq!(store.take(&[join]).stored.len(), 1, "others bring it: it is taken");
    }
    let late = script.join(6, 6, 9, &[]);
    assert_eq!(only_reason(&from_newcomer(&mut store, &late)), Reason::InviteExpired);
    assert_eq!(only_reason(&store.take(&[late])), Reason::UnknownAuthor, "void by its own clock, whoever brings it");

    let invites = store.log.invites(&id).unwrap();
    let seen: Vec<_> =
        invites.iter().map(|one| (one.key[0], one.uses, one.used, one.revoked, one.expires_ms)).collect();
    assert_eq!(seen, vec![(7, 1, 2, false, 0), (8, 5, 1, true, 0), (9, 5, 1, false, expires_ms)]);
    assert_eq!(invites[0].by, device(1));
    store.assert_healthy();
}

#[test]
fn nobody_joins_for_another_device_or_by_an_unknown_key() {
    let mut script = Script::new(1);
    script.invite(1, 7, 1, 0);
    let mut store = Store::new();
    store.take(&script.written);
    let join = Control::Join { certificate: certificate(3, 3), invite: [7; 32], proof: [0; 64], relays: vec![] };
    let for_other = script.control(2, &[], join);
    assert_eq!(only_reason(&store.take(&[for_other])), Reason::NotEntitled);
    let unknown_key = script.join(4, 4, 99, &[]);
    assert_eq!(only_reason(&store.take(&[unknown_key])), Reason::UnknownAuthor);
    assert_eq!(store.log.members(&script.conversation).unwrap().len(), 1);
}

#[test]
fn devices_come_by_devices_of_their_account_up_to_the_limit() {
    let mut script = Script::new(1);
    script.invite(1, 7, 1, 0);
    script.join(2, 2, 7, &[]);
    let mut store = Store::new();
    store.take(&script.written);
    let id = script.conversation;
    let foreign = script.control(2, &[], Control::Device { certificate: certificate(1, 77) });
    assert_eq!(only_reason(&store.take(&[foreign])), Reason::UnknownAuthor);
    script.tails.remove(&(2, 2));
    let mut fine = 1;
    for number in 0..DEVICES_PER_ACCOUNT_MAX as u8 {
        let one = script.control(1, &[], Control::Device { certificate: certificate(1, 100 + number) });
        let appended = store.take(&[one]);
        fine += appended.granted.len();
        if (number as usize) < DEVICES_PER_ACCOUNT_MAX - 1 {
            assert_eq!(appended.refused, vec![]);
        } else {
            assert_eq!(only_reason(&appended), Reason::TooManyDevices);
        }
    }
    assert_eq!(fine, DEVICES_PER_ACCOUNT_MAX);
    let known = script.written.iter().rev().nth(3).unwrap().clone();
    assert_eq!(store.take(&[known]).known, 1);
    assert_eq!(store.log.members(&id).unwrap().len(), DEVICES_PER_ACCOUNT_MAX + 1);
    let phone = script.text(100, &[], "from the phone");
    assert_eq!(store.take(&[phone]).stored.len(), 1);
}

#[test]
fn of_many_ops_by_which_devices_take_part_the_first_and_the_last_are_given() {
    let mut script = Script::new(1);
    script.invite(1, 7, 1, 0);
    for number in 0..20 {
        script.control(1, &[], Control::Device { certificate: certificate(1, 100 + number) });
    }
    let mut store = Store::new();
    store.take(&script.written);
    let ids = |limit| -> Vec<_> {
        store.log.entitling(&script.conversation, limit).unwrap().into_iter().map(|op| op.id).collect()
    };
    let all: Vec<_> = script.written.iter().map(|one| one.op.id).collect();
    assert_eq!((ids(22), ids(100)), (all.clone(), all.clone()));
    assert_eq!(ids(5), [&all[..2], &all[19..]].concat());
    assert_eq!(ids(0), []);
}

/// The account's word is enough, whatever came first; a certificate of an account that is not here opens nothing.
#[test]
fn a_device_comes_by_itself_where_its_account_is_a_member() {
    let mut script = Script::new(1);
    let invite = script.invite(1, 7, 1, 0);
    let join = script.join(2, 2, 7, &[]);
    let phone = script.control(22, &[], Control::Device { certificate: certificate(2, 22) });
    let text = script.text(22, &[], "from the new phone");
    let foreign = script.control(33, &[], Control::Device { certificate: certificate(3, 33) });
    // Somebody else who has seen the certificate.
    let stolen = script.control(44, &[], Control::Device { certificate: certificate(2, 22) });
    let genesis = script.written[0].clone();
    let orders: [[&Incoming; 5]; 3] = [
        [&genesis, &invite, &join, &phone, &text],
        [&genesis, &text, &phone, &join, &invite],
        [&genesis, &phone, &text, &invite, &join],
    ];
    for order in orders {
        let mut store = Store::new();
        for one in order {
            store.take(std::slice::from_ref(one));
        }
        let id = script.conversation;
        assert!(store.log.is_member(&id, &device(22)).unwrap());
        assert_eq!((store.log.strangers(&id).unwrap(), store.log.conversation(&id).unwrap().unwrap().ops), (0, 5));
        for refused in [&foreign, &stolen] {
            assert_eq!(only_reason(&store.take(std::slice::from_ref(refused))), Reason::UnknownAuthor);
        }
        assert!(!store.log.is_member(&id, &device(33)).unwrap() && !store.log.is_member(&id, &device(44)).unwrap());
        // From the newcomer itself, as a relay takes it, is no different.
        let mut relay = Store::new();
        relay.take(&[genesis.clone(), invite.clone(), join.clone()]);
        let appended = relay.append_with(&[phone.clone(), text.clone()], Some(22), NOW_MS, &mut NoFold);
        assert_eq!((appended.stored.len(), appended.granted.len()), (2, 1));
        store.assert_healthy();
    }
}

#[test]
fn relays_add_up_in_display_order_and_local_ones_come_first() {
    let mut script = Script::new(1);
    let mut store = Store::new();
    let add: Vec<_> = (0..10).map(relay).collect();
    let late = script.control(1, &[], Control::Relays { add: add.clone() });
    let more = script.control(1, &[], Control::Relays { add: (5..15).map(relay).collect() });
    // The later op comes first.
    store.take(&[script.written[0].clone(), more, late]);
    let id = script.conversation;
    let mut batch = store.log.batch().unwrap();
    let named = tombolo_model::RelayAddress { key: [0; 32], url: "ws://local".into(), region: String::new() };
    batch.add_relay(&id, &named).unwrap();
    batch.commit().unwrap();
    let mut wanted = vec![named, relay(200)];
    wanted.extend((0..15).map(relay));
    wanted.truncate(RELAYS_MAX);
    assert_eq!(store.log.relays(&id).unwrap(), wanted);
    let mut batch = store.log.batch().unwrap();
    let nowhere = ConversationId([9; 16]);
    assert_eq!(batch.add_relay(&nowhere, &relay(1)).unwrap_err().code(), "unknown-conversation");
    assert_eq!(batch.commit().unwrap_err().code(), "abandoned");
}

/// A newcomer writes its join before it knows anything of the conversation, and then receives the rest.
#[test]
fn a_newcomer_joins_before_it_knows_the_conversation() {
    let mut script = Script::new(1);
    let invite = script.invite(1, 7, 1, 0);
    let text = script.text(1, &[], "welcome");
    let join = script.join(2, 2, 7, &[invite.op.id]);
    let mut store = Store::new();
    let mut fold = Remember::default();
    let appended = store.append_with(std::slice::from_ref(&join), None, NOW_MS, &mut fold);
    let id = script.conversation;
    assert_eq!(
        (appended.stored.len(), appended.waiting, appended.granted.len()),
        (1, 0, 1),
        "an own op is delivered at once"
    );
    assert_eq!(store.log.conversation(&id).unwrap().unwrap().kind, None);
    assert_eq!(store.log.missing(&id, 9).unwrap(), vec![invite.op.id]);
    assert_eq!(store.log.conversation(&id).unwrap().unwrap().waiting, 1, "but it is known to be ahead");
    store.assert_healthy();
    let mut batch = store.log.batch().unwrap();
    batch.rebuild(&id).unwrap();
    batch.commit().unwrap();
    store.assert_healthy();
    assert_eq!(store.log.missing(&id, 9).unwrap(), vec![invite.op.id], "a repair does not forget it");
    assert_eq!(store.log.shared_with(&device(2)).unwrap(), vec![(id, 1)]);
    let tail = store.log.tail(&id, &device(2)).unwrap().unwrap();
    assert_eq!((tail.seq, tail.id), (1, join.op.id));
    let rest = script.written[..3].to_vec();
    let appended = store.append_with(&rest, Some(250), NOW_MS, &mut fold);
    assert_eq!((appended.stored.len(), appended.delivered, appended.waiting), (3, 3, 0));
    assert_eq!(fold.delivered, vec![join.op.id, script.genesis, invite.op.id, text.op.id]);
    assert!(!appended.tail_lost);
    assert_eq!(store.log.conversation(&id).unwrap().unwrap().kind, Some(Kind::Group));
    assert_eq!(fold.controls, 3);
    let mut other = Store::new();
    other.take(&script.written);
    assert_eq!(store.log.proof(&id).unwrap(), other.log.proof(&id).unwrap());
    assert_eq!(store.nodes(), other.nodes());
    assert_eq!(store.log.heads(&id).unwrap(), other.log.heads(&id).unwrap());
    assert_eq!(store.log.conversation(&id).unwrap().unwrap().waiting, 0);
    store.assert_healthy();
}

/// What came without signature or body gets it when another copy brings it; a control op takes effect then.
#[test]
fn copies_complete_each_other() {
    let mut script = Script::new(1);
    let invite = script.invite(1, 7, 1, 0);
    let text = script.text(1, &[], "hello");
    let bare = |one: &Incoming| {
        let op = Op { signature: None, body: None, ..one.op.clone().into_op() };
        Incoming { op: Sound::check(op).unwrap(), control: None }
    };
    let mut store = Store::new();
    let id = script.conversation;
    store.take(&[script.written[0].clone(), bare(&invite), bare(&text)]);
    let got = store.log.op(&id, &text.op.id).unwrap().unwrap();
    assert_eq!((got.signature, got.body), (None, None));
    assert_eq!(got.header, text.op.header);
    let before = store.log.proof(&id).unwrap();
    assert_eq!(store.log.invites(&id).unwrap(), vec![]);
    let mut fold = Remember::default();
    let appended = store.append_with(&[text.clone(), invite.clone()], Some(250), NOW_MS, &mut fold);
    assert_eq!((appended.known, appended.completed, appended.stored.len()), (2, 2, 0));
    assert_eq!(fold.bodies, vec![text.op.id, invite.op.id]);
    assert_eq!(fold.delivered, vec![]);
    assert_eq!(store.log.op(&id, &text.op.id).unwrap(), Some(text.op.clone().into_op()));
    assert_eq!(store.log.proof(&id).unwrap(), before, "the set is the same");
    assert_eq!(store.log.invites(&id).unwrap().len(), 1);
    // A copy that has less takes nothing away.
    let appended = store.take(&[bare(&text)]);
    assert_eq!((appended.known, appended.completed), (1, 0));
    assert_eq!(store.log.op(&id, &text.op.id).unwrap(), Some(text.op.into_op()));
    store.assert_healthy();
}

/// A control op that the caller did not understand changes nothing, also when it had waited among the strangers.
#[test]
fn what_was_not_understood_changes_nothing() {
    let mut script = Script::new(1);
    script.invite(1, 7, 2, 0);
    let join = script.join(2, 2, 7, &[]);
    let mut device_op = script.control(2, &[], Control::Device { certificate: certificate(2, 3) });
    device_op.control = None;
    let mut store = Store::new();
    let id = script.conversation;
    store.take(&script.written[..2]);
    assert_eq!(only_reason(&store.take(&[device_op])), Reason::UnknownAuthor);
    let appended = store.take(&[join]);
    assert_eq!((appended.stored.len(), appended.granted.len()), (2, 1));
    assert!(!store.log.is_member(&id, &device(3)).unwrap());
}
